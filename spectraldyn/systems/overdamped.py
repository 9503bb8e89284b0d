"""Overdamped Langevin dynamics in any energy U, with a reference spectrum.

dX = (−β D ∇U + ∇·D) dt + √(2D) dW: reversible with respect to e^{−βU}, with generator L f = e^{βU} ∇·(D e^{−βU} ∇f).
Times, lengths and energies are in reduced units; written to trajectory files they are read as ps, nm and kT.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array, csc_array, vstack
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Function, Grid, checked_domain, on_points
from spectraldyn.systems.simulate import simulate_overdamped
from spectraldyn.systems.spectrum import Exact, GridSpectrum, Solvable, lowest_eigenpairs
from spectraldyn.systems.tabulated import simulate_tabulated, suits_table

DRAW_CELLS = {1: (20_000,), 2: (1000, 1000)}
SLOPE_CELLS = {1: (1000,), 2: (300, 300)}
"""Of the grids for draws from equilibrium, and for the slope of the drift."""
HIGHEST = 40.0
"""In kT above the lowest cell. Cells beyond, where e^{−40} of the probability lies, are left out of the reference:
eigenvectors over √m would be noise there."""


@dataclass(frozen=True, eq=False)
class Overdamped(Solvable):
    """Overdamped Langevin dynamics in an energy.

    >>> well = Overdamped(lambda x: 3 * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, domain=[(-2.5, 2.5), (-4, 4)])
    >>> well.rates(3)
    array([0.24185958, 2.0000011 , 2.24186068])

    Raises
    ------
    InputError
        If the domain is not one finite interval per axis, or beta or the diffusion is not positive. In more than two
        dimensions: by `sample` and `default_timestep`, and without a closed form by `rates` and `eigenfunctions`.
    """

    energy: Function
    """(..., d) → Tensor (...): U, written with torch operations so that forces follow by automatic differentiation."""
    domain: Domain
    """sequence of (low, high): one interval per axis: the whole space where `periodic` is set or D vanishes at the
    ends, else a box that holds practically all of the equilibrium distribution. Walkers that reach an end are
    reflected."""
    diffusion: float | Function = 1.0  # (..., d) → Tensor (...): D, constant or dependent on position
    beta: float = 1.0  # inverse temperature
    periodic: bool = False  # the ends of every axis meet
    description: str = ""
    exact: Exact | None = None
    """Closed form of the spectrum; by default it is computed on a grid, for one and two dimensions."""
    gradient: Callable[[Tensor], Tensor] | None = None
    """(..., d) → Tensor (..., d): ∇U, where automatic differentiation would be slow."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_domain(self.domain))
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta!r}: an inverse temperature is positive")
        if not (callable(self.diffusion) or self.diffusion > 0):
            raise InputError(f"diffusion is {self.diffusion!r}: give a positive number or a function of the state")

    def force(self, x: Tensor) -> Tensor:
        """−∇U at x (..., d); shape (..., d)."""
        return -self.gradient(x) if self.gradient is not None else -gradient_of(self.energy, x)

    def drift(self, x: Tensor) -> Tensor:
        """Itô drift −βD∇U + ∇D at x (..., d); shape (..., d)."""
        if not callable(self.diffusion):
            return self.beta * self.diffusion * self.force(x)
        return self.beta * self.diffusion(x)[..., None] * self.force(x) + gradient_of(self.diffusion, x)

    def rates(self, n: int) -> np.ndarray:
        """Slowest n nonzero rates −λ, ascending; implied timescales are their reciprocals.

        Without a closed form: finite volumes on two grids, extrapolated to h = 0 with their error ∝ h² (Richardson).
        """
        return self.lowest(n + 1)[1:]

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Eigenfunctions of the n slowest nonzero rates at points (m, d), orthonormal at equilibrium; shape (m, n)."""
        return self.lowest_functions(points, n + 1)[:, 1:]

    def on_grid(self, grid: Grid, n: int) -> GridSpectrum:
        """The lowest n eigenpairs of −L."""
        return finite_volume(self.energy, self.diffusion, self.beta, grid, n)

    def sample(self, n: int, seed: int, beta: float | None = None) -> np.ndarray:
        """Independent draws (n, d) from e^{−βU}, by default at the inverse temperature of the system."""
        if self.dimension not in DRAW_CELLS:
            needs = "one or two dimensions or a Separable sum"
            raise InputError(f"draws from equilibrium need {needs}, not {self.dimension}")
        grid = Grid(self.domain, DRAW_CELLS[self.dimension])
        return grid.draw(-(self.beta if beta is None else beta) * on_points(self.energy, grid.points()), n, seed)

    def simulate(
        self,
        n_frames: int,
        spacing: float,
        *,
        seed: int,
        n_walkers: int = 1,
        timestep: float | None = None,
        start: np.ndarray | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Independent walkers from equilibrium, by Leimkuhler–Matthews, or Euler–Maruyama where D depends on position.

        A few walkers in one or two dimensions follow a table of the drift; see `simulate_tabulated`.

        Parameters
        ----------
        spacing : float
            Time between stored frames.
        timestep : float
            Longest step of the integrator; a whole number of steps fits between frames. By default see
            `default_timestep`.
        start : ndarray (n_walkers, d)
            By default drawn from equilibrium (one and two dimensions).

        Returns
        -------
        ndarray (n_walkers, n_frames, d)
            The first frame is the start.
        """
        if start is None:
            start = self.sample(n_walkers, seed)
        step = self.default_timestep() if timestep is None else timestep
        run = simulate_tabulated if suits_table(self, len(start)) else simulate_overdamped
        return run(self, start, n_frames, spacing, step, seed, progress)

    def default_timestep(self) -> float:
        """A hundredth of the time in which the drift changes: 0.01 / (root mean square of its slope at equilibrium).

        On a spring the first-order error of the timescales is then 0.5 %. Where there is no force, the time to
        diffuse across the domain takes the place of that in which the drift changes.
        """
        if self.dimension not in SLOPE_CELLS:
            raise InputError(f"a system of {self.dimension} dimensions has no default timestep: give timestep")
        grid = Grid(self.domain, SLOPE_CELLS[self.dimension], self.periodic)
        points = grid.points()
        reduced = self.beta * on_points(self.energy, points)
        weight = np.exp(reduced.min() - reduced)
        drift = self.drift(torch.from_numpy(points)).numpy()
        slopes = [np.gradient(drift[..., k], grid.steps[k], axis=k) for k in range(self.dimension)]
        fastest = max(float((weight * slope**2).sum() / weight.sum()) for slope in slopes)
        mobility = on_points(self.diffusion, points).max() if callable(self.diffusion) else self.diffusion
        span = max(high - low for low, high in self.domain)
        return 0.01 / max(np.sqrt(fastest), mobility / span**2)


def gradient_of(function: Function, x: Tensor) -> Tensor:
    """∇ of a function of one state (..., d) → (...), at every state; zero where it does not depend on the state."""
    with torch.enable_grad():
        at = x.detach().requires_grad_(True)
        values = function(at).sum()
        if not values.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(values, at, materialize_grads=True)[0]


def finite_volume(energy: Function, diffusion: Function | float, beta: float, grid: Grid, n: int) -> GridSpectrum:
    """Slowest n eigenpairs of a generator, the constant one included; eigenfunctions orthonormal at equilibrium.

    L f = e^{βU} ∇·(D e^{−βU} ∇f). With masses m_i = e^{−βU(x_i)} at cell centres, the symmetrised −L has off-diagonals
    −D(x_f) e^{−βU(x_f)} / (h² √(m_i m_j)), f the face between the cells i and j, and its error falls as h². It is GᵀG
    with one row of G per face, of the entries ∓√(D(x_f) e^{−βU(x_f)} / m) / h. Ends reflect, or meet when periodic.
    """
    reduced = beta * on_points(energy, grid.points())
    lowest = reduced.min()
    reduced -= lowest
    kept = reduced < HIGHEST
    if reduced.ndim == 1:  # a barrier stays, however high, so that the cells stay connected
        kept[kept.argmax() : kept.size - kept[::-1].argmax()] = True
    slopes = []
    for axis, step in enumerate(grid.steps):
        faces, *sides = grid.faces(axis)
        inside = kept.ravel()[sides].all(axis=0)
        faces, sides = faces[inside], [cells[inside] for cells in sides]
        root = np.sqrt(on_points(diffusion, faces) if callable(diffusion) else diffusion) / step
        height = beta * on_points(energy, faces) - lowest
        lower, upper = (root * np.exp((reduced.ravel()[cells] - height) / 2) for cells in sides)
        where = (np.tile(np.arange(len(faces)), 2), np.concatenate(sides))
        slopes.append(coo_array((np.concatenate((-lower, upper)), where), shape=(len(faces), kept.size)))
    gradient = vstack(slopes, format="csc")[:, kept.ravel()]
    matrix = csc_array(gradient.T @ gradient)
    diagonal = matrix.diagonal()
    if reduced.ndim == 1 and not grid.periodic:
        rates, vectors = eigh_tridiagonal(diagonal, matrix.diagonal(1), select="i", select_range=(0, n - 1))
    else:
        free_diffusion = float(np.median(diagonal)) / max(grid.shape) ** 2  # D / (length of the box)²
        rates, vectors = lowest_eigenpairs(matrix, n, below=-1e-3 * free_diffusion)
    # Signs: positive where |vector| is largest; of equal places, at the one further along the axes.
    largest = (np.abs(vectors) * np.linspace(1, 1.01, len(vectors))[:, None]).argmax(axis=0)
    mass = np.exp(-reduced[kept])
    values = (vectors * np.sign(vectors[largest, np.arange(n)])).T / np.sqrt(mass / mass.sum())
    rates[0], values[0] = 0.0, 1.0  # exactly, where the solvers leave rounding errors
    functions = np.zeros((n, *grid.shape))
    functions[:, kept] = values
    nearest = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return GridSpectrum(rates, grid, functions[(slice(None), *nearest)])
