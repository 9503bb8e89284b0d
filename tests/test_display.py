"""Times and numbers as they are shown: units, digits of uncertainty, tables, figures and the report; files keep ps."""

import json
import re
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from problems import blank, exchanging_frames

import spectraldyn
from spectraldyn import Dataset, GeneratorResults, TransferResults, plots
from spectraldyn.baselines import Comparison, MethodResult
from spectraldyn.pipeline.tables import aligned, half_width, rate_cells, rounded, timescale_cells, timescale_rows
from spectraldyn.spectra.intervals import Estimates
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale, slowest
from spectraldyn.units import TimeAxis, TimeUnit

POPULATIONS = Estimates(*np.array([[0.4, 0.6], [0.35, 0.55], [0.45, 0.65]]))
NS, PS = TimeUnit("ns"), TimeUnit("ps")
SLOW = [Timescale(184_000.0, 167_000.0, 204_000.0, 40), Timescale(19_333.0, 16_101.0, 23_099.0, 146)]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((184.2, 167.1, 204.4), ["184", "167", "204"]),
        ((0.8340, 0.8130, 0.8550), ["0.834", "0.813", "0.855"]),
        ((255.6, 120.1, 417.3), ["260", "120", "420"]),
        ((10.036, 9.668, 10.409), ["10.04", "9.67", "10.41"]),
        ((5.468, 3.687, 6.494), ["5.5", "3.7", "6.5"]),  # by the nearer end: 1.0, not 1.8
        ((12.0, 11.90034, 13.0), ["12.00", "11.90", "13.00"]),  # 0.0997 is 0.10 with two digits
        ((27_700.0, 20_712.0, 34_790.0), ["27700", "20700", "34800"]),
        # Outside its interval, or almost at its end: half of it.
        ((2.0, 2.1, 2.4), ["2.00", "2.10", "2.40"]),
        ((100.0, 99.999, 200.0), ["100", "100", "200"]),
        # One end alone, and none.
        ((512.0, 121.0, None), ["510", "120", "∞"]),
        ((512.0, None, 530.0), ["512", "0", "530"]),
        ((None, 121.4, 417.3), ["–", "120", "420"]),
        ((512.34, None, None), ["512", "0", "∞"]),
        ((None, 121.4, None), ["–", "121", "∞"]),
        ((3.0, 3.0, 3.0), ["3", "3", "3"]),
        # Nothing but 0 is shown as 0.
        ((1000.0, 3.14, 1997.0), ["1000", "3.1", "2000"]),
        ((0.0, None, None), ["0", "0", "∞"]),
    ],
)
def test_the_half_width_of_the_interval_has_two_digits(numbers, shown):
    assert rounded(*numbers, missing="–0∞", width=half_width(*numbers)) == shown


@pytest.mark.parametrize(
    ("scale", "error", "shown"),
    [
        (Timescale(255.6, 120.1, 417.3), 4.11, ["256", "120", "417", "4"]),  # three digits of the value
        (Timescale(255.6, 120.1, 417.3), 41.1, ["256", "120", "417", "41"]),
        (Timescale(255.6, 120.1, 417.3), 180.0, ["260", "120", "420", "180"]),
        (Timescale(10.036, 9.668, 10.409), 0.2, ["10.04", "9.67", "10.41", "0.20"]),
        (Timescale(10.036, 9.668, 10.409), 0.0, ["10.04", "9.67", "10.41", "0.00"]),
        (Timescale(10.036, None, None), 0.2, ["10.0", "0", "∞", "0.2"]),
        (Timescale(None, None, None), 0.2, ["–", "0", "∞", "0.2"]),
    ],
)
def test_a_standard_error_beside_the_interval(scale, error, shown):
    assert timescale_cells(scale, PS, error) == shown


def test_cells_are_in_the_unit_they_are_asked_in():
    assert timescale_cells(SLOW[1], NS) == ["19.3", "16.1", "23.1", ""]
    assert timescale_cells(SLOW[1], TimeUnit("frames"))[0] == "19300"
    rate = Rate(5.4312e-5, 4.8977e-5, 5.9873e-5)
    assert rate_cells(rate, 5.5555e-5, NS) == ["0.0543", "0.0490", "0.0599", "0.0556"]
    assert rate_cells(rate, None, PS) == ["0.0000543", "0.0000490", "0.0000599", "–"]
    assert rate_cells(Rate(0.0, None, None), 5.5555e-5, NS) == ["0", "–", "–", "0.0556"]


def test_the_slowest_process_is_a_resolved_one_where_there_is_one():
    rare = Timescale(9e9, None, None, 1, "only 1 transition seen")
    assert slowest([rare, *SLOW]) == 184_000
    assert slowest([rare, Timescale(None, 3.0, None)]) == 9e9
    assert slowest([Timescale(None, 3.0, None)]) is None


def test_table_of_timescales():
    unresolved = Timescale(None, 12_344.0, None, 1, "longer than all data together")
    assert aligned(timescale_rows([*SLOW, unresolved], NS)) == [
        "process  timescale (ns)  95 % interval  transitions",
        "      1             184      167 – 204           40",
        "      2            19.3    16.1 – 23.1          146",
        "      3               –       12.3 – ∞            1  unresolved: longer than all data together",
    ]


@pytest.mark.parametrize(
    ("typed", "unit", "lag"),
    [(None, "ns", "5 ns"), ("ns", "ns", "5 ns"), ("µs", "µs", "0.005 µs"), ("ps", "ns", "5000 ps")],
)
def test_results_in_words_and_pictures(typed, unit, lag):
    """Ten rows of 500 ps each; attributes stay in ps."""
    size = {"ns": 1e3, "µs": 1e6}[unit]
    data = Dataset([np.zeros((100, 1))], time=TimeAxis(500.0, typed_unit=typed))
    model = SimpleNamespace(lagtime=10, settings=SimpleNamespace(layout=SimpleNamespace(encoding=None)))
    by_lag = {2: SLOW, 10: SLOW, 30: SLOW}
    known = {"timescales": SLOW, "populations": POPULATIONS, "verdict": [], "timescales_by_lag": by_lag}
    results = blank(TransferResults, model=model, data=data, refitted_timescales_by_lag=by_lag, **known)
    assert (results.unit, results.lag_time, results.display_unit) == ("ps", 5000.0, TimeUnit(unit))
    title, head, *_ = repr(results).splitlines()
    assert title == f"Implied timescales at lag {lag}"
    assert f" timescale ({unit}) " in head
    ax = plots.plot_timescales(results)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (f"lag time ({unit})", f"timescale ({unit})")
    for line, scale in zip(ax.lines, SLOW, strict=False):
        np.testing.assert_allclose(line.get_xdata(), np.array([1000, 5000, 15_000]) / size)
        np.testing.assert_allclose(line.get_ydata(), scale.value / size)
    at_fit = next(line for line in ax.lines if line.get_label() == "lag time of the fit")
    np.testing.assert_allclose(at_fit.get_xdata(), 5000 / size)
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(), SLOW[0].value / size)  # of the refits
    assert ax.get_ylim() == pytest.approx((1000 / size, 3 * SLOW[0].value / size))


def test_rates_are_per_unit_of_the_slowest_timescale():
    rates = [Rate(5.4312e-5, 4.8977e-5, 5.9873e-5), Rate(2e-3, None, None)]
    scales = [Timescale(1 / 5.4312e-5, 1 / 5.9873e-5, 1 / 4.8977e-5), Timescale(500.0, None, None)]
    known = {"timescales": scales, "populations": POPULATIONS, "verdict": []}
    results = blank(GeneratorResults, rates=rates, exact_rates=np.array([5.5555e-5, 2e-3]), **known)
    assert (results.unit, results.display_unit) == ("ps", NS)
    assert repr(results).splitlines()[1:4] == [
        "process  rate (1/ns)    95 % interval   exact  timescale (ns)",
        "      1       0.0543  0.0490 – 0.0599  0.0556            18.4",
        "      2            2            – – –       2             0.5",
    ]
    ax = plots.plot_rates(results)
    assert ax.get_ylabel() == "rate (1/ns)"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.055555, 2])
    np.testing.assert_allclose(ax.containers[0][0].get_ydata(), [0.054312, 2])


def test_methods_side_by_side():
    """The unit is that of what most methods find; compare.json keeps ps."""
    wild = Timescale(5e9, 4e9, 6e9)
    runs = [
        [MethodResult("tica", timescales=SLOW), MethodResult("tica", timescales=SLOW)],
        [MethodResult("vamp", timescales=[wild]), MethodResult("vamp", timescales=[wild])],
        [MethodResult("msm", timescales=SLOW[1:]), MethodResult("msm", timescales=SLOW[1:])],
    ]
    comparison = Comparison(runs, TimeAxis(500.0), 10, 5, lagtime=10, n_modes=2, seed=0)
    lines = repr(comparison).splitlines()
    assert lines[0].startswith("At lag 5 ns; ")
    assert re.findall(r"timescale \d \(\w+\)", lines[1]) == ["timescale 1 (ns)", "timescale 2 (ns)"]
    assert re.split(r"  +", lines[2].strip())[1:3] == ["184 ± 0 (167–204)", "19.3 ± 0.0 (16.1–23.1)"]
    assert comparison.rows()[0]["timescales"] == [184_000, 19_333]
    assert (comparison.rows()[0]["unit"], comparison.rows()[0]["lag"]) == ("ps", 5000)
    ax = plots.plot_comparison(comparison, exact=[180_000])[0]
    assert ax.get_ylabel() == "timescale (ns)"
    (exact,) = (line for line in ax.lines if line.get_label() == "exact")
    np.testing.assert_allclose(exact.get_ydata(), 180)
    np.testing.assert_allclose([bars[0].get_ydata()[0] for bars in ax.containers], [184, 19.333, 5e6, 19.333])
    (faster,) = (patch for patch in ax.patches if patch.get_label() == "faster than the lag time")
    assert faster.get_y() + faster.get_height() == pytest.approx(5)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A chain of two exchanges, 2 ns from frame to frame, and the folder that a fit at 8 ns leaves."""
    path = tmp_path_factory.mktemp("data") / "chain.npy"
    np.save(path, exchanging_frames(10_000))
    options = {"n_modes": 2, "hidden": (8,), "max_steps": 100, "random_state": 0}
    results = spectraldyn.fit_trajectories(path, lag="8ns", timestep="2ns", **options)
    return results, spectraldyn.write_results(results, path.parent / "out")


def test_the_unit_of_the_lag_time_reaches_the_page_and_results_keep_ps(fitted):
    """The longest of the passage times, some 160 frames, is shown in the unit that was typed as well."""
    results, out = fitted
    stored, page = json.loads((out / "results.json").read_text()), unescape((out / "report.html").read_text())
    assert (stored["lag"], stored["timestep_ps"]) == ({"frames": 4, "time": 8000.0, "unit": "ps"}, 2000.0)
    assert [scale["value"] for scale in stored["timescales"]] == [scale.value for scale in results.timescales]
    assert {scale["unit"] for scale in stored["timescales"]} == {"ps"}
    assert results.timescales[0].value == pytest.approx(-2000 / np.log(0.97), rel=0.2)
    assert repr(results).startswith("Implied timescales at lag 8 ns\n")
    assert "10,000 frames, 20 µs in all. Reversible transfer operator at lag time 8 ns," in page
    assert "at lag time τ = 8 ns" in page
    assert "timescale</a> (ns)</th>" in page
    for scale in results.timescales:
        value, low, high, _ = timescale_cells(scale, NS)
        assert f'<td>{value}</td><td class="interval">{low} – {high}</td>' in page
    assert "Mean first passage times</a> (ns) from the set of the row" in page
    assert f">{stored['mfpt'][0][1] / 1000:.0f} (" in page


def test_a_model_without_the_typed_unit_is_shown_by_size(fitted):
    results, _ = fitted
    data = Dataset(list(results.data), time=TimeAxis(2000.0 * 100))
    again = spectraldyn.analyze(results.model, data)
    assert repr(again).startswith("Implied timescales at lag 800 ns\nprocess  timescale (µs)")
    in_frames = spectraldyn.analyze(results.model, Dataset(list(results.data)))
    assert repr(in_frames).startswith("Implied timescales at lag 4 frames\nprocess  timescale (frames)")
    typed = Dataset(list(results.data), time=TimeAxis(2000.0, typed_unit="µs"))
    assert repr(spectraldyn.analyze(results.model, typed)).startswith(
        "Implied timescales at lag 0.008 µs\nprocess  timescale (µs)"
    )
