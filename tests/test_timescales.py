"""Error bars judged against the spread they claim, and what counts as resolved."""

import numpy as np
import pytest
from scipy.signal import lfilter

from spectraldyn.data import cut_blocks, stretches_of
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.intervals import (
    LOGARITHM,
    LOGIT,
    block_bootstrap,
    participation,
    percentile_interval,
    rayleigh_quotients,
    sampling_interval,
)
from spectraldyn.spectra.moments import lagged_moments

TAU = 30.0


def autoregressive(n_frames: int, n_trajectories: int, seed: int) -> list[np.ndarray]:
    """Stationary Gaussian processes with autocorrelation e^{−t/τ}."""
    random = np.random.default_rng(seed)
    decay = np.exp(-1 / TAU)
    noise = random.normal(size=(n_trajectories, n_frames)) * np.sqrt(1 - decay**2)
    noise[:, 0] = random.normal(size=n_trajectories)
    return list(lfilter([1], [1, -decay], noise, axis=1))


def estimate(trajectories: list[np.ndarray], lag: int = 10) -> its.Timescale:
    functions = np.column_stack((np.ones(sum(map(len, trajectories))), np.concatenate(trajectories)))
    stretches = stretches_of([len(t) for t in trajectories])
    moments = its.block_moments(functions, stretches, [lag], tied=True)
    return its.read_off_timescales(moments, functions, stretches, lag, random_state=0)[lag][0]


@pytest.mark.parametrize(
    "layout",
    [[(20_000, 1)], [(4_000, 1)], [(2_500, 8)], [(10_000, 1), (60, 150)]],
    ids=["one long", "one short", "eight", "long and short"],
)
def test_intervals_cover_the_exact_timescale_as_often_as_they_claim(layout):
    """95 % intervals over 150 independent data sets: the number that misses is binomial."""
    n_sets = 150
    missed, z = 0, []
    for seed in range(n_sets):
        scale = estimate([t for i, part in enumerate(layout) for t in autoregressive(*part, seed=1000 * i + seed)])
        missed += not scale.low <= TAU <= scale.high
        z.append((np.log(scale.value) - np.log(TAU)) / ((np.log(scale.high) - np.log(scale.low)) / 3.92))
    expected = 0.05 * n_sets
    assert abs(missed - expected) < 3.5 * np.sqrt(expected)
    assert 0.75 < np.std(z) < 1.25


@pytest.mark.parametrize("tied", [True, False])
def test_rayleigh_quotients_of_all_data_are_the_eigenvalues(tied):
    trajectories = autoregressive(5000, 2, seed=1)
    both = np.stack([np.concatenate(trajectories), np.concatenate(trajectories) ** 2], axis=1)
    functions = np.column_stack((np.ones(len(both)), both) if tied else (np.ones(len(both)), both, both))
    stretches = stretches_of([5000, 5000])
    moments = lagged_moments(functions, stretches, cut_blocks(stretches, 500), [5], tied=tied)
    modes = moments.eigenmodes(moments.spectrum())
    assert modes.values[0] == pytest.approx(np.exp(-5 / TAU), abs=0.02)
    np.testing.assert_allclose(rayleigh_quotients(moments, 0, modes), modes.values, atol=1e-12)


def test_too_few_blocks_give_no_interval():
    trajectories = autoregressive(400, 2, seed=0)
    functions = np.column_stack((np.ones(800), np.concatenate(trajectories)))
    stretches = stretches_of([400, 400])
    moments = lagged_moments(functions, stretches, stretches, [1], tied=True)
    blocks, counts = block_bootstrap(moments, 0, 30, random_state=0)
    assert counts.shape == (0, 2)
    (scale,) = its.timescale_intervals(np.array([30.0]), np.empty((0, 1)), blocks, 1)
    assert (scale.low, scale.high) == (None, None)


def test_unresolved_timescales_say_why():
    moments = lagged_moments(np.ones((100, 1)), [range(100)], cut_blocks([range(100)], 10), [5], tied=True)
    replicates = np.full((50, 4), 20.0)
    replicates[:10, 3] = 500.0
    values = np.array([20.0, 3.0, 0.0, 120.0])
    good, short, none, long = its.timescale_intervals(values, replicates, moments, lagtime=5)
    assert good.unresolved is None
    assert short.unresolved == "shorter than the lag time"
    assert (none.value, none.unresolved) == (None, "faster than the lag time can tell")
    assert long.unresolved == "longer than all data together"
    assert long.high is None


def test_timescales_from_real_negative_and_complex_eigenvalues():
    values = its.timescales_from_eigenvalues(np.array([np.exp(-0.5), -0.3, 0.0, 1.0]), 5)
    assert values[:3] == pytest.approx([10.0, 0.0, 0.0])
    assert values[3] == np.inf
    # A negative real eigenvalue stays one in the company of a complex pair.
    values = its.timescales_from_eigenvalues(np.array([0.5j, -0.5j, -0.4]), 5)
    assert values == pytest.approx([-5 / np.log(0.5), -5 / np.log(0.5), 0.0])


def test_transitions_need_to_reach_the_other_core():
    mode = np.concatenate(
        (np.zeros(50), np.full(5, 0.5), np.zeros(50), np.linspace(0, 1, 9), np.ones(50), np.zeros(40))
    )
    stretches = [range(len(mode))]
    assert its.count_transitions(mode, stretches) == 2
    assert its.count_transitions(mode, [range(130), range(130, len(mode))]) == 2
    # Cut between the two basins: the passage itself is not seen.
    assert its.count_transitions(mode, [range(164), range(164, len(mode))]) == 1


def test_rare_events_widen_the_interval_to_that_of_their_number():
    """Three events: the exact 95 % Poisson interval is 0.619 to 8.767 (tables)."""
    seen = its.Timescale(300.0, 250.0, 310.0, n_transitions=3)
    wide = its.with_rare_events(seen, 20, total=10_000)
    assert wide.low == pytest.approx(300 * 3 / 8.767, rel=1e-3)
    assert wide.high == pytest.approx(300 * 3 / 0.6187, rel=1e-3)
    assert wide.unresolved == "only 3 transitions seen"
    assert its.with_rare_events(seen, 20, total=1000).high is None
    never = its.with_rare_events(its.Timescale(300.0, 250.0, 310.0, n_transitions=0), 20, total=10_000)
    assert (never.high, never.unresolved) == (None, "only 0 transitions seen")
    often = its.Timescale(300.0, 250.0, 310.0, n_transitions=10)
    assert its.with_rare_events(often, 20, total=10_000) == often


def test_modes_that_vary_in_few_blocks_have_no_bootstrap_interval():
    functions = np.ones((100, 3))
    functions[:, 1] = np.tile([-1, 1], 50)
    functions[:10, 2] = np.tile([3, -3], 5)
    functions[10:, 2] = 0
    moments = lagged_moments(functions, [range(100)], cut_blocks([range(100)], 10), [2], tied=True)
    v = moments.spectrum().left
    variances = np.einsum("ik,bij,jk->bk", v, moments.left[0], v)
    everywhere, once = sorted(participation(variances), reverse=True)
    assert everywhere > 8
    assert once < 2
    scale = its.Timescale(50.0, 40.0, 60.0, n_transitions=80)
    assert its.with_rare_events(scale, everywhere, 1000) == scale
    lost = its.with_rare_events(scale, once, 1000)
    assert (lost.low, lost.high) == (None, None)
    assert lost.unresolved == "varies in too few independent stretches of the data"


def test_blocks_without_pairs_are_never_drawn():
    functions = np.column_stack((np.ones(130), np.random.default_rng(0).normal(size=130)))
    stretches = [range(100), *(range(a, a + 3) for a in range(100, 130, 3))]
    blocks = [*(range(a, a + 10) for a in range(0, 100, 10)), *stretches[1:]]
    moments = lagged_moments(functions, stretches, blocks, [5], tied=True)
    joined, counts = block_bootstrap(moments, 0, 1.0, random_state=0)
    empty = joined.weight[0] == 0
    assert empty.sum() == 10
    assert not counts[:, empty].any()
    assert (counts.sum(axis=1) == (~empty).sum()).all()


def test_rayleigh_quotients_remove_the_mean_of_every_replicate():
    """A replicate of the first block alone, where the mode stays in one state most of the time."""
    random = np.random.default_rng(0)
    mode = np.concatenate((random.normal(2.0, 1.0, 500), random.normal(-2.0, 1.0, 500)))
    functions = np.column_stack((np.ones(1000), mode))
    stretches = [range(500), range(500, 1000)]
    moments = lagged_moments(functions, stretches, stretches, [1], tied=True)
    modes = moments.eigenmodes(moments.spectrum())
    assert modes.values[0] > 0.7
    (alone,) = rayleigh_quotients(moments, 0, modes, np.array([[1.0, 0.0]]))
    ends = np.concatenate((mode[:499], mode[1:500])) - np.concatenate((mode[:499], mode[1:500])).mean()
    assert alone[0] == pytest.approx(ends[:499] @ ends[499:] / (ends @ ends / 2), abs=1e-10)


def test_infinite_replicates_make_no_remark():
    """Resampled blocks in which a process is never seen leave it without an upper bound, and numpy nothing to say."""
    replicates = np.concatenate((np.linspace(10, 20, 150), np.full(50, np.inf)))[:, None]
    low, high = percentile_interval(replicates, 100)
    assert 10 < low[0] < 11
    assert not np.isfinite(high[0])


def test_the_longer_arm_of_an_interval_counts_on_both_sides_of_the_value():
    """On the logarithm; but an arm without an end says nothing of the other."""
    replicates = np.exp(np.column_stack((np.linspace(-0.3, 0.1, 401), np.linspace(-0.1, 0.3, 401))))
    low, high = percentile_interval(replicates, 10)
    np.testing.assert_allclose(high[1] * low[0], 1.0, rtol=1e-5)
    shorter, longer = high[0], high[1]
    assert 1.05 < shorter < 1.12 < 1.3 < longer < 1.35
    value = np.ones(2)
    np.testing.assert_allclose(
        sampling_interval(value, replicates, 10, LOGARITHM), [[1 / longer] * 2, [longer] * 2], rtol=1e-5
    )
    replicates[-40:] = np.inf
    below, above = sampling_interval(value, replicates, 10, LOGARITHM)
    assert not np.isfinite(above).any()
    np.testing.assert_array_equal(below, percentile_interval(replicates, 10)[0])
    shares = np.linspace(0.0, 0.9, 401)[:, None]
    low, high = sampling_interval(np.array([0.5]), shares, 10, LOGIT)
    np.testing.assert_allclose(low + high, 1.0)
    assert low[0] == pytest.approx(percentile_interval(shares, 10)[0][0])


def test_processes_keep_their_transitions_where_they_swap_order_with_the_lag():
    """A slow process half hidden in white noise, of autocorrelation ½ 0.99^τ, and a quick one of 0.9^τ: the quick one
    is first up to 7 rows, the slow one beyond."""
    random = np.random.default_rng(0)
    n_rows = 40_000
    slow, quick = (np.cumsum(random.random(n_rows) < p) % 2 * 2.0 - 1 for p in (0.005, 0.05))
    functions = np.column_stack((np.ones(n_rows), slow + random.normal(size=n_rows), quick))
    stretches = [range(n_rows)]
    moments = its.block_moments(functions, stretches, [2, 30], tied=True)
    for fitted, other in ((2, 30), (30, 2)):
        by_lag = its.read_off_timescales(moments, functions, stretches, fitted, random_state=0)
        counts = {lag: [scale.n_transitions for scale in scales] for lag, scales in by_lag.items()}
        n_quick = counts[fitted][0 if fitted == 2 else 1]
        assert n_quick == np.count_nonzero(np.diff(quick))
        assert counts[other] == counts[fitted][::-1]
        assert counts[fitted][0] != counts[fitted][1]


def test_more_processes_than_at_the_lag_of_the_fit_have_no_transitions_of_their_own():
    """Three modes here and two there: of the overlaps 0.9, 0.8, ... the best assignment, and None for what is left."""
    modes, others = (np.eye(4)[:, 1 : k + 1] for k in (2, 3))
    gram = np.eye(4)
    gram[1:, 1:] = [[0.1, 0.9, 0.0], [0.2, 0.3, 0.0], [0.8, 0.7, 1.0]]
    assert its.matched(gram, modes, others, [11, 22], None) == [22, None, 11]
