"""Reference spectra of overdamped Langevin generators in one and two dimensions, by finite volumes.

L f = e^{βU} ∇·(D e^{−βU} ∇f). With masses m_i = e^{−βU(x_i)} at cell centres, the symmetrised −L has off-diagonals
−D(x_f) e^{−βU(x_f)} / (h² √(m_i m_j)), f the face between the cells i and j, and its error falls as h². It is GᵀG with
one row of G per face, of the entries ∓√(D(x_f) e^{−βU(x_f)} / m) / h. Ends reflect, or meet when periodic.
"""

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array, csc_array, vstack

from spectraldyn.systems.grids import Function, Grid, on_points
from spectraldyn.systems.spectrum import GridSpectrum, lowest_eigenpairs

HIGHEST = 40.0
"""In kT above the lowest cell. Beyond, where e^{−40} of the probability lies, eigenvectors over √m would be noise."""


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
        Eigenfunctions orthonormal under the equilibrium distribution, positive where √(mass) times them is largest: of
        equal places, at the one further along the axes.
    """
    reduced = beta * on_points(energy, grid.points())
    lowest = reduced.min()
    reduced -= lowest
    kept = _kept(reduced)
    number = np.where(kept, kept.cumsum().reshape(grid.shape) - 1, -1).ravel()
    slopes = []
    for axis, step in enumerate(grid.steps):
        faces, lower, upper = _faces(grid, axis)
        inside = (number[lower] >= 0) & (number[upper] >= 0)
        faces, lower, upper = faces[inside], lower[inside], upper[inside]
        root = np.sqrt(on_points(diffusion, faces) if callable(diffusion) else diffusion) / step
        height = beta * on_points(energy, faces) - lowest
        left, right = (root * np.exp((reduced.ravel()[cells] - height) / 2) for cells in (lower, upper))
        rows = np.tile(np.arange(len(height)), 2)
        entries = (np.concatenate((-left, right)), (rows, number[np.concatenate((lower, upper))]))
        slopes.append(coo_array(entries, shape=(len(height), kept.sum())))
    gradient = vstack(slopes, format="csc")
    rates, vectors = _lowest(csc_array(gradient.T @ gradient), grid, n_modes)
    mass = np.exp(-reduced[kept])
    values = vectors.T / np.sqrt(mass / mass.sum())
    largest = (np.abs(vectors) * np.linspace(1, 1.01, len(vectors))[:, None]).argmax(axis=0)
    values *= np.sign(vectors[largest, np.arange(n_modes)])[:, None]
    rates[0], values[0] = 0.0, 1.0  # exactly, where the solvers leave rounding errors
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


def _faces(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (m, d) of the faces across an axis, and the flat numbers (m,) of the cells on either side."""
    points = grid.points(face=axis)
    lower = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    upper = np.roll(lower, -1, axis=axis)
    if not grid.periodic:
        points, lower, upper = (np.delete(array, -1, axis=axis) for array in (points, lower, upper))
    return points.reshape(-1, len(grid.shape)), lower.ravel(), upper.ravel()


def _lowest(matrix: csc_array, grid: Grid, n: int) -> tuple[np.ndarray, np.ndarray]:
    diagonal = matrix.diagonal()
    if len(grid.shape) == 1 and not grid.periodic:
        return eigh_tridiagonal(diagonal, matrix.diagonal(1), select="i", select_range=(0, n - 1))
    free_diffusion = float(np.median(diagonal)) / max(grid.shape) ** 2  # D / (length of the box)²
    return lowest_eigenpairs(matrix, n, below=-1e-3 * free_diffusion)
