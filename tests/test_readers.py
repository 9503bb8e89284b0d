"""Random access: any frames of a file, in any order, and no other frame decoded."""

import json
import os

import mdtraj
import numpy as np
import pytest
from test_files import EXTENSIONS, N_FRAMES, TIMES, make_trajectory, save

from spectraldyn.errors import InputError
from spectraldyn.io import file_key, frames, open_trajectory, scan, text, write_structures
from spectraldyn.io.writing import superposed_atoms

BINARY = ("dcd", "xtc", "trr", "nc", "h5")
BOX = np.array([4.0, 5.0, 6.0, 80.0, 100.0, 110.0])


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the frames that are decoded or converted from here on, in order."""
    numbers = []

    blocks = frames.Indexed.blocks

    def watched_blocks(self, runs):
        for first, count in runs:
            numbers.extend(range(first, first + count))
            yield from blocks(self, [(first, count)])

    monkeypatch.setattr(frames.Indexed, "blocks", watched_blocks)
    walk, converted = text.Text._walk, text._converted

    def watched_walk(self, wanted):
        for count, item in enumerate(walk(self, wanted)):
            if item[1] is not None:
                numbers.append(count)
            yield item

    monkeypatch.setattr(text.Text, "_walk", watched_walk)
    monkeypatch.setattr(text, "_converted", lambda record: numbers.append("converted") or converted(record))
    return numbers


@pytest.mark.parametrize("box", [None, BOX])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_frames_are_those_of_the_pass_over_all(extension, box, tmp_path):
    if extension == "mdcrd" and box is not None:
        pytest.skip("mdcrd holds rectangular boxes only")
    trajectory = make_trajectory(box=box)
    path = save(trajectory, tmp_path / f"a.{extension}")
    chunks = []
    summary = scan(path, trajectory.topology, lambda chunk, first: chunks.append(chunk))
    (whole,) = chunks
    reader = open_trajectory(path, trajectory.topology)
    assert (reader.n_frames, reader.n_atoms, reader.format) == (N_FRAMES, 20, extension)
    assert reader.periodic is summary.periodic
    if extension in TIMES:
        np.testing.assert_array_equal(reader.times, whole.time)
    else:
        assert reader.times is None
    rows = [31, 2, 3, 31, 0, 39]
    found = reader.read(rows)
    np.testing.assert_array_equal(found.xyz, whole.xyz[rows])
    np.testing.assert_array_equal(found.time, whole.time[rows])
    if summary.periodic:
        np.testing.assert_array_equal(found.unitcell_lengths, whole.unitcell_lengths[rows])
        np.testing.assert_array_equal(found.unitcell_angles, whole.unitcell_angles[rows])
    else:
        assert found.unitcell_lengths is None


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_rows_that_are_not_there(extension, tmp_path):
    trajectory = make_trajectory()
    reader = open_trajectory(save(trajectory, tmp_path / f"a.{extension}"), trajectory.topology)
    with pytest.raises(InputError, match=rf"a.{extension}: frame 40 is asked for, but the file has 40 frames$"):
        reader.read([1, 40])
    with pytest.raises(InputError, match=r"frame -1 is asked for: frames are counted from 0"):
        reader.read([-1])
    with pytest.raises(InputError, match="no frames are asked for"):
        reader.read([])
    with pytest.raises(TypeError):
        reader.read([1.5])


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_only_the_frames_asked_for_are_decoded(extension, decoded, tmp_path):
    trajectory = make_trajectory()
    reader = open_trajectory(save(trajectory, tmp_path / f"a.{extension}"), trajectory.topology)
    reader.read([38, 20, 21, 38])
    if extension in BINARY:
        assert decoded == [20, 21, 38]
    else:
        assert decoded == ["converted", 20, "converted", 21, "converted", 38]


def test_text_is_not_read_beyond_the_last_frame_asked_for(tmp_path):
    trajectory = make_trajectory()
    path = save(trajectory, tmp_path / "a.xyz")
    text = path.read_text().splitlines()
    text[22 * 5 + 7] = "corrupt"
    text[22 * 2 + 7] = "converted only where it is wanted"
    path.write_text("\n".join([*text, ""]))
    reader = open_trajectory(path, trajectory.topology)
    np.testing.assert_allclose(reader.read([4, 1]).xyz, trajectory.xyz[[4, 1]], atol=6e-4)
    with pytest.raises(InputError, match="frame 5 is corrupt"):
        reader.read([5])


def test_frames_that_cannot_be_used(tmp_path):
    trajectory = make_trajectory()
    trajectory.xyz[12] = np.nan
    reader = open_trajectory(save(trajectory, tmp_path / "a.dcd"), trajectory.topology)
    reader.read([11, 13])
    with pytest.raises(InputError, match="NaN or infinite positions in frame 12:"):
        reader.read([13, 12])
    with pytest.raises(InputError, match="frame 3 has 20 atoms, the topology has 15"):
        open_trajectory(reader.path, make_trajectory(topology=trajectory.topology.subset(range(15))).topology).read([3])


@pytest.mark.parametrize("extension", ["xtc", "dcd", "xyz"])
def test_structures_of_all_states_in_one_pass(extension, decoded, tmp_path, monkeypatch):
    """Each file is opened once, and from the end of it no frame is read but those that are written."""
    trajectory = make_trajectory(300)
    files = [save(trajectory, tmp_path / f"{name}.{extension}") for name in "ab"]
    picked = {
        tmp_path / "state_1.pdb": [(files[0], 299), (files[0], 290)],
        tmp_path / "state_2.pdb": [(files[0], 295), (files[1], 299), (files[0], 290)],
    }
    opened = []
    monkeypatch.setattr(
        "spectraldyn.io.writing.open_trajectory",
        lambda path, topology: opened.append(path) or open_trajectory(path, topology),
    )
    write_structures(picked, trajectory.topology)
    assert opened == files
    assert [row for row in decoded if row != "converted"] == [290, 295, 299, 299]
    for target, places in picked.items():
        models = mdtraj.load(str(target))
        expected = trajectory[[row for _, row in places]]
        expected.superpose(expected, 0, atom_indices=trajectory.topology.select("name CA"))
        np.testing.assert_allclose(models.xyz, expected.xyz, atol=2e-3)
        again = mdtraj.load(str(target.with_suffix(".xtc")), top=str(target))
        np.testing.assert_allclose(again.xyz, models.xyz, atol=6e-4)


def test_structures_are_whole_molecules(tmp_path):
    trajectory = make_trajectory(box=np.array([3.0, 3.0, 3.0, 90.0, 90.0, 90.0]))
    trajectory.xyz[7:10] += 1.0
    trajectory.xyz %= 3.0
    path = save(trajectory, tmp_path / "a.xtc")
    write_structures({tmp_path / "s.pdb": [(path, 8), (path, 30)]}, trajectory.topology)
    bonds = [(a.index, b.index) for a, b in trajectory.topology.bonds]
    assert mdtraj.compute_distances(mdtraj.load(str(tmp_path / "s.pdb")), bonds, periodic=False).max() < 0.4


def test_structures_lie_on_the_first_as_well_as_rigid_molecules_can(tmp_path):
    """Turned at random, from a file with a periodic box and one without: RMSDs of alpha carbons are mdtraj's."""
    trajectory = make_trajectory()
    random = np.random.default_rng(0)
    turns = np.linalg.qr(random.normal(size=(N_FRAMES, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    trajectory.xyz = (trajectory.xyz @ turns + random.normal(size=(N_FRAMES, 1, 3))).astype(np.float32)
    bare = save(trajectory, tmp_path / "bare.dcd")
    trajectory.unitcell_lengths, trajectory.unitcell_angles = np.full((2, N_FRAMES, 3), [[[50.0]], [[90.0]]])
    boxed = save(trajectory, tmp_path / "boxed.dcd")
    rows = [7, 3, 30, 12]
    places = list(zip([bare, boxed, boxed, bare], rows, strict=True))
    write_structures({tmp_path / "s.pdb": places}, trajectory.topology)
    alpha = trajectory.topology.select("name CA")
    expected = mdtraj.rmsd(trajectory[rows], trajectory[rows], 0, atom_indices=alpha)
    for name in ("s.pdb", "s.xtc"):
        shown = mdtraj.load(str(tmp_path / name), top=str(tmp_path / "s.pdb"))
        apart = np.sqrt(((shown.xyz - shown.xyz[0])[:, alpha] ** 2).sum(axis=2).mean(axis=1))
        np.testing.assert_allclose(apart, expected, atol=1e-3)
        assert shown.unitcell_lengths is None  # a box does not turn with the molecule
    assert expected[1:].min() > 5e-3
    np.testing.assert_allclose(mdtraj.load(str(tmp_path / "s.pdb")).xyz[0], trajectory.xyz[7], atol=6e-5)


def test_atoms_that_structures_are_superposed_on():
    """Alpha carbons, but no calcium; fewer than four: heavy atoms without water; none of these: all."""
    peptide = make_trajectory().topology
    assert superposed_atoms(peptide).tolist() == [1, 6, 11, 16]
    residue = peptide.add_residue("CA", peptide.add_chain())
    peptide.add_atom("CA", mdtraj.element.calcium, residue)
    assert superposed_atoms(peptide).tolist() == [1, 6, 11, 16]
    small = peptide.subset([*range(15), 20])
    water = small.add_residue("HOH", small.add_chain())
    for name, element in (("O", "O"), ("H1", "H"), ("H2", "H")):
        small.add_atom(name, mdtraj.element.Element.getBySymbol(element), water)
    assert superposed_atoms(small).tolist() == list(range(16))
    assert superposed_atoms(small.subset([16, 17, 18])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("n_atoms", "expected"), [(1, "where they are"), (2, "centred")])
def test_structures_of_atoms_too_few_to_superpose(n_atoms, expected, tmp_path):
    trajectory = make_trajectory().atom_slice(range(n_atoms))
    path = save(trajectory, tmp_path / "a.dcd")
    write_structures({tmp_path / "s.pdb": [(path, 3), (path, 5)]}, trajectory.topology)
    xyz = trajectory.xyz[[3, 5]]
    wanted = xyz if expected == "where they are" else xyz - xyz.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(mdtraj.load(str(tmp_path / "s.pdb")).xyz, wanted, atol=6e-5)


def test_take_joins_what_only_some_frames_carry():
    bare = frames.Frames(np.zeros((2, 1, 3), dtype=np.float32))
    boxed = frames.Frames(np.ones((1, 1, 3), dtype=np.float32), np.ones(1), np.ones((1, 6)))
    both = frames.joined([bare, boxed])
    np.testing.assert_array_equal(both.time, [np.nan, np.nan, 1])
    np.testing.assert_array_equal(both.cell, [[np.nan] * 6, [np.nan] * 6, [1] * 6])
    assert np.isnan(both.step).all()


def test_file_key(tmp_path):
    """Changes with the size, the time of change, and the content at the beginning, in the middle and at the end."""
    path = tmp_path / "a"
    content = bytearray(np.random.default_rng(0).bytes(1_000_000))

    def key(where=None, time=1_000_000_000):
        changed = bytearray(content)
        if where is not None:
            changed[where] ^= 1
        path.write_bytes(changed)
        path.touch()
        os.utime(path, ns=(time, time))
        return file_key(path)

    first = key()
    assert json.loads(json.dumps(first)) == first == key()
    assert first["size"] == 1_000_000
    places = [0, 65_535, 500_000, 999_999, 1_000_000 - 65_536]
    assert len({key(where)["blake2b"] for where in places} | {first["blake2b"]}) == 6
    assert key(200_000) == first  # not looked at
    assert key(time=2_000_000_000) == first | {"mtime_ns": 2_000_000_000}
    for size in (0, 1, 70_000):
        path.write_bytes(content[:size])
        assert file_key(path)["size"] == size
    with pytest.raises(FileNotFoundError):
        file_key(tmp_path / "gone")
    with pytest.raises(OSError, match="no regular file"):
        file_key(tmp_path)
