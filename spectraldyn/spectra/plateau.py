"""Whether a timescale is level against the lag time, or still climbs: paired comparisons on the same resampled blocks.

For reversible dynamics the implied timescale of functions that miss part of a slow process grows with the lag time,
towards the true one (Prinz et al., J. Chem. Phys. 134 (2011) 174105): while it grows, what is seen is no Markov
process, and the timescale is a lower bound. Timescales at two lag times come from the same data, and their errors
largely cancel in the ratio. So it is the ratio that is bootstrapped, as log t(τ₂) − log t(τ₁) on the same blocks:
neither its interval nor a verdict follows from the intervals of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from spectraldyn.spectra import intervals
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes
from spectraldyn.spectra.timescales import matched, timescales_from_eigenvalues

TOLERANCE = 1.1
"""A ratio of timescales up to this does not matter, however significant: with much data any imperfection is."""
PRECISION = 1.5
"""Ratio that the data must exclude for timescales that do not differ significantly to count as the same."""
SPAN = 2.0
"""Ratio of lag times over which a timescale must be level: between close ones anything is."""


class Source(NamedTuple):
    """One process at one lag time, of one fit: where its timescale can be resampled."""

    moments: Moments
    lag_index: int
    modes: Eigenmodes
    """From the means of these moments at this lag time."""
    process: int
    """Which of the modes."""

    @property
    def lagtime(self) -> int:
        """In rows."""
        return int(self.moments.lagtimes[self.lag_index])

    @property
    def value(self) -> float:
        """The timescale in rows."""
        return float(timescales_from_eigenvalues(self.modes.values, self.lagtime)[self.process])


@dataclass(frozen=True)
class Change:
    """A timescale beside a reference, and the ratio with a 95 % interval that holds together with those of others."""

    reference: float
    value: float
    """reference and value: in rows, unless it is said to be otherwise."""
    low: float
    high: float
    """low and high: of the ratio of the two."""

    @property
    def ratio(self) -> float:
        """Of the timescale to the reference."""
        return self.value / self.reference

    @property
    def climbs(self) -> bool:
        """Surely longer than the reference, and by more than `TOLERANCE`."""
        return self.low > 1 and self.ratio > TOLERANCE

    @property
    def falls(self) -> bool:
        """Surely shorter than the reference, and by more than `TOLERANCE`."""
        return self.high < 1 and self.ratio < 1 / TOLERANCE

    @property
    def same(self) -> bool | None:
        """Whether it is the same timescale; None where a change by `PRECISION` might have been missed."""
        if self.climbs or self.falls:
            return False
        return True if self.low > 1 / PRECISION and self.high < PRECISION else None


@dataclass(frozen=True)
class Plateau:
    """Whether one timescale is level against the lag time; lag times in rows."""

    reached: bool | None
    """It is level from `from_lag` on; False where it climbs from every lag time that is not too long to tell; None
    where the data are too few to tell."""
    from_lag: int | None = None
    """Where the plateau begins; None without one."""
    to_lag: int | None = None
    """How far the plateau can be seen; without one, the longest lag time to which it climbs from the one asked about
    or, where it does not, the longest that counts. None where nothing can be compared."""
    change: Change | None = None
    """From the lag time asked about to `to_lag`; None where that is no longer one."""


def changes(sources: Sequence[Source], slowest: float, random_state: int) -> list[Change] | None:
    """All timescales but the first beside the first, on the same bootstrap blocks of the same data.

    The sources are of one fit or of several; their moments have the same blocks. The slowest timescale, in rows, sets
    the length of a bootstrap block. None where there are too few blocks to resample, or in which a process varies.
    """
    resampled = _log_replicates(sources, slowest, random_state)
    return None if resampled is None else _changes(sources, *resampled)


def _log_replicates(sources: Sequence[Source], slowest: float, random_state: int) -> tuple[np.ndarray, int] | None:
    """Bootstrap replicates of the logarithms of all timescales, (n_replicates, n_sources), and how many blocks held
    pairs; None where there are too few."""
    # At the shortest lag time the most blocks hold pairs.
    first = min(sources, key=lambda source: source.lagtime)
    _, counts = intervals.block_bootstrap(first.moments, first.lag_index, slowest, random_state)
    logs, n_blocks = np.empty((len(counts), len(sources))), counts.shape[1]
    for column, source in enumerate(sources):
        moments, index, modes = source.moments, source.lag_index, source.modes
        blocks, own = intervals.block_bootstrap(moments, index, slowest, random_state)
        v = modes.functions[:, [source.process]]
        per_block = np.einsum("ik,bij,jk->bk", v.conj(), blocks.left[index], v).real
        if not len(own) or intervals.participation(per_block)[0] < intervals.MIN_INDEPENDENT:
            return None
        n_blocks = min(n_blocks, np.count_nonzero(blocks.weight[index]))
        quotients = intervals.rayleigh_quotients(blocks, index, modes, counts)[:, source.process]
        with np.errstate(divide="ignore"):
            logs[:, column] = np.log(timescales_from_eigenvalues(quotients, source.lagtime))
    return logs, n_blocks


def _changes(
    sources: Sequence[Source], logs: np.ndarray, n_blocks: int, confidence: float = intervals.CONFIDENCE
) -> list[Change]:
    """All but the first beside the first, from their replicates.

    The intervals hold simultaneously, at 95 % or another confidence: their common level is that at which the least rank
    of a replicate among all ratios falls short in half of what the confidence leaves, which allows for how strongly
    these are correlated (Beran, J. Am. Stat. Assoc. 83 (1988) 679). A replicate that is undetermined lies below the
    lower bound and above the upper one.
    """
    with np.errstate(invalid="ignore"):  # neither of two timescales that are infinite, or 0, is the longer one
        ratios = logs[:, 1:] - logs[:, :1]
    lowest, highest = (np.where(np.isnan(ratios), end, ratios) for end in (-np.inf, np.inf))
    n_ranks, tail = len(ratios) + 1, (1 - confidence) / 2
    least = np.quantile(stats.rankdata(lowest, axis=0).min(axis=1) / n_ranks, tail)
    most = np.quantile(stats.rankdata(highest, axis=0).max(axis=1) / n_ranks, 1 - tail)
    tail = min(tail, least, 1 - most)
    low, _ = intervals.percentile_interval(lowest, n_blocks, tail)
    _, high = intervals.percentile_interval(highest, n_blocks, tail)
    # Between an infinite replicate and another there is nothing to interpolate: no bound.
    low, high = np.exp(np.where(np.isnan(low), -np.inf, low)), np.exp(np.where(np.isnan(high), np.inf, high))
    return [
        Change(sources[0].value, source.value, float(lower), float(upper))
        for source, lower, upper in zip(sources[1:], low, high, strict=True)
    ]


def plateau(
    moments: Moments, lagtime: int, random_state: int, confidence: float = intervals.CONFIDENCE
) -> list[Plateau]:
    """Whether the timescales of one fit are level against the lag time, for every process, the slowest first.

    Parameters
    ----------
    moments : Moments
        Of the functions of the fit, at several lag times.
    lagtime : int
        The lag time asked about, in rows: that of the fit. Processes are those at this lag time; at others each is the
        mode that it overlaps with most.
    random_state : int
        Seed of the resampling.
    confidence : float
        See `plateau_of`.

    Returns
    -------
    list of Plateau
        See `plateau_of`.
    """
    at_fit = moments.at(lagtime)
    own = moments.eigenmodes(moments.spectrum(at_fit), at_fit)
    gram = moments.means(at_fit)[0]
    sources: list[list[Source]] = [[] for _ in own.values]
    for index in np.argsort(moments.lagtimes).tolist():
        here = own if index == at_fit else moments.eigenmodes(moments.spectrum(index), index)
        which = matched(gram, here.functions, own.functions, range(len(here.values)), None)
        for process, number in zip(sources, which, strict=True):
            if number is not None:
                process.append(Source(moments, index, here, number))
    values = timescales_from_eigenvalues(own.values, lagtime)
    slowest = float(values[np.isfinite(values)].max(initial=lagtime))
    return [plateau_of(process, lagtime, slowest, random_state, confidence) for process in sources]


def plateau_of(
    sources: Sequence[Source], lagtime: int, slowest: float, random_state: int, confidence: float = intervals.CONFIDENCE
) -> Plateau:
    """Whether one timescale is level against the lag time, from one fit or from another fit at every lag time.

    From the shortest lag time on, the timescale is compared with those at all longer ones. It climbs where one of them
    is surely longer, with this confidence for all of them together, and by more than `TOLERANCE`. The plateau begins
    with the first lag time from which it does not climb, if the data would have shown a climb by `PRECISION` over a
    range of at least `SPAN` that holds the lag time asked about. Later lag times are looked at only after a climb was
    found, so that no correction for their number is needed (tests in a fixed order).

    Lag times count up to the first that is no shorter than the timescale at the one before. Were it to be shorter than
    the timescale at itself, those would be kept at which chance has made this long, and it would climb.

    Parameters
    ----------
    sources : sequence of Source
        By increasing lag time; see `changes`.
    lagtime : int
        The lag time asked about, in rows, at which there is one.
    slowest : float
        Timescale in rows that sets the length of a bootstrap block.
    random_state : int
        Seed of the resampling.
    confidence : float
        Of the intervals.
    """
    known = _resolved(sources, lagtime)
    resampled = _log_replicates(known, slowest, random_state) if len(known) > 1 else None
    if resampled is None:
        return Plateau(None)
    logs, n_blocks = resampled
    lags = [source.lagtime for source in known]
    onwards = [_changes(known[first:], logs[:, first:], n_blocks, confidence) for first in range(len(known) - 1)]
    reached, from_lag, seen = _where_level(lags, onwards, lagtime)
    asked = lags.index(lagtime)
    later = dict(zip(lags[asked + 1 :], onwards[asked], strict=True)) if asked < len(onwards) else {}
    to_lag = seen or max((lag for lag, change in later.items() if change.climbs), default=lags[-1])
    return Plateau(reached, from_lag, to_lag, later.get(to_lag))


def _resolved(sources: Sequence[Source], lagtime: int) -> list[Source]:
    """Those whose timescale tells something, in their order; none where it does not at the lag time asked about."""
    known: list[Source] = []
    for source in sources:
        value, lag = source.value, source.lagtime
        if lag > lagtime and known and not lag < known[-1].value:
            break
        if 0 < value < np.inf and (lag != lagtime or value > lag):
            known.append(source)
    return known if lagtime in [source.lagtime for source in known] else []


def _where_level(
    lags: list[int], onwards: list[list[Change]], lagtime: int
) -> tuple[bool | None, int | None, int | None]:
    """Whether there is a plateau, where it begins and how far it can be seen, from the changes from every lag on."""
    reached: bool | None = None
    for first, later in zip(lags, onwards, strict=False):
        distant = [(lag, change) for lag, change in zip(lags[-len(later) :], later, strict=True) if lag >= SPAN * first]
        if not distant:
            break
        if any(change.climbs for change in later):
            reached = False
            continue
        seen = [lag for lag, change in distant if lag >= lagtime and change.same]
        return (True, first, seen[-1]) if seen else (None, None, None)
    return reached, None, None
