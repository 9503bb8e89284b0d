"""Features of the user's own: what their function sees, what is kept, what is said when it is wrong."""

import json
import re
import tomllib

import mdtraj
import numpy as np
import pytest
from test_features import build

import spectraldyn
from spectraldyn.cli import _parser, main
from spectraldyn.errors import InputError
from spectraldyn.features import define_features, load_features, move_paths
from spectraldyn.pipeline import scan

GYRATION = """
import mdtraj
import numpy as np


def gyration(frames):
    return mdtraj.compute_rg(frames)


def ends(frames):
    return frames.xyz[:, [0, -1], 0], ["first", "last"]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A trajectory of a bonded chain that hops, its topology and a file of functions, in the current folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    state = np.cumsum(random.random(1500) < 0.03) % 2
    length = 0.1 + 0.05 * state[:, None] + 0.005 * random.normal(size=(1500, 3))
    xyz = np.zeros((1500, 4, 3))
    xyz[:, 1:, 0] = np.cumsum(length, axis=1)
    xyz[:, :, 1] = 0.01 * random.normal(size=(1500, 4))
    trajectory = build([("LIG", ["C1", "C2", "C3", "C4"])], xyz, [(0, 1), (1, 2), (2, 3)])
    trajectory.time = 2.0 * np.arange(1500)
    trajectory.save_xtc("run.xtc")
    trajectory[0].save_pdb("top.pdb")
    (tmp_path / "mine.py").write_text(GYRATION)
    return mdtraj.load("run.xtc", top="top.pdb")


def define(function, trajectory=None, atoms=None):
    trajectory = build([("LIG", ["C1", "C2"])], np.arange(18.0).reshape(3, 2, 3)) if trajectory is None else trajectory
    return define_features(trajectory[:1], function, atoms)


def test_a_function_in_a_file_gives_what_it_returns(run):
    found = load_features("run.xtc", "top.pdb", "mine.py:gyration,heavy-distances,mine.py:ends")
    assert found.column_names == [
        "gyration", "distance LIG1-C1 LIG1-C3", "distance LIG1-C1 LIG1-C4", "distance LIG1-C2 LIG1-C4", "ends last",
    ]  # fmt: skip
    np.testing.assert_allclose(found[0][:, 0], mdtraj.compute_rg(run), rtol=1e-5)
    np.testing.assert_array_equal(found[0][:, -1], run.xyz[:, 3, 0])
    assert found.columns[0].residues == ()
    assert "first" in found.warnings[0]  # which is constant and left out
    again = load_features("run.xtc", found.topology, columns=found.column_names, **found.options)
    np.testing.assert_array_equal(again[0], found[0])


def test_the_function_itself_is_the_same_and_is_not_kept(run, feature_store):
    found = load_features("run.xtc", "top.pdb", lambda frames: mdtraj.compute_rg(frames))
    by_name = load_features("run.xtc", "top.pdb", "mine.py:gyration", cache=False)
    np.testing.assert_array_equal(found[0], by_name[0])
    both = load_features("run.xtc", "top.pdb", ["heavy-distances", span])
    assert both.column_names[-1] == "span"
    assert not feature_store.exists()
    # it is found again by the file that it lies in
    assert both.options["features"] == ["heavy-distances", f"{__file__}:span"]
    with pytest.raises(InputError, match="lies in no file, and cannot be found again"):
        load_features("run.xtc", "top.pdb", found.options["features"])


def span(frames):
    return np.ptp(frames.xyz[:, :, 0], axis=1)


def test_two_functions_of_one_name():
    with pytest.raises(InputError, match="two functions among `features` are called <lambda>"):
        define([lambda frames: frames.xyz[:, 0, 0], lambda frames: frames.xyz[:, 0, 1]])


def test_what_the_function_sees():
    seen = []

    def look(frames):
        seen.append(frames)
        return frames.xyz[:, 0, 0]

    whole = np.array([[0.25 * i, 0.1, 0.1] for i in range(5)]) + np.array([[[0.4, 0, 0]], [[0.9, 0, 0]]])
    trajectory = build([("LIG", ["C1", "C2", "C3", "C4", "H1"])], whole % 1.5, [(i, i + 1) for i in range(4)], box=1.5)
    trajectory.unitcell_lengths[1] = 0  # which some programs write for no box
    chosen = define(look, trajectory, "not name H1")
    chosen.compute(trajectory)
    _, boxed, free = seen  # the first tells the columns
    assert [atom.name for atom in boxed.topology.atoms] == ["C1", "C2", "C3", "C4"]
    np.testing.assert_allclose(boxed.xyz[0], whole[0, :4], atol=1e-6)  # nm, and whole
    np.testing.assert_array_equal(boxed.unitcell_lengths, [[1.5, 1.5, 1.5]])
    np.testing.assert_allclose(free.xyz[0], (whole % 1.5)[1, :4], atol=1e-6)
    assert free.unitcell_lengths is None
    assert "made whole along their bonds" in chosen.periodic_notes[0]


def test_names_of_columns():
    def angles(frames):
        return np.zeros((len(frames), 2))

    assert [column.name for column in define(angles).columns] == ["angles 0", "angles 1"]
    assert [column.name for column in define(lambda frames: frames.xyz[:, 0, :1]).columns] == ["<lambda>"]
    assert [column.name for column in define(lambda f: (f.xyz[:, 0, :2], ("a b", " c"))).columns] == [
        "<lambda> a b",
        "<lambda> c",
    ]


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda f: 1 / 0, "failed with ZeroDivisionError: division by zero"),
        (lambda f: f.nothing, "failed with AttributeError"),
        (lambda f: None, "returns NoneType: return an array of real numbers"),
        (lambda f: np.full(len(f), "x"), "returns an array of <U1"),
        (lambda f: np.zeros(len(f), complex), "returns an array of complex128"),
        (lambda f: [[1], [1, 2]], "returns list: return an array of real"),
        (lambda f: np.zeros((len(f), 2, 2)), r"shape \(1, 2, 2\) for 1 frame: return \(n_frames, n_columns\)"),
        (lambda f: np.zeros((5, 2)), r"shape \(5, 2\) for 1 frame"),
        (lambda f: np.zeros((len(f), 0)), r"shape \(1, 0\)"),
        (lambda f: 3.0, r"shape \(\) for 1 frame"),
        (lambda f: (np.zeros((1, 2)), np.zeros((1, 2))), "returns a tuple of 2, which is not an array and a list of"),
        (lambda f: (np.zeros((1, 2)), ["a"]), "gives 1 names for 2 columns"),
        (lambda f: (np.zeros((1, 2)), ["a", "a"]), "gives the name 'a' to two columns"),
        (lambda f: np.zeros((1, 20_000)), "20,000 columns, more than the 10,000"),
    ],
)
def test_functions_that_return_what_is_no_feature(function, sentence):
    with pytest.raises(InputError, match=sentence):
        define(function)


def test_a_number_of_columns_that_changes_and_a_failure_name_file_and_frames(run, monkeypatch):
    monkeypatch.setattr("spectraldyn.features.featurize._BLOCK_VALUES", 300)
    with pytest.raises(InputError, match=r"^run\.xtc, frames 300 to 599: .* gives 2 columns, and gave 1 for the first"):
        load_features("run.xtc", "top.pdb", lambda f: np.zeros((len(f), 1 + (f.time[0] >= 600))))

    def fails(frames):
        if frames.time[-1] > 1300:
            raise RuntimeError("enough")
        return frames.time

    with pytest.raises(InputError, match=r"^run\.xtc, frames 602 to 1200: feature .*:.*fails failed .* enough$"):
        load_features("run.xtc", "top.pdb", fails, stride=2, skip=2)
    with pytest.raises(InputError, match=r"run\.xtc gives no number for '<lambda>' in frame 700"):
        load_features("run.xtc", "top.pdb", lambda f: np.where(f.time == 1400, np.nan, f.time))


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ("gone.py:f", "^gone.py, the file of feature f, does not exist: put it there"),
        (".py:f", r"^\.py, the file"),
        ("mine.py", "names mine.py without a function in it: write mine.py:FUNCTION"),
        ("mine.py:gyraton", r"has no function 'gyraton' \(did you mean gyration\?\): choose from gyration, ends"),
        ("mine.py:np", "has no function 'np'"),
        ("empty.py:f", "has no function 'f': it defines none"),
        ("broken.py:f", "broken.py cannot be run for its features: SyntaxError"),
        ("imports.py:f", "imports.py cannot be run for its features: ModuleNotFoundError: No module named 'nowhere'"),
        ("gyration", r"'gyration', which does not exist: choose from .*, or give one of your own \(FILE.py:FUNCTION\)"),
    ],
)
def test_files_without_the_function(run, tmp_path, feature, sentence):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("def f(:")
    (tmp_path / "imports.py").write_text("import nowhere")
    with pytest.raises(InputError, match=sentence):
        load_features("run.xtc", "top.pdb", feature)


def test_an_edited_file_is_computed_again_and_an_untouched_one_is_not(run, tmp_path, feature_store):
    first = load_features("run.xtc", "top.pdb", "mine.py:gyration")
    n_entries = len(list(feature_store.iterdir()))
    again = load_features("run.xtc", "top.pdb", "mine.py:gyration")
    assert len(list(feature_store.iterdir())) == n_entries
    (tmp_path / "mine.py").write_text(GYRATION.replace("compute_rg(frames)", "compute_rg(frames) * 2"))
    edited = load_features("run.xtc", "top.pdb", "mine.py:gyration")
    np.testing.assert_array_equal(again[0], first[0])
    np.testing.assert_array_equal(edited[0], 2 * first[0])
    assert first.digests != edited.digests


def test_features_registered_from_outside_are_not_kept(run, monkeypatch, feature_store):
    from spectraldyn.data import Column
    from spectraldyn.features import FEATURES
    from spectraldyn.features.blocks import Block
    from spectraldyn.features.definitions import Feature

    def block(molecule):
        return Block((Column("first", "x"),), lambda chunk, periodic: chunk.xyz[:, 1, :1])

    monkeypatch.setitem(FEATURES, "first", Feature("first", block))
    load_features("run.xtc", "top.pdb", "first")
    assert not feature_store.exists()


def test_paths_in_names_are_moved_and_nothing_else():
    names = "torsions,rmsd:a/b.pdb;name CA,mine.py:f,closest-distances:all;protein,rmsd, x.py:g,:lost,other"
    moved = "torsions,rmsd:up/a/b.pdb;name CA,up/mine.py:f,closest-distances:all;protein,rmsd,up/x.py:g,:lost,other"
    assert move_paths(names, lambda path: f"up/{path}") == moved


def test_fit_transform_report_and_a_repeated_run(run, tmp_path, quick, capfd, monkeypatch):
    run[0].save_pdb("ref.pdb")
    features = "mine.py:gyration,mine.py:ends,rmsd:ref.pdb"
    options = ["--top", "top.pdb", "--lag", "10ps", "--modes", "1", "--states", "2"]
    assert main(["fit", "run.xtc", *options, "--features", features, "--out", "one"]) == 0
    stored = json.loads((tmp_path / "one" / "results.json").read_text())
    assert stored["features"]["columns"] == ["gyration", "ends last", "rmsd ref.pdb"]
    assert stored["features"]["options"]["features"] == ["../mine.py:gyration", "../mine.py:ends", "rmsd:../ref.pdb"]
    leading = [entry["name"] for entry in stored["attribution"][0]["features"]]
    assert set(leading) == {"gyration", "ends last", "rmsd ref.pdb"}
    assert stored["attribution"][0]["residues"] == []
    assert (tmp_path / "one" / "states" / "state_1.pdb").exists()
    written = tomllib.loads((tmp_path / "one" / "run.toml").read_text())
    assert written["features"] == ["../mine.py:gyration,../mine.py:ends,rmsd:../ref.pdb"]
    assert main(["report", "one"]) == 0

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    repeated = _parser().options(["fit", "--config", "../one/run.toml"])
    assert repeated.features == [f"{tmp_path}/mine.py:gyration,{tmp_path}/mine.py:ends,rmsd:{tmp_path}/ref.pdb"]
    capfd.readouterr()
    assert main(["transform", "../one", "../run.xtc", "--quiet", "--out", "modes.npz"]) == 0
    assert capfd.readouterr().err == ""
    with np.load("modes.npz") as new, np.load("../one/modes.npz") as fitted:
        np.testing.assert_allclose(new["modes"], fitted["modes"], atol=1e-6)
    (tmp_path / "mine.py").write_text(GYRATION + "\n# edited")
    assert main(["transform", "../one", "../run.xtc", "--out", "modes.npz", "--force"]) == 0
    assert re.search(r"note: .*mine\.py:gyration has changed since the fit in \.\./one", capfd.readouterr().err)
    (tmp_path / "mine.py").rename(tmp_path / "moved.py")
    assert main(["transform", "../one", "../run.xtc", "--out", "modes.npz", "--force"]) == 2
    assert re.search(r"error: .*/mine\.py, the file of feature gyration, does not exist", capfd.readouterr().err)


def test_scan_takes_functions_as_sets(run, monkeypatch):
    sets = []
    monkeypatch.setattr(scan, "_fitted", lambda setting, *_: sets.append(setting.features) or fitted)
    fitted = scan._Fitted(None, None, 0)
    monkeypatch.setattr(scan, "_verdicts", lambda *_: [])
    features = ["heavy-distances", span, ["heavy-distances", span]]
    spectraldyn.scan_trajectories("run.xtc", top="top.pdb", lag=5, n_modes=1, features=features)
    assert sets == ["heavy-distances", (span,), ("heavy-distances", span)]
