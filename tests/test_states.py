"""Metastable sets and passage times against exact chains."""

import numpy as np
import pytest
from problems import markov_chain, stationary
from scipy.linalg import solve

from spectraldyn.spectra.kinetics import mean_first_passage_times
from spectraldyn.spectra.states import cluster_modes, memberships_of, metastable_sets, representative_frames

# Three metastable pairs of states, detailed balance by construction from symmetric fluxes.
FLUX = np.array(
    [
        [30, 10, 0, 0, 0, 0],
        [10, 30, 0.3, 0, 0, 0],
        [0, 0.3, 20, 8, 0, 0],
        [0, 0, 8, 20, 0.1, 0],
        [0, 0, 0, 0.1, 8, 3],
        [0, 0, 0, 0, 3, 8],
    ]
)
CHAIN = FLUX / FLUX.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def realisation():
    states = markov_chain(CHAIN, 60_000, seed=5)
    values, vectors = np.linalg.eig(CHAIN)
    order = np.argsort(-values.real)[1:3]
    modes = vectors[:, order].real
    p = stationary(CHAIN)
    modes = (modes - p @ modes) / np.sqrt(p @ modes**2 - (p @ modes) ** 2)
    return states, modes[states]


def test_sets_populations_and_transformation(realisation):
    states, modes = realisation
    sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 3)
    pairs = [(0, 1), (2, 3), (4, 5)]
    for state, pair in enumerate(pairs):  # populations fall in this order
        assert (sets.assignment[np.isin(states, pair)] == state).mean() > 0.99
    counted = [np.isin(states, pair).mean() for pair in pairs]
    np.testing.assert_allclose(sets.populations, counted, atol=0.02)
    np.testing.assert_allclose(sets.memberships.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(sets.transformation.sum(axis=1), [1, 0, 0], atol=1e-12)  # also before clipping
    assert sets.memberships.min() >= 0
    np.testing.assert_array_equal(memberships_of(modes[:50], sets.transformation), sets.memberships[:50])


def test_passage_times_are_those_of_the_chain(realisation):
    states, modes = realisation
    clusters = cluster_modes(modes, random_state=0)
    sets = metastable_sets(modes, clusters, 3)
    stretches = [range(20_000), range(20_000, len(states))]
    times = mean_first_passage_times(clusters, sets, stretches, lagtime=1, reversible=True)
    p = stationary(CHAIN)
    for target, pair in enumerate([(0, 1), (2, 3), (4, 5)]):
        others = [s for s in range(6) if s not in pair]
        exact = solve(np.eye(4) - CHAIN[np.ix_(others, others)], np.ones(4))
        for source, start in enumerate([(0, 1), (2, 3), (4, 5)]):
            if source != target:
                inside = [others.index(s) for s in start]
                expected = np.average(exact[inside], weights=p[list(start)])
                # The rarest passage happens about 120 times in these data: 4 standard errors.
                assert times[source, target] == pytest.approx(expected, rel=0.36)
    assert np.diag(times).tolist() == [0, 0, 0]


def test_unconnected_sets_have_no_passage_time():
    modes = np.concatenate((np.full(500, -1.0), np.full(500, 1.0)))[:, None]
    modes = modes + 0.01 * np.random.default_rng(0).normal(size=modes.shape)
    clusters = cluster_modes(modes, random_state=0)
    times = mean_first_passage_times(
        clusters, metastable_sets(modes, clusters, 2), [range(500), range(500, 1000)], 1, reversible=True
    )
    assert np.isnan(times[0, 1])
    assert np.isnan(times[1, 0])


def test_representatives_belong_to_their_state_and_begin_with_the_most_typical(realisation):
    _, modes = realisation
    sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 3)
    for state, rows in enumerate(representative_frames(modes, sets, 5, random_state=0)):
        assert len(set(rows.tolist())) == 5
        assert (sets.assignment[rows] == state).all()
        centre = np.median(modes[sets.assignment == state], axis=0)
        assert np.linalg.norm(modes[rows[0]] - centre) < 0.2
