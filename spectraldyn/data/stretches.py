"""Stretches of rows, the blocks they are cut into, and the lagged pairs within them.

A *stretch* is an uninterrupted run of evenly spaced rows; a *block* is a contiguous piece of one, used for resampling
and for holding data out. Both are ranges of rows, counted over all stretches laid end to end. No pair and no block
ever crosses the end of a stretch.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

Stretches = Sequence[range]


def stretches_of(lengths: Sequence[int]) -> list[range]:
    """Stretches of these lengths, laid end to end."""
    return [range(start, stop) for start, stop in pairwise(accumulate(lengths, initial=0))]


def n_rows(stretches: Stretches) -> int:
    """Rows of all stretches."""
    return sum(map(len, stretches))


def pair_starts(stretches: Stretches, lag: int) -> np.ndarray:
    """Rows of the left ends of all pairs (s, s + lag) within one stretch, shape (n_pairs,)."""
    runs = [np.arange(stretch.start, stretch.stop - lag) for stretch in stretches if len(stretch) > lag]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def cut_blocks(stretches: Stretches, block_length: float) -> list[range]:
    """Every stretch in blocks of nearly equal size, about `block_length` rows each."""
    blocks = []
    for stretch in stretches:
        n_blocks = max(1, round(len(stretch) / block_length))
        edges = stretch.start + np.linspace(0, len(stretch), n_blocks + 1).astype(int)
        blocks += [range(a, b) for a, b in pairwise(edges.tolist())]
    return blocks


def held_out_rows(
    stretches: Stretches, lag: int, fraction: float, random: np.random.Generator, n_parts: int = 1
) -> np.ndarray:
    """Mark whole blocks as held out, shape (n_parts, n_rows) of bool; each part holds out others, as far as they go.

    Blocks are contiguous: neighbouring frames are nearly copies of each other, and a split by frame would leak the
    test data into the training data.
    """
    held_out = np.zeros((n_parts, n_rows(stretches)), dtype=bool)
    blocks = _blocks_to_hold_out(stretches, lag)
    order, size = random.permutation(len(blocks)), round(fraction * len(blocks))
    for part in range(n_parts):
        for index in np.take(order, range(part * size, (part + 1) * size), mode="wrap"):
            held_out[part, blocks[index].start : blocks[index].stop] = True
    return held_out


def split_stretches(
    stretches: Stretches, lag: int, fraction: float, random: np.random.Generator
) -> tuple[list[range], list[range]]:
    """Stretches to train on and stretches held out, cut at the ends of contiguous blocks.

    What holds no pair at this lag is left out of both.
    """
    (held_out,) = held_out_rows(stretches, lag, fraction, random)
    return _chosen(stretches, lag, ~held_out), _chosen(stretches, lag, held_out)


def cross_validation_folds(
    stretches: Stretches, lag: int, n_folds: int, random: np.random.Generator
) -> list[tuple[list[range], list[range]]]:
    """Splits as those of `split_stretches`, such that every block is held out in one of them."""
    blocks = _blocks_to_hold_out(stretches, lag)
    fold = np.repeat(random.permutation(len(blocks)) % n_folds, [len(block) for block in blocks])
    return [(_chosen(stretches, lag, fold != k), _chosen(stretches, lag, fold == k)) for k in range(n_folds)]


def _blocks_to_hold_out(stretches: Stretches, lag: int) -> list[range]:
    return cut_blocks(stretches, max(10 * lag, n_rows(stretches) // 20))


def _chosen(stretches: Stretches, lag: int, chosen: np.ndarray) -> list[range]:
    """Longest runs of chosen rows that cross no end of a stretch and hold a pair."""
    result = []
    for stretch in stretches:
        cuts = 1 + stretch.start + np.flatnonzero(np.diff(chosen[stretch.start : stretch.stop]))
        edges = [stretch.start, *cuts.tolist(), stretch.stop]
        result += [range(a, b) for a, b in pairwise(edges) if b - a > lag and chosen[a]]
    return result
