"""Networks of the left and the right functions, and how they are laid out."""

from dataclasses import dataclass

import torch
from torch import nn

from spectraldyn.networks.encoders import EncodedWhitening, Encoding
from spectraldyn.networks.mlp import NETWORKS
from spectraldyn.networks.whitening import WhitenedLinear, Whitening


@dataclass(frozen=True)
class Layout:
    """Everything that a pair of networks is built from, besides the whitening of their inputs."""

    n_modes: int
    network: str
    """Name in `NETWORKS`."""
    hidden: tuple[int, ...]
    activation: str
    tied: bool
    """One network for both sides."""
    n_trunks: int = 1
    """Sets of hidden layers side by side, of networks that were trained by themselves; for a common trunk."""
    encoding: Encoding | None = None
    """What stands before them where the inputs are coordinates."""


class Sides(nn.Module):
    """Left and right network; one and the same where the sides are tied."""

    def __init__(self, left: nn.Module, right: nn.Module | None = None):
        super().__init__()
        self.left = left
        self.right = left if right is None else right
        self.tied = right is None

    @property
    def distinct(self) -> tuple[nn.Module, ...]:
        """Both networks, or the one where they are tied."""
        return (self.left,) if self.tied else (self.left, self.right)

    def look_through(self, inputs: Whitening) -> None:
        """Take the inputs of this whitening, where the networks were trained on its outputs."""
        for layer in self.modules():
            if isinstance(layer, WhitenedLinear):
                layer.whitening = inputs.followed_by(layer.whitening.matrix)

    def behind(self, inputs: Whitening) -> "Sides":
        """The same networks on what a whitening gives, where they were trained on that."""
        return Sides(nn.Sequential(inputs, self.left), None if self.tied else nn.Sequential(inputs, self.right))

    @property
    def encoded(self) -> bool:
        """Whether they look at coordinates, through an encoder."""
        return any(isinstance(module, EncodedWhitening) for module in self.modules())

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(self.parameters()).device


def build_sides(inputs: int | Whitening, layout: Layout, seed: int) -> Sides:
    """Fresh networks for so many inputs, or for whitened ones.

    The random state of torch is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        several = {} if layout.n_trunks == 1 else {"n_trunks": layout.n_trunks}
        networks = [
            NETWORKS[layout.network](inputs, layout.n_modes, layout.hidden, layout.activation, **several)
            for _ in range(2 - layout.tied)
        ]
    return Sides(*networks)
