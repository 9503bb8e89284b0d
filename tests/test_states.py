"""Metastable sets and passage times against exact chains."""

import numpy as np
import pytest
from problems import CHAIN, PAIRS, markov_chain, slow_modes

from spectraldyn import Dataset, NeuralSVD, analyze
from spectraldyn.spectra.states import CoherentSets, MetastableSets, cluster_modes, memberships_of, metastable_sets


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


KEPT = 0.94
"""Share of a pair of states that is found in the next pair one step later; the others hold the rest in equal parts."""
PUSHED = np.kron(np.roll(KEPT * np.eye(3), 1, axis=1) + 0.02 * (1 - np.eye(3)) + 0.02 * np.eye(3), np.full((2, 2), 0.5))
PUSHED /= PUSHED.sum(axis=1, keepdims=True)


def test_coherent_sets_move():
    """Three pairs of states pushed around a cycle: no set is metastable, but each is found again as a whole."""
    states = markov_chain(PUSHED, 20_000, seed=0)
    corners = np.random.default_rng(0).normal(size=(6, 3))
    data = Dataset([corners[states].astype(np.float32)])
    learner = NeuralSVD(2, 1, reversible=False, hidden=(16,), max_steps=100, n_networks=1, random_state=0).fit(data)
    results = analyze(learner.model_, data, 3, functions=learner.functions_)
    pairs, partners = states // 2, results.coherent_sets.memberships.argmax(axis=1)
    for number in range(3):
        (home,) = np.unique(pairs[results.sets.assignment == number])
        (there,) = np.unique(pairs[partners == number])
        assert there == (home + 1) % 3
    exact = PUSHED[0].reshape(3, 2).sum(axis=1)[1]
    np.testing.assert_allclose(results.coherent_sets.coherence, exact, atol=0.02)  # the learned sets are a little soft
    np.testing.assert_allclose(results.coherent_sets.memberships.sum(axis=1), 1, atol=1e-6)


def test_coherence_is_a_conditional_probability():
    memberships = np.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    sets = MetastableSets(memberships, memberships.mean(axis=0), np.array([[0.5, 0.5], [0.5, -0.5]]))
    found = CoherentSets.of(sets, np.array([[1.0], [0.0], [-1.0]]), np.array([0, 1]), 1)
    np.testing.assert_allclose(found.memberships, [[1, 0], [0.5, 0.5], [0, 1]])
    assert found.coherence == pytest.approx([(1 * 0.5 + 0.25 * 0) / 1.25, (0 * 0.5 + 0.75 * 1) / 0.75])
    assert np.isnan(CoherentSets.of(sets, np.ones((3, 1)), np.array([], dtype=int), 1).coherence).all()
