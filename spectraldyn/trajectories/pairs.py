"""Lagged pairs and contiguous blocks of the concatenated frames of several trajectories.

A *stretch* is an uninterrupted run of evenly spaced frames; no pair and no block ever crosses the end of one.
"""

from collections.abc import Sequence

import numpy as np


def pair_starts(lengths: Sequence[int], lag: int) -> np.ndarray:
    """First frames (indices into the concatenated stretches) of all pairs (s, s + lag), shape (n_pairs,)."""
    offsets = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    runs = [np.arange(o, o + n - lag) for o, n in zip(offsets, lengths, strict=True) if n > lag]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def cut_blocks(lengths: Sequence[int], block_length: int) -> list[range]:
    """Cut every stretch into contiguous blocks of nearly equal size, about `block_length` frames each."""
    blocks, offset = [], 0
    for length in lengths:
        edges = np.linspace(0, length, max(1, round(length / block_length)) + 1).astype(int) + offset
        blocks += [range(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
        offset += length
    return blocks


def held_out_frames(lengths: Sequence[int], lag: int, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Mark whole blocks as held out, shape (n_frames,) of bool.

    Blocks are contiguous: neighbouring frames are nearly copies of each other, and a split by frame would leak the
    test data into the training data.
    """
    held_out = np.zeros(sum(lengths), dtype=bool)
    blocks = cut_blocks(lengths, max(10 * lag, sum(lengths) // 20))
    n_test = round(fraction * len(blocks))
    for index in random.permutation(len(blocks))[:n_test]:
        held_out[blocks[index].start : blocks[index].stop] = True
    return held_out
