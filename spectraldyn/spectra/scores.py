"""Scores of a fitted spectrum on data it has not seen.

References
----------
Wu, Noé, J. Nonlinear Sci. 30 (2020) 23: VAMP-2 (eq. 33) and VAMP-E (eq. 39, here without the constant ‖T‖²).
"""

from dataclasses import dataclass

import numpy as np

from spectraldyn.spectra.intervals import participation
from spectraldyn.spectra.rayleigh_ritz import Averages, Spectrum, eigenmodes, leading, orthonormal, rayleigh_ritz

SHRINKAGE = 0.2
"""Weight of the training rows in the norms of a held-out score."""
N_PIECES = 20
"""Pieces of the held-out pairs, in their order, between which the spread of a held-out eigenvalue is taken."""


@dataclass(frozen=True)
class HeldOut:
    """How each of k modes that were found on training pairs does on held-out pairs."""

    n_pairs: int
    """Held-out pairs, all of them; with fewer than two there is nothing to compare, and all that follows is 0."""
    functions: np.ndarray
    """(M, k): coefficients of the modes, slowest first."""
    values: np.ndarray
    """(k,): their eigenvalues on the training pairs."""
    kept: np.ndarray
    """(k,): share of the eigenvalue that is there on held-out pairs, Re(λ̂* λ) / |λ|²: 1 for a mode of the dynamics, 0
    for one that was fitted to noise."""
    error: np.ndarray
    """(k,): standard error of it."""
    variance: np.ndarray
    """(k,): mean square on the held-out pairs; 1 on those for training."""
    n_pieces: np.ndarray
    """(k,): in how many of `N_PIECES` pieces of the held-out pairs the mode varies; see `participation`."""
    vampe_error: float
    """Standard error of the held-out VAMP-E."""


def held_out_modes(
    train: Averages, held_out: tuple[np.ndarray, np.ndarray] | None, n_pairs: int, *, tied: bool
) -> HeldOut:
    """The modes of the training averages on held-out pairs, from the functions (n, M) at both ends of some of these.

    Functions and averages are those of `split_scores`. A held-out eigenvalue is the Rayleigh quotient of the mode and
    its dual, and its error that of a ratio of sums over pieces.
    """
    spectrum = rayleigh_ritz(train, tied=tied, both_ends=not tied)
    modes = eigenmodes(train, spectrum, tied=tied)
    nothing = np.zeros(len(modes.values))
    if held_out is None:
        return HeldOut(n_pairs, modes.functions, modes.values, nothing, nothing, nothing, nothing, 0.0)
    (first, second), dual = (end @ modes.functions for end in held_out), held_out[0] @ modes.dual.conj()
    operator, identity, square = dual * second, dual * first, np.abs(first) ** 2
    if tied:
        identity = square = (first**2 + second**2) / 2
    pieces = np.array_split(np.arange(len(first)), min(N_PIECES, len(first)))
    b, a, squares = (np.stack([part[rows].sum(axis=0) for rows in pieces]) for part in (operator, identity, square))
    # Shares of the eigenvalue of training; of one that is nothing there is nothing left.
    unit = np.divide(modes.values.conj(), np.abs(modes.values) ** 2, out=0 * modes.values, where=modes.values != 0)
    total = np.where(a.sum(axis=0) == 0, 1, a.sum(axis=0))
    ratio = b.sum(axis=0) / total
    error = np.sqrt((((b - ratio * a) / total * unit).real ** 2).sum(axis=0) * len(pieces) / max(len(pieces) - 1, 1))
    kept, variance = (ratio * unit).real, squares.sum(axis=0) / len(first)
    vampe_error = _vampe_error(
        spectrum, [pair_averages(*(end[rows] for end in held_out), tied=tied) for rows in pieces]
    )
    found = kept, error, variance, participation(squares), vampe_error
    return HeldOut(n_pairs, modes.functions, modes.values, *found)


def _vampe_error(spectrum: Spectrum, pieces: list[Averages]) -> float:
    """Of the score on averages that are the mean of those of pieces, by leaving out one of them at a time."""
    n, totals = len(pieces), [np.sum(parts, axis=0) for parts in zip(*pieces, strict=True)]
    if n < 2:
        return 0.0

    def without(piece: Averages) -> Averages:
        c00, c01, c11 = ((total - part) / (n - 1) for total, part in zip(totals, piece, strict=True))
        return c00, c01, c11

    scores = np.array([vamp_scores(spectrum, without(piece))["vampe"] for piece in pieces])
    return float(np.sqrt((n - 1) / n * ((scores - scores.mean()) ** 2).sum()))


def vamp_scores(train: Spectrum, test: Averages) -> dict[str, float]:
    """VAMP-2 and VAMP-E on test averages of the singular functions and values found on training data.

    The constant mode is included and its 1 counted, as is usual. VAMP-E = tr(2 S Uᵀ C₀₁ V − S Uᵀ C₀₀ U S Vᵀ C₁₁ V);
    VAMP-2 = ‖(Uᵀ C₀₀ U)^−½ Uᵀ C₀₁ V (Vᵀ C₁₁ V)^−½‖²_F. Keys "vamp2", "vampe"; NaN where the test data leave a function
    without variance.
    """
    c00, c01, c11 = test
    constant = np.eye(len(c00))[:, :1]
    left, right = np.hstack((constant, train.left)), np.hstack((constant, train.right))
    # With tied sides these are eigenvalues: the two singular functions of a negative one differ in sign.
    values = np.diag(np.append(1.0, train.values))
    a, b, c = left.T @ c00 @ left, left.T @ c01 @ right, right.T @ c11 @ right
    return {
        "vamp2": projected_norm((a, b, c), tolerance=1e-10, whole=True),
        "vampe": float(np.trace(2 * values @ b - values @ a @ values @ c)),
    }


def projected_norm(averages: Averages, tolerance: float, whole: bool = False) -> float:
    """‖A^−½ B C^−½‖²_F: the squared singular values of the operator on the span of the functions, summed.

    Directions with less than this share of the largest variance are left out; with `whole`, NaN where there are any.
    """
    a, b, c = averages
    left, right = (orthonormal(part, 0, tolerance=tolerance) for part in (a, c))
    if whole and (left.shape != a.shape or right.shape != c.shape):
        return float("nan")
    return float(np.linalg.norm(left.T @ b @ right) ** 2)


def shrunk_averages(train: Averages, test: Averages) -> Averages:
    """Averages over held-out rows, the norms with a small weight on the training rows.

    A held-out part that never visits a rare state would otherwise compare the noise of functions that do not vary
    there.
    """
    c00, c11 = (SHRINKAGE * train[i] + (1 - SHRINKAGE) * test[i] for i in (0, 2))
    return c00, test[1], c11


def split_scores(train: Averages, test: Averages | None, *, tied: bool, n_modes: int | None = None) -> dict[str, float]:
    """Scores of the spectrum found on training pairs, on these and on held-out pairs.

    The averages are of [1, f] (tied) or [1, f, g] at both ends of the pairs. With `n_modes` only the leading modes
    count, so that methods with more functions than others gain nothing by that. Keys "vamp2_train", "vamp2_test",
    "vampe_test"; the last two NaN without held-out pairs.
    """
    spectrum = rayleigh_ritz(train, tied=tied, both_ends=not tied)
    if n_modes is not None:
        spectrum = leading(spectrum, n_modes)
    on_test = {"vamp2": float("nan"), "vampe": float("nan")} if test is None else vamp_scores(spectrum, test)
    return {"vamp2_train": vamp_scores(spectrum, train)["vamp2"], **{f"{k}_test": v for k, v in on_test.items()}}


def pair_averages(x: np.ndarray, y: np.ndarray, *, tied: bool) -> Averages:
    """C₀₀, C₀₁ and C₁₁ of functions (n_pairs, M) at the two ends of pairs; in both directions of time where tied."""
    c00, c01, c11 = x.T @ x / len(x), x.T @ y / len(x), y.T @ y / len(x)
    if tied:
        c00 = c11 = (c00 + c11) / 2
        c01 = (c01 + c01.T) / 2
    return c00, c01, c11
