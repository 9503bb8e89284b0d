"""Overdamped Langevin dynamics in any energy U, with a reference spectrum.

dX = (−β D ∇U + ∇·D) dt + √(2D) dW: reversible with respect to e^{−βU}, with generator L f = e^{βU} ∇·(D e^{−βU} ∇f).
Times, lengths and energies are in reduced units; written to trajectory files they are read as ps, nm and kT.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.systems.finite_volume import GridSpectrum, finite_volume
from spectraldyn.systems.grids import Domain, Function, Grid, checked_domain, on_points
from spectraldyn.systems.sampling import sample_density
from spectraldyn.systems.simulate import simulate_overdamped
from spectraldyn.systems.spectrum import Exact
from spectraldyn.systems.tabulated import simulate_tabulated, suits_table

CELLS = {1: (2000, 3000), 2: (160, 240)}
"""Cells per axis of the two grids from which rates are extrapolated to cells of size 0."""


@dataclass(frozen=True, eq=False)
class Overdamped:
    """Overdamped Langevin dynamics in an energy.

    >>> well = Overdamped(lambda x: 3 * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, domain=[(-2.5, 2.5), (-4, 4)])
    >>> well.rates(3)
    array([0.24185958, 2.0000011 , 2.24186068])

    Attributes
    ----------
    energy : callable, Tensor (..., d) → Tensor (...)
        U, written with torch operations so that forces follow by automatic differentiation.
    domain : sequence of (low, high)
        One interval per axis: the whole space where `periodic` is set or D vanishes at the ends, else a box that holds
        practically all of the equilibrium distribution. Walkers that reach an end are reflected.
    diffusion : float or callable, Tensor (..., d) → Tensor (...)
        D, constant or dependent on position.
    beta : float
        Inverse temperature.
    periodic : bool
        The ends of every axis meet.
    description : str
        One line of physics.
    exact : Exact or None
        Closed form of the spectrum; by default it is computed on a grid, for one and two dimensions.
    gradient : callable or None, Tensor (..., d) → Tensor (..., d)
        ∇U, where automatic differentiation would be slow.

    Raises
    ------
    InputError
        If the domain is not one finite interval per axis, or beta or the diffusion is not positive.
    """

    energy: Function
    domain: Domain
    diffusion: float | Function = 1.0
    beta: float = 1.0
    periodic: bool = False
    description: str = ""
    exact: Exact | None = None
    gradient: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_domain(self.domain))
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta!r}: an inverse temperature is positive")
        if not (callable(self.diffusion) or self.diffusion > 0):
            raise InputError(f"diffusion is {self.diffusion!r}: give a positive number or a function of the state")

    @property
    def dimension(self) -> int:
        """Number of coordinates d."""
        return len(self.domain)

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

        Without a closed form: finite volumes on two grids, extrapolated to cells of size 0 with their error ∝ h²
        (Richardson).

        Raises
        ------
        InputError
            In more than two dimensions without a closed form.
        """
        if self.exact is not None:
            return self.exact.eigenvalues(n + 1)[1:]
        coarse, fine = (_reference(self, cells, _solved(n)).eigenvalues[1 : n + 1] for cells in self._cells())
        ratio = (self._cells()[1] / self._cells()[0]) ** 2
        return fine + (fine - coarse) / (ratio - 1)

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Eigenfunctions of the n slowest nonzero rates at points (m, d), orthonormal at equilibrium; shape (m, n).

        Raises
        ------
        InputError
            In more than two dimensions without a closed form.
        """
        if self.exact is not None:
            return self.exact.eigenfunctions(points, n + 1)[:, 1:]
        return _reference(self, self._cells()[1], _solved(n)).evaluate(points, n + 1)[:, 1:]

    def sample(self, n: int, seed: int, beta: float | None = None) -> np.ndarray:
        """Independent draws (n, d) from e^{−βU}, by default at the inverse temperature of the system.

        Raises
        ------
        InputError
            In more than two dimensions.
        """
        inverse_temperature = self.beta if beta is None else beta

        def log_density(points: np.ndarray) -> np.ndarray:
            return -inverse_temperature * on_points(self.energy, points)

        return sample_density(log_density, self.domain, n, seed)

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
        n_frames : int
        spacing : float
            Time between stored frames.
        seed : int
            The same seed gives the same walkers.
        n_walkers : int
        timestep : float
            Longest step of the integrator; a whole number of steps fits between frames. By default see
            `default_timestep`.
        start : ndarray (n_walkers, d)
            Where the walkers start; by default drawn from equilibrium (one and two dimensions).
        progress : bool
            Show a progress bar on stderr.

        Returns
        -------
        ndarray (n_walkers, n_frames, d)
            The first frame is the start.
        """
        if start is None:
            start = self.sample(n_walkers, seed)
        step = timestep if timestep is not None else self.default_timestep()
        run = simulate_tabulated if suits_table(self, len(start)) else simulate_overdamped
        return run(self, start, n_frames, spacing, step, seed, progress)

    def default_timestep(self) -> float:
        """A hundredth of the time in which the drift changes: 0.01 / (root mean square of its slope at equilibrium).

        On a spring the first-order error of the timescales is then 0.5 %. Where there is no force, the time to
        diffuse across the domain takes the place of that in which the drift changes.

        Raises
        ------
        InputError
            In more than two dimensions.
        """
        if self.dimension > 2:
            raise InputError(f"a system of {self.dimension} dimensions has no default timestep: give timestep")
        grid = Grid(self.domain, (1000,) if self.dimension == 1 else (300, 300), self.periodic)
        points = grid.points()
        reduced = self.beta * on_points(self.energy, points)
        weight = np.exp(reduced.min() - reduced)
        drift = self.drift(torch.from_numpy(points)).numpy()
        slopes = [np.gradient(drift[..., k], grid.steps[k], axis=k) for k in range(self.dimension)]
        fastest = max(float((weight * slope**2).sum() / weight.sum()) for slope in slopes)
        mobility = on_points(self.diffusion, points).max() if callable(self.diffusion) else self.diffusion
        span = max(high - low for low, high in self.domain)
        return 0.01 / max(np.sqrt(fastest), mobility / span**2)

    def _cells(self) -> tuple[int, int]:
        if self.dimension not in CELLS:
            raise InputError(
                f"a system of {self.dimension} dimensions has no reference on a grid: state its closed form (exact=), "
                "or build it as a Separable sum"
            )
        return CELLS[self.dimension]


def _solved(n: int) -> int:
    """Modes to solve for where n are asked for: rounded up, so that later calls find them solved."""
    return -(-n // 8) * 8


@lru_cache(maxsize=64)
def _reference(system: Overdamped, cells: int, n_modes: int) -> GridSpectrum:
    grid = Grid(system.domain, (cells,) * system.dimension, system.periodic)
    return finite_volume(system.energy, system.diffusion, system.beta, grid, n_modes + 1)


def gradient_of(function: Function, x: Tensor) -> Tensor:
    """∇ of a function of one state (..., d) → (...), at every state; zero where it does not depend on the state."""
    with torch.enable_grad():
        at = x.detach().requires_grad_(True)
        values = function(at).sum()
        if not values.requires_grad:
            return torch.zeros_like(x)
        (slope,) = torch.autograd.grad(values, at, allow_unused=True, materialize_grads=True)
    return slope
