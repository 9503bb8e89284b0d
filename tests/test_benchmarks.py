"""The studies of methods side by side: what they share, and each once at its smallest."""

import json
import sys

import mdtraj
import numpy as np
import pytest
from problems import REPOSITORY_DATA

from analysis import references
from analysis.benchmarks import (
    accuracy,
    chapman_kolmogorov,
    coverage,
    data_size,
    dimension,
    hidden,
    kinetics,
    learning_rate,
    modes,
    molecules,
    nonreversible,
    plateau,
    real,
    study,
    villin,
)
from analysis.benchmarks.oracle import oracle
from analysis.benchmarks.processes import in_forked_process
from analysis.benchmarks.samples import hidden_radius, langevin, many_modes, mixed, n_resolved
from spectraldyn import analyze, compare_methods
from spectraldyn.baselines import Split
from spectraldyn.data import stretches_of
from spectraldyn.spectra.intervals import Estimates
from spectraldyn.systems import SYSTEMS, mixed_double_wells, oracle_timescales

SMALL = {"neural-svd": {"max_steps": 10}, "tica": {}}


def smallest(sample, seed, options=None, **further):
    """`study.compared` with two quick methods."""
    return study.compared(sample, seed, SMALL, **further)


def run(module, monkeypatch, folder, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "--seeds", "1", "--folder", str(folder), *arguments])
    module.main()


def written(folder, name: str) -> tuple[list[dict], str]:
    """Rows and text of a finished study, which leaves nothing else behind."""
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.md"]
    return json.loads((folder / f"{name}.json").read_text())["rows"], (folder / f"{name}.md").read_text()


def test_the_oracle_is_rayleigh_ritz_on_the_split_of_a_comparison():
    """On a spring TICA has the exact eigenfunction, so that all its numbers are those of the oracle."""
    sample = langevin("ornstein-uhlenbeck", 4000, 1)
    best = oracle(sample.eigenfunctions, sample.lagtime, 3, seed=5)
    expected = oracle_timescales(SYSTEMS["ornstein-uhlenbeck"], sample.trajectories, sample.lagtime, 3)
    assert [scale.value for scale in best.timescales] == pytest.approx(expected)
    one = oracle(sample.eigenfunctions, sample.lagtime, 1, seed=5)
    comparison = compare_methods(
        sample.trajectories, sample.lagtime, 1, ["tica"], n_splits=1, random_state=5, runner=in_forked_process
    )
    (tica,) = comparison.results
    assert tica.failed is None
    assert (tica.vamp2_test, tica.vampe_test) == pytest.approx((one.vamp2_test, one.vampe_test))
    assert tica.timescales[0].value == pytest.approx(one.timescales[0].value)
    split = Split.of(stretches_of([len(walk) for walk in sample.trajectories]), comparison)
    assert tuple(map(len, split.starts)) == (comparison.n_train_pairs, comparison.n_test_pairs)


def test_samples_carry_the_eigenfunctions_of_their_system():
    sample = mixed(5, 1200, seed=3)
    assert [len(walk) for walk in sample.trajectories] == [len(part) for part in sample.eigenfunctions] == [1000, 200]
    system = mixed_double_wells(5)
    for walk, known in zip(sample.trajectories, sample.eigenfunctions, strict=True):
        np.testing.assert_allclose(system.eigenfunctions(walk[:50], 3), known[:50], atol=1e-9)
    np.testing.assert_allclose(sample.exact, 1 / system.rates(3))
    again = mixed(5, 1200, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(sample.trajectories, again.trajectories, strict=True))
    assert many_modes(300, 0, 16).eigenfunctions[0].shape == (300, 16)


def test_springs_follow_their_exact_law():
    """The soft spring of double-well-2d: variance 2, timescale 2 ps."""
    sample = langevin("double-well-2d", 10_000, 2)
    walks = np.array(sample.trajectories)[:, :, 1]
    assert walks.var() == pytest.approx(2.0, rel=0.1)
    lag = sample.lagtime
    correlation = (walks[:, lag:] * walks[:, :-lag]).mean() / walks.var()
    assert correlation == pytest.approx(np.exp(-lag * sample.spacing / 2.0), abs=0.03)
    assert n_resolved(np.array([18.0, 0.9, 0.1]), 1.0) == 1
    assert n_resolved(np.array([18.0, 9.0, 8.0, 7.0]), 1.0) == 3


def test_errors_count_what_is_missing_and_tables_what_has_failed():
    assert study.errors([11.0, None], [10.0, 2.0, 1.0]) == pytest.approx([10.0, 100.0, 100.0])
    rows = [
        {"system": "a", "method": "tica", "failed": None, "off": 1.0},
        {"system": "a", "method": "tica", "failed": "no", "off": None},
        {"system": "a", "method": "msm", "failed": "no", "off": None},
    ]
    (line,) = study.side_by_side(rows, "system", "off")
    assert line == {"system": "a", "tica": "1 (1 of 2 failed)", "msm": "failed"}
    assert study.best_baseline(rows, "off", system="a") == (1.0, "tica")


def test_an_interrupted_study_goes_on(tmp_path):
    cases = [{"seed": seed} for seed in range(3)]
    done = []

    def measure(case):
        if case["seed"] == 2 and 2 not in done:
            done.append(2)
            raise KeyboardInterrupt
        done.append(case["seed"])
        return [{"method": "none", "failed": None, "value": case["seed"]}]

    with pytest.raises(KeyboardInterrupt):
        study.collect("some", tmp_path, cases, measure)
    with (tmp_path / "some.jsonl").open("a") as lines:
        lines.write('{"case": {"seed": 2}, "ro')  # ended while it wrote
    rows = study.collect("some", tmp_path, cases, measure)
    assert done == [0, 1, 2, 2]
    assert [row["value"] for row in rows] == [0, 1, 2]
    assert study.collect("some", tmp_path, cases, measure) == rows
    study.collect("some", tmp_path, cases, measure, options={"tica": {}})
    assert done == [0, 1, 2, 2, 0, 1, 2]


def test_accuracy(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "N_FRAMES", 1000)
    monkeypatch.setattr(accuracy, "compared", smallest)
    run(accuracy, monkeypatch, tmp_path, "--systems", "prinz", accuracy.HUNDRED, "--jobs", "2")
    rows, text = written(tmp_path, "accuracy")
    assert [row["method"] for row in rows] == ["oracle", *SMALL] * 2
    assert all(row["failed"] is None and row["frames"] == 1000 for row in rows)
    assert rows[0][study.FROM_ORACLE] == 0
    assert "of 1 systems of one or two dimensions" in text
    assert "In 100 dimensions NeuralSVD is" in text


def test_dimension_and_modes(monkeypatch, tmp_path):
    monkeypatch.setattr(dimension, "N_FRAMES", 1000)
    monkeypatch.setattr(dimension, "compared", smallest)
    run(dimension, monkeypatch, tmp_path / "dimension", "--systems", "2")
    rows, text = written(tmp_path / "dimension", "dimension")
    assert rows[0]["exact (ps)"] == pytest.approx([8.395, 4.135, 2.770], abs=1e-3)
    assert "2 dimensions" in text
    monkeypatch.setattr(modes, "N_FRAMES", 1000)
    monkeypatch.setattr(modes, "CHOSEN", SMALL)
    run(modes, monkeypatch, tmp_path / "modes", "--systems", "4")
    rows, text = written(tmp_path / "modes", "modes")
    assert len(rows[0]["oracle (ps)"]) == 4
    assert "4 modes" in text


def test_hidden_radius(monkeypatch, tmp_path):
    """No column is autocorrelated, the radius is."""
    sample = hidden_radius(2000, 0, 1)
    walk = sample.trajectories[0]
    radius = np.hypot(walk[:, 0], walk[:, 1])
    for series, low, high in ((walk[:, 0], -0.1, 0.1), (walk[:, 2], -0.1, 0.1), (radius, 0.7, 1.0)):
        assert low < np.corrcoef(series[:-1], series[1:])[0, 1] < high
    monkeypatch.setattr(hidden, "N_FRAMES", 1000)
    monkeypatch.setattr(hidden, "CHOSEN", SMALL)
    run(hidden, monkeypatch, tmp_path, "--systems", "20", "--seeds", "1")
    rows, text = written(tmp_path, "hidden")
    assert {row["noise"] for row in rows} == {20}
    assert "20 noise coordinates" in text


def test_learning_rate(monkeypatch, tmp_path):
    def shortly(sample, seed, options):
        return study.compared(sample, seed, {"neural-svd": {**options["neural-svd"], "max_steps": 10}})

    monkeypatch.setattr(learning_rate, "compared", shortly)
    monkeypatch.setattr(learning_rate, "N_FRAMES", 1000)
    monkeypatch.setattr(learning_rate, "RATES", (0.005, 0.01))
    run(learning_rate, monkeypatch, tmp_path, "--systems", "prinz")
    rows, text = written(tmp_path, "learning_rate")
    assert [row["settings"]["learning_rate"] for row in rows] == [0.005, 0.01]
    assert "the default is 0.02" in text
    assert "| system | 0.005 | 0.01 |" in text


def test_learning_rates_are_compared_by_their_worst_system():
    rows = [
        {"method": "", "failed": None, "system": system, "rate": rate, study.FROM_ORACLE: distance}
        for system, distances in (("a", (1.0, 2.0)), ("b", (3.0, 1.0)))
        for rate, distance in zip(learning_rate.RATES[:2], distances, strict=True)
    ]
    worst = learning_rate.worst_ratios(rows)
    assert [worst[rate] for rate in learning_rate.RATES[:2]] == [3.0, 2.0]


def test_data_size(monkeypatch, tmp_path):
    monkeypatch.setattr(data_size, "compared", smallest)
    run(data_size, monkeypatch, tmp_path, "--frames", "500", "1500", "--systems", "mixed-double-wells")
    rows, text = written(tmp_path, "data_size")
    assert [row["frames"] for row in rows] == [500] * 3 + [1500] * 3
    assert "mixed-double-wells: seconds, with tuning" in text


def test_plateau(monkeypatch, tmp_path):
    monkeypatch.setattr(plateau, "N_FRAMES", 300)
    monkeypatch.setattr(plateau, "ANGLES", (0,))
    for name in ("STEPS", "SETTLING_STEPS"):
        monkeypatch.setattr(f"spectraldyn.estimators.neural_svd.{name}", 10)
    run(plateau, monkeypatch, tmp_path)
    rows, text = written(tmp_path, "plateau")
    assert [row["method"] for row in rows] == ["one", "many"]
    assert all(len(row["timescales"]) == len(plateau.LAGS) for row in rows)
    assert "a fit at each lag" in text


def test_coverage(monkeypatch, tmp_path):
    """Wells as deep as their mirror images have equal shares; a passage and a rate are counted as what they are."""
    monkeypatch.setattr(coverage, "N_EXACT", 1)
    populations, mfpt, _ = coverage.exact_sets("double-well-2d")
    assert populations == pytest.approx([0.5, 0.5], abs=1e-3)
    # A round trip takes about twice the inverse of half of the rate, 4 × 18.01, more for cores that lie apart.
    assert 1 < (mfpt[0, 1] + mfpt[1, 0]) / (4 * 18.01) < 1.1
    assert [coverage.covers(*bounds, 2.0) for bounds in ((1, 3), (None, 1), (3, None), (None, None))] == [
        True, False, False, None,
    ]  # fmt: skip
    monkeypatch.setattr(coverage, "N_FRAMES", 150)
    monkeypatch.setattr(coverage, "N_SAMPLES", 500)
    monkeypatch.setattr(coverage, "N_REFITS", 2)
    for options in (coverage.FIT, coverage.GENERATOR):
        monkeypatch.setitem(options, "hidden", (8,))
        monkeypatch.setitem(options, "max_steps", 10)
    run(coverage, monkeypatch, tmp_path, "--systems", "double-well-2d", coverage.RATES)
    rows, text = written(tmp_path, "coverage")
    kinds = [row["quantity"].split()[0] for row in rows]
    assert kinds == 3 * ["timescale"] + 2 * ["population"] + 2 * ["passage"] + 3 * ["rate"]
    assert "| all | " in text


def test_chapman_kolmogorov(monkeypatch, tmp_path):
    """Told apart are a right and a wrong one, by the very test that `analyze` makes."""
    monkeypatch.setitem(chapman_kolmogorov.FIT, "max_steps", 20)
    right, wrong = "driven ring, two sides", "triple well, learned on shuffled pairs"
    run(chapman_kolmogorov, monkeypatch, tmp_path, "--systems", right, wrong)
    rows, text = written(tmp_path, "chapman_kolmogorov")
    assert [(row["kind"], row["passes"]) for row in rows] == [(right, True), (wrong, False)]
    assert "| 1 of 1 | 0 of 1 | 100 (2.5 – 100.0) |" in text
    assert "| 0 of 1 | 1 of 1 | 0 (0.0 – 97.5) |" in text
    model, data = chapman_kolmogorov.fitted(chapman_kolmogorov.KINDS[right], 0)
    own, test = chapman_kolmogorov.tested(model, data), analyze(model, data, n_states=3).chapman_kolmogorov
    assert own.p_value == test.p_value == rows[0]["p-value"]
    np.testing.assert_array_equal(own.differences, test.differences)
    np.testing.assert_allclose(chapman_kolmogorov.read_off(model, data).timescales(), model.timescales(), rtol=1e-6)


def test_nonreversible(monkeypatch, tmp_path):
    known = nonreversible.exact_values("noisy-logistic-map")
    assert known["singular"] == pytest.approx([0.9232, 0.8923, 0.6964, 0.6573, 0.4256, 0.4037], abs=1e-4)
    assert known["moduli"][0] == pytest.approx(abs(-0.193 + 0.191j), abs=1e-3)
    monkeypatch.setattr(nonreversible, "N_STEPS", 2000)
    edmd = nonreversible.FEW_STATES["edmd"]
    monkeypatch.setattr(nonreversible, "FEW_STATES", {"neural-svd": {"max_steps": 10}, "vamp": {}, "edmd": edmd})
    run(nonreversible, monkeypatch, tmp_path, "--systems", "three-state-chain")
    rows, text = written(tmp_path, "nonreversible")
    assert [row["method"] for row in rows] == ["oracle", "neural-svd", "vamp", "edmd", nonreversible.AS_REVERSIBLE]
    by_method = {row["method"]: row for row in rows}
    # All functions of three states are linear ones of their indicators.
    for method in ("vamp", "edmd"):
        assert by_method[method]["singular values"] == pytest.approx(by_method["oracle"]["singular values"], rel=1e-6)
    assert by_method["oracle"][nonreversible.OFF] < 0.05
    assert "exact: eigenvalues of (T + T*)/2" in text


def test_molecules(monkeypatch, tmp_path):
    data = REPOSITORY_DATA / "alanine_dipeptide"
    frames = mdtraj.load(data / "a2.xtc", top=data / "top.pdb")[:1500]
    (tmp_path / "data").mkdir()
    frames.save(tmp_path / "data" / "a.xtc")
    frames[0].save(tmp_path / "data" / "top.pdb")
    original = molecules.compared
    monkeypatch.setattr(molecules, "compared", lambda data, seed: original(data, seed, SMALL))
    run(molecules, monkeypatch, tmp_path / "out", "--data", str(tmp_path / "data"))
    rows, text = written(tmp_path / "out", molecules.NAME)
    assert [row["method"] for row in rows] == list(SMALL)
    assert rows[1]["timescale 2 (ps)"] > 1
    assert "interval holds 307 ps" in text


def test_kinetics(monkeypatch, tmp_path):
    """On one of the shipped runs: φ > 0 is seen too rarely for passage times with intervals, α ⇄ β often enough."""
    monkeypatch.setitem(
        kinetics.SYSTEMS, kinetics.SHIPPED, kinetics.System("alanine_dipeptide/a2.xtc", "top.pdb", 5, 2)
    )
    monkeypatch.setattr(kinetics, "N_SAMPLES", 10)
    run(kinetics, monkeypatch, tmp_path, "--systems", kinetics.SHIPPED)
    ((row,), text) = written(tmp_path, "kinetics")
    z = {one["quantity"].split(",")[0]: one["z"] for one in row["numbers"]}
    assert (row["sets"], len(z)) == (3, 3 + 6 + 3)
    for name in ("population 1", "passage time 1 → 2 (ps)", "passage time 2 → 1 (ps)", "committor 1 → 2"):
        assert abs(z[name]) < 1
    assert row["cores alike (%)"] > 98
    assert row["slowest process"].startswith("phi ALA2")
    assert "| alanine_dipeptide | 0 | 3 |" in text


def test_a_difference_is_held_against_both_errors():
    """A factor of e beside standard errors of 0.3 and 0.4 in the logarithm; none where a bound is unknown."""
    ours, theirs = (Estimates(*np.exp([m, m - 1.96 * s, m + 1.96 * s])) for m, s in ((1.0, 0.3), (0.0, 0.4)))
    assert kinetics.compared("some", ours, theirs)["z"] == pytest.approx(2)
    assert kinetics.compared("some", ours._replace(high=np.nan), theirs)["z"] is None


def scored(system: str, **scores: list[float | None]) -> list[dict]:
    """Rows of `real`: a method's score on each split, None where it failed."""
    return [
        {"system": system, "method": method.replace("_", "-"), "seed": seed, "vamp2_test": value,
         "failed": "no" if value is None else None}
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_differences_to_the_best_peer_are_paired():
    """Scores that scatter widely from split to split, all of NeuralSVD's above TICA's by .1 to .3."""
    rows = scored("clear", neural_svd=[1.1, 2.2, 3.3], tica=[1.0, 2.0, 3.0], msm=[0.9, 2.0, 3.0])
    rows += scored("tie", neural_svd=[1.0, 2.0, 3.0], tica=[1.1, 1.9, 3.0])
    rows += scored("behind", neural_svd=[1.0, 2.0, 2.9], tica=[1.1, 2.1, 3.1], edmd=[0.0, 0.0, 9.0])
    # A single split of 9 makes no better peer. MSM has the best score but mostly fails; EDMD and NeuralSVD have two
    # splits in common.
    rows += scored("failing", neural_svd=[None, 1.0, 1.2, 1.1], msm=[9.0, None, None, None], edmd=[3.0, 0.9, 0.8, None])
    rows += scored("alone", neural_svd=[1.0, 1.0], msm=[None, None])
    clear, tie, behind, failing = real.against_peers(rows, "vamp2_test")
    assert (clear["best peer"], clear["verdict"]) == ("tica", "above")
    assert clear["difference"] == pytest.approx([0.1, 0.2, 0.3])
    # Each of three counts alike, as scipy has it: .1 · √(2/3).
    assert real.MEDIAN.as_text(clear["difference"]) == "0.200 ± 0.082"
    # Their standard deviation is .1.
    assert real.MEAN.as_text(clear["difference"]) == "0.200 ± 0.058"
    assert (tie["verdict"], behind["best peer"], behind["verdict"]) == ("tie", "tica", "below")
    assert (failing["best peer"], failing["verdict"]) == ("edmd", "above")
    assert failing["difference"] == pytest.approx([0.1, 0.4])
    assert real.counted([clear, tie, behind, failing]) == "above on 2, tie on 1, below on 1 of 4 sets"
    assert real.MEDIAN.verdict([-0.3, -0.2, -0.1]) == "below"
    assert real.MEDIAN.verdict([0.5]) == "tie"  # one split says nothing of the spread
    # By means a single good split makes EDMD the best peer, and its spread a tie.
    (line,) = real.against_peers([row for row in rows if row["system"] == "behind"], "vamp2_test", real.MEAN)
    assert (line["best peer"], line["verdict"]) == ("edmd", "tie")
    line = real.means(rows, "vamp2_test")[3]
    assert (line["edmd"], line["tica"]) == ("1.567 ± 0.717 (none on 1 of 4)", "–")
    assert line["msm"] == "9.000 (none on 3 of 4)"


def test_methods_on_real_molecules_are_measured_one_by_one(monkeypatch, tmp_path):
    data = tmp_path / "data" / "opes"
    data.mkdir(parents=True)
    walk = langevin("double-well", 1000, 0).trajectories[0]
    table = "".join(f" {row} {0.5 * row} {x:.6f} {-x:.6f}\n" for row, (x,) in enumerate(walk))
    (data / "COLVAR").write_text("#! FIELDS time other p.x p.y\n" + table)
    system = real.System("opes/COLVAR", "p.x,other", 5, 1)
    kept = real.loaded(tmp_path / "data", system)
    np.testing.assert_allclose(kept[0], np.column_stack((walk, np.arange(1000) / 2))[100:], atol=1e-6)
    monkeypatch.setattr(real, "SYSTEMS", {"opes": real.System("opes/COLVAR", "p.x", 5, 1)})
    monkeypatch.setattr(real, "METHODS", ("neural-svd", "tica", "msm"))
    monkeypatch.setattr(real, "OPTIONS", {"neural-svd": {"max_steps": 10}, "tica": {}, "msm": {"n_clusters": [10]}})
    further = ("--data", str(tmp_path / "data"))
    out = tmp_path / "out"
    run(real, monkeypatch, out, *further, "--methods", "tica")
    assert [row["method"] for row in json.loads((out / "real.json").read_text())["rows"]] == ["tica"]
    run(real, monkeypatch, out, *further)
    first = (out / "real.jsonl").read_text()
    run(real, monkeypatch, out, *further, "--forget", "neural-svd", "--methods")
    rows = json.loads((out / "real.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["tica", "msm"]
    assert all(row["failed"] is None for row in rows)
    assert first.count('"neural-svd"') > 0
    assert '"neural-svd"' not in (out / "real.jsonl").read_text()


def test_markov_references(tmp_path, monkeypatch):
    """Expected counts of a chain in which every two states exchange at their own rate give its exact timescales."""
    transition = np.array([[0.90, 0.10, 0.00], [0.05, 0.90, 0.05], [0.00, 0.10, 0.90]])
    stationary = np.array([0.25, 0.5, 0.25])
    counts = 1e5 * stationary[:, None] * np.linalg.matrix_power(transition, 4)
    exact = -1 / np.log([0.9, 0.8])
    np.testing.assert_allclose(references.markov_timescales(counts, 4, 2), exact, rtol=1e-5)
    np.testing.assert_allclose(
        references.resampled_timescales(np.array([counts, counts]), 4, 2, 3, seed=0), [exact] * 3, rtol=1e-5
    )
    runs = [np.array([0, 1, 2, 0, 1, 2, 0]), np.array([2, 2, 2, 2])]
    blocks = references.block_counts(runs, 2, 2)
    # 0→2, 1→0, 2→1 | 0→2, 1→0, and then 2→2 in either block of the second run
    np.testing.assert_array_equal(blocks[0], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(blocks[1], [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(blocks[2:, 2, 2], [1, 1])
    assert blocks.sum() == 7


def test_villin(monkeypatch, tmp_path):
    walk = langevin("double-well-2d", 4000, 0)
    np.savetxt(tmp_path / "COLVAR", walk.trajectories[0], header="FIELDS x y", comments="#! ")
    monkeypatch.setattr(villin, "SYSTEMS", {"villin_go": real.System("COLVAR", "x,y", 5, 3)})
    for name, value in {"COORDINATES": (2,), "CLUSTERS": (20, 30), "LAGS_PS": (5.0, 10.0), "N_SAMPLES": 5}.items():
        monkeypatch.setattr(villin, name, value)
    run(villin, monkeypatch, tmp_path / "out", "--data", str(tmp_path), "--seeds", "0")
    rows = json.loads((tmp_path / "out" / "villin.json").read_text())["rows"]
    assert [row["clusters"] for row in rows] == [20, 20, 30, 30]
    known = villin.references(rows)
    assert known[0]["models"] == 2
    slowest = walk.exact[0] / walk.spacing
    assert 0.5 * slowest < known[0]["lowest (ps)"] < known[0]["highest (ps)"] < 2 * slowest
    middle = known[0]["median (ps)"]
    fits = [{"method": villin.FIT, "timescales": [scale, None]} for scale in (middle, 1.02 * middle, 9 * middle)]
    (line,) = villin.verdicts(fits[:1] + fits[2:], known)
    assert line["inside"].startswith("1 in ")
    (line,) = villin.verdicts(fits[:2], known)
    assert line["largest less smallest (%)"] == pytest.approx(100 * 0.02 / 1.01)
