"""Every optimisation framework by name, with what it takes to combine it with an operator and networks."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from spectraldyn.errors import InputError
from spectraldyn.objectives.dpnet import dpnet_loss, dpnet_relaxed_loss
from spectraldyn.objectives.laplacian import (
    AugmentedLagrangianLaplacian,
    generalised_graph_drawing,
    graph_drawing,
    spectralnet_loss,
)
from spectraldyn.objectives.nested import (
    block_nesting,
    joint_nesting,
    low_rank_loss,
    sequential_nesting,
    trace_penalty,
)
from spectraldyn.objectives.neuralef import neural_eigenmaps_loss, neuralef_loss
from spectraldyn.objectives.orbital import orbital_minimisation, triangularised_orbital_minimisation
from spectraldyn.objectives.spin import SpIN
from spectraldyn.objectives.vamp import vamp1_loss, vamp2_loss
from spectraldyn.records import Objective


@dataclass(frozen=True)
class Framework:
    """One optimisation framework and what it asks of its surroundings.

    Attributes
    ----------
    formula : callable
        A function Action → loss, or a class whose instances are such functions and carry state.
    ordered : bool
        The leading span of every size is optimal at the optimum, not just the span of all functions.
    separate_networks : bool
        Every mode follows a gradient of its own, which networks that share parameters between modes would mix.
    tied : bool
        Only for self-adjoint operators with the same functions on both sides.
    positive : bool
        Only for positive semidefinite operators: negative eigenvalues make the loss unbounded or its order wrong.
    contraction : bool
        Only for operators whose eigenvalues are at most 1: written in terms of the Laplacian 1 − T ≥ 0.
    takes_parameters : bool
        The formula is built with the trainable parameters, of which it keeps derivatives.
    """

    formula: Callable[..., Any]
    ordered: bool
    separate_networks: bool = False
    tied: bool = False
    positive: bool = False
    contraction: bool = False
    takes_parameters: bool = False
    options: tuple[str, ...] = field(init=False)
    """Names of the keyword options that `build` takes."""

    def __post_init__(self) -> None:
        names = tuple(inspect.signature(self.formula).parameters)
        object.__setattr__(self, "options", tuple(name for name in names if name not in ("action", "parameters")))

    def build(self, parameters: Sequence[torch.nn.Parameter], **options: Any) -> Objective:
        """The objective for one training run; `parameters` is ignored by those that keep nothing about them."""
        if self.takes_parameters:
            return self.formula(parameters, **options)
        if isinstance(self.formula, type):
            return self.formula(**options)
        return partial(self.formula, **options) if options else self.formula


OBJECTIVES: dict[str, Framework] = {
    "joint": Framework(joint_nesting, ordered=True),
    "sequential": Framework(sequential_nesting, ordered=True, separate_networks=True),
    "block": Framework(block_nesting, ordered=False),
    "low-rank": Framework(low_rank_loss, ordered=False),
    "vamp-e": Framework(low_rank_loss, ordered=False),
    "vamp-1": Framework(vamp1_loss, ordered=False),
    "vamp-2": Framework(vamp2_loss, ordered=False),
    "dpnet": Framework(dpnet_loss, ordered=False),
    "dpnet-relaxed": Framework(dpnet_relaxed_loss, ordered=False),
    "spin": Framework(SpIN, ordered=True, tied=True, takes_parameters=True),
    "neuralef": Framework(neuralef_loss, ordered=True, separate_networks=True, tied=True, positive=True),
    "neural-eigenmaps": Framework(neural_eigenmaps_loss, ordered=True, tied=True, positive=True),
    "orbital-minimisation": Framework(orbital_minimisation, ordered=False, tied=True, positive=True),
    "triangularised-orbital-minimisation": Framework(
        triangularised_orbital_minimisation, ordered=True, separate_networks=True, tied=True, positive=True
    ),
    "triangularised-orthogonalisation-free": Framework(
        sequential_nesting, ordered=True, separate_networks=True, tied=True
    ),
    "symmetric-low-rank-product": Framework(low_rank_loss, ordered=False, tied=True),
    "trace-penalty": Framework(trace_penalty, ordered=False, tied=True),
    "graph-drawing": Framework(graph_drawing, ordered=False, tied=True, contraction=True),
    "generalised-graph-drawing": Framework(generalised_graph_drawing, ordered=True, tied=True, contraction=True),
    "augmented-lagrangian-laplacian": Framework(
        AugmentedLagrangianLaplacian, ordered=True, tied=True, contraction=True
    ),
    "spectralnet": Framework(spectralnet_loss, ordered=False, tied=True, contraction=True),
}


def build_objective(name: str, parameters: Sequence[torch.nn.Parameter] = (), **options: Any) -> Objective:
    """The objective of that name for one training run.

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
        if option not in framework.options:
            valid = ", ".join(framework.options) or "none"
            raise InputError(f"objective {name!r} has no option {option!r}; its options: {valid}")
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
    if framework.tied and not tied:
        raise InputError(
            f"objective {name!r} is for self-adjoint operators: make the dynamics reversible, or {_UNTIED}"
        )
    if framework.separate_networks and not separate_networks:
        raise InputError(
            f"objective {name!r} gives every mode a gradient of its own, which a trunk shared between the modes would "
            "mix: give every mode its own network, or choose 'joint'"
        )
    if framework.positive and not positive:
        raise InputError(
            f"objective {name!r} needs an operator without negative eigenvalues: shift the operator, or choose 'joint'"
        )
    if framework.contraction and not contraction:
        raise InputError(
            f"objective {name!r} is written for the Laplacian 1 − T ≥ 0, but this operator may have eigenvalues above "
            "1: scale the operator, or choose 'joint'"
        )


def _lookup(name: str) -> Framework:
    if name not in OBJECTIVES:
        raise InputError(f"objective {name!r} is unknown; choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


_UNTIED = "choose one of " + ", ".join(name for name, framework in OBJECTIVES.items() if not framework.tied)
