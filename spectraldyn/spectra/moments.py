"""Second moments of the learned functions, per lag time and block: all that a spectrum needs of the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Averages = tuple[np.ndarray, np.ndarray, np.ndarray]
"""C₀₀, C₀₁ and C₁₁ over pairs, each (..., M, M)."""


@dataclass(frozen=True)
class Moments:
    """Sums over the lagged pairs of each block, in float64; function 0 is the constant 1.

    Attributes
    ----------
    lagtimes : ndarray (n_lags,) of int
        In frames.
    instantaneous : ndarray (n_lags, n_blocks, M, M)
        Σ h(x) h(x)ᵀ over the pairs (x, y) that start in the block; entry (0, 0) counts them.
    lagged : ndarray (n_lags, n_blocks, M, M)
        Σ h(x) h(y)ᵀ.
    shifted : ndarray (n_lags, n_blocks, M, M)
        Σ h(y) h(y)ᵀ.
    stretch : ndarray (n_blocks,) of int
        The uninterrupted stretch of trajectory every block belongs to.
    block_frames : ndarray (n_blocks,) of int
        Frames in every block.
    """

    lagtimes: np.ndarray
    instantaneous: np.ndarray
    lagged: np.ndarray
    shifted: np.ndarray
    stretch: np.ndarray
    block_frames: np.ndarray

    def means(self, lag_index: int, weights: np.ndarray | None = None) -> Averages:
        """C₀₀, C₀₁ and C₁₁ at one lag, averaged over all pairs.

        Parameters
        ----------
        lag_index : int
            Index into `lagtimes`.
        weights : ndarray (..., n_blocks), optional
            How often every block counts (bootstrap replicates); the result then has shape (..., M, M).
        """
        if weights is None:
            weights = np.ones(len(self.stretch))
        sums = [
            np.tensordot(weights, part[lag_index], axes=1) for part in (self.instantaneous, self.lagged, self.shifted)
        ]
        n_pairs = np.maximum(sums[0][..., :1, :1], 1)
        return sums[0] / n_pairs, sums[1] / n_pairs, sums[2] / n_pairs

    def merged(self, min_frames: float) -> "Moments":
        """Join neighbouring blocks of a stretch until each holds at least `min_frames` frames, where it can."""
        first = first_of_groups(self.stretch, self.block_frames, min_frames)
        instantaneous, lagged, shifted = (
            np.add.reduceat(part, first, axis=1) for part in (self.instantaneous, self.lagged, self.shifted)
        )
        return Moments(
            self.lagtimes,
            instantaneous,
            lagged,
            shifted,
            stretch=self.stretch[first],
            block_frames=np.add.reduceat(self.block_frames, first),
        )


def first_of_groups(stretch: np.ndarray, block_frames: np.ndarray, min_frames: float) -> list[int]:
    """First block of every group of neighbouring blocks of a stretch that hold at least `min_frames` frames together.

    A stretch shorter than that is one group.
    """
    first: list[int] = []
    for number in np.unique(stretch):
        members = np.flatnonzero(stretch == number)
        n_groups = int(np.clip(block_frames[members].sum() // max(min_frames, 1), 1, len(members)))
        first += [int(part[0]) for part in np.array_split(members, n_groups)]
    return first


def lagged_moments(
    functions: np.ndarray, stretches: Sequence[range], blocks: Sequence[range], lags: Mapping[int, int]
) -> Moments:
    """Moments of functions evaluated on the concatenated frames of several stretches.

    Parameters
    ----------
    functions : ndarray (n_frames, M)
        The first column is 1.
    stretches : sequence of range
        Uninterrupted frames, as indices into `functions`.
    blocks : sequence of range
        In order, each within one stretch. A pair belongs to the block in which it starts.
    lags : mapping
        Lag time in frames → distance of the two ends of a pair in `functions` (the same number, except for
        ready-made pairs, which are stored as all left ends followed by all right ends).
    """
    ends = np.array([s.stop for s in stretches])
    stretch = np.searchsorted(ends, [b.start for b in blocks], side="right")
    n_functions = functions.shape[1]
    instantaneous, lagged, shifted = np.zeros((3, len(lags), len(blocks), n_functions, n_functions))
    for i, distance in enumerate(lags.values()):
        for j, block in enumerate(blocks):
            stop = min(block.stop, int(ends[stretch[j]]) - distance)
            if stop > block.start:
                x, y = functions[block.start : stop], functions[block.start + distance : stop + distance]
                instantaneous[i, j], lagged[i, j], shifted[i, j] = x.T @ x, x.T @ y, y.T @ y
    return Moments(
        lagtimes=np.array(list(lags)),
        instantaneous=instantaneous,
        lagged=lagged,
        shifted=shifted,
        stretch=stretch,
        block_frames=np.array([len(b) for b in blocks]),
    )
