"""Weights of frames in a transfer operator: from the pairs that are learned from to populations and passage times."""

import re

import numpy as np
import pytest
import torch
from problems import markov_chains, stationary

from analysis.exact_kinetics import exact_exchange
from spectraldyn import Dataset, GeneratorSVD, InputError, NeuralSVD, analyze, analyze_generator, compare_methods
from spectraldyn.data import pair_starts, stretches_of
from spectraldyn.data.weights import effective_sample_size
from spectraldyn.estimators.pairs import LaggedPairs
from spectraldyn.pipeline.verdict import on_weights
from spectraldyn.spectra.diagnostics import current, drifting
from spectraldyn.spectra.kinetics import block_counts
from spectraldyn.spectra.states import Clusters, cluster_modes
from spectraldyn.spectra.timescales import block_moments, timescales_from_eigenvalues
from spectraldyn.systems import SYSTEMS
from spectraldyn.units import TimeAxis

CHAIN = np.array([[0.96, 0.03, 0.01], [0.03, 0.96, 0.01], [0.01, 0.01, 0.98]])
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
BIASED = np.array([0.03, 0.07, 0.9])
"""Law of the states that the short runs start in, far from the equilibrium of the chain."""
LAG, LENGTH, N_RUNS = 3, 9, 4000
OPTIONS = {"hidden": (8,), "n_networks": 1, "max_steps": 60, "random_state": 0}


def test_effective_sample_size():
    assert effective_sample_size(np.full(50, 1e-200)) == pytest.approx(50)
    assert effective_sample_size(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_sample_size(np.zeros(3)) == 0


def test_pairs_are_repeated_in_proportion_to_their_weight():
    """Every count is off by less than 1, and there are as many pairs as the weights are worth."""
    weight = np.random.default_rng(0).exponential(size=2000) ** 2
    pairs = LaggedPairs.within([range(1200), range(1200, 2000)], 5, 0.2, np.random.default_rng(1), 2)
    repeated = pairs.weighted(weight)
    counts, own = np.bincount(repeated.all, minlength=2000), np.where(np.isin(np.arange(2000), pairs.all), weight, 0)
    assert counts.sum() == round(effective_sample_size(own[pairs.all]))
    assert np.abs(counts - own / own.sum() * counts.sum()).max() < 1
    for train, test in repeated.parts:
        assert len(test) > 0
        assert not set(train) & set(test)


@pytest.fixture(scope="module")
def off_equilibrium():
    """Short runs from the biased law, and the weights that make their starts those of the equilibrium.

    The weight of every pair of a run is that of the frame that it starts in: the law after k steps is known as well.
    """
    states = markov_chains(CHAIN, N_RUNS, LENGTH, 0, BIASED)
    law, weight = BIASED, np.empty(states.shape)
    for step in range(LENGTH):
        weight[:, step] = (stationary(CHAIN) / law)[states[:, step]]
        law = law @ CHAIN
    return states, weight


def test_starts_with_the_weights_of_equilibrium_give_the_exact_spectrum_and_kinetics(off_equilibrium):
    """z-scores of timescales, populations and passage times; without weights they lie far off."""
    states, weight = off_equilibrium
    data = Dataset(list(CORNERS[states]), time=TimeAxis(0.5, 2), weight=weight.ravel())
    exact = -1 / np.log(np.sort(np.linalg.eigvals(CHAIN))[1::-1])
    law = stationary(CHAIN)

    fit = NeuralSVD(2, LAG, **OPTIONS).fit(data)
    results = analyze(fit.model_, data, 3, functions=fit.functions_)
    errors = [np.log(scale.high / scale.low) / 3.92 for scale in results.timescales]
    for scale, value, error in zip(results.timescales, exact, errors, strict=True):
        assert error < 0.1
        assert abs(np.log(scale.value / value)) < 3 * error
    order = [int(np.argmax(results.sets.memberships[np.flatnonzero(states.ravel() == s)[0]])) for s in range(3)]
    assert sorted(order) == [0, 1, 2]
    found = results.populations
    z = (found.value[order] - law) / ((found.high - found.low)[order] / 3.92)
    assert np.abs(z).max() < 3
    assert (found.high - found.low).max() < 0.15
    cores = [np.array([s]) for s in np.argsort(order)]
    passages = exact_exchange(np.linalg.matrix_power(CHAIN, LAG), law, cores, LAG).mfpt
    found, between = results.kinetics.mfpt, ~np.eye(3, dtype=bool)
    value, low, high = (part[between] for part in found)
    assert np.abs(np.log(value / passages[between]) / (np.log(high / low) / 3.92)).max() < 3
    assert (high / low).max() < 2
    assert np.abs(results.sets.memberships.mean(axis=0)[order] - law).max() > 0.1
    plain = block_moments(fit.functions_, data.stretches, [LAG], tied=True)
    slowest = timescales_from_eigenvalues(plain.eigenmodes(plain.spectrum()).values, LAG)[0]
    assert abs(np.log(slowest / exact[0])) > 3 * errors[0]
    assert any("those of its biased dynamics" in judgement.message for judgement in results.verdict)
    (worth,) = on_weights(data)
    assert re.search(r"^the weights leave as much as \d+,\d+ of 36,000 frames without weights$", worth.message)


def test_large_whole_numbers_are_weights_and_repeat_nothing():
    frames, weight = np.random.default_rng(0).normal(size=(600, 1)), np.tile([1e12, 2e12], 300)
    quick = {"hidden": (4,), "n_networks": 1, "max_steps": 2, "random_state": 0}
    large, small = (NeuralSVD(1, 2, **quick).fit_fetch([frames], sample_weight=w) for w in (weight, weight / 1.5e12))
    np.testing.assert_allclose(large.eigenvalues, small.eigenvalues, rtol=1e-6)


def test_transitions_count_by_the_weight_of_their_start():
    random, stretches = np.random.default_rng(0), [range(120), range(120, 200)]
    states, weight = random.integers(0, 3, 200), random.exponential(size=200)
    functions = np.column_stack((np.ones(200), states))
    blocks = block_moments(functions, stretches, [LAG], tied=True, weight=weight)
    counts = block_counts(Clusters(np.eye(3), states, weight), stretches, blocks, LAG)
    starts, expected = pair_starts(stretches, LAG), np.zeros((3, 3))
    np.add.at(expected, (states[starts], states[starts + LAG]), weight[starts])
    np.testing.assert_allclose(counts.sum(axis=0), expected)
    np.testing.assert_allclose(counts.sum(axis=(1, 2)), blocks.weight[0])


def test_centres_of_clusters_are_weighted_means():
    modes, weight = np.array([[0.0], [1.0], [10.0], [12.0]]), np.array([1.0, 3.0, 1.0, 1.0])
    assert np.sort(cluster_modes(modes, 0, 2, weight).centres.ravel()) == pytest.approx([0.75, 11.0])


def test_weights_tell_equilibrium_from_drift():
    """Short trajectories of a chain of two states that start evenly, while 9 in 10 belong to the first."""
    chain = np.array([[0.98, 0.02], [0.18, 0.82]])
    states = markov_chains(chain, 1200, 12, 5, np.array([0.5, 0.5]))
    weight = np.repeat(np.array([0.9, 0.1])[states[:, 0]], 12)
    modes, stretches = states.reshape(-1, 1).astype(float), stretches_of([12] * 1200)
    assert drifting(modes, stretches) == [True]
    assert drifting(modes, stretches, weight) == [False]
    blurred = modes + np.random.default_rng(0).normal(0, 0.1, modes.shape)
    assert current(blurred, stretches, 2, 5.0, 0, weight)[1] > 0.002


def test_pairs_that_go_on_under_a_bias_are_told():
    """In detailed balance with the law of the chain, and not with the one that the weights lead to."""
    states = markov_chains(CHAIN, 400, 100, 1)
    modes, stretches = CORNERS[states].reshape(-1, 2), stretches_of([100] * 400)
    weight = np.array([0.2, 1.0, 1.8])[states.ravel()]
    assert current(modes, stretches, LAG, 30.0, 0)[1] > 0.002
    size, chance = current(modes, stretches, LAG, 30.0, 0, weight)
    assert size > 0.01
    assert chance < 0.002


def test_a_comparison_takes_no_weights(off_equilibrium):
    states, weight = off_equilibrium
    with pytest.raises(InputError, match="the data have weights"):
        compare_methods(Dataset(list(CORNERS[states]), weight=weight.ravel()), 1, 1)


def test_the_generator_weighs_the_populations_too():
    """Of two wells sampled at twice the temperature."""
    system = SYSTEMS["double-well-2d"]
    states = system.sample(6000, seed=0, beta=0.5)
    states = states[(states[:, 0] > 0) | (np.arange(len(states)) % 3 == 0)]
    weight = np.exp(-0.5 * system.energy(torch.from_numpy(states)).numpy()) * np.where(states[:, 0] > 0, 1, 3)
    data = Dataset([states], weight=weight)
    options = {"max_steps": 400, "learning_rate": 0.02, "batch_size": 256, "shift": 0.1, "hidden": (16,)}
    fit = GeneratorSVD(1, random_state=0, **options).fit(data)
    results = analyze_generator(fit.model_, data, 2, functions=fit.functions_)
    np.testing.assert_allclose(results.populations.value, 0.5, atol=0.05)
    assert (results.populations.low < 0.5).any()
    assert results.sets.memberships.mean(axis=0).max() > 0.65
