"""Metastable sets and passage times against exact chains."""

import numpy as np
import pytest
from problems import markov_chain, markov_chains, passage_times, stationary

from spectraldyn import Dataset, NeuralSVD, analyze
from spectraldyn.spectra.kinetics import mean_first_passage_times
from spectraldyn.spectra.states import Clusters, cluster_modes, memberships_of, metastable_sets
from spectraldyn.units import TimeAxis

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
PAIRS = [(0, 1), (2, 3), (4, 5)]
"""By falling population."""
LIVELY = np.where(np.isin(FLUX, [0.3, 0.1]), 1.5, FLUX)
LIVELY /= LIVELY.sum(axis=1, keepdims=True)
"""The same with so many passages between the pairs that their times are known to a few per cent."""


def slow_modes(chain: np.ndarray) -> np.ndarray:
    """The two slowest modes, of mean 0 and variance 1, for every state."""
    values, vectors = np.linalg.eig(chain)
    modes = vectors[:, np.argsort(-values.real)[1:3]].real
    p = stationary(chain)
    return (modes - p @ modes) / np.sqrt(p @ modes**2 - (p @ modes) ** 2)


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


def test_passage_times_are_those_of_the_chain_at_every_lag():
    """Over 16 data sets: the mean lies within 4 standard errors, which are below 2 %; a factor of 1.1 would be seen.

    Pieces of 500 rows, so that passages that lead from one to the next, were they counted, would be seen as well.
    """
    modes = slow_modes(LIVELY)
    for lag in (1, 4, 10):
        found = []
        for seed in range(16):
            states = markov_chains(LIVELY, 100, 500, seed)
            clusters = Clusters(modes, states.ravel())
            sets = metastable_sets(modes[states.ravel()], clusters, 3)
            stretches = [range(a, a + 500) for a in range(0, states.size, 500)]
            found.append(mean_first_passage_times(clusters, sets, stretches, lag, reversible=seed % 2 == 0))
        mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 4
        exact = passage_times(LIVELY, PAIRS, lag)
        assert np.diag(mean).tolist() == [0, 0, 0]
        off = ~np.eye(3, dtype=bool)
        assert (error[off] < 0.02 * exact[off]).all()
        assert (np.abs(mean - exact)[off] < 4 * error[off]).all()


def test_passage_times_of_an_analysis_are_in_its_unit_of_time():
    """At lag 10 of rows that are 3 stored frames of 2 ps apart, learned from 100,000 rows of 200 trajectories."""
    states = markov_chains(LIVELY, 200, 500, seed=0)
    corners = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    data = Dataset(list(corners[states]), time=TimeAxis(2.0, 3))
    fit = NeuralSVD(2, 10, hidden=(16,), max_steps=20, random_state=0).fit(data)
    results = analyze(fit.model_, data, 3, functions=fit.functions_)
    exact = passage_times(LIVELY, PAIRS, 10)
    # A round trip ends so often, and the times of single passages scatter by about their mean.
    passages = states.size / (exact + exact.T + np.eye(3))
    z = (results.mfpt / (6 * exact + np.eye(3)) - 1 + np.eye(3)) * np.sqrt(passages)
    assert passages.min() > 300
    assert np.abs(z).max() < 4 < 0.25 * np.sqrt(passages.min())


def test_unconnected_sets_have_no_passage_time():
    modes = np.concatenate((np.full(500, -1.0), np.full(500, 1.0)))[:, None]
    modes = modes + 0.01 * np.random.default_rng(0).normal(size=modes.shape)
    clusters = cluster_modes(modes, random_state=0)
    times = mean_first_passage_times(
        clusters, metastable_sets(modes, clusters, 2), [range(500), range(500, 1000)], 1, reversible=True
    )
    assert np.isnan(times[0, 1])
    assert np.isnan(times[1, 0])
