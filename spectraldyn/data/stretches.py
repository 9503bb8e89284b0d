"""Lagged pairs and contiguous blocks of the concatenated frames of several trajectories.

A *stretch* is an uninterrupted run of evenly spaced frames; no pair and no block ever crosses the end of one.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.units import Duration


def lag_in_rows(lag: Duration, lengths: Sequence[int], timestep_ps: float | None, stride: int) -> int:
    """The lag time that a user gave as --lag, in rows of features.

    Parameters
    ----------
    lag : Duration
    lengths : sequence of int
        Rows of every uninterrupted stretch.
    timestep_ps : float or None
        Time between stored frames; None where unknown.
    stride : int
        Stored frames from one row to the next.

    Raises
    ------
    InputError
        If it is no whole number of rows, or longer than every stretch.
    """
    lag_frames = lag.to_frames(timestep_ps, "--lag")
    if lag_frames < 1 or lag_frames % stride:
        raise InputError(
            f"--lag is {lag_frames} stored frames: it must be a positive multiple of --stride ({stride}), since "
            "the lag counts frames before striding"
        )
    if lag_frames // stride >= max(lengths):
        raise InputError(
            f"--lag is {lag_frames} stored frames, but the longest uninterrupted stretch has {max(lengths) * stride}: "
            "there is no pair at this lag"
        )
    return lag_frames // stride


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
    blocks = _blocks_to_hold_out(lengths, lag)
    n_test = round(fraction * len(blocks))
    for index in random.permutation(len(blocks))[:n_test]:
        held_out[blocks[index].start : blocks[index].stop] = True
    return held_out


def split_stretches(
    lengths: Sequence[int], lag: int, fraction: float, random: np.random.Generator
) -> tuple[list[range], list[range]]:
    """Cut stretches laid end to end into pieces for training and pieces held out, in contiguous blocks.

    Pieces that hold no pair at this lag are left out of both.
    """
    held_out = held_out_frames(lengths, lag, fraction, random)
    return _pieces(lengths, lag, ~held_out), _pieces(lengths, lag, held_out)


def cross_validation_folds(
    lengths: Sequence[int], lag: int, n_folds: int, random: np.random.Generator
) -> list[tuple[list[range], list[range]]]:
    """Splits as those of `split_stretches`, such that every block is held out in one of them."""
    blocks = _blocks_to_hold_out(lengths, lag)
    fold_of_block = random.permutation(len(blocks)) % n_folds
    fold = np.repeat(fold_of_block, [len(block) for block in blocks])
    return [(_pieces(lengths, lag, fold != k), _pieces(lengths, lag, fold == k)) for k in range(n_folds)]


def starts_within(pieces: Sequence[range], lag: int) -> np.ndarray:
    """First frames of all pairs that lie within one piece, shape (n_pairs,)."""
    runs = [np.arange(piece.start, piece.stop - lag) for piece in pieces]
    return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)


def _blocks_to_hold_out(lengths: Sequence[int], lag: int) -> list[range]:
    return cut_blocks(lengths, max(10 * lag, sum(lengths) // 20))


def _pieces(lengths: Sequence[int], lag: int, chosen: np.ndarray) -> list[range]:
    """Longest runs of chosen frames that cross no end of a stretch and hold a pair."""
    result, offset = [], 0
    for length in lengths:
        cuts = 1 + offset + np.flatnonzero(np.diff(chosen[offset : offset + length]))
        edges = [offset, *cuts.tolist(), offset + length]
        result += [range(a, b) for a, b in pairwise(edges) if b - a > lag and chosen[a]]
        offset += length
    return result
