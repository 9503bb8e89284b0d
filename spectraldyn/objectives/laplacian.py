"""Objectives written in terms of the Laplacian 1 − T ≥ 0 of a self-adjoint operator T.

For lagged pairs of a reversible process ⟨f, (1 − T) f⟩ = ½ E (f(y) − f(x))², the form in which these papers state it.

Wu, Tucker, Nachum, "The Laplacian in RL: learning representations with efficient approximations", ICLR 2019
(arXiv:1810.04586): graph drawing.
Wang, Zhou, Feng, Hooi, Wang, "Towards better Laplacian representation in reinforcement learning with generalized graph
drawing", ICML 2021 (arXiv:2107.05545).
Gomez, Bowling, Machado, "Proper Laplacian representation learning", ICLR 2024 (arXiv:2310.10833): the augmented
Lagrangian Laplacian objective.
"""

import torch
from torch import Tensor

from spectraldyn.linalg import gram, gram_product, inner
from spectraldyn.objectives.known import affine, require_tied, unit_norm
from spectraldyn.objectives.nested import joint_nesting, low_rank_loss, operator_term
from spectraldyn.records import Action, State


def graph_drawing(action: Action, penalty: float = 1.0) -> Tensor:
    """tr⟨f, (1 − T) f⟩ + b ‖⟨f, f⟩ − 1‖²_F (scalar), with b = `penalty`; unbiased in a batch.

    Twice the trace penalty with μ = 2b for T − 1, computed as b (L_L of 1 + (T − 1)/(2b)) + bL. Squared norms are
    1 − (1 − λ_i)/(2b) at the optimum; modes with λ_i < 1 − 2b vanish.
    """
    return penalty * (low_rank_loss(_drawn(action, penalty)) + action.f.shape[1])


def generalised_graph_drawing(action: Action, penalty: float = 1.0) -> Tensor:
    """Σ_i c_i ⟨f_i, (1 − T) f_i⟩ + b Σ_ij min(c_i, c_j) (⟨f_i, f_j⟩ − δ_ij)² (scalar), c_i = (L + 1 − i)/L.

    The mean of `graph_drawing` over the levels ℓ = 1 … L (mode i takes part in L + 1 − i of them, the pair i, j in
    min(c_i, c_j) L), hence the joint nesting of the same shifted operator. The paper has L times this.
    """
    return penalty * (joint_nesting(_drawn(action, penalty)) + (action.f.shape[1] + 1) / 2)


def _drawn(action: Action, penalty: float) -> Action:
    """Action of 1 + (T − 1)/(2b)."""
    return affine(action, 1 / (2 * penalty), 1 - 1 / (2 * penalty))


def augmented_lagrangian_laplacian(
    action: Action, state: State, barrier: float = 2.0, dual_rate: float = 0.01
) -> tuple[Tensor, State]:
    """Ordered eigenfunctions as the saddle point of an augmented Lagrangian (scalar), with the duals in the state.

        Σ_i ⟨f_i, (1 − T) f_i⟩ + Σ_{j≤i} β_ij e_ij + b Σ_{j≤i} e_ij²,    e_ij = ⟨f_i, sg f_j⟩ − δ_ij

    is minimised in f, where the stop-gradient sg keeps mode i from moving the modes before it, and maximised in the
    duals β: every call with gradients enabled ends with β_ij ← β_ij + rate · e_ij. At the saddle point the functions
    are orthonormal and 2 (1 − T) f_i + β_ii f_i = 0, so that 1 + β_ii/2 are the eigenvalues of T. The quadratic term
    is unbiased in a batch; the barrier coefficient b is constant here.

    Parameters
    ----------
    action : Action
        Tied sides.
    state : dict
        "duals" (L, L): β, lower triangular; 0 at first.
    barrier : float
        b.
    dual_rate : float
    """
    require_tied(action)
    action = unit_norm(action)
    earlier = action.f.detach()
    identity = torch.eye(action.f.shape[1], dtype=action.f.dtype, device=action.f.device)
    duals = state.get("duals", torch.zeros_like(identity))
    overlaps = gram(action.f, earlier)
    error = (overlaps - identity).tril()
    # e_ij² = ⟨f_i, f_j⟩² − (2⟨f_i, f_j⟩ − 1) δ_ij: only the first part is a product of expectations.
    squared_error = gram_product(action.f, f_other=earlier) - (2 * overlaps - 1) * identity
    energy = inner(action.f, action.f).sum() - operator_term(action).sum()
    loss = energy + (duals * error).sum() + barrier * squared_error.tril().sum()
    return loss, {"duals": duals + dual_rate * error.detach()} if torch.is_grad_enabled() else state
