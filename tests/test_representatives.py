"""Rows that show sets and processes, on made-up data of which the answer is known."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid

from spectraldyn.spectra.representatives import committor_between_ends, frames_along, set_frames, transition_frames
from spectraldyn.spectra.states import cluster_modes, metastable_sets
from spectraldyn.systems import double_well, triple_well

DENSE = np.sign(np.arange(-20, 21)) * np.arange(-20, 21) ** 2 * 1e-4
"""Points of one set that lie the closer the nearer they are to 0, where the densest of them is."""
THIN = np.linspace(1, 2, 60)
"""The others of that set, so many that its median, which is the medoid on a line, is one of them."""


def test_most_probable_frame_medoid_and_spread_of_a_set():
    """A set of 101 rows among 300 of another, in any order; its core are the rows of membership 0.9."""
    random = np.random.default_rng(0)
    place = np.concatenate((DENSE, THIN, 10 + random.random(300)))
    membership = np.where(np.arange(401) % 2, 0.6, 0.9)
    membership[101:] = 0.1
    order = random.permutation(401)
    modes, memberships = place[order, None], np.stack((membership, 1 - membership), axis=1)[order]
    first, second = set_frames(modes, memberships, 4, random_state=0)
    assert modes[first[0], 0] == 0
    assert modes[first[1], 0] == np.median(np.concatenate((DENSE, THIN)))
    # Two further ones, nearest to the middles of the two lumps of the core, the larger one first.
    thin = np.delete(THIN[1::2], 4)  # without the medoid
    assert modes[first[2], 0] == thin[np.abs(thin - thin.mean()).argmin()]
    assert abs(modes[first[3], 0]) == pytest.approx(4e-4)
    assert (memberships[first[2:], 0] == 0.9).all()
    assert len(set(second.tolist())) == 4
    assert (modes[second] >= 10).all()
    for wanted in (1, 2):
        np.testing.assert_array_equal(set_frames(modes, memberships, wanted, 0)[0], first[:wanted])
    everything = set_frames(modes, memberships, 1000, 0)[0]
    assert set(everything.tolist()) == set(np.flatnonzero(modes[:, 0] < 5).tolist())
    assert len(everything) == 101


def test_spread_covers_the_core():
    """Five lumps of one set, of 100 rows each: with five frames of the spread every lump is shown once."""
    random = np.random.default_rng(1)
    corners = np.array([[0, 0], [3, 0], [0, 3], [-3, 0], [0, -3]])
    modes = np.repeat(corners, 100, axis=0) + 0.1 * random.normal(size=(500, 2))
    (rows,) = set_frames(modes, np.ones((500, 1)), 7, random_state=0)
    assert sorted((rows[2:] // 100).tolist()) == [0, 1, 2, 3, 4]
    assert rows[1] < 100  # in the midst of them


def test_sets_of_few_or_equal_frames():
    """A set of one frame, one of three equal ones, and one without any."""
    modes, memberships = np.array([[1.0], [0], [0], [0]]), np.eye(3)[[1, 0, 0, 0]]
    equal, one, none = set_frames(modes, memberships, 5, random_state=0)
    assert set(equal.tolist()) == {1, 2, 3}
    assert one.tolist() == [0, 0]  # most probable, and medoid
    assert none.tolist() == []
    modes = np.repeat([[0.0], [1.0]], 100, axis=0)
    (rows,) = set_frames(modes, np.ones((200, 1)), 9, random_state=0)
    assert len(set(rows[1:].tolist())) == 8


def test_stored_in_single_precision_the_same_frames_are_shown():
    random = np.random.default_rng(2)
    modes, memberships = random.normal(size=(3000, 3)), random.dirichlet(np.ones(3), size=3000)
    single = modes.astype(np.float32), memberships.astype(np.float32)
    for one, other in zip(set_frames(modes, memberships, 9, 0), set_frames(*single, 9, 0), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(frames_along(modes, 0, 9), frames_along(single[0], 0, 9))


def lines(*ends, n=2000, width=0.02, seed=0):
    """Points evenly spread along straight lines from each end to the next, of a little width."""
    random = np.random.default_rng(seed)
    pieces = [a + random.random((n, 1)) * (np.array(b) - a) for a, b in pairwise(ends)]
    return np.concatenate(pieces) + width * random.normal(size=(n * (len(ends) - 1), 2))


def test_frames_along_a_mode_rise_evenly_and_keep_to_the_path():
    """Past a lump of as many frames, off the path but with the same value of the mode."""
    path = lines([-1.0, 0], [1, 0])
    aside = np.array([0.0, 5.0]) + 0.1 * np.random.default_rng(1).normal(size=(2000, 2))
    modes = np.concatenate((path, aside))
    for n_frames in (2, 15, 40):
        rows = frames_along(modes, 0, n_frames)
        value = modes[rows, 0]
        assert len(rows) == n_frames
        assert (np.diff(value) > 0).all()
        even = np.linspace(*np.quantile(modes[:, 0], [0.0005, 0.9995]), n_frames)
        np.testing.assert_allclose(value, even, rtol=0, atol=0.01)
        assert np.abs(modes[rows, 1]).max() < 0.1
    assert frames_along(modes, 0, 1).shape == (1,)


def test_a_part_that_only_frames_off_the_path_have_is_left_out():
    path = lines([-1.0, 0], [1, 0])
    modes = np.concatenate((path[np.abs(path[:, 0]) > 0.3], lines([-0.3, 5], [0.3, 5])))
    for n_frames in (21, 200):
        rows = frames_along(modes, 0, n_frames)
        assert np.abs(modes[rows, 1]).max() < 0.1
        gap = np.diff(modes[rows, 0])
        assert np.count_nonzero(gap > 0.5) == 1
        assert len(rows) == pytest.approx(0.7 * n_frames, abs=1.5)


def test_single_frames_at_a_barrier_are_on_the_path_though_fast_modes_differ():
    """Between two wells lie five frames, which differ in a fast mode by 1.6 standard deviations, one to the next."""
    random = np.random.default_rng(3)
    slow = np.concatenate((1 - 0.05 * random.random(1000), 0.05 * random.random(1000) - 1, np.linspace(-0.8, 0.8, 5)))
    modes = np.column_stack((slow, random.normal(size=(2005, 2))))
    modes[2000:, 1:] = [[0.8, 0], [-0.8, 0], [0.8, 0], [-0.8, 0], [0.8, 0]]
    assert set(range(2000, 2005)) < set(frames_along(modes, 0, 15).tolist())


def test_a_path_that_bends_is_followed():
    """From one end over a third place to the other: no frame lies on the straight way."""
    modes = lines([-1.0, 0], [0, 3], [1, 0])
    rows = frames_along(modes, 0, 11)
    assert len(rows) == 11
    np.testing.assert_allclose(modes[rows, 1], 3 - 3 * np.abs(modes[rows, 0]), atol=0.3)
    assert modes[rows, 1].max() > 2.5
    sideways = modes[frames_along(modes, 1, 11)]
    assert (np.diff(sideways[:, 1]) > 0).all()
    # Where the range has two branches, one of them is kept to.
    assert len(set(np.sign(sideways[:8, 0]))) == 1


def test_committor_and_transition_state_of_the_double_well():
    """Against the committor between the bottoms of the wells, ∫ e^{βU}, for a tilted barrier, whose top is not at 0."""
    well = double_well(barrier=5.0, tilt=1.0)
    x = well.sample(20_000, seed=0)
    modes = well.eigenfunctions(x, 1)
    sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 2)
    q = committor_between_ends(sets.memberships, modes[:, 0])
    at = np.linspace(-1.02, 0.97, 4001)
    exact = cumulative_trapezoid(np.exp(5 * (at**2 - 1) ** 2 + at), at, initial=0)
    exact /= exact[-1]
    upwards = modes[x[:, 0] > 0.8, 0].mean() > modes[x[:, 0] < -0.8, 0].mean()
    between = np.abs(x[:, 0]) < 0.9
    expected = np.interp(x[between, 0], at, exact if upwards else 1 - exact)
    np.testing.assert_allclose(q[between], expected, atol=0.02)
    rows = transition_frames(q, 5)
    assert len(rows) == 5
    middle = at[np.abs(exact - 0.5).argmin()]
    assert middle > 0.02
    assert np.abs(x[rows, 0] - middle).max() < 0.02
    off = np.abs(q - 0.5)
    np.testing.assert_array_equal(off[rows], np.sort(off)[:5])
    assert np.abs(q[transition_frames(q, 10**6)] - 0.5).max() <= 0.1
    assert len(transition_frames(q, 10**6)) == np.count_nonzero(off <= 0.1)


def test_committor_where_several_sets_share_an_end_and_others_are_at_none():
    """Means of the mode −1, −0.9, 0 and 3: both first sets make up the lower end."""
    means = np.array([-1.0, -0.9, 0.0, 3.0])
    memberships = np.concatenate(
        (np.repeat(np.eye(4), 100, axis=0), [[0.2, 0.3, 0, 0.5], [0.05, 0.1, 0.15, 0.7], [0.4, 0, 0.3, 0.3]])
    )
    q = committor_between_ends(memberships, memberships @ means)
    np.testing.assert_array_equal(q[:200], 0)
    assert np.isnan(q[200:300]).all()
    np.testing.assert_array_equal(q[300:400], 1)
    np.testing.assert_allclose(q[400:402], [0.5, 0.7 / 0.85])
    assert np.isnan(q[402])
    assert transition_frames(q, 5).tolist() == [400]
    assert transition_frames(np.full(3, np.nan), 5).tolist() == []


def test_transition_states_of_the_triple_well_lie_at_its_saddles():
    """Two deep wells at (∓1, 0) and a shallow one at (0, 5/3): the slowest mode tells the deep ones apart, and by
    symmetry each is reached first with probability ½ at x = 0, on either way."""
    well = triple_well()
    x = well.sample(20_000, seed=1)
    modes = well.eigenfunctions(x, 2)
    sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 3)
    rows = transition_frames(committor_between_ends(sets.memberships, modes[:, 0]), 5)
    assert len(rows) == 5
    assert np.abs(x[rows, 0]).max() < 0.15
    along = x[frames_along(modes, 0, 15)]
    assert (np.sign(along[[0, -1], 0]) == np.sign(modes[np.abs(x[:, 0] - 1).argmin(), 0]) * np.array([-1, 1])).all()
    assert np.abs(along[[0, -1], 0]).min() > 0.5
