"""Derivatives of learned functions with respect to the state, by forward propagation.

A jet carries through the network, in one pass, the value of every unit, its derivatives along k directions v_k, and
one second-order number

    ℓ = b · ∇u + Σ_k v_kᵀ (∇²u) v_k,

the Laplacian for unit vectors v_k and b = 0, the generator of a diffusion process for the columns v_k of σ, D = σσᵀ,
and its drift b. Cost: 2 + k evaluations of the network, where second derivatives by finite differences take 1 + 2k and
suffer cancellation, and Hessians take k².

References
----------
Li, Ye, Zhang, ..., He, Wang, "A computational framework for neural network-based variational Monte Carlo with forward
Laplacian", Nat. Mach. Intell. 6 (2024) 209, for the propagation of the Laplacian; Griewank, Walther, "Evaluating
derivatives", SIAM 2008, ch. 13, for Taylor arithmetic.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from spectraldyn.records import Network

Derivatives = tuple[Tensor, Tensor, Tensor, Tensor]
"""Value and first three derivatives of an elementwise function."""


@dataclass(frozen=True)
class Jet:
    """Value and derivatives of n units for B states, stacked so that a linear layer is one matrix product.

    streams (..., S, B, n): the value; its derivatives along the k directions; and, where `second_order`, ℓ.
    """

    streams: Tensor
    second_order: bool

    @property
    def value(self) -> Tensor:
        """(..., B, n)"""
        return self.streams[..., 0, :, :]

    @property
    def tangents(self) -> Tensor:
        """(..., k, B, n)"""
        return self.streams[..., 1 : self.streams.shape[-3] - self.second_order, :, :]

    @property
    def second(self) -> Tensor:
        """(..., B, n); only where `second_order`."""
        return self.streams[..., -1, :, :]

    def units(self, which: slice) -> "Jet":
        """Some of the units."""
        return Jet(self.streams[..., which], self.second_order)

    def scaled(self, factor: float) -> "Jet":
        """All units times a number."""
        return Jet(factor * self.streams, self.second_order)


def value_and_gradient(network: Network, x: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Learned functions (B, L) and their derivatives along k directions (B, L, k); see `value_gradient_and_second`."""
    jet = propagate(network, _seed(x, directions, None))
    return jet.value, jet.tangents.movedim(0, -1)


def value_gradient_and_second(
    network: Network, x: Tensor, directions: Tensor | None = None, drift: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Learned functions (B, L), derivatives along k directions (B, L, k), and b · ∇f + Σ_k v_kᵀ (∇²f) v_k, (B, L).

    Row b of the output of the network depends on row b of x (B, d) alone. The v_k are the columns of `directions`,
    (B, d, k) or (d, k); the unit vectors by default, which makes the last result the Laplacian. The drift b, (B, d), is
    0 by default.
    """
    jet = propagate(network, _seed(x, directions, torch.zeros_like(x) if drift is None else drift))
    return jet.value, jet.tangents.movedim(0, -1), jet.second


def _seed(x: Tensor, directions: Tensor | None, drift: Tensor | None) -> Jet:
    directions = torch.eye(x.shape[1], dtype=x.dtype, device=x.device) if directions is None else directions
    tangents = directions.expand(x.shape[0], *directions.shape[-2:]).permute(2, 0, 1)
    last = [] if drift is None else [drift[None]]
    return Jet(torch.cat((x[None], tangents, *last)), drift is not None)


def propagate(network: Network, jet: Jet) -> Jet:
    """Push a jet through a network.

    Modules may bring their own rule as a method `propagate`; sequences, linear layers and the usual activations have
    one here; anything else goes through PyTorch's forward-mode differentiation, which is exact but slower.
    """
    if hasattr(network, "propagate"):
        return network.propagate(jet)
    kind: Any = type(network)
    # Exact types and default options only: a subclass or an option may compute something else.
    if type(network) is nn.Sequential:
        for module in network:
            jet = propagate(module, jet)
        return jet
    if type(network) is nn.Linear:
        return affine(jet, network.weight.T, network.bias)
    if kind in _ACTIVATIONS and repr(network) == repr(kind()):
        return elementwise(jet, _ACTIVATIONS[kind])
    return _propagate_function(network, jet)


def affine(jet: Jet, weight: Tensor, bias: Tensor | None) -> Jet:
    """A linear map (n, m), or one for each of L networks (L, n, m), of all streams, and a bias on the value alone."""
    return Jet(_Affine.apply(jet.streams, weight, bias), jet.second_order)


class _Affine(torch.autograd.Function):
    """One matrix product for all streams; left to autograd, a bias on one stream would fill arrays as large as all."""

    @staticmethod
    def forward(ctx: Any, streams: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(streams, weight)
        ctx.bias_shape = None if bias is None else bias.shape
        out = (streams.flatten(-3, -2) @ weight).unflatten(-2, streams.shape[-3:-1])
        if bias is not None:
            out[..., 0, :, :] += bias
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        streams, weight = ctx.saved_tensors
        flat = grad.flatten(-3, -2)
        to_streams = (flat @ weight.mT).unflatten(-2, grad.shape[-3:-1]) if ctx.needs_input_grad[0] else None
        to_weight = streams.flatten(-3, -2).mT @ flat if ctx.needs_input_grad[1] else None
        to_bias = grad[..., 0, :, :].sum(dim=-2).reshape(ctx.bias_shape) if ctx.needs_input_grad[2] else None
        return to_streams, to_weight, to_bias


def product(a: Jet, b: Jet) -> Jet:
    """Jet of the product of two sets of units (the product rule)."""
    tangents = a.tangents * b.value.unsqueeze(-3) + a.value.unsqueeze(-3) * b.tangents
    streams = [(a.value * b.value).unsqueeze(-3), tangents]
    if a.second_order:
        mixed = 2 * (a.tangents * b.tangents).sum(dim=-3)
        streams.append((a.second * b.value + a.value * b.second + mixed).unsqueeze(-3))
    return Jet(torch.cat(streams, dim=-3), a.second_order)


def added(*jets: Jet) -> Jet:
    """Their sum, unit by unit."""
    return Jet(torch.stack([jet.streams for jet in jets]).sum(dim=0), jets[0].second_order)


def concatenate(jets: Sequence[Jet]) -> Jet:
    """Units of several jets side by side."""
    return Jet(torch.cat([jet.streams for jet in jets], dim=-1), jets[0].second_order)


@cache
def forward_mode() -> Any:
    """`torch.func`, loaded without the warning about its own deprecated parts that PyTorch 2.13 gives at first use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
    return torch.func


def _propagate_function(function: Network, jet: Jet) -> Jet:
    """By forward-mode differentiation, twice for the second-order stream."""
    jvp = forward_mode().jvp

    def along(t: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda z: jvp(function, (z,), (t,))[1]

    value, tangents = jet.value, jet.tangents
    streams = [function(value), *(along(t)(value) for t in tangents)]
    if jet.second_order:
        streams.append(along(jet.second)(value) + sum(jvp(along(t), (value,), (t,))[1] for t in tangents))
    return Jet(torch.stack(streams), jet.second_order)


def elementwise(jet: Jet, derivatives: Callable[[Tensor], Derivatives]) -> Jet:
    """Apply an elementwise function, given with its derivatives; the third serves the gradient of the second."""
    return Jet(_Elementwise.apply(jet.streams, derivatives, jet.second_order), jet.second_order)


class _Elementwise(torch.autograd.Function):
    """u = σ(a), ∂u = σ′ ∂a, ℓ(u) = σ′ ℓ(a) + σ″ Σ (∂a)²: an elementwise function on all streams at once.

    Left to autograd, every product would be stored and read again; with the backward pass written out, only σ′, σ″, σ‴.
    """

    @staticmethod
    def forward(ctx: Any, streams: Tensor, derivatives: Callable[[Tensor], Derivatives], second_order: bool) -> Tensor:
        value, first, second, third = derivatives(streams[..., 0, :, :])
        out = torch.empty_like(streams)
        out[..., 0, :, :] = value
        torch.mul(streams[..., 1:, :, :], first.unsqueeze(-3), out=out[..., 1:, :, :])
        squares = torch.empty(0)
        if second_order:
            squares = _sum_of_products(streams[..., 1:-1, :, :], streams[..., 1:-1, :, :])
            out[..., -1, :, :].addcmul_(second, squares)
        ctx.save_for_backward(streams, first, second, third, squares)
        ctx.second_order = second_order
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        streams, first, second, third, squares = ctx.saved_tensors
        result = grad * first.unsqueeze(-3)
        to_value = result[..., 0, :, :]
        to_value.addcmul_(second, _sum_of_products(grad[..., 1:, :, :], streams[..., 1:, :, :]))
        if ctx.second_order:
            last = grad[..., -1, :, :]
            to_value.addcmul_(third * last, squares)
            result[..., 1:-1, :, :].addcmul_((second * last).unsqueeze(-3), streams[..., 1:-1, :, :], value=2)
        return result, None, None


def _sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """Σ_s a_s b_s over streams, without an array of all products."""
    total = a[..., 0, :, :] * b[..., 0, :, :]
    for stream in range(1, a.shape[-3]):
        total.addcmul_(a[..., stream, :, :], b[..., stream, :, :])
    return total


def _tanh(a: Tensor) -> Derivatives:
    t = torch.tanh(a)
    first = 1 - t * t
    second = -2 * t * first
    return t, first, second, -2 * (first * first + t * second)


def _softplus(a: Tensor) -> Derivatives:
    s = torch.sigmoid(a)
    second = s * (1 - s)
    return nn.functional.softplus(a), s, second, second * (1 - 2 * s)


def _silu(a: Tensor) -> Derivatives:
    s = torch.sigmoid(a)
    s1 = s * (1 - s)
    s2 = s1 * (1 - 2 * s)
    s3 = s2 * (1 - 2 * s) - 2 * s1 * s1
    return a * s, s + a * s1, 2 * s1 + a * s2, 3 * s2 + a * s3


def _gelu(a: Tensor) -> Derivatives:
    cumulative = torch.special.ndtr(a)
    density = torch.exp(-0.5 * a * a) / (2 * torch.pi) ** 0.5
    square = a * a
    return a * cumulative, cumulative + a * density, density * (2 - square), density * a * (square - 4)


def exponential(a: Tensor) -> Derivatives:
    """e^a."""
    return (torch.exp(a),) * 4


def square_root(a: Tensor) -> Derivatives:
    """√a, for a > 0."""
    root = a.sqrt()
    return root, 0.5 / root, -0.25 / (root * a), 0.375 / (root * a * a)


def cosine(a: Tensor) -> Derivatives:
    """cos a."""
    c, s = a.cos(), a.sin()
    return c, -s, -c, s


def sine(a: Tensor) -> Derivatives:
    """sin a."""
    c, s = a.cos(), a.sin()
    return s, c, -s, -c


_ACTIVATIONS: dict[Any, Any] = {nn.Tanh: _tanh, nn.Softplus: _softplus, nn.SiLU: _silu, nn.GELU: _gelu}
