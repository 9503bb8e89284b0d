"""Inner products of learned functions over a batch: the one place where L x L Gram matrices are formed.

Averages are sums over rows divided by their number. Both pass through `total` and `n_rows`, so that where several
processes hold a part of the rows each (see `spectraldyn.processes`), these two are all that has to know it.
"""

from typing import Any

import torch
from torch import Tensor, einsum

from spectraldyn.processes import shared_rows, sum_of_all


def total(sums: Tensor) -> Tensor:
    """Sum over all processes of what each has summed over its own rows; on one process the same tensor.

    To gradients it is the identity: every process differentiates with respect to its own rows, and the gradients of
    the parameters are summed over the processes. That is right for a loss that is a function of totals; no row may be
    scaled by a total that carries gradient.
    """
    return sums if shared_rows() is None else _Total.apply(sums)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, sums: Tensor) -> Tensor:
        return sum_of_all(sums)

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> Tensor:
        return upstream


def n_rows(rows: int) -> int:
    """Rows of all processes together; on one process the same number."""
    shared = shared_rows()
    return rows if shared is None else shared


def gram(f: Tensor, g: Tensor | None = None) -> Tensor:
    """Gram matrix E[f_i · g_j], shape (L, L), of two sets of functions (B, L, K); of f with itself without g."""
    left = f.permute(1, 2, 0).flatten(1)
    right = left if g is None else g.permute(1, 2, 0).flatten(1)
    return total(left @ right.T) / n_rows(f.shape[0])


def inner(f: Tensor, g: Tensor) -> Tensor:
    """Inner products E[f_i · g_i], shape (L,), of two sets of functions (B, L, K)."""
    return total((f * g).sum(dim=(0, 2))) / n_rows(f.shape[0])


def gram_product(
    f: Tensor, g: Tensor | None = None, f_other: Tensor | None = None, g_other: Tensor | None = None
) -> Tensor:
    """Unbiased estimate of ⟨f_i, f'_j⟩ ⟨g_i, g'_j⟩, shape (L, L), from one batch.

    The product of two batch means is a biased estimate of the product of the expectations, because both means
    share their samples. Averaging over all pairs of *different* rows b ≠ c (a U-statistic) removes the bias at
    the same cost: with W⁰, W¹ the two Gram matrices and w⁰(b), w¹(b) the contributions of one row,

        (B · W⁰ ∘ W¹ − (1/B) Σ_b w⁰(b) ∘ w¹(b)) / (B − 1).

    All functions are (B, L, K), of B ≥ 2 independent rows; f' and g' are f and g where they are not given. Without g
    both factors are ⟨f_i, f'_j⟩, which is then computed once.

    References
    ----------
    Hoeffding, Ann. Math. Stat. 19 (1948) 293 for U-statistics; Ryu et al., "Operator SVD with neural networks
    via nested low-rank approximation", ICML 2024, for the product that is estimated.
    """
    rows, (_, modes, components) = n_rows(f.shape[0]), f.shape
    first = gram(f, f_other)
    product = first.square() if g is None else first * gram(g, g_other)
    if g is None:
        g, g_other = f, f_other
    one_set = f_other is None and g_other is None
    f_other, g_other = f if f_other is None else f_other, g if g_other is None else g_other
    if components <= modes:
        # Σ_b (Σ_k f_ik f'_jk)(Σ_l g_il g'_jl) as a Gram matrix of the products f_ik g_il: no (B, L, L) tensor.
        products = _products(f, g)
        same_row = products @ (products if one_set else _products(f_other, g_other)).T
    else:
        same_row = (einsum("bik,bjk->bij", f, f_other) * einsum("bik,bjk->bij", g, g_other)).sum(dim=0)
    return (rows * product - total(same_row) / rows) / (rows - 1)


def _products(f: Tensor, g: Tensor) -> Tensor:
    """f_ik g_il of every row, (L, K K B)."""
    f, g = _rows_last(f), _rows_last(g)
    return (f[:, :, None] * g[:, None, :]).flatten(1)


def _rows_last(f: Tensor) -> Tensor:
    """(B, L, K) → (L, K, B): long contiguous rows of numbers, and one matrix product for all of them."""
    return f.permute(1, 2, 0).contiguous()


def gram_product_gradient(weights: Tensor, f: Tensor, g: Tensor | None = None) -> Tensor:
    """Σ_j weights_ij f_j ⟨g_j, g_i⟩ for every row, divided by their number B: (B, L, K); without g it is f.

    Half the gradient with respect to f of Σ_ij weights_ij times the estimate of ⟨f_i, f_j⟩⟨g_i, g_j⟩ by `gram_product`,
    if the weights (L, L) are symmetric and g is held fixed.
    """
    rows, (_, modes, components) = n_rows(f.shape[0]), f.shape
    both = weights * gram(f if g is None else g) * (rows / (rows - 1))
    if components > modes:
        g = f if g is None else g
        same_row = (weights * einsum("bil,bjl->bij", g, g)) @ f
        return (both @ f - same_row / (rows - 1)) / rows
    f = _rows_last(f)
    g = f if g is None else _rows_last(g)
    result = (both @ f.flatten(1)).view_as(f)
    for component in range(components):
        other = g[:, component, None]
        same_row = (weights @ (f * other).flatten(1)).view_as(f)
        result = torch.addcmul(result, same_row, other, value=-1 / (rows - 1))
    return result.permute(2, 0, 1) / rows
