"""Implied timescales with error bars from block moments, at every lag time, and whether the data determine them."""

from collections.abc import Sequence
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
MIN_INDEPENDENT = 3
"""A mode that varies in fewer blocks than this has no bootstrap interval."""
BLOCK_RELAXATIONS = 10
"""Length of a bootstrap block in units of the slowest timescale, where the trajectories are long enough."""
TOO_LONG = "longer than all data together"
"""Why a timescale has no value although the process is seen."""


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
    """Implied timescales t = −τ / ln |λ|, in the unit of `lagtime`.

    0 where λ is real and not positive: such an eigenvalue has no relaxation time, the process is faster than the lag
    time can tell. Infinite where |λ| is 1.
    """
    negative = (np.imag(eigenvalues) == 0) & (np.real(eigenvalues) <= 0)
    magnitude = np.where(negative, 0.0, np.abs(eigenvalues))
    # One to within rounding is no relaxation at all.
    magnitude = np.where(magnitude > 1 - 1e-12, 1.0, magnitude)
    with np.errstate(divide="ignore"):
        return lagtime / np.abs(np.log(magnitude))


def timescales_at_lag(
    moments: Moments,
    lag_index: int,
    spectrum: Decomposition,
    reversible: bool,
    transitions: Sequence[int],
    slowest: float,
    random_state: int,
) -> list[Timescale]:
    """Timescales in frames with 95 % intervals at one lag time, processes seen too rarely marked.

    Parameters
    ----------
    moments : Moments
        Of the functions that span the spectrum, by block.
    lag_index : int
        Index into `moments.lagtimes`.
    spectrum : Decomposition
        From the means of these moments at this lag time; k modes.
    reversible : bool
    transitions : sequence of int
        How often each process was seen to happen.
    slowest : float
        Slowest timescale in frames, which sets the length of a bootstrap block.
    random_state : int

    Returns
    -------
    list of Timescale
        Slowest first, min(k, len(transitions)) of them.
    """
    lag = int(moments.lagtimes[lag_index])
    blocks, weights = block_bootstrap(moments, lag_index, slowest, random_state)
    replicates = autocorrelations(blocks, lag_index, spectrum, reversible, weights)
    values = timescales_from_eigenvalues(spectrum.eigenvalues, lag)
    scales = timescale_intervals(values, timescales_from_eigenvalues(replicates, lag), blocks, lag)
    independent = independent_blocks(blocks, lag_index, spectrum)
    total = float(moments.block_frames.sum())
    return [
        with_rare_events(replace(scale, n_transitions=count), float(n_blocks), total)
        for scale, count, n_blocks in zip(scales, transitions, independent, strict=False)
    ]


def in_time(scale: Timescale, step_time: float) -> Timescale:
    """A timescale in frames as one in the unit of `step_time`, the time between frames."""
    value, low, high = (None if t is None else t * step_time for t in (scale.value, scale.low, scale.high))
    return replace(scale, value=value, low=low, high=high)


def block_bootstrap(moments: Moments, lag_index: int, slowest: float, random_state: int) -> tuple[Moments, np.ndarray]:
    """Blocks long enough to be independent of each other, and how often each enters every replicate.

    Parameters
    ----------
    moments : Moments
    lag_index : int
        Blocks without a pair at this lag time are never drawn.
    slowest : float
        Slowest timescale in frames, which sets the length of a block.
    random_state : int

    Returns
    -------
    Moments
        With neighbouring blocks joined.
    ndarray (n_replicates, n_blocks)
        How often each block is drawn, all with the same chance; no rows for fewer than 5 blocks with pairs.
    """
    blocks = moments.merged(bootstrap_block_length(moments.block_frames.sum(), slowest))
    return blocks, replicate_weights(blocks.instantaneous[lag_index, :, 0, 0] > 0, random_state)


def bootstrap_block_length(total: int, slowest: float) -> float:
    """Frames per block, from all frames and the slowest timescale in frames.

    Long blocks make the replicates independent, but there must be enough of them to resample.
    """
    return min(BLOCK_RELAXATIONS * slowest, total / (2 * MIN_BLOCKS))


def replicate_weights(usable: np.ndarray, random_state: int) -> np.ndarray:
    """How often each block enters every replicate, (n_replicates, n_blocks), from which of them may be drawn.

    No rows for fewer than 5 such blocks.
    """
    drawn = np.flatnonzero(usable)
    if len(drawn) < MIN_BLOCKS:
        return np.empty((0, len(usable)))
    weights = np.zeros((N_BOOTSTRAP, len(usable)))
    random = np.random.default_rng(random_state)
    weights[:, drawn] = random.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), size=N_BOOTSTRAP)
    return weights


def percentile_interval(replicates: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper 95 % bounds over the first axis, widened for the small number n of blocks.

    The level goes from the normal to the t distribution with n − 1 degrees of freedom and the width by √(n/(n−1))
    (Hesterberg, Am. Stat. 69 (2015) 371, "expanded percentile interval").
    """
    tail = stats.norm.cdf(
        np.sqrt(n_blocks / max(n_blocks - 1, 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, max(n_blocks - 1, 1))
    )
    with np.errstate(invalid="ignore"):  # between two infinite timescales there is nothing to interpolate
        low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


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
    See `percentile_interval`. An upper bound longer than all data together is no bound and is left open.
    """
    total = blocks.block_frames.sum()
    result = []
    for k, value in enumerate(values):
        low = high = None
        if len(replicates):
            lower, upper = percentile_interval(replicates[:, k], len(blocks.stretch))
            low = float(lower) if lower > 0 else None
            high = float(upper) if 0 < upper < total else None
        reason = unresolved_reason(value, lagtime, total)
        result.append(Timescale(float(value) if 0 < value <= total else None, low, high, None, reason))
    return result


def unresolved_reason(value: float, lagtime: int, total: float) -> str | None:
    """Why a timescale in frames must not be trusted, from its value alone; None where it may be.

    Parameters
    ----------
    value : float
    lagtime : int
    total : float
        Length of all data in frames.
    """
    if not value > 0:
        return "faster than the lag time can tell"
    if value < lagtime:
        return "shorter than the lag time"
    return TOO_LONG if value > total else None


def independent_blocks(blocks: Moments, lag_index: int, spectrum: Decomposition) -> np.ndarray:
    """In how many blocks each mode varies, shape (k,): the participation ratio (Σ v_b)² / Σ v_b² of its variances."""
    functions = spectrum.eigenfunctions
    variances = np.einsum("ik,bij,jk->bk", functions.conj(), blocks.instantaneous[lag_index], functions).real
    return variances.sum(axis=0) ** 2 / (variances**2).sum(axis=0)


def with_rare_events(scale: Timescale, n_independent: float, total: float) -> Timescale:
    """Mark a process as unresolved if it was seen too rarely, and say what so few events allow.

    A mode that varies in fewer than three blocks has no bootstrap interval: its replicates either see it as a whole
    or not at all. Nor can resampling tell how often a rare event might have happened but did not: the rate of n
    independent events is known to within the exact Poisson interval of their number (Garwood, Biometrika 28 (1936)
    437), and for fewer than ten transitions the interval of the timescale is widened to hold the same factors.

    Parameters
    ----------
    scale : Timescale
        With its number of transitions, any unit.
    n_independent : float
        From `independent_blocks`.
    total : float
        Length of all data in the same unit: an upper bound beyond it is left open.
    """
    count, value = scale.n_transitions, scale.value
    if scale.unresolved is not None or value is None or count is None:
        return scale
    if n_independent < MIN_INDEPENDENT:
        scale = replace(scale, low=None, high=None, unresolved="varies in too few independent stretches of the data")
    if count >= MIN_TRANSITIONS:
        return scale
    tail = (1 - CONFIDENCE) / 2
    most = float(stats.chi2.ppf(1 - tail, 2 * (count + 1)) / 2)
    fewest = float(stats.chi2.ppf(tail, 2 * count) / 2) if count else 0.0
    low = value * max(count, 1) / most
    high = value * count / fewest if count else np.inf
    # No bound at all, where resampling gave none, cannot become one by widening; with too few blocks the events decide.
    unbounded = scale.high is None and n_independent >= MIN_INDEPENDENT
    high = max(high, scale.high or 0)
    return replace(
        scale,
        low=low if scale.low is None else min(low, scale.low),
        high=None if unbounded or high > total else high,
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
