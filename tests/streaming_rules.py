"""Streaming rules for the leading eigenvectors of a covariance E[x xᵀ]: the linear ancestors of the objectives.

Every rule is one step (W, X) → W' with vectors W (d, k), one per column, and samples X (n, d), of which
C = XᵀX/n is an unbiased estimate of the covariance. They act on fixed features and are not losses.

References
----------
Oja, "Neural networks, principal components, and subspaces", Int. J. Neural Syst. 1 (1989) 61.
Sanger, "Optimal unsupervised learning in a single-layer linear feedforward neural network", Neural Networks 2 (1989)
459.
Krasulina, "The method of stochastic approximation for the determination of the least eigenvalue of a symmetrical
matrix", USSR Comput. Math. Math. Phys. 9 (1969) 189, for one vector; Tang, "Exponentially convergent stochastic k-PCA
without variance reduction", NeurIPS 2019, for several.
Hardt, Price, "The noisy power method: a meta algorithm with applications", NIPS 2014.
Gemp, McWilliams, Vernade, Graepel, "EigenGame: PCA as a Nash equilibrium", ICLR 2021 (arXiv:2010.00554), Algorithm 1.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def oja(vectors: Array, samples: Array, rate: float) -> Array:
    """W + η (C W − W WᵀC W), (d, k): an orthonormal basis of the leading span, in any rotation.

    Where W is orthonormal this is the step −η ∂/∂W of ½ tr((WᵀW − 2) WᵀC W), which is orbital minimisation.
    """
    images = _covariance_times(vectors, samples)
    return vectors + rate * (images - vectors @ (vectors.T @ images))


def sanger(vectors: Array, samples: Array, rate: float) -> Array:
    """W + η (C W − W triu(WᵀC W)), (d, k), the generalised Hebbian rule: the ordered orthonormal eigenvectors.

    Vector i sees the vectors j ≤ i only, as in sequential nesting.
    """
    images = _covariance_times(vectors, samples)
    return vectors + rate * (images - vectors @ np.triu(vectors.T @ images))


def krasulina(vectors: Array, samples: Array, rate: float) -> Array:
    """W + η (1 − W (WᵀW)⁻¹ Wᵀ) C W, (d, k): the leading span.

    Moves orthogonally to the span, so that the noise of the step vanishes where the samples lie within it.
    """
    images = _covariance_times(vectors, samples)
    return vectors + rate * (images - vectors @ np.linalg.solve(vectors.T @ vectors, vectors.T @ images))


def noisy_power(vectors: Array, samples: Array) -> Array:
    """Orthonormal factor of C W, (d, k): the leading span, up to the noise of the batch."""
    return np.linalg.qr(_covariance_times(vectors, samples))[0]


def eigengame(vectors: Array, samples: Array, rate: float) -> Array:
    """Ascent of every unit vector i on its utility, (d, k): the ordered eigenvectors.

    Player i maximises v_iᵀC v_i − Σ_{j<i} (v_iᵀC v_j)² / (v_jᵀC v_j) on the unit sphere:
    ∇_i = 2 C [v_i − Σ_{j<i} v_j (v_iᵀC v_j)/(v_jᵀC v_j)], its tangential part, a step and a normalisation. NeuralEF
    is this game between networks.
    """
    images = _covariance_times(vectors, samples)
    products = vectors.T @ images
    penalties = np.triu(products / products.diagonal()[:, None], k=1)
    gradient = 2 * (images - images @ penalties)
    gradient = gradient - vectors * (vectors * gradient).sum(axis=0)
    moved = vectors + rate * gradient
    return moved / np.linalg.norm(moved, axis=0)


def _covariance_times(vectors: Array, samples: Array) -> Array:
    """C W without forming C, (d, k)."""
    return samples.T @ (samples @ vectors) / len(samples)
