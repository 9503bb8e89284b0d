"""What functions that were learned anew from resampled blocks say: how far the results depend on the learning.

Error bars from block moments keep the functions and resample the averages. A refit resamples the data first and learns
functions from them; what it says of the same resampled data differs by the learning alone.

References
----------
Efron, Tibshirani, "An introduction to the bootstrap" (1993), ch. 8: whole blocks are drawn, and all steps of the
estimate repeated. Efron, J. Am. Stat. Assoc. 78 (1983) 316: scores on what was not drawn.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from spectraldyn.data.stretches import Stretches, pair_starts
from spectraldyn.spectra.moments import Moments, lagged_moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes
from spectraldyn.spectra.scores import split_scores
from spectraldyn.spectra.states import Clusters, MetastableSets
from spectraldyn.spectra.timescales import matched, timescales_from_eigenvalues

MIN_PAIRS = 20
"""Pairs that were not drawn below which a refit has no held-out score."""


@dataclass(frozen=True)
class RelearnedModes:
    """Functions of a refit, as far as timescales go."""

    draw: np.ndarray
    """(n_blocks,): how often each block of the data was drawn."""
    moments: Moments
    """Of the functions over the pairs that were drawn."""
    cross: np.ndarray
    """(M, M'): mean products, over all rows, of the functions of the fit and those of the refit."""

    def timescales(self, modes: Eigenmodes, lag_index: int) -> np.ndarray:
        """Timescales (k,) in rows of the processes that resemble these most; NaN where none is left.

        Modes are of the fit, and the lag time one that both have moments of.
        """
        own = self.moments.eigenmodes(self.moments.spectrum(lag_index), lag_index)
        scales = timescales_from_eigenvalues(own.values, int(self.moments.lagtimes[lag_index]))
        return np.array(matched(self.cross, own.functions, modes.functions, scales.tolist(), np.nan))


@dataclass(frozen=True)
class RelearnedSets:
    """Metastable sets of a refit, in the order of those of the fit that they resemble most."""

    draw: np.ndarray
    """(n_blocks,): how often each block of the data was drawn."""
    clusters: Clusters
    sets: MetastableSets


@dataclass(frozen=True)
class CrossValidation:
    """Scores of n refits on the pairs that each has not drawn, the constant's 1 counted; NaN where these are few."""

    vamp2: np.ndarray
    vampe: np.ndarray

    def mean(self, score: str) -> tuple[float, float]:
        """Of "vamp2" or "vampe": the mean and its standard error; NaN where fewer than two refits have a score."""
        known = getattr(self, score)[np.isfinite(getattr(self, score))]
        if len(known) < 2:
            return float("nan"), float("nan")
        return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known)))


def in_the_order_of(sets: MetastableSets, other: MetastableSets) -> MetastableSets | None:
    """The sets, as many as the others and over the same rows, in their order; None where they are not as many."""
    if len(sets.populations) != len(other.populations):
        return None
    common = other.memberships.T @ sets.memberships
    size = np.sqrt(np.outer(*((one.memberships**2).sum(axis=0) for one in (other, sets))))
    order = linear_sum_assignment(-common / size)[1]
    memberships, transformation = sets.memberships[:, order], sets.transformation[:, order]
    return replace(sets, memberships=memberships, populations=sets.populations[order], transformation=transformation)


def scores_on_the_rest(
    functions: np.ndarray,
    counts: np.ndarray,
    stretches: Stretches,
    lagtime: int,
    train: Moments,
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Scores of a refit on the pairs neither end of which it has drawn; see `split_scores`.

    Functions (n_rows, M) of the refit, how often the pair that starts in each row was drawn (n_rows,), the moments of
    what was drawn, and the weight of every pair (n_rows,).
    """
    starts, left_out = pair_starts(stretches, lagtime), counts == 0
    unseen = np.zeros(len(counts))
    unseen[starts] = left_out[starts] & left_out[starts + lagtime]
    enough = unseen.sum() >= MIN_PAIRS
    unseen = unseen if weight is None else unseen * weight
    rest = lagged_moments(functions, stretches, stretches, [lagtime], tied=train.tied, weight=unseen)
    test = rest.means() if enough else None
    return split_scores(train.means(train.at(lagtime)), test, tied=train.tied)
