"""The command line as users meet it: outputs, keys, refusals, one-sentence errors; small trajectories made here."""

import json
import re
import subprocess
import sys

import mdtraj
import numpy as np
import pytest
import torch
from problems import SHARED, needs_shared

from spectraldyn.cli import main
from spectraldyn.features import FEATURES
from spectraldyn.plots import save_figure

N_FRAMES = 3000
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two DCD files of one particle that hops between two wells, and its topology; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", topology.add_chain()))
    for i in range(2):
        random = np.random.default_rng(i)
        well = np.cumsum(random.random(N_FRAMES) < 0.02) % 2
        xyz = np.zeros((N_FRAMES, 1, 3), dtype=np.float32)
        xyz[:, 0, 0] = 2 * well - 1 + 0.2 * random.normal(size=N_FRAMES)
        xyz[:, 0, 1] = random.normal(size=N_FRAMES)
        trajectory = mdtraj.Trajectory(xyz, topology)
        trajectory.save_dcd(f"run{i}.dcd")
        trajectory.time = 2.0 * np.arange(N_FRAMES)
        trajectory.save_xtc(f"run{i}.xtc")
    trajectory[0].save_pdb("top.pdb")
    return ["run0.dcd", "run1.dcd"]


def run(*arguments: str) -> int:
    """Exit code, whether returned or raised by argparse."""
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def fit(*arguments: str) -> int:
    return run("fit", *arguments, "--top", "top.pdb", "--modes", "2")


def results(folder: str) -> dict:
    with open(f"{folder}/results.json") as stream:
        return json.load(stream)


def test_fit_writes_a_complete_folder(files, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 300)
    monkeypatch.setattr("spectraldyn.plots.save_figure", save_figure)
    assert fit(*files, "--lag", "10ps", "--timestep", "2ps", "--states", "2", "--seed", "3") == 0
    printed = capfd.readouterr()
    assert re.search(r"1 +\d+(\.\d+)? +[\d.]+ – [\d.]+ +\d+", printed.out)
    assert "run0-results/report.html" in printed.out
    assert "dcdplugin" not in printed.out + printed.err
    assert "training" in printed.err
    folder = tmp_path / "run0-results"
    figures = {
        f"{name}.png"
        for name in (
            "attribution",
            "chapman_kolmogorov",
            "free_energy",
            "modes",
            "network",
            "singular_values",
            "states",
            "time_series",
            "timescales",
        )
    }
    others = {"log.txt", "model.pt", "modes.npz", "report.html", "results.json", "run.toml", "states", "topology.h5"}
    assert {p.name for p in folder.iterdir()} == figures | others
    stored = results("run0-results")
    assert {
        "version", "inputs", "lag", "timescales", "timescales_by_lag", "eigenvalues", "singular_values", "scores",
        "states", "mfpt", "attribution", "warnings", "seed", "seconds",
    } <= stored.keys()  # fmt: skip
    assert stored["inputs"] == [{"path": f"../run{i}.dcd", "n_frames": N_FRAMES} for i in range(2)]
    assert stored["lag"] == {"frames": 5, "time": 10.0, "unit": "ps"}
    assert stored["seed"] == 3
    assert len(stored["eigenvalues"]) == len(stored["timescales"]) == 2
    assert {"norms", "ritz"} == stored["singular_values"].keys()
    assert {"vamp2_train", "vamp2_test", "vampe_test"} <= stored["scores"].keys()
    slowest = stored["timescales"][0]
    assert slowest["low"] < slowest["value"] < slowest["high"]
    assert slowest["unit"] == "ps"
    # The sign of x is nearly the slow mode: its autocorrelation at lag 5 in these files.
    signs = [np.sign(mdtraj.load(f, top="top.pdb").xyz[:, 0, 0]) for f in files]
    mean = np.mean(signs)
    correlation = np.mean([(s[:-5] - mean) @ (s[5:] - mean) / (N_FRAMES - 5) for s in signs]) / np.var(signs)
    assert slowest["value"] == pytest.approx(-10 / np.log(correlation), rel=0.03)
    assert [len(row) for row in stored["mfpt"]] == [2, 2]
    assert sum(state["population"] for state in stored["states"]) == pytest.approx(1)
    for i, state in enumerate(stored["states"], 1):
        assert state["structure"] == f"states/state_{i}.pdb"
        assert mdtraj.load(str(folder / state["structure"])).n_frames == 5
    assert [sorted(entry) for entry in stored["processes"]] == [["structure", "transition_structure"]] * 2
    assert stored["processes"][0]["structure"] == "states/process_1.pdb"
    assert [found["features"][0]["name"] for found in stored["attribution"]][:1] == ["x C1"]
    assert [row["name"] for row in stored["attribution"][0]["residues"]] == ["C1"]
    leading = stored["attribution"][0]["features"][0]
    assert leading["importance"]["value"] > 0.9
    assert {"value", "error", "spread"} == leading["correlation"].keys() == leading["integrated_gradients"].keys()
    page = (folder / "report.html").read_text()
    assert f"x C1 ({leading['importance']['value']:.2f})" in page
    assert page.count("data:image/png;base64,iVBOR") == 9
    assert 'href="states/process_1.pdb"' in page
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    assert not re.search(r'(src|href)="(https?:|/)', page)


def test_modes_belong_to_their_frames(files, tmp_path):
    assert fit(*files, "--lag", "6", "--stride", "3", "--skip", "100", "--states", "2") == 0
    with np.load("run0-results/modes.npz", allow_pickle=False) as stored:
        frames, which, modes, state = (stored[k] for k in ("frame", "file_index", "modes", "state"))
        assert stored["files"].tolist() == [f"../{name}" for name in files]
    expected = np.arange(100, N_FRAMES, 3)
    np.testing.assert_array_equal(frames, np.tile(expected, 2))
    np.testing.assert_array_equal(which, np.repeat([0, 1], len(expected)))
    x = np.concatenate([mdtraj.load(f, top="top.pdb").xyz[expected, 0, 0] for f in files])
    assert abs(np.corrcoef(np.sign(x), modes[:, 0])[0, 1]) > 0.97
    assert max((state == 1 + (np.sign(x) > 0)).mean(), (state == 2 - (np.sign(x) > 0)).mean()) > 0.99
    assert results("run0-results")["lag"] == {"frames": 6, "time": None, "unit": "frames"}


def test_lag_in_frames_and_in_time_are_the_same_fit(files):
    assert fit(*files, "--lag", "5", "--timestep", "2ps", "--out", "a") == 0
    assert fit(*files, "--lag", "10ps", "--timestep", "2ps", "--out", "b") == 0
    assert fit("run0.xtc", "run1.xtc", "--lag", "10ps", "--out", "c") == 0
    assert fit(*files, "--lag", "5", "--out", "d") == 0
    a, b, c, d = (results(name) for name in "abcd")
    assert a["timescales"] == b["timescales"]
    # XTC stores positions to 1e-3 nm.
    assert c["timescales"][0]["value"] == pytest.approx(a["timescales"][0]["value"], rel=0.01)
    assert d["timescales"][0]["unit"] == "frames"
    assert d["timescales"][0]["value"] == pytest.approx(a["timescales"][0]["value"] / 2)
    assert any("the frame spacing is unknown" in warning for warning in d["warnings"])


def test_one_file_or_its_pieces(files):
    whole = mdtraj.load("run0.dcd", top="top.pdb")
    whole[:1000].save_dcd("a.dcd")
    whole[1000:].save_dcd("b.dcd")
    assert fit("run0.dcd", "--lag", "5", "--out", "whole") == 0
    assert fit("a.dcd", "b.dcd", "--lag", "5", "--out", "pieces") == 0
    one, two = (results(name)["timescales"][0]["value"] for name in ("whole", "pieces"))
    in_well = np.sign(whole.xyz[:, 0, 0])
    # Five of 2,995 pairs are lost, which lengthens even the timescale of the true eigenfunction by 1.5 %.
    assert one == pytest.approx(timescale_of([in_well]), rel=0.01)
    assert two == pytest.approx(timescale_of([in_well[:1000], in_well[1000:]]), rel=0.01)
    assert timescale_of([in_well[:1000], in_well[1000:]]) > 1.014 * timescale_of([in_well])


def timescale_of(pieces: list[np.ndarray], lag: int = 5) -> float:
    """From the autocorrelation of one function over all pairs, both ends centred by the mean of both."""
    x, y = (np.concatenate([part[ends] for part in pieces]) for ends in (slice(None, -lag), slice(lag, None)))
    mean = (x.mean() + y.mean()) / 2
    x, y = x - mean, y - mean
    return -lag / np.log(2 * (x * y).mean() / (x**2 + y**2).mean())


def test_arrays_in_place_of_trajectories(files, tmp_path):
    for i, name in enumerate(files):
        np.save(f"run{i}.npy", mdtraj.load(name, top="top.pdb").xyz[:, 0, :2])
    assert run("fit", "run0.npy", "run1.npy", "--lag", "10ps", "--timestep", "2ps", "--modes", "1") == 0
    stored = results("run0-results")
    assert [state["structure"] for state in stored["states"]] == [None, None]
    assert stored["processes"] == [{"structure": None, "transition_structure": None}]
    assert [p.name for p in (tmp_path / "run0-results" / "states").iterdir()] == ["frames.csv"]
    assert run("states", "run0-results", "--out", "more") == 0
    assert [p.name for p in (tmp_path / "more").iterdir()] == ["frames.csv"]
    assert run("transform", "run0-results", "run1.npy") == 0


def test_transform_gives_the_modes_of_the_fit(files, capfd):
    assert fit(*files, "--lag", "5", "--states", "2") == 0
    capfd.readouterr()
    assert run("transform", "run0-results", "run1.dcd", "--out", "new.npz", "--quiet") == 0
    assert capfd.readouterr() == ("3000 frames: new.npz\n", "")
    with np.load("new.npz") as new, np.load("run0-results/modes.npz") as old:
        mine = old["file_index"] == 1
        for key in ("modes", "memberships", "state", "frame"):
            np.testing.assert_allclose(new[key], old[key][mine], atol=1e-6)
    assert run("transform", "run0-results", "run1.dcd", "--out", "new.npz") == 2
    assert "new.npz exists" in capfd.readouterr().err
    assert run("transform", ".", "run1.dcd") == 2
    assert "not a folder of results" in capfd.readouterr().err


def test_transform_takes_every_frame_and_only_what_fits(files, tmp_path, capfd):
    assert fit(*files, "--lag", "6", "--stride", "3", "--skip", "100") == 0
    assert run("transform", "run0-results", "run1.dcd", "--out", "new.npz") == 0
    with np.load("new.npz") as new:
        np.testing.assert_array_equal(new["frame"], np.arange(N_FRAMES))
    np.save("one.npy", np.random.default_rng(0).normal(size=(500, 1)))
    np.save("two.npy", np.random.default_rng(0).normal(size=(500, 2)))
    assert run("fit", "one.npy", "--lag", "2", "--modes", "1") == 0
    capfd.readouterr()
    for arguments, sentence in (
        (["one-results", "two.npy"], "two.npy has 2 columns, but the fit in one-results had 1"),
        (["one-results", "one.npy", "--out", "no/where.npz"], "no/where.npz cannot be written"),
        (["one-results", "one.npy", "--out", "one-results", "--force"], "one-results cannot be written"),
    ):
        assert run("transform", *arguments) == 2
        assert sentence in capfd.readouterr().err


def test_states_writes_more_structures_of_a_fit(files, tmp_path, capfd):
    assert fit(*files, "--lag", "5", "--states", "2") == 0
    assert run("states", "run0-results", "--n-frames", "5") == 0
    assert "run0-results-states/frames.csv" in capfd.readouterr().out
    few, fitted = tmp_path / "run0-results-states", tmp_path / "run0-results" / "states"
    for name in ("state_1", "state_2"):  # the fit has as many frames of each set, and the same
        for ending in (".pdb", ".xtc"):
            assert (few / (name + ending)).read_bytes() == (fitted / (name + ending)).read_bytes()
    first, again = ((folder / "frames.csv").read_text().splitlines() for folder in (fitted, few))
    assert [line.replace("../../run", "../run") for line in first[:11]] == again[:11]
    assert run("states", "run0-results", "--n-frames", "30") == 2
    assert "run0-results-states exists: give another --out, or --force" in capfd.readouterr().err
    assert run("states", "run0-results", "--n-frames", "30", "--force") == 0
    assert mdtraj.load(str(few / "state_1.pdb")).n_frames == 30
    assert mdtraj.load(str(few / "process_1.pdb")).n_frames > mdtraj.load(str(fitted / "process_1.pdb")).n_frames
    assert run("states", "run0-results", "--out", "run0-results", "--force") == 2
    assert "run0-results exists and holds no frames.csv of spectraldyn" in capfd.readouterr().err


def test_states_without_what_it_needs_is_one_sentence(files, tmp_path, capfd):
    assert fit(*files, "--lag", "5") == 0
    there = sorted(tmp_path.iterdir())
    home = tmp_path / "run0-results"
    for name, sentence in (
        ("run1.dcd", "run1.dcd, a trajectory of the fit in run0-results, is not there: .* put it back"),
        ("run0-results/topology.h5", r"run0-results is not complete \(topology.h5 is missing\): fit again"),
        ("run0-results/modes.npz", r"run0-results is not complete \(.*modes.npz.*\): fit again"),
        ("run0-results/results.json", "run0-results is not a folder of results"),
    ):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        capfd.readouterr()
        assert run("states", "run0-results") == 2
        assert re.search(sentence, capfd.readouterr().err)
        (tmp_path / name).write_bytes(content)
    (home / "modes.npz").write_bytes((home / "modes.npz").read_bytes()[:200])
    assert run("states", "run0-results") == 2
    assert "is not complete" in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == there


def test_states_leaves_nothing_where_a_frame_cannot_be_read(files, tmp_path, capfd):
    assert fit(*files, "--lag", "5") == 0
    mdtraj.load("run1.dcd", top="top.pdb")[:10].save_dcd("run1.dcd")
    there = sorted(tmp_path.iterdir())
    capfd.readouterr()
    assert run("states", "run0-results") == 2
    assert re.search("run1.dcd: frame [0-9]+ is asked for, but the file has 10 frames", capfd.readouterr().err)
    assert sorted(tmp_path.iterdir()) == there


def test_driven_process_reports_its_period_and_complex_eigenvalues(files, tmp_path):
    """Three states visited in turn: eigenvalues in a complex pair; JSON and report take them."""
    random = np.random.default_rng(0)
    state = np.cumsum(random.random(8000) < 0.1) % 3
    angle = 2 * np.pi * state / 3
    np.save("cycle.npy", np.column_stack((np.cos(angle), np.sin(angle))) + 0.05 * random.normal(size=(8000, 2)))
    assert run("fit", "cycle.npy", "--lag", "3", "--modes", "2", "--nonreversible") == 0
    stored = results("cycle-results")
    one_frame = 0.9 + 0.1 * np.exp(2j * np.pi / 3)
    values = np.array([complex(*pair) for pair in stored["eigenvalues"]])
    np.testing.assert_allclose(np.abs(values.imag), abs((one_frame**3).imag), atol=0.05)
    assert "oscillates with period" in (tmp_path / "cycle-results" / "report.html").read_text()


def test_more_modes_than_the_data_have_is_said(files):
    state = (np.cumsum(np.random.default_rng(0).random(2000) < 0.05) % 2).astype(float)
    np.save("two.npy", state[:, None])
    assert run("fit", "two.npy", "--lag", "5", "--modes", "3") == 0
    stored = results("two-results")
    assert any("only 1 of 3 modes are linearly independent" in warning for warning in stored["warnings"])
    assert stored["singular_values"]["ritz"][1:] == [None, None]


def test_existing_folders_are_safe(files, tmp_path, capfd):
    assert fit(*files, "--lag", "5", "--out", "mine") == 0
    before = results("mine")
    capfd.readouterr()
    assert fit(*files, "--lag", "5", "--out", "mine") == 2
    error = capfd.readouterr().err
    assert "mine exists" in error
    assert "Traceback" not in error
    (tmp_path / "mine" / "old.txt").touch()
    assert fit(*files, "--lag", "7", "--out", "mine", "--force") == 0
    assert results("mine")["lag"]["frames"] == 7
    assert not (tmp_path / "mine" / "old.txt").exists()
    assert before != results("mine")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "results.json").write_text("{}")
    assert fit(*files, "--lag", "5", "--out", "theirs", "--force") == 2
    assert (tmp_path / "theirs" / "results.json").read_text() == "{}"
    assert fit(*files, "--lag", "5", "--out", "no/such/place") == 2
    assert "does not exist" in capfd.readouterr().err


def test_unwritable_places_are_named_before_any_work(files, monkeypatch, capfd):
    assert fit(*files, "--lag", "5", "--out", "mine") == 0
    capfd.readouterr()

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("spectraldyn.files._try", refuse)
    monkeypatch.setattr("spectraldyn.pipeline.transfer.load_features", None)  # not reached
    for arguments in (
        ["fit", *files, "--top", "top.pdb", "--lag", "5", "--out", "new"],
        ["transform", "mine", "run1.dcd", "--out", "new.npz"],
    ):
        assert run(*arguments) == 2
        error = capfd.readouterr().err
        assert "cannot be written (Permission denied)" in error
        assert "Traceback" not in error


def test_a_failed_run_leaves_no_results_and_keeps_the_old(files, tmp_path, monkeypatch, capfd):
    assert fit(*files, "--lag", "5", "--out", "mine") == 0
    before = (tmp_path / "mine" / "results.json").read_bytes()
    there = sorted(tmp_path.iterdir())

    def fail(*_):
        raise InterruptedError

    monkeypatch.setattr("spectraldyn.report.write.render", fail)
    with pytest.raises(InterruptedError):
        fit(*files, "--lag", "5", "--out", "mine", "--force")
    with pytest.raises(InterruptedError):
        fit(*files, "--lag", "5", "--out", "new")
    assert (tmp_path / "mine" / "results.json").read_bytes() == before
    logs = [tmp_path / "mine-log.txt", tmp_path / "new-log.txt"]
    assert sorted(tmp_path.iterdir()) == sorted([*there, *logs])
    assert all("InterruptedError" in log.read_text() for log in logs)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lag", "5parsec"], r"--lag is '5parsec', which is not a time"),
        (["--lag", "10ps"], "--lag is given in time .* give --timestep"),
        (["--lag", "0"], "--lag is 0 stored frames: it must be a positive multiple"),
        (["--lag", "5", "--stride", "2"], r"--lag is 5 stored frames: .* multiple of --stride \(2\)"),
        (["--lag", "4000"], "--lag is 4000 stored frames, but the longest uninterrupted stretch has 3000"),
        (["--lag", "3ps", "--timestep", "2ps"], "--lag is 1.5 frames"),
        (["--lag", "5", "--timestep", "2"], "--timestep.*2.*unit"),
        (["--lag", "5", "--seed", "-1"], "--seed is -1"),
        (["--lag", "5", "--states", "9"], "--states is 9: with 2 modes there can be 2 to 3"),
        (["--lag", "5", "--features", "torsion"], r"'torsion', which does not exist \(did you mean torsions\?\)"),
        (["--lagg", "5"], r"--lagg is no option \(did you mean --lag\?\); see spectraldyn fit --help"),
        (["--lag", "5", "--xyzzy=3"], "--xyzzy is no option; see spectraldyn fit --help"),
        (["--lag", "5", "run1.dcd"], "run1.dcd is not expected there: give files one after the other"),
        (["--lag", "5", "--device", "cdua"], r"--device: cdua is unknown \(did you mean cuda\?\): choose one of auto"),
        (["--lag", "5", "--features", "ca-distances"], "ca-distances cannot be computed for this molecule"),
        (["--lag", "5", "--atoms", "name XX"], "--atoms is 'name XX', which selects none of the 1 atoms"),
        (["--lag", "5", "--skip", "5000"], "skip"),
        pytest.param(
            ["--lag", "5", "--device", "cuda"],
            "no GPU can be used here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_wrong_options_are_one_sentence(files, tmp_path, capfd, arguments, sentence):
    before = sorted(tmp_path.iterdir())
    assert fit(*files, *arguments) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("spectraldyn: error:")]
    assert len(lines) == 1
    assert re.search(sentence, lines[0])
    assert "Traceback" not in printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_spacing_in_conflict_with_the_file(files, capfd):
    assert fit("run0.xtc", "--lag", "10ps", "--timestep", "1ps") == 2
    error = capfd.readouterr().err
    assert "run0.xtc" in error
    assert re.search(r"\b2\b.*\b1\b|\b1\b.*\b2\b", error)


def test_info(files, capfd):
    assert run("info", "run0.dcd", "run0.xtc", "--top", "top.pdb") == 0
    printed = capfd.readouterr()
    assert "run0.dcd: dcd, 3000 frames, 1 atoms, no usable time stamps" in printed.out
    assert "run0.xtc: xtc, 3000 frames, 1 atoms, 2 ps apart, 6 ns" in printed.out
    assert printed.err == ""
    assert run("info", "missing.dcd", "run0.dcd", "--top", "top.pdb") == 2
    printed = capfd.readouterr()
    assert "missing.dcd" in printed.err
    assert "run0.dcd: dcd, 3000 frames" in printed.out


def test_features(files, capfd):
    assert run("features") == 0
    names = capfd.readouterr().out
    for name in FEATURES:
        assert name in names
    assert run("features", "--top", "top.pdb") == 0
    assert re.search(r"3 columns", capfd.readouterr().out)


def test_as_a_process(files):
    """The entry point, with stdout closed by its reader: no traceback."""
    command = [sys.executable, "-m", "spectraldyn", "features"]
    whole = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torsions" in whole.stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@needs_shared
def test_info_and_fit_do_with_damaged_files_what_the_manifest_says(tmp_path, monkeypatch, capfd):
    corpus = SHARED / "damaged"
    manifest = json.loads((corpus / "manifest.json").read_text())["files"]
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 5)
    monkeypatch.chdir(tmp_path)
    for name, entry in manifest.items():
        path = str(corpus / name)
        extra = [] if name.endswith((".pdb", ".pdb.gz", ".h5")) else ["--top", str(corpus / "top.pdb")]
        allowed = entry["outcome"].split(" | ") + (["loads"] if name == "no_extension" else [])
        code = run("info", path, *extra)
        info = capfd.readouterr()
        assert code == (2 if info.err else 0), name
        fit_code = run("fit", path, *extra, "--lag", "1", "--modes", "1", "--out", f"out-{name}")
        fitted = capfd.readouterr()
        errors = [line for line in fitted.err.splitlines() if line.startswith("spectraldyn: error:")]
        assert (fit_code, len(errors)) in ((0, 0), (2, 1)), (name, fitted.err)
        assert code == fit_code, name
        for text in (info.out, info.err, fitted.err, fitted.out):
            assert "Traceback" not in text
            assert "plugin" not in text
        if code == 2:
            assert "error" in allowed, name
            assert path in errors[0]
            assert info.err.count("\n") == 1
        else:
            warned = "note:" in info.out
            assert ("loads, warns" if warned else "loads") in allowed or (warned and "warns" in allowed), name
            frames = entry.get("frames", 200)
            assert f"{frames} frames" in info.out
            stored = results(f"out-{name}")
            assert stored["inputs"][0]["n_frames"] == frames
            assert not warned or any(name in warning for warning in stored["warnings"])
