"""Processes in discrete time: figures known beforehand, two quadratures, and realisations with the right law."""

import numpy as np
import pytest

from spectraldyn.errors import InputError
from spectraldyn.systems import DISCRETE, MarkovChain, NoisyLogisticMap

CHAIN = DISCRETE["three-state-chain"]
MAP = DISCRETE["noisy-logistic-map"]


def test_the_chain_of_three_states():
    np.testing.assert_allclose(CHAIN.stationary @ CHAIN.matrix, CHAIN.stationary, atol=1e-14)
    np.testing.assert_allclose(CHAIN.stationary, [1 / 4, 5 / 12, 1 / 3])
    # Trace 2.3 and determinant .42 leave 0.7 and 0.6 beside the 1.
    np.testing.assert_allclose(CHAIN.eigenvalues(3), [1, 0.7, 0.6])
    # The product of the singular values is the determinant, here with equal weights before and after.
    assert np.prod(CHAIN.singular_values(3)) == pytest.approx(0.42)
    uniform = np.full(3, 1 / 3)
    kernel = np.sqrt(uniform)[:, None] * CHAIN.matrix / np.sqrt(uniform @ CHAIN.matrix)
    np.testing.assert_allclose(CHAIN.singular_values(3, uniform) ** 2, np.linalg.eigvalsh(kernel @ kernel.T)[::-1])


@pytest.mark.parametrize("start", [None, np.array([0.6, 0.3, 0.1])])
def test_singular_functions_of_the_chain(start):
    before = CHAIN.stationary if start is None else start
    after = before @ CHAIN.matrix
    left, right = CHAIN.singular_functions(3, start)
    sigma = CHAIN.singular_values(3, start)
    np.testing.assert_allclose(left.T @ (before[:, None] * left), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(right.T @ (after[:, None] * right), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(CHAIN.matrix @ right, left * sigma, atol=1e-12)


def test_a_realisation_of_the_chain_counts_its_transitions():
    states = CHAIN.simulate(60_000, seed=0)
    counts = np.zeros((3, 3))
    np.add.at(counts, (states[:-1], states[1:]), 1)
    visits = counts.sum(axis=1, keepdims=True)
    errors = np.sqrt(CHAIN.matrix * (1 - CHAIN.matrix) / visits)
    assert (np.abs(counts / visits - CHAIN.matrix) < 4 * errors).all()
    np.testing.assert_array_equal(states, CHAIN.simulate(60_000, seed=0))


def test_the_logistic_map_has_its_known_spectrum():
    singular = [1, 0.9232, 0.8923, 0.6964, 0.6573, 0.4256, 0.4037, 0.211, 0.2025]
    np.testing.assert_allclose(MAP.singular_values(9), singular, atol=3e-4)
    assert (MAP.singular_values(21) ** 2).sum() == pytest.approx(4.0105, abs=5e-5)
    assert len(MAP.singular_values(100)) == 21
    eigenvalues = MAP.eigenvalues(6)
    np.testing.assert_allclose(np.abs(eigenvalues.imag), [0, 0.191, 0.191, 0, 0, 0], atol=5e-4)
    np.testing.assert_allclose(eigenvalues.real, [1, -0.193, -0.193, -0.027, 0.022, 0.005], atol=5e-4)


def test_the_logistic_map_by_midpoints():
    """The same singular values from the transition density alone, as a chain of 200 states."""
    points = (np.arange(200) + 0.5) / 200
    chain = MarkovChain(MAP.transition_density(points[:, None], points) / 200)
    np.testing.assert_allclose(MAP.singular_values(8), chain.singular_values(8), atol=1e-4)
    np.testing.assert_allclose(MAP.stationary(points), chain.stationary * 200, rtol=1e-3)


def test_singular_functions_of_the_logistic_map():
    points = (np.arange(4000) + 0.5) / 4000
    weight = MAP.stationary(points) / 4000
    assert weight.sum() == pytest.approx(1)
    left, right = MAP.singular_functions(points, 5)
    for functions in (left, right):
        np.testing.assert_allclose(functions.T @ (weight[:, None] * functions), np.eye(5), atol=1e-4)
    kernel = MAP.transition_density(points[::200, None], points) / 4000
    np.testing.assert_allclose(kernel @ right, left[::200] * MAP.singular_values(5), atol=1e-9)


def test_a_realisation_of_the_logistic_map_correlates_as_it_should():
    states = MAP.simulate(40_000, seed=1)
    assert states.shape == (40_000, 1)
    left, right = MAP.singular_functions(states[:, 0], 4)
    products = left[:-1] * right[1:]
    errors = products.std(axis=0) / np.sqrt(len(products) / 2)
    assert (np.abs(products.mean(axis=0) - MAP.singular_values(4))[1:] < 4 * errors[1:]).all()
    # The noise is a law of its own: its variance, by quadrature.
    noise = (states[1:, 0] - 4 * states[:-1, 0] * (1 - states[:-1, 0]) + 0.5) % 1 - 0.5
    grid = (np.arange(2000) + 0.5) / 2000 - 0.5
    density = np.cos(np.pi * grid) ** 20 / (np.cos(np.pi * grid) ** 20).sum()
    exact, fourth = density @ grid**2, density @ grid**4
    assert abs(noise.mean()) < 4 * np.sqrt(exact / len(noise))
    assert abs(noise.var() - exact) < 4 * np.sqrt((fourth - exact**2) / len(noise))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MarkovChain(np.ones((2, 3)) / 3), r"square, and this one has shape \(2, 3\)"),
        (lambda: MarkovChain(np.ones((2, 2))), "rows that sum to 1"),
        (lambda: MarkovChain(np.array([[1.5, -0.5], [0.5, 0.5]])), "entries ≥ 0"),
        (lambda: NoisyLogisticMap(7), "power of the noise is 7: give an even number"),
    ],
)
def test_faults_are_named(build, message):
    with pytest.raises(InputError, match=message):
        build()
