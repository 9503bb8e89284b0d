"""Which pairs a network learns from, and which it holds out."""

import numpy as np
import pytest

from spectraldyn.estimators.pairs import N_LAGS, LaggedPairs, lag_scan

LAG = 7
STRETCHES = [range(600), range(600, 1000)]


@pytest.mark.parametrize("ready_made", [False, True])
def test_no_frame_is_both_learned_from_and_held_out(ready_made):
    """Neither end of a pair that is learned from is an end of a pair that is held out, in any of three parts."""
    random = np.random.default_rng(0)
    if ready_made:
        pairs = LaggedPairs.ready_made(1000, LAG, 0.2, random, 3)
        assert (pairs.distance, pairs.lags, len(pairs.all)) == (1000, {LAG: 1000}, 1000)
    else:
        pairs = LaggedPairs.within(STRETCHES, LAG, 0.2, random, 3)
        assert (pairs.distance, len(pairs.all)) == (LAG, 593 + 393)
        assert not np.isin(pairs.all, range(593, 600)).any()
    held_out = []
    for train, test in pairs.parts:
        learned_from, unseen = (np.union1d(part, part + pairs.distance) for part in (train, test))
        assert len(np.intersect1d(learned_from, unseen)) == 0
        assert len(train) + len(test) <= len(pairs.all)
        assert 0.1 * len(pairs.all) < len(test) < 0.3 * len(pairs.all)
        held_out.append(test)
    assert len(np.unique(np.concatenate(held_out))) == sum(map(len, held_out))  # each part holds out others


def test_nothing_held_out_without_a_share():
    (only,) = LaggedPairs.within(STRETCHES, LAG, 0.0, np.random.default_rng(0), 1).parts
    assert (len(only[0]), len(only[1])) == (593 + 393, 0)


def test_lag_times_of_the_plot():
    """From 1 to ten times the lag, at most half of the longest stretch, the lag itself among them."""
    lags = lag_scan(LAG, 600)
    assert lags[0] == 1
    assert lags[-1] == 70
    assert LAG in lags
    assert len(lags) <= N_LAGS + 1
    assert lag_scan(LAG, 80)[-1] == 40
