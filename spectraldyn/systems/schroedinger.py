"""Schrödinger operators H = −Δ + V with known spectra (no factor ½: ħ = 2m = 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import torch
from numpy.polynomial import hermite
from scipy.linalg import eigh
from scipy.sparse import csc_array, diags_array, kronsum
from scipy.special import eval_genlaguerre
from torch import Tensor

from spectraldyn.systems.grids import Domain, Function, Grid, checked_domain, on_points
from spectraldyn.systems.spectrum import Exact, GridSpectrum, IndependentParts, Solvable, lowest_eigenpairs


@dataclass(frozen=True, eq=False)
class Schroedinger(Solvable):
    """H = −Δ + V in a box."""

    potential: Function  # (..., d) → Tensor (...)
    domain: Domain
    """sequence of (low, high): one interval per axis, outside which the wave functions vanish (or practically do)."""
    periodic: bool = False  # the ends of every axis meet instead
    description: str = ""
    exact: Exact | None = None
    """Closed form of the spectrum; by default it is computed on a grid, for one and two dimensions."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_domain(self.domain))

    def energies(self, n: int) -> np.ndarray:
        """Lowest n eigenvalues of −Δ + V, ascending; InputError in more than two dimensions without a closed form.

        Without a closed form: central differences on two grids, extrapolated to step 0 with their error ∝ h².
        """
        return self.lowest(n)

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """The lowest n eigenfunctions at points (m, d), orthonormal in L²(dx); shape (m, n)."""
        return self.lowest_functions(points, n)

    def on_grid(self, grid: Grid, n: int) -> GridSpectrum:
        """The lowest n eigenpairs by central differences."""
        lines = [_second_difference(k, self.periodic) / h**2 for k, h in zip(grid.shape, grid.steps, strict=True)]
        kinetic = lines[0] if len(lines) == 1 else kronsum(lines[1], lines[0])
        potential = on_points(self.potential, grid.points()).ravel()
        # −Δ ≥ 0: no energy lies below the lowest V, and the shift must lie below them all.
        below = potential.min() - 1 / max(high - low for low, high in grid.domain) ** 2
        energies, vectors = lowest_eigenpairs(csc_array(kinetic + diags_array(potential)), n, below)
        return GridSpectrum(energies, grid, vectors.T.reshape(n, *grid.shape) / np.sqrt(grid.steps.prod()))


@dataclass(frozen=True, eq=False)
class SchroedingerSum(IndependentParts[Schroedinger]):
    """V(x) = Σ_k V_k(x_k): independent Schrödinger operators; energies add, eigenfunctions multiply."""

    parts: Sequence[Schroedinger]  # their coordinates follow each other
    description: str = ""

    def potential(self, x: Tensor) -> Tensor:
        """V at x (..., d); shape (...)."""
        return torch.stack([part.potential(x[..., own]) for part, own in self.columns]).sum(dim=0)

    def energies(self, n: int) -> np.ndarray:
        """Lowest n eigenvalues of −Δ + V, ascending."""
        return self.lowest(n)

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """The lowest n eigenfunctions at points (m, d), orthonormal in L²(dx); shape (m, n)."""
        return self.lowest_functions(points, n)


def _second_difference(n: int, periodic: bool) -> csc_array:
    """−d²/dx² at the centres of cells of size 1. Beyond a wall the function goes on with the opposite sign."""
    matrix = diags_array([np.full(n, 2.0), -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1]).tolil()
    corners = ([0, -1], [-1, 0]) if periodic else ([0, -1], [0, -1])
    matrix[corners] = -1.0 if periodic else 3.0
    return csc_array(matrix)


def infinite_well(length: float = 1.0) -> Schroedinger:
    """V = 0 on [0, length] between infinite walls: energies (nπ/length)², n ≥ 1, sines as eigenfunctions."""

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        return np.sqrt(2 / length) * np.sin(np.pi / length * points * np.arange(1, n + 1))

    exact = Exact(lambda n: (np.pi / length * np.arange(1, n + 1)) ** 2, functions)
    text = f"particle in a box of length {length:g}"
    return Schroedinger(lambda x: torch.zeros_like(x[..., 0]), ((0.0, length),), description=text, exact=exact)


def harmonic_oscillator(frequency: float = 1.0) -> Schroedinger:
    """V = ω²x²: energies ω(2n + 1), Hermite functions of √ω x as eigenfunctions."""

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        x = np.sqrt(frequency) * points[:, 0]
        scale = [np.sqrt(2.0**k * factorial(k) * np.sqrt(np.pi / frequency)) for k in range(n)]
        return hermite.hermvander(x, n - 1) * np.exp(-(x**2) / 2)[:, None] / scale

    domain = ((-9 / np.sqrt(frequency), 9 / np.sqrt(frequency)),)
    exact = Exact(lambda n: frequency * (2 * np.arange(n) + 1.0), functions)
    text = f"harmonic oscillator, V = {frequency**2:g} x²"
    return Schroedinger(lambda x: (frequency * x[..., 0]) ** 2, domain, description=text, exact=exact)


def cosine_well(amplitude: float) -> Schroedinger:
    """V = c cos x on the circle: Mathieu's equation."""
    text, exact = f"V = {amplitude:g} cos x on the circle", plane_waves(np.array([0.0, amplitude]))
    return Schroedinger(lambda x: amplitude * torch.cos(x[..., 0]), ((0.0, 2 * np.pi),), True, text, exact)


def plane_waves(coefficients: np.ndarray) -> Exact:
    """Spectrum of −d²/dx² + Σ_k a_k cos kx on the circle, a = coefficients, in sines and cosines: to machine precision.

    The series is even, so that even and odd functions do not mix. They are solved apart, because an even and an odd
    function can share an energy.
    """

    def solve(n: int) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,), and the coefficients (k, n) of waves e^{ikx} whose real parts are the functions times √π."""
        waves = np.arange(31 + n + len(coefficients) + int(np.sqrt(np.abs(coefficients).sum())))
        series = np.zeros(2 * len(waves))
        series[1 : len(coefficients)] = coefficients[1:]
        # 2 cos kx cos jx = cos (j + k)x + cos (j − k)x, and likewise for sines with a minus.
        apart, together = series[np.abs(waves[:, None] - waves)] / 2, series[waves[:, None] + waves] / 2
        kinetic = np.diag(waves**2.0)
        norm = np.where(waves, 1, np.sqrt(0.5))[:, None]  # the constant has another norm than the cosines
        even, cosines = eigh(norm * (kinetic + apart + together) * norm.T)
        odd, sines = eigh((kinetic + apart - together)[1:, 1:])
        energies = np.concatenate((even, odd))
        order = energies.round(9).argsort(kind="stable")[:n]  # of equal energies, the even function first
        vectors = np.hstack((norm * cosines, -1j * np.pad(sines, ((1, 0), (0, 0)))))
        return coefficients[0] + energies[order], vectors[:, order]

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        vectors = solve(n)[1]
        return (np.exp(1j * points * np.arange(len(vectors))) @ vectors).real / np.sqrt(np.pi)

    return Exact(lambda n: solve(n)[0], functions)


def hydrogen() -> Schroedinger:
    """Two-dimensional hydrogen, H = −Δ − 1/r.

    Energies −1/(2n + 1)², each 2n + 1 times (n ≥ 0, −n ≤ m ≤ n), with eigenfunctions
    ``e^{−s/2} s^|m| L^{2|m|}_{n−|m|}(s)``, s = 2r/(2n + 1), times cos mθ (m ≥ 0) or ``sin |m|θ``.

    References
    ----------
    Yang, Guo, Chan, Wong, Ching, "Analytic solution of a two-dimensional hydrogen atom. I", Phys. Rev. A 43 (1991)
    1186.
    """

    def numbers(n: int) -> list[tuple[int, int]]:
        shells = int(np.ceil(np.sqrt(n)))
        return [(shell, m) for shell in range(shells) for m in range(-shell, shell + 1)][:n]

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        r, angle = np.hypot(*points.T), np.arctan2(points[:, 1], points[:, 0])
        columns = []
        for shell, m in numbers(n):
            order, width = abs(m), 2 * shell + 1
            s = 2 * r / width
            # ∫ e^{−s} s^{2|m|+1} L² ds = (2n + 1) (n + |m|)! / (n − |m|)!
            norm = width * factorial(shell + order) / factorial(shell - order) * (width / 2) ** 2
            radial = np.exp(-s / 2) * s**order * eval_genlaguerre(shell - order, 2 * order, s) / np.sqrt(norm)
            turn = np.cos(m * angle) if m > 0 else np.sin(order * angle)
            columns.append(radial * (turn if m else np.sqrt(0.5)) / np.sqrt(np.pi))
        return np.stack(columns, axis=1)

    exact = Exact(lambda n: np.array([-1.0 / (2 * shell + 1) ** 2 for shell, _ in numbers(n)]), functions)
    text = "hydrogen atom in two dimensions, V = −1/r; three shells fit into the box"
    domain = ((-50.0, 50.0),) * 2
    return Schroedinger(lambda x: -1 / torch.linalg.vector_norm(x, dim=-1), domain, description=text, exact=exact)
