"""Metastable sets and passage times against exact chains."""

import numpy as np
import pytest
from problems import CHAIN, PAIRS, markov_chain, slow_modes

from spectraldyn.spectra.states import cluster_modes, memberships_of, metastable_sets


@pytest.fixture(scope="module")
def realisation():
    states = markov_chain(CHAIN, 60_000, seed=5)
    return states, slow_modes(CHAIN)[states]


def test_sets_populations_and_transformation(realisation):
    states, modes = realisation
    sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 3)
    for state, pair in enumerate(PAIRS):
        assert (sets.assignment[np.isin(states, pair)] == state).mean() > 0.99
    counted = [np.isin(states, pair).mean() for pair in PAIRS]
    np.testing.assert_allclose(sets.populations, counted, atol=0.02)
    np.testing.assert_allclose(sets.memberships.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(sets.transformation.sum(axis=1), [1, 0, 0], atol=1e-12)  # also before clipping
    assert sets.memberships.min() >= 0
    np.testing.assert_array_equal(memberships_of(modes[:50], sets.transformation), sets.memberships[:50])
