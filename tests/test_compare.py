"""Methods side by side: exact answers, scores by hand, deeptime's own numbers, failures, the command line."""

import json
import sys
from dataclasses import replace
from functools import partial
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
from deeptime.decomposition import TICA, VAMP
from problems import REPOSITORY_DATA
from scipy.linalg import eigh
from scipy.signal import lfilter
from springs import LAG, TAU, spring

from analysis.benchmarks.processes import in_forked_process
from spectraldyn import baselines, compare_methods, compare_trajectories, load_features, plots
from spectraldyn.baselines import (
    METHODS,
    Comparison,
    Job,
    MethodResult,
    Outcome,
    Problem,
    Question,
    Split,
    check_methods,
    is_installed,
    judge,
    judge_outcome,
    process,
    run_job,
    store_rows,
)
from spectraldyn.baselines.methods import LIBRARIES
from spectraldyn.cli import main
from spectraldyn.data import Dataset, cross_validation_folds, n_rows, split_stretches, stretches_of
from spectraldyn.errors import InputError
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.scores import pair_averages, split_scores
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import SYSTEMS, oracle_timescales
from spectraldyn.units import TimeAxis

QUICK = {
    "neural-svd": {"max_steps": 400},
    "edmd": {"n_centres": 30, "widths": [2.0, 4.0]},
    "kernel-edmd": {"n_pairs": 500, "widths": [0.5, 1.0], "regularisations": [0.1]},
    "msm": {"n_clusters": [40, 80], "n_samples": 30},
    "vampnet": {"learning_rates": [5e-3], "batch_sizes": [1024], "max_epochs": 30},
    "srv": {"learning_rates": [5e-3], "batch_sizes": [1024], "max_steps": 200},
    "nystroem-rrr": {"n_pairs": 2000, "widths": [1.0, 2.0], "n_centres": [50]},
}
OPTIONAL = [
    pytest.param(name, marks=pytest.mark.skipif(not is_installed(name), reason=f"{LIBRARIES.get(name)} is missing"))
    for name in METHODS
]


def split_of(trajectories: list[np.ndarray], n_modes: int = 1, reversible: bool = True) -> Split:
    """The split of a comparison with its default seed."""
    question = Question(lagtime=LAG, n_modes=n_modes, seed=0, reversible=reversible)
    return Split.of(stretches_of([len(t) for t in trajectories]), question)


def whole(n_frames: int, n_modes: int = 1, n_train: int | None = None, reversible: bool = True) -> Split:
    """One trajectory, judged on what the methods have seen, or on what follows after `n_train` pairs."""
    train = test = [range(n_frames)]
    if n_train is not None:
        train, test = [range(n_train + LAG)], [range(n_train, n_frames)]
    return Split([range(n_frames)], train, test, lagtime=LAG, n_modes=n_modes, seed=0, reversible=reversible)


def judged(method: str, trajectories: list[np.ndarray], n_modes: int, everything: bool = False) -> MethodResult:
    """A method fitted in this process, on the training stretches or on everything, and judged as in a comparison."""
    split, frames = split_of(trajectories, n_modes), np.concatenate(trajectories)
    problem = Problem(trajectories, **split.asked) if everything else split.problem(frames)
    learned = METHODS[method](problem, **QUICK.get(method, {}))
    own = [] if learned.own_timescales is None else learned.own_timescales(trajectories)
    return judge_outcome(Outcome(MethodResult(method, timescales=own), learned.functions(frames)), split)


@pytest.mark.parametrize("method", OPTIONAL)
def test_timescales_of_a_spring(method):
    """Every method against Rayleigh–Ritz with the exact eigenfunctions on the same data; linear ones know only He_1."""
    trajectories = spring()
    linear = method in ("tica", "vamp")
    best = oracle_timescales(SYSTEMS["ornstein-uhlenbeck"], trajectories, LAG, 2)
    result = judged(method, trajectories, 1 if linear else 2)
    assert result.failed is None
    assert result.timescales[0].value == pytest.approx(best[0], rel=0.04)
    assert result.timescales[0].low < TAU < result.timescales[0].high
    assert abs(best[0] - TAU) < 4  # the data themselves are typical
    if not linear:
        assert result.timescales[1].value == pytest.approx(best[1], rel=0.08)
    # The constant's 1, e^{−2·5/30} and, for two modes, e^{−4·5/30}.
    expected = 1 + np.exp(-2 * LAG / TAU) + (0 if linear else np.exp(-4 * LAG / TAU))
    assert result.vamp2_test == pytest.approx(expected, abs=0.12)
    assert result.vampe_test == pytest.approx(expected, abs=0.12)


def test_vampe_by_hand():
    """TICA's functions on the training pairs, judged on held-out pairs without any of the package's linear algebra."""
    trajectories = [np.column_stack((x, x**2)) for x in spring()]
    train_rows, test_rows = split_of(trajectories).starts
    frames = np.concatenate(trajectories)

    def covariances(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = (np.column_stack((np.ones(len(starts)), frames[starts + shift])) for shift in (0, LAG))
        return (x.T @ x + y.T @ y) / (2 * len(starts)), (x.T @ y + y.T @ x) / (2 * len(starts))

    c0, ct = covariances(train_rows)
    values, vectors = eigh(ct, c0)
    c0, ct = covariances(test_rows)
    expected = 0.0
    for i in range(3):
        expected += 2 * values[i] * vectors[:, i] @ ct @ vectors[:, i]
        for j in range(3):
            expected -= values[i] * values[j] * (vectors[:, i] @ c0 @ vectors[:, j]) ** 2
    assert judged("tica", trajectories, 2).vampe_test == pytest.approx(expected, abs=1e-9)


def test_linear_methods_give_what_deeptime_gives_on_all_data():
    trajectories = [np.column_stack((x, x**2, np.roll(x, 7))) for x in spring()]
    model = TICA(lagtime=LAG, dim=2).fit_fetch(trajectories)
    result = judged("tica", trajectories, 2, everything=True)
    assert [scale.value for scale in result.timescales] == pytest.approx(
        -LAG / np.log(model.singular_values[:2]), rel=1e-6
    )
    # Not taken as reversible: VAMP-2 in sample is that of deeptime's singular values.
    split = split_of(trajectories, 2, reversible=False)
    everything = replace(split, train=list(split.stretches), test=list(split.stretches))
    frames = np.concatenate(trajectories)
    learned = METHODS["vamp"](everything.problem(frames))
    _, scores = judge(learned.functions(frames), learned.right(frames), everything)
    squares = VAMP(lagtime=LAG, dim=2).fit_fetch(trajectories).singular_values[:2] ** 2
    assert scores["vamp2_test"] == pytest.approx(1 + squares.sum(), rel=1e-6)
    assert scores["vampe_test"] == pytest.approx(1 + squares.sum(), rel=1e-6)


def test_only_the_leading_modes_count():
    """A fast function beside the slow one must not raise the scores of a single mode."""
    trajectories = spring(2000)
    functions = np.concatenate([np.column_stack((np.ones(len(x)), x, np.roll(x, 50) ** 3)) for x in trajectories])
    averages = pair_averages(functions[:4000], functions[LAG : 4000 + LAG], tied=True)
    one = split_scores(averages, averages, tied=True, n_modes=1)
    assert one["vamp2_test"] < split_scores(averages, averages, tied=True)["vamp2_test"]
    assert one["vamp2_train"] == pytest.approx(one["vampe_test"])


def test_no_method_sees_what_it_is_judged_on():
    """What lies in the folder of a job is the split, and the problem made of it holds the training rows alone."""
    trajectories = spring(2000)
    jobs = []

    def runner(place, time_limit):
        jobs.append(Job.load(place / "job.pt"))
        return in_forked_process(place, time_limit)

    comparison = compare_methods(trajectories, LAG, 1, {"tica": {}}, n_splits=1, runner=runner)
    split = split_of(trajectories)
    assert jobs == [Job("tica", {}, replace(split, device="auto"))]
    frames = np.concatenate(trajectories)
    rows = [frames[row, 0] for stretch in split.train for row in stretch]
    assert np.concatenate(split.problem(frames).trajectories)[:, 0].tolist() == rows
    train, test = ({row + end for row in part for end in (0, LAG)} for part in split.starts)
    assert not train & test
    # Where a method is fitted makes no difference: here in this process, on the same rows.
    here = judged("tica", trajectories, 1)
    (there,) = comparison.results
    assert replace(there, seconds=None, peak_mb=None, settings={}) == here
    assert (comparison.n_train_pairs, comparison.n_test_pairs) == tuple(map(len, split.starts))


def test_plain_values_of_a_row():
    result = MethodResult("tica", timescales=[Timescale(3.0, 2.0, 5.0)])
    (row,) = Comparison([[result]], TimeAxis(), 10, 5, lagtime=LAG, n_modes=2, seed=0).rows()
    assert (row["timescales"], row["low"], row["high"]) == ([3.0, None], [2.0, None], [5.0, None])


def test_timescales_are_those_of_the_leading_modes_and_blocks_as_long_as_the_slowest_asks_for():
    """Three functions of a spring and one mode: the best in their span, judged by its own timescale."""
    trajectories = spring(2000)
    x = np.concatenate(trajectories)
    split = split_of(trajectories)
    left = np.hstack((x, x**2, x**3))
    with mock.patch.object(its, "timescales_at_lag", wraps=its.timescales_at_lag) as wrapped:
        (scale,), _ = judge(left, None, split)
    assert scale.value == wrapped.call_args.args[4]


def test_intervals_of_a_damped_rotation():
    """Eigenvalues e^{(−1/τ ± iω) lag}: moments averaged over both directions of time leave e^{−lag/τ} cos(ω lag)."""
    random = np.random.default_rng(6)
    step = np.exp(-1 / TAU + 0.25j)
    noise = random.normal(size=(2, 20_000)) * np.sqrt((1 - abs(step) ** 2) / 2)
    z = lfilter([1], [1, -step], noise[0] + 1j * noise[1])
    timescales, _ = judge(np.column_stack((z.real, z.imag)), None, whole(len(z), 2, 14_000, reversible=False))
    assert len(timescales) == 2
    for scale in timescales:
        assert scale.low < TAU < scale.high
        assert scale.low < scale.value < scale.high


def test_own_timescales_of_a_process_seen_once_are_unresolved():
    own = Timescale(50.0, 40.0, 60.0)
    step = np.repeat([0.0, 1.0], 50) + np.tile([0.1, -0.1], 50)
    result = judge_outcome(Outcome(MethodResult("msm", timescales=[own]), step[:, None]), whole(100))
    assert result.timescales == [replace(own, n_transitions=1, unresolved="only 1 transition seen")]


def test_no_stretch_crosses_a_cut():
    whole = stretches_of([500, 3, 2000, 700])
    ends = [stretch.stop for stretch in whole]
    splits = [split_stretches(whole, LAG, 0.3, np.random.default_rng(1))]
    folds = cross_validation_folds(whole, LAG, 3, np.random.default_rng(1))
    for train, held_out in [*splits, *folds]:
        used = np.zeros(n_rows(whole), dtype=int)
        for stretch in [*train, *held_out]:
            used[stretch.start : stretch.stop] += 1
            assert len(stretch) > LAG
            assert np.searchsorted(ends, stretch.start, side="right") == np.searchsorted(ends, stretch.stop)
        assert used.max() == 1
        assert used.sum() == n_rows(whole) - 3  # all but the stretch without a pair
    held_out_once = [row for _, held_out in folds for stretch in held_out for row in stretch]
    assert len(set(held_out_once)) == len(held_out_once) == n_rows(whole) - 3


def test_a_method_that_fails_is_a_row_that_says_so(tmp_path):
    """All frames at two points, which leave two centres; and Gaussians of no width."""
    random = np.random.default_rng(0)
    hops = [(np.cumsum(random.random(2000) < 0.05) % 2 * 2.0 - 1)[:, None] for _ in range(2)]
    one = {"n_splits": 1, "runner": in_forked_process}
    works = compare_methods(hops, LAG, 1, {"edmd": {"widths": [1.0]}}, **one)
    comparison = compare_methods(hops, LAG, 1, {"tica": {}, "edmd": {"widths": [0.0]}}, **one)
    tica, edmd = comparison.rows()
    assert works.rows()[0]["timescales"] == pytest.approx(tica["timescales"], rel=1e-6)
    assert tica["failed"] is None
    assert tica["timescales"][0] == pytest.approx(-1 / np.log(1 - 2 * 0.05), rel=0.2)
    assert tica["peak_mb"] >= 0
    assert edmd["failed"]
    assert edmd["timescales"] == [None]
    assert edmd["vampe_test"] is None
    assert f"failed: {edmd['failed']}" in repr(comparison)
    json.dumps(comparison.rows(), allow_nan=False)
    axes = plots.plot_comparison(comparison, exact=[9.5])
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert {"tica", "edmd (failed)", "exact"} <= set(labels)
    assert "failed" in [text.get_text() for text in axes[2].texts]
    plots.save_figure(axes[0], tmp_path / "comparison.png")


def test_methods_for_reversible_dynamics_say_so():
    problem = Problem(spring(200), lagtime=LAG, n_modes=1, seed=0, reversible=False)
    for method in ("srv", "nystroem-rrr"):
        with pytest.raises(InputError, match="reversible"):
            METHODS[method](problem)


def test_a_method_whose_library_is_missing(monkeypatch):
    """Left out of what is done by default; asked for by name, it says what to install."""
    monkeypatch.setitem(LIBRARIES, "vamp", "no_such_library")
    assert "tica" in check_methods(None)
    assert "vamp" not in check_methods(None)
    with pytest.raises(InputError, match=r"'vamp' needs no_such_library, .* pip install no_such_library"):
        check_methods("tica,vamp")


def test_pairs_there_and_back_for_an_estimator_of_one_trajectory(monkeypatch):
    """A stand-in for kooplearn's estimator: all rows of what it gets, as far apart as it is told, are pairs."""
    seen = []

    class StandIn:
        def __init__(self, lag_time, n_components, **options):
            self.lag_time, self.n_components = lag_time, n_components

        def fit(self, rows):
            seen.append((rows[: -self.lag_time, 0], rows[self.lag_time :, 0]))
            return self

        def eig(self, eval_right_on):
            return None, eval_right_on ** np.arange(self.n_components)

    package, kernel = ModuleType("kooplearn"), ModuleType("kooplearn.kernel")
    kernel.NystroemKernelRidge = StandIn
    monkeypatch.setitem(sys.modules, "kooplearn", package)
    monkeypatch.setitem(sys.modules, "kooplearn.kernel", kernel)
    result = judged("nystroem-rrr", [np.array(x) for x in spring(2000)], 2)
    best = oracle_timescales(SYSTEMS["ornstein-uhlenbeck"], spring(2000), LAG, 2)
    assert [scale.value for scale in result.timescales] == pytest.approx(best, rel=1e-6)
    before, after = seen[-1]
    n_pairs = len(before) // 2
    assert n_pairs == 2000
    np.testing.assert_array_equal(before[:n_pairs], after[n_pairs:])
    np.testing.assert_array_equal(after[:n_pairs], before[n_pairs:])
    # Neighbours in a pair are alike, as e^{−5/30} says.
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(np.exp(-LAG / TAU), abs=0.06)


def test_a_method_that_takes_too_long_has_failed():
    comparison = compare_methods(spring(500), LAG, 1, ["tica"], n_splits=1, time_limit=0.05)
    assert comparison.results[0].failed == "not done within 0.05 seconds"


def test_a_process_that_ends_without_an_outcome_has_failed(tmp_path):
    """Its exit code is told, and the last line of what it wrote."""
    trajectories = spring(500)
    store_rows(tmp_path, Dataset(trajectories))

    def killed(place, time_limit):
        (place / "errors.txt").write_text("one\nout of memory\n")
        return -9

    outcome = run_job(tmp_path, Job("tica", {}, split_of(trajectories)), runner=killed)
    assert outcome == Outcome(MethodResult("tica", "its process ended with code -9: out of memory"))
    assert judge_outcome(outcome, split_of(trajectories)) == outcome.result


def test_functions_that_are_no_numbers_have_failed():
    def failure(left: np.ndarray) -> str | None:
        return judge_outcome(Outcome(MethodResult("tica"), left), whole(100, n_train=40)).failed

    assert failure(np.full((100, 1), np.nan)) == "its functions are not finite on 100 of 100 frames"
    assert failure(np.ones((100, 1))) == "its functions do not vary"


@pytest.mark.skipif(not process.Path("/proc/self/clear_refs").exists(), reason="only Linux starts the peak anew")
def test_peak_memory_is_that_since_the_start():
    np.ones(20_000_000)  # a higher peak before
    before = process.start_of_peak()
    np.ones(5_000_000)
    assert 35 < (process.largest_memory() - before) / 1e6 < 100


def test_command_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez("spring.npz", **{f"run{i}": part for i, part in enumerate(spring(2000))})
    compare = ["compare", "spring.npz", "--lag", "5", "--modes", "1"]
    assert main([*compare, "--methods", "tica,vamp", "--splits", "1"]) == 0
    printed = capfd.readouterr()
    assert "comparing" in printed.err
    assert "VAMP-E" in printed.out
    assert "One split decides nothing" in printed.out
    folder = tmp_path / "spring-comparison"
    assert {path.name for path in folder.iterdir()} == {
        "compare.json", "comparison.png", "log.txt", "report.html", "run.toml",
    }  # fmt: skip
    rows = json.loads((folder / "compare.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["tica", "vamp"]
    keys = {"method", "timescales", "low", "high", "vamp2_test", "vampe_test", "seconds", "peak_mb", "failed"}
    for row in rows:
        assert keys <= row.keys()
        assert row["failed"] is None
        assert row["unit"] == "frames"
        assert 20 < row["timescales"][0] < 45
    assert not list(tmp_path.glob(".spring*"))

    (tmp_path / "precious").mkdir()
    np.save("brief.npy", spring(300, 1)[0])
    refused = {
        "exists": [*compare],
        "is not replaced": [*compare, "--out", "precious", "--force"],
        "choose among neural-svd, tica": [*compare, "--out", "new", "--methods", "pca"],
        "method 'tcia' is unknown (did you mean tica?)": [*compare, "--out", "new", "--methods", "tcia"],
        "--lag is missing": ["compare", "spring.npz"],
        "too short": ["compare", "brief.npy", "--out", "new", "--lag", "200"],
    }
    for reason, arguments in refused.items():
        assert main(arguments) == 2
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("spectraldyn")]
        assert len(said) == 1, said
        assert reason in said[0]
    assert not (tmp_path / "new").exists()


def test_times_are_in_the_unit_of_the_files(tmp_path, monkeypatch, capfd):
    """Stored frames 0.2 ps apart, every second one used: a lag of 1 ps is five of them, which is no multiple of two."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(baselines, "compare_trajectories", partial(compare_trajectories, runner=in_forked_process))
    folder = REPOSITORY_DATA / "double_well"
    files = [str(folder / f"double_well_{i}.dcd") for i in range(4)]
    read = ["--top", str(folder / "double_well.pdb"), "--features", "positions", "--timestep", "0.2ps", "--stride", "2"]
    assert main(["compare", *files, *read, "--lag", "1ps"]) == 2
    assert "multiple of --stride" in capfd.readouterr().err
    chosen = ["--methods", "tica", "--modes", "1", "--splits", "2"]
    assert main(["compare", *files, *read, "--lag", "2ps", *chosen, "--out", "well"]) == 0
    row = json.loads((tmp_path / "well" / "compare.json").read_text())["rows"][0]
    assert (row["lag"], row["unit"]) == (2.0, "ps")
    positions = load_features(files, top=read[1], features="positions", timestep="0.2ps", stride=2)
    slowest = TICA(lagtime=5, dim=1).fit_fetch([np.array(part, dtype=float) for part in positions])
    assert row["timescales"][0] == pytest.approx(-2.0 / np.log(slowest.singular_values[0]), rel=0.01)
