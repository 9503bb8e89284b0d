"""Scans of lag time, modes and features: what is varied, what is said of it, resumption, files, the command line."""

import dataclasses
import json
import math
import re

import mdtraj
import numpy as np
import pytest
from problems import exchanging_frames

import spectraldyn
from spectraldyn import InputError, NeuralSVD, io, plots
from spectraldyn.cli import main
from spectraldyn.pipeline.sensitivity import change_verdict, lag_verdict
from spectraldyn.spectra.plateau import Change, Plateau
from spectraldyn.units import TimeAxis

EXACT = -2 / np.log([0.97, 0.95])
"""In ps, two frames of 2 ps apart."""
OPTIONS = {"hidden": (16,), "max_steps": 100, "n_networks": 1, "random_state": 0}
COMPARED = ("varied", "lagtime", "n_modes", "features")


@pytest.fixture(scope="module")
def frames():
    """8,000 frames of the chain, its states as points in a plane with a little noise."""
    return exchanging_frames(8000)


@pytest.fixture
def file(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("chain.npy", frames)
    return "chain.npy"


@pytest.fixture(scope="module")
def scan(frames, tmp_path_factory):
    """A scan of everything that is varied by default, made once."""
    path = tmp_path_factory.mktemp("data") / "chain.npy"
    np.save(path, frames)
    return spectraldyn.scan_trajectories(path, lag="8ps", timestep="2ps", n_modes=2, **OPTIONS)


@pytest.fixture
def molecule(tmp_path, monkeypatch):
    """Two files of two atoms that hop along x between two distances, and their topology."""
    monkeypatch.chdir(tmp_path)
    topology = mdtraj.Topology()
    residue = topology.add_residue("PRT", topology.add_chain())
    for _ in range(2):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    for number in range(2):
        random = np.random.default_rng(number)
        xyz = 0.1 * random.normal(size=(2000, 2, 3)).astype(np.float32)
        xyz[:, 1, 0] += 1 + np.cumsum(random.random(2000) < 0.02) % 2
        trajectory = mdtraj.Trajectory(xyz, topology)
        trajectory.save_dcd(f"run{number}.dcd")
    trajectory[0].save_pdb("top.pdb")
    return ["run0.dcd", "run1.dcd"]


def settings(scan):
    return [tuple(getattr(fit, name) for name in COMPARED) for fit in scan.fits]


def test_by_default_lag_and_modes_are_varied_one_at_a_time(scan):
    assert settings(scan) == [
        (None, 4, 2, ()), ("lag", 2, 2, ()), ("lag", 8, 2, ()), ("lag", 16, 2, ()), ("modes", 4, 1, ()),
        ("modes", 4, 4, ()),
    ]  # fmt: skip
    assert scan.axes == ("lag", "modes")
    assert [fit.lagtime for fit in scan.along("lag")] == [2, 4, 8, 16]
    assert [fit.n_modes for fit in scan.along("modes")] == [1, 2, 4]


def test_timescales_are_exact_and_steady(scan):
    for fit in scan.fits:
        assert fit.timescales[0].low < EXACT[0] < fit.timescales[0].high
    assert [verdict.axis for verdict in scan.verdicts] == ["lag", "modes"]
    assert [verdict.steady for verdict in scan.verdicts] == [True, True]
    assert scan.verdicts[0].plateau.from_lag == 2
    assert scan.verdicts[1].changes.keys() == {"1", "4"}
    assert all(change.reference == scan.fits[0].timescales[0].value for change in scan.verdicts[1].changes.values())


def test_the_reference_is_what_fit_gives(scan, frames, file):
    results = spectraldyn.fit_trajectories(file, lag=4, timestep="2ps", n_modes=2, **OPTIONS)
    assert scan.fits[0].timescales == results.timescales
    assert scan.fits[0].vampe_test == results.model.scores["vampe_test"]
    alone = NeuralSVD(4, 4, **OPTIONS).fit_fetch([frames])
    values = [scale.value for scale in scan.fits[-1].timescales if scale.value]
    np.testing.assert_allclose(values, 2 * alone.timescales(len(values)), rtol=1e-9)


def test_what_is_listed_is_varied_and_nothing_else(file):
    options = {**OPTIONS, "max_steps": 5}
    listed = spectraldyn.scan_trajectories(file, lag="6,3,6", n_modes=1, **options)
    assert settings(listed) == [(None, 6, 1, ()), ("lag", 3, 1, ())]
    listed = spectraldyn.scan_trajectories(file, lag=[6], n_modes=[1, 2], stride=3, **options)
    assert settings(listed) == [(None, 2, 1, ()), ("modes", 2, 2, ())]
    assert [row["lag_frames"] for row in listed.rows()] == [6, 6]
    # Half of 3 frames is none, four times too long for stretches of 20.
    np.save("short.npy", np.random.default_rng(0).normal(size=(20, 1)))
    short = spectraldyn.scan_trajectories("short.npy", lag=3, n_modes=1, **options)
    assert [fit.lagtime for fit in short.along("lag")] == [3, 6]
    assert all(verdict.steady is None for verdict in short.verdicts)
    assert "undecided, as the slowest timescale of the reference is unresolved (" in short.verdicts[0].message


def test_features_are_computed_once_for_each_set(molecule, monkeypatch):
    opened, read_all = [], io.scan

    def counted(path, *arguments):
        opened.append(str(path))
        return read_all(path, *arguments)

    monkeypatch.setattr(io, "scan", counted)
    options = {"top": "top.pdb", "lag": [4, 8], "n_modes": [1, 2], "features": ["heavy-distances", ["positions"]]}
    scan = spectraldyn.scan_trajectories(molecule, **options, **{**OPTIONS, "max_steps": 20})
    distances, positions = ("heavy-distances",), ("positions",)
    assert settings(scan) == [
        (None, 4, 1, distances), ("lag", 8, 1, distances), ("modes", 4, 2, distances), ("features", 4, 1, positions),
    ]  # fmt: skip
    assert sorted(opened) == sorted(2 * molecule)
    assert [fit.n_columns for fit in scan.fits] == [1, 1, 1, 6]
    assert scan.verdicts[2].steady
    assert scan.verdicts[2].message == "features: the slowest timescale is the same with positions"
    again = spectraldyn.scan_trajectories(molecule, **options, **{**OPTIONS, "max_steps": 20})
    assert len(opened) == 4  # from the store
    assert [fit.timescales for fit in again.fits] == [fit.timescales for fit in scan.fits]


def test_an_interrupted_scan_repeats_no_finished_fit(file, scan, tmp_path, monkeypatch):
    options = {"lag": "8ps", "timestep": "2ps", "n_modes": 2, "checkpoint_folder": tmp_path / "kept", **OPTIONS}
    fit, fitted = NeuralSVD.fit, []

    def interrupted(self, X, y=None):
        if len(fitted) == 5:
            raise KeyboardInterrupt
        fitted.append((self.lagtime, self.n_modes))
        return fit(self, X)

    monkeypatch.setattr(NeuralSVD, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spectraldyn.scan_trajectories(file, **options)
    assert fitted == [(4, 2), (2, 2), (8, 2), (16, 2), (4, 1)]
    del fitted[:]
    again = spectraldyn.scan_trajectories(file, **options)
    assert fitted == [(4, 4)]
    assert [fit.timescales for fit in again.fits] == [fit.timescales for fit in scan.fits]
    assert again.verdicts == scan.verdicts
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_seed_that_is_drawn_is_that_of_all_fits(file, monkeypatch):
    seeds, fit = [], NeuralSVD.fit

    def noted(self, X, y=None):
        fit(self, X)
        seeds.append(self.model_.settings.seed)
        return self

    monkeypatch.setattr(NeuralSVD, "fit", noted)
    options = {**OPTIONS, "max_steps": 5, "random_state": None}
    scan = spectraldyn.scan_trajectories(file, lag=[3, 6], n_modes=[1, 2], **options)
    assert seeds == 3 * [scan.seed]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": []}, "`lag` is empty"),
        ({"lag": "5ps,-10ps"}, "'-10ps', which is not a time"),
        ({"lag": "5,"}, "'', which is not a time"),
        ({"lag": [5, 9000]}, "`lag` is 9000 stored frames, but the longest"),
        ({"lag": 5, "n_modes": []}, "`n_modes` is empty"),
        ({"lag": 5, "n_modes": [2, 0]}, "`n_modes` is 0"),
        ({"lag": 5, "n_modes": "2,3"}, "`n_modes` is '2'"),
        ({"lag": 5, "features": []}, "`features` is empty"),
        ({"lag": 5, "features": ["torsions"]}, "`features` means nothing for ready-made features"),
    ],
)
def test_errors_are_one_sentence(file, options, message):
    with pytest.raises(InputError, match=message):
        spectraldyn.scan_trajectories(file, **options)


def test_a_scan_is_written_complete_as_plain_values(scan, tmp_path):
    endless = [dataclasses.replace(scan.verdicts[1], changes={"1": Change(10.0, 20.0, 0.5, math.inf)})]
    out = spectraldyn.write_scan(dataclasses.replace(scan, verdicts=scan.verdicts[:1] + endless), tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"report.html", "scan.json", "scan.png"}
    stored = json.loads((out / "scan.json").read_text())
    assert stored["rows"] == scan.rows()
    assert (
        stored["rows"][0].items() >= {"varied": None, "lag": 8.0, "lag_frames": 4, "unit": "ps", "n_modes": 2}.items()
    )
    assert stored["rows"][1]["timescales"] == [scale.value for scale in scan.fits[1].timescales]
    lag, modes = stored["verdicts"]
    assert (lag["axis"], lag["steady"], lag["from_lag"], lag["to_lag"]) == ("lag", True, 4.0, 32.0)
    assert lag["climb"]["low"] < 1 < lag["climb"]["high"]
    # Of the shortest lag time and the longest, in ps.
    ends = [scan.along("lag")[place].timescales[0].value for place in (0, -1)]
    assert [lag["climb"]["reference"], lag["climb"]["value"]] == pytest.approx(ends)
    assert modes["changes"] == {"1": {"reference": 10.0, "value": 20.0, "ratio": 2.0, "low": 0.5, "high": None}}
    with pytest.raises(InputError, match="exists: give another `out`"):
        spectraldyn.write_scan(scan, out)
    spectraldyn.write_scan(scan, out, force=True)
    (out / "scan.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds no scan\.json of spectraldyn"):
        spectraldyn.write_scan(scan, out, force=True)


def test_figure_shows_intervals_reference_and_what_is_too_fast(scan, tmp_path):
    axes = plots.plot_scan(scan)
    assert len(axes) == 2
    lag, modes = axes
    assert lag.get_xscale() == lag.get_yscale() == modes.get_yscale() == "log"
    assert [label.get_text() for label in lag.get_xticklabels()] == ["4", "8", "16", "32"]
    assert [label.get_text() for label in modes.get_xticklabels()] == ["1", "2", "4"]
    dotted = [next(line for line in ax.lines if line.get_linestyle() == ":").get_xdata()[0] for ax in axes]
    assert dotted == [8.0, 1.0]
    for axis, ax in zip(scan.axes, axes, strict=True):
        drawn = {container[0].get_ydata()[0]: container for container in ax.containers}
        for fit in scan.along(axis):
            for scale in fit.timescales[:3]:
                if scale.value is None:
                    continue
                (bar,) = drawn[scale.value][2][0].get_segments()
                low = scale.value if scale.low is None else scale.low
                high = scale.value if scale.high is None else scale.high
                np.testing.assert_allclose(bar[:, 1], [low, high])
                assert (drawn[scale.value][0].get_markerfacecolor() == "white") == (scale.unresolved is not None)
        (grey,) = (part for part in ax.collections if part.get_label() == "faster than the lag time")
        corners = grey.get_paths()[0].vertices
        assert corners[:, 1].max() == pytest.approx(32 * 1.3 if axis == "lag" else 8)
    own = plots.figure_axes()
    assert plots.plot_scan(dataclasses.replace(scan, fits=scan.fits[:3]), [own]) == [own]
    plots.save_figure(axes[0], tmp_path / "scan.png")


def test_a_climb_is_told_with_its_ends():
    time = TimeAxis(2.0, 5)  # ten ps a row
    climbing = lag_verdict(Plateau(False, None, 20, Change(9.5, 28.5, 2.1, 4.2)), 2, time)
    assert climbing.steady is False
    assert "still climbs at the longest lag that can tell, 200 ps: 95 → 285 ps, by a factor of 3 (2.1 – 4.2)" in (
        climbing.message
    )
    level = Plateau(True, 4, 16, Change(9.5, 10, 0.9, 1.2))
    assert lag_verdict(level, 4, time).steady is True
    assert lag_verdict(level, 4, time).message == "lag: the slowest timescale is level from lag 40 to 160 ps"
    later = lag_verdict(level, 2, time)
    assert later.steady is False
    assert later.message.endswith("but not yet at the reference: take lag 40 ps")
    assert lag_verdict(Plateau(None), 2, time).steady is None


def test_a_dependence_on_modes_or_features_is_told():
    same, wide, less = Change(10, 10.5, 0.9, 1.2), Change(10, 14, 0.8, 3), Change(10, 4, 0.3, 0.6)
    assert change_verdict("modes", {"2": same, "5": same}, [], "ps").steady is True
    unsure = change_verdict("modes", {"2": same, "5": wide}, ["7"], "ps")
    assert unsure.steady is None
    assert unsure.message == "modes: the slowest timescale is the same with 2 modes; undecided with 5, 7 modes"
    differing = change_verdict("features", {"contacts": less, "positions": wide}, [], "ps")
    assert differing.steady is False
    assert "(contacts: 10 → 4 ps, by a factor of 0.4 (0.3 – 0.6)); undecided with positions" in differing.message
    assert "too few" in change_verdict("features", {"positions": wide}, [], "ps").message


def test_command_line_prints_a_table_and_writes_the_folder(file, tmp_path, capfd, monkeypatch):
    for name in ("STEPS", "STEPS_PER_MODE", "SETTLING_STEPS", "LONGER"):
        monkeypatch.setattr(f"spectraldyn.estimators.neural_svd.{name}", 1)
    command = ["scan", file, "--lag", "4,2", "--modes", "1,2"]
    assert main(command) == 0
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:4] == ["varied", "lag", "(frames)", "modes"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["reference", "4", "1"], ["lag", "2", "1"], ["modes", "4", "2"],
    ]  # fmt: skip
    assert re.search(r"^lag: the slowest timescale is level from lag 2 to 4 frames$", printed.out, re.M)
    assert "report: chain-scan/report.html" in printed.out
    assert "scanning" in printed.err
    assert (tmp_path / "chain-scan" / "scan.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "error: chain-scan exists: give another --out, or --force" in capfd.readouterr().err
    assert main(["scan", file]) == 2
    assert "--lag is missing" in capfd.readouterr().err
    assert main(["scan", file, "--lag", "4", "--features", "torsions", "--out", "b"]) == 2
    assert "error: --features means nothing" in capfd.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["scan", file, "--lag", "4", "--modes", "2,x"])
    assert stop.value.code == 2
    assert "x is not a whole number of at least 1" in capfd.readouterr().err
