"""Inner products of learned functions over a batch: the one place where L x L Gram matrices are formed."""

import torch
from torch import Tensor, einsum


def gram(f: Tensor, g: Tensor) -> Tensor:
    """Gram matrix E[f_i · g_j], shape (L, L), of two sets of functions (B, L, K)."""
    return _sum_over_rows(f, g) / f.shape[0]


def inner(f: Tensor, g: Tensor) -> Tensor:
    """Inner products E[f_i · g_i], shape (L,), of two sets of functions (B, L, K)."""
    return (f * g).sum(dim=(0, 2)) / f.shape[0]


def _sum_over_rows(f: Tensor, g: Tensor) -> Tensor:
    """Σ_b Σ_k f_bik g_bjk as one matrix product."""
    left = f.permute(1, 2, 0).flatten(1)
    right = left if g is f else g.permute(1, 2, 0).flatten(1)
    return left @ right.T


def gram_product(f: Tensor, f_other: Tensor, g: Tensor, g_other: Tensor) -> Tensor:
    """Unbiased estimate of ⟨f_i, f'_j⟩ ⟨g_i, g'_j⟩, shape (L, L), from one batch.

    The product of two batch means is a biased estimate of the product of the expectations, because both means
    share their samples. Averaging over all pairs of *different* rows b ≠ c (a U-statistic) removes the bias at
    the same cost: with W⁰, W¹ the two Gram matrices and w⁰(b), w¹(b) the contributions of one row,

        (B · W⁰ ∘ W¹ − (1/B) Σ_b w⁰(b) ∘ w¹(b)) / (B − 1).

    Parameters
    ----------
    f, f_other, g, g_other : Tensor (B, L, K)
        B ≥ 2 independent rows.

    References
    ----------
    Hoeffding, Ann. Math. Stat. 19 (1948) 293 for U-statistics; Ryu et al., "Operator SVD with neural networks
    via nested low-rank approximation", ICML 2024, for the product that is estimated.
    """
    rows, modes, components = f.shape
    first = gram(f, f_other)
    product = first * (first if g is f and g_other is f_other else gram(g, g_other))
    if components <= modes:
        # Σ_b (Σ_k f_ik f'_jk)(Σ_l g_il g'_jl) as a Gram matrix of the products f_ik g_il: no (B, L, L) tensor.
        products = _products(f, g)
        other_products = products if f_other is f and g_other is g else _products(f_other, g_other)
        same_row = products @ other_products.T
    else:
        same_row = (einsum("bik,bjk->bij", f, f_other) * einsum("bik,bjk->bij", g, g_other)).sum(dim=0)
    return (rows * product - same_row / rows) / (rows - 1)


def _products(f: Tensor, g: Tensor) -> Tensor:
    """f_ik g_il of every row, (L, K K B)."""
    f, g = _rows_last(f), _rows_last(g)
    return (f[:, :, None] * g[:, None, :]).flatten(1)


def _rows_last(f: Tensor) -> Tensor:
    """(B, L, K) → (L, K, B): long contiguous rows of numbers, and one matrix product for all of them."""
    return f.permute(1, 2, 0).contiguous()


def gram_product_gradient(weights: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """Σ_j weights_ij f_j ⟨g_j, g_i⟩ for every row, divided by their number B: (B, L, K).

    Half the gradient with respect to f of Σ_ij weights_ij times the estimate of ⟨f_i, f_j⟩⟨g_i, g_j⟩ by `gram_product`,
    if the weights (L, L) are symmetric.
    """
    rows, modes, components = f.shape
    both = weights * gram(g, g) * (rows / (rows - 1))
    if components > modes:
        same_row = (weights * einsum("bil,bjl->bij", g, g)) @ f
        return (both @ f - same_row / (rows - 1)) / rows
    tied = f is g
    f = _rows_last(f)
    g = f if tied else _rows_last(g)
    result = (both @ f.flatten(1)).view_as(f)
    for component in range(components):
        other = g[:, component, None]
        same_row = (weights @ (f * other).flatten(1)).view_as(f)
        result = torch.addcmul(result, same_row, other, value=-1 / (rows - 1))
    return result.permute(2, 0, 1) / rows
