"""Multilayer perceptrons x (B, d) → (B, L): a common trunk for all modes, or one network per mode."""

import copy
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectraldyn.networks.derivatives import Jet, affine, propagate
from spectraldyn.networks.whitening import WhitenedLinear, Whitening

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus, "tanh": nn.Tanh}


class CommonTrunk(nn.Module):
    """One perceptron with L outputs: the modes share all hidden layers.

    Parameters
    ----------
    inputs : int or Whitening
        Number of inputs, or the map that whitens them first.
    hidden : tuple of int
        Widths of the hidden layers.
    activation : str
        Name in `ACTIVATIONS`.
    n_trunks : int
        So many sets of hidden layers side by side, each with its own whitening, under one last layer.
    """

    def __init__(
        self,
        inputs: int | Whitening,
        n_modes: int,
        hidden: tuple[int, ...],
        activation: str = "gelu",
        n_trunks: int = 1,
    ):
        super().__init__()
        widths = (_width(inputs), *hidden)
        trunks = [
            nn.Sequential(
                *_on(
                    inputs if n_trunks == 1 else copy.deepcopy(inputs),
                    [part for ends in pairwise(widths) for part in (nn.Linear(*ends), ACTIVATIONS[activation]())],
                )
            )
            for _ in range(n_trunks)
        ]
        self.trunk: Any = trunks[0] if n_trunks == 1 else SideBySide(trunks)
        self.head = nn.Linear(n_trunks * widths[-1], n_modes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def take_over(self, source: "CommonTrunk", weight: Tensor, bias: Tensor) -> None:
        """Hidden layers of another network, and a last layer of weights (width, L) and offsets (L,)."""
        for own, theirs in zip(linear_layers(self.trunk), linear_layers(source.trunk), strict=True):
            own.load_state_dict(theirs.state_dict())
        self.head.weight.copy_(weight.T)
        self.head.bias.copy_(bias)

    @torch.no_grad()
    def combined(self, coefficients: np.ndarray) -> tuple[Tensor, Tensor]:
        """Weights (m, width) and offsets (m,) of a last layer for combinations (1 + L, m) of [1, f]."""
        lift = torch.from_numpy(coefficients).to(self.head.weight)
        return lift[1:].T @ self.head.weight, lift[1:].T @ self.head.bias + lift[0]

    def combine(self, coefficients: np.ndarray) -> None:
        """Make combinations (1 + L, m) of [1, f] the functions of this network."""
        weight, bias = self.combined(coefficients)
        self.head = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), device=weight.device)
        self.head.weight, self.head.bias = nn.Parameter(weight), nn.Parameter(bias)

    def propagate(self, jet: Jet) -> Jet:
        return propagate(self.head, propagate(self.trunk, jet))


class HiddenUnits(nn.Module):
    """The last hidden units of a network, of all its parts next to each other: (B, d) → (B, n)."""

    def __init__(self, network: "CommonTrunk | SeparateNetworks"):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.network, CommonTrunk):
            return self.network.trunk(x)
        return self.network.layers[:-1](self.network.for_each(x)).movedim(0, 1).flatten(1)

    def propagate(self, jet: Jet) -> Jet:
        if isinstance(self.network, CommonTrunk):
            return propagate(self.network.trunk, jet)
        units = propagate(self.network.layers[:-1], Jet(self.network.for_each(jet.streams), jet.second_order))
        return Jet(units.streams.movedim(0, 2).flatten(2), jet.second_order)


class SideBySide(nn.Module):
    """Networks on the same inputs, whose outputs are put next to each other."""

    def __init__(self, parts: Iterable[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


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
    inputs, n_modes, hidden, activation
        See `CommonTrunk`.
    """

    separate = True

    def __init__(self, inputs: int | Whitening, n_modes: int, hidden: tuple[int, ...], activation: str = "gelu"):
        super().__init__()
        self.n_modes = n_modes
        widths = (_width(inputs), *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [BatchedLinear(n_modes, before, after), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*_on(inputs, [*layers, BatchedLinear(n_modes, widths[-1], 1)]))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.for_each(x)).squeeze(2).T

    def for_each(self, x: Tensor) -> Tensor:
        """Inputs (..., B, d) as the layers take them: once for each network, unless the first layer sees to that."""
        return x if isinstance(self.layers[0], WhitenedLinear) else x.expand(self.n_modes, *x.shape)

    def take_over(self, source: CommonTrunk, weight: Tensor, bias: Tensor) -> None:
        """As `CommonTrunk.take_over`: every mode gets its own copy of the hidden layers."""
        *hidden, last = linear_layers(self.layers)
        for own, theirs in zip(hidden, linear_layers(source.trunk), strict=True):
            own.weight.copy_(theirs.weight.T)
            own.bias.copy_(theirs.bias)
        last.weight.copy_(weight.T[:, :, None])
        last.bias.copy_(bias[:, None, None])

    def propagate(self, jet: Jet) -> Jet:
        result = propagate(self.layers, Jet(self.for_each(jet.streams), jet.second_order))
        return Jet(result.streams.squeeze(3).movedim(0, 2), jet.second_order)


def linear_layers(layers: nn.Sequential) -> list[Any]:
    """The linear layers, the one on whitened inputs among them; activations are left out."""
    plain = (layer.linear if isinstance(layer, WhitenedLinear) else layer for layer in layers)
    return [layer for layer in plain if isinstance(layer, nn.Linear | BatchedLinear)]


def _width(inputs: int | Whitening) -> int:
    return inputs.n_outputs if isinstance(inputs, Whitening) else inputs


def _on(inputs: int | Whitening, layers: list[nn.Module]) -> list[nn.Module]:
    """Layers of which the first whitens its inputs, where it is to."""
    return [WhitenedLinear(inputs, layers[0]), *layers[1:]] if isinstance(inputs, Whitening) else layers


NETWORKS = {"common-trunk": CommonTrunk, "separate": SeparateNetworks}
