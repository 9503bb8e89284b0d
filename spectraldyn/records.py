"""The two records that pass between networks, operators, objectives and the training loop."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""Maps states (B, d) to learned functions (B, L)."""


@dataclass(frozen=True)
class Batch:
    """Independent samples; one row is one sample.

    Attributes
    ----------
    x : Tensor (B, d)
        States.
    y : Tensor (B, d') or None
        What belongs to each state: the same one lag time later, its partner in another modality, or an independent
        second state for a kernel. None for operators that act at one state alone.
    weight : Tensor (B,) or None
        Importance weights dμ/dp where the rows were drawn from a law p other than the μ of the inner products. None
        means 1.
    """

    x: Tensor
    y: Tensor | None = None
    weight: Tensor | None = None

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """x and y, for operators that need both."""
        if self.y is None:
            raise ValueError("this operator acts between two states, but the batch has no y")
        return self.x, self.y


@dataclass(frozen=True)
class Action:
    """What an operator T does to the learned functions on one batch.

    Inner products sum over the K components and average over the rows. Row b of f and of g depends on sample b alone:
    the U-statistic of the metric term rests on that.

    Attributes
    ----------
    f, g : Tensor (B, L, K)
        Left and right functions. The same tensor when the sides are tied.
    Tg, Tf : Tensor (B, L, K)
        The operator on the right functions, and its adjoint on the left ones. All four carry gradient.
    known : tuple of float
        Singular values of the leading functions that are known exactly and never learned (the constant one of a
        transfer operator); each of these functions has its singular value as squared norm.
    """

    f: Tensor
    Tg: Tensor
    g: Tensor
    Tf: Tensor
    known: tuple[float, ...] = ()


Operator = Callable[[Network, Network, Batch], Action]
Objective = Callable[[Action], Tensor]
