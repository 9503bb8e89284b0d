"""Weights of states in a known potential, wherever they were sampled."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy.spatial import KDTree

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Grid, on_points

CELLS = {1: (20_000,), 2: (1000, 1000)}
"""Of the grid on which the equilibrium distribution is integrated."""


class Landscape(Protocol):
    """An energy in a box; those of `Overdamped` systems are such."""

    @property
    def dimension(self) -> int: ...
    @property
    def domain(self) -> Any: ...
    @property
    def periodic(self) -> bool: ...
    @property
    def beta(self) -> float: ...
    @property
    def energy(self) -> Callable: ...


def cell_weights(system: Landscape, states: np.ndarray) -> np.ndarray:
    """Weights (n,) of mean 1 of states (n, d) from anywhere: the equilibrium probability nearest to each.

    Every state stands for its Voronoi cell, over which e^{−βU} is integrated on a grid. No bias enters and no density
    of the samples, and so no noise of either; what remains is the size of the cells where the functions of interest
    change. The states must reach every place that counts.

    Raises
    ------
    InputError
        If the system has more than two dimensions, or is periodic.
    """
    if system.dimension not in CELLS or system.periodic:
        where = "on a torus" if system.periodic else f"in {system.dimension} dimensions"
        raise InputError(f"cells are found in a box of one or two dimensions, not {where}: give weights from the bias")
    domain: Domain = system.domain
    points = Grid(domain, CELLS[system.dimension]).points()
    reduced = system.beta * on_points(system.energy, points)
    nearest = KDTree(states).query(points.reshape(-1, system.dimension))[1]
    weight = np.bincount(nearest, np.exp(reduced.min() - reduced).ravel(), len(states))
    return weight / weight.mean()
