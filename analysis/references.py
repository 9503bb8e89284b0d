"""What learned spectra are held against.

Averages by quadrature; the oracle, Ritz values of true eigenfunctions; reversible Markov models of trajectories.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from deeptime.clustering import KMeans
from deeptime.decomposition import TICA
from deeptime.markov import TransitionCountModel
from deeptime.markov.msm import MaximumLikelihoodMSM
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
    """Rates by Rayleigh–Ritz with the true eigenfunctions on these states."""
    return ritz_rates(partial(system.eigenfunctions, n=n_modes), system, states, weight)


def ritz_rates(
    functions: Callable[[np.ndarray], np.ndarray], system: Any, states: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Rates by Rayleigh–Ritz with some functions (n, d) → (n, k) on these states; gradients by central differences.

    Directions of less than 1e-8 of the largest variance are left out.
    """
    values, gradients = functions(states), []
    for k, (low, high) in enumerate(system.domain):
        step = np.zeros(states.shape[1])
        step[k] = 1e-4 * (high - low)
        ahead, behind = (functions(states + sign * step) for sign in (1, -1))
        gradients.append((ahead - behind) / (2 * step[k]))
    root = square_root(system.diffusion, torch.from_numpy(states)).numpy()
    gradient = np.stack(gradients, axis=2) @ root
    share = np.full(len(states), 1 / len(states)) if weight is None else weight / weight.sum()
    dirichlet = np.einsum("b,bik,bjk->ij", share, gradient, gradient)
    centred = values - share @ values
    variances, directions = eigh(centred.T @ (share[:, None] * centred))
    kept = variances > 1e-8 * variances[-1]
    basis = directions[:, kept] / np.sqrt(variances[kept])
    return eigh(basis.T @ dirichlet @ basis, eigvals_only=True)


def slow_projection(trajectories: Sequence[np.ndarray], lagtime: int, n_coordinates: int) -> list[np.ndarray]:
    """TICA coordinates of every trajectory, scaled to kinetic distances, (T, n_coordinates)."""
    double = [np.asarray(part, dtype=float) for part in trajectories]
    model = TICA(lagtime=lagtime, dim=n_coordinates, scaling="kinetic_map").fit_fetch(double)
    return [model.transform(part) for part in double]


def clustered(trajectories: Sequence[np.ndarray], n_clusters: int, seed: int) -> list[np.ndarray]:
    """Number of the k-means cluster of every row, (T,)."""
    model = KMeans(n_clusters, fixed_seed=seed, n_jobs=1).fit_fetch(np.concatenate(trajectories))
    return [model.transform(part) for part in trajectories]


def block_counts(clusters: Sequence[np.ndarray], lagtime: int, n_blocks: int) -> np.ndarray:
    """Transitions (sliding windows) by the block of a run that they start in, (runs · n_blocks, n, n)."""
    n = 1 + max(int(part.max()) for part in clusters)
    counts = []
    for part in clusters:
        pairs = n * part[:-lagtime].astype(int) + part[lagtime:]
        counts += [np.bincount(block, minlength=n * n).reshape(n, n) for block in np.array_split(pairs, n_blocks)]
    return np.array(counts, dtype=float)


def markov_timescales(counts: np.ndarray, lagtime: int, n_timescales: int) -> np.ndarray:
    """Implied timescales, in rows, of the reversible maximum-likelihood model of the largest connected set.

    Prinz et al., J. Chem. Phys. 134 (2011) 174105.
    """
    connected = TransitionCountModel(counts, counting_mode="sliding", lagtime=lagtime).submodel_largest()
    return MaximumLikelihoodMSM(reversible=True).fit_fetch(connected).timescales(n_timescales)


def resampled_timescales(counts: np.ndarray, lagtime: int, n_timescales: int, n_samples: int, seed: int) -> np.ndarray:
    """The same of blocks drawn with replacement, (n_samples, n_timescales)."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=n_samples)
    return np.array([markov_timescales(np.tensordot(d, counts, 1), lagtime, n_timescales) for d in drawn])
