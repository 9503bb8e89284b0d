"""Where the batches of a training come from: lagged pairs, weighted samples, or a sampler that never runs out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from spectraldyn.linalg import n_rows, total
from spectraldyn.records import Batch

MAX_SCORED_PAIRS = 20_000
MAX_SCORED_STATES = 10_000
"""Fewer, since the operators that act at single states evaluate derivatives as well."""


class Samples(Protocol):
    """What the training loop needs of its data."""

    @property
    def device(self) -> torch.device: ...

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """A batch of n independent rows."""
        ...

    def scored(self) -> tuple[Batch, Batch] | None:
        """Training and held-out rows for the score, at most some ten thousand of each; None without held-out rows."""
        ...


@dataclass(frozen=True)
class PairData:
    """States and the pairs among them.

    Attributes
    ----------
    frames : Tensor (n_frames, d)
    distance : int
        From the left to the right end of a pair, in rows of `frames`.
    train, test : Tensor of int64
        Rows of the left ends. `test` may be empty: then there is no early stopping.
    """

    frames: Tensor
    distance: int
    train: Tensor
    test: Tensor

    @property
    def device(self) -> torch.device:
        return self.frames.device

    def batch(self, starts: Tensor) -> Batch:
        ends = self.frames.index_select(0, torch.cat((starts, starts + self.distance)))
        return Batch(*ends.tensor_split(2))

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        return self.batch(_draw(self.train, n, generator))

    def scored(self) -> tuple[Batch, Batch] | None:
        return _scored(self, MAX_SCORED_PAIRS)


@dataclass(frozen=True)
class WeightedSamples:
    """States with importance weights.

    Attributes
    ----------
    states : Tensor (n, d)
    weight : Tensor (n,) or None
        Divided here by their mean over all samples, never by that of a batch; None means 1.
    train, test : Tensor of int64
        Rows. `test` may be empty.
    """

    states: Tensor
    weight: Tensor | None
    train: Tensor
    test: Tensor

    def __post_init__(self) -> None:
        if self.weight is not None:
            mean = total(self.weight.sum()) / n_rows(len(self.weight))
            object.__setattr__(self, "weight", self.weight / mean)

    @property
    def device(self) -> torch.device:
        return self.states.device

    def batch(self, rows: Tensor) -> Batch:
        return Batch(self.states[rows], weight=None if self.weight is None else self.weight[rows])

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        return self.batch(_draw(self.train, n, generator))

    def scored(self) -> tuple[Batch, Batch] | None:
        return _scored(self, MAX_SCORED_STATES)


@dataclass(frozen=True)
class FreshSamples:
    """New samples for every batch, from a law that can be drawn from; nothing to overfit, so nothing is held out.

    Attributes
    ----------
    sampler : callable (n, torch.Generator) → Batch
    device : torch.device
    """

    sampler: Callable[[int, torch.Generator], Batch]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        return self.sampler(n, generator)

    def scored(self) -> None:
        return None


def _draw(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """With replacement, so that the rows of a batch are independent."""
    return rows[torch.randint(len(rows), (n,), generator=generator, device=rows.device)]


def _scored(data: PairData | WeightedSamples, most: int) -> tuple[Batch, Batch] | None:
    if len(data.test) < 2:
        return None
    train, test = (data.batch(rows[:: -(-len(rows) // most)]) for rows in (data.train, data.test))
    return train, test
