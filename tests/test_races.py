"""The studies of speed on a little data: they run, stop where they should, and score what they train."""

import pytest

from analysis.benchmarks import batch_size, race, throughput, time_to_accuracy

SETTING = {"learning_rate": 5e-3, "batch_size": 64}


@pytest.fixture(scope="module")
def data():
    """Twenty walkers of 200 frames to learn from, as many to score on; all begin in equilibrium."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FRAMES": 200, "SCORED": 1000}.items():
            patch.setattr(race, name, value)
        yield race.simulated(0)


@pytest.mark.parametrize("name", list(time_to_accuracy.CONTESTANTS))
def test_a_race_ends_at_its_goal_or_its_limit(data, name):
    easy = time_to_accuracy.run(name, data, 0, SETTING, goal=0.01)
    assert easy["best / oracle"] >= 0.01
    clock = race.Clock(data, limit=0.0)
    time_to_accuracy.CONTESTANTS[name](clock, seed=0, **SETTING)
    assert clock.steps == 0
    assert len(clock.scores) == 1


def test_warm_start_is_what_the_clock_of_neural_svd_begins_with(data):
    """The first score is that of networks which have been through the warm start, a cold one knows next to nothing."""
    first = {}
    for name in ("NeuralSVD", "NeuralSVD, cold"):
        clock = race.Clock(data, limit=0.0)
        time_to_accuracy.CONTESTANTS[name](clock, seed=0, **SETTING)
        first[name] = clock.best
    assert first["NeuralSVD"] > first["NeuralSVD, cold"] + 0.1


def test_throughput_has_three_loops(monkeypatch):
    for name, value in {"N_FRAMES": 2000, "STEPS": 3, "ROUNDS": 1}.items():
        monkeypatch.setattr(throughput, name, value)
    rows = throughput.measure(next(iter(throughput.NETWORKS)), 128)
    assert len(rows) == 1
    assert all(rows[0][f"{loop} (ms)"] > 0 for loop in ("ours", "bare loop", "VAMPNet"))


def test_batch_sizes_are_compared_at_equal_samples(data, monkeypatch):
    """Every method has a score; ours have norms, too, and of VAMPNet's learning rates the better one counts."""
    monkeypatch.setattr(batch_size, "SAMPLES", 2048)
    monkeypatch.setattr(batch_size, "simulated", lambda seed: data)
    case = {"batch": 256, "seed": 0}
    rows = [case | row for row in batch_size.measure(case)]
    assert [row["method"] for row in batch_size.measure({"batch": 256, "seed": 9})] == [batch_size.OURS]
    assert [row["method"] for row in rows] == [*batch_size.OBJECTIVES, batch_size.VAMPNET, batch_size.VAMPNET]
    assert all(0 < row["share of the oracle"] < 1 for row in rows)
    assert all(row["norms from Ritz values (%)"] > 0 for row in rows[:3])
    best = max(row["share of the oracle"] for row in rows[3:])
    assert batch_size.table(rows, "share of the oracle")[-1]["batch 256"] == f"{best:.3f}"
