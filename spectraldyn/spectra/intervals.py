"""Error bars from block moments: which blocks are resampled, how often, and what of a spectrum that gives.

Functions are kept and only the averages change, so a mode keeps its identity even in a replicate that never sees it; to
first order its Rayleigh quotient is the eigenvalue that the replicate's own decomposition would give.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes

N_BOOTSTRAP = 500
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""Fewer independent blocks than this give no interval."""
MIN_INDEPENDENT = 3
"""A mode that varies in fewer blocks than this has no bootstrap interval."""
BLOCK_RELAXATIONS = 10
"""Length of a bootstrap block in units of the slowest timescale, where the trajectories are long enough."""


class Estimates(NamedTuple):
    """Numbers with 95 % intervals, in arrays of one shape; NaN where undetermined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def times(self, factor: float) -> "Estimates":
        """In another unit."""
        return Estimates(*(factor * part for part in self))


def block_bootstrap(moments: Moments, lag_index: int, slowest: float, random_state: int) -> tuple[Moments, np.ndarray]:
    """Moments with neighbouring blocks joined, and how often each enters every replicate, (n_replicates, n_blocks).

    The slowest timescale, in rows, sets the length of a block: long ones make the replicates independent, but there
    must be enough of them to resample. All are drawn with the same chance, those without a pair at this lag time never;
    there are no replicates for fewer than 5 blocks with pairs.
    """
    longest = moments.block_rows.sum() / (2 * MIN_BLOCKS)
    blocks = moments.merged(min(BLOCK_RELAXATIONS * slowest, longest))
    drawn = np.flatnonzero(blocks.weight[lag_index] > 0)
    n_replicates = N_BOOTSTRAP if len(drawn) >= MIN_BLOCKS else 0
    counts = np.zeros((n_replicates, len(blocks.stretch)))
    random = np.random.default_rng(random_state)
    counts[:, drawn] = random.multinomial(len(drawn), np.full(len(drawn), 1 / max(len(drawn), 1)), size=n_replicates)
    return blocks, counts


def rayleigh_quotients(
    moments: Moments, lag_index: int, modes: Eigenmodes, counts: np.ndarray | None = None
) -> np.ndarray:
    """Eigenvalues of fixed modes, shape (..., k): at another lag time, in a bootstrap replicate.

    What the known functions contribute is removed within each replicate.
    """
    a, b, _ = moments.means(lag_index, counts)
    dual, functions = modes.dual.conj(), modes.functions
    operator = np.einsum("ik,...ij,jk->...k", dual, b, functions)
    identity = np.einsum("ik,...ij,jk->...k", dual, a, functions)
    for known in range(moments.n_known):
        along = a[..., known, :] @ dual
        norm = a[..., known, known, None]
        operator = operator - along * (b[..., known, :] @ functions) / norm
        identity = identity - along * (a[..., known, :] @ functions) / norm
    return np.divide(operator, identity, out=np.zeros_like(operator), where=np.abs(identity) > 1e-12)


def percentile_interval(
    replicates: np.ndarray, n_blocks: int, tail: float = (1 - CONFIDENCE) / 2
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds over the first axis, by default those of 95 %, widened for the small number n of blocks.

    The level goes from the normal to the t distribution with n − 1 degrees of freedom and the width by √(n/(n−1))
    (Hesterberg, Am. Stat. 69 (2015) 371, "expanded percentile interval").
    """
    freedom = max(n_blocks - 1, 1)
    tail = stats.norm.cdf(np.sqrt(n_blocks / freedom) * stats.t.ppf(tail, freedom))
    with np.errstate(invalid="ignore"):  # between two infinite timescales there is nothing to interpolate
        low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


def participation(per_block: np.ndarray) -> np.ndarray:
    """In how many blocks each of k modes varies, from its sum over every block (n_blocks, k): (Σ v_b)² / Σ v_b²."""
    squares = (per_block**2).sum(axis=0)
    return np.divide(per_block.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
