"""Refits at each lag time of the timescale plot: what they give, when they agree, where they are shown."""

import dataclasses
import json
import re

import numpy as np
import pytest
from problems import exchanging_frames

import spectraldyn
from spectraldyn import InputError, NeuralSVD, plots
from spectraldyn.cli import main
from spectraldyn.pipeline import refit
from spectraldyn.pipeline.agreement import agreement, disagreement_remarks
from spectraldyn.spectra.timescales import TOO_LONG, Timescale

EXACT = -1 / np.log([0.97, 0.95])
"""The eigenvalues of the chain are 1, 0.97 and 0.95: these timescales, in frames, at every lag time."""
LAG = 5
OPTIONS = {"n_modes": 2, "n_networks": 1, "hidden": (16,), "max_steps": 150, "random_state": 0}


@pytest.fixture(autouse=True)
def few_lags(monkeypatch):
    monkeypatch.setattr("spectraldyn.estimators.pairs.N_LAGS", 4)


@pytest.fixture(scope="module")
def frames():
    """20,000 frames of the chain, its states as points in a plane with a little noise."""
    return exchanging_frames(20_000)


@pytest.fixture
def file(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("chain.npy", frames)
    return "chain.npy"


@pytest.fixture(scope="module")
def refitted(frames, tmp_path_factory):
    """Results with refits, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectraldyn.estimators.pairs.N_LAGS", 4)
        patch.setenv("SPECTRALDYN_CACHE", str(tmp_path_factory.mktemp("store")))
        path = tmp_path_factory.mktemp("data") / "chain.npy"
        np.save(path, frames)
        return spectraldyn.fit_trajectories(path, lag=LAG, timestep="2ps", refit_lags=True, **OPTIONS)


def test_refits_agree_with_the_one_fit_and_with_the_exact_timescales(refitted):
    assert list(refitted.refitted_timescales_by_lag) == list(refitted.timescales_by_lag) == [1, 4, 5, 14, 50]
    assert refitted.refitted_timescales_by_lag[LAG] == refitted.timescales
    assert LAG not in refitted.refit_agreement
    for lag, agrees in refitted.refit_agreement.items():
        # At 50 frames both processes are over, and the plot shows neither.
        assert agrees == ([True, True] if lag < 30 else [None, None])
        for scale, fitted, exact in zip(
            refitted.refitted_timescales_by_lag[lag], refitted.timescales_by_lag[lag], 2 * EXACT, strict=True
        ):
            assert scale.value != fitted.value  # another fit, not the same moments again
            if lag < 30:
                assert scale.low < exact < scale.high
                assert scale.n_transitions > 100
    assert (
        refitted.refit_summary
        == "Refitted at 4 other lag times: 6 of 6 timescales lie within the error bars of the one fit"
    )
    assert refitted.refit_summary in repr(refitted)
    assert not any("refitted" in warning for warning in refitted.warnings)


def test_a_refit_is_a_fit_with_the_same_options_at_that_lag_time(refitted, frames):
    alone = NeuralSVD(lagtime=14, **OPTIONS).fit_fetch([frames])
    values = [scale.value for scale in refitted.refitted_timescales_by_lag[14]]
    np.testing.assert_allclose(values, 2 * alone.timescales(), rtol=1e-9)


def test_stride_keeps_lag_times_in_stored_frames(file, no_pictures):
    results = spectraldyn.fit_trajectories(file, lag=10, stride=5, refit_lags=True, **{**OPTIONS, "max_steps": 20})
    assert list(results.refitted_timescales_by_lag) == list(results.timescales_by_lag) == [1, 2, 3, 7, 20]  # rows
    out = spectraldyn.write_results(results, "out")
    stored = json.loads((out / "results.json").read_text())
    for name in ("timescales_by_lag", "refitted_timescales_by_lag"):
        assert [entry["lag"]["frames"] for entry in stored[name]] == [5, 10, 15, 35, 100]
    assert stored["lag"] == {"frames": 10, "time": None, "unit": "frames"}


def test_an_interrupted_run_repeats_no_finished_fit(file, refitted, tmp_path, monkeypatch):
    options = {"lag": LAG, "timestep": "2ps", "refit_lags": True, "checkpoint_folder": tmp_path / "kept", **OPTIONS}
    fit, fitted = NeuralSVD.fit, []

    def interrupted(self, X, y=None, sample_weight=None):
        if len(fitted) == 3:
            raise KeyboardInterrupt
        fitted.append(self.lagtime)
        return fit(self, X)

    monkeypatch.setattr(NeuralSVD, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spectraldyn.fit_trajectories(file, **options)
    assert fitted == [5, 1, 4]
    del fitted[:]
    results = spectraldyn.fit_trajectories(file, **options)
    assert fitted == [14, 50]
    assert results.timescales == refitted.timescales
    assert results.refitted_timescales_by_lag == refitted.refitted_timescales_by_lag
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("fitted", "refit", "expected"),
    [
        (Timescale(20.0, 18.0, 22.0), Timescale(21.9, 1.0, 99.0), True),
        (Timescale(20.0, 18.0, 22.0), Timescale(22.1, 1.0, 99.0), False),
        (Timescale(20.0, None, 22.0), Timescale(12.0, 11.0, 13.0), True),
        (Timescale(20.0, 18.0, None), Timescale(900.0, None, None), True),
        (Timescale(20.0, None, None), Timescale(20.0, 19.0, 21.0), None),
        # Only one of the two sees the process at this lag time, 10: can it be sure of it?
        (Timescale(20.0, 18.0, 22.0), Timescale(8.0, 7.0, 9.0), False),
        (Timescale(11.0, 9.0, 13.0), Timescale(None, None, 11.0), True),
        (Timescale(11.0, 9.0, 13.0), None, True),
        (Timescale(9.0, 8.0, 11.0), Timescale(20.0, 18.0, 22.0), False),
        (Timescale(9.0, 8.0, 9.5), Timescale(9.9, 8.0, 11.0), None),
        (Timescale(20.0, 18.0, 22.0), Timescale(None, 300.0, None, None, TOO_LONG), None),
    ],
)
def test_agreement_is_that_of_the_refit_with_the_interval_of_the_fit(fitted, refit, expected):
    assert agreement(fitted, refit, lag_time=10.0) is expected


def test_disagreement_is_told(refitted, tmp_path, no_pictures):
    off = {
        lag: [dataclasses.replace(scale, value=3 * scale.value) if lag in (1, 14) else scale for scale in scales]
        for lag, scales in refitted.refitted_timescales_by_lag.items()
    }
    off[4] = off[4][:1]  # a refit that found one process less
    results = dataclasses.replace(refitted, refitted_timescales_by_lag=off)
    assert results.refit_agreement == {1: [False, False], 4: [True, False], 14: [False, False], 50: [None, None]}
    spectraldyn.write_results(results, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 of 6 timescales lie within the error bars" in page
    stored = json.loads((tmp_path / "out" / "results.json").read_text())["refitted_timescales_by_lag"]
    assert [[scale["agrees"] for scale in entry["timescales"]] for entry in stored] == [
        [False, False], [True], [None, None], [False, False], [None, None],
    ]  # fmt: skip


def test_remarks_name_process_and_lag_times(refitted):
    """A fit whose error bars are far too small: the refits lie outside."""
    narrow = {
        lag: [dataclasses.replace(s, low=s.value * 1.1, high=s.value * 1.2) for s in scales]
        for lag, scales in refitted.timescales_by_lag.items()
    }
    results = dataclasses.replace(refitted, timescales_by_lag=narrow)
    remarks = disagreement_remarks(results.refit_agreement, results.data.time)
    assert {remark.level for remark in remarks} == {"caution"}
    assert [str(remark) for remark in remarks] == [
        f"process {k}: refitted at lag 2, 8, 28 ps its timescale lies outside the error bars of the one fit"
        for k in (1, 2)
    ]


def test_what_refits_say_reaches_verdict_and_warnings(refitted, monkeypatch):
    """The same, through the function that refits, which here finds what it had found before."""
    narrow = {
        lag: [dataclasses.replace(s, low=s.value * 1.1, high=s.value * 1.2) for s in scales]
        for lag, scales in refitted.timescales_by_lag.items()
    }
    monkeypatch.setattr(refit, "_refitted_timescales", lambda *_: refitted.refitted_timescales_by_lag)
    results = refit.refit_at_lags(dataclasses.replace(refitted, timescales_by_lag=narrow), NeuralSVD(2, LAG))
    said = [one for one in results.verdict if "refitted at lag 2, 8, 28 ps" in one.message]
    assert [one.process for one in said] == [1, 2]
    assert all(str(one) in results.warnings for one in said)
    assert results.verdict.index(said[0]) < min(i for i, one in enumerate(results.verdict) if one.level == "good")


def test_refits_need_the_estimator_that_was_fitted(refitted):
    with pytest.raises(InputError, match="n_modes of the estimator is 3, but these results are of a fit with 2"):
        spectraldyn.refit_at_lags(refitted, NeuralSVD(3, LAG))
    with pytest.raises(InputError, match="reversible of the estimator is False"):
        spectraldyn.refit_at_lags(refitted, NeuralSVD(2, LAG, reversible=False))


def test_refits_are_drawn_over_the_lines(refitted, tmp_path):
    ax = plots.plot_timescales(refitted)
    assert "refitted at each lag" in [text.get_text() for text in ax.get_legend().get_texts()]
    (first, second) = (container for container in ax.containers if len(container[0].get_xdata()))
    for markers, k in ((first, 0), (second, 1)):
        drawn = {round(x / 2): y for x, y in zip(*markers[0].get_data(), strict=True)}
        refits = {lag: scales[k] for lag, scales in refitted.refitted_timescales_by_lag.items()}
        assert drawn == {lag: scale.value for lag, scale in refits.items() if scale.value and scale.value > 2 * lag}
        bars = markers[2][0].get_segments()
        assert [end for bar in bars for end in bar[:, 1]] == pytest.approx(
            [end for lag in drawn for end in (refits[lag].low, refits[lag].high)]
        )
    plain = plots.plot_timescales(dataclasses.replace(refitted, refitted_timescales_by_lag=None))
    assert not plain.containers
    plots.save_figure(ax, tmp_path / "timescales.png")


def test_command_line_writes_refits_and_says_whether_they_agree(quick, file, frames, tmp_path, capfd):
    np.save(file, frames[:4000])
    command = ["fit", file, "--lag", "5", "--modes", "2", "--refit-lags"]
    assert main(command) == 0
    printed = capfd.readouterr()
    assert re.search(r"Refitted at 4 other lag times: \d of \d timescales lie within", printed.out)
    assert "refitting at each lag" in printed.err
    stored = json.loads((tmp_path / "chain-results" / "results.json").read_text())
    assert [entry["lag"]["frames"] for entry in stored["refitted_timescales_by_lag"]] == [1, 4, 5, 14, 50]
    refitted = stored["refitted_timescales_by_lag"][0]["timescales"][0]
    assert {"value", "low", "high", "unit", "n_transitions", "unresolved", "sampling", "learning", "agrees"} == {
        *refitted
    }
    assert "a new fit at each lag time" in (tmp_path / "chain-results" / "report.html").read_text()
    assert main([*command[:-1], "--force"]) == 0
    assert "refitted_timescales_by_lag" not in json.loads((tmp_path / "chain-results" / "results.json").read_text())


def test_generator_has_no_lags_to_refit(file, capfd):
    command = ["fit", file, "--operator", "generator", "--potential", "double-well-2d", "--refit-lags"]
    assert main(command) == 2
    assert "error: --refit-lags means nothing with --operator generator: leave it out\n" in capfd.readouterr().err
