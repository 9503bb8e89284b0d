"""The best that any estimator can do on given data: Rayleigh–Ritz with the true eigenfunctions."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.linalg import eigh


class KnownEigenfunctions(Protocol):
    """A system whose eigenfunctions can be evaluated."""

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray: ...


def oracle_timescales(
    system: KnownEigenfunctions, trajectories: Sequence[np.ndarray], lagtime: int, n_modes: int
) -> np.ndarray:
    """Timescales in frames by Rayleigh–Ritz with the true eigenfunctions, on symmetrised moments of the data.

    Parameters
    ----------
    system : Overdamped, Separable or Mapped
    trajectories : sequence of ndarray (T, d)
        In the coordinates of the system.
    lagtime : int
        In frames.
    n_modes : int

    Returns
    -------
    ndarray (n_modes,)
        Descending.
    """
    instantaneous = lagged = 0.0
    for frames in trajectories:
        functions = np.column_stack((np.ones(len(frames)), system.eigenfunctions(frames, n_modes)))
        x, y = functions[:-lagtime], functions[lagtime:]
        instantaneous = instantaneous + x.T @ x + y.T @ y
        lagged = lagged + x.T @ y + y.T @ x
    values = eigh(lagged, instantaneous, eigvals_only=True)[::-1]
    return -lagtime / np.log(values[1 : n_modes + 1])
