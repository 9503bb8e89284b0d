"""Derivatives by forward propagation against reverse-mode differentiation, in value and in their own gradients."""

import pytest
import torch
from torch import nn

from spectraldyn.networks.derivatives import value_and_gradient, value_gradient_and_second
from spectraldyn.networks.factors import BoxBoundary, Factor, FourierFeatures, GaussianEnvelope
from spectraldyn.networks.mlp import ACTIVATIONS, CommonTrunk, HiddenUnits, SeparateNetworks
from spectraldyn.networks.whitening import Whitening

ROWS, INPUTS, MODES = 6, 3, 4


class Unknown(nn.Module):
    """A module without a rule of its own."""

    def forward(self, x):
        return torch.cat((torch.atan(x), x**3), dim=1)


def networks():
    torch.manual_seed(0)
    for activation in ACTIVATIONS:
        yield activation, SeparateNetworks(INPUTS, MODES, (8, 8), activation)
        yield f"{activation} trunk", CommonTrunk(INPUTS, MODES, (8, 8), activation)
    yield "Fourier features", nn.Sequential(FourierFeatures.random(INPUTS, 5, 1.0), CommonTrunk(10, MODES, (8,)))
    yield "box", Factor(BoxBoundary([(-4, 4), (-5, 4), (-4, 6)]), SeparateNetworks(INPUTS, MODES, (8,), "tanh"))
    yield "envelope", Factor(GaussianEnvelope(INPUTS, 1.3), SeparateNetworks(INPUTS, MODES, (8,), "tanh"))
    yield "no rule", nn.Sequential(Unknown(), SeparateNetworks(2 * INPUTS, MODES, (8,), "tanh"))
    for module in (nn.Softplus(beta=5), nn.GELU(approximate="tanh")):
        yield repr(module), nn.Sequential(nn.Linear(INPUTS, 8), module, nn.Linear(8, MODES))
    covariance = torch.tensor([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 0.7]])
    whitening = Whitening.of(torch.ones(3), covariance)
    yield "whitening", nn.Sequential(whitening, CommonTrunk(INPUTS, MODES, (8,), "tanh"))
    yield "whitened trunk", CommonTrunk(whitening, MODES, (8,), "tanh")
    yield "whitened separate", SeparateNetworks(whitening, MODES, (8,), "tanh")
    yield "units of a trunk", HiddenUnits(CommonTrunk(INPUTS, 2, (8, MODES), "tanh"))
    yield "units of networks", HiddenUnits(SeparateNetworks(INPUTS, 2, (8, MODES // 2), "tanh"))
    yield "units of whitened networks", HiddenUnits(SeparateNetworks(whitening, 2, (8, MODES // 2), "tanh"))


NETWORKS = dict(networks())


def by_reverse_mode(network, x, directions, drift):
    """Value, directional derivatives and b·∇f + Σ vᵀ∇²f v, from Jacobians and Hessians row by row."""

    def one(row):
        return network(row[None])[0]

    jacobian = torch.stack([torch.autograd.functional.jacobian(one, row, create_graph=True) for row in x])
    hessian = torch.stack(
        [
            torch.stack(
                [
                    torch.autograd.functional.hessian(lambda z, i=i: one(z)[i], row, create_graph=True)
                    for i in range(MODES)
                ]
            )
            for row in x
        ]
    )
    second = torch.einsum("bld,bd->bl", jacobian, drift)
    second = second + torch.einsum("bdk,blde,bek->bl", directions, hessian, directions)
    return network(x), torch.einsum("bld,bdk->blk", jacobian, directions), second


@pytest.mark.parametrize("name", NETWORKS)
def test_propagation_meets_reverse_mode_in_values_and_parameter_gradients(name):
    network = NETWORKS[name].double()
    generator = torch.Generator().manual_seed(1)
    x, drift = torch.randn(2, ROWS, INPUTS, generator=generator, dtype=torch.float64)
    directions = torch.randn(ROWS, INPUTS, 2, generator=generator, dtype=torch.float64)
    expected = by_reverse_mode(network, x, directions, drift)
    got = value_gradient_and_second(network, x, directions, drift)
    parameters = list(network.parameters())

    def gradients(parts):
        total = sum((k + 1) * (part**2).sum() + part.sum() for k, part in enumerate(parts))
        return torch.autograd.grad(total, parameters, allow_unused=True, retain_graph=True)

    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for a, b in zip(gradients(got), gradients(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    first = value_and_gradient(network, x, directions)
    for a, b in zip(first, expected[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    first_gradients = torch.autograd.grad((first[1] ** 3).sum(), parameters, allow_unused=True, retain_graph=True)
    reverse = torch.autograd.grad((expected[1] ** 3).sum(), parameters, allow_unused=True, retain_graph=True)
    for a, b in zip(first_gradients, reverse, strict=True):
        # A bias of the last layer has no part in any derivative: 0 to one, unused to the other.
        a, b = (torch.zeros(1, dtype=torch.float64) if g is None or not g.any() else g for g in (a, b))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_default_directions_give_gradient_and_laplacian():
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)

    def wave(z):
        return torch.stack((torch.sin(2 * z[:, 0]) * torch.exp(z[:, 1]), (z**2).sum(dim=1)), dim=1)

    _, gradient, laplacian = value_gradient_and_second(wave, x)
    expected = torch.stack((-3 * wave(x)[:, 0], torch.full((2,), 4.0, dtype=torch.float64)), dim=1)
    torch.testing.assert_close(laplacian, expected)
    torch.testing.assert_close(gradient[:, 1], 2 * x)


def test_a_stencil_in_single_precision_is_all_noise_where_propagation_is_exact():
    torch.manual_seed(0)
    network = SeparateNetworks(2, 3, (32, 32), "softplus")
    x = torch.randn(200, 2)
    twin = SeparateNetworks(2, 3, (32, 32), "softplus").double()
    twin.load_state_dict(network.state_dict())
    exact = value_gradient_and_second(twin, x.double())[2].detach()
    scale = exact.abs().median()
    propagated = (value_gradient_and_second(network, x)[2].double() - exact).abs().median() / scale
    step = 1e-2
    shifts = step * torch.tensor([[0.0, 0.0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    values = network((x + shifts[:, None]).flatten(0, 1)).unflatten(0, (5, -1))
    stencil = (values[1:].sum(dim=0) - 4 * values[0]) / step**2
    assert propagated < 1e-5
    assert (stencil.double() - exact).abs().median() / scale > 0.1
