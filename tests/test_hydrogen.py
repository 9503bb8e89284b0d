"""The two-dimensional hydrogen atom: the rule that integrates it, and the first two shells learned."""

import numpy as np

from analysis.distances import angle_distance, level_distance, orthogonality, subspace_distance
from analysis.hydrogen import SYSTEM, learn, metrics, quadrature, sampler


def test_the_quadrature_and_the_sampler_integrate_the_states():
    import torch

    points, weight = quadrature()
    exact = SYSTEM.eigenfunctions(points, 9)
    np.testing.assert_allclose(exact.T @ (weight[:, None] * exact), np.eye(9), atol=1e-7)
    batch = sampler(400_000, torch.Generator().manual_seed(0))
    functions = SYSTEM.eigenfunctions(batch.x.double().numpy(), 4)
    terms = batch.weight.numpy()[:, None, None] * functions[:, :, None] * functions[:, None, :]
    z = (terms.mean(axis=0) - np.eye(4)) / (terms.std(axis=0) / np.sqrt(len(terms)))
    assert np.abs(z).max() < 4


def test_distances_are_zero_for_exact_functions_and_see_a_rotation_only_across_levels():
    points, weight = quadrature(100, 24)
    exact = SYSTEM.eigenfunctions(points, 4)
    angle = 0.3
    within, across = np.eye(4), np.eye(4)
    within[1:3, 1:3] = across[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for rotation, is_far in ((within, False), (across, True)):
        learned = 3 * exact @ rotation
        assert abs(subspace_distance(learned, exact, weight)) < 1e-9
        assert abs(orthogonality(learned, weight)) < 1e-9
        per_level, angles = (f(learned, exact, weight, (1, 3)) for f in (level_distance, angle_distance))
        if is_far:
            # The first level turns by the angle, the second loses sin² of one of its three functions.
            assert np.isclose(per_level, np.sin(angle) ** 2 * (1 + 1 / 3) / 2, atol=1e-6)
            assert np.isclose(angles, 2 / np.pi * angle / 2, rtol=0.1)
        else:
            assert per_level < 1e-9
            assert angles < 1e-4


def test_two_shells_are_learned():
    result = metrics(learn(1200, 0, n_modes=4, width=16, learning_rate=1e-2, progress=False), (1, 3))
    assert result["largest eigenvalue error (%)"] < 1
    assert result["largest error of the norms (%)"] < 3
    assert result["subspace distance, whole span"] < 0.01
    assert result["subspace distance, per level"] < 0.01
