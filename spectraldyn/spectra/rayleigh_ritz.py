"""Rayleigh–Ritz and canonical correlation analysis: from averages of learned functions to an ordered spectrum.

The one step by which every spectrum here is read off: of transfer operators, reversible or not, of resolvents of a
generator in the energy space, and of any other operator that was learned.

References
----------
Noé, Nüske, "A variational approach to modeling slow processes in stochastic dynamical systems", Multiscale Model.
Simul. 11 (2013) 635, for the self-adjoint case; Wu, Noé, J. Nonlinear Sci. 30 (2020) 23, eqs. 30-34 for the general
one; Zhang, Hartmann, Schütte, Faraday Discuss. 195 (2016) 365, for generators.
"""

from dataclasses import dataclass, replace

import numpy as np

RANK_TOLERANCE = 1e-8
"""Functions whose correlation matrix has eigenvalues below this share of the largest are linearly dependent."""

Averages = tuple[np.ndarray, np.ndarray, np.ndarray]
"""⟨f_i, f_j⟩, ⟨f_i, T g_j⟩ and ⟨g_i, g_j⟩, each (..., M, M)."""


@dataclass(frozen=True)
class Spectrum:
    """Singular values and functions of an operator on the span of learned functions; known modes are left out.

    Coefficients refer to the M functions of the averages, the known ones first.
    """

    values: np.ndarray
    """(k,): eigenvalues, largest first, where the sides are tied; singular values otherwise. k < n where the n learned
    functions are linearly dependent."""
    left: np.ndarray
    right: np.ndarray
    """left and right: (M, k): coefficients of the left and right singular functions, of norm 1 and orthogonal to the
    known ones."""
    norms: np.ndarray
    """(n,): ‖f_i‖ ‖g_i‖ of the functions as trained, before any rotation: the singular values as nested low-rank
    approximation states them."""


@dataclass(frozen=True)
class Eigenmodes:
    """Eigenvalues of an operator on the span of its left functions, and the functions that belong to them."""

    values: np.ndarray
    """(k,): where the operator is self-adjoint those of the spectrum, else by decreasing magnitude and possibly
    complex."""
    functions: np.ndarray
    dual: np.ndarray
    """functions and dual: (M, k): coefficients of the right eigenfunctions and of the left ones that are dual to
    them."""


def rayleigh_ritz(averages: Averages, *, tied: bool, n_known: int = 1, both_ends: bool = False) -> Spectrum:
    """Singular values and functions of the operator on the learned functions, less their part along the known ones.

    Tied sides, one set of functions and a self-adjoint operator: the generalised symmetric problem B v = λ A v, with
    eigenvalues in the range of the operator by construction; B need not be symmetric in the sample. Otherwise canonical
    correlation analysis between left and right functions. A = ⟨f, f⟩, B = ⟨f, T g⟩ and C = ⟨g, g⟩ have the known
    functions first; with `both_ends` they are of all functions [known, f, g] at both ends of pairs, of which each side
    takes its own.
    """
    a, b, c = averages
    if tied:
        basis = orthonormal(a, n_known)
        values, rotation = np.linalg.eigh(basis.T @ (b + b.T) @ basis / 2)
        functions = basis @ rotation[:, ::-1]
        return Spectrum(values[::-1], functions, functions, np.diag(a)[n_known:].copy())
    f, g = _members(len(a), n_known, both_ends)
    left, right = orthonormal(a, n_known, f), orthonormal(c, n_known, g)
    u, values, vt = np.linalg.svd(left.T @ b @ right, full_matrices=False)
    return Spectrum(values, left @ u, right @ vt.T, np.sqrt(np.diag(a)[f] * np.diag(c)[g]))


def eigenmodes(averages: Averages, spectrum: Spectrum, *, tied: bool, n_known: int = 1) -> Eigenmodes:
    """Eigenvalues and eigenfunctions, as many as the spectrum has modes.

    Of tied sides they are the spectrum itself. Otherwise they are those of C₀₀⁻¹ C₀₁ on the span of the left functions,
    which contains every eigenfunction of an operator Σ σ f ⊗ g; the averages are then those of all functions at both
    ends.
    """
    if tied:
        return Eigenmodes(spectrum.values, spectrum.left, spectrum.left)
    a, b, _ = averages
    basis = orthonormal(a, n_known, _members(len(a), n_known, True)[0])
    values, vectors = np.linalg.eig(basis.T @ b @ basis)
    dual = np.linalg.inv(vectors).conj().T
    order = np.argsort(-np.abs(values), kind="stable")[: len(spectrum.values)]
    values, vectors, dual = values[order], vectors[:, order], dual[:, order]
    if np.all(values.imag == 0):
        values, vectors, dual = values.real, vectors.real, dual.real
    return Eigenmodes(values, basis @ vectors, basis @ dual)


def leading(spectrum: Spectrum, n_modes: int) -> Spectrum:
    """The leading modes of a spectrum; more functions than modes may have been learned."""
    return replace(
        spectrum, values=spectrum.values[:n_modes], left=spectrum.left[:, :n_modes], right=spectrum.right[:, :n_modes]
    )


def orthonormal(
    gram: np.ndarray, n_known: int, members: np.ndarray | None = None, tolerance: float = RANK_TOLERANCE
) -> np.ndarray:
    """Coefficients (M, k) of orthonormal functions that span the members less their part along the known functions.

    The known functions come first in the inner products (M, M) and are orthogonal to each other; members are indices of
    functions, by default all that are not known. See `RANK_TOLERANCE`.
    """
    members = np.arange(n_known, len(gram)) if members is None else members
    along = gram[:n_known, members] / np.diag(gram)[:n_known, None]
    rest = gram[np.ix_(members, members)] - gram[members, :n_known] @ along
    # A function that is known to within rounding carries no mode.
    whole = whitening(rest, 1e-7 * np.sqrt(np.diag(gram)[members]), tolerance)
    kept = whole[:, whole.any(axis=0)]
    coefficients = np.zeros((len(gram), kept.shape[1]))
    coefficients[members], coefficients[:n_known] = kept, -along @ kept
    return coefficients


def whitening(gram: np.ndarray, least: np.ndarray | float = 0.0, tolerance: float = RANK_TOLERANCE) -> np.ndarray:
    """Coefficients (..., M, M) of orthonormal functions that span those of these inner products (..., M, M).

    A column is 0 for each of them that is missing because functions are linearly dependent, see `RANK_TOLERANCE`, or of
    a norm no larger than the `least` (M,).
    """
    scale = np.sqrt(np.clip(np.diagonal(gram, axis1=-2, axis2=-1), 0, None))
    # What is divided by infinity is left out.
    scale = np.where(scale > least, scale, np.inf)
    variances, directions = np.linalg.eigh(gram / (scale[..., :, None] * scale[..., None, :]))
    kept = variances > tolerance * variances.max(axis=-1, initial=0, keepdims=True)
    root = np.sqrt(np.where(kept, variances, np.inf))
    return directions / root[..., None, :] / scale[..., :, None]


def _members(n_functions: int, n_known: int, both_ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the left and of the right functions."""
    everyone = np.arange(n_known, n_functions)
    left, right = np.split(everyone, 2) if both_ends else (everyone, everyone)
    return left, right
