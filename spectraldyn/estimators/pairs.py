"""Which rows of the data make lagged pairs, and which of these every network learns from or holds out."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from spectraldyn.data import held_out_rows, pair_starts
from spectraldyn.data.stretches import Stretches
from spectraldyn.data.weights import effective_sample_size

N_LAGS = 12
"""Lag times for which moments are kept, besides that of the fit."""


@dataclass(frozen=True)
class LaggedPairs:
    """Rows one lag time apart."""

    stretches: Stretches
    """Of left ends: no pair starts in one and ends in another."""
    distance: int
    """From the left to the right end of a pair, in rows."""
    lags: dict[int, int]
    """Lag time in rows → this distance, for all lag times of which moments are kept."""
    all: np.ndarray
    """(n_pairs,) of int64: rows of the left ends."""
    parts: list[tuple[np.ndarray, np.ndarray]]
    """Left ends that a network learns from, and those held out from it; for each network others."""

    @classmethod
    def within(
        cls, stretches: Stretches, lagtime: int, test_fraction: float, random: np.random.Generator, n_parts: int
    ) -> Self:
        """All pairs within stretches."""
        starts = pair_starts(stretches, lagtime)
        lags = {lag: lag for lag in lag_scan(lagtime, max(map(len, stretches)))}
        held_out = held_out_rows(stretches, lagtime, test_fraction, random, n_parts)
        return cls(stretches, lagtime, lags, starts, _parts(held_out, starts, lagtime))

    @classmethod
    def ready_made(
        cls, n_pairs: int, lagtime: int, test_fraction: float, random: np.random.Generator, n_parts: int
    ) -> Self:
        """Pairs that are stored as all left ends followed by all right ends."""
        stretches, starts = [range(n_pairs)], np.arange(n_pairs)
        held_out = np.tile(held_out_rows(stretches, 1, test_fraction, random, n_parts), (1, 2))
        return cls(stretches, n_pairs, {lagtime: n_pairs}, starts, _parts(held_out, starts, n_pairs))

    def repeated(self, counts: np.ndarray) -> Self:
        """Every pair as often as is said, (n_rows,) of int, of the row that it starts in.

        Copies of a pair are learned from or held out together, so that none is held out from its own copies.
        """
        parts = [(np.repeat(train, counts[train]), np.repeat(test, counts[test])) for train, test in self.parts]
        parts = [part if len(part[0]) else (np.concatenate(part), part[1][:0]) for part in parts]
        return replace(self, all=np.repeat(self.all, counts[self.all]), parts=parts)

    def weighted(self, weight: np.ndarray) -> Self:
        """Every pair about as often as in proportion to the weight (n_rows,) of the row that it starts in, as many in
        all as the weights are worth: see `effective_sample_size`.

        By systematic resampling: every count differs by less than 1 from what the weight says.
        """
        own = weight[self.all]
        n_pairs = max(1, round(effective_sample_size(own)))
        reached = np.cumsum(own)
        places = (np.arange(n_pairs) + 0.5) / n_pairs * reached[-1]
        drawn = np.minimum(np.searchsorted(reached, places), len(own) - 1)
        return self.repeated(np.bincount(self.all[drawn], minlength=len(weight)))


def _parts(held_out: np.ndarray, starts: np.ndarray, distance: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs with both ends in the training rows, and those with both in the held-out ones (n_parts, n_rows)."""
    parts = []
    for part in held_out:
        left, right = part[starts], part[starts + distance]
        train, test = starts[~left & ~right], starts[left & right]
        parts.append((train, test) if len(train) else (starts, starts[:0]))
    return parts


def lag_scan(lagtime: int, longest: int) -> list[int]:
    """Lag times in rows for the plot of timescales: from 1 to ten times the lag time, evenly in the logarithm."""
    last = max(lagtime, min(10 * lagtime, longest // 2))
    return sorted({lagtime, *np.geomspace(1, last, N_LAGS).round().astype(int).tolist()})
