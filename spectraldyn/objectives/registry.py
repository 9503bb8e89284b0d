"""Every optimisation framework by name, with what it takes to combine it with an operator and networks."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spectraldyn.errors import InputError, InputWarning
from spectraldyn.objectives.dpnet import dpnet_loss, dpnet_relaxed_loss
from spectraldyn.objectives.laplacian import augmented_lagrangian_laplacian, generalised_graph_drawing, graph_drawing
from spectraldyn.objectives.nested import block_nesting, joint_nesting, low_rank_loss, sequential_nesting, trace_penalty
from spectraldyn.objectives.neuralef import neural_eigenmaps_loss, neuralef_loss
from spectraldyn.objectives.orbital import orbital_minimisation, triangularised_orbital_minimisation
from spectraldyn.objectives.spin import spin
from spectraldyn.objectives.vamp import vamp1_loss, vamp2_loss
from spectraldyn.records import Action, Objective


@dataclass(frozen=True)
class Framework:
    """One optimisation framework and what it asks of its surroundings."""

    formula: Callable[..., Any]
    """Action → loss. With a second argument `state` it is an `Objective`, which carries its state; an argument
    `parameters` takes the trainable parameters, of which it keeps derivatives."""
    ordered: bool  # the leading span of every size is optimal at the optimum, not just the span of all functions
    separate_networks: bool = False
    """Every mode follows a gradient of its own, which networks that share parameters between modes would mix."""
    tied: bool = False  # only for self-adjoint operators with the same functions on both sides
    positive: bool = False
    """Only for positive semidefinite operators: negative eigenvalues make the loss unbounded or its order wrong."""
    contraction: bool = False
    """Only for operators whose eigenvalues are at most 1: written in terms of the Laplacian 1 − T ≥ 0."""
    remark: str = ""  # why it does not converge in general; empty where it does

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.formula).parameters)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword options that `build` takes."""
        return tuple(name for name in self.arguments if name not in ("action", "state", "parameters"))

    def build(self, parameters: Sequence[torch.nn.Parameter], **options: Any) -> Objective:
        """The objective for one training run; `parameters` is ignored by those that keep nothing about them."""
        if "parameters" in self.arguments:
            options["parameters"] = tuple(parameters)
        formula = partial(self.formula, **options) if options else self.formula
        return formula if "state" in self.arguments else stateless(formula)


def stateless(formula: Callable[[Action], Tensor]) -> Objective:
    """A plain formula as an objective that remembers nothing."""
    return lambda action, state: (formula(action), state)


_CROSSING = "where the spectral norms of the Gram matrices cross"
_KINK = f"its score has a kink at the optimum, {_CROSSING}, and descent stays short of it"
_LAGGING = "its moving averages lag behind the functions, so that it needs smaller and many more steps than others"

OBJECTIVES: dict[str, Framework] = {
    "joint": Framework(joint_nesting, ordered=True),
    "sequential": Framework(sequential_nesting, ordered=True, separate_networks=True),
    "block": Framework(block_nesting, ordered=False),
    "low-rank": Framework(low_rank_loss, ordered=False),
    "vamp-1": Framework(vamp1_loss, ordered=False),
    "vamp-2": Framework(vamp2_loss, ordered=False),
    "dpnet": Framework(dpnet_loss, ordered=False),
    "dpnet-relaxed": Framework(dpnet_relaxed_loss, ordered=False, remark=_KINK),
    "spin": Framework(spin, ordered=True, tied=True, remark=_LAGGING),
    "neuralef": Framework(neuralef_loss, ordered=True, separate_networks=True, tied=True, positive=True),
    "neural-eigenmaps": Framework(neural_eigenmaps_loss, ordered=True, tied=True, positive=True),
    "orbital-minimisation": Framework(orbital_minimisation, ordered=False, tied=True, positive=True),
    "triangularised-orbital-minimisation": Framework(
        triangularised_orbital_minimisation, ordered=True, separate_networks=True, tied=True, positive=True
    ),
    "trace-penalty": Framework(trace_penalty, ordered=False, tied=True),
    "graph-drawing": Framework(graph_drawing, ordered=False, tied=True, contraction=True),
    "generalised-graph-drawing": Framework(generalised_graph_drawing, ordered=True, tied=True, contraction=True),
    "augmented-lagrangian-laplacian": Framework(
        augmented_lagrangian_laplacian, ordered=True, tied=True, contraction=True
    ),
}
OTHER_NAMES = {
    "vamp-e": "low-rank",
    "symmetric-low-rank-product": "low-rank",
    "triangularised-orthogonalisation-free": "sequential",
}
"""Published under these names, but the same formula."""


def build_objective(name: str, parameters: Sequence[torch.nn.Parameter] = (), **options: Any) -> Objective:
    """The objective of that name for one training run, with an `InputWarning` if it does not converge in general.

    Parameters
    ----------
    name : str
        A key of `OBJECTIVES`.
    parameters : sequence of torch.nn.Parameter
        All that the learned functions depend on.
    options
        Of the formula, such as `penalty`.
    """
    framework = _lookup(name)
    for option in options:
        if option not in (valid := framework.options):
            raise InputError(f"objective {name!r} has no option {option!r}; its options: {', '.join(valid) or 'none'}")
    if framework.remark:
        warnings.warn(f"objective {name!r} often fails to converge: {framework.remark}", InputWarning, stacklevel=2)
    return framework.build(parameters, **options)


def check_combination(
    name: str, *, tied: bool, separate_networks: bool, positive: bool = True, contraction: bool = True
) -> None:
    """Refuse an objective that makes no sense with such an operator and such networks, and say why.

    Parameters
    ----------
    name : str
        A key of `OBJECTIVES`.
    tied : bool
        The operator is self-adjoint and its two sides are one set of functions.
    separate_networks : bool
        Every mode has a network of its own.
    positive, contraction : bool
        T ≥ 0; T ≤ 1. Transfer operators at equilibrium and resolvents are both, shifted generators are at most 1.
    """
    framework = _lookup(name)
    given = {"tied": tied, "separate_networks": separate_networks, "positive": positive, "contraction": contraction}
    for need, met in given.items():
        if getattr(framework, need) and not met:
            raise InputError(f"objective {name!r} {_UNMET[need]}")


def _lookup(name: str) -> Framework:
    if name in OTHER_NAMES:
        raise InputError(f"objective {name!r} is another name of {OTHER_NAMES[name]!r}: choose that")
    if name not in OBJECTIVES:
        raise InputError(f"objective {name!r} is unknown; choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


_UNMET = {
    "tied": "is for self-adjoint operators: make the dynamics reversible, or choose one of "
    + ", ".join(name for name, framework in OBJECTIVES.items() if not framework.tied),
    "separate_networks": "gives every mode a gradient of its own, which a trunk shared between the modes would mix: "
    "give every mode its own network, or choose 'joint'",
    "positive": "needs an operator without negative eigenvalues: shift the operator, or choose 'joint'",
    "contraction": "is written for the Laplacian 1 − T ≥ 0, but this operator may have eigenvalues above 1: scale the "
    "operator, or choose 'joint'",
}
"""What is wrong, and what to do, where what a framework asks for is not given."""
