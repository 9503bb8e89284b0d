"""Multilayer perceptrons x (B, d) → (B, L): a common trunk for all modes, or one network per mode."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from spectraldyn.derivatives import Jet, affine, propagate


class Whitening(nn.Module):
    """Fixed linear map of the inputs to zero mean and unit, uncorrelated variances.

    Directions along which the standardised columns have a variance below `floor`, where one column by itself has 1,
    are linear dependences (a molecule's rigid bonds, cos² + sin² = 1 near a fixed angle) and rounding; they are left
    out.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor, floor: float = 1e-4):
        super().__init__()
        # A constant column has only the variance of rounding; dividing by it would turn rounding into an input.
        deviation = covariance.diagonal().clamp_min(0).sqrt()
        scale = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.inf)
        variances, directions = torch.linalg.eigh(covariance / scale[:, None] / scale[None, :])
        kept = variances > floor
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", directions[:, kept] / variances[kept].sqrt() / scale[:, None])

    def followed_by(self, coordinates: Tensor) -> "Whitening":
        """The same with its outputs multiplied by a matrix (k, k)."""
        whitening = Whitening.empty(*self.matrix.shape).to(self.matrix)
        whitening.mean, whitening.matrix = self.mean, self.matrix @ coordinates.to(self.matrix)
        return whitening

    @classmethod
    def empty(cls, n_inputs: int, n_kept: int) -> "Whitening":
        """Placeholder of the right shape, to be filled by `load_state_dict`."""
        whitening = cls(torch.zeros(n_inputs), torch.eye(n_inputs))
        whitening.matrix = torch.zeros(n_inputs, n_kept)
        return whitening

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.matrix

    def propagate(self, jet: Jet) -> Jet:
        return affine(jet, self.matrix, -self.mean @ self.matrix)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class CommonTrunk(nn.Module):
    """One perceptron with L outputs: the modes share all hidden layers.

    Parameters
    ----------
    n_inputs, n_modes : int
    hidden : tuple of int
        Widths of the hidden layers.
    activation : str
        Name in `ACTIVATIONS`.
    """

    def __init__(self, n_inputs: int, n_modes: int, hidden: tuple[int, ...], activation: str = "gelu"):
        super().__init__()
        widths = (n_inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], n_modes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def take_over(self, source: "CommonTrunk", weight: Tensor, bias: Tensor) -> None:
        """Hidden layers of another network, and a last layer of weights (width, L) and offsets (L,)."""
        self.trunk.load_state_dict(source.trunk.state_dict())
        self.head.weight.copy_(weight.T)
        self.head.bias.copy_(bias)

    def propagate(self, jet: Jet) -> Jet:
        return propagate(self.head, propagate(self.trunk, jet))


class BatchedLinear(nn.Module):
    """L linear layers side by side: (L, B, n) → (L, B, m)."""

    def __init__(self, n_modes: int, before: int, after: int):
        super().__init__()
        bound = 1 / math.sqrt(before)  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(n_modes, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_modes, 1, after).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)

    def propagate(self, jet: Jet) -> Jet:
        return affine(jet, self.weight, self.bias)


class SeparateNetworks(nn.Module):
    """L perceptrons with one output each, evaluated together as one batch of matrices; nothing is shared.

    Parameters
    ----------
    n_inputs, n_modes, hidden, activation
        See `CommonTrunk`.
    """

    separate = True

    def __init__(self, n_inputs: int, n_modes: int, hidden: tuple[int, ...], activation: str = "gelu"):
        super().__init__()
        self.n_modes = n_modes
        layers: list[nn.Module] = []
        for before, after in pairwise((n_inputs, *hidden)):
            layers += [BatchedLinear(n_modes, before, after), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, BatchedLinear(n_modes, (n_inputs, *hidden)[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.expand(self.n_modes, -1, -1)).squeeze(2).T

    def take_over(self, source: CommonTrunk, weight: Tensor, bias: Tensor) -> None:
        """As `CommonTrunk.take_over`: every mode gets its own copy of the hidden layers."""
        *hidden, last = (layer for layer in self.layers if isinstance(layer, BatchedLinear))
        linear = (layer for layer in source.trunk if isinstance(layer, nn.Linear))
        for own, theirs in zip(hidden, linear, strict=True):
            own.weight.copy_(theirs.weight.T)
            own.bias.copy_(theirs.bias)
        last.weight.copy_(weight.T[:, :, None])
        last.bias.copy_(bias[:, None, None])

    def propagate(self, jet: Jet) -> Jet:
        result = propagate(self.layers, Jet(jet.streams.expand(self.n_modes, -1, -1, -1), jet.second_order))
        return Jet(result.streams.squeeze(3).movedim(0, 2), jet.second_order)


NETWORKS = {"common-trunk": CommonTrunk, "separate": SeparateNetworks}
