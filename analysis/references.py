"""What learned spectra are held against: averages by quadrature, and the oracle: Ritz values of true eigenfunctions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh

from spectraldyn.operators.overdamped import square_root
from spectraldyn.systems.overdamped import Overdamped


def quantiles(system: Overdamped, n: int) -> np.ndarray:
    """States (n, 1) that divide the equilibrium distribution evenly: averages over them are integrals."""
    ((low, high),) = system.domain
    grid = np.linspace(low, high, 400_001)
    energy = system.energy(torch.from_numpy(grid[:, None])).numpy()
    cumulative = np.cumsum(np.exp(-system.beta * (energy - energy.min())))
    return np.interp((np.arange(n) + 0.5) / n, cumulative / cumulative[-1], grid)[:, None]


def product_rule(
    domain: Sequence[tuple[float, float]], n: int, periodic: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n^d, d) and weights of a box: Gauss–Legendre, or evenly spaced where functions are periodic in it."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    if periodic:
        nodes, weights = 2 * np.arange(n) / n - 1, np.full(n, 2 / n)
    axes = [(low + (nodes + 1) / 2 * (high - low), weights / 2 * (high - low)) for low, high in domain]
    points = np.stack([part.ravel() for part in np.meshgrid(*(axis for axis, _ in axes), indexing="ij")], axis=1)
    weight = np.prod([part.ravel() for part in np.meshgrid(*(w for _, w in axes), indexing="ij")], axis=0)
    return points, weight


def oracle_rates(system: Any, states: np.ndarray, n_modes: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Rates by Rayleigh–Ritz with the true eigenfunctions on these states; gradients by central differences."""
    functions = system.eigenfunctions(states, n_modes)
    gradients = []
    for k, (low, high) in enumerate(system.domain):
        step = np.zeros(states.shape[1])
        step[k] = 1e-4 * (high - low)
        ahead, behind = (system.eigenfunctions(states + sign * step, n_modes) for sign in (1, -1))
        gradients.append((ahead - behind) / (2 * step[k]))
    root = square_root(system.diffusion, torch.from_numpy(states)).numpy()
    gradient = np.stack(gradients, axis=2) @ root
    share = np.full(len(states), 1 / len(states)) if weight is None else weight / weight.sum()
    dirichlet = np.einsum("b,bik,bjk->ij", share, gradient, gradient)
    centred = functions - share @ functions
    return eigh(dirichlet, centred.T @ (share[:, None] * centred), eigvals_only=True)
