"""Rates between metastable sets from a reversible Markov state model on clusters in the space of the modes.

The learned functions give timescales; passage times need a valid stochastic matrix, which deeptime estimates.
"""

from collections.abc import Sequence

import numpy as np
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import MaximumLikelihoodMSM

from spectraldyn.spectra.states import Clusters, MetastableSets


def mean_first_passage_times(
    clusters: Clusters, sets: MetastableSets, stretches: Sequence[range], lagtime: int, reversible: bool
) -> np.ndarray:
    """Mean first passage times between the metastable sets, in frames.

    Parameters
    ----------
    clusters : Clusters
        Of the concatenated frames.
    sets : MetastableSets
        A cluster belongs to the set its frames belong to on average.
    stretches : sequence of range
        Uninterrupted frames.
    lagtime : int
        Of the Markov state model, in frames.
    reversible : bool
        Impose detailed balance.

    Returns
    -------
    ndarray (n_states, n_states)
        Row: from, column: to. NaN where no transitions connect the two sets in both directions.
    """
    n_states = len(sets.populations)
    times = np.full((n_states, n_states), np.nan)
    np.fill_diagonal(times, 0.0)
    pieces = [clusters.assignment[s.start : s.stop] for s in stretches if len(s) > lagtime]
    counts = TransitionCountEstimator(lagtime, "sliding").fit_fetch(pieces).submodel_largest()
    if counts.n_states < 2:
        return times
    markov_model = MaximumLikelihoodMSM(reversible=reversible).fit_fetch(counts)
    n_clusters = len(clusters.centres)
    mean_membership = np.stack(
        [np.bincount(clusters.assignment, sets.memberships[:, s], n_clusters) for s in range(n_states)], axis=1
    )
    state_of_cluster = mean_membership[markov_model.count_model.state_symbols].argmax(axis=1)
    members = [np.flatnonzero(state_of_cluster == s) for s in range(n_states)]
    for source in range(n_states):
        for target in range(n_states):
            if source != target and len(members[source]) and len(members[target]):
                # deeptime returns the time in frames: it multiplies by the model's lag time itself.
                times[source, target] = markov_model.mfpt(members[source], members[target])
    return times
