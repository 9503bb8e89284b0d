"""Transfer (Koopman) operator at a lag time, seen through lagged pairs: (T g)(x) = E[g(x_{t+τ}) | x_t = x].

The constant function is its leading singular function with singular value 1, exactly. It is put in front of the
learned functions as mode 0 and never learned.

References
----------
Wu, Noé, "Variational approach for learning Markov processes from time series data", J. Nonlinear Sci. 30 (2020) 23.
"""

import torch
from torch import Tensor

from spectraldyn.records import Action, Batch, Network


def root_weight(batch: Batch) -> Tensor | float:
    """√w of every row, (B, 1, 1): how importance weights enter all inner products."""
    return 1.0 if batch.weight is None else batch.weight.sqrt()[:, None, None]


def with_constant(functions: Tensor) -> Tensor:
    """Put the constant function 1 in front: (B, L) → (B, 1 + L)."""
    return torch.nn.functional.pad(functions, (1, 0), value=1.0)


def transfer(left: Network, right: Network, batch: Batch) -> Action:
    """General (nonreversible) dynamics: left functions at x, right functions at y, K = 1; never tied."""
    x, y = batch.pair
    root = root_weight(batch)
    f = root * with_constant(left(x)).unsqueeze(2)
    g = root * with_constant(right(y)).unsqueeze(2)
    return Action(f=f, Tg=g, g=g, Tf=f, known=(1.0,))


def reversible_transfer(left: Network, right: Network, batch: Batch) -> Action:
    """Reversible dynamics at equilibrium: sides tied (`right` is `left`), both time directions averaged, K = 2.

    One row is one pair: f = (f(x), f(y))/√2 and T f = (f(y), f(x))/√2. The two ends are components of one row and
    not two rows, since they are not independent samples.
    """
    ends = with_constant(left(torch.cat(batch.pair))) / 2**0.5
    f = ends.unflatten(0, (2, -1)).permute(1, 2, 0)
    if batch.weight is not None:
        f = root_weight(batch) * f
    return Action.with_tied_sides(f, f.flip(2), known=(1.0,))
