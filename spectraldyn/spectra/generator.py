"""Spectrum of an infinitesimal generator from two matrices of averages: relaxation rates with error bars.

With C = E_π[f fᵀ] and the Dirichlet form 𝓓 = E_π[∇f·D∇fᵀ] of the learned functions, the generalised symmetric problem
𝓓 v = κ C v gives the rates κ ≥ 0: the variational principle for the generator. The constant function, whose rate is 0,
is projected out exactly.

References
----------
Zhang, Hartmann, Schütte, Faraday Discuss. 195 (2016) 365, for the variational principle.
"""

from dataclasses import dataclass

import numpy as np

from spectraldyn.spectra.decomposition import orthonormal
from spectraldyn.spectra.moments import first_of_groups
from spectraldyn.spectra.timescales import (
    MIN_INDEPENDENT,
    bootstrap_block_length,
    percentile_interval,
    replicate_weights,
)


@dataclass(frozen=True)
class GeneratorMoments:
    """Weighted sums over the states of each block, in float64; function 0 is the constant 1.

    Attributes
    ----------
    correlation : ndarray (n_blocks, M, M)
        Σ w f fᵀ; entry (0, 0) is the sum of the weights.
    dirichlet : ndarray (n_blocks, M, M)
        Σ w ∇f·D∇fᵀ, in the unit of the rates.
    stretch : ndarray (n_blocks,) of int
        The uninterrupted stretch of trajectory every block belongs to.
    block_frames : ndarray (n_blocks,) of int
        States in every block.
    """

    correlation: np.ndarray
    dirichlet: np.ndarray
    stretch: np.ndarray
    block_frames: np.ndarray

    def means(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """C and 𝓓 (..., M, M) over all states, or over blocks that count `weights` (..., n_blocks) times each."""
        if weights is None:
            weights = np.ones(len(self.stretch))
        correlation = np.tensordot(weights, self.correlation, axes=1)
        total = correlation[..., :1, :1]
        return correlation / total, np.tensordot(weights, self.dirichlet, axes=1) / total

    def merged(self, min_frames: float) -> "GeneratorMoments":
        """Join neighbouring blocks of a stretch until each holds at least `min_frames` states, where it can."""
        first = first_of_groups(self.stretch, self.block_frames, min_frames)
        return GeneratorMoments(
            np.add.reduceat(self.correlation, first, axis=0),
            np.add.reduceat(self.dirichlet, first, axis=0),
            stretch=self.stretch[first],
            block_frames=np.add.reduceat(self.block_frames, first),
        )


@dataclass(frozen=True)
class GeneratorDecomposition:
    """Rates and eigenfunctions on the span of the learned functions; the constant mode is left out.

    Attributes
    ----------
    rates : ndarray (k,)
        −λ, ascending; k < n where the n learned functions are linearly dependent.
    left : ndarray (M, k)
        Coefficients of the eigenfunctions, of mean 0 and variance 1, the constant function first.
    norms : ndarray (n,)
        Squared norms of the functions as trained, in the inner product of the operator: its singular values as nested
        low-rank approximation states them.
    """

    rates: np.ndarray
    left: np.ndarray
    norms: np.ndarray


@dataclass(frozen=True)
class Rate:
    """One relaxation rate with its 95 % interval.

    Attributes
    ----------
    value : float
        Inverse time.
    low, high : float or None
        None where there are too few independent blocks.
    unresolved : str or None
        Why the value must not be trusted; None where it may be.
    """

    value: float
    low: float | None
    high: float | None
    unresolved: str | None = None


def decompose_generator(correlation: np.ndarray, dirichlet: np.ndarray, norms: np.ndarray) -> GeneratorDecomposition:
    """Rayleigh–Ritz for the generator, from C and 𝓓 (M, M) of functions [1, f]."""
    basis = orthonormal(correlation)
    rates, rotation = np.linalg.eigh(basis.T @ dirichlet @ basis)
    # Below rounding a rate is 0: a function that changes only where there are no states.
    rates = np.where(rates > 1e-12 * rates.max(initial=0), rates, 0.0)
    return GeneratorDecomposition(rates, basis @ rotation, norms)


def rate_intervals(
    spectrum: GeneratorDecomposition, moments: GeneratorMoments, correlation_frames: float, random_state: int
) -> list[Rate]:
    """Rates with 95 % intervals from a block bootstrap.

    Eigenfunctions are kept and only the averages change: to first order the Rayleigh quotient of each is the rate
    that the replicate's own decomposition would give.

    Parameters
    ----------
    spectrum : GeneratorDecomposition
    moments : GeneratorMoments
    correlation_frames : float
        Number of successive states over which they remember each other; sets the length of the blocks.
    random_state : int
    """
    blocks = moments.merged(bootstrap_block_length(moments.block_frames.sum(), correlation_frames))
    weights = replicate_weights(blocks.correlation[:, 0, 0] > 0, random_state)
    v = spectrum.left
    per_block = np.einsum("ik,bij,jk->bk", v, blocks.dirichlet, v)
    squares = (per_block**2).sum(axis=0)
    spread = np.divide(per_block.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
    low = high = None
    if len(weights):
        correlation, dirichlet = blocks.means(weights)
        variance = np.einsum("ik,...ij,jk->...k", v, correlation, v) - (correlation[..., 0, :] @ v) ** 2
        quotients = np.einsum("ik,...ij,jk->...k", v, dirichlet, v) / variance
        low, high = percentile_interval(quotients, len(blocks.stretch))
    result = []
    for k, rate in enumerate(spectrum.rates.tolist()):
        if rate <= 0:
            result.append(Rate(0.0, None, None, "no change was seen between the states that it tells apart"))
        elif low is None or high is None:
            result.append(Rate(rate, None, None))
        elif spread[k] < MIN_INDEPENDENT:
            result.append(Rate(rate, None, None, "changes in too few independent stretches of the data"))
        else:
            result.append(Rate(rate, float(low[k]), float(high[k])))
    return result


def correlation_frames(modes: np.ndarray, stretches: list[range]) -> float:
    """Over how many successive states the slowest-changing mode remembers itself: −1/ln of its correlation at lag 1.

    0 for independent states, in which successive ones have nothing to do with each other.

    Parameters
    ----------
    modes : ndarray (n_frames, n_modes)
    stretches : list of range
        Uninterrupted frames.
    """
    n_pairs = sum(max(len(s) - 1, 0) for s in stretches)
    if n_pairs == 0:
        return 0.0
    # States of another law than the equilibrium do not give the modes mean 0 and variance 1.
    modes = (modes - modes.mean(axis=0)) / modes.std(axis=0)
    lagged = sum((modes[s.start : s.stop - 1] * modes[s.start + 1 : s.stop]).sum(axis=0) for s in stretches)
    largest = float(np.max(lagged / n_pairs))
    # Below this, independent states would look correlated by chance.
    if largest < 4 / np.sqrt(n_pairs):
        return 0.0
    return -1 / np.log(min(largest, 1 - 1 / n_pairs))
