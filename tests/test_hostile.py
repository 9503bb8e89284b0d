"""Damaged and unlucky input: whatever is in a file or behind an option, one sentence comes out, or sound results."""

import shutil
import zipfile
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import SHARED, needs_shared

from analysis.benchmarks.record import ROOT
from analysis.fuzz import FORMATS, N_FRAMES, PARTS, fit_once, judge_file, judge_part, write_sound_files
from spectraldyn import InputError, NeuralSVD, load_features
from spectraldyn.cli import main
from spectraldyn.estimators import load_model
from spectraldyn.io import load_topology, scan
from spectraldyn.io.outliers import Outliers

SOUND = ("refused", "note", "unchanged", "silent")
few = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of small sound files in every format."""
    folder = tmp_path_factory.mktemp("sound")
    write_sound_files(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with the results of a short fit, their store and their trajectory."""
    folder = tmp_path_factory.mktemp("fitted")
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x90\0\0\0\x90"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRALDYN_CACHE", str(folder / "cache"))
        patch.setattr("spectraldyn.plots.save_figure", lambda ax, path: path.write_bytes(header))  # pictures take long
        fit_once(folder)
    return folder


@given(st.sampled_from([name for name in FORMATS if name != "h5"]), st.integers(0, 2**32))
@settings(few, max_examples=80)
def test_damaged_trajectories(sound, kind, number):
    outcome = judge_file(sound, kind, number, seed=1)
    assert outcome.outcome in SOUND, outcome


@given(st.integers(0, 2**32))
@settings(few, max_examples=2)
def test_damaged_hdf5(sound, number):
    outcome = judge_file(sound, "h5", number, seed=1)
    assert outcome.outcome in SOUND, outcome


@given(st.sampled_from(PARTS), st.integers(0, 2**32))
@settings(few, max_examples=25)
def test_damaged_results_and_stores(fitted, part, number):
    outcome = judge_part(fitted, part, number, seed=1)
    assert outcome.outcome in SOUND, outcome


# ---- frames unlike all others


def run_of(n_frames=60, **changed):
    """Some frames of alanine dipeptide."""
    source = ROOT / "data" / "alanine_dipeptide"
    run = mdtraj.load(str(source / "a2.xtc"), top=str(source / "top.pdb"))[:n_frames]
    run.unitcell_vectors = None
    for name, value in changed.items():
        setattr(run, name, value)
    return run


def notes_of(run, path, topology=None):
    run.save(str(path))
    return [warning.removeprefix(f"{path}: ") for warning in scan(path, topology or run.topology).warnings]


def moved(run, frame, atoms, by):
    """The same with atoms moved in one frame."""
    xyz = run.xyz.copy()
    xyz[frame, atoms] += np.asarray(by, dtype=np.float32)
    changed = run[:]
    changed.xyz = xyz
    return changed


@pytest.mark.parametrize("extension", ["xtc", "trr", "dcd", "nc", "pdb", "gro", "xyz", "lammpstrj", "mdcrd"])
@pytest.mark.parametrize("frame", [0, 31, 59])
def test_an_atom_moved_in_one_frame(extension, frame, tmp_path):
    run = run_of()
    if extension == "lammpstrj":
        run.unitcell_vectors = np.tile(9.0 * np.eye(3), (60, 1, 1))
    assert notes_of(run, tmp_path / f"sound.{extension}") == []
    (note,) = notes_of(moved(run, frame, 4, [0.1, 0, 0]), tmp_path / f"a.{extension}")
    assert note.startswith(f"bond lengths or angles are far out of their range in frame {frame}, unlike")


def test_a_molecule_moved_as_a_whole(tmp_path):
    """Not by its bonds, only by its steps there and back; once and for all is no damage."""
    run = run_of()
    (note,) = notes_of(moved(run, 20, slice(None), [0, 0, 7]), tmp_path / "a.dcd")
    assert note.startswith("atoms lie far from where they are before and after frame 20, unlike in all other frames")
    assert notes_of(moved(run, slice(20, None), slice(None), [0, 0, 7]), tmp_path / "b.dcd") == []


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("frame", [19, 20, 21])
def test_a_molecule_moved_where_one_chunk_ends_and_the_next_begins(frame, boxed):
    run, outliers = moved(run_of(), frame, slice(None), [0, 0, 7]), Outliers()
    if boxed:
        run.unitcell_vectors = np.tile(30.0 * np.eye(3), (60, 1, 1))
    for first in (0, 20, 40):
        outliers.look(run[first : first + 20], np.empty((20, 0)), first)
    (note,) = outliers.remarks(())
    assert note.startswith(f"atoms lie far from where they are before and after frame {frame}, unlike")


@pytest.mark.parametrize("extension", ["gro", "lammpstrj"])
def test_an_atom_moved_by_boxes(extension, tmp_path):
    """At the nearest image, where bonds are measured, it is in its place."""
    run = run_of(unitcell_vectors=np.tile(3.0 * np.eye(3), (60, 1, 1)))
    run.xyz = run.xyz - run.xyz.min(axis=(0, 1)) + 0.2
    wrapped = moved(run, slice(None), slice(None), np.linspace(0, 6, 60)[:, None, None])
    wrapped.xyz = wrapped.xyz % 3.0
    assert notes_of(wrapped, tmp_path / f"wrapped.{extension}") == []
    (note,) = notes_of(moved(run, 12, 3, [18, 0, 0]), tmp_path / f"a.{extension}")
    assert note.startswith("atoms lie boxes away from where they are beside frame 12")


def test_a_box_that_changes_in_one_frame(tmp_path):
    run = run_of(unitcell_vectors=np.tile(3.0 * np.eye(3), (60, 1, 1)))
    breathing = run.unitcell_lengths * (1 + 0.01 * np.random.default_rng(0).normal(size=(60, 1)))
    run.unitcell_lengths = breathing
    assert notes_of(run, tmp_path / "a.xtc") == []
    run.unitcell_lengths = np.where(np.arange(60)[:, None] == 7, 2.0, breathing)
    (note,) = notes_of(run, tmp_path / "b.xtc")
    assert note.startswith("the periodic box is another than before and after frame 7")


def test_chunks_do_not_matter(tmp_path, monkeypatch):
    damaged = moved(moved(run_of(200), 119, 4, [0.1, 0, 0]), 120, slice(None), [9, 0, 0])
    whole = notes_of(damaged, tmp_path / "a.dcd")
    assert len(whole) == 2
    monkeypatch.setattr("spectraldyn.io.frames.frames_per_chunk", lambda n_atoms: 7)
    assert notes_of(damaged, tmp_path / "a.dcd") == whole


def test_no_false_alarm_on_independent_frames_and_particles(tmp_path):
    random = np.random.default_rng(0)
    run = run_of(2000)
    for number, rows in enumerate([random.permutation(2000), np.arange(0, 2000, 50), random.integers(0, 2000, 60)]):
        assert notes_of(run[rows], tmp_path / f"{number}.dcd") == []
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", topology.add_chain()))
    hops = np.cumsum(random.random(3000) < 0.02) % 2
    states = np.stack([2 * hops - 1 + 0.2 * random.normal(size=3000), *random.normal(size=(2, 3000))], axis=1)
    assert notes_of(mdtraj.Trajectory(states[:, None], topology), tmp_path / "particle.dcd") == []


@needs_shared
@pytest.mark.parametrize(
    ("trajectory", "top"),
    [
        ("molecules/alanine_tetrapeptide_400K/traj0.dcd", "molecules/alanine_tetrapeptide_400K/top.pdb"),
        ("real/chignolin_short/traj.dcd", "real/chignolin_short/topology.pdb"),
        ("real_sized/villin_go/villin_go_11.xtc", "real_sized/villin_go/villin_go.pdb"),
        ("known/prinz_00.dcd", "known/prinz.pdb"),
    ],
)
def test_no_false_alarm_on_good_files(trajectory, top):
    data = SHARED / "data" if (SHARED / "data").exists() else SHARED
    assert scan(data / trajectory, load_topology(data / top, []).topology).warnings == ()


@pytest.mark.parametrize("extension", ["xyz", "arc", "gro", "pdb", "mdcrd", "lammpstrj"])
def test_zeros_in_a_text(extension, sound, tmp_path):
    """Where they took the place of one frame, the others are sound."""
    raw = (sound / f"sound.{extension}").read_bytes()
    start, length = len(raw) // 2, len(raw) // N_FRAMES
    path = tmp_path / f"a.{extension}"
    path.write_bytes(raw[:start] + bytes(length) + raw[start + length :])
    with pytest.raises(InputError, match=r"line \d+ holds zero bytes"):
        scan(path, load_topology(sound / "top.pdb", []).topology)


# ---- names of atoms


@pytest.mark.parametrize(("extension", "before"), [("xyz", 2), ("arc", 1), ("gro", 2), ("pdb", None)])
@pytest.mark.parametrize(("frame", "says"), [(20, "of frame 20 is"), (None, "in the topology it is")])
def test_rows_in_another_order(extension, before, frame, says, sound, tmp_path):
    """In one frame, or in all of them."""
    topology = load_topology(sound / "top.pdb", []).topology
    lines = (sound / f"sound.{extension}").read_text().splitlines(keepends=True)
    rows = [place for place, line in enumerate(lines) if line.startswith("ATOM")]
    if extension != "pdb":
        length = len(lines) // N_FRAMES
        rows = [number * length + before + atom for number in range(N_FRAMES) for atom in range(topology.n_atoms)]
    for number in range(N_FRAMES) if frame is None else [frame]:
        first = rows[topology.n_atoms * number + 3]  # N, and after it C
        lines[first], lines[first + 1] = lines[first + 1], lines[first]
    path = tmp_path / f"a.{extension}"
    path.write_text("".join(lines))
    with pytest.raises(InputError, match=rf"atom 4 .*{says} .*: the atoms are in another order"):
        scan(path, topology)


def test_labels_that_are_no_names_are_not_compared_with_the_topology(tmp_path):
    run = run_of()
    path = tmp_path / "a.xyz"
    run.save(str(path))
    text = path.read_text()
    for symbol, number in (("C", "1"), ("N", "2"), ("O", "3")):
        text = text.replace(f"\n{symbol} ", f"\n{number} ")
    path.write_text(text)
    assert scan(path, run.topology).warnings == ()


# ---- options and files that led to tracebacks

NUMBERS = ["0", "-1", "1e400", "nan", "inf", str(10**30), "9" * 5000, "text", "", "1.5.2"]
TRAJECTORY = str(ROOT / "data" / "alanine_dipeptide" / "a2.xtc")
TOP = str(ROOT / "data" / "alanine_dipeptide" / "top.pdb")
COMMANDS = {
    "fit": ["--lag", "--modes", "--stride", "--skip", "--timestep", "--seed", "--states", "--refits", "--temperature"],
    "scan": ["--lag", "--modes", "--stride", "--skip", "--timestep", "--seed"],
    "compare": ["--lag", "--modes", "--stride", "--skip", "--timestep", "--seed", "--splits"],
}


def refused(arguments, capfd):
    """The sentence that the command line ends with, and nothing else."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    printed = capfd.readouterr()
    (sentence,) = [line for line in printed.err.splitlines() if line.startswith("spectraldyn: error:")]
    assert (code, printed.out) == (2, "")
    assert "Traceback" not in printed.err
    return sentence


class Reached(Exception):
    """The options were taken."""


@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command, options in COMMANDS.items() for option in options]
)
def test_extreme_numbers(command, option, capfd, monkeypatch, tmp_path):
    """Each is refused by one sentence that names the option, or is one that can be meant."""
    monkeypatch.chdir(tmp_path)

    def reached(*_, **__):
        raise Reached

    monkeypatch.setattr("spectraldyn.estimators.neural_svd.NeuralSVD._pairs", reached)
    monkeypatch.setattr("spectraldyn.baselines.compare.split_seeds", reached)
    monkeypatch.setattr("spectraldyn.pipeline.transfer.kept_fits_folder", reached)
    monkeypatch.setattr("spectraldyn.pipeline.scan.kept_fits_folder", reached)
    harmless = {("--seed", "0"), ("--skip", "0"), ("--refits", "0")}
    for value in NUMBERS:
        lag = [] if option == "--lag" else ["--lag", "5"]
        for text in [value, f"{value}ps"] if option in ("--lag", "--skip", "--timestep") else [value]:
            arguments = [command, TRAJECTORY, "--top", TOP, *lag, f"{option}={text}"]
            if (option, value) in harmless:
                with pytest.raises(Reached):
                    main(arguments)
            else:
                sentence = refused(arguments, capfd)
                assert option in sentence or "--stride" in sentence, sentence
                assert len(sentence) < 400


@pytest.mark.parametrize("arguments", [["states", "x", "--n-frames"], ["simulate", "double-well-2d", "--frames"]])
@pytest.mark.parametrize("value", NUMBERS)
def test_extreme_numbers_of_frames(arguments, value, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    out = ["--out", "a.dcd"] if arguments[0] == "simulate" else []
    assert arguments[-1] in refused([*arguments[:-1], f"{arguments[-1]}={value}", *out], capfd)


@pytest.mark.parametrize("option", ["--timestep", "--step"])
def test_extreme_times_of_a_simulation(option, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in ["0ps", "-1ps", "1e400ps", "nanps", "infps", "5", "text", "1e-400ps"]:
        assert option in refused(["simulate", "double-well-2d", "--out", "a.dcd", f"{option}={value}"], capfd)


@pytest.mark.parametrize(
    ("n_modes", "n_frames", "says"), [(150, 200, "at most 49, one for every 4"), (5000, 30_000, "no more than 1000")]
)
def test_more_modes_than_the_data_carry(n_modes, n_frames, says):
    states = np.random.default_rng(0).normal(size=(n_frames, 2))
    with pytest.raises(InputError, match=f"`n_modes` is {n_modes}: {n_frames - 1} lagged pairs carry .*{says}"):
        NeuralSVD(n_modes=n_modes, lagtime=1).fit(states)


def test_archive_with_another_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, run=np.zeros((5, 2)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"a\.npz, array 'readme\.txt' is no NumPy array: take it out"):
        load_features(path)


def test_name_too_long_for_results(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    name = "a" * 250 + ".npy"
    np.save(name, np.zeros((5, 2)))
    assert "is too long to name the results after it: give --out" in refused(["fit", name, "--lag", "1"], capfd)


def broken_model(path, change):
    stored = torch.load(path, weights_only=True)
    change(stored)
    torch.save(stored, path)


def set_weight(value):
    def change(stored):
        next(part for name, part in stored["sides"].items() if name.endswith("head.weight"))[0, 0] = value

    return change


def without(key):
    return lambda stored: stored.pop(key)


def put(key, value):
    def change(stored):
        *way, last = key.split(".")
        for name in way:
            stored = stored[name]
        stored[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_weight(np.nan), "not finite"),
        (set_weight(np.inf), "not finite"),
        (put("spectrum.left", torch.full((3, 2), torch.nan, dtype=torch.float64)), "not finite"),
        (put("spectrum.left", torch.zeros(7, 2, dtype=torch.float64)), "do not fit"),
        (put("settings.n_modes", 10**9), "not those that it says"),
        (put("settings.hidden", (10**9, 10**9)), "not those that it says"),
        (put("settings.lagtime", 77), "is damaged"),
        (put("signs", 1), "is damaged"),
        (put("settings", None), "is damaged"),
        (put("settings.operator", "x"), "is damaged"),
        (without("moments"), "is damaged"),
        (without("held_out"), "is damaged"),
        (without("sides"), "is damaged"),
    ],
)
def test_damaged_models(change, says, fitted, tmp_path):
    path = tmp_path / "model.pt"
    shutil.copy(fitted / "fit" / "model.pt", path)
    assert load_model(path).n_modes == 2
    broken_model(path, change)
    with pytest.raises(InputError, match=says) as refusal:
        load_model(path)
    assert "\n" not in str(refusal.value)


def test_memberships_that_are_no_numbers(fitted, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fitted / "fit", tmp_path / "fit")
    with np.load("fit/modes.npz") as stored:
        arrays = dict(stored)
    np.savez("fit/modes.npz", **arrays | {"memberships": np.full_like(arrays["memberships"], np.nan)})
    assert "memberships does not hold finite numbers" in refused(["states", "fit"], capfd)


def test_flipped_bit_in_a_weight(fitted, tmp_path):
    path = tmp_path / "model.pt"
    raw = bytearray((fitted / "fit" / "model.pt").read_bytes())
    weight = torch.load(fitted / "fit" / "model.pt", weights_only=True)["sides"]["left.head.weight"]
    raw[raw.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"model\.pt is damaged \(the checksum of its part .* is wrong\): fit again"):
        load_model(path)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("results.json", b"{}"),
        ("results.json", b"[" * 100_000),
        ("results.json", b'{"version": 1, "timescales": 1, "eigenvalues": 1, "versions": 1, "features": 1}'),
        ("results.json", b"\xff\xfe"),
        ("modes.npz", b""),
        ("modes.npz", b"PK\x03\x04 no archive"),
        ("modes.npz", None),
        ("model.pt", b"PK\x03\x04 no model"),
        ("model.pt", None),
    ],
)
def test_damaged_folders(part, content, fitted, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fitted / "fit", tmp_path / "fit")
    (tmp_path / "fit" / part).unlink()
    if content is not None:
        (tmp_path / "fit" / part).write_bytes(content)
    uses = {
        "results.json": [["transform", "fit", TRAJECTORY], ["states", "fit"], ["report", "fit"]],
        "modes.npz": [["transform", "fit", TRAJECTORY], ["states", "fit"]],
        "model.pt": [["transform", "fit", TRAJECTORY]],
    }
    for arguments in uses[part]:
        assert "fit" in refused(arguments, capfd)
    assert {path.name for path in Path().iterdir()} == {"fit"}
