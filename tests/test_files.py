"""Trajectory files of all formats: sound ones give their frames, all others one sentence."""

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from spectraldyn.errors import InputError
from spectraldyn.io import (
    FORMATS,
    FileSummary,
    checks,
    common_timestep,
    describe_files,
    formats_sentence,
    frames,
    load_topology,
    open_trajectory,
    read_arrays,
    scan,
    text,
)
from spectraldyn.io.checks import read_times
from spectraldyn.io.silence import Damaged, quiet

N_FRAMES = 40
EXTENSIONS = ["dcd", "xtc", "trr", "nc", "h5", "pdb", "pdb.gz", "gro", "xyz", "xyz.gz", "mdcrd", "lammpstrj"]
TIMES = {"xtc", "trr", "nc", "h5", "gro"}
OWN_TOPOLOGY = {"h5", "pdb", "pdb.gz", "gro"}


def make_topology(n_residues=4):
    """A chain of alanines; its standard bonds come with the names."""
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n_residues):
        residue = topology.add_residue("ALA", chain)
        for name in ("N", "CA", "C", "O", "CB"):
            topology.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
    topology.create_standard_bonds()
    return topology


def make_trajectory(n_frames=N_FRAMES, box=None, topology=None):
    """A zigzag chain whose atoms shake, so that bonded atoms stay close."""
    topology = topology or make_topology()
    rng = np.random.default_rng(0)
    index = np.arange(topology.n_atoms)
    rest = np.stack([0.1 * (index // 1), 0.05 * (index % 2), 0.05 * (index % 3)], axis=1)
    xyz = (1 + rest + rng.normal(scale=0.01, size=(n_frames, len(index), 3))).astype(np.float32)
    cell = [None, None] if box is None else [np.tile(box[:3], (n_frames, 1)), np.tile(box[3:], (n_frames, 1))]
    return mdtraj.Trajectory(xyz, topology, 100 + 0.2 * np.arange(n_frames), *cell)


@pytest.fixture(scope="module")
def trajectory():
    return make_trajectory()


@pytest.fixture
def topology(trajectory):
    return trajectory.topology


def save(trajectory, path):
    """Write with mdtraj; it wants a box in a LAMMPS dump."""
    if path.name.endswith("lammpstrj") and trajectory.unitcell_lengths is None:
        trajectory = trajectory[:]
        trajectory.unitcell_lengths = np.full((len(trajectory), 3), 9.0)
        trajectory.unitcell_angles = np.full((len(trajectory), 3), 90.0)
    trajectory.save(str(path))
    return path


def read(path, topology):
    """Summary and all frames, joined."""
    chunks = []
    summary = scan(path, topology, lambda chunk, first: chunks.append((first, chunk)))
    counts = [len(chunk) for _, chunk in chunks]
    assert [first for first, _ in chunks] == [sum(counts[:i]) for i in range(len(counts))]
    return summary, mdtraj.join([chunk for _, chunk in chunks], check_topology=False)


def outcome(path, topology, most_warnings=1):
    """Number of frames and the one message: a warning's, an error's or None. Nothing else may happen."""
    try:
        summary = scan(path, topology)
    except InputError as error:
        message = str(error)
        n_frames = None
    else:
        assert len(summary.warnings) <= most_warnings
        message = summary.warnings[0] if summary.warnings else None
        n_frames = summary.n_frames
    if message is not None:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    return n_frames, message


@pytest.fixture(autouse=True)
def no_chatter(capfd):
    """Nothing may be printed, neither by Python nor by C libraries."""
    yield
    assert capfd.readouterr() == ("", "")


# --- sound files ---


@pytest.mark.parametrize("box", [None, [4.0, 5.0, 6.0, 90.0, 90.0, 90.0], [4.0, 5.0, 6.0, 80.0, 100.0, 110.0]])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_reads_what_was_written(extension, box, tmp_path, monkeypatch):
    trajectory = make_trajectory(box=None if box is None else np.array(box))
    if extension == "mdcrd" and box is not None and box[3] != 90:
        pytest.skip("mdcrd holds rectangular boxes only")
    monkeypatch.setattr(frames, "frames_per_chunk", lambda n_atoms: 7)
    monkeypatch.setattr(text, "frames_per_chunk", lambda n_atoms: 7)
    path = save(trajectory, tmp_path / f"a.{extension}")
    summary, found = read(path, trajectory.topology)
    assert (summary.path, summary.format, summary.warnings) == (path, extension, ())
    assert (summary.n_frames, summary.n_atoms, summary.segment_starts) == (N_FRAMES, 20, (0,))
    assert summary.timestep_ps == (0.2 if extension in TIMES else None)
    np.testing.assert_allclose(found.xyz, trajectory.xyz, atol=6e-4)
    has_box = (box is not None or extension == "lammpstrj") and not extension.startswith("xyz")
    assert summary.periodic is has_box
    assert (found.unitcell_lengths is not None) is has_box
    if box is not None and has_box:
        np.testing.assert_allclose(found.unitcell_lengths, trajectory.unitcell_lengths, atol=1e-3)
        np.testing.assert_allclose(found.unitcell_angles, trajectory.unitcell_angles, atol=1e-2)
    if extension in TIMES:
        np.testing.assert_allclose(found.time, trajectory.time, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found.time, np.arange(N_FRAMES))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_chunks_stay_small(extension, trajectory, tmp_path, monkeypatch):
    sizes = []
    for module in ("frames", "text"):
        monkeypatch.setattr(f"spectraldyn.io.{module}.frames_per_chunk", lambda n_atoms: 7)
    path = save(trajectory, tmp_path / f"a.{extension}")
    scan(path, trajectory.topology, lambda chunk, first: sizes.append(len(chunk)))
    assert sizes == [7, 7, 7, 7, 7, 5]


def test_chunk_of_a_large_system_is_one_frame():
    assert frames.frames_per_chunk(3_000_000) == 1
    assert frames.frames_per_chunk(1000) == 1000
    assert frames.frames_per_chunk(1) == 5000


@pytest.mark.parametrize("extension", ["DCD", "XTC", "PDB.GZ", "H5", "Pdb"])
def test_upper_case_extensions(extension, trajectory, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension.lower()}").rename(tmp_path / f"A.{extension}")
    assert scan(path, trajectory.topology).n_frames == N_FRAMES


@pytest.mark.parametrize("extension", sorted(OWN_TOPOLOGY))
def test_own_topology(extension, trajectory, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    structure = load_topology(None, [save(trajectory, tmp_path / "other.dcd"), path])
    assert (structure.n_atoms, structure.n_frames) == (20, 1)
    np.testing.assert_allclose(structure.xyz[0], trajectory.xyz[0], atol=6e-4)
    assert structure.topology.n_bonds == trajectory.topology.n_bonds
    assert scan(path, None).n_frames == N_FRAMES


@pytest.mark.parametrize("extension", sorted(set(EXTENSIONS) - OWN_TOPOLOGY))
def test_no_topology(extension, trajectory, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    with pytest.raises(InputError, match=r"carries no topology.*give one with `top`"):
        scan(path, None)
    with pytest.raises(InputError, match=r"carries no topology.*give one with `top`"):
        load_topology(None, [path])
    with pytest.raises(InputError, match=rf"a.{extension}: .*topology"):
        load_topology(path, [])


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_frames_in_the_order_asked_for(extension, trajectory, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    reader = open_trajectory(path, trajectory.topology)
    found = reader.read([31, 2, 31, 0])
    np.testing.assert_allclose(found.xyz, trajectory.xyz[[31, 2, 31, 0]], atol=6e-4)
    with pytest.raises(InputError, match="frame 40 is asked for, but the file has 40 frames"):
        reader.read([1, 40])


def test_small_systems_in_xtc(tmp_path):
    """Nine atoms and fewer are stored without compression, in another layout."""
    for n_atoms in (1, 2, 9, 10):
        topology = mdtraj.Topology()
        chain = topology.add_chain()
        for _ in range(n_atoms):
            topology.add_atom("AR", mdtraj.element.argon, topology.add_residue("AR", chain))
        xyz = np.random.default_rng(n_atoms).normal(size=(15, n_atoms, 3)).astype(np.float32)
        path = save(mdtraj.Trajectory(xyz, topology), tmp_path / f"{n_atoms}.xtc")
        summary, found = read(path, topology)
        assert summary.n_frames == 15
        np.testing.assert_allclose(found.xyz, xyz, atol=6e-4)
        path.write_bytes(path.read_bytes()[:-1])
        n_frames, message = outcome(path, topology)
        assert n_frames is None
        assert "14 complete frames" in message


def test_diffusing_and_unwrapped_particles_are_healthy(tmp_path):
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(3):
        topology.add_atom("AR", mdtraj.element.argon, topology.add_residue("AR", chain))
    xyz = np.random.default_rng(0).normal(scale=500, size=(200, 3, 3)).cumsum(axis=0).astype(np.float32)
    assert np.abs(xyz).max() > 5000
    path = save(mdtraj.Trajectory(xyz, topology), tmp_path / "a.dcd")
    assert outcome(path, topology) == (200, None)


def test_arc(trajectory, topology, tmp_path):
    path = tmp_path / "a.arc"
    for with_box in (False, True):
        with path.open("w") as file:
            for xyz in trajectory.xyz:
                file.write(f"{len(xyz)} title\n" + with_box * " 40.0 50.0 60.0 90.0 90.0 90.0\n")
                for i, (x, y, z) in enumerate(10 * xyz):
                    file.write(f"{i + 1} C {x:.4f} {y:.4f} {z:.4f} 1\n")
        summary, found = read(path, topology)
        assert (summary.n_frames, summary.periodic) == (N_FRAMES, with_box)
        np.testing.assert_allclose(found.xyz, trajectory.xyz, atol=6e-4)


def test_lammps_dump_sorted_scaled_and_tilted(topology, tmp_path):
    """Atoms in any order and in fractions of a tilted box, with the items that newer versions write."""
    trajectory = make_trajectory(box=np.array([4.0, 5.0, 6.0, 80.0, 100.0, 110.0]))
    edges = 10 * trajectory.unitcell_vectors[0].astype(float)
    origin = np.array([-3.0, 2.0, 1.0])
    xy, xz, yz = edges[1, 0], edges[2, 0], edges[2, 1]
    low = origin + np.array([min(0, xy, xz, xy + xz), min(0, yz), 0])
    high = origin + np.diag(edges) + [max(0, xy, xz, xy + xz), max(0, yz), 0]
    rng = np.random.default_rng(1)
    path = tmp_path / "a.lammpstrj"
    with path.open("w") as file:
        for step, xyz in enumerate(trajectory.xyz):
            scaled = (10 * xyz - origin) @ np.linalg.inv(edges)
            file.write(f"ITEM: UNITS\nreal\nITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n20\n")
            file.write("ITEM: BOX BOUNDS xy xz yz pp pp pp\n")
            for row in zip(low, high, (xy, xz, yz), strict=True):
                file.write(" ".join(f"{value:.9f}" for value in row) + "\n")
            file.write("ITEM: ATOMS id type xs ys zs\n")
            for i in rng.permutation(20):
                file.write(f"{7 * i + 3} 1 " + " ".join(f"{value:.9f}" for value in scaled[i]) + "\n")
    summary, found = read(path, topology)
    assert (summary.n_frames, summary.warnings) == (N_FRAMES, ())
    np.testing.assert_allclose(found.xyz, trajectory.xyz, atol=1e-5)
    np.testing.assert_allclose(found.unitcell_lengths, trajectory.unitcell_lengths, atol=1e-4)
    np.testing.assert_allclose(found.unitcell_angles, trajectory.unitcell_angles, atol=1e-3)


def test_pdb_alternate_locations_as_mdtraj_reads_them(tmp_path):
    lines = []
    for model in range(3):
        lines.append(f"MODEL     {model:4d}")
        for i, (name, place) in enumerate([("N", " "), ("CA", "A"), ("CA", "B"), ("C", " ")]):
            lines.append(
                f"ATOM  {i + 1:5d}  {name:3s}{place}ALA A   1    {i + model / 10:8.3f}{2.0:8.3f}{1.0:8.3f}  0.50  0.00"
                f"           {name[0]}  "
            )
        lines += ["TER", "ENDMDL"]
    path = tmp_path / "a.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    expected = mdtraj.load(str(path))
    summary, found = read(path, None)
    assert (summary.n_frames, summary.n_atoms) == (3, 3)
    np.testing.assert_array_equal(found.xyz, expected.xyz)
    assert load_topology(path, []).topology == expected.topology


def test_pdb_frames_parted_by_end_alone(trajectory, topology, tmp_path):
    """As VMD writes them; the last END may come without the end of its line."""
    path = save(trajectory, tmp_path / "a.pdb")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("MODEL", "END", "CONECT"))]
    atoms = [line for line in kept if line.startswith("ATOM")]
    text = "\n".join("\n".join([*atoms[20 * i : 20 * i + 20], "END"]) for i in range(N_FRAMES))
    path.write_text(text)
    summary, found = read(path, None)
    assert (summary.n_frames, summary.warnings) == (N_FRAMES, ())
    np.testing.assert_allclose(found.xyz, trajectory.xyz, atol=6e-4)


DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data folder is not beside the repository")


@needs_data
@pytest.mark.parametrize("extension", ["dcd", "xtc", "trr", "nc", "h5", "gro", "xyz", "lammpstrj", "mdcrd"])
def test_one_trajectory_of_other_programs_in_many_formats(extension):
    topology = load_topology(DATA / "formats" / "native.pdb", []).topology
    summary, found = read(DATA / "formats" / f"frame0.{extension}", topology)
    assert summary.n_frames == (1002 if extension == "mdcrd" else 501)
    assert summary.timestep_ps == (1.0 if extension in TIMES else None)
    # Most carry the box of 1 nm that VMD writes where there is none; within it the molecule would be folded.
    assert summary.periodic is (extension in {"dcd", "xtc"})
    if extension != "xtc":  # the molecule is placed otherwise in its box
        with quiet():
            expected = mdtraj.load(str(DATA / "formats" / "frame0.dcd"), top=topology)
        np.testing.assert_allclose(found.xyz[:501], expected.xyz, atol=2e-3)


@needs_data
@pytest.mark.parametrize("extension", ["lh5", "binpos", "tng"])
def test_formats_without_a_reader(extension):
    path = DATA / "formats" / f"frame0.{extension}"
    with pytest.raises(InputError, match=f"format .{extension} is not read: formats read are"):
        scan(path, make_topology())


@needs_data
def test_healthy_files_raise_no_suspicion():
    topologies = [*DATA.glob("known/*.pdb"), *DATA.glob("molecules/*/*.pdb")]
    assert len(topologies) == 7
    for top in topologies:
        pattern = f"{top.stem}_00.dcd" if top.parent.name == "known" else "*0.[dx][ct][dc]"
        (path, *_) = sorted(top.parent.glob(pattern))
        summary = scan(path, load_topology(top, []).topology)
        assert (summary.warnings, summary.segment_starts) == ((), (0,))


# --- DCD, byte by byte ---


def write_dcd(
    path, trajectory, order="<", promised=None, cell=None, fourth=False, version=24, fixed=0, title=b"title" + 75 * b" "
):
    n_frames, n_atoms = trajectory.xyz.shape[:2]

    def record(data):
        return struct.pack(f"{order}i", len(data)) + data + struct.pack(f"{order}i", len(data))

    control = [0] * 20
    control[0] = n_frames if promised is None else promised
    control[8], control[10], control[11] = fixed, cell is not None, fourth
    control[19] = version
    out = record(b"CORD" + struct.pack(f"{order}20i", *control))
    out += record(struct.pack(f"{order}i", 1) + title) + record(struct.pack(f"{order}i", n_atoms))
    cells = [None] * n_frames if cell is None else np.broadcast_to(np.asarray(cell, dtype=f"{order}f8"), (n_frames, 6))
    for xyz, numbers in zip(trajectory.xyz, cells, strict=True):
        if cell is not None:
            out += record(numbers.tobytes())
        for axis in range(3):
            out += record((10 * xyz[:, axis]).astype(f"{order}f4").tobytes())
        if fourth:
            out += record(np.zeros(n_atoms, dtype=f"{order}f4").tobytes())
    path.write_bytes(out)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("fourth", [False, True])
@pytest.mark.parametrize(
    ("cell", "angles"),
    [
        (None, None),
        ([40, 90, 50, 90, 90, 60], [90, 90, 90]),
        ([40, 0, 50, 0, 0, 60], [90, 90, 90]),
        ([40, np.cos(np.radians(110)), 50, np.cos(np.radians(100)), np.cos(np.radians(80)), 60], [80, 100, 110]),
        ([40, 110, 50, 100, 80, 60], [80, 100, 110]),
    ],
)
def test_dcd_layouts(order, fourth, cell, angles, trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, order, cell=cell, fourth=fourth)
    summary, found = read(path, topology)
    assert (summary.n_frames, summary.warnings, summary.periodic) == (N_FRAMES, (), cell is not None)
    np.testing.assert_allclose(found.xyz, trajectory.xyz, rtol=1e-6)
    if cell is not None:
        np.testing.assert_allclose(found.unitcell_lengths, np.tile([4, 5, 6], (N_FRAMES, 1)), rtol=1e-6)
        np.testing.assert_allclose(found.unitcell_angles, np.tile(angles, (N_FRAMES, 1)), rtol=1e-6)


def charmm_cell(a, b, c, alpha, beta, gamma):
    """Lower triangle of the symmetric square root of the metric tensor, as CHARMM writes the box."""
    edges = np.stack(mdtraj.utils.lengths_and_angles_to_box_vectors(a, b, c, alpha, beta, gamma)).astype(float)
    values, vectors = np.linalg.eigh(edges @ edges.T)
    return (vectors * np.sqrt(values) @ vectors.T)[np.tril_indices(3)]


SHAPES = [
    [90, 90, 90],
    [90, 90, 120],
    [90, 90, 60],
    [60, 90, 60],
    [60, 60, 60],
    [60, 60, 90],
    [109.4712206, 109.4712206, 109.4712206],
    [70.53, 109.47, 70.53],
    [90, 100, 90],
    [90, 89.9, 90],
    [90.2, 89.7, 90.4],
    [80, 100, 110],
    [75, 80, 85],
    [65, 70, 100],
]


@pytest.mark.parametrize("lengths", [[30, 30, 30], [45, 52, 61], [100, 100, 100], [90, 90, 180], [250, 250, 250]])
@pytest.mark.parametrize("angles", SHAPES)
def test_dcd_cells_of_charmm_and_of_others(angles, lengths, topology, tmp_path):
    """The three ways of writing a unit cell, each told from the others by its numbers and the program's version."""
    trajectory = make_trajectory(3, topology=topology)
    rng = np.random.default_rng(0)
    a, b, c = lengths
    alpha, beta, gamma = angles
    ways = {
        "matrix": (charmm_cell(*lengths, *angles), 35),
        "rounded": (charmm_cell(*lengths, *angles).astype(np.float32).astype(float), 40),
        "noisy": (charmm_cell(*lengths, *angles) + rng.normal(scale=1e-13, size=6), 48),
        "degrees": ([a, gamma, b, beta, alpha, c], 24),
        "cosines": ([a, *np.cos(np.radians([gamma])), b, *np.cos(np.radians([beta, alpha])), c], 24),
    }
    for name, (cell, version) in ways.items():
        path = write_dcd(tmp_path / f"{name}.dcd", trajectory, cell=cell, version=version)
        summary, found = read(path, topology)
        assert (summary.periodic, summary.warnings) == (True, ()), name
        np.testing.assert_allclose(found.unitcell_lengths, np.tile(lengths, (3, 1)) / 10, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(found.unitcell_angles, np.tile(angles, (3, 1)), rtol=1e-5, err_msg=name)


@needs_data
@pytest.mark.parametrize(("name", "angles"), [("rhdo", [60, 90, 60]), ("hex", [90, 90, 120])])
def test_dcd_cells_as_charmm_writes_them(name, angles):
    folder = DATA / "formats" / "charmm_cells"
    summary, found = read(folder / f"{name}.dcd", load_topology(folder / "top.pdb", []).topology)
    assert (summary.n_frames, summary.periodic, summary.warnings) == (200, True, ())
    np.testing.assert_allclose(found.unitcell_lengths, 10, rtol=1e-6)
    np.testing.assert_allclose(found.unitcell_angles, np.tile(angles, (200, 1)), rtol=1e-6)


@pytest.mark.parametrize("cell", [[40, 90, 50, 200, 90, 60], [-40, 0, 50, 0, 0, 60], [10, 10, 170, 300, 20, 60]])
def test_dcd_cell_that_is_no_box_is_told(cell, topology, tmp_path):
    trajectory = make_trajectory(4, topology=topology)
    path = write_dcd(tmp_path / "a.dcd", trajectory, cell=cell)
    assert outcome(path, topology) == (
        4,
        f"{path}: the unit cell of frames 0–3 is no periodic box, however it is read, and is taken as none",
    )
    cells = [[40, 90, 50, 90, 90, 60]] * 4
    cells[2] = cell
    with pytest.raises(InputError, match="frame 2 has no valid periodic box"):
        scan(write_dcd(path, trajectory, cell=cells), topology)


@pytest.mark.parametrize(("marker", "n_lines", "length"), [(84, 2, 164), (164, 1, 84), (0, 1, 84), (84, 0, 84)])
def test_dcd_title_of_another_length_than_its_record_says(marker, n_lines, length, trajectory, topology, tmp_path):
    """Other readers go by the number of lines."""
    path = write_dcd(tmp_path / "a.dcd", trajectory, title=b" " * (length - 4))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<ii", raw, 92, marker, n_lines)
    path.write_bytes(raw)
    assert outcome(path, topology) == (N_FRAMES, None)


def test_dcd_with_more_atoms_than_room(trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory)
    raw = bytearray(path.read_bytes())
    for n_atoms in (0x40000014, 2**31 - 1, 2_000_000):
        struct.pack_into("<i", raw, 92 + 92 + 4, n_atoms)
        path.write_bytes(raw)
        with pytest.raises(InputError, match=f"header says {n_atoms} atoms"):
            scan(path, topology)


def test_dcd_box_of_zeros_is_no_box(trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, cell=[0] * 6)
    summary, found = read(path, topology)
    assert summary.periodic is False
    assert found.unitcell_lengths is None


def test_dcd_of_xplor(trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, version=0)
    assert outcome(path, topology) == (N_FRAMES, None)


def test_dcd_with_fixed_atoms(trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, fixed=3)
    with pytest.raises(InputError, match=r"a.dcd: 3 atoms are fixed.*again with all atoms"):
        scan(path, topology)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("promised", "says"),
    [
        (0, "header says 0 frames"),
        (N_FRAMES + 5, "promises 45 frames, but 40"),
        (N_FRAMES - 5, "promises 35 frames, but 40"),
    ],
)
def test_dcd_header_that_lies(promised, says, order, trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, order, promised=promised)
    n_frames, message = outcome(path, topology)
    assert n_frames == N_FRAMES
    assert says in message


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cell", [None, [40, 90, 50, 90, 90, 60]])
def test_dcd_cut_at_any_byte(order, cell, trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory, order, cell=cell)
    raw = path.read_bytes()
    size = 3 * (8 + 4 * 20) + (56 if cell else 0)
    header = len(raw) - N_FRAMES * size
    for cut in [
        *range(1, header + 2 * size + 8, 5),
        *range(header + 7 * size - 5, header + 7 * size + 6),
        len(raw) - 1,
    ]:
        path.write_bytes(raw[:cut])
        n_frames, message = outcome(path, topology)
        complete = max(0, cut - header) // size
        assert n_frames == (complete if complete > 1 else None)
        assert message is not None


def test_dcd_broken_markers_in_the_middle(trajectory, topology, tmp_path):
    path = write_dcd(tmp_path / "a.dcd", trajectory)
    raw = bytearray(path.read_bytes())
    size = 3 * (8 + 4 * 20)
    for frame, offset in ((0, 0), (17, 0), (17, 84), (39, size - 4)):
        damaged = bytearray(raw)
        damaged[len(raw) - (N_FRAMES - frame) * size + offset] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"record markers of frame {frame} are broken"):
            scan(path, topology)


# --- truncated and corrupt files of the other formats ---


@pytest.mark.parametrize("extension", ["xtc", "trr", "gro", "xyz", "mdcrd", "lammpstrj"])
def test_cut_streams(extension, trajectory, topology, tmp_path):
    """Formats that are a sequence of frames and no more: cut at any byte, text gives its complete frames.

    A last line of text may lack its end: all its digits are there. XTC and TRR end in an error that says how many
    frames there are: nothing in such a stream tells how many were meant.
    """
    binary = extension in ("xtc", "trr")
    sizes = [
        save(trajectory[:n], tmp_path / f"part.{extension}").stat().st_size - (not binary)
        for n in range(1, N_FRAMES + 1)
    ]
    path = save(trajectory, tmp_path / f"a.{extension}")
    raw = path.read_bytes()
    middle = len(raw) // 2
    for cut in (1, 10, 50, 100, len(raw) // 3, *range(middle, middle + 1100, 97), *range(len(raw) - 60, len(raw))):
        path.write_bytes(raw[:cut])
        n_frames, message = outcome(path, topology)
        complete, between = sum(size <= cut for size in sizes), {cut, cut - (not binary)} & set(sizes)
        if binary and not between:
            assert n_frames is None
            assert complete == 0 or f"{complete} complete frames" in message
            continue
        assert n_frames == (complete if complete > 1 else None)
        if complete > 1 and between:
            assert message is None  # nothing in the file tells that there was more
        elif complete > 1:
            assert f"ends inside frame {complete}" in message
        else:
            assert message is not None


@pytest.mark.parametrize("extension", ["gro", "pdb", "xyz", "mdcrd", "lammpstrj"])
def test_files_of_one_frame_whose_last_line_has_no_end(extension, trajectory, topology, tmp_path):
    path = save(trajectory[:1], tmp_path / f"a.{extension}")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    np.testing.assert_allclose(open_trajectory(path, topology).read([0]).xyz, trajectory.xyz[:1], atol=6e-4)
    if extension in OWN_TOPOLOGY:
        assert load_topology(path, []).n_atoms == 20


@pytest.mark.parametrize("decimals", [(3, 3, 3), (4, 2, 5)])
def test_last_number_that_may_have_lost_digits(decimals, topology, tmp_path):
    """Where all numbers have as many decimals, a lost one shows; else the frame is used, and that is said."""
    path = tmp_path / "a.xyz"
    trajectory = make_trajectory(3)
    frames = [
        "\n".join(
            ["20", "title"] + [f"C {x:.{decimals[0]}f} {y:.{decimals[1]}f} {z:.{decimals[2]}f}" for x, y, z in 10 * xyz]
        )
        for xyz in trajectory.xyz
    ]
    text = "\n".join(frames)
    path.write_text(text)
    fixed = len(set(decimals)) == 1
    doubt = f"{path}: its last line has no end: frame 2 is used, but its last number may have lost digits"
    assert outcome(path, topology) == (3, None if fixed else doubt)
    path.write_text(text[:-1])
    cut = f"{path}: the file ends inside frame 2, 2 complete frames are there"
    assert outcome(path, topology) == ((2, cut) if fixed else (3, doubt))


@pytest.mark.parametrize("extension", ["xtc", "trr", "gro", "xyz", "lammpstrj"])
def test_cut_between_frames_leaves_a_sound_file(extension, trajectory, topology, tmp_path):
    path = save(trajectory[:25], tmp_path / f"a.{extension}")
    assert outcome(path, topology) == (25, None)


@pytest.mark.parametrize("box", [None, np.array([4.0, 5.0, 6.0, 90.0, 90.0, 90.0])])
def test_cut_netcdf(box, topology, tmp_path):
    """The NetCDF library reads zeros beyond the end of the file."""
    trajectory = make_trajectory(box=box)
    path = save(trajectory, tmp_path / "a.nc")
    raw = path.read_bytes()
    record = (len(raw) - save(trajectory[:20], tmp_path / "part.nc").stat().st_size) // 20
    header = len(raw) - N_FRAMES * record
    for cut in [*range(1, header + 2 * record, 37), len(raw) // 2, len(raw) - record - 3, len(raw) - 5]:
        path.write_bytes(raw[:cut])
        n_frames, message = outcome(path, topology)
        complete = max(0, cut - header) // record
        assert n_frames == (complete if complete > 1 else None)
        assert message is not None
        if complete > 1:
            assert f"ends inside frame {complete}: the header promises {N_FRAMES} frames" in message


def test_cut_hdf5(trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / "a.h5")
    raw = path.read_bytes()
    for cut in (1, 5, 8, 100, 2000, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:cut])
        n_frames, message = outcome(path, topology)
        assert n_frames is None
        assert message


def test_corrupt_hdf5_directory_does_not_crash(trajectory, topology, tmp_path):
    """PyTables dies of a segmentation fault where the root group is not one."""
    path = save(trajectory, tmp_path / "a.h5")
    raw = bytearray(path.read_bytes())
    raw[113] = 0xB4
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a.h5: .*corrupt"):
        scan(path, topology)
    with pytest.raises(InputError, match=r"a.h5: .*corrupt"):
        load_topology(path, [])


@pytest.mark.parametrize("extension", ["pdb", "pdb.gz"])
def test_cut_pdb(extension, trajectory, topology, tmp_path):
    text = save(trajectory, tmp_path / "a.pdb").read_bytes()
    ends = [i + len(b"ENDMDL\n") for i in range(len(text)) if text.startswith(b"ENDMDL\n", i)]
    path = tmp_path / f"a.{extension}"
    for cut in (3, 60, 1000, ends[6] - 30, ends[6] - 2, ends[6] + 2, len(text) // 2, ends[-1] - 5, ends[-1] - 1):
        path.write_bytes(gzip.compress(text[:cut]) if extension == "pdb.gz" else text[:cut])
        n_frames, message = outcome(path, topology)
        # A last record that only lacks the end of its line is whole.
        complete = sum(end - 1 <= cut for end in ends)
        assert n_frames == (complete if complete > 1 else None)
        assert (message is None) is (cut == ends[-1] - 1)


@pytest.mark.parametrize("extension", ["pdb.gz", "xyz.gz"])
def test_cut_or_corrupt_gzip(extension, trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    raw = path.read_bytes()
    for cut in (1, 5, 12, 100, len(raw) // 2, len(raw) - 20, len(raw) - 1):
        path.write_bytes(raw[:cut])
        n_frames, message = outcome(path, topology)
        assert message is not None
        assert n_frames is None or (1 < n_frames <= N_FRAMES and f"{n_frames} complete frames" in message)
    path.write_bytes(raw[: len(raw) // 2] + b"\0" * 20 + raw[len(raw) // 2 + 20 :])
    n_frames, message = outcome(path, topology)
    assert n_frames is None
    assert "corrupt" in message


@pytest.mark.parametrize(
    ("extension", "old", "new", "says"),
    [
        ("xyz", b"\n20\n", b"\n19\n", "corrupt near line"),
        ("xyz", b"\n20\n", b"\n-3\n", "corrupt near line"),
        ("gro", b" 20\n    0ALA", b" 21\n    0ALA", "corrupt near line"),
        ("gro", b"ALA", b"AL.", "the atoms are in another order, or the file is corrupt"),
        ("lammpstrj", b"ITEM: BOX", b"ITEM: BUX", "corrupt near line"),
        ("lammpstrj", b"ATOMS\n20\n", b"ATOMS\n30\n", "corrupt near line"),
        ("mdcrd", b"\n  ", b"\n ", "corrupt near line"),
        ("pdb", b"ENDMDL", b"REMARK", "MODEL record inside another"),
        ("pdb", b"ATOM", b"ATIM", "19 atoms, where the first model has 20"),
    ],
)
def test_corrupt_text(extension, old, new, says, trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    raw = path.read_bytes()
    middle = raw.index(old, len(raw) // 2)
    path.write_bytes(raw[:middle] + new + raw[middle + len(old) :])
    n_frames, message = outcome(path, topology)
    assert n_frames is None
    assert says in message
    assert "frame " in message


@pytest.mark.parametrize("extension", ["xtc", "trr"])
def test_corrupt_frame_header_in_the_middle(extension, trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    start = save(trajectory[:17], tmp_path / f"part.{extension}").stat().st_size
    raw = bytearray(path.read_bytes())
    raw[start] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"frame 17 \(byte {start}\) starts with"):
        scan(path, topology)


@pytest.mark.parametrize(
    ("offset", "value"),
    [(60, 2**31 - 1), (72, -(2**31)), (84, 0), (84, 73), (84, -5), (88, 0), (88, 2**30), (88, 277), (52, 19)],
)
def test_xtc_frame_header_that_would_crash_the_decoder(offset, value, trajectory, topology, tmp_path):
    """The C code believes the bounds, the index and the size that it finds."""
    path = save(trajectory, tmp_path / "a.xtc")
    start = save(trajectory[:9], tmp_path / "part.xtc").stat().st_size
    raw = bytearray(path.read_bytes())
    struct.pack_into(">i", raw, start + offset, value)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"frame 9 \(byte {start}\) has a corrupt header"):
        scan(path, topology)


FLIP = """
import json, pathlib, sys
from spectraldyn.errors import InputError
from spectraldyn.io import load_topology, open_trajectory
path = pathlib.Path(sys.argv[1])
topology = load_topology(sys.argv[2], []).topology
raw = path.read_bytes()
for bit in json.loads(sys.argv[3]):
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        list(open_trajectory(path, topology).chunks())
    except InputError:
        pass
print("alive")
"""


@pytest.mark.parametrize(("extension", "header"), [("xtc", 92), ("trr", 84)])
def test_no_flipped_bit_crashes_the_decoder(extension, header, tmp_path):
    """Each bit of the headers of the first two of three frames, and some of the data, which no check sees."""
    trajectory = make_trajectory(3, topology=make_topology(2))
    path, top = save(trajectory, tmp_path / f"a.{extension}"), save(trajectory[:1], tmp_path / "top.pdb")
    frame = path.stat().st_size // 3
    # Of step, time and box, which the decoder hands on, one bit in each byte; all of those that it goes by.
    values = range(8, 52) if extension == "xtc" else range(64, 84)
    first = [8 * byte + bit for byte in range(header) for bit in range(8) if bit == 0 or byte not in values]
    where = [*first, *(8 * frame + bit for bit in first), *range(0, 24 * frame, 11 if extension == "xtc" else 111)]
    command = [sys.executable, "-c", FLIP, str(path), str(top), json.dumps(where)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"alive\n", b"")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_random_damage_is_told_or_harmless(extension, trajectory, topology, tmp_path):
    """Single bytes changed anywhere: a result or an InputError, and no other exception."""
    path = save(trajectory, tmp_path / f"a.{extension}")
    raw = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(5 if extension == "h5" else 25):
        damaged = bytearray(raw)
        damaged[rng.integers(len(raw))] = rng.integers(256)
        path.write_bytes(damaged)
        n_frames, message = outcome(path, topology, most_warnings=9)
        assert n_frames is None or n_frames > 1
        assert n_frames is not None or message is not None


# --- what names and contents say ---


def test_every_pair_of_name_and_content(trajectory, topology, tmp_path):
    names = {
        "dcd": "DCD",
        "xtc": "XTC",
        "trr": "TRR",
        "nc": "NetCDF",
        "h5": "HDF5",
        "pdb": "PDB",
        "lammpstrj": "LAMMPS",
    }
    for true, content in names.items():
        raw = save(trajectory, tmp_path / f"true.{true}").read_bytes()
        for extension in EXTENSIONS:
            if extension == true or (true, extension) == ("h5", "nc"):
                continue
            path = tmp_path / f"false.{extension}"
            path.write_bytes(raw)
            with pytest.raises(InputError, match=rf"is not a .*content is {content}"):
                scan(path, topology)


def test_hdf5_that_is_not_amber_netcdf(trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / "a.h5").rename(tmp_path / "a.nc")
    with pytest.raises(InputError, match=r"a.nc: "):
        scan(path, topology)


@pytest.mark.parametrize("extension", ["lh5", "binpos", "tng", "dtr", "rst7", "gsd", "zip", "dcd.gz", "xyz.bz2", "txt"])
def test_formats_that_are_not_read(extension, topology, tmp_path):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(b"something")
    with pytest.raises(InputError, match=r"format \.\S+ is not read: formats read are \.dcd, \.xtc"):
        scan(path, topology)


def test_no_extension(trajectory, topology, tmp_path):
    for extension in ("dcd", "xtc", "trr", "nc", "pdb", "lammpstrj"):
        path = save(trajectory, tmp_path / f"a.{extension}").rename(tmp_path / "a")
        assert scan(path, topology).format == extension
    path.write_bytes(b"12 monkeys")
    with pytest.raises(InputError, match="the name has no extension: formats read are"):
        scan(path, topology)


def test_formats_sentence_names_every_format():
    for name in FORMATS:
        assert f".{name}" in formats_sentence()


def test_files_that_cannot_be_opened(topology, tmp_path):
    with pytest.raises(InputError, match=r"gone.xtc: there is no such file"):
        scan(tmp_path / "gone.xtc", topology)
    (tmp_path / "folder.xtc").mkdir()
    with pytest.raises(InputError, match=r"folder.xtc: this is a folder"):
        scan(tmp_path / "folder.xtc", topology)
    for name in ("gone.pdb", "gone.prmtop"):
        with pytest.raises(InputError, match=f"{name}: there is no such file"):
            load_topology(tmp_path / name, [])
    with pytest.raises(InputError, match=r"folder.xtc: this is a folder"):
        load_topology(tmp_path / "folder.xtc", [])


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_names_that_are_not_ascii(extension, trajectory, topology, tmp_path):
    folder = tmp_path / "größe µ"
    folder.mkdir()
    path = save(trajectory, tmp_path / f"a.{extension}").rename(folder / f"Läufe 1.{extension}")
    assert outcome(path, topology) == (N_FRAMES, None)
    assert len(open_trajectory(path, topology).read([3])) == 1
    if extension in OWN_TOPOLOGY:
        assert load_topology(None, [path]).n_atoms == 20


def test_temporary_folder_that_is_not_ascii(trajectory, topology, tmp_path, monkeypatch):
    (tmp_path / "tämp").mkdir()
    path = save(trajectory, tmp_path / "a.xtc")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tämp"))
    monkeypatch.chdir(tmp_path)
    assert outcome(path, topology) == (N_FRAMES, None)
    assert {file.name for file in tmp_path.iterdir()} == {"a.xtc", "tämp"}


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode there")
def test_names_that_are_not_utf8(trajectory, topology, tmp_path):
    raw = os.fsencode(save(trajectory, tmp_path / "a.dcd"))
    path = os.fsdecode(raw.replace(b"a.dcd", b"\xff\xfe.dcd"))
    os.rename(raw, path)
    top = save(trajectory[:1], tmp_path / "top.pdb")
    for refuse in (
        scan,
        open_trajectory,
        lambda path, _: load_topology(path, []),
        lambda path, _: load_topology(top, [path]),
    ):
        with pytest.raises(InputError, match=r"/\\xff\\xfe\.dcd: the name is not valid UTF-8.*rename it") as caught:
            refuse(path, topology)
        str(caught.value).encode()  # may be printed
    ((line, failed),) = describe_files([path], None)
    assert failed
    assert line.encode().startswith(os.fsencode(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["a.xtc", "a.dcd", "a.pdb", "a.npy"])
def test_pipes_are_refused(name, topology, tmp_path):
    """To open one may wait forever."""
    os.mkfifo(tmp_path / name)
    (tmp_path / f"link-{name}").symlink_to(tmp_path / name)
    for path in (tmp_path / name, tmp_path / f"link-{name}"):
        for refuse in (scan, lambda path, _: load_topology(None, [path]), lambda path, _: read_arrays(path)):
            with pytest.raises(InputError, match=f"{name}: this is a pipe or a device"):
                refuse(path, topology)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read any file")
def test_file_without_permission(trajectory, topology, tmp_path):
    path = save(trajectory, tmp_path / "a.xtc")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be opened"):
        scan(path, topology)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_empty_file(extension, topology, tmp_path):
    path = tmp_path / f"a.{extension}"
    path.touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        scan(path, topology)


def test_message_names_the_file_as_given(trajectory, topology, tmp_path, monkeypatch):
    save(trajectory[:1], tmp_path / "one.xtc")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\.\./.*/one\.xtc: "):
        scan(f"../{tmp_path.name}/one.xtc", topology)


# --- positions ---


@pytest.mark.parametrize("extension", ["dcd", "trr", "nc", "h5", "xyz"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_that_are_not_numbers(extension, value, tmp_path, monkeypatch):
    """All frames at fault are named, also those of a later chunk, and none of them is handed on."""
    for module in ("frames", "text"):
        monkeypatch.setattr(f"spectraldyn.io.{module}.frames_per_chunk", lambda n_atoms: 7)
    trajectory = make_trajectory()
    trajectory.xyz[12:16, 3, 1] = value
    trajectory.xyz[30] = value
    path = save(trajectory, tmp_path / f"a.{extension}")
    seen = []
    with pytest.raises(InputError, match="NaN or infinite positions in frames 12–15, 30"):
        scan(path, trajectory.topology, lambda chunk, first: seen.append(first))
    assert seen == [0]


@pytest.mark.parametrize("extension", ["dcd", "trr", "nc"])
def test_exploded_positions(extension, tmp_path):
    trajectory = make_trajectory()
    trajectory.xyz[20:, 4] = 3e6
    path = save(trajectory, tmp_path / f"a.{extension}")
    with pytest.raises(InputError, match=r"beyond 100000 nm .* in frames 20–39"):
        scan(path, trajectory.topology)
    trajectory.xyz[20:, 4] = 0
    trajectory.xyz[35:, 4] = 50
    save(trajectory, path)
    with pytest.raises(InputError, match="bonds are longer than 10 nm in frames 35–39"):
        scan(path, trajectory.topology)


def test_all_atoms_at_one_point(tmp_path):
    trajectory = make_trajectory()
    trajectory.xyz[3] = 0
    path = save(trajectory, tmp_path / "a.nc")
    with pytest.raises(InputError, match="all atoms at one and the same point in frame 3:"):
        scan(path, trajectory.topology)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_frozen_and_single_frames(extension, tmp_path):
    trajectory = make_trajectory()
    trajectory.xyz[:] = trajectory.xyz[0]
    path = save(trajectory, tmp_path / f"a.{extension}")
    with pytest.raises(InputError, match="all 40 frames are the same"):
        scan(path, trajectory.topology)
    save(make_trajectory()[:1], path)
    with pytest.raises(InputError, match="one frame, which makes no pair"):
        scan(path, trajectory.topology)


@pytest.mark.parametrize("extension", sorted(set(EXTENSIONS) - {"mdcrd"}))
def test_another_number_of_atoms(extension, trajectory, tmp_path):
    path = save(trajectory, tmp_path / f"a.{extension}")
    with pytest.raises(InputError, match="frame 0 has 20 atoms, the topology has 15"):
        scan(path, make_topology(3))


def test_another_number_of_atoms_in_mdcrd(trajectory, tmp_path):
    path = save(make_trajectory(topology=make_topology(3)), tmp_path / "a.mdcrd")
    with pytest.raises(InputError, match=r"frame 0 is corrupt near line .*20 atoms need"):
        scan(path, trajectory.topology)


def test_atoms_in_another_order(trajectory, topology, tmp_path):
    order = np.random.default_rng(4).permutation(20)
    path = save(mdtraj.Trajectory(trajectory.xyz[:, order], topology), tmp_path / "a.dcd")
    with pytest.raises(InputError, match="order of the atoms differs from the topology's"):
        scan(path, topology)


def test_single_long_bond_is_a_warning(tmp_path):
    """A topology may bond residues across a gap of the model: the file is not at fault."""
    trajectory = make_trajectory(topology=make_topology(12))
    trajectory.xyz[:, 30:] += 2
    path = save(trajectory, tmp_path / "a.dcd")
    n_frames, message = outcome(path, trajectory.topology)
    assert n_frames == N_FRAMES
    assert "1 of 59 bonds are longer than 0.4 nm (ALA5-C and ALA6-N" in message


def test_molecule_cut_by_a_box(tmp_path):
    """With its box a wrapped molecule is whole; without, it is torn in some frames or in most."""
    box = np.array([3.0, 3.0, 3.0, 90.0, 90.0, 90.0])
    trajectory = make_trajectory(box=box)
    trajectory.xyz[7:10] += 1.0
    trajectory.xyz %= 3.0
    path = save(trajectory, tmp_path / "a.xtc")
    assert outcome(path, trajectory.topology) == (N_FRAMES, None)
    trajectory.unitcell_vectors = None
    save(trajectory, path)
    n_frames, message = outcome(path, trajectory.topology)
    assert n_frames == N_FRAMES
    assert "longer than 1 nm in frames 7–9, though not in most" in message


def test_box_in_some_frames_only(topology, tmp_path):
    whole = make_trajectory(box=np.array([3.0, 3.0, 3.0, 90.0, 90.0, 90.0]))
    path = save(whole, tmp_path / "a.gro")
    lines = path.read_text().splitlines()
    lines[23 * 5 + 22] = "0.0 0.0 0.0"
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(InputError, match="frame 5 has no valid periodic box, unlike the frames before"):
        scan(path, topology)


@pytest.mark.parametrize(
    ("edge", "says"), [(0.1, "too small for 20 atoms"), (1.0, "exactly 1 × 1 × 1 nm"), (1.1, "smaller than any")]
)
def test_box_that_cannot_be_real(edge, says, topology, tmp_path):
    trajectory = make_trajectory(box=np.array([edge] * 3 + [90.0] * 3))
    path = save(trajectory, tmp_path / "a.trr")
    summary = scan(path, topology)
    assert says in summary.warnings[0]
    assert summary.periodic is (edge == 1.1)


# --- time stamps ---


def timed(times, path):
    trajectory = make_trajectory(len(times))
    trajectory.time = np.asarray(times)
    save(trajectory, path)
    return scan(path, trajectory.topology)


@pytest.mark.parametrize("extension", sorted(TIMES))
def test_time_resets_gaps_and_duplicates(extension, tmp_path):
    path = tmp_path / f"a.{extension}"
    for times, starts, says in (
        ([*range(20), *range(15)], (0, 20), "time goes back from 19 to 0 ps at frame 20"),
        ([*range(20), *range(50, 60)], (0, 20), "time jumps from 19 to 50 ps at frame 20"),
        ([*range(20), *range(19, 40)], (0, 20), "time stamp 19 ps occurs twice, at frames 19 and 20"),
        ([0, 0, *range(1, 20)], (0, 1), "time stamp 0 ps occurs twice, at frames 0 and 1"),
        ([*range(20), 100], (0, 20), "time jumps from 19 to 100 ps at frame 20"),
    ):
        summary = timed(times, path)
        assert summary.timestep_ps == 1.0
        assert summary.segment_starts == starts
        assert len(summary.warnings) == 1
        assert summary.warnings[0] == f"{path}: {says}: lagged pairs do not cross it"


@pytest.mark.parametrize("extension", sorted(TIMES))
def test_constant_stamps_are_none(extension, tmp_path):
    for time in (0.0, 7.0):
        summary = timed([time] * 30, tmp_path / f"a.{extension}")
        assert (summary.timestep_ps, summary.segment_starts, summary.warnings) == (None, (0,), ())


@pytest.mark.parametrize("extension", sorted(TIMES))
def test_uneven_stamps(extension, tmp_path):
    for times in (np.cumsum(np.tile([1, 2], 20)), np.geomspace(1, 1000, 40), -np.arange(40.0) + 100):
        with pytest.raises(InputError, match=r"time stamps (are uneven|never increase)"):
            timed(times, tmp_path / f"a.{extension}")


@pytest.mark.parametrize(
    ("start", "spacing"), [(0, 0.2), (1e6, 0.2), (1e6, 0.01), (3e5, 1.0), (12345.678, 0.1), (1e7, 10)]
)
def test_stamps_rounded_to_float32(start, spacing):
    times = (start + spacing * np.arange(20_000)).astype(np.float32).astype(float)
    timestep, starts, remarks = read_times(times)
    assert (starts, remarks) == ((0,), [])
    assert timestep == pytest.approx(spacing, rel=1e-3)
    if start < 1e5:
        assert timestep == pytest.approx(spacing, rel=1e-12)


def test_reset_is_found_where_stamps_are_coarse():
    times = (1e6 + 0.2 * np.r_[np.arange(5000), np.arange(5000)]).astype(np.float32).astype(float)
    timestep, starts, remarks = read_times(times)
    assert timestep == pytest.approx(0.2, rel=1e-3)
    assert starts == (0, 5000)
    assert "goes back" in remarks[0]


# --- numbers of frames where there are no times ---


def numbered(extension, numbers, tmp_path):
    """A file without usable times, whose frames have these numbers."""
    trajectory = make_trajectory(len(numbers))
    trajectory.time = np.zeros(len(numbers))
    path = tmp_path / f"a.{extension}"
    box = np.zeros((len(numbers), 3, 3), dtype=np.float32)
    numbers = np.asarray(numbers)
    if extension == "xtc":
        with mdtraj.formats.XTCTrajectoryFile(str(path), "w") as file:
            file.write(trajectory.xyz, time=trajectory.time, step=numbers, box=box)
        return path
    if extension == "trr":
        with mdtraj.formats.TRRTrajectoryFile(str(path), "w") as file:
            file.write(trajectory.xyz, trajectory.time, numbers, box, np.zeros(len(numbers)))
        return path
    text = save(trajectory, path).read_text()
    patterns = {
        "lammpstrj": (r"(?<=TIMESTEP\n)\d+", "{}"),
        "pdb": (r"MODEL +\d+", "MODEL     {:4d}"),
        "gro": (r"t=.*", "step= {}"),
        "xyz": (r"Created.*", "Atoms. Timestep: {}"),
    }
    pattern, written = patterns[extension]
    left = iter(numbers)
    text, count = re.subn(pattern, lambda match: written.format(next(left)), text)
    assert count == len(numbers)
    path.write_text(text)
    return path


NUMBERED = {"xtc": "step", "trr": "step", "lammpstrj": "step", "gro": "step", "xyz": "step", "pdb": "MODEL"}


@pytest.mark.parametrize(("extension", "name"), NUMBERED.items())
def test_breaks_in_the_numbers_of_frames(extension, name, topology, tmp_path):
    """A hole, an overlap and a frame that occurs twice: pairs must not cross, though the numbers are no times."""
    for numbers, starts, says in (
        ([*range(100), *range(160, 200)], (0, 100), f"the {name} number jumps from 99 to 160 at frame 100"),
        ([*range(100), *range(60, 130)], (0, 100), f"the {name} number goes back from 99 to 60 at frame 100"),
        ([*range(20), *range(19, 40)], (0, 20), f"{name} number 19 occurs twice, at frames 19 and 20"),
    ):
        path = numbered(extension, numbers, tmp_path)
        summary = scan(path, topology)
        assert (summary.timestep_ps, summary.segment_starts) == (None, starts)
        assert summary.warnings == (f"{path}: {says}: lagged pairs do not cross it",)


@pytest.mark.parametrize("extension", NUMBERED)
def test_numbers_of_frames_that_say_nothing(extension, topology, tmp_path):
    for numbers in ([1] * 30, [0] * 30, range(30), range(1, 31), range(5000, 8000, 100)):
        summary = scan(numbered(extension, numbers, tmp_path), topology)
        assert (summary.timestep_ps, summary.segment_starts, summary.warnings) == (None, (0,), ())


def test_steps_of_many_digits_are_exact(topology, tmp_path):
    """A step of 100 near 2·10⁹ is less than what float32 resolves there."""
    numbers = 2_000_000_000 + 100 * np.r_[:50, 60:90]
    path = numbered("lammpstrj", numbers, tmp_path)
    assert scan(path, topology).warnings == (
        f"{path}: the step number jumps from 2000004900 to 2000006000 at frame 50: lagged pairs do not cross it",
    )


def test_uneven_numbers_of_frames(topology, tmp_path):
    with pytest.raises(InputError, match=r"step numbers are uneven: .* the usual 2 \(the first at frame 2\)"):
        scan(numbered("lammpstrj", np.cumsum(np.tile([1, 2], 20)), tmp_path), topology)


def test_times_count_before_numbers(topology, tmp_path):
    path = tmp_path / "a.xtc"
    with mdtraj.formats.XTCTrajectoryFile(str(path), "w") as file:
        file.write(make_trajectory(40).xyz, time=np.arange(40.0), step=np.r_[:20, 50:70], box=None)
    summary = scan(path, topology)
    assert (summary.timestep_ps, summary.segment_starts, summary.warnings) == (1.0, (0,), ())


@pytest.mark.parametrize(
    "comment", [" i = {:8d}, time = {:12.3f}, E = -1.0", "# CELL(abcABC): 1.0 2.0 Step: {:11d}  Bead: 0"]
)
def test_steps_in_the_comments_of_xyz(comment, topology, tmp_path):
    path = save(make_trajectory(30), tmp_path / "a.xyz")
    steps = [*range(0, 200, 10), *range(300, 400, 10)]
    rows = path.read_text().splitlines()
    for frame, step in enumerate(steps):
        rows[22 * frame + 1] = comment.format(step, step / 2)
    path.write_text("\n".join([*rows, ""]))
    assert scan(path, topology).segment_starts == (0, 20)


def test_several_breaks_in_one_sentence_per_kind():
    times = np.concatenate([np.arange(50.0), np.arange(50.0), np.arange(50.0), np.arange(100, 150.0)])
    timestep, starts, remarks = read_times(times)
    assert (timestep, starts) == (1.0, (0, 50, 100, 150))
    assert remarks == [
        "time goes back from 49 to 0 ps at frame 50 (and at 1 more places): lagged pairs do not cross it",
        "time jumps from 49 to 100 ps at frame 150: lagged pairs do not cross it",
    ]


def test_netcdf_and_hdf5_without_time(tmp_path):
    """mdtraj numbers the frames of such files: that is not a time."""
    trajectory = make_trajectory()
    with mdtraj.formats.NetCDFTrajectoryFile(str(tmp_path / "a.nc"), "w") as file:
        file.write(10 * trajectory.xyz)
    with mdtraj.formats.HDF5TrajectoryFile(str(tmp_path / "a.h5"), "w") as file:
        file.write(trajectory.xyz)
    for name in ("a.nc", "a.h5"):
        summary = scan(tmp_path / name, trajectory.topology)
        assert (summary.n_frames, summary.timestep_ps) == (N_FRAMES, None)
    with pytest.raises(InputError, match=r"a.h5: "):
        load_topology(None, [tmp_path / "a.h5"])


def test_stamps_in_some_frames_only(topology, tmp_path):
    path = save(make_trajectory(), tmp_path / "a.gro")
    lines = path.read_text().splitlines()
    lines[23 * 5] = "no time here"
    path.write_text("\n".join([*lines, ""]))
    summary = scan(path, topology)
    assert summary.timestep_ps is None
    assert "some time stamps are missing" in summary.warnings[0]


def summary_of(name, timestep):
    return FileSummary(name, "xtc", 10, 3, timestep, (0,), False, ())


def test_common_timestep():
    a, b, c, bare = (summary_of(*item) for item in (("a", 1.0), ("b", 1.0002), ("c", 2.0), ("bare", None)))
    assert common_timestep([a, b], None) == 1.0
    assert common_timestep([a, bare], 1.0) == 1.0
    assert common_timestep([bare], 3.0) == 3.0
    assert common_timestep([bare, bare], None) is None
    with pytest.raises(InputError, match=r"^c: the time stamps say 2 ps between frames, those of a 1 ps"):
        common_timestep([a, c], None)
    with pytest.raises(InputError, match=r"^a: the time stamps say 1 ps .* `timestep` says 2 ps"):
        common_timestep([a], 2.0)
    with pytest.raises(InputError, match=r"^bare: .*a has frames 1 ps apart.*`timestep`"):
        common_timestep([a, bare], None)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="`timestep`"):
            common_timestep([bare], wrong)


# --- topologies ---


def test_topology_of_the_first_model_with_bonds_of_the_last_lines(trajectory, tmp_path):
    """CONECT records follow all models."""
    topology = make_topology(2)
    for residue in topology.residues:
        residue.name = "XYZ"
    path = save(make_trajectory(topology=topology), tmp_path / "a.pdb")
    assert path.read_text().count("CONECT") > 0
    structure = load_topology(None, [path])
    assert structure.n_frames == 1
    assert structure.topology.n_bonds == topology.n_bonds


def test_psf_has_no_coordinates(tmp_path):
    path = tmp_path / "a.psf"
    atoms = [f"{i:8d} S    1    ALA  {name:4s} CT1    0.000000 12.0110 0" for i, name in ((1, "CA"), (2, "CB"))]
    path.write_text(
        "\n".join(
            [
                "PSF",
                "",
                "       1 !NTITLE",
                " title",
                "",
                "       2 !NATOM",
                *atoms,
                "",
                "       1 !NBOND: bonds",
                "       1       2",
                "",
                "",
            ]
        )
    )
    structure = load_topology(path, [])
    assert (structure.n_frames, structure.n_atoms, structure.topology.n_bonds) == (0, 2, 1)


@pytest.mark.parametrize(
    "name", ["a.pdb", "a.gro", "a.psf", "a.prmtop", "a.mol2", "a.h5", "a.cif", "a.gsd", "a.foo", "a"]
)
def test_topology_that_is_none(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"what is this?\n1 2 3\nno topology, certainly\n")
    with pytest.raises(InputError, match=f"{name}: ") as caught:
        load_topology(path, [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdb", "REMARK nothing\nEND\n"),
        ("a.gro", "title\n0\n 1.0 1.0 1.0\n"),
        ("a.psf", "PSF\n\n 0 !NTITLE\n\n 0 !NATOM\n"),
        ("a.cif", "data_x\n"),
    ],
)
def test_topology_without_atoms(name, content, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=f"{name}: no topology can be read from this file") as caught:
        load_topology(path, [])
    assert not re.search("object|attribute|NoneType|unpack", str(caught.value))


def test_topology_of_no_atoms(trajectory, tmp_path):
    with pytest.raises(InputError, match=r"a\.mdcrd: the topology has no atoms"):
        scan(save(trajectory, tmp_path / "a.mdcrd"), mdtraj.Topology())


# --- silence ---

CHATTER = """
import ctypes, os, sys
from spectraldyn.io.silence import quiet
libc = ctypes.CDLL(None)

def chat():
    with quiet():
        libc.puts(b"C chatter")
        os.write(2, b"raw chatter")
        print("chatter of mdtraj")

print("before")
print("e1", file=sys.stderr)
sys.stdout.write("no end")
chat()
print(" but here")
print("e2", file=sys.stderr)
sys.stdout.close()
chat()
os.write(2, b"kept")
sys.stdout = None
try:
    os.close(1)
except OSError:
    pass
chat()
os.write(2, b"kept too")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="calls the C library of POSIX")
def test_silence_is_that_of_the_reader_alone():
    """Python's own output stays, in order, whether its streams are open or not."""
    done = subprocess.run([sys.executable, "-c", CHATTER], capture_output=True, check=True)
    assert done.stdout == b"before\nno end but here\n"
    assert done.stderr == b"e1\ne2\nkeptkept too"


def test_visitors_may_print_and_fail(trajectory, topology, tmp_path, capfd):
    path = save(trajectory, tmp_path / "a.xtc")
    scan(path, topology, lambda chunk, first: print("seen"))
    assert capfd.readouterr() == ("seen\n", "")

    def fail(chunk, first):
        raise OSError("the visitor's disk is full")

    with pytest.raises(OSError, match="visitor's disk") as caught:
        scan(path, topology, fail)
    assert not isinstance(caught.value, InputError)


def test_frames_remembered_are_bounded(topology):
    """Memory must not grow with the number of frames, however wrong the topology is."""
    check = checks.FrameChecks(topology)
    xyz = np.random.default_rng(5).normal(scale=50, size=(700, 20, 3)).astype(np.float32)
    for _ in range(5):
        check.look(frames.Frames(xyz))
    assert check.n_frames == 3500
    assert {len(found) for found in check._apart.values()} == {checks._MOST_NAMED}
    with pytest.raises(Damaged, match="19 of 19 bonds are longer"):
        check.finish()
