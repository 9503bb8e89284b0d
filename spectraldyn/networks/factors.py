"""Parts that networks are composed of: random Fourier features, boundary factors and envelopes."""

import torch
from torch import Tensor, nn

from spectraldyn.derivatives import Jet, affine, concatenate, cosine, elementwise, product, propagate, sine
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
