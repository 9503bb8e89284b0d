"""Every file of the corpus of damaged trajectories, each with the outcome that its manifest names."""

import json
import re
from pathlib import Path

import mdtraj
import pytest

from spectraldyn.errors import InputError
from spectraldyn.io import load_topology, scan

CORPUS = Path(__file__).parents[1].parent / "shared" / "data" / "damaged"
MANIFEST = json.loads((CORPUS / "manifest.json").read_text()) if CORPUS.is_dir() else {"files": {}}

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of damaged files is not beside the repository")

# What each file's message must say, beside its name.
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
# Recognised by its content, as the manifest allows.
LOADS = {"no_extension": 200}
SEGMENTS = {"duplicate_frame.xtc": (0, 100), "time_gap.xtc": (0, 100), "time_resets.xtc": (0, 100)}


@pytest.mark.parametrize("name", MANIFEST["files"])
def test_outcome(name, monkeypatch, capfd):
    monkeypatch.chdir(CORPUS)
    entry = MANIFEST["files"][name]
    allowed = entry["outcome"].split(" | ") + (["loads"] if name in LOADS else [])
    topology = load_topology(MANIFEST["topology"], [name]).topology
    seen = []
    try:
        summary = scan(name, topology, lambda chunk, first: seen.append((first, len(chunk), chunk.n_atoms)))
    except InputError as error:
        outcome, messages = "error", [str(error)]
    else:
        n_frames = LOADS.get(name, entry.get("frames"))
        assert summary.n_frames == n_frames
        assert seen == [(0, n_frames, 22)]
        assert summary.segment_starts == SEGMENTS.get(name, (0,))
        if "spacing_ps" in entry:
            assert summary.timestep_ps == entry["spacing_ps"]
        messages = list(summary.warnings)
        outcome = "loads, warns" if messages else "loads"
    # "warns" alone is "loads, warns" without a promised number of frames.
    assert outcome in allowed or outcome.removeprefix("loads, ") in allowed
    assert len(messages) == (outcome != "loads")
    for message in messages:
        assert message.startswith(f"{name}: ")
        assert "\n" not in message
    if name in SAYS:
        assert re.search(SAYS[name], messages[0])
    assert capfd.readouterr() == ("", "")


def test_every_message_is_expected():
    assert set(SAYS) <= set(MANIFEST["files"])


def test_no_stamps_where_all_are_zero():
    topology = load_topology(CORPUS / "top.pdb", []).topology
    assert scan(CORPUS / "time_all_zero.xtc", topology).timestep_ps is None


def test_internal_distances_of_a_molecule_cut_by_its_box():
    topology = load_topology(CORPUS / "top.pdb", []).topology
    found = {}
    for name in ("wrapped_broken_pbc.xtc", "ok.xtc"):
        chunks = []
        summary = scan(CORPUS / name, topology, lambda chunk, _, chunks=chunks: chunks.append(chunk))
        assert summary.periodic is (name != "ok.xtc")
        assert (chunks[0].unitcell_lengths is None) is (name == "ok.xtc")
        found[name] = mdtraj.compute_distances(chunks[0], [(0, 21), (4, 14)], periodic=True)
    assert abs(found["ok.xtc"] - found["wrapped_broken_pbc.xtc"]).max() < 2e-3
