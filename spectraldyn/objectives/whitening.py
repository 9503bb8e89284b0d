"""Cholesky factors of Gram matrices that may lack full rank."""

import torch
from torch import Tensor

RIDGE = 1e-4  # share of each function's squared norm that is added to it before a Gram matrix is factorised


def cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """Lower triangular L, shape (L, L), with L Lᵀ the regularised Gram matrix M + ridge · diag(M).

    Every function is regularised in proportion to its own squared norm, which adds `ridge` to the diagonal of the
    correlations: positive definite, with a finite gradient, also for dependent functions. Uncorrelated ones are only
    rescaled, so that the optimum over all functions stays where it is. Diverged functions alone have no factor: it is
    NaN then instead of an error, and so is the loss, which is what a training loop looks for.
    """
    ridged = matrix + torch.diag_embed((ridge * matrix.diagonal()).clamp_min(torch.finfo(matrix.dtype).tiny))
    factor, failed = torch.linalg.cholesky_ex(ridged)
    return factor.masked_fill(failed[..., None, None] > 0, torch.nan)


def whitened(A: Tensor, B: Tensor, C: Tensor | None, ridge: float) -> Tensor:
    """K = L_A⁻¹ B L_C⁻ᵀ, shape (L, L), with L Lᵀ the regularised Gram matrices; without C it is A.

    Its singular values are those of A^−½ B C^−½, since L and the symmetric root differ by a rotation; Cholesky has no
    degenerate gradients where eigenvalues of A or C coincide.
    """
    left = cholesky(A, ridge)
    right = left if C is None else cholesky(C, ridge)
    half = torch.linalg.solve_triangular(left, B, upper=False)
    return torch.linalg.solve_triangular(right, half.T, upper=False).T
