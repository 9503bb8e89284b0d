"""Files as users have them: each kind of damage, made here from a sound file, and those of a corpus if it is there."""

import json
import re
import struct
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from spectraldyn.errors import InputError
from spectraldyn.io import load_topology, scan

ROOT = Path(__file__).parents[1]
CORPUS = ROOT.parent / "shared" / "data" / "damaged"
MANIFEST = json.loads((CORPUS / "manifest.json").read_text()) if CORPUS.is_dir() else {"files": {}}
needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus of damaged files is not beside the repository"
)

# What the message of each file must say, beside its name, in the corpus and among the files made here.
SAYS = {
    "xtc_named.dcd": "content is XTC",
    "dcd_named.xtc": "content is DCD",
    "trunc60.dcd": "ends inside frame 119 .*promises 200",
    "trunc60.xtc": "ends inside frame 119",
    "corrupt_mid.dcd": "markers of frame 99 are broken",
    "corrupt_mid.xtc": "frame 100 .*instead of XTC's 1995",
    "nset0.dcd": "header says 0 frames.*200 are there",
    "nan_frames.dcd": "NaN or infinite positions in frames 50–59",
    "frozen.dcd": "all 200 frames are the same",
    "one_frame.dcd": "no pair at any lag",
    "one_frame.xtc": "no pair at any lag",
    "atoms21.dcd": "has 21 atoms, the topology has 22",
    "heavy10.dcd": "has 10 atoms, the topology has 22",
    "atoms9.dcd": "has 9 atoms, the topology has 10",
    "atoms_permuted.dcd": "order of the atoms differs",
    "duplicate_frame.xtc": "time stamp 99 ps occurs twice, at frames 99 and 100",
    "time_gap.xtc": "jumps from 99 to 300 ps at frame 100",
    "time_resets.xtc": "goes back from 99 to 0 ps at frame 100",
    "zero_byte.dcd": "empty",
    "zero_byte.xtc": "empty",
    "header_only.dcd": "cut short",
    "header_only.xtc": "no complete frame",
    "garbage.dcd": "not a .*DCD file",
    "garbage.xtc": "not a .*XTC file",
    "ascii_text.xtc": "content is text",
    "nframes0_real.dcd": "no frames",
}
SEGMENTS = {"duplicate_frame.xtc": (0, 100), "time_gap.xtc": (0, 100), "time_resets.xtc": (0, 100)}
# Those of the files made here that load, all with as many frames.
LOADED = {
    "ok.dcd",
    "ok.xtc",
    "ok.trr",
    "ok.nc",
    "ok.h5",
    "ok.pdb",
    "ok.pdb.gz",
    "UPPER.DCD",
    "no_extension",
    "nset0.dcd",
}
LOADED |= {"duplicate_frame.xtc", "time_gap.xtc", "time_resets.xtc", "time_all_zero.xtc", "wrapped.xtc", "trunc60.dcd"}
MADE = sorted(LOADED | set(SAYS) - {"atoms21.dcd", "heavy10.dcd"})


def judged(path, topology):
    """Summary, or None, and the messages; nothing else may happen."""
    seen = []
    try:
        summary = scan(path, topology, lambda chunk, first: seen.append((first, len(chunk), chunk.n_atoms)))
    except InputError as error:
        return None, [str(error)]
    assert seen == [(0, summary.n_frames, topology.n_atoms)]
    return summary, list(summary.warnings)


def check_messages(path, messages):
    assert len(messages) <= 1
    for message in messages:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    if path in SAYS:
        assert re.search(SAYS[path], messages[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of damaged files, from 200 frames of the alanine dipeptide that comes with the repository."""
    folder = tmp_path_factory.mktemp("damaged")
    source = ROOT / "data" / "alanine_dipeptide"
    sound = mdtraj.load(str(source / "a2.xtc"), top=str(source / "top.pdb"))[:200]
    sound.unitcell_vectors = None
    sound.time = np.arange(200.0)
    sound[0].save_pdb(str(folder / "top.pdb"))

    def save(name, trajectory=sound, **changed):
        copy = trajectory[:]
        for attribute, value in changed.items():
            setattr(copy, attribute, value)
        copy.save(str(folder / name))
        return (folder / name).read_bytes()

    def write(name, content):
        (folder / name).write_bytes(content)

    dcd, xtc = save("ok.dcd"), save("ok.xtc")
    for name in ("ok.trr", "ok.nc", "ok.h5", "ok.pdb", "ok.pdb.gz"):
        save(name)
    for name, content in {"UPPER.DCD": dcd, "no_extension": dcd, "xtc_named.dcd": xtc, "dcd_named.xtc": dcd}.items():
        write(name, content)
    header = len(dcd) - 200 * (len(dcd) - len(save("part.dcd", sound[:100]))) // 100
    start = len(save("part.xtc", sound[:100]))
    frame = (len(dcd) - header) // 200
    write("trunc60.dcd", dcd[: header + 119 * frame + 50])
    write("trunc60.xtc", xtc[: len(save("part.xtc", sound[:119])) + 60])
    write("corrupt_mid.dcd", dcd[: header + 99 * frame] + b"\xff" * 4 + dcd[header + 99 * frame + 4 :])
    write("corrupt_mid.xtc", xtc[:start] + b"\0\0\0\0" + xtc[start + 4 :])
    write("nset0.dcd", dcd[:8] + struct.pack("<i", 0) + dcd[12:])
    nan, wrapped = sound.xyz.copy(), sound.xyz.copy()
    nan[50:60] = np.nan
    save("nan_frames.dcd", xyz=nan)
    save("frozen.dcd", xyz=np.repeat(sound.xyz[:1], 200, axis=0))
    save("one_frame.dcd", sound[:1])
    save("one_frame.xtc", sound[:1])
    save("atoms9.dcd", sound.atom_slice(range(9)))
    save("atoms_permuted.dcd", xyz=sound.xyz[:, np.random.default_rng(1).permutation(10)])
    steps = np.arange(200.0)
    save("duplicate_frame.xtc", time=np.r_[steps[:100], steps[99:199]])
    save("time_gap.xtc", time=np.r_[steps[:100], 300 + steps[:100]])
    save("time_resets.xtc", time=np.r_[steps[:100], steps[:100]])
    save("time_all_zero.xtc", time=0 * steps)
    wrapped = (wrapped - wrapped[:, :1] + np.linspace(0, 3, 200)[:, None, None]) % 2.5
    save("wrapped.xtc", xyz=wrapped, unitcell_vectors=np.tile(2.5 * np.eye(3), (200, 1, 1)))
    write("zero_byte.dcd", b"")
    write("zero_byte.xtc", b"")
    write("header_only.dcd", dcd[:84])
    write("header_only.xtc", xtc[:84])
    garbage = np.random.default_rng(2).bytes(4096)
    write("garbage.dcd", garbage)
    write("garbage.xtc", garbage)
    write("ascii_text.xtc", b"this is no trajectory\n" * 10)
    write("nframes0_real.dcd", dcd[:header])
    return folder


@pytest.mark.parametrize("name", MADE)
def test_files_made_here(name, made, monkeypatch, capfd):
    monkeypatch.chdir(made)
    summary, messages = judged(name, load_topology("top.pdb", []).topology)
    assert (summary is not None) is (name in LOADED)
    if summary is not None:
        assert summary.n_frames == (119 if name == "trunc60.dcd" else 200)
        assert summary.segment_starts == SEGMENTS.get(name, (0,))
        stamped = name.endswith((".xtc", ".trr", ".nc", ".h5")) and name != "time_all_zero.xtc"
        assert summary.timestep_ps == (1.0 if stamped else None)
    assert bool(messages) is (name in SAYS)
    check_messages(name, messages)
    assert capfd.readouterr() == ("", "")


@needs_corpus
@pytest.mark.parametrize("name", MANIFEST["files"])
def test_files_of_the_corpus(name, monkeypatch, capfd):
    monkeypatch.chdir(CORPUS)
    entry = MANIFEST["files"][name]
    # A file without an extension is recognised by its content, as the manifest allows.
    allowed = entry["outcome"].split(" | ") + (["loads"] if name == "no_extension" else [])
    summary, messages = judged(name, load_topology(MANIFEST["topology"], [name]).topology)
    if summary is not None:
        assert summary.n_frames == entry.get("frames", 200)
        assert summary.segment_starts == SEGMENTS.get(name, (0,))
        if "spacing_ps" in entry:
            assert summary.timestep_ps == entry["spacing_ps"]
    outcome = "error" if summary is None else "loads, warns" if messages else "loads"
    # "warns" alone is "loads, warns" without a promised number of frames.
    assert outcome in allowed or outcome.removeprefix("loads, ") in allowed
    assert bool(messages) is (outcome != "loads")
    check_messages(name, messages)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["made", pytest.param("corpus", marks=needs_corpus)])
def test_internal_distances_of_a_molecule_cut_by_its_box(where, made):
    folder, cut = (made, "wrapped.xtc") if where == "made" else (CORPUS, "wrapped_broken_pbc.xtc")
    topology = load_topology(folder / "top.pdb", []).topology
    pairs = [(0, topology.n_atoms - 1), (4, 8)]
    found = {}
    for name in (cut, "ok.xtc"):
        chunks = []
        summary = scan(folder / name, topology, lambda chunk, _, chunks=chunks: chunks.append(chunk))
        assert summary.periodic is (name == cut)
        assert (chunks[0].unitcell_lengths is None) is (name == "ok.xtc")
        found[name] = mdtraj.compute_distances(chunks[0], pairs, periodic=True)
    assert abs(found["ok.xtc"] - found[cut]).max() < 2e-3
