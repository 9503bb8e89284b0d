"""Inner products of learned functions over a batch: the one place where L x L Gram matrices are formed."""

from torch import Tensor, einsum


def gram(f: Tensor, g: Tensor) -> Tensor:
    """Gram matrix E[f_i · g_j], shape (L, L), of two sets of functions (B, L, K)."""
    return _sum_over_rows(f, g) / f.shape[0]


def inner(f: Tensor, g: Tensor) -> Tensor:
    """Inner products E[f_i · g_i], shape (L,), of two sets of functions (B, L, K)."""
    return (f * g).sum(dim=(0, 2)) / f.shape[0]


def _sum_over_rows(f: Tensor, g: Tensor) -> Tensor:
    """Σ_b Σ_k f_bik g_bjk as one matrix product."""
    return f.transpose(0, 1).flatten(1) @ g.transpose(0, 1).flatten(1).T


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
    if components <= modes:
        # Σ_b (Σ_k f_ik f'_jk)(Σ_l g_il g'_jl) as a Gram matrix of the products f_ik g_il: no (B, L, L) tensor.
        products = (f[..., :, None] * g[..., None, :]).flatten(2)
        other_products = (f_other[..., :, None] * g_other[..., None, :]).flatten(2)
        same_row = _sum_over_rows(products, other_products)
    else:
        same_row = (einsum("bik,bjk->bij", f, f_other) * einsum("bik,bjk->bij", g, g_other)).sum(dim=0)
    return (rows * gram(f, f_other) * gram(g, g_other) - same_row / rows) / (rows - 1)
