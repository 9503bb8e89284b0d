"""The leading spectrum of any operator, with any objective: the one call below the estimators."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from spectraldyn.data.samples import Samples
from spectraldyn.errors import InputError
from spectraldyn.learning.averages import operator_moments
from spectraldyn.learning.loop import History, Schedule, learn
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import build_objective, check_combination
from spectraldyn.records import Batch, Operator
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz


@dataclass(frozen=True)
class LearnedSpectrum:
    """Learned functions of an operator and the spectrum read off them; known modes are left out."""

    values: np.ndarray
    """(k,): singular values; for tied sides eigenvalues, largest first. From Rayleigh–Ritz."""
    norms: np.ndarray
    """(n,): ‖f_i‖ ‖g_i‖ of the functions as trained: the values as nested low-rank approximation states them."""
    left: np.ndarray
    right: np.ndarray
    """left and right: (m, k): coefficients of the singular functions in the functions as trained, the known ones
    first."""
    sides: Sides
    """The networks, in float64."""
    history: History

    def functions(self, x: ArrayLike) -> np.ndarray:
        """Left singular functions (eigenfunctions) at states (B, d), of norm 1 to the operator; (B, k)."""
        return self._evaluate(self.sides.left, self.left, x)

    def right_functions(self, y: ArrayLike) -> np.ndarray:
        """Right singular functions at states (B, d'); (B, k)."""
        return self._evaluate(self.sides.right, self.right, y)

    @torch.no_grad()
    def _evaluate(self, network: nn.Module, coefficients: np.ndarray, states: ArrayLike) -> np.ndarray:
        inputs = torch.as_tensor(np.asarray(states), dtype=torch.float64, device=self.sides.device)
        values = network(inputs).cpu().numpy()
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
    optimiser: Literal["adamw", "rmsprop"] = "adamw",
    seed: int = 0,
    progress: bool = False,
    positive: bool = True,
    contraction: bool = True,
    checkpoint: Path | None = None,
    observe: Callable[[int, Sides], None] | None = None,
    **objective_options: Any,
) -> LearnedSpectrum:
    """Learn the leading singular functions of an operator and read their values off.

    Parameters
    ----------
    operator : Operator
        From `spectraldyn.operators`.
    samples : Samples
        From `spectraldyn.data`.
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
    n_steps, batch_size, learning_rate, average_share, optimiser
        See `spectraldyn.learning.Schedule`.
    seed, progress, checkpoint, observe
        See `spectraldyn.learning.learn`.
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
    for name, value, least in (("n_steps", n_steps, 1), ("batch_size", batch_size, 2)):
        if value < least:
            raise InputError(f"{name} is {value!r}: it must be at least {least}")
    if optimiser not in ("adamw", "rmsprop"):
        raise InputError(f"optimiser is {optimiser!r}: choose 'adamw' or 'rmsprop'")
    rows = list(read_off)
    if not rows:
        raise InputError("read_off is empty: give the rows on which the spectrum is to be read off")
    sides = Sides(copy.deepcopy(network), copy.deepcopy(right_network)).to(samples.device)
    tied = operator(sides.left, sides.right, samples.draw(2, torch.Generator(samples.device).manual_seed(0))).tied
    if tied and not sides.tied:
        raise InputError("this operator ties both sides, so that right_network would never be used: leave it out")
    separate = any(getattr(module, "separate", False) for module in network.modules())
    check_combination(objective, tied=tied, separate_networks=separate, positive=positive, contraction=contraction)
    rule = build_objective(objective, list(sides.parameters()), **objective_options)
    schedule = Schedule(n_steps, batch_size, learning_rate, average_share, optimiser=optimiser)
    history = learn(
        operator, samples, sides, rule, schedule, seed=seed, checkpoint=checkpoint, progress=progress, observe=observe
    )
    sides = sides.double()
    double = [_double(batch, sides.device) for batch in rows]
    moments = operator_moments(read_operator or operator, sides.left, sides.right, [double])
    spectrum = rayleigh_ritz(moments.means(), tied=sides.tied, n_known=moments.n_known)
    return LearnedSpectrum(spectrum.values, spectrum.norms, spectrum.left, spectrum.right, sides, history)


def _double(batch: Batch, device: torch.device) -> Batch:
    others = (None if part is None else part.to(device, torch.float64) for part in (batch.y, batch.weight))
    return Batch(batch.x.to(device, torch.float64), *others)
