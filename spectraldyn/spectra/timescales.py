"""Implied timescales with error bars from block moments, at every lag time, and whether the data determine them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from spectraldyn.spectra.decomposition import Decomposition, symmetrised
from spectraldyn.spectra.moments import Moments

N_BOOTSTRAP = 500
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""Fewer independent blocks than this give no interval."""
MIN_TRANSITIONS = 10
"""A process seen fewer times has a relative error above one third and counts as unresolved."""
BLOCK_RELAXATIONS = 10
"""Length of a bootstrap block in units of the slowest timescale, where the trajectories are long enough."""


@dataclass(frozen=True)
class Timescale:
    """One implied timescale in frames, with its 95 % interval.

    Attributes
    ----------
    value, low, high : float or None
        None where undetermined: no interval from too few blocks, no upper bound beyond the length of the data.
    n_transitions : int or None
        How often the process was seen to happen; None where it was not counted.
    unresolved : str or None
        Why the value must not be trusted; None where it may be.
    """

    value: float | None
    low: float | None
    high: float | None
    n_transitions: int | None = None
    unresolved: str | None = None


def timescales_from_eigenvalues(eigenvalues: np.ndarray, lagtime: float) -> np.ndarray:
    """Implied timescales t = −τ / ln |λ|, in the unit of `lagtime`; 0 where λ is real and not positive.

    A real negative eigenvalue has no relaxation time: the process is faster than the lag time can tell.
    """
    magnitude = np.clip(np.abs(eigenvalues), None, np.nextafter(1, 0))
    if not np.iscomplexobj(eigenvalues):
        magnitude = np.where(eigenvalues > 0, magnitude, 0.0)
    with np.errstate(divide="ignore"):
        return -lagtime / np.log(magnitude)


def block_bootstrap(moments: Moments, slowest: float, random_state: int) -> tuple[Moments, np.ndarray]:
    """Blocks long enough to be independent of each other, and how often each enters every replicate.

    Parameters
    ----------
    moments : Moments
    slowest : float
        Slowest timescale in frames, which sets the length of a block.
    random_state : int

    Returns
    -------
    Moments
        With neighbouring blocks joined.
    ndarray (n_replicates, n_blocks)
        Weights by multinomial resampling of blocks; empty (0 replicates) for fewer than 5 blocks.
    """
    total = moments.block_frames.sum()
    # Long blocks make the replicates independent, but there must be enough of them to resample.
    wanted = min(BLOCK_RELAXATIONS * slowest, total / (2 * MIN_BLOCKS))
    blocks = moments.merged(wanted)
    n_blocks = len(blocks.stretch)
    if n_blocks < MIN_BLOCKS:
        return blocks, np.empty((0, n_blocks))
    random = np.random.default_rng(random_state)
    share = blocks.block_frames / total
    return blocks, random.multinomial(n_blocks, share / share.sum(), size=N_BOOTSTRAP).astype(float)


def autocorrelations(
    moments: Moments, lag_index: int, spectrum: Decomposition, reversible: bool, weights: np.ndarray | None = None
) -> np.ndarray:
    """Eigenvalues of the fixed modes at one lag time, shape (..., k), by the Rayleigh quotient of each.

    The modes are kept and only the averages change (another lag, another bootstrap replicate), so a mode keeps its
    identity even in a replicate that never sees the process; to first order this is the eigenvalue of the
    replicate's own decomposition. Means are removed within each replicate.
    """
    c00, c01, c11 = moments.means(lag_index, weights)
    if reversible:
        c0, ct = symmetrised(c00, c01, c11)
        mean_x = mean_y = c0[..., 0, :]
    else:
        c0, ct, mean_x, mean_y = c00, c01, c00[..., 0, :], c01[..., 0, :]
    dual, functions = spectrum.dual.conj(), spectrum.eigenfunctions
    dual_mean = mean_x @ dual
    lagged = np.einsum("ik,...ij,jk->...k", dual, ct, functions) - dual_mean * (mean_y @ functions)
    instantaneous = np.einsum("ik,...ij,jk->...k", dual, c0, functions) - dual_mean * (mean_x @ functions)
    return np.divide(lagged, instantaneous, out=np.zeros_like(lagged), where=np.abs(instantaneous) > 1e-12)


def timescale_intervals(values: np.ndarray, replicates: np.ndarray, blocks: Moments, lagtime: int) -> list[Timescale]:
    """95 % intervals of timescales from their bootstrap replicates.

    Parameters
    ----------
    values : ndarray (k,)
        Timescales in frames from all data.
    replicates : ndarray (n_replicates, k)
        The same from every bootstrap replicate; no rows where there were too few blocks.
    blocks : Moments
        The blocks that were resampled.
    lagtime : int

    Notes
    -----
    Percentiles, widened for the small number n of blocks: the level goes from the normal to the t distribution with
    n − 1 degrees of freedom and the width by √(n/(n−1)) (Hesterberg, Am. Stat. 69 (2015) 371, "expanded percentile
    interval"). An upper bound longer than all data together is no bound and is left open.
    """
    n_blocks = len(blocks.stretch)
    tail = stats.norm.cdf(
        np.sqrt(n_blocks / max(n_blocks - 1, 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, max(n_blocks - 1, 1))
    )
    total = blocks.block_frames.sum()
    result = []
    for k, value in enumerate(values):
        low = high = None
        if len(replicates):
            lower, upper = np.quantile(replicates[:, k], [tail, 1 - tail])
            low = float(lower) if lower > 0 else None
            high = float(upper) if upper < total else None
        reason = None
        if not value > 0:
            reason = "faster than the lag time can tell"
        elif value < lagtime:
            reason = "shorter than the lag time"
        elif value > total:
            reason = "longer than all data together"
        result.append(Timescale(float(value) if value > 0 else None, low, high, None, reason))
    return result


def with_rare_events(scale: Timescale, total: float) -> Timescale:
    """Mark a process as unresolved if it was seen fewer than ten times, and widen its interval accordingly.

    Resampling blocks cannot tell how often a rare event might have happened but did not. The rate of n independent
    events is known to within the exact Poisson interval of their number (Garwood, Biometrika 28 (1936) 437); the
    interval of the timescale is widened to hold the same factors.

    Parameters
    ----------
    scale : Timescale
        With its number of transitions, any unit.
    total : float
        Length of all data in the same unit: an upper bound beyond it is left open.
    """
    count = scale.n_transitions
    if scale.unresolved is not None or scale.value is None or count is None or count >= MIN_TRANSITIONS:
        return scale
    tail = (1 - CONFIDENCE) / 2
    most = stats.chi2.ppf(1 - tail, 2 * (count + 1)) / 2
    fewest = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    low = scale.value * max(count, 1) / most
    high = scale.value * count / fewest if count else np.inf
    return replace(
        scale,
        low=low if scale.low is None else min(low, scale.low),
        high=None if scale.high is None or max(high, scale.high) > total else max(high, scale.high),
        unresolved=f"only {count} transition{'s' * (count != 1)} seen",
    )


def count_transitions(mode: np.ndarray, stretches: list[range]) -> int:
    """How often one mode passes from one end of its range to the other, and back, within the stretches.

    Two cores with a gap between them (the outer thirds of the range that holds all but the outermost 0.05 % of the
    frames): a mere touch of the border is no transition (milestoning, as in Buchete & Hummer, J. Phys. Chem. B 112
    (2008) 6057).

    Parameters
    ----------
    mode : ndarray (n_frames,)
    stretches : list of range
        Uninterrupted frames.
    """
    low, high = np.quantile(mode, [0.0005, 0.9995])
    core = np.where(mode < low + (high - low) / 3, -1, np.where(mode > high - (high - low) / 3, 1, 0))
    count = 0
    for stretch in stretches:
        visited = core[stretch.start : stretch.stop]
        visited = visited[visited != 0]
        count += int(np.count_nonzero(np.diff(visited)))
    return count
