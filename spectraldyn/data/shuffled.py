"""Training on rows that do not fit in memory: batches are drawn from blocks that are, others every few steps."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from functools import cache

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.rows import StoredRows
from spectraldyn.records import Batch

BUFFER_BYTES = 2**26
"""Of rows that are read for the samples in memory."""
CYCLE = 128
"""Steps for which these are drawn from, at the usual batch sizes a few times each: to read and to whiten the next ones
takes longer than as many steps, if it is done for every draw."""
BLOCK = 16
"""Samples that follow each other in the data and are read together. They are alike: with many at once the blocks would
be few, and with them what a batch knows of a slow process; with one at a time, a disk would be busy finding them."""


@cache
def _reader() -> ThreadPoolExecutor:
    """One thread for all: the memory that each has used would stay with it."""
    return ThreadPoolExecutor(1, "spectraldyn-reads-ahead")


class ShuffledBlocks:
    """Some of many samples, in memory.

    Every sample is in any of the selections with the same probability. Which ones follow from the step and the seed
    alone, so that a training that goes on after an interruption sees the same ones. The next selection is read while
    the training draws from this one.

    Parameters
    ----------
    read : callable
        Index of samples, (n,) → Batch.
    train : Tensor (n_samples,) of int
        Index of every sample, in the order in which they are stored.
    rows : StoredRows
        Where they are read from.
    """

    def __init__(self, read: Callable[[Tensor], Batch], train: Tensor, rows: StoredRows) -> None:
        self._read, self._train = read, train
        self._n_blocks = max(1, min(BUFFER_BYTES // (2 * rows.row_bytes), len(train)) // BLOCK)
        self._place: tuple[int, int] | None = None
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._held = Batch(train)

    def __len__(self) -> int:
        return self._n_blocks * BLOCK

    def seek(self, step: int, seed: int) -> None:
        """Hold the samples that this step is to draw from."""
        place = step // CYCLE, seed
        if place == self._place:
            return
        ahead = self._ahead.pop(place, None)
        batch = self._selection(*place) if ahead is None else ahead.result()
        if self._place is None:
            self._held = batch
        else:  # where they are: a captured CUDA graph goes on reading there
            for field in fields(Batch):
                if (new := getattr(batch, field.name)) is not None:
                    getattr(self._held, field.name).copy_(new)
        self._place, following = place, (place[0] + 1, seed)
        self._ahead = {following: _reader().submit(self._selection, *following)}

    def batch(self, drawn: Tensor) -> Batch:
        """Samples by their places in what is held, each in [0, len)."""
        x, y, weight = self._held.x, self._held.y, self._held.weight
        rest = (None if part is None else part.index_select(0, drawn) for part in (y, weight))
        return Batch(x.index_select(0, drawn), *rest)

    def _selection(self, cycle: int, seed: int) -> Batch:
        """Blocks that begin anywhere; one that reaches the end goes on at the beginning."""
        random = np.random.default_rng([seed, cycle])
        starts = np.sort(random.integers(len(self._train), size=self._n_blocks))  # as a disk reads best
        places = (starts[:, None] + np.arange(BLOCK)).ravel() % len(self._train)
        return self._read(self._train[torch.from_numpy(places).to(self._train.device)])
