"""Results of whole fits: the frames that represent a state, and that nothing is read or evaluated twice."""

import csv
import json
import re
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import spectraldyn
from spectraldyn.estimators import generator_svd, model, neural_svd
from spectraldyn.systems import SYSTEMS

pytestmark = pytest.mark.usefixtures("no_pictures")

N_FRAMES = 1500
SKIP, STRIDE = 100, 4
OPTIONS = {
    "features": "heavy-distances", "lag": 2 * STRIDE, "stride": STRIDE, "skip": SKIP, "n_modes": 2, "hidden": (8,),
    "max_steps": 10, "random_state": 0,
}  # fmt: skip


@pytest.fixture
def molecules(tmp_path, monkeypatch):
    """Two files of five carbon atoms that tumble freely, of which the last one is at 0.3, 0.5 or 0.7 nm from the first;
    and their topology. The current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for k in range(5):
        topology.add_atom(f"C{k}", mdtraj.element.carbon, residue)
    square = np.array([[0, 0, 0], [0.15, 0, 0], [0, 0.2, 0], [0, 0, 0.17]])
    trajectories = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        place = np.cumsum(random.random(N_FRAMES) < 0.05) % 4
        xyz = np.empty((N_FRAMES, 5, 3))
        xyz[:, :4] = square
        xyz[:, 4] = np.array([0.3, 0.5, 0.7, 0.5])[place][:, None] * [0.6, 0.8, 0.0]
        xyz += 0.01 * random.normal(size=xyz.shape)
        turns = np.linalg.qr(random.normal(size=(N_FRAMES, 3, 3)))[0]
        turns *= np.linalg.det(turns)[:, None, None]  # no reflections
        xyz = xyz @ turns + random.normal(size=(N_FRAMES, 1, 3))
        trajectories.append(mdtraj.Trajectory(xyz.astype(np.float32), topology))
        trajectories[-1].save_dcd(f"run{seed}.dcd")
    trajectories[0][0].save_pdb("top.pdb")
    return trajectories


FILES = ["run0.dcd", "run1.dcd"]


def distances(trajectory: mdtraj.Trajectory) -> np.ndarray:
    """All distances between two atoms, which know nothing of superposition, (n_frames, 10)."""
    return mdtraj.compute_distances(trajectory, [(i, j) for i in range(5) for j in range(i)])


def test_representative_structures_are_the_frames_they_are_named_for(molecules, tmp_path):
    results = spectraldyn.fit_trajectories(FILES, top="top.pdb", n_states=3, **OPTIONS)
    out = spectraldyn.write_results(results, "out")
    stored = json.loads((out / "results.json").read_text())
    page = (out / "report.html").read_text()
    with np.load(out / "modes.npz") as arrays:
        state, file_index, frame = (arrays[name] for name in ("state", "file_index", "frame"))
    np.testing.assert_array_equal(frame, np.tile(np.arange(SKIP, N_FRAMES, STRIDE), 2))
    every = np.stack([distances(trajectory) for trajectory in molecules])
    used, length = set(), []
    for number, (rows, entry) in enumerate(zip(results.representatives, stored["states"], strict=True), 1):
        assert entry["structure"] == f"states/state_{number}.pdb"
        shown = mdtraj.load(str(out / entry["structure"]))
        assert shown.n_frames == len(rows) == 5
        assert (state[rows] == number).all()
        for row, internal in zip(rows, distances(shown), strict=True):
            file, there = results.data.frame(row)
            assert (file.path.name, there) == (FILES[file_index[row]], frame[row])
            # PDB files round to 1e-4 nm; the noise is 0.01 nm, so that no other frame comes close.
            assert np.abs(every[file_index[row], there] - internal).max() < 4e-4
            assert (np.abs(every - internal).max(axis=2) < 4e-4).sum() == 1
        # The first is named on the page, and the others lie as well on it as rigid molecules can.
        file, there = results.data.frame(rows[0])
        assert f"frame {there} of {file.path.name}" in page
        apart = np.sqrt(((shown.xyz - shown.xyz[0]) ** 2).sum(axis=2).mean(axis=1))
        pieces = [molecules[file_index[row]][int(frame[row])] for row in rows]
        np.testing.assert_allclose(apart, mdtraj.rmsd(mdtraj.join(pieces), shown, 0), atol=2e-4)
        used |= set(rows.tolist())
        length.append(mdtraj.compute_distances(shown, [(0, 4)]).mean())
    assert len(used) == 15
    assert set(file_index[list(used)]) == {0, 1}
    np.testing.assert_allclose(sorted(length), [0.3, 0.5, 0.7], atol=0.03)
    assert len(re.findall(r"frame \d+ of run\d\.dcd", page)) == 3


def lines_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("reversible", [True, False])
def test_the_table_of_frames_holds_what_is_stored_of_them(molecules, reversible):
    """Every line against modes.npz and the model that it names."""
    options = {**OPTIONS, "timestep": "0.5ps", "reversible": reversible}
    results = spectraldyn.fit_trajectories(FILES, top="top.pdb", n_states=3, **options)
    out = spectraldyn.write_results(results, "out")
    stored = json.loads((out / "results.json").read_text())
    with np.load(out / "modes.npz") as npz:
        arrays = {name: npz[name] for name in ("modes", "memberships", "state", "file_index", "frame")}
    table = lines_of(out / "states" / "frames.csv")
    place = {(k, n): row for row, (k, n) in enumerate(zip(arrays["file_index"], arrays["frame"], strict=True))}
    every = [distances(trajectory) for trajectory in molecules]
    for line in table:
        k, frame = FILES.index(line["file"].removeprefix("../../")), int(line["frame"])
        row = place[k, frame]
        assert (float(line["time"]), line["unit"]) == (0.5 * frame, "ps")
        assert int(line["set"]) == arrays["state"][row]
        assert float(line["membership"]) == pytest.approx(arrays["memberships"][row].max(), abs=1e-4)
        np.testing.assert_allclose([float(line[f"mode_{i}"]) for i in (1, 2)], arrays["modes"][row], rtol=1e-5)
        for ending in (".pdb", ".xtc"):
            path = (out / "states" / line["structure"]).with_suffix(ending)
            shown = mdtraj.load(str(path), top=str(out / "states" / line["structure"]))[int(line["model"])]
            np.testing.assert_allclose(distances(shown)[0], every[k][frame], atol=2e-3)
    kinds = [line["kind"] for line in table]
    assert [line["kind"] for line in table if line["process"] == ""] == ["most probable", "medoid", *["spread"] * 3] * 3
    assert {"along", "transition"} >= set(kinds[15:])
    for number, entry in enumerate(stored["processes"], 1):
        assert entry["structure"] == f"states/process_{number}.pdb"
        mine = [line for line in table if line["process"] == str(number)]
        along = [float(line[f"mode_{number}"]) for line in mine if line["kind"] == "along"]
        assert (np.diff(along) > 0).all()
        assert len(along) == mdtraj.load(str(out / entry["structure"])).n_frames
        near = [float(line["committor"]) for line in mine if line["kind"] == "transition"]
        assert all(abs(q - 0.5) <= 0.1 for q in near)
        assert (entry["transition_structure"] is None) == (near == [])
    named = {line["structure"] for line in table}
    assert {p.name for p in (out / "states").glob("*.pdb")} == named
    assert {p.stem for p in (out / "states").glob("*.xtc")} == {Path(name).stem for name in named}


def test_frames_along_a_generators_mode_go_from_well_to_well(tmp_path):
    """A double well: along its mode from one bottom to the other, and over the top of the barrier at ½."""
    well = SYSTEMS["double-well"]
    np.savez(tmp_path / "x.npz", a=well.sample(4000, seed=0), b=well.sample(4000, seed=1))
    options = {"n_modes": 1, "max_steps": 500, "random_state": 0}
    results = spectraldyn.fit_generator(tmp_path / "x.npz", well, **options)
    out = spectraldyn.write_results(results, tmp_path / "out")
    with np.load(tmp_path / "x.npz") as arrays:
        held = {f"../../x.npz:{name}": arrays[name][:, 0] for name in arrays.files}
    table = lines_of(out / "states" / "frames.csv")
    x = {kind: [held[line["file"]][int(line["frame"])] for line in table if line["kind"] == kind] for kind in
         ("most probable", "along", "transition")}  # fmt: skip
    assert {line["structure"] for line in table} == {""}
    np.testing.assert_allclose(np.sort(x["most probable"]), [-1, 1], atol=0.35)
    assert len(x["along"]) == 15
    between = [place for place in x["along"] if abs(place) < 0.9]  # farther out, where frames are few, a mode is level
    assert len(between) >= 6
    assert len(set(np.sign(np.diff(between)))) == 1
    assert np.abs(x["transition"]).max() < 0.06
    assert len(x["transition"]) == 5


@pytest.fixture
def evaluations(monkeypatch):
    """Rows at which networks have been evaluated in double precision, call by call."""
    seen, original = [], model.evaluate

    def counted(sides, data):
        seen.append(data.n_rows)
        return original(sides, data)

    for module in (model, neural_svd, generator_svd):
        monkeypatch.setattr(module, "evaluate", counted)
    return seen


def test_networks_are_evaluated_once_on_all_rows_and_files_are_read_once(molecules, evaluations, monkeypatch):
    """Also where another number of states is asked for, which trains again but reads no trajectory."""
    first = spectraldyn.fit_trajectories(FILES, top="top.pdb", n_states=2, **OPTIONS)
    assert evaluations == [first.data.n_rows] == [2 * 350]
    del evaluations[:]

    def refuse(*_):
        raise AssertionError("a trajectory is read")

    monkeypatch.setattr("spectraldyn.io.scan", refuse)
    monkeypatch.setattr("spectraldyn.features.load.open_trajectory", refuse)
    again = spectraldyn.fit_trajectories(FILES, top="top.pdb", n_states=3, **OPTIONS)
    assert evaluations == [again.data.n_rows]
    assert [scale.value for scale in again.timescales] == [scale.value for scale in first.timescales]
    assert (len(first.sets.populations), len(again.sets.populations)) == (2, 3)
    with pytest.raises(AssertionError, match="is read"):
        spectraldyn.fit_trajectories(FILES, top="top.pdb", **{**OPTIONS, "stride": 1})


def test_a_generator_is_evaluated_once_on_all_rows(tmp_path, evaluations):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(500, 1)))
    options = {"n_modes": 1, "hidden": (8,), "max_steps": 3, "random_state": 0}
    spectraldyn.fit_generator(tmp_path / "x.npy", SYSTEMS["ornstein-uhlenbeck"], **options)
    assert evaluations == [500]
