"""Whitening of the inputs, inside the network: a fixed linear map to uncorrelated coordinates, and the layer on it."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from spectraldyn.networks.derivatives import Jet, affine


class Whitening(nn.Module):
    """Fixed linear map of the inputs to zero mean and, as `of` makes it, unit, uncorrelated variances.

    Parameters
    ----------
    mean : Tensor (d,)
    matrix : Tensor (d, k)
    """

    mean: Tensor
    matrix: Tensor
    """mean and matrix: (d,) and (d, k)."""

    def __init__(self, mean: Tensor, matrix: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("matrix", matrix)

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor, floor: float = 1e-4) -> "Whitening":
        """From the moments of the inputs, (d,) and (d, d).

        Directions along which the standardised columns have a variance below `floor`, where one column by itself has
        1, are linear dependences (a molecule's rigid bonds, cos² + sin² = 1 near a fixed angle) and rounding; they are
        left out.
        """
        # A constant column has only the variance of rounding; dividing by it would turn rounding into an input.
        deviation = covariance.diagonal().clamp_min(0).sqrt()
        scale = torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.inf)
        variances, directions = torch.linalg.eigh(covariance / scale[:, None] / scale[None, :])
        kept = variances > floor
        return cls(mean, directions[:, kept] / variances[kept].sqrt() / scale[:, None])

    def followed_by(self, coordinates: Tensor) -> "Whitening":
        """The same with its outputs multiplied by a matrix (k, m)."""
        return Whitening(self.mean, self.matrix @ coordinates.to(self.matrix))

    @classmethod
    def none(cls, before: "Whitening") -> "Whitening":
        """Of what another one gives, which stays as it is."""
        identity = torch.eye(before.n_outputs).to(before.matrix)
        return cls(torch.zeros(before.n_outputs).to(before.mean), identity)

    def single(self) -> "Whitening":
        """The same with its matrix in single precision."""
        return Whitening(self.mean, self.matrix.float())

    @property
    def n_inputs(self) -> int:
        """d."""
        return self.matrix.shape[0]

    @property
    def n_outputs(self) -> int:
        """k."""
        return self.matrix.shape[1]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Whitening":
        # A cast of the network to single precision leaves the mean as it is: features may lie far from 0.
        mean = self.mean
        super()._apply(fn, recurse)
        self.mean = mean.to(self.matrix.device)
        return self

    def centred(self, x: Tensor) -> Tensor:
        """The inputs less their mean, in the precision of the network."""
        if x.dtype != torch.float32 or self.matrix.dtype != torch.float32:
            return (x - self.mean).to(self.matrix.dtype)
        # All in single precision, as fast as it goes; what is left of the mean after rounding is taken off as well.
        mean = self.mean.float()
        return (x - mean).sub_((self.mean - mean).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.centred(x) @ self.matrix

    def propagate(self, jet: Jet) -> Jet:
        """The same for a jet; see `spectraldyn.networks.derivatives`."""
        mean = self.mean.to(jet.streams.dtype)
        return affine(jet, self.matrix, -mean @ self.matrix)


class WhitenedLinear(nn.Module):
    """A linear layer, or L of them side by side, on whitened inputs.

    Three matrices are multiplied here: the batch, the whitening and the weights. `multi_dot` takes the cheaper order,
    which for many features is to fold the whitening into the weights first. The layer is a torch.nn.Linear, or a
    `spectraldyn.networks.mlp.BatchedLinear`.
    """

    def __init__(self, whitening: Whitening, linear: nn.Module):
        super().__init__()
        self.whitening = whitening
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._parameters_of_linear
        batch, matrix = self.whitening.centred(x), self.whitening.matrix
        if weight.ndim == 2:
            return torch.linalg.multi_dot((batch, matrix, weight.T)) + bias
        side_by_side = weight.transpose(0, 1).flatten(1)
        result = torch.linalg.multi_dot((batch, matrix, side_by_side))
        return result.unflatten(1, (len(weight), -1)).transpose(0, 1) + bias

    def propagate(self, jet: Jet) -> Jet:
        """The same for a jet; see `spectraldyn.networks.derivatives`."""
        whitened = self.whitening.propagate(jet)
        weight, bias = self._parameters_of_linear
        return affine(whitened, weight.T if weight.ndim == 2 else weight, bias)

    @property
    def _parameters_of_linear(self) -> tuple[Tensor, Tensor]:
        return cast(Tensor, self.linear.weight), cast(Tensor, self.linear.bias)
