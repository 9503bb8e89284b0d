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
    y : Tensor (B, d)
        The same states one lag time later.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Action:
    """What an operator T does to the learned functions on one batch.

    Inner products sum over the K components and average over the rows. Row b depends on sample b alone: the
    U-statistic of the metric term rests on that.

    Attributes
    ----------
    f, g : Tensor (B, L, K)
        Left and right functions. The same tensor when the sides are tied.
    Tg, Tf : Tensor (B, L, K)
        The operator on the right functions, and its adjoint on the left ones. All four carry gradient.
    """

    f: Tensor
    Tg: Tensor
    g: Tensor
    Tf: Tensor


Operator = Callable[[Network, Network, Batch], Action]
Objective = Callable[[Action], Tensor]
