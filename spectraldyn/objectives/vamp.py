"""Variational approach for Markov processes: scores of the operator projected on the learned span.

With A = ⟨f_i, f_j⟩, B = ⟨f_i, T g_j⟩ and C = ⟨g_i, g_j⟩, the singular values of A^−½ B C^−½ are bounded by those of T.
VAMP-r is the sum of their r-th powers.

VAMP-E needs no whitening: for functions U, V of features χ₀, χ₁ and S = diag(σ),

    R_E = tr(2 S UᵀC₀₁V − S UᵀC₀₀U S VᵀC₁₁V).

With f = S^½Uᵀχ₀ and g = S^½Vᵀχ₁ the first term is 2 Σ_i ⟨f_i, T g_i⟩ and the second, by cyclic exchange under the
trace, Σ_ij ⟨f_i, f_j⟩⟨g_i, g_j⟩. With S, U and V free this is −`low_rank_loss`: there is one implementation.

Wu, Noé, "Variational approach for learning Markov processes from time series data", J. Nonlinear Sci. 30 (2020) 23:
VAMP-r and VAMP-E.
Mardt, Pasquali, Wu, Noé, "VAMPnets for deep learning of molecular kinetics", Nat. Commun. 9 (2018) 5.
"""

import torch
from torch import Tensor

from spectraldyn.linalg import gram
from spectraldyn.objectives.whitening import RIDGE, whitened
from spectraldyn.records import Action


def vamp1_loss(action: Action, ridge: float = RIDGE) -> Tensor:
    """−‖A^−½ B C^−½‖_* (scalar), the nuclear norm; known functions are counted."""
    K, finite = projected(action, ridge)
    return -torch.linalg.svdvals(finite).sum() + 0 * K.sum()


def vamp2_loss(action: Action, ridge: float = RIDGE) -> Tensor:
    """−‖A^−½ B C^−½‖²_F (scalar), the squared Frobenius norm; known functions are counted."""
    return -whitened(*moments(action), ridge).square().sum()


def moments(action: Action) -> tuple[Tensor, Tensor, Tensor | None]:
    """A, B (evenly from T and its adjoint) and C, each (L, L); C is None where the sides are tied: it then is A."""
    A, B = gram(action.f), gram(action.f, action.Tg)
    if action.tied:
        return A, (B + B.T) / 2, None
    return A, (B + gram(action.Tf, action.g)) / 2, gram(action.g)


def projected(action: Action, ridge: float) -> tuple[Tensor, Tensor]:
    """K = A^−½ B C^−½ up to rotations, and K with 0 for diverged entries.

    Decompositions raise on such entries; 0 · K carries them into the loss.
    """
    K = whitened(*moments(action), ridge)
    return K, K.where(K.isfinite(), 0.0)
