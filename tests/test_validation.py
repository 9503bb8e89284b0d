"""Chapman–Kolmogorov test, checks of the data and the verdict: on data built to trigger each, and built not to."""

import dataclasses
import re

import numpy as np
import pytest
from problems import LIVELY, markov_chains, slow_modes

from analysis.verdicts import BAD, GOOD, judged
from spectraldyn import Dataset
from spectraldyn.pipeline import verdict
from spectraldyn.pipeline.remarks import Judgement, in_order
from spectraldyn.pipeline.sets import sets_of_modes
from spectraldyn.pipeline.verdict import concluded, on_data, on_events, on_markovianity
from spectraldyn.spectra.chapman_kolmogorov import ChapmanKolmogorov, chapman_kolmogorov, largest_difference_test
from spectraldyn.spectra.diagnostics import current, drifting, duplicates, frozen_ends
from spectraldyn.spectra.kinetics import membership_coefficients, passages_between
from spectraldyn.spectra.plateau import Change, Plateau
from spectraldyn.spectra.states import Clusters, metastable_sets
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import SYSTEMS
from spectraldyn.units import TimeAxis

PIECE = 500
QUICK = {"n_networks": 1, "max_steps": 100}
"""Training after which the verdicts on whole fits are those of the study, `analysis.verdicts`."""
CYCLE = np.array([[0.8, 0.18, 0.02], [0.02, 0.8, 0.18], [0.18, 0.02, 0.8]])
"""Runs one way round; in equilibrium all three states are alike."""


def pieces(states: np.ndarray) -> list[range]:
    return [range(a, a + PIECE) for a in range(0, states.size, PIECE)]


def ck_of(values: np.ndarray, states: np.ndarray, memberships: np.ndarray, lag: int, tied: bool = True):
    """The test on functions with these values (n_states, M) at every state of a chain."""
    options = {"tied": tied, "slowest": 30.0, "random_state": 0}
    return chapman_kolmogorov(values[states.ravel()], pieces(states), lag, memberships, **options)


def exact_sets(states: np.ndarray):
    """Functions [1, two slow modes] of the lively chain, and the coefficients of its three sets in them."""
    modes, flat = slow_modes(LIVELY), states.ravel()
    sets = metastable_sets(modes[flat], Clusters(modes, flat), 3)
    return np.column_stack((np.ones(6), modes)), membership_coefficients(sets, np.eye(3)[:, 1:])


def test_exact_modes_pass():
    """Over ten data sets at most two p-values lie below 5 %."""
    p_values = []
    for seed in range(10):
        states = markov_chains(LIVELY, 60, PIECE, seed)
        values, memberships = exact_sets(states)
        test = ck_of(values, states, memberships, 2)
        p_values.append(test.p_value)
        assert (test.lagtimes[0], test.lagtimes[-1]) == (4, 44)  # 1.5 times the slowest timescale, in whole lag times
        inside = (test.estimated.low <= test.estimated.value) & (test.estimated.value <= test.estimated.high)
        assert inside.all()
    assert sum(p < 0.05 for p in p_values) <= 2
    assert np.mean(p_values) > 0.3


def test_what_is_predicted_is_the_power_of_the_matrix():
    """With all functions of the six states there are, prediction and estimate agree to the sampling error of 60,000."""
    states = markov_chains(LIVELY, 120, PIECE, 3)
    values = np.column_stack((np.ones(6), np.eye(6)[:, :5]))
    memberships = np.linalg.solve(values, np.eye(6))[:, :2]  # the first two states themselves
    test = ck_of(values, states, memberships, 2, tied=False)
    exact = [np.diag(np.linalg.matrix_power(LIVELY, int(lag)))[:2] for lag in test.lagtimes]
    np.testing.assert_allclose(test.predicted.value, exact, atol=0.015)
    np.testing.assert_allclose(test.estimated.value, exact, atol=0.015)


def test_functions_that_depend_on_others_change_no_prediction():
    states = markov_chains(LIVELY, 20, PIECE, 3)
    values, coefficients = exact_sets(states)
    more = np.column_stack((values, values[:, 1] - values[:, 2], np.zeros(6)))
    plain, padded = (
        ck_of(values, states, coefficients, 2),
        ck_of(more, states, np.pad(coefficients, ((0, 2), (0, 0))), 2),
    )
    for one, other in zip(plain.predicted, padded.predicted, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9)
    assert padded.p_value == plain.p_value


def test_lumped_states_with_memory_fail(monkeypatch):
    """All states but the first are seen as one: how soon it is left depends on whether that was the neighbour."""
    states = markov_chains(LIVELY, 60, PIECE, 0)
    seen = np.column_stack((np.ones(6), [1.0, 0, 0, 0, 0, 0]))
    test = ck_of(seen, states, np.array([[0.0, 1.0], [1.0, -1.0]]), 1)
    assert test.p_value == 0
    assert test.passes is False
    assert test.differences.max() > 0.2
    monkeypatch.setattr("spectraldyn.spectra.chapman_kolmogorov.TOLERANCE", 2 * test.differences.max())
    assert ck_of(seen, states, np.array([[0.0, 1.0], [1.0, -1.0]]), 1).p_value == 1


def test_too_short_trajectories_are_not_ck_of():
    states = markov_chains(LIVELY, 60, PIECE, 0)
    values, memberships = exact_sets(states)
    assert ck_of(values, states, memberships, PIECE // 2) is None
    one = chapman_kolmogorov(
        values[states[0]], [range(PIECE)], 2, memberships, tied=True, slowest=200.0, random_state=0
    )
    assert one is not None
    assert one.lagtimes[-1] <= PIECE // 2


@pytest.mark.parametrize(("chain", "runs"), [(CYCLE, True), ((CYCLE + CYCLE.T) / 2, False)])
def test_currents_of_a_chain(chain, runs):
    """The first two functions of the three states, of variance 1: (P − Pᵀ)/2 between them, exactly."""
    angle = 2 * np.pi * np.arange(3) / 3
    values = np.sqrt(2) * np.column_stack((np.cos(angle), np.sin(angle)))
    states = markov_chains(chain, 40, PIECE, 1)
    found, p_value = current(values[states.ravel()], pieces(states), 1, 10.0, 0)
    exact = abs(values[:, 0] @ (chain - chain.T) @ values[:, 1]) / 6
    assert (p_value == 0) == runs
    assert exact == pytest.approx(0.1386 if runs else 0, abs=1e-4)
    assert found == pytest.approx(exact, abs=0.02) or not runs


def test_drift():
    random = np.random.default_rng(0)
    noise, time = random.normal(size=(8, 1000)), np.linspace(-1, 1, 1000)
    flat = noise.reshape(-1, 1)
    stretches = [range(a, a + 1000) for a in range(0, 8000, 1000)]
    assert drifting(flat, stretches) == [False]
    assert drifting((noise + 0.5 * time).reshape(-1, 1), stretches) == [True]  # together, by a third of the spread
    assert drifting((noise + 0.5 * np.where(np.arange(8) < 4, 1, -1)[:, None] * time).reshape(-1, 1), stretches) == [
        False
    ]
    assert drifting((noise[0] + 8 * time)[:, None], [range(1000)]) == [True]  # one run that only tells the time
    assert drifting(noise[0][:, None], [range(1000)]) == [False]


def test_frozen_ends_and_copies():
    random = np.random.default_rng(0)
    runs = [random.normal(size=(100, 2)) for _ in range(3)]
    assert frozen_ends(Dataset(runs)) == [0, 0, 0]
    assert duplicates(Dataset(runs)) == []
    stopped = [runs[0], np.vstack((runs[1], np.tile(runs[1][-1], (30, 1)))), np.tile(runs[2][:1], (5000, 1))]
    assert frozen_ends(Dataset(stopped)) == [0, 31, 5000]
    assert duplicates(Dataset([runs[0], runs[1], runs[0].copy(), runs[2]])) == [(0, 2)]
    said = on_data(Dataset([stopped[0], stopped[1], stopped[0]]), random.normal(size=(330, 1)))
    assert [one.level for one in said] == ["problem", "problem"]
    assert "the same trajectory was given 2 times (trajectory 1, trajectory 3)" in said[0].message
    assert "the last 31 frames of trajectory 2 do not differ" in said[1].message


def test_events_and_order():
    counts = np.array([[0, 5, 1], [5, 0, 0], [1, 0, 0]])
    (one,) = on_events(type("Kinetics", (), {"n_passages": counts})())
    assert one.message.startswith("set 3 was entered once")
    assert on_events(type("Kinetics", (), {"n_passages": 5 * counts})()) == []
    levels = [Judgement(level, level) for level in ("good", "problem", "caution")]
    assert [one.level for one in in_order(levels)] == ["problem", "caution", "good"]


def test_what_may_be_quoted():
    scales = [Timescale(1840.0, 1670.0, 2040.0), Timescale(20.0, None, None), Timescale(9.0, 8.0, 10.0, 3, "why")]
    time = TimeAxis(1.0)
    (good,) = concluded([], scales, time)
    assert str(good) == "process 1: 1.84 ns (1.67 – 2.04) may be quoted"
    passed, drift = Judgement("good", "the test is passed"), Judgement("problem", "the trajectories drift")
    first, none = concluded([passed, drift], scales, time)
    assert first == drift
    assert (none.level, none.message) == ("problem", "no timescale should be quoted before this is mended")
    unresolved = Judgement("problem", "timescale unresolved", process=3)
    assert [one.level for one in concluded([passed, unresolved], scales, time)] == ["problem", "good", "good"]
    assert concluded([], scales[1:], time)[0].message == "no timescale may be quoted"


def test_a_climb_in_words(monkeypatch):
    """Of the first two processes: one still climbs, the other is level from lag 20 on; the third is unresolved."""
    climb = Change(100.0, 150.0, 1.2, 1.8)
    found = [Plateau(False, None, 40, climb), Plateau(True, 20, 40, climb), Plateau(False, None, 40, climb)]
    monkeypatch.setattr(verdict, "plateau", lambda *arguments: found)
    settings = type("Settings", (), {"seed": 0})()
    model = type("Model", (), {"reversible": True, "lagtime": 10, "moments": None, "settings": settings})()
    scales = [Timescale(200.0, 150.0, 250.0), Timescale(90.0, 80.0, 99.0), Timescale(9.0, 8.0, 10.0, 3, "why")]
    first, second = verdict.on_plateau(model, scales, TimeAxis(2.0))
    assert (first.level, first.process) == (second.level, second.process - 1) == ("caution", 1)
    assert "still climbs with the lag time, from 200 to 300 ps at 80 ps" in first.message
    assert str(second).endswith("up to 40 ps: it is a lower bound; take `lag` 40ps")
    found[:] = [Plateau(True, 5, 40, climb), Plateau(None), Plateau(None)]
    assert verdict.on_plateau(model, scales, TimeAxis(2.0)) == []


def test_a_test_in_words():
    states = markov_chains(LIVELY, 60, PIECE, 0)
    seen = np.column_stack((np.ones(6), [1.0, 0, 0, 0, 0, 0]))
    failed = ck_of(seen, states, np.array([[0.0, 1.0], [1.0, -1.0]]), 1)
    data = Dataset([np.zeros((10, 1))], time=TimeAxis(2.0))
    (said,) = on_markovianity(failed, data)
    assert said.level == "problem"
    assert said.message.startswith("the Chapman–Kolmogorov test fails: after ")
    passed: ChapmanKolmogorov = dataclasses.replace(failed, p_value=0.5)
    assert on_markovianity(passed, data)[0].level == "good"
    assert on_markovianity(dataclasses.replace(failed, p_value=0.01), data) == []
    assert on_markovianity(None, data)[0].level == "caution"


@pytest.mark.parametrize("name", ["driven dynamics taken as reversible", "lag too short"])
def test_verdicts_on_bad_data(name):
    row = judged(name, BAD[name], 0, **QUICK)
    assert row["seen"], row["said"]
    assert any("no timescale should be quoted" in sentence for sentence in row["said"])


def test_a_lag_that_is_too_long_comes_with_one_that_shows_the_process():
    """Of 90 frames, exactly 18.01 / 0.2."""
    said = " ".join(judged("double well", dataclasses.replace(GOOD["double well"], lag=200), 0, **QUICK)["said"])
    (found,) = re.findall(r"with a lag time of \d+ ps there is one of about (\d+) ps", said)
    assert float(found) == pytest.approx(90, rel=0.2)


def test_verdict_on_good_data():
    assert judged("double well", GOOD["double well"], 0, **QUICK)["said"] == []


def test_a_difference_counts_from_where_it_is_surely_larger_than_the_tolerance():
    """Errors of 0.01: 0.08 lies three of them above 0.05, 0.05 just there, and of ten one may be two off by chance."""
    replicates = 0.01 * np.random.default_rng(0).normal(size=(2000, 1, 1))
    for difference, tolerance, p_value in ((0.08, 0.05, 0.0027), (0.05, 0.03, 0.0455), (0.04, 0.05, 1.0)):
        value = np.full((1, 1), difference)
        found = largest_difference_test(value, value + replicates, 10**6, tolerance)
        assert found == pytest.approx(p_value, abs=4 * np.sqrt(p_value / 2000))
    several = 0.01 * np.random.default_rng(0).normal(size=(2000, 1, 10))
    largest = largest_difference_test(np.full((1, 10), 0.07), np.full((1, 10), 0.07) + several, 10**6, 0.05)
    assert largest == pytest.approx(1 - (1 - 0.0455) ** 10, abs=0.05)


def test_a_difference_between_few_blocks_is_one_of_students_t():
    """Means of six normal numbers: one test in twenty rejects at 95 %, where replicates alone do one in nine."""
    random, p_values = np.random.default_rng(0), []
    for _ in range(1000):
        blocks = random.normal(size=6)
        draws = random.multinomial(6, np.full(6, 1 / 6), size=500)
        p_values.append(largest_difference_test(blocks.mean()[None], (draws @ blocks / 6)[:, None], 6))
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 1000))


def test_the_far_end_of_a_set_is_none_of_its_own():
    """Of a spring, whose modes are x and x² − 1: only on one side, in these data, is x² reached more than once."""
    runs = SYSTEMS["ornstein-uhlenbeck"].simulate(3000, 0.1, seed=5, n_walkers=4)
    stretches = [range(3000 * k, 3000 * (k + 1)) for k in range(4)]
    x = np.concatenate(runs)[:, 0]
    modes = np.column_stack((x, x**2))
    modes = (modes - modes.mean(axis=0)) / modes.std(axis=0)
    _, three, _ = sets_of_modes(modes, 3, 5)
    assert passages_between(three, stretches).max(axis=0).min() == 1
    _, fewer, _ = sets_of_modes(modes, 3, 5, stretches)
    assert len(fewer.populations) == 2
    assert passages_between(fewer, stretches).max(axis=0).min() > 10
