"""Parts that networks are composed of: random Fourier features, boundary factors and envelopes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectraldyn.networks.derivatives import (
    Jet,
    affine,
    concatenate,
    cosine,
    elementwise,
    exponential,
    product,
    propagate,
    sine,
)
from spectraldyn.records import Network


class FourierFeatures(nn.Module):
    """(cos ωᵀx, sin ωᵀx) for fixed frequencies ω: (B, d) → (B, 2 m).

    Whole numbers as frequencies make features of period 2π.

    Parameters
    ----------
    frequencies : Tensor (d, m)

    References
    ----------
    Rahimi, Recht, NIPS 2007; Tancik et al., NeurIPS 2020, for networks on top of them.
    """

    frequencies: Tensor

    def __init__(self, frequencies: Tensor):
        super().__init__()
        self.register_buffer("frequencies", frequencies)

    @classmethod
    def random(cls, n_inputs: int, n_frequencies: int, scale: float) -> "FourierFeatures":
        """Normally distributed frequencies of standard deviation `scale`, in radians per unit length."""
        return cls(scale * torch.randn(n_inputs, n_frequencies))

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.frequencies
        return torch.cat((phase.cos(), phase.sin()), dim=1)

    def propagate(self, jet: Jet) -> Jet:
        phase = affine(jet, self.frequencies, None)
        return concatenate((elementwise(phase, cosine), elementwise(phase, sine)))


class BoxBoundary(nn.Module):
    """Π_k 4 (x_k − low_k)(high_k − x_k)/(high_k − low_k)²: 0 on the walls of a box, 1 in its middle; (B, 1).

    The domain is one (low, high) per axis.
    """

    low: Tensor
    width: Tensor

    def __init__(self, domain: Sequence[tuple[float, float]]):
        super().__init__()
        low, high = torch.tensor(domain, dtype=torch.float32).T
        self.register_buffer("low", low)
        self.register_buffer("width", high - low)

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - self.low) / self.width
        return (4 * scaled * (1 - scaled)).prod(dim=1, keepdim=True)

    def propagate(self, jet: Jet) -> Jet:
        ahead = affine(jet, torch.diag(1 / self.width), -self.low / self.width)
        behind = affine(jet, torch.diag(-4 / self.width), 4 + 4 * self.low / self.width)
        hills = product(ahead, behind)
        result = hills.units(slice(0, 1))
        for k in range(1, len(self.width)):
            result = product(result, hills.units(slice(k, k + 1)))
        return result


class GaussianEnvelope(nn.Module):
    """√N(x; 0, s²), s = spread: its square is a density, so that functions under it start with norms near 1; (B, 1)."""

    def __init__(self, n_inputs: int, spread: float):
        super().__init__()
        self.amplitude = (2 * math.pi * spread**2) ** (-n_inputs / 4)
        self.rate = -1 / (4 * spread**2)

    def forward(self, x: Tensor) -> Tensor:
        return self.amplitude * torch.exp(self.rate * x.square().sum(dim=1, keepdim=True))

    def propagate(self, jet: Jet) -> Jet:
        return elementwise(squared_radius(jet).scaled(self.rate), exponential).scaled(self.amplitude)


def squared_radius(jet: Jet) -> Jet:
    """Σ u_i² over all units; one unit."""
    squares = product(jet, jet)
    return Jet(squares.streams.sum(dim=-1, keepdim=True), squares.second_order)


class Factor(nn.Module):
    """A network times a known function of the state: f_i(x) = a(x) n_i(x).

    With an a that vanishes on the boundary every learned function does (Dirichlet conditions); with one that decays
    every learned function does (an envelope).

    Parameters
    ----------
    factor : callable (B, d) → (B, 1) or (B, L)
    network : module (B, d) → (B, L)
    """

    def __init__(self, factor: Network, network: nn.Module):
        super().__init__()
        self.factor = factor
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.factor(x) * self.network(x)

    def propagate(self, jet: Jet) -> Jet:
        return product(propagate(self.factor, jet), propagate(self.network, jet))
