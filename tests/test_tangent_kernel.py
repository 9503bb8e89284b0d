"""The tangent kernel: its values by hand, three ways to apply it, and its first eigenvalues learned."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.experiments.tangent_kernel import (
    JACOBIAN,
    TangentKernel,
    exact,
    jacobian_operator,
    learn,
    tangent_kernel,
    tangent_products,
)
from spectraldyn import Batch
from spectraldyn.linalg import gram, inner
from spectraldyn.operators import integral_kernel


@pytest.fixture
def x():
    return torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


def test_a_linear_network_has_the_kernel_one_plus_xy(x):
    kernel = TangentKernel(nn.Linear(2, 1), x)
    values = kernel(x[:5, None], x[None, 5:12])
    by_hand = 1 + x[:5] @ x[5:12].T
    torch.testing.assert_close(values, by_hand / (1 + x.square().sum(dim=1)).mean())


def test_products_with_the_jacobian_are_the_kernel(x):
    kernel = tangent_kernel(x, nn.Tanh, 8, 0)
    left, right = nn.Linear(2, 3), nn.Linear(2, 3)
    batch = Batch(x[:60], x[60:120])
    ours, theirs = (operator(left, right, batch) for operator in (tangent_products(kernel), integral_kernel(kernel)))
    for part in ("f", "Tg", "g", "Tf"):
        torch.testing.assert_close(getattr(ours, part), getattr(theirs, part))


def test_the_jacobian_has_the_roots_of_the_eigenvalues(x):
    x = x.double()
    kernel = tangent_kernel(x, nn.Tanh, 8, 0)
    values, functions = (torch.tensor(part.copy()) for part in exact(kernel, x, 4))
    directions = kernel.jacobian(x).T @ functions / len(x) / values.sqrt()
    action = jacobian_operator(kernel)(lambda _: functions, lambda _: directions, Batch(x))
    torch.testing.assert_close(inner(action.f, action.Tg), values.sqrt())
    torch.testing.assert_close(inner(action.Tf, action.g), values.sqrt())
    for side in (action.f, action.g):
        torch.testing.assert_close(gram(side), torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0)


def test_its_eigenvalues_are_learned(x):
    kernel = tangent_kernel(x, nn.Tanh, 4, 0)
    spectrum = learn(kernel, x, JACOBIAN, 300, 16, 0)
    np.testing.assert_allclose(spectrum.values[:4], exact(kernel, x, 4)[0], rtol=0.02)
