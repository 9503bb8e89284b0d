"""How many metastable sets: cut where the timescales have a gap for sure."""

import numpy as np
import pytest
from problems import CHAIN, EXCHANGING, PAIRS, exchanging_frames, markov_chain, slow_modes

from spectraldyn import Dataset, NeuralSVD, analyze
from spectraldyn.pipeline.resampled import resampled_blocks
from spectraldyn.pipeline.sets import Gap, last_sure_gap
from spectraldyn.pipeline.verdict import on_number_of_sets
from spectraldyn.spectra.states import MetastableSets

ALIKE = np.full((3, 3), 0.02) + 0.94 * np.eye(3)
"""Two processes that are equally slow: eigenvalues 0.94 twice."""
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def fitted(frames: np.ndarray, lag: int = 2):
    data = Dataset(list(np.array_split(frames.astype(np.float32), 20)))
    model = NeuralSVD(2, lag, hidden=(8,), max_steps=30, n_networks=1, random_state=0).fit_fetch(data)
    return model, data, resampled_blocks(model, np.concatenate(model.transform(list(data))), data)


def gap_of(frames: np.ndarray, n_slow: int, lag: int = 2) -> Gap | None:
    model, _, resampled = fitted(frames, lag)
    return last_sure_gap(model, resampled, n_slow)


def test_the_last_gap_is_that_to_the_lag_time():
    """Exact timescales −1/ln 0.97 = 32.8 and −1/ln 0.95 = 19.5 frames, lag 2."""
    gap = gap_of(exchanging_frames(20_000), 2)
    assert gap.process == 2
    assert gap.low < 19.5 / 2 < gap.high < 1.4 * gap.low
    single = gap_of(exchanging_frames(20_000), 1)
    assert single.process == 1
    assert single.low < 32.8 / 2 < single.high


def test_processes_that_are_equally_slow_are_not_cut_apart():
    """At a lag time of about both timescales neither is surely slower than it, nor than the other."""
    states = markov_chain(ALIKE, 20_000, seed=0)
    frames = CORNERS[states] + 0.01 * np.random.default_rng(0).normal(size=(20_000, 2))
    assert gap_of(frames, 2).process == 2
    near = gap_of(frames, 2, lag=16)  # −1/ln 0.94 is 16.2 frames
    assert not near.sure


def test_a_rare_pair_is_cut_off_where_the_faster_process_is_hardly_slower_than_the_lag_time():
    """Three pairs of states; 3 sets at a short lag time, 2 at one within the error of the second timescale."""
    frames = slow_modes(CHAIN)[markov_chain(CHAIN, 60_000, seed=1)]
    values = np.sort(np.linalg.eigvals(CHAIN).real)[::-1]
    second = int(-1 / np.log(values[2]))
    short, long = gap_of(frames, 2, lag=5), gap_of(frames, 2, lag=second)
    assert (short.process, len(PAIRS)) == (2, 3)
    assert long.process == 1
    assert long.low > 1


def test_without_slow_processes_or_resampled_blocks_nothing_is_said():
    model, _, resampled = fitted(exchanging_frames(2000))
    assert [last_sure_gap(model, resampled, n).to_lag for n in (1, 2)] == [True, True]
    assert last_sure_gap(model, resampled, 0) is None
    assert last_sure_gap(model, (resampled[0], resampled[1][:0]), 2) is None


def test_the_verdict_says_why_there_are_so_many_sets():
    model, data, _ = fitted(exchanging_frames(20_000))
    results = analyze(model, data)
    assert len(results.sets.populations) == len(EXCHANGING)
    assert "3 metastable sets: the last sure gap in the timescales is that after process 2, a factor of " in str(
        results
    )
    assert "the last sure gap" not in str(analyze(model, data, 3))


@pytest.mark.parametrize("gap", [None, Gap(2, 1.1, 0.9, 1.3), Gap(1, 9.0, 8.0, 10.0)])
def test_a_number_that_no_gap_explains_is_not_explained(gap):
    assert on_number_of_sets(MetastableSets(np.eye(3), np.ones(3) / 3, np.eye(3)), gap) == []


def test_a_gap_without_end_is_written_as_such():
    sets = MetastableSets(np.eye(2), np.ones(2) / 2, np.eye(2))
    (said,) = on_number_of_sets(sets, Gap(1, np.inf, 3.0, 1.8e308))
    assert said.message.endswith("after process 1, a factor of ∞ (3 – ∞)")


def test_a_gap_to_the_lag_time_is_called_that():
    sets = MetastableSets(np.eye(2), np.ones(2) / 2, np.eye(2))
    (said,) = on_number_of_sets(sets, Gap(1, 3.0, 2.5, 3.5, to_lag=True))
    assert said.message.endswith(") to the lag time")
