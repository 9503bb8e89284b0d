"""Scores of a fitted spectrum on data it has not seen.

References
----------
Wu, Noé, J. Nonlinear Sci. 30 (2020) 23: VAMP-2 (eq. 33) and VAMP-E (eq. 39, here without the constant ‖T‖²).
"""

import numpy as np

from spectraldyn.spectra.decomposition import Decomposition, decompose, symmetrised, truncated
from spectraldyn.spectra.moments import Averages


def vamp_scores(train: Decomposition, test: Averages, reversible: bool) -> dict[str, float]:
    """VAMP-2 and VAMP-E on test moments of the singular functions and values found on training data.

    The constant mode is included and its 1 counted, as is usual. VAMP-E = tr(2 S Uᵀ C₀₁ V − S Uᵀ C₀₀ U S Vᵀ C₁₁ V);
    VAMP-2 = ‖(Uᵀ C₀₀ U)^−½ Uᵀ C₀₁ V (Vᵀ C₁₁ V)^−½‖²_F.

    Returns
    -------
    dict
        "vamp2", "vampe"; NaN where the test data leave a function without variance.
    """
    c00, c01, c11 = test
    if reversible:
        c00, c01 = symmetrised(*test)
        c11 = c00
    constant = np.eye(len(c00))[:, :1]
    left, right = np.hstack((constant, train.left)), np.hstack((constant, train.right))
    # In a reversible decomposition the two singular functions of a negative eigenvalue differ in sign.
    values = np.append(1.0, np.real(train.eigenvalues) if reversible else train.singular_values)
    a, b, c = left.T @ c00 @ left, left.T @ c01 @ right, right.T @ c11 @ right
    vampe = np.trace(2 * np.diag(values) @ b - np.diag(values) @ a @ np.diag(values) @ c)
    try:
        vamp2 = float(np.linalg.norm(_inverse_root(a) @ b @ _inverse_root(c)) ** 2)
    except np.linalg.LinAlgError:
        vamp2 = float("nan")
    return {"vamp2": vamp2, "vampe": float(vampe)}


def split_scores(
    functions: np.ndarray,
    distance: int,
    train: np.ndarray,
    test: np.ndarray,
    reversible: bool,
    n_modes: int | None = None,
) -> dict[str, float]:
    """Scores of the spectrum found on training pairs, on these and on held-out pairs.

    Parameters
    ----------
    functions : ndarray (n_frames, M)
        The first column is 1.
    distance : int
        From the left to the right end of a pair, in rows of `functions`.
    train, test : ndarray of int
        Rows of the left ends.
    reversible : bool
    n_modes : int, optional
        Only the leading modes count, so that methods with more functions than others gain nothing by that.

    Returns
    -------
    dict
        "vamp2_train", "vamp2_test", "vampe_test"; the last two NaN without held-out pairs.
    """
    trained = averages(functions, distance, train)
    spectrum = decompose(*trained, reversible=reversible)
    if n_modes is not None:
        spectrum = truncated(spectrum, n_modes)
    on_train = vamp_scores(spectrum, trained, reversible)
    on_test = {"vamp2": float("nan"), "vampe": float("nan")}
    if len(test) >= 2:
        on_test = vamp_scores(spectrum, averages(functions, distance, test), reversible)
    return {"vamp2_train": on_train["vamp2"], "vamp2_test": on_test["vamp2"], "vampe_test": on_test["vampe"]}


def averages(functions: np.ndarray, distance: int, starts: np.ndarray) -> Averages:
    """C₀₀, C₀₁ and C₁₁ of functions (n_frames, M) over the pairs with these left ends."""
    x, y = functions[starts], functions[starts + distance]
    return x.T @ x / len(starts), x.T @ y / len(starts), y.T @ y / len(starts)


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    """M^−½ of a symmetric positive matrix; LinAlgError where it is singular."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] <= 1e-10 * values[-1]:
        raise np.linalg.LinAlgError("singular matrix")
    return vectors / np.sqrt(values) @ vectors.T
