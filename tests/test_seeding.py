"""Where further runs would tell most: variances of eigenvalues by states, and the frames that follow from them."""

import numpy as np
import pytest

from spectraldyn.data import stretches_of
from spectraldyn.errors import InputError
from spectraldyn.spectra.seeding import best_starts, connected_counts, eigenvalue_variances, expected_transitions
from spectraldyn.spectra.states import Clusters

REVERSIBLE = np.array(
    [[0.90, 0.08, 0.02, 0.0], [0.16, 0.80, 0.02, 0.02], [0.02, 0.01, 0.87, 0.10], [0.0, 0.02, 0.2, 0.78]]
)
CYCLIC = np.array([[0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.1, 0.5]])
MIDDLE = np.array([[0.99, 0.01, 0], [0.5, 0, 0.5], [0, 0.01, 0.99]])
"""Two ends and, seldom visited, what lies between them: t = −1 / ln 0.99 steps."""
LADDER = np.array([[0.99, 0.01, 0, 0], [0.9, 0, 0.1, 0], [0, 0.1, 0, 0.9], [0, 0, 0.01, 0.99]])
"""The same, of which the rare step is in the middle: it is seen a tenth as often as those out of the ends."""


def second(matrices):
    """Modulus of the second eigenvalue."""
    return np.sort(abs(np.linalg.eigvals(matrices)), axis=-1)[..., -2]


@pytest.mark.parametrize("matrix", [REVERSIBLE, CYCLIC], ids=["reversible", "cyclic"])
def test_slope_of_an_eigenvalue_is_that_of_finite_differences(matrix):
    """Of row i moved to and fro by its covariance, one direction after the other."""
    value, by_state = eigenvalue_variances(matrix)
    assert value == pytest.approx(second(matrix), rel=1e-12)
    for i, row in enumerate(matrix):
        sizes, directions = np.linalg.eigh(np.diag(row) - np.outer(row, row))
        step, slopes = 1e-6, []
        for direction in directions.T:
            moved = np.stack([matrix, matrix])
            moved[:, i] += step * np.array([[1], [-1]]) * direction
            slopes.append(np.diff(second(moved))[0] / (2 * step))
        assert by_state[i] == pytest.approx(sizes @ np.square(slopes), rel=1e-6)


def test_variance_of_an_eigenvalue_is_that_of_drawn_matrices():
    seen, random, n_draws = np.array([3000, 5000, 4000, 9000]), np.random.default_rng(0), 20_000
    drawn = np.stack([random.multinomial(n, row, n_draws) / n for n, row in zip(seen, REVERSIBLE, strict=True)], axis=1)
    by_state = eigenvalue_variances(REVERSIBLE)[1]
    # a variance is known to √(2/n) of itself, 1 %
    assert (by_state / seen).sum() == pytest.approx(np.var(second(drawn)), rel=0.04)


def walks(matrix, n_steps, starts, seed):
    """States (n_walks, n_steps) of chains."""
    random, edges = np.random.default_rng(seed), np.cumsum(matrix, axis=1)
    states = [np.array(starts)]
    for draw in random.random((n_steps - 1, len(states[0]))):
        states.append((draw[:, None] > edges[states[-1]]).sum(axis=1))
    return np.stack(states, axis=1)


def test_expected_transitions_are_those_of_walks():
    n, expected = 20_000, expected_transitions(REVERSIBLE, 6)
    for start in range(4):
        found = np.bincount(walks(REVERSIBLE, 6, [start] * n, start).ravel(), minlength=4) / n
        np.testing.assert_allclose(found, expected[start], atol=5 * 3 / np.sqrt(n))
    np.testing.assert_allclose(expected.sum(axis=1), 6)


def in_a_line(states, seed=0):
    """Clusters at 0, 1, 2, ... and rows near to them."""
    modes = states[:, None] + 0.01 * np.random.default_rng(seed).normal(size=(len(states), 1))
    return modes, Clusters(np.arange(states.max() + 1.0)[:, None], states)


def test_runs_start_where_two_sets_meet_and_no_frame_is_named_twice():
    states = walks(LADDER, 3000, [0, 3], 0)
    modes, clusters = in_a_line(states.ravel())
    starts = best_starts(modes, clusters, stretches_of([3000, 3000]), 1, 30, 3)
    assert set(starts.clusters.tolist()) == {1, 2}
    np.testing.assert_array_equal(clusters.assignment[starts.rows], starts.clusters)
    assert len(set(starts.rows.tolist())) == 30
    assert abs(np.diff(np.bincount(starts.rows // 3000)))[0] <= 2  # of both runs as many
    assert (np.diff(starts.errors) < 0).all()
    first = starts.clusters[0]
    members = np.flatnonzero(states.ravel() == first)
    assert starts.rows[0] == members[abs(modes[members, 0] - first).argmin()]
    assert starts.exits[0] == (states[:, :-1] == first).sum()  # it is left in every step


@pytest.mark.parametrize(("matrix", "lag"), [(MIDDLE, 1), (MIDDLE, 4), (CYCLIC, 1)])
def test_the_error_is_the_spread_of_repeated_simulations(matrix, lag):
    n, found, errors = 80, [], []
    for states in walks(matrix, 10_000, [0] * n, 0):
        how = {"reversible": matrix is not CYCLIC}
        starts = best_starts(*in_a_line(states), stretches_of([10_000]), lag, 1, 2 * lag, **how)
        found.append(starts.timescale)
        errors.append(starts.errors[0])
    assert np.median(found) == pytest.approx(-1 / np.log(second(matrix)), rel=0.05)
    assert np.median(errors) == pytest.approx(np.std(np.log(found)), rel=4 / np.sqrt(2 * n))


def test_the_error_that_is_foretold_is_that_after_such_runs():
    n_runs, n_rows = 500, 7
    states = walks(REVERSIBLE, 5000, [0], 1)[0]
    foretold = best_starts(*in_a_line(states), stretches_of([5000]), 1, n_runs, n_rows)
    assert foretold.errors[-1] < 0.8 * foretold.errors[0]
    further = walks(REVERSIBLE, n_rows, foretold.clusters, 2)
    together = in_a_line(np.concatenate([states, further.ravel()]))
    after = best_starts(*together, stretches_of([5000, *[n_rows] * n_runs]), 1, 1, n_rows)
    assert after.errors[0] == pytest.approx(foretold.errors[-1], rel=0.03)


def test_a_region_that_was_never_left_is_where_runs_start():
    """From 0 and 1 one step has led to 3 and 4, and none back."""
    random = np.random.default_rng(0)
    states = np.concatenate([random.integers(0, 2, 500), random.integers(3, 5, 500)])
    states[499:501] = 1, 3
    modes, clusters = in_a_line(np.where(states > 2, states - 1, states))  # 0, 1 and 2, 3
    counts, bridged = connected_counts(clusters, stretches_of([1000]), 1)
    assert bridged.tolist() == [False, True, True, False]
    assert (counts[2, 1], counts[1, 2], counts.sum()) == (0.5, 1.5, 1000)
    starts = best_starts(modes, clusters, stretches_of([1000]), 1, 10, 4)
    assert set(starts.clusters.tolist()) <= {1, 2}
    assert starts.bridged.all()
    assert starts.errors[0] > 0.5
    # two runs that never meet: there and back are the same
    apart, bridged = connected_counts(clusters, stretches_of([500, 500]), 1)
    assert bridged.tolist() == [False, True, True, False]
    assert apart[2, 1] == apart[1, 2] == 0.5


def test_what_makes_no_model_is_one_sentence():
    modes, clusters = in_a_line(walks(MIDDLE, 300, [0], 0)[0])
    with pytest.raises(InputError, match="301 runs are asked for, and there are only 300 frames to start from"):
        best_starts(modes, clusters, stretches_of([300]), 1, 301, 10)
    alone = Clusters(np.zeros((1, 1)), np.zeros(300, dtype=int))
    with pytest.raises(InputError, match="the frames make no Markov state model"):
        best_starts(modes, alone, stretches_of([300]), 1, 3, 10)
    to_and_fro = Clusters(np.array([[0.0], [1.0]]), np.arange(300) % 2)
    with pytest.raises(InputError, match="the Markov state model has no slow process"):
        best_starts(modes, to_and_fro, stretches_of([300]), 1, 3, 10)
