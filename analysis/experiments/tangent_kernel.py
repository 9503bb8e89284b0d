"""The neural tangent kernel of a small network at initialisation: its leading eigenfunctions from small batches.

    python -m analysis.experiments.tangent_kernel --quick        # one seed
    python -m analysis.experiments.tangent_kernel                # three seeds: what the documentation shows
    python -m analysis.experiments.tangent_kernel --published    # wider networks, for a GPU; nothing is published

The kernel k(x, y) = ⟨∂h(x), ∂h(y)⟩ of a network h, derivatives with respect to its P parameters, acts as
(K g)(x) = ⟨∂h(x), E_y[∂h(y) g(y)]⟩: one vector-Jacobian product and one Jacobian-vector product for a function, without
bias and without any value of the kernel. Each seed has its own h. Exact are the eigenvalues of the Gram matrix of all
states, divided by their number.

References
----------
Jacot, Gabriel, Hongler, NeurIPS 2018 (arXiv:1806.07572), for the kernel.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from analysis.benchmarks.study import Row
from analysis.distances import subspace_distance
from analysis.experiments import experiment
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.operators import integral_kernel
from spectraldyn.records import Action, Network, Operator

SCORED, LEARNED = 8, 12
NORMAL, DIGITS = "normal, three dimensions", "digits"
PRODUCTS, MATRIX = "products with the Jacobian", "kernel matrix of the batch"


class TangentKernel:
    """Empirical tangent kernel of a network (B, d) → (B, 1) with its parameters as they are.

    Parameters
    ----------
    network : module
    states : Tensor (n, d)
        Over which the kernel is scaled to a mean of k(x, x), the sum of all eigenvalues, of 1.
    """

    def __init__(self, network: nn.Module, states: Tensor):
        self.network = network
        self.parameters = {name: value.detach() for name, value in network.named_parameters()}
        self.scale = 1.0
        self.scale = 1 / float(self.jacobian(states).square().sum(dim=1).mean()) ** 0.5

    def value(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """The network at states (B, d), scaled: (B,)."""
        return self.scale * functional_call(self.network, parameters, (x,)).squeeze(1)

    def _cast(self, x: Tensor) -> dict[str, Tensor]:
        return {name: value.to(x) for name, value in self.parameters.items()}

    def jacobian(self, x: Tensor) -> Tensor:
        """∂h at states (B, d): (B, P)."""
        rows = vmap(grad(lambda p, one: self.value(p, one[None])[0]), in_dims=(None, 0))(self._cast(x), x)
        return torch.cat([part.flatten(1) for part in rows.values()], dim=1)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Values at (B, 1, d) and (1, B, d): (B, B)."""
        return self.jacobian(x.squeeze(1)) @ self.jacobian(y.squeeze(0)).T


def tangent_products(kernel: TangentKernel) -> Operator:
    """The integral operator of the kernel from independent states x and y, in time that grows with B and not with B²."""

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        x, y = batch.pair
        f, g = left(x), right(y)
        at_x, at_y = kernel.jacobian(x), kernel.jacobian(y)
        Tg, Tf = at_x @ (at_y.T @ g / len(y)), at_y @ (at_x.T @ f / len(x))
        return Action(f.unsqueeze(2), Tg.unsqueeze(2), g.unsqueeze(2), Tf.unsqueeze(2))

    return operator


def states(name: str) -> Tensor:
    """2,000 of a normal distribution, or the pixels of scikit-learn's digits less their mean."""
    if name == NORMAL:
        return torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    pixels = load_digits().data / 16
    return torch.tensor(pixels - pixels.mean(axis=0), dtype=torch.float32)


def tangent_kernel(x: Tensor, width: int, seed: int) -> TangentKernel:
    """Of a perceptron with two hidden layers, as torch initialises it."""
    torch.manual_seed(seed)
    activation = nn.GELU if x.shape[1]==3 else nn.Tanh
    layers = (nn.Linear(x.shape[1], width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 1))
    return TangentKernel(nn.Sequential(*layers), x)


def exact(kernel: TangentKernel, x: Tensor, n_modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the Gram matrix divided by n, and eigenfunctions (n, k) of mean square 1."""
    jacobian = kernel.jacobian(x.double()).numpy()
    values, vectors = np.linalg.eigh(jacobian @ jacobian.T / len(x))
    return values[: -n_modes - 1 : -1], len(x) ** 0.5 * vectors[:, : -n_modes - 1 : -1]

def learn(kernel, x, way, n_steps, width, seed, objective="sequential", batch_size=512, learning_rate=3e-3, **options):
    torch.manual_seed(seed)
    kind = SeparateNetworks if objective=="sequential" else CommonTrunk
    network = kind(x.shape[1], LEARNED, (width, width))
    def draw(n, generator):
        return Batch(*x[torch.randint(len(x), (2 * n,), generator=generator)].tensor_split(2))
    return learn_spectrum(tangent_products(kernel) if way == PRODUCTS else integral_kernel(kernel), FreshSamples(draw), network, [Batch(x, x)],
      read_operator=integral_kernel(kernel), objective=objective, n_steps=n_steps, batch_size=batch_size, learning_rate=learning_rate, average_share=0.05, seed=seed, **options)
