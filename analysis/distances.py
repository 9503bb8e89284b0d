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


def subspace_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray) -> float:
    """1 − tr(P_A P_B)/k for the spans of two sets of k functions (n, k): 0 equal, 1 orthogonal."""
    a, b = (np.linalg.qr(np.sqrt(weight)[:, None] * functions)[0] for functions in (learned, exact))
    return float(1 - np.linalg.norm(a.T @ b) ** 2 / exact.shape[1])


def level_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray, levels: Sequence[int]) -> float:
    """Mean subspace distance of the degenerate levels, each of so many functions."""
    edges = np.cumsum([0, *levels])
    parts = [slice(a, b) for a, b in pairwise(edges)]
    return float(np.mean([subspace_distance(learned[:, part], exact[:, part], weight) for part in parts]))


def angle_distance(learned: np.ndarray, exact: np.ndarray, weight: np.ndarray, levels: Sequence[int]) -> float:
    """Mean of (2/π) arccos |⟨ψ, ψ̂⟩| after the best rotation (Procrustes) within every degenerate level."""
    normalised = [f / np.sqrt((weight[:, None] * f**2).sum(axis=0)) for f in (learned, exact)]
    edges = np.cumsum([0, *levels])
    angles = []
    for a, b in pairwise(edges):
        overlap = normalised[0][:, a:b].T @ (weight[:, None] * normalised[1][:, a:b])
        u, _, vt = np.linalg.svd(overlap)
        cosines = np.abs(np.diag((u @ vt).T @ overlap))
        angles += (2 / np.pi * np.arccos(np.clip(cosines, 0, 1))).tolist()
    return float(np.mean(angles))


def orthogonality(learned: np.ndarray, weight: np.ndarray) -> float:
    """Mean squared off-diagonal entry of the Gram matrix of the normalised functions."""
    gram = learned.T @ (weight[:, None] * learned)
    scale = np.sqrt(np.diag(gram))
    normalised = gram / np.outer(scale, scale)
    k = len(gram)
    return float((normalised**2).sum() - k) / (k * (k - 1))
