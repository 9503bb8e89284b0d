"""Groups of atoms, references, secondary structure and surface, against other ways to the same numbers."""

from itertools import pairwise, product

import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_features import BACKBONE, build, compute

from spectraldyn.errors import InputError
from spectraldyn.features import define_features, load_features

LIGAND = [("LIG", ["C1", "C2", "O1", "H1"])]


def boxed(trajectory, lengths, angles):
    trajectory.unitcell_lengths = np.tile(np.float32(lengths), (trajectory.n_frames, 1))
    trajectory.unitcell_angles = np.tile(np.float32(angles), (trajectory.n_frames, 1))
    return trajectory


def nearest(vectors, cell):
    """Length of the shortest image of displacements (..., 3), by trying neighbouring cells of a (3, 3) box."""
    shifts = np.array(list(product((-2, -1, 0, 1, 2), repeat=3))) @ cell
    return np.linalg.norm(vectors[..., None, :] + shifts, axis=-1).min(axis=-1)


# ----- closest atoms


@pytest.mark.parametrize("angles", [[90, 90, 90], [70, 80, 65]])
def test_closest_heavy_atoms_of_groups_in_a_periodic_box(angles):
    xyz = np.random.default_rng(0).uniform(-1, 3, size=(20, 9, 3))
    trajectory = build([("ALA", ["N", "CA", "HA"]), ("GLY", ["CA", "C"]), *LIGAND], xyz)
    boxed(trajectory, [1.8, 2.0, 2.2], angles)
    found = compute(trajectory, ["closest-distances:resname ALA; resname GLY ;resname LIG"])
    names = ["resname ALA; resname GLY", "resname ALA; resname LIG", "resname GLY; resname LIG"]
    assert list(found) == [f"closest-distance {name}" for name in names]
    cell = trajectory.unitcell_vectors[0].astype(float)
    heavy = [[0, 1], [3, 4], [5, 6, 7]]
    for name, (a, b) in zip(found, [(0, 1), (0, 2), (1, 2)], strict=True):
        apart = xyz[:, heavy[a], None].astype(np.float32) - xyz[:, None, heavy[b]].astype(np.float32)
        np.testing.assert_allclose(found[name], nearest(apart, cell).min(axis=(1, 2)), atol=2e-6)


def test_groups_hold_only_atoms_that_are_chosen():
    xyz = np.zeros((1, 5, 3))
    xyz[0, :, 0] = [0, 1, 5, 7, 7]
    trajectory = build([("ALA", ["CA"]), *LIGAND], xyz)
    feature = "closest-distances:resname ALA;resname LIG"
    column = "closest-distance resname ALA; resname LIG"
    assert compute(trajectory, feature)[column][0] == 1
    assert compute(trajectory, feature, "not name C1")[column][0] == 5
    with pytest.raises(InputError, match="'resname LIG', of which `atoms` leaves out every atom"):
        define_features(trajectory, feature, "resname ALA")


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        ("closest-distances", "closest-distances, which needs to be told more: write closest-distances:SELECTION;SEL"),
        ("closest-distances:protein", "give two or more selections of atoms, with ; between them"),
        ("closest-distances:protein;", "give two or more selections"),
        ("closest-distances:name C1;name  C1", "the same group twice"),
        ("closest-distances:protein;resnme LIG", r"a group of closest-distances is 'resnme LIG'.*did you mean resname"),
        ("centre-distances:protein;resname XYZ", "'resname XYZ', which selects none of the 5 atoms"),
        ("closest-distances:protein;name H1", "cannot be computed for this molecule: 'name H1' has no heavy atom"),
        ("closest-distances:resname LIG;all", "'resname LIG' and 'all' share atoms, LIG2-C1 for one"),
        ("torsions:protein", "torsions takes nothing behind a colon"),
        ("rmsd", r"write rmsd:FILE\[;SELECTION\]"),
        ("closst-distances:protein;all", r"did you mean closest-distances\?"),
    ],
)
def test_groups_that_cannot_be_right(feature, sentence):
    with pytest.raises(InputError, match=sentence):
        define_features(build([("ALA", ["CA"]), *LIGAND]), feature)


def test_too_many_pairs_of_atoms(monkeypatch):
    monkeypatch.setattr("spectraldyn.features.groups.MAX_ATOM_PAIRS", 2)
    with pytest.raises(InputError, match="it has 3 pairs of atoms, more than 2: choose smaller groups"):
        define_features(build([("ALA", ["CA"]), *LIGAND]), "closest-distances:protein;resname LIG")


# ----- centres


@pytest.mark.parametrize("angles", [[90, 90, 90], [75, 80, 70]])
def test_centres_of_groups_that_the_box_cuts(angles):
    """A group of two molecules, one longer than half the box, and one of another: wrapped atom by atom."""
    random = np.random.default_rng(1)
    chain = np.array([[0.3 * i, 0.1 * (i % 2), 0] for i in range(5)])  # 1.2 nm in a box of 2 nm
    pair = np.array([[0.7, 0.5, 0.2], [0.8, 0.5, 0.2]])
    guest = np.array([[0.4, 0.2, 0.7], [0.5, 0.2, 0.7]])
    whole = np.concatenate([chain, pair, guest]) + random.normal(scale=0.02, size=(30, 9, 3))
    whole += random.uniform(-4, 4, size=(30, 1, 3))
    names = [("HST", ["C1", "C2", "O1", "C3", "H1"]), ("HST", ["N1", "C1"]), ("LIG", ["S1", "C1"])]
    trajectory = build(names, whole, [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (7, 8)])
    boxed(trajectory, [2, 2.1, 2.2], angles)
    cell = trajectory.unitcell_vectors[0].astype(float)
    masses = np.array([12.01078, 12.01078, 15.99943, 12.01078, 1.007947, 14.00672, 12.01078, 32.0655, 12.01078])
    centre = [np.average(whole[:, a], axis=1, weights=masses[a]) for a in ([0, 1, 2, 3, 4, 5, 6], [7, 8])]
    fraction = whole @ np.linalg.inv(cell)
    trajectory.xyz = ((fraction - np.floor(fraction)) @ cell).astype(np.float32)
    assert np.ptp(trajectory.xyz[:, :5], axis=1).max() > 1.5  # they are cut
    found = compute(trajectory, "centre-distances:resname HST;resname LIG")["centre-distance resname HST; resname LIG"]
    np.testing.assert_allclose(found, nearest(centre[0] - centre[1], cell), atol=3e-6)
    free = build(names, whole)
    found = compute(free, "centre-distances:resname HST;resname LIG")["centre-distance resname HST; resname LIG"]
    np.testing.assert_allclose(found, np.linalg.norm(centre[0] - centre[1], axis=1), atol=3e-6)


def test_centres_of_beads_without_masses_and_no_note_on_images():
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for name in "ABC":
        topology.add_atom(name, None, topology.add_residue("BED", chain))
    xyz = np.float32([[[0.1, 0, 0], [0.3, 0, 0], [1.9, 0, 0]]])
    trajectory = boxed(mdtraj.Trajectory(xyz, topology), [2, 2, 2], [90, 90, 90])
    chosen = define_features(trajectory, "centre-distances:name A B;name C")
    assert chosen.compute(trajectory)[0, 0] == pytest.approx(0.3, abs=1e-6)
    assert chosen.periodic_notes == []
    assert chosen.columns[0].residues == ()


# ----- RMSD


def aligned(moved, target):
    """Root of the mean square distance after the best rotation, by another road than mdtraj's."""
    moved, target = (x - x.mean(axis=0) for x in (moved, target))
    return Rotation.align_vectors(target, moved)[1] / np.sqrt(len(target))


def test_rmsd_from_a_file_whose_atoms_come_in_another_order(tmp_path):
    random = np.random.default_rng(2)
    residues = [("ALA", ["N", "CA", "HA"]), ("GLY", ["CA", "C"]), ("HOH", ["O"])]
    shape = random.normal(size=(6, 3)).round(4)
    reference = build([("ALA", ["CA", "N"]), ("GLY", ["C", "CA"])], shape[None, [1, 0, 4, 3]])
    reference.save_pdb(tmp_path / "crystal.pdb")
    turned = Rotation.random(20, random)
    xyz = np.array([one.apply(shape) for one in turned]) + random.normal(size=(20, 1, 3))
    xyz += random.normal(scale=0.1, size=xyz.shape) * np.arange(20)[:, None, None] / 10
    trajectory = build(residues, xyz)
    found = compute(trajectory, f"rmsd:{tmp_path}/crystal.pdb")["rmsd crystal.pdb"]
    assert found[0] == pytest.approx(0, abs=1e-3)  # in single precision, and a PDB file rounds to 1e-4 nm
    np.testing.assert_allclose(found, [aligned(frame[[0, 1, 3, 4]], shape[[0, 1, 3, 4]]) for frame in xyz], atol=1e-3)
    some = compute(trajectory, f"rmsd:{tmp_path}/crystal.pdb;name CA N")
    expected = [aligned(frame[[0, 1, 3]], shape[[0, 1, 3]]) for frame in xyz]
    np.testing.assert_allclose(some["rmsd crystal.pdb; name CA N"], expected, atol=1e-3)


def test_rmsd_of_a_molecule_and_a_reference_that_the_box_cuts(tmp_path):
    random = np.random.default_rng(3)
    shape = np.array([[0.25 * i, 0.05 * (i % 2), 0.04 * (i % 3)] for i in range(6)])
    whole = shape + random.normal(scale=0.05, size=(10, 6, 3)) + random.uniform(0, 1.6, size=(10, 1, 3))
    residues, bonds = [("LIG", ["C1", "C2", "C3", "C4", "C5", "C6"])], [(i, i + 1) for i in range(5)]
    wrapped = build(residues, whole % 1.6, bonds, box=1.6)
    wrapped[4].save_pdb(tmp_path / "cut.pdb")
    assert set(np.floor(whole[4, :, 0] / 1.6)) == {0, 1}  # it is cut
    found = compute(wrapped, f"rmsd:{tmp_path}/cut.pdb")["rmsd cut.pdb"]
    np.testing.assert_allclose(found, [aligned(frame, whole[4]) for frame in whole], atol=1e-3)


def test_references_that_cannot_be_right(tmp_path):
    trajectory = build([("ALA", [*BACKBONE, "O"])], np.random.default_rng(0).normal(size=(1, 4, 3)))
    trajectory.atom_slice([0, 1]).save_pdb(tmp_path / "part.pdb")
    with pytest.raises(InputError, match=r"part.pdb, the reference of rmsd, lacks 2 of the 4 .* ALA1-C for one"):
        define_features(trajectory, f"rmsd:{tmp_path}/part.pdb")
    with pytest.raises(InputError, match=r"gone\.pdb"):
        define_features(trajectory, f"rmsd:{tmp_path}/gone.pdb")
    with pytest.raises(InputError, match="at least 3 atoms and there are 1"):
        define_features(trajectory, f"rmsd:{tmp_path}/part.pdb;name CA")


def test_another_reference_under_the_same_name_is_another_entry(tmp_path):
    random = np.random.default_rng(4)
    trajectory = build([("LIG", ["C1", "C2", "C3", "C4"])], random.normal(size=(30, 4, 3)))
    trajectory.save_dcd(tmp_path / "run.dcd")
    trajectory[0].save_pdb(tmp_path / "top.pdb")
    feature = f"rmsd:{tmp_path}/ref.pdb"
    for frame in (3, 7):
        trajectory[frame].save_pdb(tmp_path / "ref.pdb")
        found = load_features(tmp_path / "run.dcd", tmp_path / "top.pdb", feature)
        assert found[0][frame, 0] == pytest.approx(0, abs=1e-3)
        assert np.delete(found[0][:, 0], frame).min() > 0.1


# ----- secondary structure and surface


def peptide(phi, psi, n_residues=10):
    """Backbone N, CA, C, O of a peptide with the same φ and ψ (degrees) throughout; ω is 180°, bonds are ideal."""
    placed = [np.array(x) for x in ([0, 0, 0], [0.1458, 0, 0], [0.2, 0.142, 0])]

    def place(length, angle, dihedral, a, b, c):
        """The atom bonded to c, by its bond, angle b-c-new and dihedral a-b-c-new."""
        axis = (c - b) / np.linalg.norm(c - b)
        normal = np.cross(b - a, axis)
        normal /= np.linalg.norm(normal)
        theta, turn = np.radians(angle), np.radians(dihedral)
        local = [-np.cos(theta), np.sin(theta) * np.cos(turn), np.sin(theta) * np.sin(turn)]
        return c + length * (local @ np.array([axis, np.cross(normal, axis), normal]))

    for _ in range(n_residues):
        placed.append(place(0.1329, 117, psi, *placed[-3:]))
        placed.append(place(0.1458, 122, 180, *placed[-3:]))
        placed.append(place(0.1525, 111, phi, *placed[-3:]))
    backbone = np.array(placed).reshape(-1, 3, 3)
    frames = []
    for here, after in pairwise(backbone):
        # C=O lies in the plane of the two bonds
        bisector = (here[2] - here[1]) / 0.1525 + (here[2] - after[0]) / 0.1329
        frames += [*here, here[2] + 0.123 * bisector / np.linalg.norm(bisector)]
    return np.array(frames)


def chain_of(n_residues):
    residues = [("ALA", [*BACKBONE, "O"])] * n_residues
    bonds = [(4 * i + a, 4 * i + b) for i in range(n_residues) for a, b in ((0, 1), (1, 2), (2, 3))]
    return residues, bonds + [(4 * i + 2, 4 * i + 4) for i in range(n_residues - 1)]


def test_dssp_of_an_ideal_helix_and_of_an_extended_chain_cut_by_the_box():
    residues, bonds = chain_of(10)
    xyz = np.stack([peptide(-57, -47), peptide(-139, 135)])
    water = np.full((2, 1, 3), 9.0)
    trajectory = build([*residues, ("HOH", ["O"])], np.concatenate([xyz % 2.0, water], axis=1), bonds, box=2.0)
    found = compute(trajectory, "dssp")
    assert list(found)[:3] == ["dssp ALA1 helix", "dssp ALA1 strand", "dssp ALA1 coil"]
    assert len(found) == 30  # none of the water, which mdtraj calls NA
    letters = np.array([list(found.values())[k::3] for k in range(3)])
    np.testing.assert_array_equal(letters.sum(axis=0), 1)
    # the ends have no hydrogen bond on one side
    np.testing.assert_array_equal(letters[0, :, 0], [0] + 8 * [1] + [0])
    np.testing.assert_array_equal(letters[2, :, 1], 1)


def test_dssp_sees_residues_that_are_not_chosen():
    residues, bonds = chain_of(10)
    trajectory = build(residues, peptide(-57, -47)[None], bonds)
    found = compute(trajectory, "dssp", "resid 4")
    assert found == {"dssp ALA5 helix": [1], "dssp ALA5 strand": [0], "dssp ALA5 coil": [0]}
    with pytest.raises(InputError, match="no residue here has a peptide backbone"):
        define_features(build(LIGAND), "dssp")


def test_surface_of_spheres():
    """Two that touch lose a cap each, one alone is whole, and water takes nothing away."""
    carbon, apart = 0.17 + 0.14, 0.2  # radius with that of the probe
    xyz = np.array([[[0, 0, 0], [apart, 0, 0], [5, 0, 0], [0, 0, 0.1]]])
    found = compute(build([("ALA", ["CA"]), ("GLY", ["CA"]), ("LIG", ["C1"]), ("HOH", ["O"])], xyz), "sasa")
    assert list(found) == ["sasa ALA1", "sasa GLY2", "sasa LIG3"]
    sphere = 4 * np.pi * carbon**2
    assert found["sasa LIG3"][0] == pytest.approx(sphere, rel=1e-6)
    cut = sphere * (1 + apart / (2 * carbon)) / 2
    assert found["sasa ALA1"][0] == pytest.approx(cut, rel=5e-3)
    assert found["sasa GLY2"][0] == pytest.approx(cut, rel=5e-3)
    alone = compute(build([("ALA", ["CA"]), ("GLY", ["CA"])], xyz[:, :2]), "sasa", "resname ALA")
    assert alone == {"sasa ALA1": pytest.approx([sphere], rel=1e-6)}


def test_columns_of_residues_and_of_groups():
    residues, bonds = chain_of(4)
    columns = define_features(
        build(residues, peptide(-57, -47, 4)[None], bonds), "dssp,sasa,closest-distances:resid 0;resid 3"
    ).columns
    assert {column.residues for column in columns} == {("ALA1",), ("ALA2",), ("ALA3",), ("ALA4",), ()}
    assert columns[0].feature == "dssp ALA1"  # one feature of three columns
