"""Distances between learned functions and exact ones, as the published tables state them.

Functions are columns of values at quadrature points; `weight` are the quadrature weights, so that
⟨f, g⟩ = Σ_b weight_b f_b g_b.

References
----------
Ryu et al., ICML 2024 (arXiv:2402.03655), appendix E.1.2.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.linalg import block_diag


def subspace_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray) -> float:
    """1 − tr(P_A P_B)/k for the spans of two sets of k functions (n, k): 0 equal, 1 orthogonal."""
    a, b = (np.linalg.qr(np.sqrt(weight)[:, None] * functions)[0] for functions in (learned, exact))
    return float(1 - np.linalg.norm(a.T @ b) ** 2 / exact.shape[1])


def level_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray, levels: Sequence[int]) -> float:
    """Mean subspace distance of the degenerate levels, each of so many functions."""
    edges = np.cumsum([0, *levels])
    parts = [slice(a, b) for a, b in pairwise(edges)]
    return float(np.mean([subspace_distance(learned[:, part], exact[:, part], weight) for part in parts]))


def alignment(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """Rotation (k, k) within every degenerate level that takes learned functions closest to exact ones (Procrustes).

    Both are columns of norm 1; learned functions are multiplied by it from the right.
    """
    rotations = []
    for a, b in pairwise(np.cumsum([0, *levels])):
        u, _, vt = np.linalg.svd(learned[:, a:b].T @ (weight[:, None] * exact[:, a:b]))
        rotations.append(u @ vt)
    return block_diag(*rotations)


def angle_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray, levels: Sequence[int]) -> float:
    """Mean of (2/π) arccos |⟨ψ, ψ̂⟩| after the best rotation (`alignment`) within every degenerate level."""
    f, g = (part / np.sqrt((weight[:, None] * part**2).sum(axis=0)) for part in (learned, exact))
    turned = f @ alignment(f, g, weight, levels)
    cosines = np.abs((weight[:, None] * turned * g).sum(axis=0))
    return float(np.mean(2 / np.pi * np.arccos(np.clip(cosines, 0, 1))))


def orthogonality(learned: np.ndarray, weight: np.ndarray) -> float:
    """Mean squared off-diagonal entry of the Gram matrix of the normalised functions."""
    gram = learned.T @ (weight[:, None] * learned)
    scale = np.sqrt(np.diag(gram))
    normalised = gram / np.outer(scale, scale)
    k = len(gram)
    return float((normalised**2).sum() - k) / (k * (k - 1))
