"""The two records that pass between networks, operators, objectives and the training loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spectraldyn.errors import InputError

Network = Callable[[Tensor], Tensor]
"""Maps states (B, d) to learned functions (B, L)."""


@dataclass(frozen=True)
class Batch:
    """Independent samples; one row is one sample."""

    x: Tensor
    """(B, d): states."""
    y: Tensor | None = None
    """(B, d') or None: what belongs to each state: the same one lag time later, its partner in another modality, or an
    independent second state for a kernel. None for operators that act at one state alone."""
    weight: Tensor | None = None
    """(B,) or None: importance weights dμ/dp where the rows were drawn from a law p other than the μ of the inner
    products. None means 1."""

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """x and y, for operators that need both."""
        if self.y is None:
            raise InputError("this operator acts between two states, but the batch has no y")
        return self.x, self.y


@dataclass(frozen=True)
class Action:
    """What an operator T does to the learned functions on one batch.

    Inner products sum over the K components and average over the rows. Row b of f and of g depends on sample b alone:
    the U-statistic of the metric term rests on that.
    """

    f: Tensor
    Tg: Tensor
    g: Tensor
    """f and g: (B, L, K): left and right functions."""
    Tf: Tensor
    """Tg and Tf: (B, L, K): the operator on the right functions, and its adjoint on the left ones. All four carry
    gradient."""
    known: tuple[float, ...] = ()
    """Singular values of the leading functions that are known exactly and never learned (the constant one of a transfer
    operator); each of these functions has its singular value as squared norm."""
    tied: bool = False
    """The operator is self-adjoint and both sides are one set of functions on the same rows: g is f, and Tg is Tf. Left
    and right functions of one network at different states are not tied."""

    @classmethod
    def with_tied_sides(cls, f: Tensor, Tf: Tensor, known: tuple[float, ...] = ()) -> "Action":
        """Action of a self-adjoint operator on one set of functions."""
        return cls(f=f, Tg=Tf, g=f, Tf=Tf, known=known, tied=True)


Operator = Callable[[Network, Network, Batch], Action]

State = dict[str, Any]
"""What an objective remembers from batch to batch: tensors, lists of tensors and numbers by name, as
`torch.load(weights_only=True)` reads them. Empty before the first batch."""
Objective = Callable[[Action, State], tuple[Tensor, State]]
"""Maps an action and the state that the last batch left to the loss (scalar) and the state for the next batch. A state
is never changed in place, and is handed on as it came where gradients are switched off."""
