"""Distances, torsions and contacts in torch, on the CPU: as mdtraj has them, and as they are defined."""

from itertools import product

import mdtraj
import numpy as np
import pytest
import torch
from problems import REPOSITORY_DATA, SHARED, needs_shared

from spectraldyn.features import define_features, load_features, tensors
from spectraldyn.features.blocks import Geometry
from spectraldyn.features.definitions import NO_ROOM
from spectraldyn.features.featurize import Featurizer
from spectraldyn.io import open_trajectory

PAIRS = np.array([[i, j] for i in range(12) for j in range(i)])
QUARTETS = np.arange(12).reshape(3, 4)
DIPEPTIDE, TETRAPEPTIDE = (REPOSITORY_DATA / name for name in ("alanine_dipeptide", "alanine_tetrapeptide"))


def frames_of(file, top, n_frames=40):
    reader = open_trajectory(file, mdtraj.load(top).topology)
    return reader.read(range(0, 5 * n_frames, 5))


def both(frames, features):
    """Rows by mdtraj and by torch."""
    return [define_features(frames[0], features, device=device).compute(frames) for device in (None, "cpu")]


def boxed(xyz, lengths=None, angles=None):
    """Frames (n, n_atoms, 3) without a topology."""
    box = [None if part is None else np.broadcast_to(part, (len(xyz), 3)) for part in (lengths, angles)]
    return mdtraj.Trajectory(np.asarray(xyz, dtype=np.float32), None, None, *box)


def in_torch(kind, atoms, frames):
    return tensors.compute([Geometry(kind, atoms)], frames, frames.unitcell_lengths is not None, "cpu")[0]


def random_boxes(n, angles=None, seed=0):
    """Frames of 12 atoms over several images of boxes of all shapes."""
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.3, 6, (n, 3))
    if angles is None:
        angles = np.concatenate([random.uniform(60, 110, (n - 1, 3)), [[60, 60, 90]]])
    return boxed(random.uniform(-1.5, 1.5, (n, 12, 3)) * lengths[:, None], lengths, np.broadcast_to(angles, (n, 3)))


def nearest(frames):
    """Displacements in float64, (n_frames, n_pairs, 3): the shortest of all images up to four boxes away."""
    r = np.diff(frames.xyz.astype(float)[:, PAIRS], axis=2)[:, :, 0]
    box = frames.unitcell_vectors.astype(np.float32).astype(float)
    r = r - np.rint(r @ np.linalg.inv(box)) @ box
    shifts = np.array(list(product(range(-4, 5), repeat=3))) @ box
    images = r[:, :, None] + shifts[:, None]
    shortest = (images**2).sum(axis=3).argmin(axis=2)
    return np.take_along_axis(images, shortest[:, :, None, None], axis=2)[:, :, 0]


PEPTIDE = ["torsions", "heavy-distances", "contacts", "closest-distances:resid 0;resid 2"]


@pytest.mark.parametrize(
    ("file", "top", "features"),
    [
        (DIPEPTIDE / "a2.xtc", DIPEPTIDE / "top.pdb", ["torsions", "heavy-distances"]),
        (TETRAPEPTIDE / "run0.xtc", TETRAPEPTIDE / "top.pdb", PEPTIDE),
        *(
            pytest.param(SHARED / folder / file, SHARED / folder / top, features, marks=needs_shared, id=file)
            for folder, file, top, features in [
                ("real/asp7", "asp7.xtc", "asp7.pdb", [*PEPTIDE, "sidechain-torsions"]),
                ("real/chignolin_short", "traj.dcd", "topology.pdb", [*PEPTIDE, "sidechain-torsions"]),
                ("real/alanine_multithermal", "alanine.xtc", "alanine.gro", ["torsions", "heavy-distances"]),
                ("formats/charmm_cells", "hex.dcd", "top.pdb", ["torsions", "heavy-distances"]),
                ("formats/charmm_cells", "rhdo.dcd", "top.pdb", ["torsions", "heavy-distances"]),
            ]
        ),
    ],
)
def test_rows_of_real_molecules_are_those_of_mdtraj(file, top, features):
    frames = frames_of(file, top)
    by_mdtraj, by_torch = both(frames, features)
    assert by_torch.dtype == np.float32
    np.testing.assert_allclose(by_torch, by_mdtraj, rtol=0, atol=1e-6)
    # molecules that lie across the box
    if frames.unitcell_lengths is not None:
        frames.xyz = frames.xyz + 0.5 * frames.unitcell_lengths[:, None]
        frames.xyz -= np.floor(frames.xyz / frames.unitcell_lengths[:, None]) * frames.unitcell_lengths[:, None]
        np.testing.assert_allclose(*both(frames, features), rtol=0, atol=1e-5)


@pytest.mark.parametrize("angles", [None, 90.0])
def test_distances_to_the_nearest_image_in_boxes_of_all_shapes(angles):
    """As mdtraj has them; where no edge of a skewed box is three times as long as another, there is none nearer."""
    frames = random_boxes(80, angles)
    found = in_torch("distances", PAIRS, frames)
    np.testing.assert_allclose(found, mdtraj.compute_distances(frames, PAIRS), rtol=0, atol=1e-5)
    usual = frames.unitcell_lengths.max(axis=1) < 3 * frames.unitcell_lengths.min(axis=1)
    assert usual.sum() > 20
    np.testing.assert_allclose(found[usual], np.linalg.norm(nearest(frames[usual]), axis=2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("angles", [None, 90.0])
def test_torsions_over_bonds_to_the_nearest_image(angles):
    """Compared where three atoms are not nearly on a line: there single precision has no angle."""
    frames = random_boxes(300, angles, seed=1)
    bonds = np.concatenate([QUARTETS[:, i : i + 2] for i in range(3)])
    b = mdtraj.compute_displacements(frames, bonds).astype(float).reshape(-1, 3, 3, 3).swapaxes(0, 1)
    before, after = np.cross(b[0], b[1]), np.cross(b[1], b[2])
    lengths = np.linalg.norm(b, axis=3)
    bent = [np.linalg.norm(n, axis=2) / (lengths[i] * lengths[i + 1]) > 0.2 for i, n in enumerate((before, after))]
    clear = np.repeat(bent[0] & bent[1], 2, axis=1)
    assert clear.mean() > 0.85
    turn = np.cross(before, after) * b[1] / lengths[1][..., None]
    scale = np.linalg.norm(before, axis=2) * np.linalg.norm(after, axis=2)
    expected = np.stack([(before * after).sum(axis=2) / scale, turn.sum(axis=2) / scale], axis=2).reshape(300, -1)
    found = in_torch("torsions", QUARTETS, frames)
    angle = mdtraj.compute_dihedrals(frames, QUARTETS)
    by_mdtraj = np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(300, -1)
    np.testing.assert_allclose(found[clear], expected[clear], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[clear], by_mdtraj[clear], rtol=0, atol=1e-5)


def test_no_box_means_no_images():
    frames = boxed(random_boxes(20).xyz)
    found = in_torch("distances", PAIRS, frames)
    np.testing.assert_allclose(found, np.linalg.norm(np.diff(frames.xyz[:, PAIRS], axis=2)[:, :, 0], axis=2), atol=1e-5)


def test_a_torsion_of_atoms_on_a_line_is_0():
    line = np.arange(4.0)[:, None] * [0.1, 0.0, 0.0]
    frames = boxed([line])
    assert mdtraj.compute_dihedrals(frames, QUARTETS[:1]) == 0
    np.testing.assert_array_equal(in_torch("torsions", QUARTETS[:1], frames), [[1, 0]])


@pytest.mark.parametrize("angles", [(90, 90, 90), (60, 60, 90), (75, 100, 110)])
def test_atoms_at_half_a_box_and_at_one_place(angles):
    """Whichever image is taken, it is as far away; whole boxes apart is the same place."""
    frames = boxed(np.zeros((1, 12, 3)), [2.0, 3.0, 4.0], angles)
    a, b, c = frames.unitcell_vectors[0]
    frames.xyz = np.array([[0 * a, a / 2, b / 2, c / 2, 3 * a, 2 * b - c, *6 * [a]]], dtype=np.float32)
    pairs = np.array([[0, i] for i in range(1, 7)])
    found = in_torch("distances", pairs, frames)
    np.testing.assert_allclose(found, mdtraj.compute_distances(frames, pairs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[0, 3:], 0, atol=1e-6)
    assert found[0, 0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("angles", [90.0, (60.0, 60.0, 90.0)])
def test_a_box_smaller_than_the_molecule(angles):
    frames = boxed(random_boxes(20).xyz / 4, [0.05, 0.06, 0.07], angles)
    found = in_torch("distances", PAIRS, frames)
    np.testing.assert_allclose(found, mdtraj.compute_distances(frames, PAIRS), rtol=0, atol=1e-5)
    assert found.max() < 0.07


def tetrapeptide(n_frames=30):
    return frames_of(TETRAPEPTIDE / "run0.xtc", TETRAPEPTIDE / "top.pdb", n_frames)


def test_frames_with_and_without_a_box_and_in_pieces(monkeypatch):
    frames = tetrapeptide()
    lengths = np.full((30, 3), 0.9)
    lengths[::3] = 0
    frames.unitcell_lengths, frames.unitcell_angles = lengths, np.full((30, 3), 90.0)
    by_mdtraj, whole = both(frames, PEPTIDE)
    np.testing.assert_allclose(whole, by_mdtraj, rtol=0, atol=1e-5)
    monkeypatch.setattr(tensors, "CHUNK_BYTES", 10**6)
    np.testing.assert_array_equal(both(frames, PEPTIDE)[1], whole)


def short_of_memory(monkeypatch, most):
    """A device that does not take more than so many frames; returns the sizes it was asked for."""
    asked = []

    def limited(frames, *atoms):
        asked.append(len(frames.xyz))
        if asked[-1] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return tensors.distances(frames, *atoms)

    monkeypatch.setitem(tensors.FORMULAS, "distances", limited)
    return asked


def test_where_memory_falls_short_pieces_become_smaller(monkeypatch):
    asked = short_of_memory(monkeypatch, 10)
    frames = tetrapeptide()
    monkeypatch.setattr(tensors, "_available", lambda _: 10**9)
    chosen = define_features(frames[0], "heavy-distances", device="cpu")
    by_mdtraj = define_features(frames[0], "heavy-distances").compute(frames)
    np.testing.assert_allclose(chosen.compute(frames), by_mdtraj, rtol=0, atol=1e-5)
    assert max(asked[-3:]) <= 10
    assert sum(n for n in asked if n <= 10) == 30
    assert chosen.notes == []


def test_where_memory_takes_no_frame_mdtraj_computes_them_and_it_is_said(monkeypatch):
    short_of_memory(monkeypatch, 0)
    frames = tetrapeptide()
    chosen = define_features(frames[0], "torsions,heavy-distances", device="cpu")
    by_mdtraj = define_features(frames[0], "torsions,heavy-distances").compute(frames)
    np.testing.assert_array_equal(chosen.compute(frames), by_mdtraj)
    chosen.compute(frames)
    assert chosen.notes == [NO_ROOM]


def test_what_mdtraj_computes_all_the_same_is_said():
    frame = tetrapeptide(1)
    chosen = define_features(frame, "torsions,sasa,aligned-positions", device="cpu")
    assert chosen.arithmetic == ["torch cpu", "mdtraj", "mdtraj"]
    assert chosen.notes == [
        "sasa and aligned-positions: computed by mdtraj on the CPU, only torsions, distances between atoms and "
        "contacts have a form for the GPU"
    ]
    assert not define_features(frame, "torsions,sasa").notes
    assert not define_features(frame, PEPTIDE, device="cpu").notes


def test_the_store_keeps_rows_of_torch_and_of_mdtraj_apart(feature_store):
    """And those that mdtraj computes on any device once."""
    topology = mdtraj.load(TETRAPEPTIDE / "top.pdb")

    def rows(features, device):
        chosen = define_features(topology, features, device=device)
        return Featurizer(chosen, topology, None, cache=True).rows(TETRAPEPTIDE / "run0.xtc", 0, 100)[0]

    def n_entries():
        return len(list(feature_store.glob("*.json")))

    first = rows("torsions", None)
    second = rows("torsions", "cpu")
    assert n_entries() == 2
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(second, first, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rows("torsions", "cpu"), second)
    np.testing.assert_array_equal(rows("torsions", None), first)
    rows("positions", None)
    rows("positions", "cpu")
    assert n_entries() == 3


def test_angles_that_mdtraj_takes_for_right_ones():
    """Atoms three boxes apart would lie elsewhere if the box were skewed."""
    frames = random_boxes(10, 90.0005)
    found = in_torch("distances", PAIRS, frames)
    np.testing.assert_allclose(found, mdtraj.compute_distances(frames, PAIRS), rtol=0, atol=1e-5)
    frames.unitcell_angles = np.full((10, 3), 90.01)
    skewed = in_torch("distances", PAIRS, frames)
    np.testing.assert_allclose(skewed, mdtraj.compute_distances(frames, PAIRS), rtol=0, atol=1e-5)
    assert np.abs(skewed - found).max() > 1e-4


def test_the_device_of_a_fit_computes_its_features(monkeypatch):
    """Asked for a device, which here is the CPU in a GPU's place, the pipeline hands it on; files that several
    processes read get it, too."""
    asked = []

    def defined(reference, features=None, atoms=None, first_frame=None, device=None):
        asked.append(device)
        return define_features(reference, features, atoms, first_frame, device and "cpu")

    monkeypatch.setattr("spectraldyn.features.load.define_features", defined)
    monkeypatch.setattr("spectraldyn.features.several.define_features", defined)
    files = [TETRAPEPTIDE / f"run{number}.xtc" for number in (0, 1)]
    options = {"top": TETRAPEPTIDE / "top.pdb", "features": "torsions"}
    by_torch, by_mdtraj = (load_features(files, **options, device=device) for device in ("cuda", "cpu"))
    assert asked == ["cuda", None]
    for one, other in zip(by_torch, by_mdtraj, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
        assert not np.array_equal(one, other)
