"""Where the batches of a training come from: lagged pairs, weighted states, or a sampler that never runs out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.rows import SCORED_AT_ONCE, Rows, StoredRows
from spectraldyn.data.shuffled import ShuffledBlocks
from spectraldyn.linalg import n_rows, total
from spectraldyn.processes import own
from spectraldyn.records import Batch

MAX_SCORED = 10_000
"""Pairs or states of either part that a score is taken from."""

Scored = tuple[list[Batch], list[Batch]]
"""Training and held-out rows, some thousand at once."""


class Samples(Protocol):
    """What the training needs of its data."""

    @property
    def device(self) -> torch.device: ...

    def seek(self, step: int, seed: int) -> None:
        """Make ready what the batches of this step of a training, counted from 0, are drawn from."""
        ...

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """A batch of n independent rows; where several processes share it out, its `own` ones may do."""
        ...

    def scored(self) -> Scored | None:
        """Training and held-out rows for the score, at most some ten thousand of each; None without held-out rows."""
        ...


class _HeldOutSamples(ABC):
    """Samples at rows of a data set, some of which are held out."""

    rows: Rows | StoredRows
    train: Tensor
    test: Tensor
    most_scored: int = MAX_SCORED

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The samples at these rows."""

    @cached_property
    def _in_memory(self) -> ShuffledBlocks | None:
        """Of rows on disk some in memory, which batches are drawn from; None where all are there."""
        return ShuffledBlocks(self.batch, self.train, self.rows) if isinstance(self.rows, StoredRows) else None

    def seek(self, step: int, seed: int) -> None:
        if self._in_memory is not None:
            self._in_memory.seek(step, seed)

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        # With replacement, so that the rows of a batch are independent.
        n_samples = len(self.train) if self._in_memory is None else len(self._in_memory)
        drawn = own(torch.randint(n_samples, (n,), generator=generator, device=self.device))
        return self.batch(self.train[drawn]) if self._in_memory is None else self._in_memory.batch(drawn)

    def scored(self) -> Scored | None:
        if len(self.test) < 2:
            return None
        return in_batches(self, self.train, self.most_scored), in_batches(self, self.test, self.most_scored)


@dataclass(frozen=True)
class PairSamples(_HeldOutSamples):
    """Lagged pairs among the rows of a data set."""

    rows: Rows | StoredRows
    distance: int
    """From the left to the right end of a pair, in rows."""
    train: Tensor
    test: Tensor
    """train and test: rows of the left ends. `test` may be empty: then there is no early stopping."""
    most_scored: int = MAX_SCORED
    """Pairs of either part that a score is taken from, at most."""

    @classmethod
    def of(
        cls, rows: Rows | StoredRows, distance: int, train: np.ndarray, test: np.ndarray | Sequence[int] = ()
    ) -> "PairSamples":
        """From left ends as arrays."""
        ends = (torch.as_tensor(np.asarray(part, dtype=np.int64), device=rows.device) for part in (train, test))
        left, held_out = ends
        return cls(rows, distance, left, held_out)

    def batch(self, starts: Tensor) -> Batch:
        """The pairs with these left ends."""
        return Batch(*self.rows.gather(torch.cat((starts, starts + self.distance))).tensor_split(2))


@dataclass(frozen=True)
class WeightedSamples(_HeldOutSamples):
    """States with importance weights."""

    rows: Rows | StoredRows
    weight: Tensor | None
    """(n,) or None: divided here by their mean over all samples that have any, never by that of a batch; None means
    1."""
    train: Tensor
    test: Tensor
    """train and test: rows. `test` may be empty."""

    def __post_init__(self) -> None:
        if self.weight is not None:
            mean = total(self.weight.sum()) / n_rows(int((self.weight > 0).sum()))
            object.__setattr__(self, "weight", self.weight / mean)

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.rows.gather(index), weight=None if self.weight is None else self.weight[index])


@dataclass(frozen=True)
class FreshSamples:
    """New samples for every batch, from a law that can be drawn from; nothing to overfit, so nothing is held out."""

    sampler: Callable[[int, torch.Generator], Batch]
    """(n, torch.Generator) → Batch."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def seek(self, step: int, seed: int) -> None:
        pass

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        return self.sampler(n, generator)

    def scored(self) -> None:
        return None


def in_batches(data: _HeldOutSamples, rows: Tensor, most: int) -> list[Batch]:
    """Samples at at most so many of these rows, evenly picked, some thousand at once."""
    return [data.batch(some) for some in evenly_picked(rows, most)]


def evenly_picked(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """At most so many of these rows, some thousand at once."""
    return rows[:: -(-len(rows) // most)].split(SCORED_AT_ONCE)
