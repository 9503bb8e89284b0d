"""Schrödinger operators with known spectra: learned by any objective, and judged as published."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.distances import alignment, angle_distance, level_distance, orthogonality, subspace_distance
from analysis.experiments.experiment import device
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks.derivatives import (
    Jet,
    added,
    affine,
    concatenate,
    elementwise,
    exponential,
    product,
    square_root,
)
from spectraldyn.networks.factors import Factor, GaussianEnvelope, squared_radius
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.networks.sides import Sides
from spectraldyn.networks.whitening import Whitening
from spectraldyn.operators import Action, Operator, schroedinger

EIGENVALUE, ANGLE, LEVEL, SPAN, ORTHOGONALITY = METRICS = (
    "eigenvalue error", "angle distance", "subspace distance, per level", "subspace distance, whole span",
    "orthogonality",
)  # fmt: skip
"""In the order of `analysis.experiments.published`."""
RITZ, LARGEST, NORMS = "eigenvalue error, Rayleigh–Ritz", "largest, Rayleigh–Ritz", "error of the norms"


class CentralFeatures(nn.Module):
    """e^{−(r/s)^p} and Re, Im (x + iy)^m e^{−(r/s)^p}, m = 1, ..., scaled to a largest modulus of 1: (B, 2) → (B, k).

    Parameters
    ----------
    scales : ndarray
        s.
    n_harmonics : int
        Largest m.
    power : int
        p: 1 has a cusp at r = 0, 2 is smooth.
    """

    rates: Tensor
    factors: Tensor

    def __init__(self, scales: np.ndarray, n_harmonics: int, power: int) -> None:
        super().__init__()
        self.power = power
        m = np.arange(1, n_harmonics + 1)[:, None]
        self.register_buffer("rates", torch.tensor(-1 / scales**power, dtype=torch.float32))
        # r^m e^{−(r/s)^p} is largest at r = s (m/p)^{1/p}.
        factors = (math.e * power / m) ** (m / power) / scales**m
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.float32))

    @property
    def n_outputs(self) -> int:
        return len(self.rates) * (1 + 2 * len(self.factors))

    def forward(self, x: Tensor) -> Tensor:
        squared = x.square().sum(dim=1, keepdim=True)
        decay = torch.exp(self.rates * (squared if self.power == 2 else squared.sqrt()))
        features, real, imaginary = [decay], x[:, :1], x[:, 1:]
        for factor in self.factors:
            features += [real * factor * decay, imaginary * factor * decay]
            real, imaginary = real * x[:, :1] - imaginary * x[:, 1:], imaginary * x[:, :1] + real * x[:, 1:]
        return torch.cat(features, dim=1)

    def propagate(self, jet: Jet) -> Jet:
        squared = squared_radius(jet)
        radius = squared if self.power == 2 else elementwise(squared, square_root)
        decay = elementwise(affine(radius, self.rates[None], None), exponential)
        x, y = (jet.units(slice(k, k + 1)) for k in (0, 1))
        features, real, imaginary = [decay], x, y
        for factor in self.factors:
            scaled = affine(decay, torch.diag(factor), None)
            features += [product(real, scaled), product(imaginary, scaled)]
            real, imaginary = (
                added(product(real, x), product(imaginary, y).scaled(-1)),
                added(product(imaginary, x), product(real, y)),
            )
        return concatenate(features)


def whitened_networks(
    features: CentralFeatures, spread: float, n_modes: int, separate: bool, hidden: tuple[int, ...]
) -> nn.Module:
    """Networks on features that are whitened under N(0, s²), times the square root of that law as an envelope.

    Features of neighbouring scales are much alike: as they are, training takes many times as many steps.
    """
    generator = torch.Generator().manual_seed(0)
    values = features(spread * torch.randn(20_000, 2, generator=generator)).double()
    centred = values - values.mean(dim=0)
    whitening = Whitening.of(values.mean(dim=0), centred.T @ centred / len(values), WHITENING_FLOOR)
    kind = SeparateNetworks if separate else CommonTrunk
    return Factor(
        GaussianEnvelope(2, spread), nn.Sequential(features, kind(whitening, n_modes, hidden, "gelu"))
    ).float()


WHITENING_FLOOR = 1e-6
N_LATTICE, STEP = 55, 34
"""Points of a lattice, and its generator: neighbours among the Fibonacci numbers."""


def lattice(n_rows: int, n_parts: int, generator: torch.Generator) -> Tensor:
    """Lattices in the unit square, each shifted at random, (rows, parts, points, 2); at least one row.

    Single points are evenly distributed, and averages over a lattice vary far less than averages over as many
    independent points (Cranley, Patterson, SIAM J. Numer. Anal. 13 (1976) 904).
    """
    index = torch.arange(N_LATTICE, device=generator.device)
    points = torch.stack((index / N_LATTICE, index * STEP % N_LATTICE / N_LATTICE), dim=1)
    shift = torch.rand(max(1, n_rows), n_parts, 1, 2, generator=generator, device=generator.device)
    # Never quite 0 or 1, where laws that reach to infinity have their ends.
    return ((points + shift) % 1.0).clamp(1e-6, 1 - 1e-6)


def in_groups(operator: Operator, size: int) -> Operator:
    """A tied operator that takes every `size` points, one after the other, for one row of so many components.

    Points of a randomised rule are no independent samples, but rules are. Objectives that subtract what single rows
    contribute to a product of averages then subtract what single rules do.
    """

    def grouped(left: nn.Module, right: nn.Module, batch: Batch) -> Action:
        action = operator(left, right, batch)
        f, Tf = (
            part.unflatten(0, (-1, size)).permute(0, 2, 1, 3).flatten(2) / size**0.5 for part in (action.f, action.Tf)
        )
        return Action.with_tied_sides(f, Tf)

    return operator if size == 1 else grouped


@dataclass(frozen=True)
class BoundStates:
    """The lowest states of H = −∇² + V, learned as the leading eigenfunctions of T = (c − H)/s.

    Attributes
    ----------
    system : Schroedinger or SchroedingerSum
    network : callable (number of modes, whether each has its own) → module
    sampler : callable (n, torch.Generator) → Batch
        States with weights 1/p.
    rule : tuple of ndarray (n, d), (n,)
        Quadrature, on which everything is judged.
    levels : sequence of int
        Numbers of states of equal energy, from the lowest: what is judged.
    n_modes : int
        Learned, at least as many as are judged.
    shift, scale : float
        c and s.
    points_per_row : int
        Of the sampler, whose batches are independent sets of so many points that need not be independent.
    """

    system: Any
    network: Callable[[int, bool], nn.Module]
    sampler: Callable[[int, torch.Generator], Batch]
    rule: tuple[np.ndarray, np.ndarray]
    levels: Sequence[int]
    n_modes: int
    shift: float = 0.0
    scale: float = 1.0
    points_per_row: int = 1

    @property
    def operator(self) -> Operator:
        return schroedinger(self.system.potential, self.shift, self.scale)

    @property
    def rows(self) -> Batch:
        """The rule as a batch: a row's weight counts once per average over rows, so that this is the integral."""
        points, weight = self.rule
        return Batch(torch.tensor(points), weight=torch.tensor(len(weight) * weight))

    @property
    def exact_values(self) -> np.ndarray:
        """Of T: (c − E)/s of the states that are judged."""
        return (self.shift - self.system.energies(sum(self.levels))) / self.scale

    def learn(
        self,
        objective: str,
        training: Mapping[str, Any],
        seed: int,
        checkpoint: Path | None = None,
        observe: Callable[[int, Sides], None] | None = None,
    ) -> LearnedSpectrum:
        """One training; `training` holds the options of `learn_spectrum`."""
        torch.manual_seed(seed)
        # SpIN keeps derivatives of all pairs of functions with respect to all parameters, as many as networks may be.
        network = self.network(self.n_modes, objective != "spin")
        return learn_spectrum(
            in_groups(self.operator, self.points_per_row), FreshSamples(self.sampler, device()), network, [self.rows],
            objective=objective, read_operator=self.operator, seed=seed, checkpoint=checkpoint, observe=observe,
            **training,
        )  # fmt: skip

    @property
    def columns(self) -> list[slice]:
        """Which functions belong to every level."""
        return [slice(a, b) for a, b in pairwise(np.cumsum([0, *self.levels]).tolist())]

    def aligned(self, spectrum: LearnedSpectrum) -> Callable[[np.ndarray], np.ndarray]:
        """The functions as trained, of norm 1 and turned within their levels to the exact ones: (n, d) → (n, k)."""
        points, weight = self.rule
        n = sum(self.levels)

        def trained(states: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return spectrum.sides.left(torch.tensor(states, device=spectrum.sides.device)).cpu().numpy()[:, :n]

        values = trained(points)
        norms = np.sqrt(weight @ values**2)
        rotation = alignment(values / norms, self.system.eigenfunctions(points, n), weight, self.levels)
        return lambda states: trained(states) / norms @ rotation

    def judge(self, spectrum: LearnedSpectrum, objective: str) -> dict[str, float | None]:
        """Published distances of the functions as trained; errors from Rayleigh–Ritz and from the norms beside them.

        Parameters
        ----------
        spectrum : LearnedSpectrum
        objective : str
            That of the training: SpIN leaves it to be done to make the functions orthonormal in their order, and only
            nested low-rank approximation states the values by the norms.
        """
        points, weight = self.rule
        n, exact = sum(self.levels), self.exact_values
        functions = self.system.eigenfunctions(points, n)
        net = spectrum.sides.left
        gram, image, _ = operator_moments(self.operator, net, net, [[self.rows]]).means()
        mixing = np.linalg.inv(np.linalg.cholesky(gram)).T if objective == "spin" else np.eye(len(gram))
        with torch.no_grad():
            inputs = torch.tensor(points, device=spectrum.sides.device)
            trained = (net(inputs).cpu().numpy() @ mixing)[:, :n]
        quotients = np.diag(mixing.T @ image @ mixing) / np.diag(mixing.T @ gram @ mixing)
        # Functions that became linearly dependent leave fewer values than modes: a value that is missing is all wrong.
        values = np.zeros(max(n, len(spectrum.values)))
        values[: len(spectrum.values)] = spectrum.values
        ritz, norms = (np.abs(found[:n] / exact - 1) for found in (values, spectrum.norms))
        return {
            EIGENVALUE: float(np.abs(quotients[:n] / exact - 1).mean()),
            ANGLE: angle_distance(trained, functions, weight, self.levels),
            LEVEL: level_distance(trained, functions, weight, self.levels),
            SPAN: subspace_distance(trained, functions, weight),
            ORTHOGONALITY: orthogonality(trained, weight),
            RITZ: float(ritz.mean()),
            LARGEST: float(ritz.max()),
            NORMS: float(norms.mean()) if objective in ("joint", "sequential") else None,
        }
