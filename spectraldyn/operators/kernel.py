"""Integral operators (K g)(x) = E_y[k(x, y) g(y)], and the canonical dependence kernel.

The canonical dependence kernel of two modalities, k(x, y) = p(x, y)/(p(x) p(y)), is never evaluated: its operator is
(K g)(x) = E[g(y) | x], the transfer operator from one modality to the other, and is learned from paired samples with a
network for each. Its leading singular function is the constant one with singular value 1.

References
----------
Ryu et al., ICML 2024 (arXiv:2402.03655), sections 2 and 4.2; Huang, Makur, Wornell, Zheng, "On universal features for
high-dimensional learning and inference", arXiv:1911.09105, for the canonical dependence matrix.
"""

from collections.abc import Callable

from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.linalg import n_rows
from spectraldyn.operators.transfer import transfer
from spectraldyn.records import Action, Batch, Network, Operator

canonical_dependence = transfer
"""Pairs (x, y) of two modalities in place of lagged pairs: the same operator under its other name."""


def integral_kernel(kernel: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Operator of a kernel from independent samples x and y.

    Every x of a batch meets every y, so ⟨f, K g⟩ averages over all B² values of the kernel. With one network on both
    sides (a symmetric, positive kernel) this is the eigenvalue problem: x and y are independent samples of one law, and
    the two Gram matrices of the metric term come from different samples. Never tied.

    Parameters
    ----------
    kernel : callable (B, 1, d), (1, B, d') → (B, B)

    Raises
    ------
    InputError
        Where several processes share out the batch.
    """

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        x, y = batch.pair
        values = kernel(x.unsqueeze(1), y.unsqueeze(0))
        if n_rows(len(x)) != len(x):
            raise InputError("with a kernel every x of a batch meets every y: learn its spectrum in one process")
        f, g = left(x), right(y)
        # Averages over the other ends of this batch: not `total`, which would add functions of different states.
        Tg, Tf = values @ g / len(y), values.T @ f / len(x)
        return Action(f.unsqueeze(2), Tg.unsqueeze(2), g.unsqueeze(2), Tf.unsqueeze(2))

    return operator
