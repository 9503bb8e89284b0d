"""The plateau test: exact moments, Markovian and other projections, too little data, changes on the same blocks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter

from spectraldyn.data import stretches_of
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.plateau import Change, Plateau, Source, changes, plateau, plateau_of
from spectraldyn.spectra.timescales import block_moments

SLOW, FAST = 60.0, 3.0
"""Timescales, in rows, of two independent springs."""
LAGS = [1, 2, 3, 5, 8, 12, 20, 30, 50]
LAG = 5
N_ROWS = 20_000


def springs(seed: int, n_rows: int = N_ROWS) -> np.ndarray:
    """A slow and a fast coordinate, each Gaussian with variance 1 and one exponential for its correlation, (T, 2)."""
    noise = np.random.default_rng(seed).normal(size=(2, n_rows + 1000))
    kept = [np.exp(-1 / time) for time in (SLOW, FAST)]
    return np.stack([lfilter([np.sqrt(1 - a * a)], [1, -a], x)[1000:] for a, x in zip(kept, noise, strict=True)], 1)


def moments(coordinate: np.ndarray, lags=LAGS, pieces: int = 1) -> Moments:
    """Of one function of the state and the constant."""
    functions = np.column_stack((np.ones(len(coordinate)), coordinate))
    return block_moments(functions, stretches_of([len(coordinate) // pieces] * pieces), lags, tied=True)


def exact(share: float, n_blocks: int = 40, lags=LAGS) -> Moments:
    """Blocks that all hold the exact moments of √share · slow + √(1 − share) · fast."""
    square = np.tile(np.eye(2), (len(lags), n_blocks, 1, 1))
    operator, tau = square.copy(), np.array(lags)
    operator[..., 1, 1] = (share * np.exp(-tau / SLOW) + (1 - share) * np.exp(-tau / FAST))[:, None]
    rows = np.full(n_blocks, 500)
    weight = np.ones((len(lags), n_blocks))
    return Moments(tau, square, operator, square, weight, np.zeros(n_blocks, int), rows, tied=True)


def timescale(share: float, lag: float) -> float:
    return -lag / np.log(share * np.exp(-lag / SLOW) + (1 - share) * np.exp(-lag / FAST))


def test_exact_exponential_is_level_everywhere():
    (found,) = plateau(exact(1.0), LAG, 0)
    assert (found.reached, found.from_lag, found.to_lag) == (True, 1, 50)
    assert [found.change.reference, found.change.value] == pytest.approx([SLOW, SLOW])
    assert [found.change.low, found.change.high] == pytest.approx([1, 1])


def test_exact_mixture_climbs_to_the_last_lag_before_its_timescale():
    """Half of the variance is fast: t grows from 8.5 rows at lag 5, and at lag 8 is shorter than lag 12."""
    (found,) = plateau(exact(0.5), LAG, 0)
    known = [lag for before, lag in pairwise(LAGS) if lag < timescale(0.5, before)]
    assert known[-1] == 8
    assert (found.reached, found.from_lag, found.to_lag) == (False, None, 8)
    ratio = timescale(0.5, 8) / timescale(0.5, LAG)
    assert found.change.ratio == pytest.approx(ratio)
    assert [found.change.low, found.change.high] == pytest.approx([ratio, ratio])


def test_plateau_begins_where_the_rest_of_the_climb_does_not_matter():
    """A twentieth of the variance is fast: t from lag τ on climbs by t(50)/t(τ), below 1.1 from 20 rows on."""
    (found,) = plateau(exact(0.95), LAG, 0)
    begin = next(lag for lag in LAGS if timescale(0.95, 50) < 1.1 * timescale(0.95, lag))
    assert begin == 20
    assert (found.reached, found.from_lag, found.to_lag) == (True, begin, 50)
    assert found.change.climbs
    assert found.change.ratio == pytest.approx(timescale(0.95, 50) / timescale(0.95, LAG))
    # Two thousandths do not matter anywhere.
    (found,) = plateau(exact(0.998), LAG, 0)
    assert (found.reached, found.from_lag) == (True, 1)
    assert not found.change.climbs


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_markovian_is_level_and_a_projection_climbs(share):
    """Eight samples each; the study `analysis.plateau` has more. The exact climb from lag 5 lies in the intervals."""
    reached, covered = [], []
    for seed in range(8):
        slow, fast = springs(seed).T
        (found,) = plateau(moments(np.sqrt(share) * slow + np.sqrt(1 - share) * fast), LAG, seed)
        truth = timescale(share, found.to_lag) / timescale(share, LAG)
        covered.append(found.change.low < truth < found.change.high)
        reached.append(found.reached)
    assert reached == [share == 1] * 8
    assert sum(covered) >= 7


def test_every_process_has_its_own_verdict():
    """A slow spring, and one that is seen through noise, each along its own coordinate."""
    slow = springs(0)[:, 0]
    other = np.sqrt(0.5) * springs(7, N_ROWS)[:, 0] + np.sqrt(0.5) * springs(8)[:, 1]
    functions = np.column_stack((np.ones(N_ROWS), other, slow))
    both = block_moments(functions, [range(N_ROWS)], LAGS, tied=True)
    assert [found.reached for found in plateau(both, LAG, 0)] == [True, False]


def test_sides_that_are_not_tied():
    """The same left and right functions, in one direction of time: the same verdicts."""
    slow, fast = springs(1).T
    for coordinate, reached in ((slow, True), (slow + fast, False)):
        functions = np.column_stack((np.ones(N_ROWS), coordinate, coordinate))
        (found,) = plateau(block_moments(functions, [range(N_ROWS)], LAGS, tied=False), LAG, 0)
        assert found.reached is reached


def test_too_little_to_tell():
    nothing = Plateau(None)
    assert plateau(moments(springs(0, 400)[:, 0]), LAG, 0)[0].reached is None  # intervals too wide
    assert plateau(exact(1.0, lags=[LAG]), LAG, 0) == [nothing]
    assert plateau(exact(0.0), LAG, 0) == [nothing]  # t = 3 rows, faster than the lag time asked about
    assert plateau(exact(1.0, n_blocks=4), LAG, 0) == [nothing]
    close = plateau(exact(1.0, lags=[5, 6, 8]), LAG, 0)[0]
    assert (close.reached, close.to_lag) == (None, 8)


def test_lag_times_that_chance_makes_slower_than_themselves_do_not_count():
    """A process of 10 rows: at lag 8 and 12, but not at 20, where only samples with a long timescale would remain."""
    noise = np.random.default_rng(3).normal(size=3000)
    a = np.exp(-1 / 10)
    found = plateau(moments(lfilter([np.sqrt(1 - a * a)], [1, -a], noise), LAGS), LAG, 0)[0]
    assert found.to_lag <= 12


def test_intervals_of_ratios_are_those_of_paired_replicates():
    """With all pairs alike in two lag times the ratio is certain, however uncertain the timescales are."""
    one = moments(springs(1, 4000)[:, 0], [LAG])
    twice = replace(one, lagtimes=np.array([LAG, LAG + 1]), **{
        name: np.repeat(getattr(one, name), 2, axis=0) for name in ("left", "operator", "right", "weight")
    })  # fmt: skip
    sources = [Source(twice, k, twice.eigenmodes(twice.spectrum(k), k), 0) for k in (0, 1)]
    (change,) = changes(sources, SLOW, 0)
    assert [change.ratio, change.low, change.high] == pytest.approx([(LAG + 1) / LAG] * 3)


def test_fits_of_their_own_at_every_lag_are_compared_on_the_same_blocks():
    """The same function from moments of its own at each lag is the same answer as from one fit."""
    x = moments(springs(2)[:, 0])
    sources = []
    for lag in LAGS:
        own = moments(springs(2)[:, 0], [lag])
        sources.append(Source(own, 0, own.eigenmodes(own.spectrum(0), 0), 0))
    slowest = sources[LAGS.index(LAG)].value
    assert plateau_of(sources, LAG, slowest, 4) == plateau(x, LAG, 4)[0]


@pytest.mark.parametrize(
    ("change", "climbs", "falls", "same"),
    [
        (Change(10, 12, 1.05, 1.4), True, False, False),
        (Change(10, 10.9, 1.05, 1.2), False, False, True),  # significant, but too little to matter
        (Change(10, 12, 0.95, 1.4), False, False, True),
        (Change(10, 12, 0.95, 1.6), False, False, None),
        (Change(10, 8, 0.7, 0.9), False, True, False),
        (Change(10, 8, 0.6, 1.1), False, False, None),
        (Change(10, 9.5, 0.9, 0.99), False, False, True),
    ],
)
def test_a_change_counts_where_it_is_significant_and_matters(change, climbs, falls, same):
    assert (change.climbs, change.falls, change.same) == (climbs, falls, same)
