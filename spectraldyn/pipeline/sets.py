"""Metastable sets of a fit: how many, and which frames show them."""

from dataclasses import dataclass

import numpy as np

from spectraldyn.data.stretches import Stretches
from spectraldyn.errors import InputError
from spectraldyn.estimators import NeuralSVDModel
from spectraldyn.spectra.intervals import percentile_interval, rayleigh_quotients
from spectraldyn.spectra.kinetics import passages_between
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.representatives import set_frames
from spectraldyn.spectra.states import Clusters, MetastableSets, cluster_modes, metastable_sets
from spectraldyn.spectra.timescales import timescales_from_eigenvalues

REPRESENTATIVES = 5
"""Frames written for every metastable set."""


def check_states(n_states: int | None, n_modes: int) -> None:
    """InputError where so many modes cannot tell so many metastable sets apart."""
    if n_states is not None and not 2 <= n_states <= n_modes + 1:
        raise InputError(
            f"`n_states` is {n_states}: with {n_modes} modes there can be 2 to {n_modes + 1} metastable sets"
        )


def sets_of_modes(
    modes: np.ndarray, n_states: int, seed: int, stretches: Stretches | None = None, weight: np.ndarray | None = None
) -> tuple[Clusters, MetastableSets, list[np.ndarray]]:
    """Clusters in the space of the modes, the metastable sets that they make, and rows that represent these.

    Given the stretches of processes all of which were seen often, there are only so many sets that each was entered
    more than once, but at least two: what was entered once is the far end of another set. Rows count by their weight
    (n_rows,) where there is one.
    """
    clusters = cluster_modes(modes, seed, weight=weight)
    sets = metastable_sets(modes, clusters, n_states)
    while stretches is not None and (n := len(sets.populations)) > 2:
        if passages_between(sets, stretches).max(axis=0).min() > 1:
            break
        sets = metastable_sets(modes, clusters, n - 1)
    return clusters, sets, set_frames(modes, sets.memberships, REPRESENTATIVES, seed)


MIN_GAP = 1.1
"""Ratio of timescales that a gap surely exceeds: of two that are equally slow, the larger is so by chance."""


@dataclass(frozen=True)
class Gap:
    """Between the timescales of successive processes."""

    process: int
    """The slower one, from 1."""
    ratio: float
    """Of its timescale to that of the next, or to the lag time where it is the last one."""
    low: float
    high: float
    """low and high: 95 % interval of the ratio."""
    to_lag: bool = False
    """It is the one to the lag time."""

    @property
    def sure(self) -> bool:
        """It is there in resampled data, too."""
        return self.low > MIN_GAP


def last_sure_gap(model: NeuralSVDModel, resampled: tuple[Moments, np.ndarray], n_slow: int) -> Gap | None:
    """The last of the gaps after n slow processes that is one in resampled data, too; see `MIN_GAP`.

    Sets that are cut off between processes that are almost equally slow would be others in the next simulation. The
    largest gap where none is sure; None without slow processes or resampled data.
    """
    blocks, draws = resampled
    if not (n_slow and len(draws)):
        return None
    lag, at = model.lagtime, model.moments.at(model.lagtime)
    modes, after = model.eigenmodes, np.full((1, 1), float(lag))

    def ratios(eigenvalues: np.ndarray) -> np.ndarray:
        slow = timescales_from_eigenvalues(eigenvalues, lag)[:, :n_slow]
        with np.errstate(divide="ignore", invalid="ignore"):
            return slow / np.hstack((slow[:, 1:], np.broadcast_to(after, (len(slow), 1))))

    (value,) = ratios(modes.values[None])
    low, high = percentile_interval(
        np.nan_to_num(ratios(rayleigh_quotients(blocks, at, modes, draws))), len(blocks.stretch)
    )
    sure = np.flatnonzero(low > MIN_GAP)
    which = int(sure[-1] if len(sure) else value.argmax())
    return Gap(which + 1, float(value[which]), float(low[which]), float(high[which]), bool(which + 1 == n_slow))
