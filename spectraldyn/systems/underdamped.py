"""Underdamped Langevin dynamics in one dimension, with a reference spectrum.

dx = v dt, dv = −(U′(x)/m + γv) dt + √(2γkT/m) dW: the law μ ∝ exp(−U/kT − mv²/2kT) is invariant, and the generator is

    L = v ∂ₓ − (U′/m + γv) ∂ᵥ + (γkT/m) ∂ᵥ²        (Kramers, Fokker, Planck).

It is not self-adjoint: with the momentum flip (Ru)(x, v) = u(x, −v) its adjoint is L* = R L R. Eigenvalues may be
complex. A state is a row (x, v). Times, lengths and energies are in reduced units; in trajectory files they are read as
ps, nm and kT.

References
----------
Risken, "The Fokker-Planck equation", Springer 1989, ch. 10; Leimkuhler, Matthews, "Rational construction of stochastic
numerical methods for molecular sampling", Appl. Math. Res. Express 2013, 34, for BAOAB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array, diags_array, eye_array, kron
from scipy.sparse.linalg import eigs
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Function, Grid, checked_domain, on_points
from spectraldyn.systems.overdamped import gradient_of
from spectraldyn.systems.simulate import progress_bar, steps_between

FUNCTIONS = 64, 128
"""Functions of position and of velocity in which the generator is written down, by default."""
CELLS = 20_000
"""Of the grid for draws from equilibrium and for averages over it, whose midpoint rule is exact to within rounding
where the density vanishes towards the ends."""


@dataclass(frozen=True, eq=False)
class Underdamped:
    """Underdamped Langevin dynamics in an energy.

    >>> well = Underdamped(lambda x: 4 * (x[..., 0] ** 2 - 1) ** 2, domain=[(-2.5, 2.5)], friction=1.0)
    >>> well.eigenvalues(2)

    Raises
    ------
    InputError
        If the domain is not one finite interval, or friction, mass or kT is not positive.
    """

    energy: Function
    """(..., 1) → Tensor (...): U, written with torch operations so that forces follow by automatic differentiation."""
    domain: Domain
    """sequence of one (low, high): an interval that holds practically all of the equilibrium distribution."""
    friction: float = 1.0
    """γ, a rate."""
    mass: float = 1.0
    kT: float = 1.0
    description: str = ""
    exact: Callable[[int], np.ndarray] | None = None
    """Closed form of `eigenvalues`; by default they are computed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_domain(self.domain))
        if len(self.domain) != 1:
            raise InputError(f"domain has {len(self.domain)} axes: an Underdamped system has one")
        for name in ("friction", "mass", "kT"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)!r}: it must be positive")

    def force(self, x: Tensor) -> Tensor:
        """−∇U at x (..., 1); shape (..., 1)."""
        return -gradient_of(self.energy, x)

    def eigenvalues(self, n: int, functions: tuple[int, int] = FUNCTIONS) -> np.ndarray:
        """Eigenvalues of L but for the 0 of the constant, slowest relaxation first, (n,) complex.

        Without a closed form: those nearest to 0, from the matrix of L in polynomials of x that are orthonormal at
        equilibrium times Hermite polynomials of v. Its error falls exponentially with their numbers; low friction needs
        many.
        """
        if self.exact is not None:
            return self.exact(n)
        nearest = _nearest(self, n, functions)
        return nearest[np.lexsort((nearest.imag, np.round(-nearest.real, 9)))]

    def sample(self, n: int, seed: int, kT: float | None = None) -> np.ndarray:
        """Independent states (n, 2), x from e^{−U/kT}, by default at the temperature of the system, v at its own."""
        grid = Grid(self.domain, (CELLS,))
        x = grid.draw(-on_points(self.energy, grid.points()) / (kT or self.kT), n, seed)
        v = np.random.default_rng([seed, 1]).normal(0, np.sqrt(self.kT / self.mass), (n, 1))
        return np.hstack((x, v))

    def simulate(
        self,
        n_frames: int,
        spacing: float,
        *,
        seed: int,
        n_walkers: int = 1,
        timestep: float,
        start: np.ndarray | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Independent walkers from equilibrium, by BAOAB: half a kick, half a drift, friction and noise, and back.

        Parameters
        ----------
        spacing : float
            Time between stored frames.
        timestep : float
            Longest step of the integrator; a whole number of steps fits between frames. Equilibrium averages keep an
            error of second order in it.
        start : ndarray (n_walkers, 2)
            By default drawn from equilibrium.

        Returns
        -------
        ndarray (n_walkers, n_frames, 2)
            x and v; the first frame is the start.
        """
        start = self.sample(n_walkers, seed) if start is None else np.asarray(start, dtype=float)
        n_steps, step = steps_between(spacing, timestep)
        random = torch.Generator().manual_seed(seed)
        state = torch.from_numpy(start.copy())
        x, v = state[:, :1], state[:, 1:]
        kept = np.exp(-self.friction * step)
        noise = np.sqrt(self.kT / self.mass * (1 - kept**2))
        kick = step / (2 * self.mass)
        frames = np.empty((len(start), n_frames, 2))
        frames[:, 0] = start
        force = self.force(x)
        for frame in progress_bar(range(1, n_frames), disable=not progress):
            for _ in range(n_steps):
                v = v + kick * force
                x = x + step / 2 * v
                v = kept * v + noise * torch.randn(v.shape, generator=random, dtype=v.dtype)
                x = x + step / 2 * v
                force = self.force(x)
                v = v + kick * force
            frames[:, frame] = torch.cat((x, v), dim=1).numpy()
        return frames


class _Polynomials(NamedTuple):
    values: np.ndarray
    derivatives: np.ndarray
    """values and derivatives: (n, n_nodes): of the polynomials orthonormal under the weights."""


def _polynomials(nodes: np.ndarray, weights: np.ndarray, n: int) -> _Polynomials:
    """By the three-term recurrence, with its coefficients from the weights (Stieltjes)."""
    values, derivatives = np.zeros((2, n, len(nodes)))
    values[0] = 1 / np.sqrt(weights.sum())
    previous, slope, norm = np.zeros_like(nodes), np.zeros_like(nodes), 0.0
    for k in range(n - 1):
        centre = weights @ (nodes * values[k] ** 2)
        following = (nodes - centre) * values[k] - norm * previous
        steepness = values[k] + (nodes - centre) * derivatives[k] - norm * slope
        previous, slope = values[k], derivatives[k]
        norm = np.sqrt(weights @ following**2)
        values[k + 1], derivatives[k + 1] = following / norm, steepness / norm
    return _Polynomials(values, derivatives)


def generator_matrix(system: Underdamped, functions: tuple[int, int]) -> csc_array:
    """L in products p_i(x) h_n(v), i faster than n, both orthonormal at equilibrium.

    With h_n = Heₙ(v/s)/√n!, s = √(kT/m), L (p h_n) = √(n+1) (Dp) h_{n+1} − √n (D†p) h_{n−1} − γ n p h_n for D = s ∂ₓ
    and its adjoint D† under e^{−U/kT}.
    """
    n_x, n_v = functions
    points = Grid(system.domain, (CELLS,)).points()
    reduced = on_points(system.energy, points) / system.kT
    weights = np.exp(reduced.min() - reduced)
    weights /= weights.sum()
    values, derivatives = _polynomials(points[:, 0], weights, n_x)
    slope = np.sqrt(system.kT / system.mass) * (values * weights) @ derivatives.T
    slope[np.abs(slope) < 1e-12 * np.abs(slope).max()] = 0.0
    root = np.sqrt(np.arange(1, n_v))
    raised, lowered = diags_array(root, offsets=-1), diags_array(root, offsets=1)
    damped = diags_array(system.friction * np.arange(float(n_v)))
    identity = eye_array(n_x)
    return csc_array(kron(raised, slope) - kron(lowered, slope.T) - kron(damped, identity))


@lru_cache(maxsize=64)
def _nearest(system: Underdamped, n: int, functions: tuple[int, int]) -> np.ndarray:
    """The n eigenvalues nearest to 0, that of the constant not counted; conjugate pairs stay together."""
    matrix = generator_matrix(system, functions)
    # Beside 0, which is an eigenvalue.
    shift = 1e-3 * min(system.friction, 1 / system.friction)
    start = np.random.default_rng(0).random(matrix.shape[0])
    values = eigs(matrix, n + 2, sigma=shift, v0=start, return_eigenvectors=False)
    values = values[np.argsort(np.abs(values))][1:]
    return values[:n]


def underdamped_spring(friction: float = 1.0, frequency: float = 1.0) -> Underdamped:
    """U = ω²x²/2 with m = kT = 1: eigenvalues −(n₁μ₊ + n₂μ₋), μ± = (γ ± √(γ² − 4ω²))/2 (Risken, section 10.2)."""
    root = np.emath.sqrt(friction**2 - 4 * frequency**2)
    slow, fast = (friction - root) / 2, (friction + root) / 2

    def exact(n: int) -> np.ndarray:
        orders = np.arange(n + 1)
        values = -(slow * orders[:, None] + fast * orders).astype(complex).ravel()[1:]
        return values[np.lexsort((values.imag, np.round(-values.real, 9)))][:n]

    reach = 9 / frequency
    text = f"one particle on a spring, U = {frequency**2 / 2:g} x², with friction {friction:g}"
    return Underdamped(
        lambda x: frequency**2 / 2 * x[..., 0] ** 2, ((-reach, reach),), friction, description=text, exact=exact
    )


def underdamped_double_well(friction: float = 1.0, barrier: float = 4.0) -> Underdamped:
    """U = barrier (x² − 1)² with m = kT = 1."""
    reach = 1.6 * (5 / barrier) ** 0.25 + 1
    text = f"one particle in two wells, U = {barrier:g} (x² − 1)², with friction {friction:g}"
    return Underdamped(lambda x: barrier * (x[..., 0] ** 2 - 1) ** 2, ((-reach, reach),), friction, description=text)


UNDERDAMPED: dict[str, Callable[[float], Underdamped]] = {
    "spring": underdamped_spring,
    "double-well": underdamped_double_well,
}
"""By name: of the friction."""
