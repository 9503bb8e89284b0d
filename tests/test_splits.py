"""Methods over several splits: medians, spread, ties, failures on some."""

from dataclasses import replace

import numpy as np
import pytest
from springs import LAG, spring

from analysis.benchmarks.processes import in_forked_process
from spectraldyn import compare_methods, plots
from spectraldyn.baselines import Comparison, Job, MethodResult, best_or_tied, median_result, split_seeds
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.units import TimeAxis


def test_several_splits(tmp_path):
    """The first split is that of a single one; medians and standard errors are those of the values."""
    trajectories, methods = [np.column_stack((x, np.sin(3 * x))) for x in spring(3000)], {"tica": {}, "vamp": {}}
    one, three = (
        compare_methods(trajectories, LAG, 1, methods, n_splits=n, random_state=4, runner=in_forked_process)
        for n in (1, 3)
    )
    priceless = {"seconds": None, "peak_mb": None}
    for single, several in zip(one.results, three.runs, strict=True):
        assert replace(several[0], **priceless) == replace(single, **priceless)
        assert len({run.vampe_test for run in several}) == 3
    row = three.rows()[0]
    scores = [split["vamp2_test"] for split in row["splits"]]
    assert row["vamp2_test"] == sorted(scores)[1]
    deviations = np.array(scores) - np.mean(scores)
    assert row["standard_error"]["vamp2_test"] == pytest.approx(np.sqrt((deviations**2).sum() / 2 / 3))
    times = [split["timescales"][0] for split in row["splits"]]
    middle = int(np.argsort(times)[1])
    assert (row["timescales"], row["low"]) == (row["splits"][middle]["timescales"], row["splits"][middle]["low"])
    assert [split["seed"] for split in row["splits"]] == split_seeds(4, 3)
    assert (row["n_splits"], row["n_failed"]) == (3, 0)
    assert "medians over 3 splits" in repr(three)
    assert f"{row['vamp2_test']:.3f} ± {row['standard_error']['vamp2_test']:.3f}" in repr(three)
    assert [row["best_or_tied"]["vamp2_test"] for row in three.rows()] == best_or_tied(three.runs, "vamp2_test")
    axes = plots.plot_comparison(three)
    assert "best or tied" in [text.get_text() for text in axes[1].get_legend().get_texts()]
    plots.save_figure(axes[0], tmp_path / "comparison.png")


def test_seeds_of_splits():
    assert split_seeds(7, 1) == [7]
    assert split_seeds(7, 3) == split_seeds(7, 5)[:3]
    seeds = [*split_seeds(0, 20), *split_seeds(1, 20)]
    assert len(set(seeds)) == 40
    assert 0 <= min(seeds) <= max(seeds) < 2**32


def scored(method: str, *scores: float | None) -> list[MethodResult]:
    return [MethodResult(method, vampe_test=score) for score in scores]


def test_ties_by_hand():
    """The best median is 2.0. Behind it by 0.1 on each split is behind; by 0.2, 0, 0.1, which is 0.1 ± 0.058, too; by
    0.3, −0.3, 0.1, which is 0.03 ± 0.18, is a tie."""
    best = scored("best", 2.0, 1.0, 3.0)
    others = {
        "always a little less": [1.9, 0.9, 2.9],
        "less by more than the error": [1.8, 1.0, 2.9],
        "sometimes less": [1.7, 1.3, 2.9],
        "the same to rounding": [2.0 - 1e-12, 1.0 - 1e-12, 3.0 - 1e-12],
        "better where it did not fail": [9.0, None, 9.0],
    }
    runs = [best, *(scored(name, *scores) for name, scores in others.items())]
    assert best_or_tied(runs, "vampe_test") == [True, False, False, True, True, False]
    assert best_or_tied([own[:1] for own in runs], "vampe_test") == [False] * 6
    assert best_or_tied([scored("none", None, None, None)], "vampe_test") == [False]


def test_medians_over_what_was_found():
    def run(*values: float | None) -> MethodResult:
        scales = [Timescale(value, value and value / 2, value and 2 * value) for value in values]
        return MethodResult("msm", timescales=scales, seconds=1.0 if values[0] is None else values[0])

    result = median_result([run(30.0, 9.0, 5.0), run(20.0, None), run(40.0, 7.0), MethodResult("msm", "broken")])
    assert [scale.value for scale in result.timescales] == [30.0, 7.0, None]
    assert (result.timescales[0].low, result.timescales[1].high) == (15.0, 14.0)
    assert result.timescales[2].unresolved == "undetermined on 2 of 3 splits"
    assert (result.failed, result.seconds, result.vamp2_test) == (None, 30.0, None)
    broken = [MethodResult("msm", why) for why in ("broken", "too short", "broken")]
    assert median_result(broken).failed == "broken; too short"


def test_a_method_that_fails_on_some_splits_keeps_the_numbers_of_the_others(tmp_path):
    late = split_seeds(0, 3)[1]

    def runner(place, time_limit):
        job = Job.load(place / "job.pt")
        if job.method == "vamp" and job.split.seed == late:
            raise TimeoutError
        return in_forked_process(place, time_limit)

    comparison = compare_methods(spring(2000), LAG, 1, ["tica", "vamp"], time_limit=50, runner=runner)
    tica, vamp = comparison.rows()
    assert (tica["n_failed"], vamp["n_failed"], vamp["failed"]) == (0, 1, None)
    assert "failed on 1 of 3: not done within 50 seconds" in repr(comparison)
    kept = [split["vampe_test"] for split in vamp["splits"] if split["seed"] != late]
    assert vamp["vampe_test"] == pytest.approx(np.mean(kept))
    assert vamp["best_or_tied"] == {"vamp2_test": False, "vampe_test": False}
    assert tica["best_or_tied"] == {"vamp2_test": True, "vampe_test": True}
    plots.save_figure(plots.plot_comparison(comparison)[0], tmp_path / "comparison.png")


def test_a_score_below_zero_is_an_arrow_at_the_edge():
    runs = [[MethodResult("edmd", vamp2_test=1.8, vampe_test=-180.0)], [MethodResult("tica", vamp2_test=1.7)]]
    axes = plots.plot_comparison(Comparison(runs, TimeAxis(), 10, 5, lagtime=LAG, n_modes=1, seed=0))
    assert "◂ -180" in [text.get_text() for text in axes[1].texts]
    assert axes[1].get_xlim()[0] > -1
