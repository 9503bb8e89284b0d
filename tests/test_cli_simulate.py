"""`spectraldyn systems` and `spectraldyn simulate`: files with the right law, figures printed, errors in a sentence."""

import re
import shlex

import mdtraj
import numpy as np
import pytest

from spectraldyn.cli import main
from spectraldyn.systems import DISCRETE, RUNS, SCHROEDINGER, SYSTEMS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    """Exit code, whether returned or raised by argparse."""
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_systems_are_listed_with_their_physics(capfd):
    assert run("systems") == 0
    lines = capfd.readouterr().out.splitlines()
    everything = {**SYSTEMS, **SCHROEDINGER, **DISCRETE}
    assert [line.split()[0] for line in lines] == list(everything)
    for line, (name, system) in zip(lines, everything.items(), strict=True):
        assert line.endswith(system.description)
        assert (line.split()[1] == "simulate") == (name in RUNS)


def test_every_run_is_of_a_system_and_long_enough():
    for name, run_ in RUNS.items():
        assert run_.n_frames * run_.spacing > 950 / SYSTEMS[name].rates(1)[0]
        assert run_.lag < 0.5 / SYSTEMS[name].rates(1)[0]
        frames_per_lag, steps_per_frame = run_.lag / run_.spacing, run_.spacing / run_.timestep
        assert frames_per_lag == pytest.approx(round(frames_per_lag))
        assert steps_per_frame == pytest.approx(round(steps_per_frame))


def test_a_file_has_the_right_law(capfd):
    """Moments and relaxation of an Ornstein–Uhlenbeck process: ⟨x²⟩ = 1, correlation e^{−t}."""
    assert run("simulate", "ornstein-uhlenbeck", "--out", "spring.dcd", "--seed", "3", "--quiet") == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "20000 frames 0.1 ps apart: spring.dcd (spring.pdb beside it)" in printed.out
    assert "exact timescales: 1 ps, 0.5 ps, 0.3333 ps" in printed.out
    trajectory = mdtraj.load("spring.dcd", top="spring.pdb")
    assert trajectory.xyz.shape == (20_000, 1, 3)
    assert np.abs(trajectory.xyz[:, 0, 1:]).max() == 0
    x = trajectory.xyz[:, 0, 0].astype(float)
    length = 2000.0
    assert abs(x.mean()) < 4 * np.sqrt(2 / length)  # correlation time 1
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / length)  # of x², ½ with variance 2
    # The estimated rate scatters by √(2 / length).
    assert abs(-np.log((x[2:] * x[:-2]).mean() / x.var()) / 0.2 - 1) < 4 * np.sqrt(2 / length)


def test_the_command_it_proposes_is_complete(capfd, monkeypatch):
    """Positions in, lag and spacing as printed: the frames that `fit` would see are those of the file."""
    assert run("simulate", "double-well-2d", "--out", "well.xtc", "--frames", "50", "--timestep", "0.4ps") == 0
    (proposal,) = re.findall(r"try: spectraldyn (fit .*)", capfd.readouterr().out)
    assert proposal == "fit well.xtc --top well.pdb --features positions --lag 0.8ps"
    seen = {}

    def fit_trajectories(files, **options):
        seen.update(options, files=files)
        raise KeyboardInterrupt

    monkeypatch.setattr("spectraldyn.pipeline.fit_trajectories", fit_trajectories)
    assert run(*shlex.split(proposal)) == 130
    assert seen["files"] == ["well.xtc"]
    assert (seen["top"], seen["features"], seen["lag"], seen["timestep"]) == ("well.pdb", "positions", "0.8ps", None)
    np.testing.assert_allclose(mdtraj.load("well.xtc", top="well.pdb").time, 0.4 * np.arange(50), rtol=1e-6)
    assert run("simulate", "double-well-2d", "--out", "well.dcd", "--frames", "50", "--force") == 0
    assert "--lag 1ps --timestep 0.2ps" in capfd.readouterr().out


@pytest.mark.parametrize("ending", ["trr", "nc", "h5", "pdb", "gro", "xyz"])
def test_formats(ending):
    assert run("simulate", "double-well-2d", "--out", f"a.{ending}", "--frames", "4") == 0
    written = mdtraj.load(f"a.{ending}", **({"top": "a.pdb"} if ending in ("trr", "nc", "xyz") else {}))
    start = SYSTEMS["double-well-2d"].simulate(4, 0.2, timestep=5e-4, seed=0)[0]
    np.testing.assert_allclose(written.xyz[:, 0, :2], start, atol=6e-4)


def test_thirty_coordinates_fill_ten_atoms(here):
    options = ("--frames", "3", "--step", "1fs", "--seed", "5")
    assert run("simulate", "mixed-double-wells", "--out", "mixed.dcd", *options) == 0
    states = mdtraj.load("mixed.dcd", top="mixed.pdb").xyz.reshape(3, 30)
    expected = SYSTEMS["mixed-double-wells"].simulate(3, 0.1, timestep=1e-3, seed=5)[0]
    np.testing.assert_allclose(states, expected, atol=1e-5)
    assert sorted(p.name for p in here.iterdir()) == ["mixed.dcd", "mixed.pdb"]


def test_existing_files_are_kept_unless_forced(capfd, here):
    (here / "a.pdb").write_text("mine")
    short = ("simulate", "ornstein-uhlenbeck", "--out", "a.dcd", "--frames", "5")
    assert run(*short) == 2
    assert "a.pdb exists: give another --out, or --force to replace it" in capfd.readouterr().err
    assert not (here / "a.dcd").exists()
    assert run(*short, "--force") == 0
    assert mdtraj.load("a.dcd", top="a.pdb").n_frames == 5
    assert run(*short) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere is not a system: those that can be simulated are double-well, "),
        (("prince",), "prince is not a system (did you mean prinz?): those that can be simulated are "),
        (("hydrogen-2d",), "hydrogen-2d is not a system of particles in space: those that can be simulated are "),
        (("prinz", "--out", "a.foo"), "--out a.foo has no known ending: give one of .xtc, .trr"),
        (("prinz", "--out", "none/a.dcd"), "cannot be written: give the name of a file in an existing folder"),
        (("prinz", "--timestep", "3"), "--timestep is '3': give a time above 0 with its unit, such as 0.01ps"),
        (("prinz", "--timestep", "0ps"), "--timestep is '0ps': give a time above 0"),
        (("prinz", "--step", "soon"), "--step is 'soon', which is not a time"),
        (("prinz", "--step", "0fs"), "--step is '0fs': give a time above 0 with its unit, such as 4e-05ps"),
        (("prinz", "--frames", "0"), "argument --frames: 0 is not a whole number of at least 1"),
        (("prinz", "--seed", "-1"), "argument --seed: -1 is not a whole number of at least 0"),
    ],
)
def test_faults_are_one_sentence(arguments, message, capfd, here):
    out = () if "--out" in arguments else ("--out", "a.dcd")
    assert run("simulate", *arguments, *out) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(here.iterdir())


def test_nothing_is_left_of_a_run_that_fails(monkeypatch, here):
    def save(self, name):
        (here / name).write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mdtraj.Trajectory, "save", save)
    assert run("simulate", "ornstein-uhlenbeck", "--out", "a.dcd", "--frames", "5") == 130
    assert sorted(p.name for p in here.iterdir()) == []
