"""Objectives written in terms of the Laplacian 1 − T ≥ 0 of a self-adjoint operator T.

For lagged pairs of a reversible process ⟨f, (1 − T) f⟩ = ½ E (f(y) − f(x))², the form in which these papers state it.

References
----------
Wu, Tucker, Nachum, "The Laplacian in RL: learning representations with efficient approximations", ICLR 2019
(arXiv:1810.04586): graph drawing.
Wang, Zhou, Feng, Hooi, Wang, "Towards better Laplacian representation in reinforcement learning with generalized graph
drawing", ICML 2021 (arXiv:2107.05545).
Gomez, Bowling, Machado, "Proper Laplacian representation learning", ICLR 2024 (arXiv:2310.10833): the augmented
Lagrangian Laplacian objective.
Shaham, Stanton, Li, Nadler, Basri, Kluger, "SpectralNet: spectral clustering using deep neural networks", ICLR 2018
(arXiv:1801.01587).
"""

import torch
from torch import Tensor

from spectraldyn.linalg import gram, gram_product, inner
from spectraldyn.objectives.known import affine, require_tied, unit_norm
from spectraldyn.objectives.nested import joint_nesting, low_rank_loss, operator_term
from spectraldyn.objectives.vamp import moments
from spectraldyn.objectives.whitening import RIDGE, cholesky
from spectraldyn.records import Action


def graph_drawing(action: Action, penalty: float = 1.0) -> Tensor:
    """tr⟨f, (1 − T) f⟩ + b ‖⟨f, f⟩ − 1‖²_F (scalar), with b = `penalty`; unbiased in a batch.

    The trace penalty with μ = 2b for the operator T − 1, doubled: expanding the square gives
    b (L_L of 1 + (T − 1)/(2b)) + bL, which is how it is computed. Squared norms are 1 − (1 − λ_i)/(2b) at the optimum;
    modes with λ_i < 1 − 2b vanish.
    """
    return penalty * (low_rank_loss(_drawn(action, penalty)) + action.f.shape[1])


def generalised_graph_drawing(action: Action, penalty: float = 1.0) -> Tensor:
    """Σ_i c_i ⟨f_i, (1 − T) f_i⟩ + b Σ_ij min(c_i, c_j) (⟨f_i, f_j⟩ − δ_ij)² (scalar), c_i = (L + 1 − i)/L.

    The mean of `graph_drawing` over the levels ℓ = 1 … L (mode i takes part in L + 1 − i of them, the pair i, j in
    min(c_i, c_j) L), hence the joint nesting of the same shifted operator. The paper has L times this.
    """
    modes = action.f.shape[1]
    return penalty * (joint_nesting(_drawn(action, penalty)) + (modes + 1) / 2)


def _drawn(action: Action, penalty: float) -> Action:
    """Action of 1 + (T − 1)/(2b)."""
    return affine(action, 1 / (2 * penalty), 1 - 1 / (2 * penalty))


def spectralnet_loss(action: Action, ridge: float = RIDGE) -> Tensor:
    """tr⟨f̃, (1 − T) f̃⟩ (scalar) on the second half of the rows, with f̃ = L⁻¹ f made orthonormal on the first half.

    The Cholesky factor L Lᵀ of the first half's Gram matrix is held fixed, as the weights of the orthonormalising
    layer are in the paper, so the gradient in function space is 2 (1 − T) f (L Lᵀ)⁻¹: it finds the leading span, and
    the norms of the functions fall all the while. The loss only needs (L Lᵀ)⁻¹, as the trace does not see a rotation
    of f̃.
    """
    require_tied(action)
    half = action.f.shape[0] // 2
    with torch.no_grad():
        factor = cholesky(gram(action.f[:half], action.f[:half]), ridge)
        inverse = torch.cholesky_inverse(factor)
    f, Tf = action.f[half:], action.Tf[half:]
    A, B, _ = moments(Action(f=f, Tg=Tf, g=f, Tf=Tf))
    return (inverse * (A - B)).sum()


class AugmentedLagrangianLaplacian:
    """Ordered eigenfunctions as the saddle point of an augmented Lagrangian, with the duals carried openly.

        Σ_i ⟨f_i, (1 − T) f_i⟩ + Σ_{j≤i} β_ij e_ij + b Σ_{j≤i} e_ij²,    e_ij = ⟨f_i, sg f_j⟩ − δ_ij

    is minimised in f, where the stop-gradient sg keeps mode i from moving the modes before it, and maximised in the
    duals β: every call with gradients enabled ends with β_ij ← β_ij + rate · e_ij. At the saddle point the functions
    are orthonormal and 2 (1 − T) f_i + β_ii f_i = 0, so that the duals hold the eigenvalues. The quadratic term is
    unbiased in a batch; the barrier coefficient b is constant here.

    Parameters
    ----------
    barrier : float
        b.
    dual_rate : float

    Attributes
    ----------
    duals : Tensor (L, L) or None
        β, lower triangular; None before the first call.
    """

    def __init__(self, barrier: float = 2.0, dual_rate: float = 0.01):
        self.barrier = barrier
        self.dual_rate = dual_rate
        self.duals: Tensor | None = None

    def __call__(self, action: Action) -> Tensor:
        require_tied(action)
        action = unit_norm(action)
        earlier = action.f.detach()
        identity = torch.eye(action.f.shape[1], dtype=action.f.dtype, device=action.f.device)
        if self.duals is None:
            self.duals = torch.zeros_like(identity)
        overlaps = gram(action.f, earlier)
        error = (overlaps - identity).tril()
        # e_ij² = ⟨f_i, f_j⟩² − (2⟨f_i, f_j⟩ − 1) δ_ij: only the first part is a product of expectations.
        squared_error = gram_product(action.f, earlier, action.f, earlier) - (2 * overlaps - 1) * identity
        energy = inner(action.f, action.f).sum() - operator_term(action).sum()
        loss = energy + (self.duals * error).sum() + self.barrier * squared_error.tril().sum()
        if torch.is_grad_enabled():
            self.duals = self.duals + self.dual_rate * error.detach()
        return loss

    def eigenvalues(self) -> Tensor:
        """Eigenvalues of T, shape (L,), as the duals have them: 1 + β_ii/2."""
        if self.duals is None:
            raise ValueError("the duals hold no eigenvalues before the first batch")
        return 1 + self.duals.diagonal() / 2

    def state_dict(self) -> dict[str, Tensor | None]:
        """What a resumed training needs."""
        return {"duals": self.duals}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        """Take up a state from `state_dict`."""
        self.duals = state["duals"]
