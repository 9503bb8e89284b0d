"""Second moments of the learned functions, per lag time and block: all that a spectrum needs of the data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra.rayleigh_ritz import Averages, Eigenmodes, Spectrum, eigenmodes, rayleigh_ritz


@dataclass(frozen=True)
class Moments:
    """Weighted sums over the rows of each block, in float64; the known functions come first.

    A row is a lagged pair (x, y), for functions h of a transfer operator at both its ends, or a state.
    """

    lagtimes: np.ndarray
    """(n_lags,) of int: in rows; a single 0 where the operator has none."""
    left: np.ndarray
    """(n_lags, n_blocks, M, M): Σ w ⟨f_i, f_j⟩; for pairs Σ h(x) h(x)ᵀ."""
    operator: np.ndarray
    """(n_lags, n_blocks, M, M): Σ w ⟨f_i, T g_j⟩; for pairs Σ h(x) h(y)ᵀ."""
    right: np.ndarray
    """(n_lags, n_blocks, M, M): Σ w ⟨g_i, g_j⟩; for pairs Σ h(y) h(y)ᵀ."""
    weight: np.ndarray
    """(n_lags, n_blocks): Σ w; for pairs without weights their number. A pair belongs to the block in which it
    starts."""
    stretch: np.ndarray
    """(n_blocks,) of int: the stretch that every block belongs to."""
    block_rows: np.ndarray
    """(n_blocks,) of int: rows of every block."""
    tied: bool
    """The sides are one: then the sums over pairs are taken in both directions of time."""
    n_known: int = 1
    """Functions that are known exactly."""

    def means(self, lag_index: int = 0, counts: np.ndarray | None = None) -> Averages:
        """Averages over all rows at one lag time; (..., M, M) where `counts` (..., n_blocks) say how blocks count."""
        counts = np.ones(len(self.stretch)) if counts is None else counts
        total = np.tensordot(counts, self.weight[lag_index], axes=1)[..., None, None]
        total = np.where(total > 0, total, 1)
        parts = self.left, self.operator, self.right
        a, b, c = (np.tensordot(counts, part[lag_index], axes=1) / total for part in parts)
        return a, b, c

    def spectrum(self, lag_index: int = 0) -> Spectrum:
        """Rayleigh–Ritz on the averages at one lag time."""
        both_ends = not self.tied
        return rayleigh_ritz(self.means(lag_index), tied=self.tied, n_known=self.n_known, both_ends=both_ends)

    def eigenmodes(self, spectrum: Spectrum, lag_index: int = 0) -> Eigenmodes:
        """Eigenvalues and eigenfunctions that belong to the spectrum at one lag time."""
        return eigenmodes(self.means(lag_index), spectrum, tied=self.tied, n_known=self.n_known)

    def at(self, lagtime: int) -> int:
        """Index of a lag time; ValueError where there are no moments of it."""
        return self.lagtimes.tolist().index(lagtime)

    def merged(self, min_rows: float) -> "Moments":
        """Join neighbouring blocks of a stretch until each holds at least `min_rows` rows, where it can."""
        first: list[int] = []
        for number in np.unique(self.stretch):
            members = np.flatnonzero(self.stretch == number)
            n_groups = int(np.clip(self.block_rows[members].sum() // max(min_rows, 1), 1, len(members)))
            first += [int(part[0]) for part in np.array_split(members, n_groups)]
        parts = self.left, self.operator, self.right, self.weight
        left, operator, right, weight = (np.add.reduceat(part, first, axis=1) for part in parts)
        stretch, rows = self.stretch[first], np.add.reduceat(self.block_rows, first)
        return Moments(self.lagtimes, left, operator, right, weight, stretch, rows, self.tied, self.n_known)


def lagged_moments(
    functions: np.ndarray,
    stretches: Stretches,
    blocks: Sequence[range],
    lags: Iterable[int] | Mapping[int, int],
    *,
    tied: bool,
    weight: np.ndarray | None = None,
) -> Moments:
    """Moments of functions that have been evaluated on all rows: [1, f] or, for sides that are not tied, [1, f, g].

    Blocks are in order, each within one stretch. The lags are lag times in rows; or lag time → distance of the two ends
    of a pair in `functions`, for ready-made pairs, which are stored as all left ends followed by all right ends. Tied
    sides take every pair in both directions of time. A pair carries the weight, (n_rows,), of its left end.
    """
    distances = dict(lags) if isinstance(lags, Mapping) else {lag: lag for lag in lags}
    ends = np.array([s.stop for s in stretches])
    stretch = np.searchsorted(ends, [b.start for b in blocks], side="right")
    n_functions = functions.shape[1]
    left, operator, right = np.zeros((3, len(distances), len(blocks), n_functions, n_functions))
    total = np.zeros((len(distances), len(blocks)))
    for i, distance in enumerate(distances.values()):
        for j, block in enumerate(blocks):
            stop = min(block.stop, int(ends[stretch[j]]) - distance)
            if stop <= block.start:
                continue
            x, y = functions[block.start : stop], functions[block.start + distance : stop + distance]
            w = None if weight is None else weight[block.start : stop]
            wx, wy = (x.T, y.T) if w is None else (x.T * w, y.T * w)
            left[i, j], operator[i, j], right[i, j] = wx @ x, wx @ y, wy @ y
            total[i, j] = len(x) if w is None else w.sum()
    if tied:
        left = right = (left + right) / 2
        operator = (operator + operator.swapaxes(2, 3)) / 2
    block_rows = np.array([len(b) for b in blocks])
    return Moments(np.array(list(distances)), left, operator, right, total, stretch, block_rows, tied)
