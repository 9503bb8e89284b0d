"""Several processes that share out their batches, against one: losses, networks, whole fits, failures."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis import ranks
from analysis.ranks import together
from spectraldyn import GeneratorSVD, InputError, NeuralSVD, processes
from spectraldyn.cli import main
from spectraldyn.data import Dataset, PairSamples, Rows
from spectraldyn.estimators import load_model
from spectraldyn.estimators.base import pick_device
from spectraldyn.learning import Schedule, keeping, learn
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import joint_nesting
from spectraldyn.operators import reversible_transfer
from spectraldyn.pipeline.refit import fit_or_take_up
from spectraldyn.processes import own, shared_out

CASES = [case for case in ranks.cases() if case[0].startswith("transfer") or case[1] in ("joint", "sequential")]
"""The study has the others, too: `python -m analysis.ranks`."""


def test_every_objective_learns_as_in_one_process():
    """101 rows are shared out between two processes, in double precision, weighted and held-out rows among them."""
    alone, both = together(1, ranks.trainings, CASES, 10)[0], together(2, ranks.trainings, CASES, 10)
    for case, one, first, second in zip(CASES, alone, *both, strict=True):
        assert first == second, case
        for what in ("losses", "scores", "parameters"):
            np.testing.assert_allclose(first[what], one[what], rtol=1e-9, atol=1e-12, err_msg=f"{case}: {what}")
        assert one["reduced"] == [0, 0]
    # Three matrices of products of 4 functions, one row of them, and the gradients, in double precision.
    joint = both[0][CASES.index(("transfer, reversible", "joint"))]
    assert joint["reduced"] == [8 * (3 * 4**2 + 4 + len(joint["parameters"])), 5]


def walk(n_rows: int = 2000) -> np.ndarray:
    """(n_rows, 2): between two wells, and noise."""
    random = np.random.default_rng(0)
    side = np.sign(random.random(n_rows) - 0.03).cumprod()
    return np.column_stack((side, np.zeros(n_rows))) + 0.3 * random.normal(size=(n_rows, 2))


def fits(size: int) -> list[tuple[list[float], float, Tensor]]:
    """Timescales, a held-out score and all functions, in single precision and with all that surrounds a training."""
    processes.join()
    states = walk().astype(np.float32)
    learners = [
        NeuralSVD(1, 2, max_steps=10, hidden=(8,), random_state=0, reversible=False, n_networks=1),
        GeneratorSVD(1, max_steps=10, hidden=(8,), random_state=0),
    ]
    found = []
    for learner in learners:
        model = learner.fit_fetch(states)
        values = model.rates if isinstance(learner, GeneratorSVD) else model.timescales()
        found.append((values.tolist(), next(iter(model.scores.values())), learner.functions_))
    return found


def test_fits_are_those_of_one_process():
    alone, (first, second) = together(1, fits, 1)[0], together(2, fits, 2)
    for one, here, there in zip(alone, first, second, strict=True):
        np.testing.assert_allclose(here[0], one[0], rtol=1e-4)
        assert here[1] == pytest.approx(one[1], rel=1e-4)
        assert here[:2] == there[:2]
        np.testing.assert_array_equal(here[2], there[2])


def test_torchrun_gives_the_results_of_one_process(quick, tmp_path, capsys):
    np.save(tmp_path / "walk.npy", walk())
    arguments = ["fit", str(tmp_path / "walk.npy"), "--lag", "2", "--modes", "1", "--refits", "0", "--quiet", "--json"]
    arguments += ["--hidden", "16,8", "--batch-size", "600"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    one = json.loads(capsys.readouterr().out)
    script = Path(__file__).with_name("quick_cli.py")
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    command = [sys.executable, *start, *arguments, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    two = json.loads(done.stdout)  # printed once
    assert two == json.loads((tmp_path / "two" / "results.json").read_text())
    assert two.keys() == one.keys()
    for name in ("value", "low", "high"):
        assert two["timescales"][0][name] == pytest.approx(one["timescales"][0][name], rel=1e-3)
    assert load_model(tmp_path / "two" / "model.pt").settings.layout.hidden == (16, 8)
    assert two["scores"]["vamp2_test"] == pytest.approx(one["scores"]["vamp2_test"], rel=1e-3)


@pytest.fixture
def place(monkeypatch):
    """A function that makes this process one of several, on paper."""

    def put(rank: int, size: int) -> None:
        monkeypatch.setattr(processes, "_group", processes._Group(rank, rank, size, 1, None))

    return put


@pytest.mark.parametrize(("n_rows", "size"), [(8, 2), (7, 2), (7, 4), (5, 5)])
def test_every_row_has_one_process(n_rows, size, place):
    rows = torch.arange(n_rows)
    shares = []
    for rank in range(size):
        place(rank, size)
        assert own(rows) is rows
        with shared_out(n_rows):
            shares.append(own(rows))
            assert own(shares[-1]) is shares[-1]
        assert abs(len(shares[-1]) - n_rows / size) < 1
    torch.testing.assert_close(torch.cat(shares), rows)


def test_fewer_rows_than_processes_are_not_shared_out(place):
    place(2, 4)
    rows = torch.arange(3)
    with shared_out(3):
        assert own(rows) is rows
        assert processes.shared_rows() is None


def small_training(samples_of: int, batch_size: int, checkpoint: Path | None, stop_at: int) -> list[Tensor]:
    """Networks after 12 steps, of which only the first process keeps the state."""
    processes.join()
    keeping.KEPT_AT_EVALUATIONS = 0.0  # in this process, which ends with the function
    rows = torch.arange(samples_of)
    states = torch.randn(samples_of + 1, 2, generator=torch.Generator().manual_seed(49))
    torch.manual_seed(int(os.environ["RANK"]))  # the first process has the say
    network = CommonTrunk(2, 2, (4,))
    calls = []

    def objective(action, state):
        calls.append(state)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return joint_nesting(action), state

    data = PairSamples(Rows(states), 1, rows[:30], rows[30:])
    schedule = Schedule(12, batch_size=batch_size, tolerance=1.0)
    with contextlib.suppress(KeyboardInterrupt):
        own_file = checkpoint if processes.first() else None
        learn(reversible_transfer, data, Sides(network), objective, schedule, seed=0, checkpoint=own_file)
    return [len(calls), *(parameter.detach().numpy() for parameter in network.parameters())]


def test_an_interrupted_training_goes_on_in_all_processes(tmp_path):
    straight = together(2, small_training, 40, 9, None, 0)
    together(2, small_training, 40, 9, tmp_path / "checkpoint", 9)
    resumed = together(2, small_training, 40, 9, tmp_path / "checkpoint", 0)
    assert [result[0] for result in [*straight, *resumed]] == [12, 12, 4, 4]
    for result in (straight[1], *resumed):
        for parameter, expected in zip(result[1:], straight[0][1:], strict=True):
            np.testing.assert_array_equal(parameter, expected)


def taken_up(folder: Path) -> list[float] | int:
    """Timescales in the first process; the exit code where the process ends."""
    processes.join()
    learner = NeuralSVD(1, 2, max_steps=5, hidden=(4,), random_state=0)
    try:
        model, _ = fit_or_take_up(learner, Dataset([walk(500)]), folder if processes.first() else None)
    except SystemExit as ended:
        return int(ended.code or 0)
    return model.timescales().tolist()


def test_a_fit_that_is_kept_is_taken_up_by_the_first_process_and_the_others_end(tmp_path):
    made, found = together(2, taken_up, tmp_path), together(2, taken_up, tmp_path)
    assert made == found
    assert made[1] == 0
    assert len(made[0]) == 1


def turns(folder: Path) -> list[str]:
    """Which process has been here before."""
    processes.join()
    with processes.in_turns():
        seen = sorted(path.name for path in folder.iterdir())
        time.sleep(0.05 if processes.first() else 0)
        (folder / os.environ["RANK"]).touch()
    return seen


def failing(arguments: dict[str, list[str]]) -> tuple[int, str]:
    """Exit code and stderr of a command, which may differ from process to process."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        code = main(arguments.get(os.environ["RANK"], arguments["all"]))
    processes._group = None  # those that have failed do not wait for each other
    return code, stderr.getvalue()


def test_the_first_process_reads_before_the_others(tmp_path):
    seen = together(2, turns, tmp_path)
    assert seen == [[], ["0"]]


def test_of_processes_that_fail_one_says_why(tmp_path):
    np.save(tmp_path / "walk.npy", walk(50))
    missing = {"all": ["fit", str(tmp_path / "missing.npy"), "--quiet"]}
    other = {"all": ["info", str(tmp_path / "walk.npy")]}
    for arguments, sentence in ((missing, "--lag is missing: .*"), (other, "torchrun is for `spectraldyn fit`: .*")):
        outcomes = together(2, failing, arguments)
        assert [code for code, _ in outcomes] == [2, 2]
        assert re.fullmatch(f"spectraldyn: error: {sentence}\n", "".join(told for _, told in outcomes))


def test_processes_that_read_different_files_are_told_apart(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(seed).normal(size=(50, 1)))
    fit = {name: ["fit", str(tmp_path / f"{name}.npy"), "--lag", "1", "--quiet"] for name in ("first", "second")}
    outcomes = together(2, failing, {"all": fit["first"], "1": fit["second"]})
    assert outcomes[1][0] == 2
    told = "".join(told for _, told in outcomes)
    assert re.fullmatch(r"spectraldyn: error: the features of process 1 are not those of the first: .*\n", told)


def dying() -> None:
    processes.join()
    if not processes.first():
        os._exit(1)
    processes.leave()


def test_a_process_that_is_gone_is_named_as_the_cause():
    with pytest.raises(InputError, match="another process of this run has ended or cannot be reached"):
        together(2, dying)


def test_batches_smaller_than_the_number_of_processes_are_refused(place):
    place(0, 64)
    rows, sides = torch.arange(40), Sides(CommonTrunk(2, 2, (4,)))
    samples = PairSamples(Rows(torch.zeros(41, 2)), 1, rows, rows[:0])
    with pytest.raises(InputError, match="64 processes cannot share batches of 32 rows"):
        learn(reversible_transfer, samples, sides, lambda action, state: (joint_nesting(action), state),
              Schedule(1, batch_size=32), seed=0)  # fmt: skip


def test_every_process_has_a_gpu_of_its_own(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    place(1, 4)
    assert pick_device("auto").type == "cuda"
    place(2, 4)
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="2 GPUs are fewer than processes on this machine: start 2, or"):
        pick_device("auto")
