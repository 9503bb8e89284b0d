"""Scores of a fitted spectrum on data it has not seen.

References
----------
Wu, Noé, J. Nonlinear Sci. 30 (2020) 23: VAMP-2 (eq. 33) and VAMP-E (eq. 39, here without the constant ‖T‖²).
"""

import numpy as np

from spectraldyn.spectra.rayleigh_ritz import Averages, Spectrum, leading, orthonormal, rayleigh_ritz

SHRINKAGE = 0.2
"""Weight of the training rows in the norms of a held-out score."""


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
