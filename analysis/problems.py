"""Operators of systems with known spectra, ready to be learned: what the studies and the tests share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.special import ndtri
from torch import Tensor, nn

from analysis.references import oracle_rates, product_rule, quantiles
from spectraldyn.data.samples import FreshSamples, PairSamples, Rows, Samples, WeightedSamples
from spectraldyn.networks.derivatives import affine
from spectraldyn.networks.factors import BoxBoundary, Factor, FourierFeatures, GaussianEnvelope
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.operators import (
    Batch,
    Operator,
    canonical_dependence,
    energy_space_resolvent,
    integral_kernel,
    reversible_transfer,
    schroedinger,
    shifted_generator,
    transfer,
)
from spectraldyn.systems import (
    DISCRETE,
    SCHROEDINGER,
    SYSTEMS,
    MarkovChain,
    SchroedingerSum,
    Separable,
    cosine_well,
    double_well,
    infinite_well,
    mixed_double_wells,
    ornstein_uhlenbeck,
)

SPREAD = 1.2
"""Standard deviation of the samples for the harmonic oscillator, and of the square of the envelope there."""


@dataclass(frozen=True)
class Problem:
    """One operator of one system, ready to be learned.

    Attributes
    ----------
    operator : Operator
    samples : Samples
    inputs : module or None
        In front of the networks, such as periodic features; `n_inputs` is the width behind it.
    reference : ndarray (k,)
        Exact values or the oracle's.
    values : callable
        From the eigen- or singular values of the operator to the quantity of `reference`.
    read_off : Batch
        Rows on which the spectrum is read off; `functions` are the exact functions there, (n, k), at the left states.
    """

    operator: Operator
    samples: Samples
    n_inputs: int
    reference: np.ndarray
    read_off: Batch
    functions: np.ndarray
    values: Callable[[np.ndarray], np.ndarray] = lambda values: values
    inputs: Callable[[], nn.Module] = nn.Identity
    right_inputs: Callable[[], nn.Module] | None = None
    factor: nn.Module | None = None
    table: bool = False
    activation: str = "gelu"
    read_operator: Operator | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def network(self, separate: bool, inputs: Callable[[], nn.Module]) -> nn.Module:
        n_modes = len(self.reference)
        if self.table:
            return Table(self.n_inputs, n_modes)
        kind = SeparateNetworks if separate else CommonTrunk
        result: nn.Module = nn.Sequential(inputs(), kind(self.n_inputs, n_modes, (32, 32), self.activation))
        return result if self.factor is None else Factor(self.factor, result)


class Table(nn.Module):
    """Free values of L functions on the states 0, 1, ... of a finite chain: (B, 1) → (B, L)."""

    separate = True

    def __init__(self, n_states: int, n_modes: int):
        super().__init__()
        self.values = nn.Parameter(0.5 * torch.randn(n_states, n_modes))

    def forward(self, x: Tensor) -> Tensor:
        return self.values[x[:, 0].long()]


class Scaling(nn.Module):
    """Fixed shift and scale of every coordinate."""

    centre: Tensor
    scale: Tensor

    def __init__(self, states: np.ndarray):
        super().__init__()
        self.register_buffer("centre", torch.tensor(states.mean(axis=0), dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(states.std(axis=0), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale

    def propagate(self, jet: Any) -> Any:
        return affine(jet, torch.diag(1 / self.scale), -self.centre / self.scale)


def generator(
    system: Any,
    n_modes: int,
    form: str,
    fresh: Callable[[int, torch.Generator], Batch] | None = None,
    n_samples: int = 50_000,
) -> Problem:
    """Generator from states: evenly divided ones in one dimension, where averages are exact, else random ones.

    In many dimensions networks can bend to the Laplacian on any finite set of states (not so much to the Dirichlet
    form); `fresh` then draws new ones for every batch.
    """
    states = quantiles(system, n_samples) if system.dimension == 1 else system.sample(n_samples, seed=0)
    reference = system.rates(n_modes) if system.dimension == 1 else oracle_rates(system, states, n_modes)
    fastest = float(reference[-1])
    energy_space = energy_space_resolvent(system.diffusion, fastest / 2)
    x = torch.tensor(states, dtype=torch.float32)
    rows = torch.arange(len(x))
    samples: Samples = WeightedSamples(Rows(x), None, rows, rows[:0])
    if fresh is not None:
        samples = FreshSamples(fresh)
    periodic = getattr(system, "periodic", False)
    d = system.dimension
    return Problem(
        operator=energy_space
        if form == "energy-space"
        else shifted_generator(system.force, system.diffusion, 3 * fastest, system.beta),
        samples=samples,
        n_inputs=2 * d if periodic else d,
        reference=reference,
        read_off=Batch(torch.tensor(states[:: max(1, len(states) // 50_000)])),
        functions=system.eigenfunctions(states, n_modes),
        values=lambda values: fastest / 2 * (1 / values - 1),
        inputs=(lambda: FourierFeatures(torch.eye(d))) if periodic else partial(Scaling, states),
        read_operator=energy_space,
        activation="tanh",
        options={"n_steps": 2500} if form == "energy-space" else {"n_steps": 4000, "batch_size": 1024},
    )


def schroedinger_problem(
    system: Any,
    n_modes: int,
    oscillator: bool = False,
    lowest: float = 0.0,
    rule: tuple[np.ndarray, np.ndarray] | None = None,
) -> Problem:
    """Bound states from uniform samples of the box, or normally distributed ones for the oscillator.

    Energies are counted from the minimum `lowest` of the potential: relative errors then mean something. They are read
    off on the points and weights of `rule`, by default a product of one-dimensional rules.
    """
    d = system.dimension
    energies = system.energies(n_modes)
    shift = float(2 * energies[-1] - lowest)
    low, high = (torch.tensor(ends, dtype=torch.float32) for ends in zip(*system.domain, strict=True))

    def sampler(n: int, random: torch.Generator) -> Batch:
        if not oscillator:
            return Batch(low + (high - low) * torch.rand(n, d, generator=random))
        x = SPREAD * torch.randn(n, d, generator=random)
        return Batch(x, weight=torch.exp(x.square().sum(dim=1) / (2 * SPREAD**2)))

    box = ((-7.0, 7.0),) * d if oscillator else system.domain
    points, weight = rule or product_rule(box, {1: 200, 2: 60, 5: 8}[d], system.periodic)
    factor: nn.Module | None = None
    if oscillator:
        factor = GaussianEnvelope(d, SPREAD)
    elif not system.periodic:
        factor = BoxBoundary(system.domain)
    return Problem(
        operator=schroedinger(system.potential, shift, scale=shift),
        samples=FreshSamples(sampler),
        n_inputs=2 * d if system.periodic else d,
        reference=energies - lowest,
        read_off=Batch(torch.tensor(points), weight=torch.tensor(weight / weight.mean())),
        functions=system.eigenfunctions(points, n_modes),
        values=lambda values: shift * (1 - values) - lowest,
        inputs=(lambda: FourierFeatures(torch.eye(d))) if system.periodic else nn.Identity,
        factor=factor,
        activation="tanh",
        options={"n_steps": 2500} if d == 1 else {"batch_size": 512, "n_steps": 3000},
    )


def chain(matrix: np.ndarray, n_modes: int, reversible: bool) -> Problem:
    """A finite chain: pairs drawn from its stationary law, read off from the exact joint law."""
    system = MarkovChain(matrix)
    joint = torch.tensor(system.stationary[:, None] * system.matrix)
    n = len(matrix)
    flat = joint.ravel()

    def pairs(index: Tensor) -> Batch:
        return Batch((index // n).float()[:, None], (index % n).float()[:, None])

    every = pairs(torch.arange(n * n))
    return Problem(
        operator=reversible_transfer if reversible else transfer,
        samples=FreshSamples(lambda k, random: pairs(torch.multinomial(flat, k, True, generator=random))),
        n_inputs=n,
        reference=system.singular_values(n_modes + 1)[1:],
        read_off=Batch(every.x, every.y, weight=n * n * flat),
        functions=system.singular_functions(n_modes + 1)[0][every.x[:, 0].long().numpy(), 1:],
        table=True,
        options={"n_steps": 2000, "learning_rate": 2e-2},
    )


def two_valleys() -> np.ndarray:
    """A reversible chain of eight states in two groups of unequal size."""
    random = np.random.default_rng(3)
    flow = random.uniform(0.2, 1.0, (8, 8))
    flow[:3, 3:] *= 0.05
    flow[3:, :3] *= 0.05
    flow = flow + flow.T + np.diag(random.uniform(0.5, 6.0, 8))
    return flow / flow.sum(axis=1, keepdims=True)


def ornstein_uhlenbeck_pairs(lag: float = 0.5, n_modes: int = 3) -> Problem:
    """Transfer operator of the Ornstein–Uhlenbeck process from exact pairs: e^{−n τ}, Hermite polynomials."""
    rho = float(np.exp(-lag))
    system = SYSTEMS["ornstein-uhlenbeck"]

    def pair(x: Tensor, noise: Tensor) -> Batch:
        return Batch(x, rho * x + (1 - rho**2) ** 0.5 * noise)

    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = torch.tensor(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2))
    weight = np.outer(weights, weights).ravel() / weights.sum() ** 2
    rows = pair(grid[:, :1], grid[:, 1:])
    return Problem(
        operator=reversible_transfer,
        samples=FreshSamples(
            lambda n, random: pair(torch.randn(n, 1, generator=random), torch.randn(n, 1, generator=random))
        ),
        n_inputs=1,
        reference=rho ** np.arange(1, n_modes + 1),
        read_off=Batch(rows.x, rows.y, weight=torch.tensor(len(weight) * weight)),
        functions=system.eigenfunctions(rows.x.numpy(), n_modes),
        options={"n_steps": 3000},
    )


def gaussian_modalities(rho: float = 0.8, n_modes: int = 3) -> Problem:
    """Canonical dependence kernel of two normal variables of correlation ρ: ρⁿ, Hermite polynomials on both sides."""
    problem = ornstein_uhlenbeck_pairs(-float(np.log(rho)), n_modes)
    return Problem(**{**vars(problem), "operator": canonical_dependence, "right_inputs": nn.Identity})


def mehler(rho: float = 0.6, n_modes: int = 3, n_points: int = 3000) -> Problem:
    """Integral operator of the Mehler kernel under the normal law: eigenvalues 1, ρ, ρ², ..., Hermite polynomials."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        x, y = x[..., 0], y[..., 0]
        exponent = (2 * rho * x * y - rho**2 * (x**2 + y**2)) / (2 * (1 - rho**2))
        return torch.exp(exponent) / (1 - rho**2) ** 0.5

    def sampler(n: int, random: torch.Generator) -> Batch:
        return Batch(torch.randn(n, 1, generator=random), torch.randn(n, 1, generator=random))

    x = torch.tensor(ndtri((np.arange(n_points) + 0.5) / n_points)[:, None])
    ones_and_hermite = np.column_stack((np.ones(len(x)), SYSTEMS["ornstein-uhlenbeck"].eigenfunctions(x.numpy(), 5)))
    return Problem(
        operator=integral_kernel(kernel),
        samples=FreshSamples(sampler),
        n_inputs=1,
        reference=rho ** np.arange(n_modes),
        read_off=Batch(x, x),
        functions=ones_and_hermite[:, :n_modes],
        options={"n_steps": 3000},
    )


def logistic_map(n_modes: int = 4) -> Problem:
    """Transfer operator of the noisy logistic map: not reversible, so its singular values."""
    system = DISCRETE["noisy-logistic-map"]
    states = system.simulate(200_000, seed=0)
    points, weight = product_rule(((0.0, 1.0), (0.0, 1.0)), 120)
    density = system.stationary(points[:, 0]) * system.transition_density(points[:, 0], points[:, 1])
    rows = torch.arange(len(states) - 1)
    frequencies = 2 * torch.pi * torch.tensor([[1.0, 2.0]])
    return Problem(
        operator=transfer,
        samples=PairSamples(Rows(torch.tensor(states, dtype=torch.float32)), 1, rows, rows[:0]),
        n_inputs=4,
        reference=system.singular_values(n_modes + 1)[1:],
        read_off=Batch(
            torch.tensor(points[:, :1]),
            torch.tensor(points[:, 1:]),
            weight=torch.tensor(len(weight) * weight * density),
        ),
        functions=system.singular_functions(points[:, 0], n_modes + 1)[0][:, 1:],
        inputs=lambda: FourierFeatures(frequencies),
        right_inputs=lambda: FourierFeatures(frequencies),
        options={"n_steps": 3000},
    )


def lagged(system: Any, n_modes: int, spacing: float, lag: int, n_walkers: int = 4, n_frames: int = 25_000) -> Problem:
    """Transfer operator of a simulated system from its lagged pairs, judged by the oracle on the same pairs."""
    walks = system.simulate(n_frames, spacing, n_walkers=n_walkers, seed=1)
    functions = system.eigenfunctions(walks.reshape(-1, system.dimension), n_modes).reshape(n_walkers, n_frames, -1)
    constant = np.ones((n_walkers, n_frames - lag, 1))
    before, after = (np.dstack((constant, part)) for part in (functions[:, :-lag], functions[:, lag:]))
    before, after = before.reshape(-1, n_modes + 1), after.reshape(-1, n_modes + 1)
    values = eigh(before.T @ after + after.T @ before, before.T @ before + after.T @ after, eigvals_only=True)
    frames = torch.tensor(walks.reshape(-1, system.dimension), dtype=torch.float32)
    starts = torch.cat([torch.arange(n_frames - lag) + i * n_frames for i in range(n_walkers)])
    return Problem(
        operator=reversible_transfer,
        samples=PairSamples(Rows(frames), lag, starts, starts[:0]),
        n_inputs=system.dimension,
        reference=values[::-1][1:],
        read_off=Batch(frames[starts], frames[starts + lag]),
        functions=before[:, 1:],
        inputs=partial(Scaling, walks.reshape(-1, system.dimension)),
        options={"n_steps": 3000},
    )


SPRINGS = (0.45, 0.6, *np.linspace(3, 6, 7))


def ten_dimensions() -> Separable:
    """A double well beside nine springs of different stiffness."""
    return Separable((double_well(3.0), *(ornstein_uhlenbeck(k) for k in SPRINGS)))


@cache
def _well_quantiles() -> Tensor:
    return torch.tensor(quantiles(double_well(3.0), 100_000), dtype=torch.float32)


def ten_fresh(n: int, random: torch.Generator) -> Batch:
    """Independent equilibrium states of `ten_dimensions`."""
    well = _well_quantiles()[torch.randint(100_000, (n,), generator=random)]
    springs = torch.randn(n, len(SPRINGS), generator=random) / torch.tensor(SPRINGS).sqrt()
    return Batch(torch.cat((well, springs.float()), dim=1))


PROBLEMS: dict[tuple[str, str], Callable[[], Problem]] = {
    ("reversible chain of 8 states", "transfer"): lambda: chain(two_valleys(), 3, True),
    ("three-state-chain", "transfer, not reversible"): lambda: chain(DISCRETE["three-state-chain"].matrix, 2, False),
    ("noisy-logistic-map", "transfer, not reversible"): logistic_map,
    ("ornstein-uhlenbeck", "transfer"): ornstein_uhlenbeck_pairs,
    ("double-well-2d", "transfer"): partial(lagged, SYSTEMS["double-well-2d"], 3, 0.2, 5),
    ("mixed double wells, 4 dimensions", "transfer"): partial(lagged, mixed_double_wells(4), 3, 0.02, 5),
    ("two normal variables", "canonical dependence kernel"): gaussian_modalities,
    ("Mehler kernel", "integral kernel"): mehler,
    **{
        (name, "generator, energy space"): partial(generator, SYSTEMS[name], n_modes, "energy-space")
        for name, n_modes in {
            "double-well": 3, "tilted-double-well": 3, "prinz": 4, "ornstein-uhlenbeck": 3, "legendre-diffusion": 3,
            "double-well-variable-diffusion": 3, "double-well-2d": 3, "triple-well-2d": 3, "muller-brown": 3,
            "cosine-torus": 10,
        }.items()
    },
    ("ten dimensions", "generator, energy space"): partial(generator, ten_dimensions(), 3, "energy-space", ten_fresh),
    **{
        (name, "generator, strong form"): partial(generator, SYSTEMS[name], 3, "strong")
        for name in ("double-well", "ornstein-uhlenbeck", "legendre-diffusion", "double-well-variable-diffusion")
    },
    ("ten dimensions", "generator, strong form"): partial(generator, ten_dimensions(), 3, "strong", ten_fresh),
    **{
        (name, "Schrödinger"): partial(schroedinger_problem, system, *options)
        for name, system, *options in (
            ("infinite-well", infinite_well(np.pi), 4),
            ("infinite-well-2d", SchroedingerSum((infinite_well(np.pi),) * 2), 4),
            ("harmonic-oscillator-2d", SCHROEDINGER["harmonic-oscillator-2d"], 3, True),
            ("cosine-torus-schroedinger", SCHROEDINGER["cosine-torus-schroedinger"], 1, False, -3.0),
            ("cosine torus, 2 angles", SchroedingerSum((cosine_well(1.0), cosine_well(3.0))), 4, False, -4.0),
        )
    },
}  # fmt: skip
