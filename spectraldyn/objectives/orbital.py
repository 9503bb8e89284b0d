"""Orbital minimisation: an energy without constraint whose minimiser is orthonormal.

With S = ⟨f_i, f_j⟩ and H = −⟨f_i, T f_j⟩ the energy is tr((2 − S) H). For T ≥ 0 its minimisers are orthonormal bases of
the leading eigenspace; where T has negative eigenvalues it is unbounded below, which a shift of T cures.

Mauri, Galli, Car, "Orbital formulation for electronic-structure calculations with linear system-size scaling",
Phys. Rev. B 47 (1993) 9973. Ordejón, Drabold, Grumbach, Martin, Phys. Rev. B 48 (1993) 14646.
Gao, Li, Lu, "Triangularized orthogonalization-free method for solving extreme eigenvalue problems",
J. Sci. Comput. 93 (2022) 63: the triangularised gradient of this energy.
"""

from torch import Tensor

from spectraldyn.linalg import gram_product
from spectraldyn.objectives.known import affine, unit_norm
from spectraldyn.objectives.nested import operator_term
from spectraldyn.records import Action


def orbital_minimisation(action: Action, shift: float = 0.0) -> Tensor:
    """−2 Σ_i ⟨f_i, T f_i⟩ + Σ_ij ⟨f_i, f_j⟩⟨f_i, T f_j⟩ (scalar), unbiased in a batch.

    Parameters
    ----------
    action : Action
        Tied sides.
    shift : float
        Added to T, which must be positive semidefinite with it.
    """
    action = unit_norm(affine(action, 1.0, shift))
    product = gram_product(action.f, action.f, g_other=action.Tf)
    return -2 * operator_term(action).sum() + product.sum()


def triangularised_orbital_minimisation(action: Action, shift: float = 0.0) -> Tensor:
    """Scalar whose gradient with respect to mode i is that of the energy of the modes j ≤ i alone, mode by mode.

    ∂/∂f_i = −4 T f_i + 2 Σ_{j≤i} (f_j ⟨f_j, T f_i⟩ + T f_j ⟨f_j, f_i⟩). The gradient of no function: the value means
    nothing. Only for networks that share nothing between modes.
    """
    action = unit_norm(affine(action, 1.0, shift))
    product = gram_product(action.f, action.f, action.f.detach(), action.Tf.detach())
    return -2 * operator_term(action).sum() + 2 * product.tril().sum()
