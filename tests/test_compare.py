"""Methods side by side: exact answers, scores by hand, deeptime's own numbers, failures, the command line."""

import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from deeptime.decomposition import TICA, VAMP
from problems import REPOSITORY_DATA
from scipy.linalg import eigh
from scipy.signal import lfilter
from spectraldyn.spectra.validation import split_scores

from spectraldyn import compare_methods, load_features, plots
from spectraldyn.baselines import process
from spectraldyn.baselines.compare import TEST_FRACTION, Comparison
from spectraldyn.baselines.judge import judge
from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.process import Job, Outcome
from spectraldyn.baselines.records import MethodResult, Problem
from spectraldyn.baselines.tuning import with_constant
from spectraldyn.cli import main
from spectraldyn.data.stretches import cross_validation_folds, split_stretches, starts_within
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import SYSTEMS, oracle_timescales

TAU, LAG = 30.0, 5
QUICK = {
    "neural-svd": {"max_steps": 600},
    "edmd": {"n_centres": 30, "widths": [2.0, 4.0]},
    "kernel-edmd": {"n_pairs": 500, "widths": [0.5, 1.0], "regularisations": [0.1]},
    "msm": {"n_clusters": [40, 80], "n_samples": 30},
    "vampnet": {"learning_rates": [5e-3], "batch_sizes": [1024], "max_epochs": 30},
}


def spring(n_frames: int = 10_000, n_trajectories: int = 3) -> list[np.ndarray]:
    """An Ornstein–Uhlenbeck process of variance 1, sampled exactly: eigenfunctions He_n(x), timescales τ/n."""
    random = np.random.default_rng(5)
    decay = np.exp(-1 / TAU)
    noise = random.normal(size=(n_trajectories, n_frames)) * np.sqrt(1 - decay**2)
    noise[:, 0] = random.normal(size=n_trajectories)
    return [x[:, None] for x in lfilter([1], [1, -decay], noise, axis=1)]


def rows_of(trajectories: list[np.ndarray]) -> tuple[list[range], np.ndarray, np.ndarray]:
    """Training pieces, and the first frames of training and of held-out pairs."""
    train, test = split_stretches([len(t) for t in trajectories], LAG, TEST_FRACTION, np.random.default_rng(0))
    return train, starts_within(train, LAG), starts_within(test, LAG)


def judged(method: str, trajectories: list[np.ndarray], n_modes: int, everything: bool = False) -> MethodResult:
    """A method fitted in this process, on the training pieces or on everything, and judged as in a comparison."""
    train, train_rows, test_rows = rows_of(trajectories)
    frames = np.concatenate(trajectories)
    pieces = trajectories if everything else [frames[piece.start : piece.stop] for piece in train]
    learned = METHODS[method](Problem(pieces, LAG, n_modes, seed=0), **QUICK.get(method, {}))
    job = Job(method, {}, [len(t) for t in trajectories], [], LAG, n_modes, 0, True, "cpu")
    own = None if learned.own_timescales is None else learned.own_timescales(trajectories)
    outcome = Outcome(left=learned.functions(frames), seconds=1.0, own_timescales=own)
    return judge(job, outcome, train_rows, test_rows)


@pytest.mark.parametrize("method", METHODS)
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
    _, train_rows, test_rows = rows_of(trajectories)
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
    learned = METHODS["vamp"](Problem(trajectories, LAG, 2, seed=0, reversible=False))
    frames = np.concatenate(trajectories)
    functions = with_constant(learned.functions(frames), False, learned.right(frames))
    lengths = [len(t) for t in trajectories]
    starts = starts_within([range(sum(lengths[:i]), sum(lengths[: i + 1])) for i in range(3)], LAG)
    scores = split_scores(functions, LAG, starts, starts, False, 2)
    squares = VAMP(lagtime=LAG, dim=2).fit_fetch(trajectories).singular_values[:2] ** 2
    assert scores["vamp2_test"] == pytest.approx(1 + squares.sum(), rel=1e-6)
    assert scores["vampe_test"] == pytest.approx(1 + squares.sum(), rel=1e-6)


def test_only_the_leading_modes_count():
    """A fast function beside the slow one must not raise the scores of a single mode."""
    trajectories = spring(2000)
    functions = np.concatenate([np.column_stack((np.ones(len(x)), x, np.roll(x, 50) ** 3)) for x in trajectories])
    starts = np.arange(4000)
    one = split_scores(functions, LAG, starts, starts, True, 1)
    assert one["vamp2_test"] < split_scores(functions, LAG, starts, starts, True)["vamp2_test"]
    assert one["vamp2_train"] == pytest.approx(one["vampe_test"])


def test_no_method_sees_what_it_is_judged_on():
    trajectories = spring(2000)
    outcome = Outcome(left=np.concatenate(trajectories))
    with mock.patch("spectraldyn.baselines.compare.run_in_process", return_value=outcome) as run:
        comparison = compare_methods(trajectories, LAG, 1, ["tica"])
    job = run.call_args.args[1]
    train, train_rows, test_rows = rows_of(trajectories)
    assert job.train == [(piece.start, piece.stop) for piece in train]
    assert comparison.results == [judge(job, outcome, train_rows, test_rows)]
    assert (comparison.n_train_pairs, comparison.n_test_pairs) == (len(train_rows), len(test_rows))


def test_plain_values_of_a_row():
    result = MethodResult("tica", timescales=[Timescale(3.0, 2.0, 5.0)])
    (row,) = Comparison([result], 2, LAG, "frames", 1.0, True, 0, 10, 5).rows()
    assert (row["timescales"], row["low"], row["high"]) == ([3.0, None], [2.0, None], [5.0, None])


def test_timescales_are_those_of_the_leading_modes_and_blocks_as_long_as_the_slowest_asks_for():
    """Three functions of a spring and one mode: the best in their span, judged by its own timescale."""
    trajectories = spring(2000)
    x = np.concatenate(trajectories)
    job = Job("tica", {}, [2000] * 3, [], LAG, 1, 0, True, "cpu")
    _, *rows = rows_of(trajectories)
    with mock.patch.object(its, "timescales_at_lag", wraps=its.timescales_at_lag) as wrapped:
        result = judge(job, Outcome(left=np.hstack((x, x**2, x**3))), *rows)
    assert [scale.value for scale in result.timescales] == [wrapped.call_args.args[5]]


def test_intervals_of_a_damped_rotation():
    """Eigenvalues e^{(−1/τ ± iω) lag}: moments averaged over both directions of time leave e^{−lag/τ} cos(ω lag)."""
    random = np.random.default_rng(6)
    step = np.exp(-1 / TAU + 0.25j)
    noise = random.normal(size=(2, 20_000)) * np.sqrt((1 - abs(step) ** 2) / 2)
    z = lfilter([1], [1, -step], noise[0] + 1j * noise[1])
    job = Job("vamp", {}, [len(z)], [], LAG, 2, 0, False, "cpu")
    result = judge(job, Outcome(left=np.column_stack((z.real, z.imag))), *np.split(np.arange(len(z) - LAG), [14_000]))
    for scale in result.timescales:
        assert scale.low < TAU < scale.high
        assert scale.low < scale.value < scale.high


def test_own_timescales_of_a_process_seen_once_are_unresolved():
    own = Timescale(50.0, 40.0, 60.0)
    step = np.repeat([0.0, 1.0], 50) + np.tile([0.1, -0.1], 50)
    job = Job("msm", {}, [100], [], LAG, 1, 0, True, "cpu")
    result = judge(job, Outcome(left=step[:, None], own_timescales=[own]), np.arange(95), np.arange(95))
    assert result.timescales == [replace(own, n_transitions=1, unresolved="only 1 transition seen")]


def test_no_piece_crosses_a_cut():
    lengths = [500, 3, 2000, 700]
    edges = np.cumsum([0, *lengths])
    splits = [split_stretches(lengths, LAG, 0.3, np.random.default_rng(1))]
    folds = cross_validation_folds(lengths, LAG, 3, np.random.default_rng(1))
    for train, held_out in [*splits, *folds]:
        used = np.zeros(sum(lengths), dtype=int)
        for piece in [*train, *held_out]:
            used[piece.start : piece.stop] += 1
            assert len(piece) > LAG
            assert np.searchsorted(edges, piece.start, side="right") == np.searchsorted(edges, piece.stop, side="left")
        assert used.max() == 1
        assert used.sum() == sum(lengths) - 3  # all but the stretch without a pair
    held_out_once = np.concatenate([starts_within([piece], 0) for _, pieces in folds for piece in pieces])
    assert len(np.unique(held_out_once)) == len(held_out_once) == sum(lengths) - 3


def test_a_method_that_fails_is_a_row_that_says_so(tmp_path):
    """All frames at two points, which leave two centres; and Gaussians of no width."""
    random = np.random.default_rng(0)
    hops = [(np.cumsum(random.random(2000) < 0.05) % 2 * 2.0 - 1)[:, None] for _ in range(2)]
    works = compare_methods(hops, LAG, 1, {"edmd": {"widths": [1.0]}})
    comparison = compare_methods(hops, LAG, 1, {"tica": {}, "edmd": {"widths": [0.0]}})
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


def test_a_method_that_takes_too_long_has_failed():
    comparison = compare_methods(spring(500), LAG, 1, ["tica"], time_limit=0.05)
    assert comparison.results[0].failed == "not done within 0.05 seconds"


def test_functions_that_are_no_numbers_have_failed():
    job = Job("tica", {}, [100], [], LAG, 1, 0, True, "cpu")
    outcome = Outcome(left=np.full((100, 1), np.nan))
    rows = np.arange(40), np.arange(50, 90)
    assert judge(job, outcome, *rows).failed == "its functions are not finite on 100 of 100 frames"
    assert judge(job, replace(outcome, left=np.ones((100, 1))), *rows).failed == "its functions do not vary"


@pytest.mark.skipif(not process.Path("/proc/self/clear_refs").exists(), reason="only Linux starts the peak anew")
def test_peak_memory_is_that_since_the_start():
    np.ones(20_000_000)  # a higher peak before
    before = process._start_of_peak()
    np.ones(5_000_000)
    assert 35 < process._peak(before) < 100


def test_command_line(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez("spring.npz", **{f"run{i}": part for i, part in enumerate(spring(2000))})
    compare = ["compare", "spring.npz", "--lag", "5", "--modes", "1"]
    assert main([*compare, "--methods", "tica,vamp"]) == 0
    printed = capfd.readouterr()
    assert "comparing" in printed.err
    assert "VAMP-E" in printed.out
    folder = tmp_path / "spring-comparison"
    assert {path.name for path in folder.iterdir()} == {"compare.json", "comparison.png"}
    rows = json.loads((folder / "compare.json").read_text())
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
    folder = REPOSITORY_DATA / "double_well"
    files = [str(folder / f"double_well_{i}.dcd") for i in range(4)]
    read = ["--top", str(folder / "double_well.pdb"), "--features", "positions", "--timestep", "0.2ps", "--stride", "2"]
    assert main(["compare", *files, *read, "--lag", "1ps"]) == 2
    assert "multiple of --stride" in capfd.readouterr().err
    assert main(["compare", *files, *read, "--lag", "2ps", "--methods", "tica", "--modes", "1", "--out", "well"]) == 0
    row = json.loads((tmp_path / "well" / "compare.json").read_text())[0]
    assert (row["lag"], row["unit"]) == (2.0, "ps")
    positions = load_features(files, top=read[1], features="positions", timestep="0.2ps", stride=2)
    slowest = TICA(lagtime=5, dim=1).fit_fetch([np.array(part, dtype=float) for part in positions])
    assert row["timescales"][0] == pytest.approx(-2.0 / np.log(slowest.singular_values[0]), rel=0.01)
