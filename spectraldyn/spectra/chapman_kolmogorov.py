"""The Chapman–Kolmogorov test: whether what a model says of longer times is what the data show there.

For functions h, K(τ) = C(0)⁻¹ C(τ) predicts K(nτ) = K(τ)ⁿ where they carry Markovian dynamics. Compared is what a user
knows: the probability to be in a metastable set nτ after having been there, for memberships that are linear in h.
Dynamics that are not reversible have distinct left and right functions f and g; powers need one basis at both ends,
h = (1, f, g), as a product of left–right matrices is no square of anything.

References
----------
Prinz, Wu, Sarich, Keller, Senne, Held, Chodera, Schütte, Noé, J. Chem. Phys. 134 (2011) 174105, section IV.F.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra.intervals import CONFIDENCE, Estimates, block_bootstrap, percentile_interval
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import whitening
from spectraldyn.spectra.timescales import block_moments

N_LAGS = 5
"""Multiples of the lag time at which the test is made, at most."""
REACH, LEAST_REACH = 1.5, 5
"""The largest multiple reaches to so many times the slowest timescale of the model, and to at least so many lag times,
where the data allow. A slow motion that is mixed into the functions is seen where the model has nearly forgotten."""
TOLERANCE = 0.03
"""Share of what a set remembers after one lag time by which prediction and estimate may differ: no more than if the
timescale were 8 % longer, since t e^{−t} ≤ 1/e. No conclusion would hang on that, and functions that were learned are
never exact."""


@dataclass(frozen=True)
class ChapmanKolmogorov:
    """Probabilities to be in a metastable set some time after having been there, predicted and estimated."""

    lagtimes: np.ndarray
    """(n_lags,) of int: multiples of the lag time of the model, in rows."""
    predicted: Estimates
    """(n_lags, n_states): from the model at its own lag time."""
    estimated: Estimates
    """(n_lags, n_states): from the data at that lag time."""
    memory: np.ndarray
    """(n_states,): by how much the chance to be in a set one lag time after having been there exceeds its
    population."""
    p_value: float | None
    """Of the largest difference beyond `TOLERANCE` in units of its standard error, were there none; None where the
    data are too few to resample."""

    @property
    def differences(self) -> np.ndarray:
        """Between predicted and estimated probabilities, (n_lags, n_states), as shares of the memory of the set."""
        return np.abs(self.predicted.value - self.estimated.value) / np.maximum(self.memory, np.finfo(float).tiny)

    @property
    def passes(self) -> bool | None:
        """Whether no difference is larger than `TOLERANCE` for sure, at 95 %; None without a test."""
        return None if self.p_value is None else self.p_value > 1 - CONFIDENCE


def chapman_kolmogorov(
    functions: np.ndarray,
    stretches: Stretches,
    lagtime: int,
    memberships: np.ndarray,
    *,
    tied: bool,
    slowest: float,
    random_state: int,
    weight: np.ndarray | None = None,
) -> ChapmanKolmogorov | None:
    """Compare K(τ)ⁿ with K(nτ); None where no stretch is long enough.

    Parameters
    ----------
    functions : ndarray (n_rows, M)
        [1, f] or, where the sides are not tied, [1, f, g] at every row, stretch after stretch.
    lagtime : int
        In rows.
    memberships : ndarray (M, n_states)
        Coefficients of the memberships in the functions.
    slowest : float
        Timescale of the model in rows: the test reaches to 1.5 times it, and it sets the length of resampled blocks.
    weight : ndarray (n_rows,), optional
        Of the pair that starts in every row.

    Notes
    -----
    Predictions and estimates come from the same resampled blocks, so that what they have in common cancels in their
    difference. Of all differences the largest, in units of its standard error, is compared with the largest ones in
    the replicates, less their means: one test, however many sets and lag times there are.
    """
    multiples = _multiples(lagtime, slowest, max(map(len, stretches)))
    if not len(multiples):
        return None
    moments = block_moments(functions, stretches, [lagtime, *(lagtime * multiples)], tied=tied, weight=weight)
    blocks, draws = block_bootstrap(moments, len(multiples), slowest, random_state)
    everything = np.ones((1, len(blocks.stretch)))
    value, *replicates = _probabilities(blocks, multiples, memberships, np.concatenate((everything, draws)))
    gram, operator, _ = blocks.means(0)
    memory = np.abs(_stays(operator, gram, memberships) - gram[0] @ memberships)
    if not len(replicates):
        nothing = np.full(value.shape, np.nan)
        predicted, estimated = (Estimates(*part) for part in np.stack((value, nothing, nothing), axis=1))
        return ChapmanKolmogorov(lagtime * multiples, predicted, estimated, memory, None)
    resampled = np.array(replicates)
    low, high = percentile_interval(resampled, len(blocks.stretch))
    predicted, estimated = (Estimates(*part) for part in np.stack((value, low, high), axis=1))
    p_value = largest_difference_test(
        value[0] - value[1], resampled[:, 0] - resampled[:, 1], len(blocks.stretch), TOLERANCE * memory
    )
    return ChapmanKolmogorov(lagtime * multiples, predicted, estimated, memory, p_value)


def _multiples(lagtime: int, slowest: float, longest: int) -> np.ndarray:
    """Evenly in the logarithm, from 2 on; no lag time beyond half of the longest stretch."""
    last = min(max(LEAST_REACH, REACH * slowest / lagtime), longest // (2 * lagtime))
    return np.unique(np.geomspace(2, last, N_LAGS).round().astype(int)) if last >= 2 else np.empty(0, dtype=int)


def _probabilities(blocks: Moments, multiples: np.ndarray, memberships: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n, 2, n_lags, n_states): predicted and estimated, for every row of `counts` (n, n_blocks)."""
    gram, operator, _ = blocks.means(0, counts)
    predicted = _propagated(gram, operator, multiples, memberships)
    estimated = []
    for index in range(1, len(multiples) + 1):
        gram, operator, _ = blocks.means(index, counts)
        estimated.append(_stays(operator, gram, memberships))
    return np.stack((predicted, np.stack(estimated, axis=1)), axis=1)


def _propagated(gram: np.ndarray, operator: np.ndarray, multiples: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """`_stays` of C(0) K(τ)ⁿ on the range of C(0), (..., n_lags, n_states)."""
    basis = whitening(gram)
    onto = basis.swapaxes(-1, -2)
    step, coordinates = onto @ operator @ basis, onto @ gram @ memberships
    stays = [(coordinates * (np.linalg.matrix_power(step, int(n)) @ coordinates)).sum(axis=-2) for n in multiples]
    return np.stack(stays, axis=-2) / (gram[..., :1, :] @ memberships)


def _stays(operator: np.ndarray, gram: np.ndarray, memberships: np.ndarray) -> np.ndarray:
    """⟨χ_i, T χ_i⟩ / ⟨χ_i, 1⟩ for every set i, (..., n_states)."""
    stays = np.einsum("ik,...ij,jk->...k", memberships, operator, memberships, optimize=True)
    return stays / (gram[..., 0, :] @ memberships)


def largest_difference_test(
    difference: np.ndarray, replicates: np.ndarray, n_blocks: int, tolerance: float | np.ndarray = 0.0
) -> float:
    """Chance of a largest |difference| / standard error that exceeds the tolerance by as much as that found.

    From replicates (n_replicates, ...) around the difference: all of its entries are asked about at once. With n blocks
    the error is one of Student's t with n − 1 degrees of freedom, and what was found counts as the normal deviate that
    is as rare, as in `percentile_interval`.
    """
    error, freedom = replicates.std(axis=0), max(n_blocks - 1, 1)
    error[error == 0] = np.inf
    largest = (np.abs(replicates - difference) / error).reshape(len(replicates), -1).max(axis=1)
    found = float(((np.abs(difference) - tolerance) / error).max())
    deviate = stats.norm.isf(stats.t.sf(found * np.sqrt(freedom / n_blocks), freedom))
    return float((largest >= deviate).mean())
