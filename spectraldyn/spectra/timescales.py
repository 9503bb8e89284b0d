"""Implied timescales with error bars from block moments, at every lag time, and whether the data determine them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from scipy import stats
from scipy.optimize import linear_sum_assignment

from spectraldyn.data.stretches import Stretches, cut_blocks, n_rows
from spectraldyn.spectra import intervals
from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.moments import Moments, lagged_moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes, leading

T = TypeVar("T")

N_BLOCKS = 200
"""Finest division of the data for which moments are kept."""
MIN_TRANSITIONS = 10
"""A process seen fewer times has a relative error above one third and counts as unresolved."""
TOO_LONG = "longer than all data together"
"""Why a timescale has no value although the process is seen."""
SHORTER = "shorter than the lag time"
"""Why a timescale says little although it has a value."""


@dataclass(frozen=True)
class Timescale:
    """One implied timescale with its 95 % interval, in rows unless it is said to be otherwise."""

    value: float | None
    low: float | None
    high: float | None
    """value, low, high: none where undetermined: no interval from too few blocks, no upper bound beyond the length of
    the data."""
    n_transitions: int | None = None
    """How often the process was seen to happen; None where it was not counted."""
    unresolved: str | None = None
    """Why the value must not be trusted; None where it may be."""
    sampling: Bounds | None = None
    """The part of the interval that the finite data account for; the interval itself without refits."""
    learning: Bounds | None = None
    """The part that learning accounts for; None without refits."""


def timescales_from_eigenvalues(eigenvalues: np.ndarray, lagtime: float) -> np.ndarray:
    """Implied timescales t = −τ / ln |λ|, in the unit of `lagtime`.

    0 where λ is real and not positive: such an eigenvalue has no relaxation time, the process is faster than the lag
    time can tell. Infinite where |λ| is 1.
    """
    negative = (np.imag(eigenvalues) == 0) & (np.real(eigenvalues) <= 0)
    magnitude = np.where(negative, 0.0, np.abs(eigenvalues))
    magnitude[magnitude > 1 - 1e-12] = 1.0  # to within rounding: no relaxation at all
    with np.errstate(divide="ignore"):
        return lagtime / np.abs(np.log(magnitude))


def slowest_rows(timescales: np.ndarray, lagtime: int) -> float:
    """The slowest of these timescales in rows that is finite, and at least the lag time: what sets the length of a
    bootstrap block."""
    return float(timescales[np.isfinite(timescales)].max(initial=lagtime))


class Refit(Protocol):
    """Functions that were learned anew from resampled blocks; see `spectraldyn.spectra.relearned`."""

    @property
    def draw(self) -> np.ndarray:
        """(n_blocks,): how often each block was drawn."""
        ...

    def timescales(self, modes: Eigenmodes, lag_index: int) -> np.ndarray:
        """In rows, of the processes that resemble these modes most; NaN where none is left."""
        ...


ByLag = dict[int, list[Timescale]]
"""Lag time in rows → timescales, slowest first."""


def block_moments(
    functions: np.ndarray,
    stretches: Stretches,
    lagtimes: Iterable[int],
    *,
    tied: bool,
    weight: np.ndarray | None = None,
) -> Moments:
    """Moments of functions that have been evaluated on all rows, for some hundred blocks; see `lagged_moments`."""
    blocks = cut_blocks(stretches, max(1, n_rows(stretches) // N_BLOCKS))
    return lagged_moments(functions, stretches, blocks, lagtimes, tied=tied, weight=weight)


def read_off_timescales(
    moments: Moments,
    functions: np.ndarray,
    stretches: Stretches,
    lagtime: int,
    random_state: int,
    *,
    lagtimes: Iterable[int] | None = None,
    n_modes: int | None = None,
    doubts: Sequence[str | None] | None = None,
    refits: Sequence[Refit] = (),
) -> ByLag:
    """Timescales with intervals at every lag time of the moments, or at some of them.

    The same bootstrap blocks serve all lag times at which they hold pairs. Transitions are counted once, of the
    eigenfunctions at `lagtime`, whose slowest timescale sets the length of a bootstrap block; a process at another lag
    time has those of the one that it overlaps with most. The moments are those of `functions` (n_rows, M); all times
    are in rows. With `n_modes` only the leading ones. Doubts say of an eigenfunction at `lagtime`, from what no moments
    tell, why its timescale must not be trusted: it counts as unresolved at all lag times. With refits the intervals
    hold the errors of learning, too.
    """
    at_fit = moments.at(lagtime)
    modes = _modes(moments, at_fit, n_modes)
    transitions = [count_transitions(mode.real, stretches) for mode in (functions @ modes.functions).T]
    values = timescales_from_eigenvalues(modes.values, lagtime)
    slowest = slowest_rows(values, lagtime)
    known = list(zip(transitions, doubts or [None] * len(values), strict=True))
    result: ByLag = {}
    for lag in moments.lagtimes.tolist() if lagtimes is None else lagtimes:
        index = moments.at(lag)
        here = modes if index == at_fit else _modes(moments, index, n_modes)
        gram = moments.means(at_fit)[0]
        of_mode = known if index == at_fit else matched(gram, modes.functions, here.functions, known, (None, None))
        counts, reasons = zip(*of_mode, strict=True) if of_mode else ((), ())
        scales = timescales_at_lag(moments, index, here, counts, slowest, random_state, refits)
        result[lag] = [replace(s, unresolved=s.unresolved or r) for s, r in zip(scales, reasons, strict=True)]
    return result


def _modes(moments: Moments, lag_index: int, n_modes: int | None) -> Eigenmodes:
    spectrum = moments.spectrum(lag_index)
    return moments.eigenmodes(spectrum if n_modes is None else leading(spectrum, n_modes), lag_index)


def matched(gram: np.ndarray, modes: np.ndarray, others: np.ndarray, known: Sequence[T], unknown: T) -> list[T]:
    """What is known of modes, for other modes: each takes that of the one it resembles most, where one is left.

    Modes are coefficients (M, k) of functions with these inner products (M, M).
    """
    overlaps = np.abs(others.conj().T @ gram @ modes)
    result = [unknown] * others.shape[1]
    for here, there in zip(*linear_sum_assignment(-overlaps), strict=True):
        result[here] = known[there]
    return result


def timescales_at_lag(
    moments: Moments,
    lag_index: int,
    modes: Eigenmodes,
    transitions: Sequence[int | None],
    slowest: float,
    random_state: int,
    refits: Sequence[Refit] = (),
) -> list[Timescale]:
    """Timescales in rows with 95 % intervals at one lag time, processes seen too rarely marked.

    The modes are from the means of these moments at this lag time; the transitions say how often each process was seen
    to happen. The slowest timescale, in rows, sets the length of a bootstrap block.
    """
    lag = int(moments.lagtimes[lag_index])
    blocks, counts = intervals.block_bootstrap(moments, lag_index, slowest, random_state)
    replicates = timescales_from_eigenvalues(intervals.rayleigh_quotients(blocks, lag_index, modes, counts), lag)
    scales = timescale_intervals(timescales_from_eigenvalues(modes.values, lag), replicates, blocks, lag)
    v = modes.functions
    independent = intervals.participation(np.einsum("ik,bij,jk->bk", v.conj(), blocks.left[lag_index], v).real)
    total = float(moments.block_rows.sum())
    scales = [
        with_rare_events(replace(scale, n_transitions=count), float(n_blocks), total)
        for scale, count, n_blocks in zip(scales, transitions, independent, strict=True)
    ]
    learning = None
    if refits:
        fixed = intervals.rayleigh_quotients(blocks, lag_index, modes, np.stack([refit.draw for refit in refits]))
        anew = np.stack([refit.timescales(modes, lag_index) for refit in refits])
        fixed = timescales_from_eigenvalues(fixed, lag)
        learning = intervals.learning_error(anew, fixed, intervals.LOGARITHM)
    return with_learning(scales, learning, total)


def with_learning(scales: Sequence[Timescale], learning: np.ndarray | None, total: float) -> list[Timescale]:
    """Timescales whose intervals hold sampling, with half widths of learning (k,) on the logarithm added; see
    `intervals.combined`. An upper bound longer than all data together is left open."""
    if learning is None:
        return [replace(scale, sampling=Bounds(scale.low, scale.high)) for scale in scales]
    return [_with_learning(scale, float(half), total) for scale, half in zip(scales, learning, strict=True)]


def _with_learning(scale: Timescale, half: float, total: float) -> Timescale:
    sampling = Bounds(scale.low, scale.high)
    if scale.value is None or not np.isfinite(half):
        lost = None if scale.value is None else "most refits do not find it again"
        return replace(scale, low=None, high=None, sampling=sampling, unresolved=scale.unresolved or lost)
    joint, part = intervals.with_learning(scale.value, sampling, half)
    high = None if joint.high is None or joint.high > total else joint.high
    return replace(scale, low=joint.low, high=high, sampling=sampling, learning=part)


def in_time(scale: Timescale, row_time: float) -> Timescale:
    """A timescale in rows as one in the unit of `row_time`, the time from one row to the next."""
    value, low, high = (None if t is None else t * row_time for t in (scale.value, scale.low, scale.high))
    sampling, learning = (part and part.times(row_time) for part in (scale.sampling, scale.learning))
    return replace(scale, value=value, low=low, high=high, sampling=sampling, learning=learning)


def slowest(scales: Iterable[Timescale]) -> float | None:
    """The longest timescale that is resolved, else the longest; None where none is determined."""
    known = [(scale.unresolved is None, scale.value) for scale in scales if scale.value]
    return max(known)[1] if known else None


def timescale_intervals(values: np.ndarray, replicates: np.ndarray, blocks: Moments, lagtime: int) -> list[Timescale]:
    """95 % intervals of timescales in rows (k,) from their bootstrap replicates (n_replicates, k) of these blocks.

    There are no replicates where there were too few blocks. See `sampling_interval`. An upper bound longer than all
    data together is no bound and is left open.
    """
    total = blocks.block_rows.sum()
    low = high = np.zeros(len(values))
    if len(replicates):
        low, high = intervals.sampling_interval(values, replicates, len(blocks.stretch), intervals.LOGARITHM)
    return [
        Timescale(
            float(value) if 0 < value <= total else None,
            float(lower) if lower > 0 else None,
            float(upper) if 0 < upper < total else None,
            unresolved=unresolved_reason(value, lagtime, total),
        )
        for value, lower, upper in zip(values, low, high, strict=True)
    ]


def unresolved_reason(value: float, lagtime: int, total: float) -> str | None:
    """Why a timescale must not be trusted, from its value and the length of all data in rows; None where it may be."""
    if not value > 0:
        return "faster than the lag time can tell"
    if value < lagtime:
        return SHORTER
    return TOO_LONG if value > total else None


def with_rare_events(scale: Timescale, n_independent: float, total: float) -> Timescale:
    """Mark a process as unresolved if it was seen too rarely, and say what so few events allow.

    A mode that varies in fewer than three blocks has no bootstrap interval: its replicates either see it as a whole
    or not at all. Nor can resampling tell how often a rare event might have happened but did not: the rate of n
    independent events is known to within the exact Poisson interval of their number (Garwood, Biometrika 28 (1936)
    437), and for fewer than ten transitions the interval of the timescale is widened to hold the same factors. An upper
    bound beyond the length of all data, in the unit of the timescale, is left open. For the number of independent
    blocks see `participation`.
    """
    count, value = scale.n_transitions, scale.value
    if scale.unresolved is not None or value is None or count is None:
        return scale
    if n_independent < intervals.MIN_INDEPENDENT:
        scale = replace(scale, low=None, high=None, unresolved="varies in too few independent stretches of the data")
    if count >= MIN_TRANSITIONS:
        return scale
    tail = (1 - intervals.CONFIDENCE) / 2
    most = float(stats.chi2.ppf(1 - tail, 2 * (count + 1)) / 2)
    fewest = float(stats.chi2.ppf(tail, 2 * count) / 2) if count else 0.0
    low = value * max(count, 1) / most
    high = value * count / fewest if count else np.inf
    # No bound at all, where resampling gave none, cannot become one by widening; with too few blocks the events decide.
    unbounded = scale.high is None and n_independent >= intervals.MIN_INDEPENDENT
    high = max(high, scale.high or 0)
    return replace(
        scale,
        low=low if scale.low is None else min(low, scale.low),
        high=None if unbounded or high > total else high,
        unresolved=f"only {count} transition{'s' * (count != 1)} seen",
    )


def count_transitions(mode: np.ndarray, stretches: Stretches) -> int:
    """How often one mode passes from one end of its range to the other, and back, within the stretches.

    Two cores with a gap between them (the outer thirds of the range that holds all but the outermost 0.05 % of the
    frames): a mere touch of the border is no transition (milestoning, as in Buchete & Hummer, J. Phys. Chem. B 112
    (2008) 6057).
    """
    low, high = np.quantile(mode, [0.0005, 0.9995])
    core = np.where(mode < low + (high - low) / 3, -1, np.where(mode > high - (high - low) / 3, 1, 0))
    visits = (core[stretch.start : stretch.stop] for stretch in stretches)
    return sum(int(np.count_nonzero(np.diff(visited[visited != 0]))) for visited in visits)
