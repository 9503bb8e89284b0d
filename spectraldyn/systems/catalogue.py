"""The benchmark systems by name. Reduced units; in trajectory files lengths are nm, times ps and energies kT."""

from dataclasses import dataclass
from math import factorial

import numpy as np
import torch
from numpy.polynomial import hermite_e, legendre
from scipy.special import i0
from torch import Tensor

from spectraldyn.systems.composed import Mapped, Separable
from spectraldyn.systems.discrete import MarkovChain, NoisyLogisticMap
from spectraldyn.systems.grids import Domain
from spectraldyn.systems.overdamped import Overdamped
from spectraldyn.systems.schroedinger import (
    Schroedinger,
    SchroedingerSum,
    cosine_well,
    harmonic_oscillator,
    hydrogen,
    infinite_well,
    plane_waves,
)
from spectraldyn.systems.spectrum import Exact


def double_well(barrier: float = 5.0, tilt: float = 0.0) -> Overdamped:
    """U = barrier (x² − 1)² + tilt x."""
    reach = 1.6 * (5 / barrier) ** 0.25 + 1
    text = f"one particle in two wells, U = {barrier:g} (x² − 1)²" + (f" + {tilt:g} x" if tilt else "")
    return Overdamped(
        lambda x: barrier * (x[..., 0] ** 2 - 1) ** 2 + tilt * x[..., 0], ((-reach, reach),), description=text
    )


def prinz() -> Overdamped:
    """Four wells (Prinz et al., J. Chem. Phys. 134 (2011) 174105, eq. 65)."""
    bumps = ((0.8, 80, 0.0), (0.2, 80, 0.5), (0.5, 40, -0.5))

    def energy(x: Tensor) -> Tensor:
        x = x[..., 0]
        return 4 * (x**8 + sum(height * torch.exp(-narrow * (x - at) ** 2) for height, narrow, at in bumps))

    return Overdamped(energy, ((-1.7, 1.7),), description="one particle in four wells (Prinz et al. 2011)")


def ornstein_uhlenbeck(stiffness: float = 1.0) -> Overdamped:
    """U = k x²/2 with D = β = 1: rates n k, normalised Hermite polynomials Heₙ(√k x) / √n! as eigenfunctions."""

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        scale = [np.sqrt(float(factorial(order))) for order in range(n)]
        return hermite_e.hermevander(np.sqrt(stiffness) * points[:, 0], n - 1) / scale

    reach = 9 / np.sqrt(stiffness)
    exact = Exact(lambda n: stiffness * np.arange(n), functions)
    text = f"one particle on a spring, U = {stiffness / 2:g} x²: the Ornstein–Uhlenbeck process"
    return Overdamped(lambda x: stiffness / 2 * x[..., 0] ** 2, ((-reach, reach),), description=text, exact=exact)


def legendre_diffusion() -> Overdamped:
    """D = 1 − x² on [−1, 1] without a force: rates n (n + 1), Legendre polynomials √(2n + 1) Pₙ as eigenfunctions."""

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        return legendre.legvander(points[:, 0], n - 1) * np.sqrt(2 * np.arange(n) + 1)

    return Overdamped(
        lambda x: torch.zeros_like(x[..., 0]),
        ((-1.0, 1.0),),
        diffusion=lambda x: 1 - x[..., 0] ** 2,
        description="free particle on [−1, 1] whose diffusion 1 − x² vanishes at the walls",
        exact=Exact(lambda n: np.arange(n) * (np.arange(n) + 1.0), functions),
    )


def mixed_double_wells(n_dimensions: int = 30, seed: int = 0) -> Mapped:
    """Two slow double wells among fast springs, rotated and bent: y = Qx + 0.3 Qᵀ sin(2Qᵀx).

    The wells are 4 (x² − 1)² and 3 (x² − 1)², the springs of stiffness 4 to 20, Q a random orthogonal matrix. Qᵀ times
    the map is x plus a term with Lipschitz constant 0.6: it is invertible everywhere, and the iteration
    x ← Qᵀ (y − 0.3 Qᵀ sin(2Qᵀx)) contracts by 0.6 per round.

    Parameters
    ----------
    n_dimensions : int
        At least 2.
    seed : int
        Of Q.
    """
    springs = [ornstein_uhlenbeck(float(k)) for k in np.linspace(4, 20, n_dimensions - 2)]
    latent = Separable((double_well(4.0), double_well(3.0), *springs))
    orthogonal, triangular = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_dimensions, n_dimensions)))
    rotation = torch.from_numpy(orthogonal * np.sign(np.diag(triangular)))

    def bend(x: Tensor) -> Tensor:
        return 0.3 * torch.sin(2 * x @ rotation.to(x)) @ rotation.to(x)

    def forward(x: Tensor) -> Tensor:
        return x @ rotation.to(x).T + bend(x)

    def jacobian(x: Tensor) -> Tensor:
        turn = rotation.to(x)
        return turn + 0.6 * turn.T @ (torch.cos(2 * x @ turn)[..., None] * turn.T)

    def inverse(y: Tensor) -> Tensor:
        x = y @ rotation.to(y)
        for _ in range(75):  # 0.6^75 = 2e-17
            x = (y - bend(x)) @ rotation.to(y)
        return x

    reach = float(np.sqrt(sum(max(-low, high) ** 2 for low, high in latent.domain)) + 0.3 * np.sqrt(n_dimensions))
    text = f"two double wells and {n_dimensions - 2} springs, rotated and bent into one another"
    return Mapped(latent, forward, inverse, ((-reach, reach),) * n_dimensions, text, jacobian)


def triple_well() -> Overdamped:
    """Two deep wells and a shallow one, at the inverse temperature 1.67 of the literature.

    References
    ----------
    Metzner, Schütte, Vanden-Eijnden, "Illustration of transition path theory on a collection of simple examples",
    J. Chem. Phys. 125 (2006) 084110, eq. 39.
    """
    gaussians = ((3, 0, 1 / 3), (-3, 0, 5 / 3), (-5, 1, 0), (-5, -1, 0))

    def energy(points: Tensor) -> Tensor:
        x, y = points[..., 0], points[..., 1]
        wells = sum(height * torch.exp(-((x - x0) ** 2) - (y - y0) ** 2) for height, x0, y0 in gaussians)
        return 1.67 * (wells + 0.2 * x**4 + 0.2 * (y - 1 / 3) ** 4)

    text = "two deep wells, and a shallow one on the upper of the two ways between them"
    return Overdamped(energy, ((-2.8, 2.8), (-2.4, 3.2)), description=text)


def muller_brown(
    temperature: float = 20.0, diffusion: float = 1.0, domain: Domain = ((-1.5, 1.2), (-0.4, 2.0))
) -> Overdamped:
    """Three wells on a bent path; energies in units of the temperature, which leaves 5 kT from the deepest to the top.

    Reflecting walls, the ends of the domain, belong to the system: beyond them, towards the upper left, the surface
    flattens 10 kT above the wells. A walker that could go there would add a slow process (rate 2.4 at kT = 20) that
    has next to no weight.

    References
    ----------
    Müller, Brown, "Location of saddle points and minimum energy paths by a constrained simplex optimization
    procedure", Theor. Chim. Acta 53 (1979) 75.
    """
    terms = (
        (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
        (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
        (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
        (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
    )

    def energy(points: Tensor) -> Tensor:
        total = torch.zeros_like(points[..., 0])
        for height, a, b, c, x0, y0 in terms:
            x, y = points[..., 0] - x0, points[..., 1] - y0
            total = total + height * torch.exp(a * x**2 + b * x * y + c * y**2)
        return total / temperature

    text = f"the Müller–Brown surface at kT = {temperature:.3g}: three wells on a bent path, between walls"
    return Overdamped(energy, domain, diffusion, description=text)


def double_well_variable_diffusion() -> Overdamped:
    """U = 3 (x² − 1)² with D = 1 + 0.7 sin 2x: slow on the left, fast on the right."""
    return Overdamped(
        lambda x: 3 * (x[..., 0] ** 2 - 1) ** 2,
        ((-2.8, 2.8),),
        diffusion=lambda x: 1 + 0.7 * torch.sin(2 * x[..., 0]),
        description="two wells, U = 3 (x² − 1)², with diffusion 1 + 0.7 sin 2x: slow on the left, fast on the right",
    )


def cosine_circle(amplitude: float) -> Overdamped:
    """U = c cos x on the circle.

    e^{−U/2} turns −L into the Schrödinger operator −d²/dx² + U′²/4 − U″/2, here with the potential
    c²/8 + (c/2) cos x − (c²/8) cos 2x, solved in plane waves.
    """
    waves = plane_waves(np.array([amplitude**2 / 8, amplitude / 2, -(amplitude**2) / 8]))

    def functions(points: np.ndarray, n: int) -> np.ndarray:
        root = np.exp(amplitude / 2 * np.cos(points)) * np.sqrt(2 * np.pi * i0(amplitude))
        return waves.eigenfunctions(points, n) * root

    exact, text = Exact(waves.eigenvalues, functions), f"one angle in U = {amplitude:g} cos x"
    return Overdamped(
        lambda x: amplitude * torch.cos(x[..., 0]), ((0.0, 2 * np.pi),), periodic=True, description=text, exact=exact
    )


COSINES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Amplitudes along the axes of the torus, in the form of the test problems of Han, Lu, Zhou, "Solving high-dimensional
eigenvalue problems using deep neural networks: a diffusion Monte Carlo like approach", J. Comput. Phys. 423 (2020)."""

SYSTEMS: dict[str, Overdamped | Separable | Mapped] = {
    "double-well": double_well(),
    "tilted-double-well": double_well(4.0, tilt=1.0),
    "prinz": prinz(),
    "ornstein-uhlenbeck": ornstein_uhlenbeck(),
    "legendre-diffusion": legendre_diffusion(),
    "double-well-variable-diffusion": double_well_variable_diffusion(),
    "double-well-2d": Separable(
        (double_well(), ornstein_uhlenbeck(0.5)), "two wells along x, a soft spring along y: U = 5 (x² − 1)² + y²/4"
    ),
    "triple-well-2d": triple_well(),
    "muller-brown": muller_brown(),
    "muller-brown-cold": muller_brown(1 / 0.15, 0.1, ((-1.4, 1.1), (-0.4, 2.1))),
    "mixed-double-wells": mixed_double_wells(),
    "cosine-torus": Separable(
        tuple(map(cosine_circle, COSINES)), f"{len(COSINES)} angles, each in U = c cos x, on the torus"
    ),
}
"""Langevin dynamics."""

SCHROEDINGER: dict[str, Schroedinger | SchroedingerSum] = {
    "infinite-well": infinite_well(),
    "infinite-well-2d": SchroedingerSum((infinite_well(), infinite_well()), "particle in a square box of length 1"),
    "harmonic-oscillator-2d": SchroedingerSum(
        (harmonic_oscillator(), harmonic_oscillator()), "harmonic oscillator in two dimensions, V = x² + y²"
    ),
    "hydrogen-2d": hydrogen(),
    "cosine-torus-schroedinger": SchroedingerSum(
        tuple(map(cosine_well, COSINES)), f"V = Σ c cos x on the torus of {len(COSINES)} angles"
    ),
}
"""Operators −Δ + V."""

DISCRETE: dict[str, MarkovChain | NoisyLogisticMap] = {
    "three-state-chain": MarkovChain(
        np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]), "a chain of three states, not reversible"
    ),
    "noisy-logistic-map": NoisyLogisticMap(20, "x ← 4x (1 − x) + noise mod 1: chaotic, not reversible, of rank 21"),
}
"""Processes in discrete time."""


@dataclass(frozen=True)
class Run:
    """How long to simulate, and how finely; times in ps."""

    n_frames: int
    """For at least 1000 times the slowest timescale t: a statistical error of about √(2t / length) = 4.5 %."""
    spacing: float  # between stored frames
    timestep: float  # for an error of the slowest timescale of at most 0.5 %, to first order in the step
    lag: float  # to begin a fit with


RUNS = {
    "double-well": Run(90_000, 0.2, 5e-4, 1.0),
    "tilted-double-well": Run(120_000, 0.1, 5e-4, 0.5),
    "prinz": Run(84_000, 0.01, 4e-5, 0.05),
    "ornstein-uhlenbeck": Run(20_000, 0.1, 5e-3, 0.2),
    "legendre-diffusion": Run(30_000, 0.02, 5e-4, 0.04),
    "double-well-variable-diffusion": Run(50_000, 0.1, 5e-4, 0.3),
    "double-well-2d": Run(90_000, 0.2, 5e-4, 1.0),
    "triple-well-2d": Run(75_000, 0.1, 8e-4, 0.3),
    "muller-brown": Run(90_000, 0.05, 2.5e-4, 0.2),
    "mixed-double-wells": Run(84_000, 0.1, 8e-4, 0.5),
}
"""By the name of the system. Angles on a torus are not here: as Cartesian coordinates they would jump."""
