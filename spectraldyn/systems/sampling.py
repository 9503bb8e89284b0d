"""Independent draws from a density on an interval or a rectangle."""

from collections.abc import Callable

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Grid

CELLS = {1: (20_000,), 2: (1000, 1000)}
"""Cells within which the density is taken as uniform; the error this makes in moments falls as their size squared."""


def sample_density(
    log_density: Callable[[np.ndarray], np.ndarray], domain: Domain, n: int, seed: int | np.random.SeedSequence
) -> np.ndarray:
    """Draw by the inverse of the cumulative distribution over the cells of a grid.

    Parameters
    ----------
    log_density : callable, ndarray (..., d) → ndarray (...)
        Up to a constant.
    domain : tuple of (low, high)
        Of one or two axes.
    n : int
    seed : int or SeedSequence

    Returns
    -------
    ndarray (n, d)

    Raises
    ------
    InputError
        In more than two dimensions.
    """
    if len(domain) not in CELLS:
        raise InputError(f"draws from equilibrium need one or two dimensions or a Separable sum, not {len(domain)}")
    grid = Grid(domain, CELLS[len(domain)])
    logarithm = log_density(grid.points()).ravel()
    cumulative = np.cumsum(np.exp(logarithm - logarithm.max()))
    random = np.random.default_rng(seed)
    cells = np.searchsorted(cumulative, random.random(n) * cumulative[-1])
    corners = np.stack(np.unravel_index(cells, grid.shape), axis=1)
    low = np.array([low for low, _ in domain])
    return low + grid.steps * (corners + random.random((n, len(domain))))
