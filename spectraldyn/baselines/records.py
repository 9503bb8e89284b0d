"""What is asked of a method, what it is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from spectraldyn.data import Atoms, Stretches, pair_starts, split_stretches
from spectraldyn.spectra.timescales import Timescale

TEST_FRACTION = 0.3  # share of the data, in contiguous blocks, that no method sees


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every method."""

    lagtime: int  # in rows
    n_modes: int  # processes, the constant one not counted
    seed: int  # of the split, of every method and of the resampling
    reversible: bool = True  # take the dynamics as reversible, in those methods that can do either and in the scores
    device: str = "cpu"  # {"auto", "cpu", "cuda"}: where networks are trained

    @property
    def asked(self) -> dict[str, Any]:
        """These, by name."""
        return {part.name: getattr(self, part.name) for part in fields(Question)}


@dataclass(frozen=True)
class Problem(Question):
    """The question, and the data to learn from."""

    trajectories: list[np.ndarray]  # (T, d): uninterrupted stretches, each with at least one pair
    atoms: Atoms | None = None  # whose coordinates the rows are, for a method that has a network for these

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of all lagged pairs, each (n_pairs, d)."""
        before, after = zip(*((part[: -self.lagtime], part[self.lagtime :]) for part in self.trajectories), strict=True)
        return np.concatenate(before), np.concatenate(after)


@dataclass(frozen=True)
class Split(Question):
    """The question, the rows that every method learns from, and those that it is judged on."""

    stretches: Stretches  # all rows
    train: list[range]
    test: list[range]
    """train and test: Stretches to learn from, and stretches that no method has seen; each holds a pair."""

    @classmethod
    def of(cls, stretches: Stretches, question: Question) -> "Split":
        """Three tenths of the data, in contiguous blocks, held out."""
        parts = split_stretches(stretches, question.lagtime, TEST_FRACTION, np.random.default_rng(question.seed))
        return cls(stretches, *parts, **question.asked)

    @property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the left ends of the training pairs, and of the held-out pairs."""
        return pair_starts(self.train, self.lagtime), pair_starts(self.test, self.lagtime)

    def problem(self, frames: np.ndarray, atoms: Atoms | None = None) -> Problem:
        """What a method is given of all rows (n_rows, d)."""
        return Problem(stretches_in(frames, self.train), atoms, **self.asked)


def stretches_in(frames: np.ndarray, stretches: Sequence[range]) -> list[np.ndarray]:
    """The rows of every stretch."""
    return [frames[stretch.start : stretch.stop] for stretch in stretches]


@dataclass(frozen=True)
class Learned:
    """What a method has learned."""

    functions: Callable[[np.ndarray], np.ndarray]
    """(T, d) → (T, k): its slow functions of the state, in float64. Their span counts and not their order: spectra are
    read off by Rayleigh–Ritz."""
    settings: dict[str, Any] = field(default_factory=dict)  # what was chosen, in plain values
    right: Callable[[np.ndarray], np.ndarray] | None = None
    """(T, d) → (T, k): right functions, where the method has some and the dynamics are not taken as reversible."""
    seconds: float | None = None  # for the setting that was chosen, where several were tried
    own_timescales: Callable[[list[np.ndarray]], list[Timescale]] | None = None
    """From all trajectories to the timescales, in rows, that the method itself gives with intervals of its own."""


@dataclass(frozen=True)
class MethodResult:
    """What one method makes of the data, and its price."""

    method: str  # name in `spectraldyn.baselines.METHODS`
    failed: str | None = None  # why there are no numbers; None where there are
    timescales: list[Timescale] = field(default_factory=list)
    """Slowest first, with 95 % intervals, in the unit of the comparison."""
    vamp2_test: float | None = None
    vampe_test: float | None = None
    """vamp2_test and vampe_test: On the held-out pairs, the constant's 1 counted; None where they leave a function
    without variance."""
    seconds: float | None = None
    """Wall time of the fit; where several settings were tried, of the one that was chosen."""
    tuning_seconds: float | None = None  # wall time of the whole search; None where there was none
    peak_mb: float | None = None
    """Main memory in use at most during fit and projection, in 10⁶ bytes, less what was in use before; the same fit may
    take half as much again in the next run, as the allocator sees fit. None where the system does not tell."""
    settings: dict[str, Any] = field(default_factory=dict)  # what the method chose or was given
    warnings: list[str] = field(default_factory=list)  # of the libraries, during the fit


@dataclass(frozen=True)
class Outcome:
    """What a method has done, before it is judged."""

    result: MethodResult  # without scores; its timescales, in rows, are those that the method itself gives, if any
    left: np.ndarray | None = None
    right: np.ndarray | None = None
    """left and right: (n_rows, k) or None: its functions at every row."""
