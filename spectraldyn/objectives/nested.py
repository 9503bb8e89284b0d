"""Nested low-rank approximation: the objective whose minimiser is the ordered singular value decomposition.

For an operator T with left functions f and right functions g, the rank-ℓ approximation error (up to ‖T‖²) is

    L_ℓ(f, g) = −2 Σ_{i≤ℓ} ⟨f_i, T g_i⟩ + Σ_{i,j≤ℓ} ⟨f_i, f_j⟩ ⟨g_i, g_j⟩.

Nesting makes every leading group of modes optimal at once, which orders them; at the optimum
f_i ⊗ g_i = σ_i φ_i ⊗ ψ_i, so the norms give the singular values: ‖f_i‖ ‖g_i‖ = σ_i.

Other names for members of this family, each of which has its one implementation here:

- VAMP-E with free singular values is −L_L (`low_rank_loss`; the algebra is in `spectraldyn.objectives.vamp`).
- The symmetric low-rank product ½‖T − F Fᵀ‖² is ½ L_L with tied sides, up to the constant ½‖T‖².
- The triangularised orthogonalisation-free method follows −T F + F triu(FᵀF), column by column
  −T f_i + Σ_{j≤i} f_j ⟨f_j, f_i⟩: a quarter of the gradient of `sequential_nesting` with tied sides.
- Trace penalty and graph drawing are L_L of a shifted operator (`trace_penalty`, `spectraldyn.objectives.laplacian`).

Ryu, Xu, Erol, Bu, Zheng, Wornell, "Operator SVD with neural networks via nested low-rank approximation",
ICML 2024 (arXiv:2402.03655): section 3.2, joint and sequential nesting.
Liu, Wen, Zhang, "An efficient Gauss–Newton algorithm for symmetric low-rank product matrix approximations",
SIAM J. Optim. 25 (2015) 1571.
Gao, Li, Lu, "Triangularized orthogonalization-free method for solving extreme eigenvalue problems",
J. Sci. Comput. 93 (2022) 63.
Wen, Yang, Liu, Zhang, "Trace-penalty minimization for large-scale eigenspace computation", J. Sci. Comput. 66 (2016)
1175.
"""

from typing import Any

import torch
from torch import Tensor

from spectraldyn.linalg import gram_product, gram_product_gradient, inner, n_rows
from spectraldyn.objectives.known import affine
from spectraldyn.records import Action


def low_rank_loss(action: Action) -> Tensor:
    """Rank-L approximation error ‖T − Σ f_i ⊗ g_i‖² − ‖T‖² (scalar), without nesting; unbiased in a batch."""
    levels = action.f.shape[1]
    return _approximation_error(action, action.f.new_ones(levels), action.f.new_ones(levels, levels))


def joint_nesting(action: Action, level_weights: Tensor | None = None) -> Tensor:
    """Weighted sum Σ_ℓ w_ℓ L_ℓ over all levels ℓ (scalar), computed through its masks.

    Parameters
    ----------
    action : Action
        L functions on each side.
    level_weights : Tensor (L,), optional
        The weights w_ℓ ≥ 0, the last one positive; 1/L each by default.
    """
    levels = action.f.shape[1]
    if level_weights is None:
        level_weights = action.f.new_full((levels,), 1.0 / levels)
    # Mode i takes part in every level ℓ ≥ i; the pair (i, j) in every level ℓ ≥ max(i, j).
    mode_mask = level_weights.flip(0).cumsum(0).flip(0)
    return _approximation_error(action, mode_mask, torch.minimum(mode_mask[:, None], mode_mask))


def sequential_nesting(action: Action) -> Tensor:
    """Scalar whose gradient with respect to mode i is that of L_i alone, mode by mode.

    ∂L_i/∂f_i = −2 T g_i + 2 Σ_{j≤i} f_j ⟨g_j, g_i⟩, and likewise for g_i: mode i sees only the modes j ≤ i. This is the
    gradient of no function: the value means nothing (see `low_rank_loss`). Only for networks that share nothing between
    modes.
    """
    levels = action.f.shape[1]
    before = action.f.new_ones(levels, levels).tril()
    return _approximation_error(action, action.f.new_ones(levels), 2 * before, before)


def block_nesting(action: Action, step: int = 2) -> Tensor:
    """Joint nesting in which only every `step`-th level counts, and always the last (scalar).

    Levels are counted from the first learned mode. Orders blocks of `step` modes; within a block only the span is
    determined. Fewer levels weaken the earlier blocks less at the expense of the later ones.
    """
    levels = torch.arange(1, action.f.shape[1] + 1, device=action.f.device)
    learned = levels - len(action.known)
    counted = ((learned > 0) & (learned % step == 0)) | (levels == len(levels))
    weights = counted.to(action.f.dtype)
    return joint_nesting(action, weights / weights.sum())


def trace_penalty(action: Action, penalty: float = 1.0) -> Tensor:
    """−½ tr⟨f, T f⟩ + (μ/4) ‖⟨f, f⟩ − 1‖²_F (scalar) for a self-adjoint operator, with μ = `penalty`.

    Expanding the square, this is (μ/4)(L_L of 1 + T/μ) + μL/4, which is how it is computed: unbiased in a batch, and
    with squared norms 1 + λ_i/μ at the optimum.
    """
    return penalty / 4 * (low_rank_loss(affine(action, 1 / penalty, 1.0)) + action.f.shape[1])


def operator_term(action: Action) -> Tensor:
    """⟨f_i, T g_i⟩ for every mode, taken evenly from the operator and its adjoint; shape (L,)."""
    forward = inner(action.f, action.Tg)
    return forward if action.tied else (forward + inner(action.Tf, action.g)) / 2


class _ApproximationError(torch.autograd.Function):
    """−2 Σ_i m_i ⟨f_i, T g_i⟩ + Σ_ij V_ij ⟨f_i, f_j⟩⟨g_i, g_j⟩, with its gradient written out.

    The gradient of row f_i is −m_i T g_i + 2 Σ_j P_ij f_j ⟨g_j, g_i⟩ (and −m_i of the adjoint term, which reaches f
    through T f), with the U-statistic of the product. P = V is symmetric where this is the gradient of the value. In
    the many small operations that automatic differentiation would record, the loss took as long as a small network.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(f: Tensor, Tg: Tensor, g: Tensor, Tf: Tensor, m: Tensor, V: Tensor, P: Tensor, tied: bool) -> Tensor:
        if tied:
            return -2 * m.dot(inner(f, Tg)) + (V * gram_product(f)).sum()
        return -2 * m.dot((inner(f, Tg) + inner(Tf, g)) / 2) + (V * gram_product(f, g)).sum()

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        f, Tg, g, Tf, m, _, P, context.tied = inputs
        context.save_for_backward(f, Tg, g, Tf, m, P)

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        f, Tg, g, Tf, m, P = context.saved_tensors
        pull = m[:, None] * (upstream / n_rows(f.shape[0]))
        if context.tied:  # the sides are one set of functions: what reaches it twice is returned once
            metric = gram_product_gradient(4 * upstream * P, f)
            return metric - 2 * pull * Tg, -2 * pull * f, None, None, None, None, None, None
        d_f = gram_product_gradient(2 * upstream * P, f, g) - pull * Tg
        d_g = gram_product_gradient(2 * upstream * P, g, f) - pull * Tf
        return d_f, -pull * f, d_g, -pull * g, None, None, None, None


def _approximation_error(action: Action, m: Tensor, V: Tensor, P: Tensor | None = None) -> Tensor:
    """The error with these masks; without P it is V."""
    return _ApproximationError.apply(action.f, action.Tg, action.g, action.Tf, m, V, V if P is None else P, action.tied)
