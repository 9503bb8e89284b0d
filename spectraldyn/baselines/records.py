"""What a method is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spectraldyn.spectra.timescales import Timescale


@dataclass(frozen=True)
class Problem:
    """The training data of a comparison and what is asked of every method.

    Attributes
    ----------
    trajectories : list of ndarray (T, d)
        Uninterrupted pieces, each with at least one pair.
    lagtime : int
        In rows.
    n_modes : int
        Processes asked for, the constant not counted.
    seed : int
    reversible : bool
        Whether the dynamics are taken as reversible by those methods that can do either.
    device : {"auto", "cpu", "cuda"}
        Where networks are trained.
    """

    trajectories: list[np.ndarray]
    lagtime: int
    n_modes: int
    seed: int
    reversible: bool = True
    device: str = "cpu"

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of all lagged pairs, each (n_pairs, d)."""
        return (
            np.concatenate([part[: -self.lagtime] for part in self.trajectories]),
            np.concatenate([part[self.lagtime :] for part in self.trajectories]),
        )


@dataclass(frozen=True)
class Learned:
    """What a method has learned.

    Attributes
    ----------
    functions : callable (T, d) → (T, k)
        Its slow functions of the state, in float64. Their span counts and not their order: spectra are read off by
        Rayleigh–Ritz.
    right : callable (T, d) → (T, k), optional
        Right functions, where the method has some and the dynamics are not taken as reversible.
    settings : dict
        What was chosen, in plain values.
    seconds : float, optional
        For the setting that was chosen, where several were tried.
    own_timescales : callable, optional
        From all trajectories to the timescales, in rows, that the method itself gives with intervals of its own.
    """

    functions: Callable[[np.ndarray], np.ndarray]
    settings: dict[str, Any] = field(default_factory=dict)
    right: Callable[[np.ndarray], np.ndarray] | None = None
    seconds: float | None = None
    own_timescales: Callable[[list[np.ndarray]], list[Timescale]] | None = None


@dataclass(frozen=True)
class MethodResult:
    """What one method makes of the data, and its price.

    Attributes
    ----------
    method : str
        Name in `spectraldyn.baselines.methods.METHODS`.
    failed : str or None
        Why there are no numbers; None where there are.
    timescales : list of Timescale
        Slowest first, with 95 % intervals, in the unit of the comparison.
    vamp2_test, vampe_test : float or None
        On the held-out pairs, the constant's 1 counted; None where they leave a function without variance.
    seconds : float or None
        Wall time of the fit; where several settings were tried, of the one that was chosen.
    tuning_seconds : float or None
        Wall time of the whole search; None where there was none.
    peak_mb : float or None
        Main memory in use at most during fit and projection, in 10⁶ bytes, less what was in use before; the same fit
        may take half as much again in the next run, as the allocator sees fit.
    settings : dict
        What the method chose or was given.
    warnings : list of str
        Of the libraries, during the fit.
    """

    method: str
    failed: str | None = None
    timescales: list[Timescale] = field(default_factory=list)
    vamp2_test: float | None = None
    vampe_test: float | None = None
    seconds: float | None = None
    tuning_seconds: float | None = None
    peak_mb: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
