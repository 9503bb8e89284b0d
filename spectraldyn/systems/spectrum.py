"""How spectra are stated and put together: in closed form, on grids, and those of sums of independent parts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import LinearOperator, eigsh, splu

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Grid

CELLS = {1: (2000, 3000), 2: (160, 240)}
"""Cells per axis of the two grids from which eigenvalues are extrapolated to cells of size 0."""


@dataclass(frozen=True, eq=False)
class Exact:
    """A spectrum known in closed form."""

    eigenvalues: Callable[[int], np.ndarray]
    """(n,): the lowest n, ascending. For a generator these are the rates −λ, the first of them 0."""
    eigenfunctions: Callable[[np.ndarray, int], np.ndarray]
    """(ndarray (m, d), int n) → ndarray (m, n): orthonormal: under the equilibrium distribution for a generator, in
    L²(dx) for a Schrödinger operator."""


@dataclass(frozen=True, eq=False)
class GridSpectrum:
    """Lowest eigenvalues (k,), ascending, and eigenfunctions (k, *grid.shape) at the centres of the cells."""

    eigenvalues: np.ndarray
    grid: Grid
    eigenfunctions: np.ndarray


class Solvable(ABC):
    """A system in a box: its lowest eigenpairs in closed form, or else from grids in one and two dimensions."""

    domain: Domain
    periodic: bool
    exact: Exact | None

    @property
    def dimension(self) -> int:
        return len(self.domain)

    @abstractmethod
    def on_grid(self, grid: Grid, n: int) -> GridSpectrum:
        """The lowest n eigenpairs, with an error ∝ (size of the cells)²."""

    def lowest(self, n: int) -> np.ndarray:
        """Lowest n eigenvalues (n,), ascending; of a generator those of −L, which begin with 0."""
        if self.exact is not None:
            return self.exact.eigenvalues(n)
        coarse, fine = self._solved(0, n), self._solved(1, n)
        ratio = (fine.grid.shape[0] / coarse.grid.shape[0]) ** 2
        return (fine.eigenvalues + (fine.eigenvalues - coarse.eigenvalues) / (ratio - 1))[:n]

    def lowest_functions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Their eigenfunctions at points (m, d), on the finer grid where there is no closed form; shape (m, n)."""
        if self.exact is not None:
            return self.exact.eigenfunctions(points, n)
        fine = self._solved(1, n)
        return np.stack([fine.grid.interpolate(values, points) for values in fine.eigenfunctions[:n]], axis=1)

    def _solved(self, which: int, n: int) -> GridSpectrum:
        """At least n eigenpairs on the coarse grid 0 or the fine grid 1."""
        if self.dimension not in CELLS:
            raise InputError(
                f"a potential in {self.dimension} dimensions has no reference on a grid: state its closed form "
                "(exact=), or build it as a sum of independent parts (Separable, SchroedingerSum)"
            )
        # One more than a multiple of 8, so that later calls find them solved.
        return _solve(self, CELLS[self.dimension][which], 1 - 8 * (-(n - 1) // 8))


@lru_cache(maxsize=64)
def _solve(system: Solvable, cells: int, n: int) -> GridSpectrum:
    return system.on_grid(Grid(system.domain, (cells,) * system.dimension, system.periodic), n)


def lowest_eigenpairs(matrix: csc_array, n: int, below: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest n eigenvalues, ascending, and eigenvectors (m, n) of a symmetric matrix whose spectrum lies above `below`.

    By shift and invert: the shifted matrix is positive definite, so that it is factorised without pivoting.
    """
    shifted = csc_array(matrix - below * eye_array(matrix.shape[0]))
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    inverse = LinearOperator(matrix.shape, matvec=factors.solve, dtype=float)
    start = np.random.default_rng(0).random(matrix.shape[0])
    eigenvalues, vectors = eigsh(matrix, n, sigma=below, OPinv=inverse, v0=start)
    order = eigenvalues.argsort()
    return eigenvalues[order], vectors[:, order]


Part = TypeVar("Part", bound=Solvable)


class IndependentParts(Generic[Part]):
    """Parts with coordinates of their own, which follow each other: eigenvalues add, eigenfunctions multiply."""

    parts: Sequence[Part]

    @property
    def dimension(self) -> int:
        return len(self.domain)

    @property
    def domain(self) -> Domain:
        """One (low, high) per axis."""
        return tuple(interval for part in self.parts for interval in part.domain)

    @property
    def periodic(self) -> bool:
        """Whether the ends of every axis meet."""
        return all(part.periodic for part in self.parts)

    @property
    def columns(self) -> list[tuple[Part, slice]]:
        """Every part with its coordinates."""
        ends = np.cumsum([part.dimension for part in self.parts]).tolist()
        return [(part, slice(end - part.dimension, end)) for part, end in zip(self.parts, ends, strict=True)]

    def lowest(self, n: int) -> np.ndarray:
        """Lowest n eigenvalues (n,), as `Solvable.lowest`."""
        return np.array([total for total, _ in self._modes(n)])

    def lowest_functions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Their eigenfunctions at points (m, d); shape (m, n)."""
        orders = np.array([order for _, order in self._modes(n)])
        product = np.ones((len(points), n))
        for (part, own), order in zip(self.columns, orders.T, strict=True):
            product *= part.lowest_functions(points[:, own], order.max() + 1)[:, order]
        return product

    def _modes(self, n: int) -> list[tuple[float, tuple[int, ...]]]:
        return smallest_sums([part.lowest(n) for part in self.parts], n)


def smallest_sums(terms: Sequence[np.ndarray], n: int) -> list[tuple[float, tuple[int, ...]]]:
    """The n smallest sums of one entry per ascending term, with the index of the entry in every term; ascending.

    Only the n smallest sums of the terms so far can lead to the n smallest sums of all, so the cost grows linearly
    with the number of terms, not exponentially.
    """
    sums: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for values in terms:
        longer = [(total + value, (*order, i)) for total, order in sums for i, value in enumerate(values[:n])]
        sums = sorted(longer)[:n]
    return [(float(total), order) for total, order in sums]


class KnownEigenfunctions(Protocol):
    """A system whose eigenfunctions can be evaluated."""

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray: ...


def oracle_timescales(
    system: KnownEigenfunctions, trajectories: Sequence[np.ndarray], lagtime: int, n_modes: int
) -> np.ndarray:
    """Timescales in frames by Rayleigh–Ritz with the true eigenfunctions, on symmetrised moments of the data.

    The best that any estimator can do on given data.

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
