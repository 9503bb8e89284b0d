"""Where the batches of a training come from: lagged pairs, weighted states, or a sampler that never runs out."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.dataset import Dataset
from spectraldyn.linalg import n_rows, total
from spectraldyn.processes import own
from spectraldyn.records import Batch

MAX_SCORED = 10_000
"""Pairs or states of either part that a score is taken from."""

SCORED_AT_ONCE = 4096
Scored = tuple[list[Batch], list[Batch]]
"""Training and held-out rows, some thousand at once."""


class Samples(Protocol):
    """What the training needs of its data."""

    @property
    def device(self) -> torch.device: ...

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """A batch of n independent rows; where several processes share it out, its `own` ones may do."""
        ...

    def scored(self) -> Scored | None:
        """Training and held-out rows for the score, at most some ten thousand of each; None without held-out rows."""
        ...


class Rows:
    """Rows of features where the training runs, gathered by index.

    Parameters
    ----------
    parts : sequence of Tensor (T, d)
        That hold the rows, in order.
    """

    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts
        ends = torch.tensor([len(part) for part in parts], device=parts[0].device).cumsum(0)
        self._starts = torch.cat((ends.new_zeros(1), ends))

    @classmethod
    def of(cls, data: Dataset, device: torch.device) -> "Rows":
        """Those of a data set: in main memory as views of it, on another device as one copy."""
        with warnings.catch_warnings():
            # Of arrays that may not be written; nothing writes here.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            parts = [torch.from_numpy(part) for part in data.parts]
        return cls(*parts) if device.type == "cpu" else cls(torch.cat([part.to(device) for part in parts]))

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Rows":
        """What a function (B, d) → (B, k) makes of the rows, in single precision, computed some thousand at once."""
        several = (torch.cat([function(some).float() for some in part.split(SCORED_AT_ONCE)]) for part in self.parts)
        return Rows(*several)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def gather(self, index: Tensor) -> Tensor:
        """Rows (len(index), d)."""
        if len(self.parts) == 1:
            return self.parts[0].index_select(0, index)
        home = torch.bucketize(index, self._starts, right=True) - 1
        result = self.parts[0].new_empty(len(index), self.parts[0].shape[1])
        for number, part in enumerate(self.parts):
            mine = (home == number).nonzero().squeeze(1)
            result.index_copy_(0, mine, part.index_select(0, index[mine] - self._starts[number]))
        return result


class _HeldOutSamples(ABC):
    """Samples at rows of a data set, some of which are held out."""

    rows: Rows
    train: Tensor
    test: Tensor

    @property
    def device(self) -> torch.device:
        return self.rows.device

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The samples at these rows."""

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        # With replacement, so that the rows of a batch are independent.
        drawn = torch.randint(len(self.train), (n,), generator=generator, device=self.device)
        return self.batch(self.train[own(drawn)])

    def scored(self) -> Scored | None:
        if len(self.test) < 2:
            return None
        return in_batches(self, self.train, MAX_SCORED), in_batches(self, self.test, MAX_SCORED)


@dataclass(frozen=True)
class PairSamples(_HeldOutSamples):
    """Lagged pairs among the rows of a data set."""

    rows: Rows
    distance: int
    """From the left to the right end of a pair, in rows."""
    train: Tensor
    test: Tensor
    """train and test: rows of the left ends. `test` may be empty: then there is no early stopping."""

    @classmethod
    def of(cls, rows: Rows, distance: int, train: np.ndarray, test: np.ndarray | Sequence[int] = ()) -> "PairSamples":
        """From left ends as arrays."""
        ends = (torch.as_tensor(np.asarray(part, dtype=np.int64), device=rows.device) for part in (train, test))
        return cls(rows, distance, *ends)

    def batch(self, starts: Tensor) -> Batch:
        """The pairs with these left ends."""
        return Batch(*self.rows.gather(torch.cat((starts, starts + self.distance))).tensor_split(2))


@dataclass(frozen=True)
class WeightedSamples(_HeldOutSamples):
    """States with importance weights."""

    rows: Rows
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

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        return self.sampler(n, generator)

    def scored(self) -> None:
        return None


def in_batches(data: _HeldOutSamples, rows: Tensor, most: int) -> list[Batch]:
    """At most so many of these rows, evenly picked, some thousand at once."""
    return [data.batch(some) for some in rows[:: -(-len(rows) // most)].split(SCORED_AT_ONCE)]
