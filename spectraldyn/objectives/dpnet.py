"""Deep projection networks: the projected operator's norm, minus what keeps the functions orthonormal.

Kostic, Novelli, Grazzi, Lounici, Pontil, "Learning invariant representations of time-homogeneous stochastic dynamical
systems", ICLR 2024 (arXiv:2307.09912): the score P, its relaxation S and the metric distortion R.
"""

import torch
from torch import Tensor

from spectraldyn.objectives.known import unit_norm
from spectraldyn.objectives.vamp import moments
from spectraldyn.objectives.whitening import RIDGE, cholesky, whitened
from spectraldyn.records import Action


def dpnet_loss(action: Action, distortion_weight: float = 1.0, ridge: float = RIDGE) -> Tensor:
    """−P = −‖A^−½ B C^−½‖²_HS + γ (R(A) + R(C)) (scalar), with γ = `distortion_weight`.

    The first term is that of `vamp2_loss` and does not see the scale or the correlations of the functions; the second
    fixes both.
    """
    A, B, C = moments(unit_norm(action))
    return -whitened(A, B, C, ridge).square().sum() + distortion_weight * _distortions(A, C, ridge)


def dpnet_relaxed_loss(action: Action, distortion_weight: float = 1.0, ridge: float = RIDGE) -> Tensor:
    """−S = −‖B‖²_HS / (‖A‖ ‖C‖) + γ (R(A) + R(C)) (scalar), with spectral norms and γ = `distortion_weight`.

    S ≤ P with equality for orthonormal functions, so that both have the same maximiser; no inverse is needed.
    """
    A, B, C = moments(unit_norm(action))
    largest = _largest_eigenvalue(A) * _largest_eigenvalue(A if C is None else C)
    return -B.square().sum() / largest + distortion_weight * _distortions(A, C, ridge)


def metric_distortion(matrix: Tensor, ridge: float = RIDGE) -> Tensor:
    """R(M) = tr(M² − M − ln M) (scalar) of a Gram matrix (L, L): least, and 0, where M is the identity.

    The logarithm is taken of the regularised matrix, so that it stays finite for dependent functions.
    """
    factor = cholesky(matrix, ridge)
    return matrix.square().sum() - matrix.trace() - 2 * factor.diagonal().log().sum()


def _largest_eigenvalue(matrix: Tensor) -> Tensor:
    # The eigensolver raises on diverged entries; the distortion carries them into the loss.
    return torch.linalg.eigvalsh(matrix.where(matrix.isfinite(), 0.0))[-1]


def _distortions(A: Tensor, C: Tensor | None, ridge: float) -> Tensor:
    """R(A) + R(C); without C it is A."""
    return metric_distortion(A, ridge) + metric_distortion(A if C is None else C, ridge)
