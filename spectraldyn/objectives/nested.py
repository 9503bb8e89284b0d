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
- The trace penalty and graph drawing are L_L of a shifted operator (`trace_penalty`,
  `spectraldyn.objectives.laplacian`).

References
----------
Ryu, Xu, Erol, Bu, Zheng, Wornell, "Operator SVD with neural networks via nested low-rank approximation",
ICML 2024 (arXiv:2402.03655): section 3.2, joint and sequential nesting.
Liu, Wen, Zhang, "An efficient Gauss–Newton algorithm for symmetric low-rank product matrix approximations",
SIAM J. Optim. 25 (2015) 1571.
Gao, Li, Lu, "Triangularized orthogonalization-free method for solving extreme eigenvalue problems",
J. Sci. Comput. 93 (2022) 63.
Wen, Yang, Liu, Zhang, "Trace-penalty minimization for large-scale eigenspace computation", J. Sci. Comput. 66 (2016)
1175.
"""

import torch
from torch import Tensor

from spectraldyn.linalg import gram_product, inner
from spectraldyn.objectives.known import affine
from spectraldyn.records import Action, Objective


def low_rank_loss(action: Action) -> Tensor:
    """Rank-L approximation error ‖T − Σ f_i ⊗ g_i‖² − ‖T‖² (scalar), without nesting; unbiased in a batch."""
    return -2 * operator_term(action).sum() + gram_product(action.f, action.f, action.g, action.g).sum()


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
    pair_mask = torch.minimum(mode_mask[:, None], mode_mask[None, :])
    metric = gram_product(action.f, action.f, action.g, action.g)
    return -2 * (mode_mask * operator_term(action)).sum() + (pair_mask * metric).sum()


def sequential_nesting(action: Action) -> Tensor:
    """Scalar whose gradient with respect to mode i is that of L_i alone, mode by mode.

    ∂L_i/∂f_i = −2 T g_i + 2 Σ_{j≤i} f_j ⟨g_j, g_i⟩, and likewise for g_i: mode i sees only the modes j ≤ i before
    it. This is the gradient of no function; the value returned means nothing by itself (see `low_rank_loss`).
    Only for networks that share nothing between modes.
    """
    metric = gram_product(action.f, action.f.detach(), action.g, action.g.detach())
    return -2 * operator_term(action).sum() + 2 * metric.tril().sum()


def block_nesting(action: Action, step: int = 2) -> Tensor:
    """Joint nesting in which only every `step`-th level counts, and always the last (scalar).

    Levels are counted from the first learned mode. Orders blocks of `step` modes; within a block only the span is
    determined. Fewer levels weaken the earlier blocks less at the expense of the later ones.
    """
    learned = action.f.shape[1] - len(action.known)
    level_weights = action.f.new_zeros(action.f.shape[1])
    level_weights[len(action.known) + step - 1 :: step] = 1
    level_weights[-1] = 1
    return joint_nesting(action, level_weights / -(-learned // step))


def trace_penalty(action: Action, penalty: float = 1.0) -> Tensor:
    """−½ tr⟨f, T f⟩ + (μ/4) ‖⟨f, f⟩ − 1‖²_F (scalar) for a self-adjoint operator, with μ = `penalty`.

    Expanding the square, this is (μ/4)(L_L of 1 + T/μ) + μL/4, which is how it is computed: unbiased in a batch, and
    with squared norms 1 + λ_i/μ at the optimum.
    """
    return penalty / 4 * (low_rank_loss(affine(action, 1 / penalty, 1.0)) + action.f.shape[1])


def operator_term(action: Action) -> Tensor:
    """⟨f_i, T g_i⟩ for every mode, taken evenly from the operator and its adjoint; shape (L,)."""
    return (inner(action.f, action.Tg) + inner(action.Tf, action.g)) / 2


NESTINGS: dict[str, Objective] = {"joint": joint_nesting, "sequential": sequential_nesting}
