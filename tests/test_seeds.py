"""`spectraldyn seeds`: frames to start further runs from, out of the folder of a fit."""

import json
import re
import shutil
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest
from conftest import make_quick

import spectraldyn
from spectraldyn.cli import main
from spectraldyn.errors import InputError
from spectraldyn.estimators import GeneratorModel

N_FRAMES = 1500


def write_runs(home):
    """Two XTC files of three atoms in a box, one of which hops between two wells, and their topology."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(3):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", chain))
    for number in range(2):
        random = np.random.default_rng(number)
        well = np.cumsum(random.random(N_FRAMES) < 0.01) % 2
        xyz = 2 + 0.2 * random.normal(size=(N_FRAMES, 3, 3))
        xyz[:, 0, 0] += 2 * well - 1
        frames = mdtraj.Trajectory(xyz.astype(np.float32), topology, 2.0 * np.arange(N_FRAMES))
        frames.unitcell_lengths, frames.unitcell_angles = np.full((N_FRAMES, 3), 5.0), np.full((N_FRAMES, 3), 90.0)
        frames.save_xtc(str(home / f"run{number}.xtc"))
    frames[0].save_pdb(str(home / "top.pdb"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with trajectories and, under "fit", the results of a fit of every other frame."""
    home = tmp_path_factory.mktemp("seeds")
    write_runs(home)
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        files = [home / f"run{number}.xtc" for number in range(2)]
        results = spectraldyn.fit_trajectories(files, top=home / "top.pdb", lag="8ps", n_modes=1, stride=2)
        spectraldyn.write_results(results, home / "fit")
    return home, results


def run(*arguments: str) -> int:
    """Exit code, whether returned or raised by argparse."""
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_structures_are_the_frames_and_the_table_says_why(fitted, tmp_path, monkeypatch, capfd):
    home, results = fitted
    monkeypatch.chdir(tmp_path)
    assert run("seeds", str(home / "fit"), "--n", "4", "--length", "100ps") == 0
    printed = capfd.readouterr()
    assert re.search(r"Slowest timescale .*: \d+ ± \d+ ps; expected after these 4 runs of 100 ps", printed.out)
    assert len(re.findall(r"left \d+ times; a run of 100 ps from here takes [\d.]+ % off the error", printed.out)) == 4
    assert "fit the new runs together with the old ones" in printed.err
    folder = tmp_path / "fit-seeds"
    assert sorted(path.name for path in folder.iterdir()) == [*(f"seed_0{i}.pdb" for i in range(1, 5)), "seeds.json"]
    stored = json.loads((folder / "seeds.json").read_text())
    assert stored["length"] == {"value": 100.0, "unit": "ps"}
    assert stored["timescale"]["expected_error"] < stored["timescale"]["error"]
    loaded = {f"run{number}.xtc": mdtraj.load(home / f"run{number}.xtc", top=home / "top.pdb") for number in range(2)}
    for number, seed in enumerate(stored["seeds"], 1):
        assert (seed["number"], seed["structure"]) == (number, f"seed_0{number}.pdb")
        assert (folder / seed["file"]).resolve().parent == home
        frame = loaded[seed["file"].rpartition("/")[2]][seed["frame"]]
        written = mdtraj.load(folder / seed["structure"])
        np.testing.assert_allclose(written.xyz, frame.xyz, atol=1e-4)  # as it is stored, not moved
        np.testing.assert_allclose(written.unitcell_lengths, 5.0)
        assert seed["time"] == frame.time[0]
    assert len({(seed["file"], seed["frame"]) for seed in stored["seeds"]}) == 4
    # the results themselves, and their modes in memory, give the same frames
    seeds = spectraldyn.suggest_seeds(results, n=4, length=50)
    assert [(seed["frame"], seed["reason"]) for seed in seeds.plain(tmp_path)] == [
        (seed["frame"], seed["reason"]) for seed in stored["seeds"]
    ]
    assert repr(seeds).startswith(seeds.title)
    # once more
    assert run("seeds", str(home / "fit"), "--n", "2") == 2
    assert "fit-seeds exists: give another --out, or --force" in capfd.readouterr().err
    assert run("seeds", str(home / "fit"), "--n", "2", "--force", "--quiet", "--json") == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["length"]["value"] == 80.0  # ten lag times
    assert printed.err == ""
    assert not (folder / "seed_03.pdb").exists()
    assert run("seeds", str(home / "fit"), "--out", str(home / "fit"), "--force") == 2
    assert "exists and holds no seeds.json of spectraldyn" in capfd.readouterr().err


def test_runs_that_never_met_are_said(fitted, tmp_path):
    _, results = fitted
    seeds = spectraldyn.suggest_seeds(results, n=3)
    assert len(seeds.notes()) == 1
    apart = seeds.starts.__class__(**{**vars(seeds.starts), "bridged": np.array([True, False, False])})
    seeds = seeds.__class__(seeds.frames, apart, seeds.length)
    assert seeds.reason(0).startswith("no run has gone between this region and the rest in both directions; a run of")
    assert "neither its timescale nor its errors are to be quoted" in seeds.notes()[1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--n", "1501"], "1501 runs are asked for, and there are only 1500 frames to start from"),
        (["--n", "0"], "0 is not a whole number of at least 1"),
        (["--length", "8ps"], "--length is 8ps: a run must be longer than the lag time of the fit, 8 ps"),
        (["--length", "long"], "--length is 'long', which is not a time"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(options, sentence, fitted, tmp_path, capfd):
    home, _ = fitted
    out = tmp_path / "out"
    assert run("seeds", str(home / "fit"), *options, "--out", str(out)) == 2
    assert sentence in capfd.readouterr().err
    assert not out.exists()


def test_folders_without_what_it_needs_are_one_sentence(fitted, tmp_path, capfd):
    home, _ = fitted
    fit, contents = home / "fit", json.loads((home / "fit" / "results.json").read_text())

    def refused(sentence, folder=fit):
        assert run("seeds", str(folder), "--out", str(tmp_path / "out")) == 2
        assert re.search(sentence, capfd.readouterr().err)
        assert not (tmp_path / "out").exists()

    refused("is not a folder of results: give one that `spectraldyn fit` has written", tmp_path)
    kept = {path: path.read_bytes() for path in (home / "run1.xtc", fit / "results.json", fit / "modes.npz")}
    (home / "run1.xtc").unlink()
    refused("run1.xtc, a trajectory of the fit in .*, is not there: .* put it back")
    (home / "run1.xtc").write_bytes(kept[home / "run1.xtc"])
    (fit / "results.json").write_text(json.dumps({**contents, "operator": "generator"}))
    refused("these are results of a generator, whose frames have no order in time")
    (fit / "results.json").write_bytes(kept[fit / "results.json"])
    with np.load(fit / "modes.npz") as arrays:
        earlier = {name: array for name, array in arrays.items() if name != "stretch"}
    np.savez(fit / "modes.npz", **earlier)
    refused("fit does not say where uninterrupted runs of frames end: fit again")
    (fit / "modes.npz").write_bytes(kept[fit / "modes.npz"])


def test_ready_made_features_have_no_structures(fitted, tmp_path, monkeypatch, capfd):
    home, _ = fitted
    shutil.copytree(home / "fit", tmp_path / "fit")
    stored = (tmp_path / "fit" / "results.json").read_text()
    (tmp_path / "fit" / "results.json").write_text(stored.replace(".xtc", ".npy"))
    monkeypatch.chdir(tmp_path)
    assert run("seeds", "fit", "--n", "2") == 0
    printed = capfd.readouterr()
    assert "note: the input of the fit was ready-made features, which have no structures" in printed.err
    assert re.search("run[01].npy", printed.out)
    assert [path.name for path in (tmp_path / "fit-seeds").iterdir()] == ["seeds.json"]
    assert json.loads((tmp_path / "fit-seeds" / "seeds.json").read_text())["seeds"][0]["structure"] is None


def test_results_of_a_generator_in_memory_are_refused():
    results = SimpleNamespace(model=object.__new__(GeneratorModel))
    with pytest.raises(InputError, match="results of a generator, whose frames have no order in time"):
        spectraldyn.suggest_seeds(results)
