"""Error bars from block moments: which blocks are resampled, how often, and what of a spectrum that gives.

Functions are kept and only the averages change, so a mode keeps its identity even in a replicate that never sees it; to
first order its Rayleigh quotient is the eigenvalue that the replicate's own decomposition would give.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes

N_BOOTSTRAP = 500
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""Fewer independent blocks than this give no interval."""
MIN_INDEPENDENT = 3
"""A mode that varies in fewer blocks than this has no bootstrap interval."""
BLOCK_RELAXATIONS = 10
"""Length of a bootstrap block in units of the slowest timescale, where the trajectories are long enough."""


class Scale(NamedTuple):
    """On which errors of a kind of number are about as large upwards as downwards."""

    of: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


LOGARITHM = Scale(np.log, np.exp)
"""Of times and rates."""
LOGIT = Scale(special.logit, special.expit)
"""Of shares."""
PLAIN = Scale(np.asarray, np.asarray)


class Estimates(NamedTuple):
    """Numbers with 95 % intervals, in arrays of one shape; NaN where undetermined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def times(self, factor: float) -> "Estimates":
        """In another unit."""
        return Estimates(*(factor * part for part in self))


@dataclass(frozen=True)
class Bounds:
    """Of a 95 % interval; None where there is none."""

    low: float | None
    high: float | None

    def times(self, factor: float) -> "Bounds":
        """In another unit."""
        return Bounds(*(None if bound is None else factor * bound for bound in (self.low, self.high)))


def block_bootstrap(moments: Moments, lag_index: int, slowest: float, random_state: int) -> tuple[Moments, np.ndarray]:
    """Moments with neighbouring blocks joined, and how often each enters every replicate, (n_replicates, n_blocks).

    The slowest timescale, in rows, sets the length of a block: long ones make the replicates independent, but there
    must be enough of them to resample. All are drawn with the same chance, those without a pair at this lag time never;
    there are no replicates for fewer than 5 blocks with pairs.
    """
    longest = moments.block_rows.sum() / (2 * MIN_BLOCKS)
    blocks = moments.merged(min(BLOCK_RELAXATIONS * slowest, longest))
    drawn = np.flatnonzero(blocks.weight[lag_index] > 0)
    n_replicates = N_BOOTSTRAP if len(drawn) >= MIN_BLOCKS else 0
    counts = np.zeros((n_replicates, len(blocks.stretch)))
    random = np.random.default_rng(random_state)
    counts[:, drawn] = random.multinomial(len(drawn), np.full(len(drawn), 1 / max(len(drawn), 1)), size=n_replicates)
    return blocks, counts


def rayleigh_quotients(
    moments: Moments, lag_index: int, modes: Eigenmodes, counts: np.ndarray | None = None
) -> np.ndarray:
    """Eigenvalues of fixed modes, shape (..., k): at another lag time, in a bootstrap replicate.

    What the known functions contribute is removed within each replicate.
    """
    a, b, _ = moments.means(lag_index, counts)
    dual, functions = modes.dual.conj(), modes.functions
    operator, identity = ((dual * (of_all @ functions)).sum(axis=-2) for of_all in (b, a))
    for known in range(moments.n_known):
        along = a[..., known, :] @ dual
        norm = a[..., known, known, None]
        operator = operator - along * (b[..., known, :] @ functions) / norm
        identity = identity - along * (a[..., known, :] @ functions) / norm
    return np.divide(operator, identity, out=np.zeros_like(operator), where=np.abs(identity) > 1e-12)


def percentile_interval(
    replicates: np.ndarray, n_blocks: int, tail: float = (1 - CONFIDENCE) / 2
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds over the first axis, by default those of 95 %, widened for the small number n of blocks.

    The level goes from the normal to the t distribution with n − 1 degrees of freedom and the width by √(n/(n−1))
    (Hesterberg, Am. Stat. 69 (2015) 371, "expanded percentile interval").
    """
    freedom = max(n_blocks - 1, 1)
    tail = stats.norm.cdf(np.sqrt(n_blocks / freedom) * stats.t.ppf(tail, freedom))
    with np.errstate(invalid="ignore"):  # between two infinite timescales there is nothing to interpolate
        low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def sampling_interval(
    value: np.ndarray, replicates: np.ndarray, n_blocks: int, scale: Scale
) -> tuple[np.ndarray, np.ndarray]:
    """95 % bounds of a value from its replicates over the first axis: the expanded percentile interval with the longer
    of its two arms, on the scale, on both sides.

    Few blocks know the spread of a number better than on which side of it the truth lies farther away: a rare event
    too many, or too few, shortens the very arm that should hold the truth. A percentile at an end of the scale, as that
    of a time which some replicates never see to pass, lengthens nothing.
    """
    low, high = percentile_interval(replicates, n_blocks)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, below, above = scale.of(value), scale.of(low), scale.of(high)
        arm = np.maximum(centre - below, above - centre)
        wider = scale.back(centre - arm), scale.back(centre + arm)
    known = np.isfinite(arm)
    return np.where(known, wider[0], low), np.where(known, wider[1], high)


def learning_error(refits: np.ndarray, fixed: np.ndarray, scale: Scale) -> np.ndarray:
    """Half width of the 95 % interval that learning alone accounts for, on the scale, from n refits.

    A refit has learned functions anew from a resampled data set, (n, ...) values; `fixed` are those of the functions of
    the fit on the same resampled data. What differs between them differs by learning alone: as the functions of the fit
    are to those of a refit, so are the true ones to those of the fit. The mean square about 0, which counts what refits
    have in common, has n degrees of freedom. NaN where fewer than two refits, or half of them, have a value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = scale.of(refits) - scale.of(fixed)
    known = np.isfinite(deviations)
    n = known.sum(axis=0)
    square = np.where(known, deviations, 0.0) ** 2
    enough = (n >= 2) & (2 * n >= len(refits))
    rms = np.sqrt(square.sum(axis=0) / np.maximum(n, 1))
    return np.where(enough, stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n, 1)) * rms, np.nan)


def with_refits(estimates: Estimates, anew: np.ndarray, fixed: np.ndarray, scale: Scale) -> Estimates:
    """Intervals that hold the errors of learning, too: see `learning_error` for what the refits give.

    A number without a width, such as a passage time from a set to itself, is certain and stays as it is.
    """
    both = combined(estimates, learning_error(anew, fixed, scale), scale)
    certain = estimates.low == estimates.high
    return Estimates(estimates.value, *np.where(certain, estimates[1:], both[1:]))


def combined(estimates: Estimates, learning: np.ndarray, scale: Scale) -> Estimates:
    """Intervals that hold the errors of sampling, as they stand, and half widths of learning on the scale.

    The two are independent: on the scale their widths add in quadrature on either side of the value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value, low, high = (scale.of(np.asarray(part, dtype=float)) for part in estimates)
        low = scale.back(value - np.hypot(np.maximum(value - low, 0), learning))
        high = scale.back(value + np.hypot(np.maximum(high - value, 0), learning))
    return Estimates(estimates.value, low, high)


def with_learning(value: float, sampling: Bounds, half: float) -> tuple[Bounds, Bounds]:
    """Bounds of a time or rate that hold sampling and learning, and those of learning alone.

    Half is the width of learning on the logarithm; see `combined`.
    """
    low, high = (np.array(np.nan if bound is None else bound) for bound in (sampling.low, sampling.high))
    both = combined(Estimates(np.array(value), low, high), np.array(half), LOGARITHM)
    joint = Bounds(*(float(bound) if np.isfinite(bound) else None for bound in both[1:]))
    return joint, Bounds(value * float(np.exp(-half)), value * float(np.exp(half)))


def participation(per_block: np.ndarray) -> np.ndarray:
    """In how many blocks each of k modes varies, from its sum over every block (n_blocks, k): (Σ v_b)² / Σ v_b²."""
    squares = (per_block**2).sum(axis=0)
    return np.divide(per_block.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
