"""Model atoms side by side: electrons in one dimension, each in a soft Coulomb potential, V(x) = −Σ_k 1/√(x_k² + 1).

The potential is a sum only so that the energies are known in any number of dimensions: the networks see all coordinates
at once, and nothing is said to them of the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor, nn

from analysis.experiments.bound_states import in_groups
from analysis.experiments.experiment import device
from analysis.experiments.lattices import kronecker_lattices
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks.derivatives import Derivatives, Jet, affine, concatenate, elementwise, exponential, product
from spectraldyn.networks.derivatives import square_root as root
from spectraldyn.networks.factors import Factor
from spectraldyn.networks.mlp import SeparateNetworks
from spectraldyn.networks.sides import Sides
from spectraldyn.operators import schroedinger
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz
from spectraldyn.systems import Schroedinger, SchroedingerSum

DECAY = 0.38
"""Rate of the envelope: between those of the ground state, 0.77, and of excited electrons, 0.42 and 0.30."""
SCALE = 0.2
"""Energy that makes the eigenvalues of the operator of order 1."""
NEAR, FAR, SHARE = 1.1, 4.5, 0.7
"""The law of every coordinate: Laplace distributions of these widths, and the share of the near one."""
FARTHEST = 140.0
N_POINTS, N_ROWS = 251, 2
"""Points of a lattice, and independently shifted lattices in a batch. After 2,000 steps in four dimensions errors on
seed 0 were 1.1 %, and 1.4 % with as many independent points."""
SPARE = 2
"""Functions learned beside those asked for: a state that one network is slow to find is in the span of all."""
N_SETS, LOG_POINTS = 8, 14
"""Independently scrambled Sobol sets of 2^14 points on which the energies are read off."""


def attraction(x: Tensor) -> Tensor:
    """Soft Coulomb potential of one electron, x (..., 1) → (...)."""
    return -(x[..., 0].square() + 1).rsqrt()


def attraction_of_all(x: Tensor) -> Tensor:
    """Potential of all electrons, x (..., d) → (...)."""
    return -(x.square() + 1).rsqrt().sum(dim=-1)


@cache
def atoms(dimension: int) -> SchroedingerSum:
    """So many electrons; their energies from grids in one dimension, wide enough for the states that are learned."""
    return SchroedingerSum((Schroedinger(attraction, ((-45.0, 45.0),)),) * dimension)


def threshold(dimension: int) -> float:
    """Where the continuous spectrum begins: one electron free, the others in their ground state."""
    return (dimension - 1) * float(atoms(1).energies(1)[0])


def radii(jet: Jet) -> Jet:
    """√(x_k² + 1) of every coordinate."""
    ones = torch.ones_like(jet.value[0])
    return elementwise(affine(product(jet, jet), torch.diag(ones), ones), root)


def reciprocal(a: Tensor) -> Derivatives:
    """1/a."""
    inverse = 1 / a
    return inverse, -(inverse**2), 2 * inverse**3, -6 * inverse**4


class Coordinates(nn.Module):
    """Every coordinate as x/3, r/3, x/r, e^{1−r} and x e^{1−r}, r = √(x² + 1): near the nucleus and far from it."""

    def forward(self, x: Tensor) -> Tensor:
        r = (x.square() + 1).sqrt()
        near = torch.exp(1 - r)
        return torch.cat((x / 3, r / 3, x / r, near, x * near), dim=1)

    def propagate(self, jet: Jet) -> Jet:
        r = radii(jet)
        near = elementwise(r.scaled(-1), exponential).scaled(float(np.e))
        inverse = elementwise(r, reciprocal)
        return concatenate((jet.scaled(1 / 3), r.scaled(1 / 3), product(jet, inverse), near, product(jet, near)))


class Decay(nn.Module):
    """e^{−κ Σ_k r_k}, κ = `DECAY`; (B, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-DECAY * (x.square() + 1).sqrt().sum(dim=1, keepdim=True))

    def propagate(self, jet: Jet) -> Jet:
        r = radii(jet)
        total = Jet(r.streams.sum(dim=-1, keepdim=True), r.second_order)
        return elementwise(total.scaled(-DECAY), exponential)


def network(dimension: int, n_modes: int, hidden: tuple[int, ...]) -> nn.Module:
    inputs = 5 * dimension
    return Factor(Decay(), nn.Sequential(Coordinates(), SeparateNetworks(inputs, n_modes, hidden, "gelu")))


@cache
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Distances from the nucleus, and the probability of being within them."""
    r = np.linspace(0, FARTHEST, 400_001)
    return r, 1 - SHARE * np.exp(-r / NEAR) - (1 - SHARE) * np.exp(-r / FAR)


def states(uniform: Tensor) -> Batch:
    """Points (n, d) of the unit cube as states of a law that covers all bound ones, with weights 1/p."""
    r, within = _distances()
    centred = 2 * uniform - 1
    distance = torch.as_tensor(np.interp(centred.abs().cpu().numpy(), within, r)).to(uniform)
    density = SHARE / NEAR * torch.exp(-distance / NEAR) + (1 - SHARE) / FAR * torch.exp(-distance / FAR)
    return Batch(centred.sign() * distance, weight=1 / (density / 2).prod(dim=1))


def lattices(n: int, dimension: int, generator: torch.Generator) -> Batch:
    """Lattices of `N_POINTS` points each, shifted at random, of this law: n points, or one lattice."""
    points = kronecker_lattices(n // N_POINTS, N_POINTS, dimension, generator)
    return states(points.flatten(0, 1).float())


def quasi_random(
    dimension: int, seed: int, log_points: int = LOG_POINTS, where: str | torch.device = "cpu"
) -> list[Batch]:
    """A scrambled Sobol set of this law, in pieces."""
    points = torch.from_numpy(qmc.Sobol(dimension, rng=seed).random_base2(log_points))
    return [states(piece.to(where)) for piece in points.split(4096)]


@dataclass(frozen=True)
class Learned:
    """Energies (k,), ascending, and their standard errors from the sample on which they are read off."""

    energies: np.ndarray
    standard_errors: np.ndarray


def learn(
    dimension: int,
    n_modes: int,
    n_steps: int,
    seed: int,
    hidden: tuple[int, ...] = (32, 32),
    checkpoint: Path | None = None,
    observe: Callable[[int, Sides], None] | None = None,
) -> nn.Module:
    """Networks of the lowest states, by sequential nesting, with randomised lattices; see `learn_spectrum`."""
    torch.manual_seed(seed)
    where = device()
    samples = FreshSamples(lambda n, generator: lattices(n, dimension, generator), where)
    operator = schroedinger(attraction_of_all, threshold(dimension), SCALE)
    spectrum = learn_spectrum(
        in_groups(operator, N_POINTS), samples, network(dimension, n_modes + SPARE, hidden),
        quasi_random(dimension, seed, 10), objective="sequential", read_operator=operator, n_steps=n_steps,
        batch_size=N_ROWS * N_POINTS, learning_rate=1e-2, average_share=0.1, seed=seed, checkpoint=checkpoint,
        observe=observe,
    )  # fmt: skip
    return spectrum.sides.left


def read_off(
    functions: nn.Module, dimension: int, n_modes: int, n_sets: int = N_SETS, log_points: int = LOG_POINTS
) -> Learned:
    """Lowest energies by Rayleigh–Ritz on independent sets of points; errors by the jackknife over these sets."""
    operator = schroedinger(attraction_of_all, threshold(dimension), SCALE)
    where = next(functions.parameters()).device
    sets = [quasi_random(dimension, 1000 + number, log_points, where) for number in range(n_sets)]
    moments = operator_moments(operator, functions, functions, sets)

    def energies(counts: np.ndarray) -> np.ndarray:
        spectrum = rayleigh_ritz(moments.means(counts=counts), tied=True, n_known=0)
        return threshold(dimension) - SCALE * spectrum.values[:n_modes]

    without = np.array([energies(counts) for counts in 1 - np.eye(n_sets)])
    return Learned(energies(np.ones(n_sets)), np.sqrt((n_sets - 1) * without.var(axis=0)))
