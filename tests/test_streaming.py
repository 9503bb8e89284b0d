"""Streaming rules: exact eigenvectors from an exact covariance, and from a stream of samples within its noise."""

import numpy as np
import pytest
from streaming_rules import eigengame, krasulina, noisy_power, oja, sanger

DIMENSION, COUNT = 6, 3
EIGENVALUES = np.array([2.0, 1.4, 0.9, 0.4, 0.2, 0.1])
RULES = {"oja": oja, "sanger": sanger, "krasulina": krasulina, "eigengame": eigengame}
ORDERED = ("sanger", "eigengame")
ORTHONORMAL = ("oja", "sanger", "eigengame", "noisy power")


def eigenvectors() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(DIMENSION, DIMENSION)))[0]


def step(rule: str, vectors: np.ndarray, samples: np.ndarray, rate: float) -> np.ndarray:
    return noisy_power(vectors, samples) if rule == "noisy power" else RULES[rule](vectors, samples, rate)


def start() -> np.ndarray:
    vectors = np.random.default_rng(1).normal(size=(DIMENSION, COUNT))
    return vectors / np.linalg.norm(vectors, axis=0) * 0.7


def span_error(vectors: np.ndarray) -> float:
    basis = np.linalg.qr(vectors)[0]
    exact = eigenvectors()[:, :COUNT]
    return float(np.linalg.norm(basis @ basis.T - exact @ exact.T))


def order_error(vectors: np.ndarray) -> float:
    overlaps = eigenvectors()[:, :COUNT].T @ vectors
    return float(np.linalg.norm(np.abs(overlaps) - np.eye(COUNT)))


@pytest.mark.parametrize("rule", [*RULES, "noisy power"])
def test_exact_covariance(rule):
    samples = np.sqrt(DIMENSION) * (np.sqrt(EIGENVALUES) * eigenvectors()).T  # XᵀX/n is the covariance itself
    vectors = start()
    for _ in range(1500):
        vectors = step(rule, vectors, samples, 0.1)
    assert span_error(vectors) < 1e-10
    if rule in ORDERED:
        assert order_error(vectors) < 1e-10
    if rule in ORTHONORMAL:
        assert np.linalg.norm(vectors.T @ vectors - np.eye(COUNT)) < 1e-10
    else:
        assert np.linalg.norm(vectors.T @ vectors - np.eye(COUNT)) > 0.1


@pytest.mark.parametrize("rule", [*RULES, "noisy power"])
def test_stream(rule):
    random = np.random.default_rng(2)
    # The error of the noisy power method is that of one batch: it needs larger ones.
    n_steps, batch = (60, 4000) if rule == "noisy power" else (4000, 16)
    vectors = start()
    for i in range(n_steps):
        samples = random.normal(size=(batch, DIMENSION)) * np.sqrt(EIGENVALUES) @ eigenvectors().T
        vectors = step(rule, vectors, samples, 5 / (100 + i))
    assert span_error(vectors) < 0.05
    if rule in ORDERED:
        assert order_error(vectors) < 0.05


@pytest.mark.parametrize("rule", ["oja", "krasulina"])
def test_subspace_rules_leave_the_order_open(rule):
    """From a rotated basis of the leading span they do not move: nothing in them orders it."""
    samples = np.sqrt(DIMENSION) * (np.sqrt(EIGENVALUES) * eigenvectors()).T
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(COUNT, COUNT)))[0]
    rotated = eigenvectors()[:, :COUNT] @ rotation
    assert np.linalg.norm(step(rule, rotated, samples, 0.1) - rotated) < 1e-12
    assert np.linalg.norm(sanger(rotated, samples, 0.1) - rotated) > 1e-2


def test_krasulina_with_one_vector_is_the_rule_of_1969():
    random = np.random.default_rng(4)
    w, x = random.normal(size=(DIMENSION, 1)), random.normal(size=(1, DIMENSION))
    projection = float(x[0] @ w[:, 0])
    expected = w[:, 0] + 0.1 * (projection * x[0] - w[:, 0] * projection**2 / float(w[:, 0] @ w[:, 0]))
    np.testing.assert_allclose(krasulina(w, x, 0.1)[:, 0], expected, rtol=1e-12)


def test_eigengame_ascends_the_utility_of_every_player():
    """Against finite differences of v_iᵀC v_i − Σ_{j<i} (v_iᵀC v_j)² / (v_jᵀC v_j), taken along the unit sphere."""
    random = np.random.default_rng(5)
    samples = random.normal(size=(20, DIMENSION))
    covariance = samples.T @ samples / len(samples)
    vectors = random.normal(size=(DIMENSION, COUNT))
    vectors /= np.linalg.norm(vectors, axis=0)

    def utility(i: int, v: np.ndarray) -> float:
        v = v / np.linalg.norm(v)
        before = vectors[:, :i]
        return v @ covariance @ v - sum((v @ covariance @ w) ** 2 / (w @ covariance @ w) for w in before.T)

    rate, h = 1e-6, 1e-5
    moved = (eigengame(vectors, samples, rate) - vectors) / rate
    for i in range(COUNT):
        ascent = [
            (utility(i, vectors[:, i] + h * e) - utility(i, vectors[:, i] - h * e)) / (2 * h) for e in np.eye(DIMENSION)
        ]
        np.testing.assert_allclose(moved[:, i], ascent, rtol=0, atol=2e-4 * np.linalg.norm(ascent))
