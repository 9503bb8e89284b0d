"""Every feature against values worked out by hand."""

import mdtraj
import numpy as np
import pytest

from spectraldyn.data import Column
from spectraldyn.errors import InputError
from spectraldyn.features import FEATURES, available_features, blocks, define_features
from spectraldyn.features import definitions as features_module


def build(residues, xyz=None, bonds=(), box=None, chains=None):
    """Trajectory from [(residue name, [atom names])]; coordinates (frames, atoms, 3) in nm."""
    topology = mdtraj.Topology()
    chain_of: dict[str, object] = {}
    for i, (name, atoms) in enumerate(residues):
        label = chains[i] if chains else "A"
        if label not in chain_of:
            chain_of[label] = topology.add_chain(chain_id=label)
        residue = topology.add_residue(name, chain_of[label])
        residue.resSeq = i + 1 if chains is None else 1 + chains[:i].count(label)
        for atom in atoms:
            symbol = "Ca" if name == "CAL" else atom[0]
            topology.add_atom(atom, mdtraj.element.get_by_symbol(symbol), residue)
    for i, j in bonds:
        topology.add_bond(topology.atom(i), topology.atom(j))
    if xyz is None:
        xyz = np.zeros((1, topology.n_atoms, 3))
    lengths = None if box is None else np.full((len(xyz), 3), box)
    angles = None if box is None else np.full((len(xyz), 3), 90.0)
    return mdtraj.Trajectory(np.array(xyz, dtype=np.float32), topology, None, lengths, angles)


def compute(trajectory, features, atoms=None):
    chosen = define_features(trajectory[:1], features, atoms)
    rows = chosen.compute(trajectory)
    assert rows.dtype == np.float32
    assert rows.shape == (trajectory.n_frames, len(chosen.columns))
    return dict(zip(names(chosen), rows.T.astype(float), strict=True))


def names(chosen):
    return [column.name for column in chosen.columns]


BACKBONE = ["N", "CA", "C"]
PLANE = np.array([[0.15, 0, 0], [0, 0, 0], [0, 0, 0.15]])  # a dihedral's first three atoms; the fourth turns


def fourth(degrees):
    angle = np.radians(degrees)
    return np.array([0.15 * np.cos(angle), 0.15 * np.sin(angle), 0.15])


@pytest.mark.parametrize("degrees", [0.0, 60.0, -100.0, 179.0])
def test_phi_and_psi_of_four_atoms(degrees):
    # φ of residue 2 is C(1) N CA C(2); ψ of residue 1 is N CA C(1) N(2)
    phi = np.zeros((1, 6, 3))
    phi[0, [2, 3, 4]], phi[0, 5] = PLANE, fourth(degrees)
    psi = np.zeros((1, 6, 3))
    psi[0, [0, 1, 2]], psi[0, 3] = PLANE, fourth(degrees)
    residues = [("ALA", BACKBONE), ("GLY", BACKBONE)]
    found = compute(build(residues, phi), "torsions")
    assert list(found) == ["phi GLY2 cos", "phi GLY2 sin", "psi ALA1 cos", "psi ALA1 sin"]
    assert found["phi GLY2 cos"][0] == pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)
    assert found["phi GLY2 sin"][0] == pytest.approx(np.sin(np.radians(degrees)), abs=1e-6)
    found = compute(build(residues, psi), ["torsions"])
    assert found["psi ALA1 cos"][0] == pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)
    assert found["psi ALA1 sin"][0] == pytest.approx(np.sin(np.radians(degrees)), abs=1e-6)


def test_side_chain_torsions_of_lysine():
    names = ["N", "CA", "CB", "CG", "CD", "CE", "NZ"]
    xyz = np.zeros((1, 7, 3))
    xyz[0, :3], xyz[0, 3] = PLANE, fourth(-60)
    xyz[0, 4:] = np.random.default_rng(0).normal(size=(3, 3))
    found = compute(build([("LYS", names)], xyz), "sidechain-torsions")
    assert list(found) == [f"chi{i} LYS1 {part}" for i in range(1, 5) for part in ("cos", "sin")]
    assert found["chi1 LYS1 cos"][0] == pytest.approx(0.5, abs=1e-6)
    assert found["chi1 LYS1 sin"][0] == pytest.approx(-np.sqrt(0.75), abs=1e-6)


def test_minimum_image_of_distances_and_torsions():
    xyz = np.array([[[0.1, 0.2, 0.3], [1.9, 0.2, 0.3]]])
    pair = [("PRT", ["C"]), ("PRT", ["C"])]
    assert compute(build(pair, xyz, box=2.0), "heavy-distances")["distance C1 C2"][0] == pytest.approx(0.2, abs=1e-6)
    assert compute(build(pair, xyz), "heavy-distances")["distance C1 C2"][0] == pytest.approx(1.8, abs=1e-6)
    # a box of length 0 is no box
    assert compute(build(pair, xyz, box=0.0), "heavy-distances")["distance C1 C2"][0] == pytest.approx(1.8, abs=1e-6)
    phi = np.zeros((1, 6, 3))
    phi[0, [2, 3, 4]], phi[0, 5] = PLANE, fourth(60)
    phi[0, 5, 1] += 3 * 2.0
    found = compute(build([("ALA", BACKBONE), ("ALA", BACKBONE)], phi, box=2.0), "torsions")
    assert found["phi ALA2 sin"][0] == pytest.approx(np.sqrt(0.75), abs=1e-6)


def test_frames_with_and_without_a_box_in_one_chunk():
    xyz = np.tile([[[0.1, 0, 0], [1.9, 0, 0]]], (3, 1, 1))
    trajectory = build([("PRT", ["C"]), ("PRT", ["C"])], xyz, box=2.0)
    trajectory.unitcell_lengths[1] = 0
    found = compute(trajectory, "heavy-distances")["distance C1 C2"]
    np.testing.assert_allclose(found, [0.2, 1.8, 0.2], atol=1e-6)


def test_contact_is_the_switched_closest_heavy_distance():
    # residues 1 and 4: heavy atoms 0.9 and 0.45 nm apart, a hydrogen nearer still
    residues = [("ALA", ["CA", "CB", "HA"]), ("GLY", ["CA"]), ("GLY", ["CA"]), ("ALA", ["CA"])]
    xyz = np.zeros((2, 6, 3))
    xyz[:, 0, 0], xyz[:, 1, 0], xyz[:, 2, 0] = -0.9, -0.45, -0.1
    xyz[1, 1, 0] = -0.9
    found = compute(build(residues, xyz), "contacts")
    assert list(found) == ["contact ALA1 ALA4"]
    np.testing.assert_allclose(found["contact ALA1 ALA4"], [0.5, 1 / 65], atol=1e-6)
    # the closest image counts
    periodic = compute(build(residues, xyz - [0, 0, 7 * 1.6], box=1.6), "contacts")["contact ALA1 ALA4"]
    np.testing.assert_allclose(periodic, [0.5, 1 / (1 + (0.7 / 0.45) ** 6)], atol=2e-5)


def test_contacts_in_blocks_of_frames_are_the_same(monkeypatch):
    residues = [("ALA", ["CA", "CB"])] * 5
    trajectory = build(residues, np.random.default_rng(1).normal(size=(7, 10, 3)))
    whole = compute(trajectory, "contacts")
    monkeypatch.setattr("spectraldyn.features.blocks._BLOCK_VALUES", 25)
    for column, values in compute(trajectory, "contacts").items():
        np.testing.assert_array_equal(values, whole[column])


def test_contacts_leave_out_water_and_count_pairs_of_chains():
    residues = [("ALA", ["CA"]), ("ALA", ["CA"]), ("HOH", ["O"]), ("HOH", ["O"])]
    xyz = np.random.default_rng(0).normal(size=(1, 4, 3))
    found = compute(build(residues, xyz, chains=["A", "B", "W", "W"]), "contacts")
    assert list(found) == ["contact A:ALA1 B:ALA1"]


def test_ca_distances_pairs_and_names():
    residues = [("GLY", ["CA"])] * 5 + [("CAL", ["CA"])]
    xyz = np.random.default_rng(2).normal(size=(3, 6, 3))
    found = compute(build(residues, xyz), "ca-distances")
    assert list(found) == ["distance GLY1-CA GLY4-CA", "distance GLY1-CA GLY5-CA", "distance GLY2-CA GLY5-CA"]
    by_hand = np.linalg.norm(xyz[:, 0] - xyz[:, 4], axis=1)
    np.testing.assert_allclose(found["distance GLY1-CA GLY5-CA"], by_hand, rtol=1e-6)


def test_a_selection_keeps_the_numbering_of_the_chain():
    # without residue 2, residues 1 and 3 must not look like neighbours: no φ across the hole
    residues = [("GLY", BACKBONE)] * 5
    trajectory = build(residues, np.random.default_rng(3).normal(size=(2, 15, 3)))
    found = compute(trajectory, "torsions,ca-distances", "resid 0 or resid 2 or resid 3 or resid 4")
    assert list(found) == [
        "phi GLY4 cos",
        "phi GLY4 sin",
        "phi GLY5 cos",
        "phi GLY5 sin",
        "psi GLY3 cos",
        "psi GLY3 sin",
        "psi GLY4 cos",
        "psi GLY4 sin",
        "distance GLY1-CA GLY4-CA",
        "distance GLY1-CA GLY5-CA",
    ]


def test_heavy_distances_skip_bonds_unless_nothing_is_left():
    xyz = np.array([[[0, 0, 0], [0.15, 0, 0], [0.15, 0.2, 0], [5, 5, 5]]])
    chain = [("LIG", ["C1", "C2", "O1", "H1"])]
    found = compute(build(chain, xyz, bonds=[(0, 1), (1, 2), (2, 3)]), "heavy-distances")
    assert found == {"distance LIG1-C1 LIG1-O1": pytest.approx([0.25], abs=1e-6)}
    found = compute(build([("OXY", ["O1", "O2"])], xyz[:, :2], bonds=[(0, 1)]), "heavy-distances")
    assert found == {"distance OXY1-O1 OXY1-O2": pytest.approx([0.15], abs=1e-6)}


def test_positions_are_the_stored_coordinates():
    xyz = np.random.default_rng(4).normal(size=(3, 2, 3)).astype(np.float32)
    found = compute(build([("PRT", ["C"]), ("PRT", ["C"])], xyz), "positions")
    assert list(found) == ["x C1", "y C1", "z C1", "x C2", "y C2", "z C2"]
    np.testing.assert_array_equal(np.array(list(found.values())).T, xyz.reshape(3, 6))


def rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_aligned_positions_undo_rigid_motion():
    rng = np.random.default_rng(5)
    shape = rng.normal(size=(6, 3))
    moved = [shape] + [shape @ rotation(rng) + rng.normal(size=3) for _ in range(20)]
    found = compute(build([("LIG", ["C1", "C2", "C3", "O1", "N1", "S1"])], moved), "aligned-positions")
    rows = np.array(list(found.values())).T
    # mdtraj superposes in single precision.
    np.testing.assert_allclose(rows, np.tile(shape.reshape(1, -1), (21, 1)), atol=5e-5)
    assert list(found)[:3] == ["x LIG1-C1", "y LIG1-C1", "z LIG1-C1"]


def test_molecules_cut_by_the_box_are_made_whole():
    rng = np.random.default_rng(6)
    # a chain of 6 atoms 1.2 nm long in a box of 1.5 nm, stored wrapped; it starts anywhere
    shape = np.array([[0.2 * i, 0.05 * (i % 2), 0.03 * (i % 3)] for i in range(6)])
    whole = np.array([shape + rng.normal(scale=0.02, size=(6, 3)) + rng.uniform(0, 1.5, 3) for _ in range(10)])
    residues, bonds = [("LIG", ["C1", "C2", "C3", "C4", "C5", "C6"])], [(i, i + 1) for i in range(5)]
    straight = build(residues, whole, bonds)
    wrapped = build(residues, whole % 1.5, bonds, box=1.5)
    by_hand = compute(straight, "aligned-positions")
    chosen = define_features(straight[:1], "aligned-positions")
    np.testing.assert_allclose(chosen.compute(wrapped), np.array(list(by_hand.values())).T, atol=2e-6)
    assert "made whole" in chosen.periodic_notes[0]
    # a reference that is itself cut is made whole first: the same orientation, if perhaps another place
    cut = (whole[0] % 1.5).round(9)
    assert np.ptp(cut[:, 0]) > 1.2
    rows = define_features(wrapped[:1], "aligned-positions").compute(wrapped).reshape(10, 6, 3)
    expected = np.array(list(by_hand.values())).T.reshape(10, 6, 3)
    np.testing.assert_allclose(
        rows - rows.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True), atol=2e-6
    )
    # what was handed in is left alone
    np.testing.assert_array_equal(wrapped.xyz, (whole % 1.5).astype(np.float32))


def test_particles_in_a_box_stay_as_stored_and_it_is_said():
    trajectory = build([("PRT", ["C"])], [[[0.1, 0.2, 0.3]], [[1.9, 0.2, 0.3]]], box=2.0)
    chosen = define_features(trajectory[:1], "positions")
    np.testing.assert_array_equal(chosen.compute(trajectory)[:, 0], np.float32([0.1, 1.9]))
    assert "no bonds" in chosen.periodic_notes[0]


def test_default_features_by_kind_of_molecule(monkeypatch):
    def default(*args, **kwargs):
        return define_features(build(*args, **kwargs)).names

    assert default([("GLY", BACKBONE)] * 3) == ["torsions"]
    assert default([("GLY", BACKBONE)] * 4) == ["torsions", "ca-distances"]
    assert default([("GLY", ["CA"])] * 4) == ["ca-distances"]
    assert default([("PRT", ["C"])]) == ["positions"]
    assert default([("LIG", ["C1", "C2", "C3"])], bonds=[(0, 1), (1, 2)]) == ["heavy-distances"]
    dimer = define_features(build([("PRT", ["C"])] * 2))
    assert dimer.names == ["positions"]
    assert "rigid motion" in dimer.notes[0]
    monkeypatch.setattr(features_module, "MAX_DEFAULT_COLUMNS", 5)
    protein = define_features(build([("GLY", BACKBONE)] * 7))
    assert protein.names == ["torsions"]
    assert "10 columns" in protein.notes[0]
    assert "ask for them by name (torsions,ca-distances)" in protein.notes[0]
    monkeypatch.setattr(features_module, "MAX_COLUMNS", 33)  # 24 of torsions
    assert "`atoms`" in define_features(build([("GLY", BACKBONE)] * 7)).notes[0]
    with pytest.raises(InputError, match="no default features for 2 atoms"):
        default([("PRT", ["C"])] * 2)
    monkeypatch.setattr(blocks, "MAX_COLUMNS", 20)
    with pytest.raises(InputError, match=r"torsions cannot be computed .* 24 columns"):
        default([("GLY", BACKBONE)] * 7)


def test_labels_are_unique_where_chains_or_atoms_repeat():
    residues = [("GLY", BACKBONE)] * 4
    columns = names(define_features(build(residues, chains=["A", "A", "B", "B"]), "torsions,ca-distances"))
    assert columns[0] == "phi A:GLY2 cos"
    assert "distance A:GLY1-CA B:GLY2-CA" in columns
    assert len(set(columns)) == len(columns)
    beads = names(define_features(build([("POL", ["C", "C", "C"])]), "heavy-distances"))
    assert beads == ["distance POL1-C#0 POL1-C#1", "distance POL1-C#0 POL1-C#2", "distance POL1-C#1 POL1-C#2"]


def test_available_features_counts_columns_and_says_why_not():
    rows = {name: (n, why) for name, _, n, why in available_features(build([("PRT", ["C"])] * 2).topology)}
    assert list(rows) == list(FEATURES)
    assert rows["positions"] == (6, "")
    assert rows["heavy-distances"] == (1, "")
    assert rows["torsions"][0] == 0
    assert "backbone" in rows["torsions"][1]
    assert "3 heavy atoms" in rows["aligned-positions"][1]


@pytest.mark.parametrize("features", ["torsion", "", [], "torsions,distances"])
def test_an_unknown_feature_lists_the_valid_ones(features):
    with pytest.raises(InputError, match="choose from torsions, sidechain-torsions, ca-distances"):
        define_features(build([("GLY", BACKBONE)] * 2), features)


@pytest.mark.parametrize("name", ["sidechain-torsions", "ca-distances", "contacts"])
def test_a_feature_without_columns_says_why(name):
    with pytest.raises(InputError, match=f"feature {name} cannot be computed for this molecule: no "):
        define_features(build([("GLY", BACKBONE)] * 2), f"torsions,{name}")


def test_more_columns_than_any_analysis_can_use_are_refused():
    with pytest.raises(InputError, match=r"124,750 columns, more than the 10,000 .*`atoms`"):
        define_features(build([("LIG", [f"C{i}" for i in range(500)])]), "heavy-distances")


def test_a_protein_is_refused_only_where_its_columns_are_too_many():
    def count(n_residues):
        return {row[0]: row[2] for row in available_features(build([("GLY", ["CA"])] * n_residues).topology)}

    # 142 Cα make 10,011 pairs, of which 281 are close along the chain
    assert count(142)["ca-distances"] == count(142)["contacts"] == 142 * 141 // 2 - 141 - 140
    assert count(145)["ca-distances"] == count(145)["contacts"] == 0


def test_features_that_are_too_many_together():
    with pytest.raises(InputError, match=r"contacts, heavy-distances have 19,182 columns.*fewer `features`"):
        define_features(build([("GLY", ["CA"])] * 140, bonds=[(0, 1)]), "contacts,heavy-distances")


def test_columns_say_what_they_are():
    residues = [("GLY", BACKBONE)] * 4
    chosen = define_features(build(residues), "torsions,ca-distances,contacts,positions")
    assert chosen.columns[0] == Column("phi", "GLY2", "cos")
    assert Column("distance", "GLY1-CA GLY4-CA", unit="nm") in chosen.columns
    assert Column("contact", "GLY1 GLY4") in chosen.columns
    assert chosen.columns[-1] == Column("z", "GLY4-C", unit="nm")


def test_features_that_share_their_columns():
    with pytest.raises(InputError, match="positions and aligned-positions share a column, 'x LIG1-C1'"):
        define_features(build([("LIG", ["C1", "C2", "C3"])]), "positions,aligned-positions")
    with pytest.raises(InputError, match="ca-distances and heavy-distances share a column"):
        define_features(build([("GLY", ["CA"])] * 4), "contacts,ca-distances,heavy-distances")


@pytest.mark.parametrize("atoms", ["", "name CA and", "CA", "mass > 'a'", "name =~ '['", "not", "(", "foo CA"])
def test_a_selection_that_cannot_be_read(atoms):
    with pytest.raises(InputError, match="is not a selection"):
        define_features(build([("GLY", BACKBONE)] * 2), "torsions", atoms)


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        ("nme CA", r"'nme' is none of its keywords \(did you mean name\?\)$"),
        ("Name CA", r"'Name' is none of its keywords \(did you mean name\?\)"),
        ("resname GLY and (index 1 or backbne)", r"'backbne' is none .* backbone"),
        ("not proteins", r"'proteins' is none .* protein"),
        ("mas > 3", r"'mas' is none .* mass"),
        ("xyzzy 3", r"'xyzzy' is none of its keywords$"),
        ("name CA and", "write for example"),
    ],
)
def test_the_word_that_makes_a_selection_unreadable_is_named(atoms, reason):
    with pytest.raises(InputError, match=reason):
        define_features(build([("GLY", BACKBONE)] * 2), "torsions", atoms)


def test_a_selection_of_nothing():
    with pytest.raises(InputError, match="selects none of the 6 atoms"):
        define_features(build([("GLY", BACKBONE)] * 2), "torsions", "name XX")
