"""Reference spectra of overdamped Langevin generators in one and two dimensions, by finite volumes.

L f = e^{βU} ∇·(D e^{−βU} ∇f). With masses m_i = e^{−βU(x_i)} at cell centres, the symmetrised −L has off-diagonals
−D(x_f) e^{−βU(x_f)} / (h² √(m_i m_j)), f the face between the cells i and j, and its error falls as h². Ends reflect,
or meet when periodic.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix, diags_array
from scipy.sparse.linalg import eigsh

from spectraldyn.systems.grids import Function, Grid, on_points

HIGHEST = 40.0
"""In kT above the lowest cell. Beyond, where e^{−40} of the probability lies, eigenvectors over √m would be noise."""


@dataclass(frozen=True, eq=False)
class GridSpectrum:
    """Lowest eigenpairs on a grid.

    Attributes
    ----------
    eigenvalues : ndarray (k,)
        Ascending.
    grid : Grid
    eigenfunctions : ndarray (k, *grid.shape)
        At the cell centres.
    """

    eigenvalues: np.ndarray
    grid: Grid
    eigenfunctions: np.ndarray

    def evaluate(self, points: np.ndarray, n: int) -> np.ndarray:
        """The lowest n eigenfunctions, interpolated at points (m, d); shape (m, n)."""
        return np.stack([self.grid.interpolate(function, points) for function in self.eigenfunctions[:n]], axis=1)


def finite_volume(energy: Function, diffusion: Function | float, beta: float, grid: Grid, n_modes: int) -> GridSpectrum:
    """Slowest eigenpairs of a generator, the constant one included; eigenvalues are rates −λ.

    Parameters
    ----------
    energy : callable
    diffusion : float or callable
        D, or D(x): one number per state, evaluated at the faces between cells.
    beta : float
    grid : Grid
        Of one or two dimensions. Cells more than 40 kT above the lowest one are left out.
    n_modes : int

    Returns
    -------
    GridSpectrum
        Eigenfunctions orthonormal under the equilibrium distribution.
    """
    reduced = beta * on_points(energy, grid.points())
    reduced -= reduced.min()
    kept = _kept(reduced)
    number = np.full(grid.shape, -1)
    number[kept] = np.arange(kept.sum())
    diagonal = np.zeros(kept.sum())
    pairs, flows = [], []
    for axis, step in enumerate(grid.steps):
        lower, upper, flow = _faces(energy, diffusion, beta, grid, axis)
        left, right = number.ravel()[lower], number.ravel()[upper]
        inside = (left >= 0) & (right >= 0)
        left, right, flow = left[inside], right[inside], flow[inside] / step**2
        shift = reduced[kept]
        np.add.at(diagonal, left, np.exp(shift[left]) * flow)
        np.add.at(diagonal, right, np.exp(shift[right]) * flow)
        pairs.append((left, right))
        flows.append(-np.exp((shift[left] + shift[right]) / 2) * flow)
    free_diffusion = float(np.median(diagonal)) / max(grid.shape) ** 2  # D / (length of the box)²
    tridiagonal = reduced.ndim == 1 and not grid.periodic
    rates, vectors = _lowest(diagonal, pairs, flows, n_modes, shift=1e-3 * free_diffusion, tridiagonal=tridiagonal)
    mass = np.exp(-reduced[kept])
    values = vectors.T / np.sqrt(mass / mass.sum())
    values *= np.sign(np.take_along_axis(values, np.abs(vectors.T).argmax(axis=1)[:, None], axis=1))
    functions = np.zeros((n_modes, *grid.shape))
    functions[:, kept] = values
    nearest = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return GridSpectrum(rates, grid, functions[(slice(None), *nearest)])


def _kept(reduced: np.ndarray) -> np.ndarray:
    """Which cells take part. In one dimension a barrier stays, however high, so that the cells stay connected."""
    kept = reduced < HIGHEST
    if reduced.ndim == 1:
        inside = np.flatnonzero(kept)
        kept[inside[0] : inside[-1] + 1] = True
    return kept


def _faces(
    energy: Function, diffusion: Function | float, beta: float, grid: Grid, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat numbers of the cells on both sides of every face across an axis, and D e^{−β(U − lowest U)} on the faces."""
    cells = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    points = grid.points(face=axis)
    lower, upper = cells, np.roll(cells, -1, axis=axis)
    if not grid.periodic:
        inner = tuple(slice(0, -1) if k == axis else slice(None) for k in range(len(grid.shape)))
        points, lower, upper = points[inner], lower[inner], upper[inner]
    lowest = on_points(energy, grid.points()).min()
    mobility = on_points(diffusion, points) if callable(diffusion) else diffusion
    flow = mobility * np.exp(-beta * (on_points(energy, points) - lowest))
    return lower.ravel(), upper.ravel(), flow.ravel()


def _lowest(
    diagonal: np.ndarray,
    pairs: list[tuple[np.ndarray, np.ndarray]],
    flows: list[np.ndarray],
    n_modes: int,
    shift: float,
    tridiagonal: bool,
) -> tuple[np.ndarray, np.ndarray]:
    if tridiagonal:
        return eigh_tridiagonal(diagonal, flows[0], select="i", select_range=(0, n_modes - 1))
    size = len(diagonal)
    upper = sum(coo_matrix((flow, pair), shape=(size, size)).tocsc() for pair, flow in zip(pairs, flows, strict=True))
    matrix = diags_array(diagonal).tocsc() + upper + upper.T
    # Shift and invert just below the spectrum, where the matrix is not singular.
    start = np.random.default_rng(0).random(size)
    rates, vectors = eigsh(matrix, n_modes, sigma=-shift, v0=start)
    order = rates.argsort()
    return rates[order], vectors[:, order]
