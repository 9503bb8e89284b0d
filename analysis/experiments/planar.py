"""Functions of two coordinates around a centre: features, and points to average over."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from analysis.experiments.lattices import fibonacci_lattices
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
from spectraldyn.networks.factors import squared_radius
from spectraldyn.networks.whitening import Whitening


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


def normal_points(n_rows: int, size: int, spread: float, generator: torch.Generator) -> Tensor:
    """Fibonacci lattices mapped to N(0, s²), one after the other, (points, 2).

    The radius goes out and back: averages over lattices vary least where the function ends as it begins (Hickernell,
    Monte Carlo and Quasi-Monte Carlo Methods 2000, Springer 2002, 274).
    """
    there_and_back, turn = fibonacci_lattices(n_rows, 1, size, generator).flatten(0, 2).unbind(dim=-1)
    radial = (1 - (2 * there_and_back - 1).abs()).clamp(1e-6, 1 - 1e-6)
    r, angle = spread * (-2 * torch.log1p(-radial)).sqrt(), 2 * math.pi * turn
    return torch.stack((r * angle.cos(), r * angle.sin()), dim=1)


def whitened(features: CentralFeatures, spread: float) -> Whitening:
    """Combinations of the features that are orthonormal under N(0, s²), as far as these differ by a hundredth.

    Times the square root of that law, their envelope, they are orthonormal in the plane. Features of neighbouring
    scales are much alike: as they are, training takes many times as many steps.
    """
    values = features(normal_points(40, 610, spread, torch.Generator().manual_seed(0))).double()
    sizes, directions = torch.linalg.eigh(values.T @ values / len(values))
    kept = sizes > 1e-4 * sizes[-1]
    matrix = directions[:, kept] / sizes[kept].sqrt()
    return Whitening(torch.zeros(len(matrix)), matrix.float())
