"""Rayleigh–Ritz and canonical correlation analysis: from moments of learned functions to an ordered spectrum.

References
----------
Noé, Nüske, "A variational approach to modeling slow processes in stochastic dynamical systems", Multiscale Model.
Simul. 11 (2013) 635, for the reversible case; Wu, Noé, J. Nonlinear Sci. 30 (2020) 23, eqs. 30-34 for the general one.
"""

from dataclasses import dataclass, replace

import numpy as np

RANK_TOLERANCE = 1e-8
"""Functions whose correlation matrix has eigenvalues below this share of the largest are linearly dependent."""


@dataclass(frozen=True)
class Decomposition:
    """Spectrum of the operator projected on the span of the learned functions; the constant mode is left out.

    Coefficients refer to the functions of the moments, the constant first; M functions, k modes.

    Attributes
    ----------
    eigenvalues : ndarray (k,)
        By decreasing magnitude; real where the dynamics are reversible, else possibly complex.
    eigenfunctions, dual : ndarray (M, k)
        Coefficients of the right eigenfunctions and of the left ones that are dual to them.
    singular_values : ndarray (k,)
        Decreasing; k < n where the n learned functions are linearly dependent.
    left, right : ndarray (M, k)
        Coefficients of the left and right singular functions, with mean 0 and variance 1.
    norms : ndarray (n,)
        ‖f_i‖ ‖g_i‖ of the functions as trained, before any rotation: the singular values as nested low-rank
        approximation states them.
    """

    eigenvalues: np.ndarray
    eigenfunctions: np.ndarray
    dual: np.ndarray
    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    norms: np.ndarray


def decompose(c00: np.ndarray, c01: np.ndarray, c11: np.ndarray, reversible: bool) -> Decomposition:
    """Decompose from moments (M, M) of functions [1, f] (reversible) or [1, f, g] (left functions, then right).

    Reversible: the moments are symmetrised in time and the generalised symmetric problem C_τ v = λ C_0 v is solved;
    eigenvalues lie in [−1, 1], to within rounding, by construction. Otherwise singular values come from canonical
    correlation analysis between f(x) and g(y), eigenvalues from C₀₀⁻¹ C₀₁ on the span of f, which contains every
    eigenfunction of an operator Σ σ f ⊗ g.
    """
    if reversible:
        c0, ct = symmetrised(c00, c01, c11)
        basis = orthonormal(c0)
        values, rotation = np.linalg.eigh(basis.T @ ct @ basis)
        order = np.argsort(-values)
        functions = basis @ rotation[:, order]
        return Decomposition(
            eigenvalues=values[order],
            eigenfunctions=functions,
            dual=functions,
            singular_values=np.abs(values[order]),
            left=functions,
            right=functions,
            norms=np.diag(c0)[1:].copy(),
        )
    n_modes = (len(c00) - 1) // 2
    f, g = np.arange(1, n_modes + 1), np.arange(n_modes + 1, 2 * n_modes + 1)
    left_basis, right_basis = orthonormal(c00, f), orthonormal(c11, g)
    u, singular_values, vt = np.linalg.svd(left_basis.T @ c01 @ right_basis, full_matrices=False)
    k = len(singular_values)
    values, vectors = np.linalg.eig(left_basis.T @ c01 @ left_basis)
    dual = np.linalg.inv(vectors).conj().T
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    values, vectors, dual = values[order], vectors[:, order], dual[:, order]
    if np.all(values.imag == 0):
        values, vectors, dual = values.real, vectors.real, dual.real
    return Decomposition(
        eigenvalues=values,
        eigenfunctions=left_basis @ vectors,
        dual=left_basis @ dual,
        singular_values=singular_values,
        left=left_basis @ u[:, :k],
        right=right_basis @ vt.T[:, :k],
        norms=np.sqrt(np.diag(c00)[f] * np.diag(c11)[g]),
    )


def truncated(spectrum: Decomposition, n_modes: int) -> Decomposition:
    """The leading modes of a spectrum."""
    return replace(
        spectrum,
        eigenvalues=spectrum.eigenvalues[:n_modes],
        eigenfunctions=spectrum.eigenfunctions[:, :n_modes],
        dual=spectrum.dual[:, :n_modes],
        singular_values=spectrum.singular_values[:n_modes],
        left=spectrum.left[:, :n_modes],
        right=spectrum.right[:, :n_modes],
    )


def symmetrised(c00: np.ndarray, c01: np.ndarray, c11: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moments (..., M, M) averaged over both directions of time: C_0 and C_τ of reversible dynamics."""
    return (c00 + c11) / 2, (c01 + np.swapaxes(c01, -1, -2)) / 2


def orthonormal(second_moments: np.ndarray, members: np.ndarray | None = None) -> np.ndarray:
    """Coefficients (M, k) of functions of mean 0 and unit covariance that span the given members."""
    n_functions = len(second_moments)
    if members is None:
        members = np.arange(1, n_functions)
    mean = second_moments[0, members]
    covariance = second_moments[np.ix_(members, members)] - np.outer(mean, mean)
    scale = np.sqrt(np.clip(np.diag(covariance), 0, None))
    # A function that is constant to within rounding carries no mode.
    alive = scale > 1e-7 * np.sqrt(np.diag(second_moments)[members])
    correlation = covariance[np.ix_(alive, alive)] / np.outer(scale[alive], scale[alive])
    variances, directions = np.linalg.eigh(correlation) if alive.any() else (np.empty(0), np.empty((0, 0)))
    kept = variances > RANK_TOLERANCE * variances.max(initial=0)
    coefficients = np.zeros((n_functions, kept.sum()))
    coefficients[members[alive]] = directions[:, kept] / np.sqrt(variances[kept]) / scale[alive, None]
    coefficients[0] = -mean @ coefficients[members]
    return coefficients


@dataclass(frozen=True)
class Projection:
    """An operator T projected on left functions f and right functions g, whose first ones may be known exactly.

    Attributes
    ----------
    left, operator, right : ndarray (M, M)
        ⟨f_i, f_j⟩, ⟨f_i, T g_j⟩ and ⟨g_i, g_j⟩.
    known : tuple of float
        Singular values of the leading functions that are known.
    """

    left: np.ndarray
    operator: np.ndarray
    right: np.ndarray
    known: tuple[float, ...] = ()

    @property
    def norms(self) -> np.ndarray:
        """‖f_i‖ ‖g_i‖ of the functions that are not known."""
        return np.sqrt(np.diag(self.left) * np.diag(self.right))[len(self.known) :]


def decompose_projection(projection: Projection, tied: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rayleigh–Ritz (tied) or canonical correlation analysis; known modes are projected out and left out.

    Returns
    -------
    values : ndarray (k,)
        Eigenvalues (tied) or singular values, largest first.
    left, right : ndarray (M, k)
        Coefficients of the singular functions, of norm 1.
    """
    a, b, c = projection.left, projection.operator, projection.right
    n_known = len(projection.known)
    left, right = _complement(a, n_known), _complement(c, n_known)
    if tied:
        values, rotation = np.linalg.eigh(left.T @ (b + b.T) @ left / 2)
        functions = left @ rotation[:, ::-1]
        return values[::-1], functions, functions
    u, values, vt = np.linalg.svd(left.T @ b @ right)
    k = len(values)
    return values, left @ u[:, :k], right @ vt.T[:, :k]


def _complement(gram: np.ndarray, n_known: int) -> np.ndarray:
    """Coefficients (M, k) of orthonormal functions that span the learned ones less their part along the known ones."""
    m = len(gram)
    lift = np.zeros((m, m - n_known))
    lift[n_known:] = np.eye(m - n_known)
    if n_known:
        lift[:n_known] = -np.linalg.solve(gram[:n_known, :n_known], gram[:n_known, n_known:])
    inner = lift.T @ gram @ lift
    scale = np.sqrt(np.clip(np.diag(inner), np.finfo(float).tiny, None))
    variances, directions = np.linalg.eigh(inner / np.outer(scale, scale))
    kept = variances > RANK_TOLERANCE * variances.max(initial=0)
    return lift @ (directions[:, kept] / np.sqrt(variances[kept]) / scale[:, None])
