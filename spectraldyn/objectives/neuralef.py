"""NeuralEF and neural eigenmaps: a game in which function j is kept away from the functions i < j before it.

With f̂_j = f_j / ‖f_j‖ (in the batch) and R_ij = ⟨f̂_i, T f̂_j⟩, player j maximises, with the earlier functions fixed,

    R_jj − Σ_{i<j} R_ij² / R_ii          (NeuralEF)
    R_jj − α Σ_{i<j} R_ij²               (neural eigenmaps).

Both losses are the sums of these utilities with the sign changed; autograd gives every player the gradient of its own.

Deng, Shi, Zhu, "NeuralEF: deconstructing kernels by deep neural networks", ICML 2022 (arXiv:2205.00165).
Deng, Shi, Zhang, Cui, Lu, Zhu, "Neural eigenfunctions are structured representation learners" (arXiv:2210.12637).
"""

from torch import Tensor

from spectraldyn.linalg import gram, inner
from spectraldyn.objectives.known import require_tied
from spectraldyn.records import Action


def neuralef_loss(action: Action, floor: float = 0.01) -> Tensor:
    """−Σ_j (R_jj − Σ_{i<j} R_ij² / R_ii) (scalar) for a positive semidefinite operator.

    Parameters
    ----------
    action : Action
        Tied sides.
    floor : float
        Least value of a denominator R_ii: sampled ones of small modes can be zero or negative. The order of the modes
        stands as long as their eigenvalues are above floor / 4 (see `neural_eigenmaps_loss`).
    """
    quotients, overlaps = _rayleigh(action)
    denominators = quotients.detach().clamp_min(floor)
    return -quotients.sum() + (overlaps.square() / denominators[:, None]).triu(1).sum()


def neural_eigenmaps_loss(action: Action, weight: float = 10.0) -> Tensor:
    """−Σ_j (R_jj − α Σ_{i<j} R_ij²) (scalar) for a positive semidefinite operator, with α = `weight`.

    On eigenfunction i player j would score λ_i − α λ_i² ≤ 1/(4α), so the order is right where α > 1/(4 λ_L).
    """
    quotients, overlaps = _rayleigh(action)
    return -quotients.sum() + weight * overlaps.square().triu(1).sum()


def _rayleigh(action: Action) -> tuple[Tensor, Tensor]:
    """R_jj, shape (L,), and R_ij, shape (L, L), in which only j carries gradient."""
    require_tied(action)
    # Quotients of averages, not averages of normalised functions: a norm may come from rows of other processes.
    norms = inner(action.f, action.f).sqrt()
    overlaps = gram(action.Tf.detach(), action.f) / (norms.detach()[:, None] * norms)
    return inner(action.f, action.Tf) / norms.square(), overlaps
