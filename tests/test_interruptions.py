"""Runs that stop: signals, full disks, damaged states. The same command goes on, and comes to the same numbers."""

import errno
import json
import logging
import signal
from functools import partial

import numpy as np
import pytest
import torch

import spectraldyn
from spectraldyn.cli import main
from spectraldyn.errors import StateWarning
from spectraldyn.estimators import NeuralSVD
from spectraldyn.learning import keeping
from spectraldyn.learning.loop import Schedule, _Run
from spectraldyn.networks import Sides
from spectraldyn.pipeline.run import Run

SMALL = {"n_networks": 1, "warm_start": False, "max_steps": 40, "hidden": (4,), "random_state": 0}
COMMAND = ["fit", "x.npy", "--lag", "2", "--modes", "1", "--quiet", "--out", "out"]
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def frames():
    random = np.random.default_rng(0)
    return np.column_stack([np.sign(np.sin(np.arange(600) / 9)), np.zeros(600)]) + 0.3 * random.normal(size=(600, 2))


@pytest.fixture
def here(frames, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    np.save("x.npy", frames)
    return tmp_path / "here"


@pytest.fixture
def straight(frames):
    return NeuralSVD(1, 2, **SMALL).fit_fetch(frames)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def kept(store):
    return [name for name in names(store) if name.startswith(("fits-", "training-", "."))]


def raising_at(step, number):
    """`_Run.advance`, in whose call of that number a signal comes."""
    advance, calls = _Run.advance, []

    def stopped(run, take_step):
        calls.append(run.step)
        if len(calls) == step:
            signal.raise_signal(number)
        return advance(run, take_step)

    return stopped


def test_a_signal_waits_for_the_end_of_a_step_and_none_is_lost(frames, straight, tmp_path, monkeypatch):
    estimator = NeuralSVD(1, 2, checkpoint_folder=tmp_path, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "advance", raising_at(7, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(frames)
    (file,) = tmp_path.rglob("*.pt")
    assert torch.load(file, weights_only=True)["progress"]["step"] == 7
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    np.testing.assert_array_equal(estimator.fit_fetch(frames).eigenvalues, straight.eigenvalues)
    assert names(tmp_path) == []


def test_the_state_is_kept_by_the_clock_where_evaluations_are_far_apart(frames, straight, tmp_path, monkeypatch):
    save, steps = _Run.save, []
    monkeypatch.setattr(_Run, "save", lambda run, path: (steps.append(run.step), save(run, path)))
    monkeypatch.setattr("spectraldyn.learning.loop.EVALUATIONS", 1)
    monkeypatch.setattr(keeping, "KEPT_EVERY", 0.0)
    NeuralSVD(1, 2, checkpoint_folder=tmp_path, **SMALL).fit(frames)
    assert steps == [*range(1, 41), *range(1, 21)]
    steps.clear()
    monkeypatch.setattr(keeping, "KEPT_EVERY", 1e9)
    monkeypatch.setattr("spectraldyn.learning.loop.EVALUATIONS", 4)
    NeuralSVD(1, 2, checkpoint_folder=tmp_path, **SMALL).fit(frames)
    assert steps == [40, 20]  # evaluations within two seconds of each other, but for the last ones
    steps.clear()
    monkeypatch.setattr(keeping, "KEPT_AT_EVALUATIONS", 0.0)
    NeuralSVD(1, 2, checkpoint_folder=tmp_path, **SMALL).fit(frames)
    assert steps == [10, 20, 30, 40, 5, 10, 15, 20]


def without(*path):
    def damage(stored):
        for name in path[:-1]:
            stored = stored[name]
        del stored[path[-1]]

    return damage


def with_other(value, *path):
    def damage(stored):
        for name in path[:-1]:
            stored = stored[name]
        stored[path[-1]] = value(stored[path[-1]]) if callable(value) else value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        without("parts"),
        without("parts", "averaged"),
        without("parts", "optimiser", "state", 0),
        without("progress", "step"),
        with_other("x", "generator"),
        with_other(lambda state: state[:-1], "generator"),
        with_other(99, "progress", "step"),
        with_other([], "progress", "losses"),
        with_other({}, "progress", "kept"),
        lambda stored: next(iter(stored["parts"]["sides"].values())).fill_(torch.nan),
        lambda stored: stored["parts"]["sides"].update(dict.fromkeys(stored["parts"]["sides"], torch.zeros(3))),
        lambda stored: stored["parts"]["optimiser"]["state"][0]["exp_avg"].resize_(1),
        None,
        "cut",
        "flipped",
    ],
)
def test_a_damaged_state_is_told_and_training_begins_anew(damage, tmp_path):
    file, run = tmp_path / "state.pt", small_run()
    for _ in range(3):
        run.advance(
            partial(run.take_step, lambda f, g, x: f(x).square().mean(), lambda loss, state: (loss, state), ROWS)
        )
    run.note(0.5, 0.5)
    run.save(file)
    taken_up = small_run()
    taken_up.load(file.read_bytes(), file)
    assert taken_up.step == 3
    if callable(damage):
        stored = torch.load(file, weights_only=True)
        damage(stored)
        torch.save(stored, file)
    else:
        content = file.read_bytes()
        file.write_bytes({None: b"garbage", "cut": content[:-200], "flipped": flipped(content)}[damage])
    fresh, generator = small_run(), torch.Generator().manual_seed(0).get_state()
    with pytest.warns(StateWarning, match=r"the state of training in .* is damaged, training begins anew"):
        fresh.load(file.read_bytes(), file)
    assert fresh.step == 0
    assert torch.equal(fresh.generator.get_state(), generator)
    torch.testing.assert_close(dict(fresh.sides.named_parameters()), dict(small_run().sides.named_parameters()))


ROWS = torch.linspace(-1, 1, 10).reshape(5, 2)


def small_run():
    torch.manual_seed(0)
    return _Run(Sides(torch.nn.Linear(2, 30)), Schedule(40), torch.Generator().manual_seed(0))


def flipped(content):
    """With one byte of the first array changed."""
    place = content.index(b"data/0") + 150
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.usefixtures("quick")
def test_what_was_trained_is_kept_until_the_results_are_written(here, feature_store, monkeypatch, capfd):
    assert main([*COMMAND[:-1], "straight"]) == 0
    assert kept(feature_store) == []
    with monkeypatch.context() as patch:
        patch.setattr("spectraldyn.report.write._write_json", lambda *_: (_ for _ in ()).throw(FULL))
        capfd.readouterr()
        assert main(COMMAND) == 2
    said = capfd.readouterr().err
    assert said.startswith(
        "spectraldyn: error: out cannot be written (No space left on device): make room, or give --out"
    )
    assert "what was trained is kept" in said
    assert f"(log: {here / 'out-log.txt'})" in said
    assert names(here) == ["out-log.txt", "straight", "x.npy"]
    assert "No space left on device" in (here / "out-log.txt").read_text()
    assert [name[:5] for name in kept(feature_store)] == ["fits-"]
    monkeypatch.setattr(NeuralSVD, "fit", None)
    assert main([*COMMAND[:-1], "elsewhere"]) == 0
    assert kept(feature_store) == []
    one, two = (json.loads((here / name / "results.json").read_text()) for name in ("straight", "elsewhere"))
    assert [stage["name"] for stage in one["stages"]] == ["reading", "training", "analysis", "writing"]
    assert all(stage["peak_mb"] > 50 for stage in one["stages"])
    for name in ("seconds", "stages"):
        del one[name], two[name]
    assert one == two
    assert "training" in (here / "straight" / "report.html").read_text().split("Most memory in use")[1]


@pytest.mark.usefixtures("quick")
def test_sigterm_ends_a_run_with_a_sentence_and_the_same_command_goes_on(here, feature_store, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "advance", raising_at(12, signal.SIGTERM))
        assert main(COMMAND) == 143
    said = capfd.readouterr().err
    assert said.startswith("spectraldyn: interrupted; run the same command again to go on from where it stopped")
    assert names(here) == ["out-log.txt", "x.npy"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert main(COMMAND) == 0
    assert names(here) == ["out", "x.npy"]
    assert kept(feature_store) == []
    log = (here / "out" / "log.txt").read_text()
    assert "training is taken up at step " in log
    for line in ("Log of spectraldyn", "command: ", "device: ", "training: begun", "writing: ended after", "note: "):
        assert line in log
    assert "held-out score" in log


@pytest.mark.usefixtures("quick")
def test_a_signal_while_results_are_written_loses_nothing(here, feature_store, monkeypatch, capfd):
    def stop(*_):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a batch system tells the group as well

    with monkeypatch.context() as patch:
        patch.setattr("spectraldyn.report.write._write_json", stop)
        assert main(COMMAND) == 143
    assert names(here) == ["out-log.txt", "x.npy"]
    monkeypatch.setattr(NeuralSVD, "fit", None)
    assert main(COMMAND) == 0
    assert names(here) == ["out", "x.npy"]


@pytest.mark.usefixtures("quick")
def test_a_run_that_fails_before_its_data_are_read_leaves_no_log_and_none_is_overwritten(here, capfd):
    assert main(["fit", "x.npy", "--lag", "2", "--modes", "1", "--out", "out", "--skip", "100000"]) == 2
    assert names(here) == ["x.npy"]
    (here / "out-log.txt").write_text("mine")
    capfd.readouterr()
    assert main(COMMAND) == 2
    assert "out-log.txt is no log of spectraldyn" in capfd.readouterr().err
    assert (here / "out-log.txt").read_text() == "mine"


def test_a_full_disk_elsewhere_and_a_fault_of_ours(here, monkeypatch, capfd):
    def fault(error):
        def describe(*_):
            raise error

        return describe

    for error in (FULL, OSError(errno.EFBIG, "File too large", "/tmp/half")):
        monkeypatch.setattr("spectraldyn.io.describe_files", fault(error))
        assert main(["info", "x.npy"]) == 2
        assert f"cannot be written ({error.strerror}): " in capfd.readouterr().err
    monkeypatch.setattr("spectraldyn.io.describe_files", fault(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["info", "x.npy"])


def test_the_fit_of_a_generator_is_kept_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    well = spectraldyn.systems.SYSTEMS["double-well-2d"]
    np.save("x.npy", well.simulate(300, 0.2, seed=0, progress=False)[0])
    options = {"n_modes": 1, "random_state": 0, "max_steps": 5, "checkpoint_folder": tmp_path / "kept"}
    run = Run()
    first = spectraldyn.fit_generator("x.npy", well, run=run, **options)
    assert names(run.kept[0]) == ["generator.pt"]
    monkeypatch.setattr(spectraldyn.GeneratorSVD, "fit", None)
    again = spectraldyn.fit_generator("x.npy", well, **options)
    assert names(tmp_path / "kept") == []
    assert again.rates == first.rates


def test_a_log_that_the_disk_refuses_ends_nothing(tmp_path, capfd):
    from spectraldyn.pipeline.log import _logged

    run = Run(log=tmp_path / "log.txt")
    with _logged(run, tmp_path / "log.txt", "cpu"):
        handler = logging.getLogger("spectraldyn").handlers[-1]
        handler.stream.close()
        handler.stream = open("/dev/full", "w")  # noqa: SIM115
        with run.stage("reading"):
            pass
    assert capfd.readouterr().err == ""
    assert names(tmp_path) == []
