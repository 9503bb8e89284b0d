"""On a GPU: the benchmark's dry run, and where there is a GPU, that it computes what the CPU does."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
import torch

from analysis.benchmarks import gpu, gpu_features, gpu_steps
from spectraldyn import InputWarning, NeuralSVD
from spectraldyn.data import Dataset, PairSamples, Rows
from spectraldyn.estimators.base import NeuralEstimator
from spectraldyn.estimators.evaluation import evaluate
from spectraldyn.features import define_features, tensors
from spectraldyn.learning import Schedule, held_out_score, learn, loop
from spectraldyn.learning.graphs import WARM_UP, GraphedStep, learning_rate, set_learning_rate
from spectraldyn.networks import CommonTrunk, Sides, Whitening
from spectraldyn.objectives import build_objective
from spectraldyn.operators import reversible_transfer, transfer

CPU = torch.device("cpu")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
JOINT = build_objective("joint")


def walks(n_frames: int = 4000) -> torch.Tensor:
    """Four coordinates that decay at different rates."""
    generator = torch.Generator().manual_seed(0)
    decay = torch.tensor([0.98, 0.9, 0.6, 0.1])
    noise = (1 - decay**2).sqrt() * torch.randn(n_frames, 4, generator=generator)
    rows = [noise[0]]
    for kick in noise[1:]:
        rows.append(decay * rows[-1] + kick)
    return torch.stack(rows)


def pairs(device: str | torch.device, n_test: int = 1000) -> PairSamples:
    frames = walks()
    starts = np.arange(len(frames) - 2)
    return PairSamples.of(Rows(frames.to(device)), 2, starts[:-n_test], starts[-n_test:] if n_test else ())


def sides(device: str | torch.device, tied: bool = True) -> Sides:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whitening = Whitening(torch.zeros(4), torch.eye(4))
        networks = [CommonTrunk(whitening, 2, (16, 16)) for _ in range(2 - tied)]
    return Sides(*networks).float().to(device)


def trained(samples: PairSamples, objective=JOINT, n_steps: int = 60, **further) -> tuple[Sides, loop.History]:
    own = sides(samples.device)
    history = learn(reversible_transfer, samples, own, objective, Schedule(n_steps, 256), seed=3, **further)
    return own, history


def weights(of: Sides) -> torch.Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in of.parameters()])


# The benchmark


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """Two dry runs after each other into one folder, the second without any time for the last sections."""
    folder = tmp_path_factory.mktemp("gpu")
    gpu.run(gpu.TINY, CPU, folder, {name: section for name, section in gpu.SECTIONS.items() if name != "compile"})
    late = {"precision": dataclasses.replace(gpu.SECTIONS["precision"], seconds=-1.0)}
    gpu.run(gpu.TINY, CPU, folder, late)
    rows = [json.loads(line) for line in (folder / "gpu.jsonl").read_text().splitlines()]
    return rows, (folder / "gpu.md").read_text()


def test_a_dry_run_measures_every_case(dry_run):
    rows, page = dry_run
    sections = {"throughput": 4, "features": 9, "projections": 2, "fit": 4, "precision": 6}
    assert [row["section"] for row in rows] == [name for name, n in sections.items() for _ in range(n)]
    for row in rows:
        assert {"date", "GPU", "torch", "commit"} <= row["about"].keys()
    for row in rows[:4]:
        assert all(row[f"{loop} (ms)"] > 0 for loop in ("ours", "ours without graph", "VAMPNet"))
        assert "floor (ms)" not in row
    for row in rows[4:15]:
        assert row["largest deviation"] < 1e-5
        assert all(value > 0 for name, value in row.items() if name.endswith("/s)"))
    assert "| 256-256-256 | 32 | " in page
    assert "| contacts | skewed | " in page
    assert "| timescale 3 (frames) | " in page
    assert "| bfloat16 | " in page


def test_runs_are_appended_and_say_what_they_left_out(dry_run):
    _, page = dry_run
    first, second = page.split("## no GPU: a dry run, whose numbers mean nothing, ")[1:]
    assert "Nothing was left out." in first
    assert gpu.WITHOUT in first
    assert "Left out for want of time: precision (0, float32); precision (0, TF32); " in second
    assert "| bfloat16" not in second


def test_both_devices_of_a_dry_run_are_the_cpu(dry_run):
    """So that their timescales agree to the last digit, and the exact ones are those of the system."""
    rows, _ = dry_run
    fits = [row for row in rows if row["section"] == "fit"]
    assert fits[0]["value"] == fits[1]["value"] != fits[2]["value"]
    assert fits[0]["exact"] == pytest.approx(gpu.sample(3, 2000).exact / gpu.sample(3, 2000).spacing)
    line = gpu.fit_table(fits)[3]
    assert line["GPU from CPU (%)"] == 0
    values = [row["value"][0] for row in fits[::2]]
    assert line["spread over seeds, CPU (%)"] == pytest.approx(100 * np.std(values) / np.mean(values))
    assert line["half of the 95 % interval (%)"] == pytest.approx(
        100 * (fits[0]["high"][0] - fits[0]["low"][0]) / 2 / fits[0]["value"][0]
    )


def test_differences_of_precision_are_those_from_float32():
    full = {"precision": "float32", "seed": 0, "step (ms)": 2.0, "values": [0.8, 0.5], "norms": [0.8, 0.4]}
    full["exact"] = [1.0, 0.5]
    lower = {**full, "precision": "bfloat16", "values": [0.8, 0.51], "norms": [0.4, 0.4]}
    lines = gpu.precision_table([full, lower])
    assert [line["values from float32 (%)"] for line in lines] == pytest.approx([0, 2])
    assert [line["norms from float32 (%)"] for line in lines] == pytest.approx([0, 50])
    assert [line["values from exact (%)"] for line in lines] == pytest.approx([20, 20])


def test_a_compiled_step_runs_in_a_process_of_its_own(monkeypatch):
    (case, _) = gpu_steps.compile_cases(gpu.TINY)
    row = gpu_steps.compiled(case, gpu.TINY, CPU)
    assert row["compiled (ms)"] > 0
    monkeypatch.setattr(gpu_steps, "SECONDS_TO_COMPILE", 0)
    assert gpu_steps.compiled(case, gpu.TINY, CPU) == {"failed": "no result after 0 s"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "no GPU can be used here", marks=on_a_cpu),
        (["--dry-run"], "a dry run leaves the results alone"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr("sys.argv", ["gpu", *arguments])
    assert gpu.main() == 2
    assert said in capsys.readouterr().err


# Steps


def test_on_the_cpu_a_step_runs_as_it_is():
    calls = []

    def step(state):
        calls.append(state)
        return torch.zeros(()), {"n": len(calls)}

    graphed = GraphedStep(step, torch.Generator())
    state = {}
    for _ in range(WARM_UP + 2):
        _, state = graphed(state)
    assert calls == [{}, *({"n": n} for n in range(1, WARM_UP + 2))]
    assert not graphed.captured


def test_learning_rates_are_set_whatever_holds_them():
    first, second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    tensor = torch.tensor(0.5)
    optimiser = torch.optim.SGD([{"params": [first], "lr": tensor}, {"params": [second]}])
    set_learning_rate(optimiser, 0.25)
    assert optimiser.param_groups[0]["lr"] is tensor
    assert [float(group["lr"]) for group in optimiser.param_groups] == [0.25, 0.25]
    assert learning_rate(0.1, CPU) == 0.1


def test_a_checkpoint_belongs_to_one_device(monkeypatch, tmp_path):
    """Random numbers of another device would not be the same."""
    names = set()
    for device in ("cpu", "cuda"):
        monkeypatch.setattr("spectraldyn.estimators.base.pick_device", lambda _, device=device: torch.device(device))
        estimator = NeuralSVD(checkpoint_folder=tmp_path, random_state=0)
        names.add(NeuralEstimator._checkpoint(estimator, Dataset([np.zeros((3, 1))])).folder)
    assert len(names) == 2


# On a GPU


@on_a_gpu
def test_replayed_steps_are_those_without_a_graph():
    """Same draws, same kernels: parameters agree to rounding, which 60 steps of Adam enlarge."""
    samples = pairs("cuda")
    replayed, history = trained(samples)
    plain, expected = trained(samples, gpu_steps.without_graph(JOINT))
    torch.testing.assert_close(weights(replayed), weights(plain), rtol=1e-3, atol=1e-4)
    assert history.test_score == pytest.approx(expected.test_score, rel=1e-4)
    assert history.kept_step == expected.kept_step


@on_a_gpu
def test_one_replayed_step_is_the_step_itself():
    """To float rounding, with the draw, the optimiser's state and the moving average; the next draw goes on, too."""
    samples = pairs("cuda")
    states = []
    for graphs in (True, False):
        own = sides("cuda")
        run = loop._Run(own, Schedule(100, 256), torch.Generator("cuda").manual_seed(5))
        step = loop._step_of(run, reversible_transfer, JOINT, samples)
        assert isinstance(step, GraphedStep)
        for _ in range(WARM_UP + 1):
            loss = run.advance(step if graphs else step._step)
        assert step.captured == graphs
        states.append((weights(own), weights(run.averaged), loss.cpu(), run.generator.get_state()))
    for replayed, plain in zip(*states, strict=True):
        torch.testing.assert_close(replayed, plain, rtol=1e-5, atol=1e-6)


@on_a_gpu
def test_the_learning_rate_of_a_replayed_step_is_that_of_its_step():
    """With a rate of 0 nothing moves; a rate that was burnt in would."""
    own = sides("cuda")
    run = loop._Run(own, Schedule(100, 256), torch.Generator("cuda").manual_seed(5))
    step = loop._step_of(run, reversible_transfer, JOINT, pairs("cuda"))
    for _ in range(WARM_UP + 2):
        run.advance(step)
    before = weights(own)
    set_learning_rate(run.optimiser, 0.0)
    step({})
    assert torch.equal(weights(own), before)
    run.advance(step)
    assert not torch.equal(weights(own), before)


@on_a_gpu
@pytest.mark.parametrize("name", ["joint", "low-rank", "block", "vamp-2"])
@pytest.mark.parametrize("operator", [reversible_transfer, transfer])
def test_objectives_without_memory_are_captured(name, operator):
    own = sides("cuda", tied=operator is reversible_transfer)
    run = loop._Run(own, Schedule(100, 256), torch.Generator("cuda").manual_seed(5))
    step = loop._step_of(run, operator, build_objective(name), pairs("cuda"))
    for _ in range(WARM_UP + 3):
        loss = run.advance(step)
    assert step.captured
    assert bool(loss.isfinite())


@on_a_gpu
def test_a_step_that_waits_for_the_gpu_goes_on_without_a_graph():
    """Said once; the draws, also of torch's own generator, go on as if nothing had been tried."""

    def waiting(action, state):
        loss, state = JOINT(action, state)
        return (loss if loss.item() < 1e6 else 2 * loss), state

    samples = pairs("cuda")
    with pytest.warns(InputWarning, match="cannot be captured") as caught:
        slow, _ = trained(samples, waiting)
    assert len([warning for warning in caught if warning.category is InputWarning]) == 1
    plain, _ = trained(samples, gpu_steps.without_graph(JOINT))
    torch.testing.assert_close(weights(slow), weights(plain), rtol=1e-3, atol=1e-4)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert bool(torch.rand(3, device="cuda").isfinite().all())
    trained(samples)  # and captures what can be


@on_a_gpu
def test_an_objective_with_memory_is_never_replayed():
    """Its state would stand still."""
    seen = []

    def counting(action, state):
        seen.append(state.get("n", 0))
        return JOINT(action, {})[0], {"n": state.get("n", 0) + 1}

    trained(pairs("cuda"), counting, n_steps=12)
    assert seen == list(range(12))


@pytest.mark.usefixtures("kept_at_every_evaluation")
@on_a_gpu
def test_a_training_that_was_interrupted_goes_on_with_the_same_numbers(tmp_path, monkeypatch):
    """It is captured anew and draws from where the saved generator stood."""
    samples, file = pairs("cuda"), tmp_path / "state.pt"
    whole, history = trained(samples)
    save = loop._Run.save

    def interrupted(run, path):
        save(run, path)
        if run.step == 30:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(samples, checkpoint=file)
    resumed, again = trained(samples, checkpoint=file)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=1e-3, atol=1e-4)
    assert again.steps == history.steps
    assert again.test_score == pytest.approx(history.test_score, rel=1e-4)


@on_a_gpu
@pytest.mark.parametrize("operator", [reversible_transfer, transfer])
def test_the_held_out_score_is_that_of_the_cpu(operator):
    tied = operator is reversible_transfer
    scores = [held_out_score(sides(d, tied), operator, *pairs(d).scored()) for d in ("cpu", "cuda")]
    np.testing.assert_allclose(scores[1], scores[0], rtol=2e-5)


@on_a_gpu
def test_functions_are_those_of_the_cpu():
    data = Dataset([walks().numpy()])
    on = {device: evaluate(sides(device).double(), data) for device in ("cpu", "cuda")}
    np.testing.assert_allclose(on["cuda"], on["cpu"], rtol=1e-10, atol=1e-12)


@on_a_gpu
def test_the_networks_stay_where_they_were_trained_and_what_they_give_does_not():
    model = NeuralSVD(2, 2, device="cuda", random_state=0, max_steps=20, n_networks=1).fit_fetch(walks().numpy())
    modes = model.transform(walks().numpy())
    assert model.sides.device.type == "cuda"
    assert {parameter.dtype for parameter in model.sides.parameters()} == {torch.float64}
    assert isinstance(modes, np.ndarray)
    assert modes.dtype == np.float64


@on_a_gpu
@pytest.mark.parametrize("box", gpu_features.BOXES)
def test_features_are_those_of_mdtraj(box):
    frames = gpu_features.helix(20, 50)[:]
    if angles := gpu_features.BOXES[box]:
        frames.unitcell_lengths, frames.unitcell_angles = np.full((50, 3), 1.5), np.tile(angles, (50, 1))
    names = ",".join(gpu_features.FEATURES)
    on_device = define_features(frames[0], names, device="cuda")
    expected = define_features(frames[0], names).compute(frames)
    np.testing.assert_allclose(on_device.compute(frames), expected, rtol=0, atol=1e-5)
    assert not on_device.notes


@on_a_gpu
@pytest.mark.parametrize("features", gpu_features.FEATURES)
def test_chunks_take_the_memory_that_is_planned(features, monkeypatch):
    """In the box that takes most."""
    monkeypatch.setattr(tensors, "CHUNK_BYTES", 2**24)
    frames = gpu_features.helix(40, 300)[:]
    frames.unitcell_lengths, frames.unitcell_angles = np.full((300, 3), 1.5), np.tile([60.0, 60.0, 90.0], (300, 1))
    chosen = define_features(frames[0], features, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    chosen.compute(frames)
    assert torch.cuda.max_memory_allocated() - before < 2**24


@on_a_gpu
@pytest.mark.parametrize("options", [{}, {"reversible": False}])
def test_a_fit_agrees_with_that_of_the_cpu(options):
    """To within what seeds make of it, .1 % and 1 %: random numbers differ between devices."""
    data = walks(20_000).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        on = {d: NeuralSVD(2, 2, device=d, random_state=0, **options).fit_fetch(data) for d in ("cpu", "cuda")}
    for own, rtol in enumerate([0.004, 0.025]):
        assert on["cuda"].singular_values[own] == pytest.approx(on["cpu"].singular_values[own], rel=rtol)
    assert on["cuda"].scores == pytest.approx(on["cpu"].scores, rel=0.05)


@on_a_gpu
def test_a_capture_that_fails_unforeseen_does_no_harm(monkeypatch):
    monkeypatch.setattr(GraphedStep, "_try_on", GraphedStep._run_on)
    test_a_step_that_waits_for_the_gpu_goes_on_without_a_graph()
