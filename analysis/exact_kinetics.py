"""Exact passage times, committors, fluxes and populations of systems with a grid, seen every lag time.

The stochastic matrix over a lag time has the eigenpairs of the generator on the grid (finite volumes), and all else
follows from linear equations in it. Nothing here is shared with the code that is tested against it.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from spectraldyn.systems import Overdamped
from spectraldyn.systems.grids import Grid, on_points


@dataclass(frozen=True)
class ExactExchange:
    """Between n sets of cells, in the unit of the lag time."""

    mfpt: np.ndarray
    """(n, n): from equilibrium within the row's set until the column's is first seen."""
    flux: np.ndarray
    """(n, n): passages per unit of time in the steady state; NaN on the diagonal."""
    committors: dict[tuple[int, int], np.ndarray]
    """(i, j) → probability of every cell that j is seen before i."""


def over_lag(system: Overdamped, grid: Grid, n: int, lag_time: float) -> tuple[np.ndarray, np.ndarray]:
    """Stochastic matrix (N, N) of the cells of a grid over a lag time, and their equilibrium (N,).

    From the lowest n eigenpairs: those left out must have decayed over the lag time.
    """
    law = np.exp(-system.beta * on_points(system.energy, grid.points()).ravel())
    law /= law.sum()
    spectrum = system.on_grid(grid, n)
    functions = spectrum.eigenfunctions.reshape(n, -1)
    matrix = (functions.T * np.exp(-spectrum.eigenvalues * lag_time)) @ functions * law
    matrix = np.clip(matrix, 0, None)
    return matrix / matrix.sum(axis=1, keepdims=True), law


def exact_exchange(matrix: np.ndarray, law: np.ndarray, sets: list[np.ndarray], lag_time: float) -> ExactExchange:
    """From the stochastic matrix over a lag time, its equilibrium, and the cells of every set."""
    n, cells = len(sets), np.arange(len(law))
    mfpt, flux, committors = np.zeros((n, n)), np.full((n, n), np.nan), {}
    for b, target in enumerate(sets):
        rest = np.setdiff1d(cells, target)
        hitting = np.zeros(len(law))
        hitting[rest] = np.linalg.solve(np.eye(len(rest)) - matrix[np.ix_(rest, rest)], np.full(len(rest), lag_time))
        mfpt[:, b] = [np.average(hitting[source], weights=law[source]) for source in sets]
    for a, b in combinations(range(n), 2):
        between = np.setdiff1d(cells, np.concatenate((sets[a], sets[b])))
        q = np.isin(cells, sets[b]).astype(float)
        inner = np.eye(len(between)) - matrix[np.ix_(between, between)]
        q[between] = np.linalg.solve(inner, matrix[np.ix_(between, sets[b])].sum(axis=1))
        committors[a, b] = q
        flux[a, b] = flux[b, a] = law[sets[a]] @ matrix[sets[a]] @ q / lag_time
    return ExactExchange(mfpt, flux, committors)
