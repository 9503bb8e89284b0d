"""Whether the data are what a fit takes them for: stationary, in detailed balance, complete and not counted twice."""

import hashlib
from collections import Counter, defaultdict

import numpy as np
from scipy import stats

from spectraldyn.data import Dataset
from spectraldyn.data.stretches import Stretches, cut_blocks, n_rows
from spectraldyn.spectra.chapman_kolmogorov import largest_difference_test
from spectraldyn.spectra.intervals import block_bootstrap
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.timescales import N_BLOCKS

MOST_MODES = 4
"""Slow modes among which currents are looked for."""
MIN_CURRENT = 0.01
"""Correlation that runs one way in time, of functions of variance 1, below which no conclusion hangs on it."""
MIN_FROZEN = 20
"""Rows in a row that do not differ, from which on a simulation has stopped moving."""
MIN_STRETCHES = 4
"""Trajectories from which on a common drift can be told from their own slow motion."""
ONE_WAY = 0.8
"""Rank correlation of a mode with the time, within all trajectories, beyond which it only tells the time."""


def current(
    modes: np.ndarray,
    stretches: Stretches,
    lagtime: int,
    slowest: float,
    random_state: int,
    weight: np.ndarray | None = None,
) -> tuple[float, float] | None:
    """Whether correlations run one way in time, which detailed balance forbids; None where data are too few to say.

    The largest |⟨h_i(x_t) h_j(x_{t+τ})⟩ − ⟨h_j(x_t) h_i(x_{t+τ})⟩| / 2 of the slow modes (n_rows, n_modes) and their
    squares, of variance 1, and the chance of one beyond it in dynamics with detailed balance: of all of them the
    largest in units of its standard error is compared with those of resampled blocks. A pair counts by the weight of
    its left end, where rows have any, (n_rows,).
    """
    slow = modes[:, :MOST_MODES].astype(np.float64)
    functions = np.hstack((slow, slow**2))
    mean = np.average(functions, axis=0, weights=weight)
    spread = np.sqrt(np.average((functions - mean) ** 2, axis=0, weights=weight))
    functions = (functions - mean) / np.maximum(spread, 1e-12)
    blocks = cut_blocks(stretches, max(1, n_rows(stretches) // N_BLOCKS))
    functions = np.column_stack((np.ones(len(functions)), functions))
    moments = lagged_moments(functions, stretches, blocks, [lagtime], tied=False, weight=weight)
    joined, draws = block_bootstrap(moments, 0, slowest, random_state)
    if not len(draws):
        return None

    def one_way(counts: np.ndarray | None) -> np.ndarray:
        operator = joined.means(0, counts)[1]
        # Whatever differs between the means of the two ends is no current.
        operator = operator - operator[..., :, :1] * operator[..., :1, :]
        above, below = np.triu_indices(operator.shape[-1], 1)
        return (operator[..., above, below] - operator[..., below, above]) / 2

    value, replicates = one_way(None), one_way(draws)
    return float(np.abs(value).max()), largest_difference_test(value, replicates, len(joined.stretch))


def drifting(modes: np.ndarray, stretches: Stretches, weight: np.ndarray | None = None) -> list[bool]:
    """Of every mode whether it moves one way in time, as in simulations that have not reached equilibrium.

    Either it does little but tell the time: its rank correlation with the time, averaged over the trajectories, is at
    least `ONE_WAY`. Or it moves the same way in many independent trajectories: the mean of its change from their first
    to their second halves is not zero by Student's t at 99.9 %. Trajectories count by the weight of their rows
    (n_rows,), where these have any.
    """
    long = [s for s in stretches if len(s) >= 10]
    if not long:
        return [False] * modes.shape[1]
    sizes = np.array([len(s) if weight is None else weight[s.start : s.stop].sum() for s in long])
    total, verdicts = sizes.sum(), []
    shares = np.ones(len(long)) if weight is None else sizes / np.maximum(sizes.mean(), np.finfo(float).tiny)
    for mode in modes.T:
        parts = [mode[s.start : s.stop] for s in long]
        told = [stats.spearmanr(np.arange(len(part)), part).statistic if np.ptp(part) else 0.0 for part in parts]
        one_way = abs(sum(size * rank for size, rank in zip(sizes, told, strict=True))) >= ONE_WAY * total
        changes = [part[len(part) // 2 :].mean() - part[: len(part) // 2].mean() for part in parts]
        changes = [share * change for share, change in zip(shares, changes, strict=True)]
        together = len(parts) >= MIN_STRETCHES and stats.ttest_1samp(changes, 0).pvalue < 1e-3
        verdicts.append(bool(one_way or together))
    return verdicts


def frozen_ends(data: Dataset) -> list[int]:
    """Of every trajectory how many of its last rows do not differ; 0 below `MIN_FROZEN`."""
    result = []
    for rows in data:
        last, count = np.asarray(rows[-1]), 1
        for start in range(len(rows) - 1, 0, -4096):
            same = (np.asarray(rows[max(0, start - 4096) : start]) == last).all(axis=1)[::-1]
            count += len(same) if same.all() else int(same.argmin())
            if not same.all():
                break
        result.append(count if count >= MIN_FROZEN else 0)
    return result


def duplicates(data: Dataset) -> list[tuple[int, ...]]:
    """Trajectories that are copies of each other: groups of their numbers, from 0."""
    lengths = Counter(map(len, data))
    groups: dict[bytes, list[int]] = defaultdict(list)
    for number, rows in enumerate(data):
        if lengths[len(rows)] > 1:
            state = hashlib.blake2b(str(rows.shape).encode())
            for _, some in Dataset([rows]).chunks():
                state.update(np.ascontiguousarray(some).data)
            groups[state.digest()].append(number)
    return [tuple(group) for group in groups.values() if len(group) > 1]
