"""Rates between metastable sets from a reversible Markov state model on clusters in the space of the modes.

The learned functions give timescales; passage times need a valid stochastic matrix, which deeptime estimates.
"""

from itertools import permutations

import numpy as np
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import MaximumLikelihoodMSM

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra.states import Clusters, MetastableSets


def mean_first_passage_times(
    clusters: Clusters, sets: MetastableSets, stretches: Stretches, lagtime: int, reversible: bool
) -> np.ndarray:
    """Mean first passage times between the metastable sets in frames, (n_states, n_states), from row to column.

    A cluster of the concatenated frames belongs to the set its frames belong to on average. The Markov state model has
    this lag time in frames and, where reversible, detailed balance. NaN where no transitions connect two sets in both
    directions.
    """
    n_states = len(sets.populations)
    times = np.full((n_states, n_states), np.nan)
    np.fill_diagonal(times, 0.0)
    pieces = [clusters.assignment[s.start : s.stop] for s in stretches if len(s) > lagtime]
    counts = TransitionCountEstimator(lagtime, "sliding").fit_fetch(pieces).submodel_largest()
    if counts.n_states < 2:
        return times
    try:
        markov_model = MaximumLikelihoodMSM(reversible=reversible).fit_fetch(counts)
    except RuntimeError:  # where so few transitions connect the clusters that the likelihood has no maximum within them
        return times
    membership = [np.bincount(clusters.assignment, m, len(clusters.centres)) for m in sets.memberships.T]
    state_of_cluster = np.argmax(membership, axis=0)[markov_model.count_model.state_symbols]
    members = [np.flatnonzero(state_of_cluster == s) for s in range(n_states)]
    for source, target in permutations(range(n_states), 2):
        if len(members[source]) and len(members[target]):
            # deeptime returns the time in frames: it multiplies by the model's lag time itself.
            times[source, target] = markov_model.mfpt(members[source], members[target])
    return times
