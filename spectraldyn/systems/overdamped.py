"""Systems with overdamped Langevin dynamics whose spectrum is known, and the solver that knows it.

dX = −β D ∇U dt + √(2D) dW in reduced units (β = D = 1 unless said otherwise). A separable energy Σ U_k(x_k) has
eigenvalues that are sums, and eigenfunctions that are products, of those of its one-dimensional terms, so exact
answers exist in any dimension.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import eigh, eigh_tridiagonal

Energy = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Spectrum1D:
    """Slowest eigenpairs of a one-dimensional generator.

    Attributes
    ----------
    rates : ndarray (k,)
        −λ, ascending; the first is 0.
    grid : ndarray (n_points,)
    eigenfunctions : ndarray (n_points, k)
        Orthonormal under the equilibrium distribution.
    """

    rates: np.ndarray
    grid: np.ndarray
    eigenfunctions: np.ndarray


@dataclass(frozen=True)
class SeparableSystem:
    """Σ U_k(x_k): one energy function and one interval that holds all of its equilibrium distribution per axis."""

    terms: tuple[Energy, ...]
    intervals: tuple[tuple[float, float], ...]

    def rates(self, n_modes: int) -> np.ndarray:
        """Slowest `n_modes` nonzero rates, ascending."""
        return np.array([rate for rate, _ in self._modes(n_modes)])

    def eigenfunctions(self, points: np.ndarray, n_modes: int) -> np.ndarray:
        """Exact eigenfunctions of the nonzero rates at points (n, d); shape (n, n_modes)."""
        spectra = self._spectra(n_modes)
        values = [
            np.stack([np.interp(x, s.grid, psi) for psi in s.eigenfunctions.T])
            for s, x in zip(spectra, points.T, strict=True)
        ]
        return np.stack(
            [np.prod([values[axis][i] for axis, i in enumerate(order)], axis=0) for _, order in self._modes(n_modes)],
            axis=1,
        )

    def _spectra(self, n_modes: int) -> list[Spectrum1D]:
        return [
            finite_volume(term, *interval, n_modes=n_modes + 1)
            for term, interval in zip(self.terms, self.intervals, strict=True)
        ]

    def _modes(self, n_modes: int) -> list[tuple[float, tuple[int, ...]]]:
        rates = [spectrum.rates for spectrum in self._spectra(n_modes)]
        orders = product(range(n_modes + 1), repeat=len(rates))
        summed = sorted((sum(r[i] for r, i in zip(rates, order, strict=True)), order) for order in orders)
        return summed[1 : n_modes + 1]


def oracle_timescales(
    system: SeparableSystem, trajectories: Sequence[np.ndarray], lagtime: int, n_modes: int
) -> np.ndarray:
    """Timescales in frames by Rayleigh–Ritz with the true eigenfunctions: the best any estimator can do on the data.

    Parameters
    ----------
    system : SeparableSystem
    trajectories : sequence of ndarray (T, d)
        In the coordinates of the system.
    lagtime : int
        In frames.
    n_modes : int
    """
    instantaneous = lagged = 0.0
    for frames in trajectories:
        functions = np.column_stack((np.ones(len(frames)), system.eigenfunctions(frames, n_modes)))
        x, y = functions[:-lagtime], functions[lagtime:]
        instantaneous = instantaneous + x.T @ x + y.T @ y
        lagged = lagged + x.T @ y + y.T @ x
    values = eigh(lagged, instantaneous, eigvals_only=True)[::-1]
    return -lagtime / np.log(values[1 : n_modes + 1])


def finite_volume(
    energy: Energy,
    low: float,
    high: float,
    n_modes: int,
    n_points: int = 2000,
    diffusion: float = 1.0,
    beta: float = 1.0,
) -> Spectrum1D:
    """Symmetric finite-volume discretisation of the generator on an interval with reflecting ends.

    With masses m_i = e^{−βU(x_i)} at cell centres, the symmetrised generator is tridiagonal with off-diagonal
    D e^{−βU(x_{i+½})} / (h² √(m_i m_{i+1})); its error falls as h².
    """
    edges, step = np.linspace(low, high, n_points + 1, retstep=True)
    grid = (edges[:-1] + edges[1:]) / 2
    lowest = energy(grid).min()
    mass = np.exp(-beta * (energy(grid) - lowest))
    flow = diffusion * np.exp(-beta * (energy(edges[1:-1]) - lowest)) / step**2
    diagonal = np.zeros(n_points)
    diagonal[:-1] += flow / mass[:-1]
    diagonal[1:] += flow / mass[1:]
    rates, vectors = eigh_tridiagonal(
        diagonal, -flow / np.sqrt(mass[:-1] * mass[1:]), select="i", select_range=(0, n_modes - 1)
    )
    return Spectrum1D(rates, grid, vectors / np.sqrt(mass / mass.sum())[:, None])


def double_well(x: np.ndarray) -> np.ndarray:
    """5 (x² − 1)²."""
    return 5 * (x**2 - 1) ** 2


def prinz(x: np.ndarray) -> np.ndarray:
    """Four wells (Prinz et al., J. Chem. Phys. 134 (2011) 174105, eq. 65)."""
    return 4 * (
        x**8 + 0.8 * np.exp(-80 * x**2) + 0.2 * np.exp(-80 * (x - 0.5) ** 2) + 0.5 * np.exp(-40 * (x + 0.5) ** 2)
    )


def soft_spring(y: np.ndarray) -> np.ndarray:
    """y² / 4: an Ornstein–Uhlenbeck process with rates 0, ½, 1, ..."""
    return y**2 / 4


SYSTEMS = {
    "double-well": SeparableSystem((double_well,), ((-2.6, 2.6),)),
    "double-well-2d": SeparableSystem((double_well, soft_spring), ((-2.6, 2.6), (-12.0, 12.0))),
    "prinz": SeparableSystem((prinz,), ((-1.7, 1.7),)),
}
