"""The leading spectrum of any operator, with any objective: the one call below the estimators."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spectraldyn.data.samples import Samples
from spectraldyn.errors import InputError
from spectraldyn.learning.loop import OPTIMISERS, History, train
from spectraldyn.linalg import gram
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import build_objective, check_combination
from spectraldyn.records import Batch, Operator
from spectraldyn.spectra.decomposition import Projection, decompose_projection


@dataclass(frozen=True)
class LearnedSpectrum:
    """Learned functions of an operator and the spectrum read off them; known modes are left out.

    Attributes
    ----------
    values : ndarray (k,)
        Singular values; for tied sides eigenvalues, largest first. From Rayleigh–Ritz.
    norms : ndarray (n,)
        ‖f_i‖ ‖g_i‖ of the functions as trained: the values as nested low-rank approximation states them.
    left, right : ndarray (m, k)
        Coefficients of the singular functions in the functions as trained, the known ones first.
    sides : Sides
        The networks, in float64.
    history : History
    """

    values: np.ndarray
    norms: np.ndarray
    left: np.ndarray
    right: np.ndarray
    sides: Sides
    history: History

    def functions(self, x: ArrayLike) -> np.ndarray:
        """Left singular functions (eigenfunctions) at states (B, d), of norm 1 to the operator; (B, k)."""
        return self._evaluate(self.sides.left, self.left, x)

    def right_functions(self, y: ArrayLike) -> np.ndarray:
        """Right singular functions at states (B, d'); (B, k)."""
        return self._evaluate(self.sides.right, self.right, y)

    @torch.no_grad()
    def _evaluate(self, network: nn.Module, coefficients: np.ndarray, states: ArrayLike) -> np.ndarray:
        values = network(torch.as_tensor(np.asarray(states), dtype=torch.float64)).numpy()
        n_known = len(coefficients) - values.shape[1]
        return np.hstack((np.ones((len(values), n_known)), values)) @ coefficients


def learn_spectrum(
    operator: Operator,
    samples: Samples,
    network: nn.Module,
    read_off: Iterable[Batch],
    *,
    right_network: nn.Module | None = None,
    objective: str = "joint",
    read_operator: Operator | None = None,
    n_steps: int = 3000,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    average_share: float = 0.02,
    optimiser: str = "adam",
    seed: int = 0,
    progress: bool = False,
    positive: bool = True,
    contraction: bool = True,
    **objective_options: Any,
) -> LearnedSpectrum:
    """Learn the leading singular functions of an operator and read their values off.

    Parameters
    ----------
    operator : Operator
        From `spectraldyn.operators`.
    samples : Samples
        From `spectraldyn.data.samples`.
    network : module (B, d) → (B, L)
        Left functions; a copy is trained. Give every mode its own network for objectives that ask for it.
    read_off : iterable of Batch
        Rows on which the spectrum is read off in float64: all data, or a quadrature rule.
    right_network : module (B, d') → (B, L), optional
        Right functions; by default the sides are tied.
    objective : str
        Key of `spectraldyn.objectives.OBJECTIVES`.
    read_operator : Operator, optional
        Reads the spectrum off in place of `operator`; the values are then those of `read_operator`.
    n_steps, batch_size, learning_rate, average_share, optimiser, seed, progress
        See `spectraldyn.learning.loop.train`.
    positive, contraction : bool
        Whether T ≥ 0, and whether T ≤ 1, on the functions that matter: set to False, objectives that need it are
        refused.
    **objective_options
        Of the objective, such as `penalty`.

    Raises
    ------
    InputError
        If the objective is unknown or makes no sense with this operator, with tied or untied sides or with a trunk
        shared by all modes; if an option is out of range.
    """
    if optimiser not in OPTIMISERS:
        raise InputError(f"optimiser {optimiser!r} is unknown: choose one of {', '.join(OPTIMISERS)}")
    for name, value, least in (("n_steps", n_steps, 1), ("batch_size", batch_size, 2)):
        if value < least:
            raise InputError(f"{name} is {value!r}: it must be at least {least}")
    rows = list(read_off)
    if not rows:
        raise InputError("read_off is empty: give the rows on which the spectrum is to be read off")
    trial = operator(network, right_network or network, samples.draw(2, torch.Generator(samples.device).manual_seed(0)))
    tied = trial.tied
    if tied and right_network is not None:
        raise InputError("this operator ties both sides, so that right_network would never be used: leave it out")
    separate = any(getattr(module, "separate", False) for module in network.modules())
    check_combination(objective, tied=tied, separate_networks=separate, positive=positive, contraction=contraction)
    left = copy.deepcopy(network)
    sides = Sides(left, left if right_network is None else copy.deepcopy(right_network)).to(samples.device)
    history = train(
        sides,
        operator,
        build_objective(objective, list(sides.parameters()), **objective_options),
        samples,
        batch_size=batch_size,
        n_steps=n_steps,
        learning_rate=learning_rate,
        average_share=average_share,
        seed=seed,
        optimiser=optimiser,
        progress=progress,
    )
    sides = sides.cpu().double()
    projection = project(read_operator or operator, sides, rows)
    values, left_functions, right_functions = decompose_projection(projection, tied=right_network is None)
    return LearnedSpectrum(values, projection.norms, left_functions, right_functions, sides, history)


@torch.no_grad()
def project(operator: Operator, sides: Sides, batches: Iterable[Batch]) -> Projection:
    """Averages of ⟨f, f⟩, ⟨f, T g⟩ and ⟨g, g⟩ over all rows, in float64."""
    sums: list[Tensor] = []
    rows = 0
    known: tuple[float, ...] = ()
    for batch in batches:
        others = (None if part is None else part.double() for part in (batch.y, batch.weight))
        action = operator(sides.left, sides.right, Batch(batch.x.double(), *others))
        n = len(batch.x)
        parts = [n * gram(*pair) for pair in ((action.f, action.f), (action.f, action.Tg), (action.g, action.g))]
        sums = parts if not sums else [a + b for a, b in zip(sums, parts, strict=True)]
        rows, known = rows + n, action.known
    a, b, c = ((part / rows).numpy() for part in sums)
    return Projection(a, b, c, known)
