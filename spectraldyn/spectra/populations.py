"""Populations and free energies of the metastable sets, with error bars from resampled blocks and from refits."""

from collections.abc import Sequence

import numpy as np

from spectraldyn.spectra.intervals import LOGIT, PLAIN, Estimates, sampling_interval, with_refits
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.relearned import RelearnedSets
from spectraldyn.spectra.states import MetastableSets


def population_estimates(
    sets: MetastableSets, resampled: tuple[Moments, np.ndarray], refits: Sequence[RelearnedSets] = ()
) -> Estimates:
    """Populations (n,) of the sets with intervals, from their memberships in resampled blocks."""
    blocks, draws = resampled
    if not len(draws):
        return Estimates(sets.populations, *np.full((2, len(sets.populations)), np.nan))
    replicates = _resampled_populations(sets, blocks, draws)
    bounds = sampling_interval(sets.populations, replicates, len(blocks.stretch), LOGIT)
    estimates = Estimates(sets.populations, *bounds)
    return with_refits(estimates, *_populations_anew(sets, blocks, refits), LOGIT) if refits else estimates


def free_energies(
    sets: MetastableSets, resampled: tuple[Moments, np.ndarray], refits: Sequence[RelearnedSets] = ()
) -> Estimates:
    """Free energies (n,) of the sets less that of the first, −ln(p_i / p_1) in kT, with intervals."""
    blocks, draws = resampled
    value = _relative(sets.populations)
    if not len(draws):
        return Estimates(value, *np.full((2, len(value)), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = _relative(_resampled_populations(sets, blocks, draws))
        bounds = sampling_interval(value, replicates, len(blocks.stretch), PLAIN)
        estimates = Estimates(value, *(np.where(np.isfinite(bound), bound, np.nan) for bound in bounds))
        if not refits:
            return estimates
        anew, fixed = map(_relative, _populations_anew(sets, blocks, refits))
    return with_refits(estimates, anew, fixed, PLAIN)


def _relative(populations: np.ndarray) -> np.ndarray:
    """−ln(p_i / p_1) of populations (..., n)."""
    return np.log(populations[..., :1] / populations)


def _resampled_populations(sets: MetastableSets, blocks: Moments, draws: np.ndarray) -> np.ndarray:
    """Mean memberships (n_draws, n) of draws (n_draws, n_blocks) of these blocks."""
    first, total = np.concatenate(([0], np.cumsum(blocks.block_rows)[:-1])), blocks.block_rows
    memberships = sets.memberships
    if sets.weight is not None:
        memberships, total = sets.weight[:, None] * memberships, np.add.reduceat(sets.weight, first)
    sums = np.add.reduceat(memberships, first, axis=0, dtype=np.float64)
    return draws @ sums / (draws @ total)[:, None]


def _populations_anew(
    sets: MetastableSets, blocks: Moments, refits: Sequence[RelearnedSets]
) -> tuple[np.ndarray, np.ndarray]:
    """Populations in the blocks that refits have drawn, by their own sets and by those of the fit, (n_refits, n)."""
    anew = [_resampled_populations(refit.sets, blocks, refit.draw[None])[0] for refit in refits]
    return np.stack(anew), _resampled_populations(sets, blocks, np.stack([refit.draw for refit in refits]))
