"""Features of groups of atoms, such as a ligand and its pocket or two chains: how far apart they are."""

from collections.abc import Callable

import mdtraj
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spectraldyn.data import Column
from spectraldyn.errors import InputError
from spectraldyn.features.blocks import Block, Geometry, Molecule, closest_distances, pairs_of, too_many
from spectraldyn.features.selection import select

GROUPS = "SELECTION;SELECTION"
MAX_ATOM_PAIRS = 2**24
"""Of one feature: the indices of more than these alone would fill half a gigabyte, and a frame takes seconds."""


def closest_between_groups(molecule: Molecule, argument: str) -> Block:
    """Distance (nm) of the closest two heavy atoms of every pair of groups."""
    groups = _groups(molecule, argument, "closest-distances")
    heavy = molecule.heavy
    atoms = {name: np.intersect1d(group, heavy) for name, group in groups.items()}
    if without := [name for name, group in atoms.items() if not len(group)]:
        return Block(reason=f"{without[0]!r} has no heavy atom")
    names, members = list(atoms), list(atoms.values())
    pairs = pairs_of(len(names), set())
    for i, j in pairs:
        if len(shared := np.intersect1d(members[i], members[j])):
            label = molecule.topology.atom(int(shared[0]))
            return Block(reason=f"{names[i]!r} and {names[j]!r} share atoms, {label} for one: they are always at 0 nm")
    if (many := sum(len(members[i]) * len(members[j]) for i, j in pairs)) > MAX_ATOM_PAIRS:
        return Block(reason=f"it has {many:,} pairs of atoms, more than {MAX_ATOM_PAIRS:,}: choose smaller groups")
    compute, geometry = closest_distances(members, pairs)
    return _block("closest-distance", names, compute, geometry=geometry)


def centres_of_groups(molecule: Molecule, argument: str) -> Block:
    """Distance (nm) of the centres of mass of every pair of groups, each of them gathered in one periodic image.

    Molecules are made whole along their bonds; then what a group has of each is moved to the image nearest to what it
    has of its first one. So a group may be larger than half the box, but centres of its molecules may not lie further
    apart than that.
    """
    groups = _groups(molecule, argument, "centre-distances")
    home, masses = _homes(molecule.topology), _masses(molecule.topology)
    parts = [_parts(atoms, home, masses) for atoms in groups.values()]
    pairs = pairs_of(len(groups), set())

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        centres = np.stack([_centre(chunk, own, periodic) for own in parts], axis=1)
        return np.linalg.norm(_displacements(centres, pairs, chunk, periodic), axis=2)

    return _block("centre-distance", list(groups), compute, needs_whole_molecules=True)


def _block(
    kind: str,
    names: list[str],
    compute: Callable[[mdtraj.Trajectory, bool], np.ndarray],
    needs_whole_molecules: bool = False,
    geometry: Geometry | None = None,
) -> Block:
    """One column for every pair of groups."""
    pairs = pairs_of(len(names), set())
    if refused := too_many(len(pairs)):
        return refused
    columns = (Column(kind, f"{names[i]}; {names[j]}", unit="nm", of_residues=False) for i, j in pairs)
    return Block(tuple(columns), compute, needs_whole_molecules=needs_whole_molecules, geometry=geometry)


def _groups(molecule: Molecule, argument: str, feature: str) -> dict[str, np.ndarray]:
    """Indices of the atoms of every group, by its selection."""
    texts = [" ".join(text.split()) for text in argument.split(";")]
    if len(texts) < 2 or not all(texts):
        raise InputError(
            f"`features` names {feature}:{argument}: give two or more selections of atoms, with ; between them, as in "
            f"'{feature}:protein;resname LIG'"
        )
    if len(set(texts)) < len(texts):
        raise InputError(f"`features` names {feature}:{argument}, with the same group twice")
    groups = {}
    for text in texts:
        atoms = select(molecule.topology, text, f"a group of {feature}")
        groups[text] = atoms[molecule.selected[atoms]]
        if not len(groups[text]):
            raise InputError(f"a group of {feature} is {text!r}, of which `atoms` leaves out every atom")
    return groups


def _homes(topology: mdtraj.Topology) -> np.ndarray:
    """(n_atoms,) number of the molecule, what is bonded together, of every atom."""
    bonds = np.array([(bond[0].index, bond[1].index) for bond in topology.bonds]).reshape(-1, 2)
    shape = (topology.n_atoms, topology.n_atoms)
    return connected_components(coo_array((np.ones(len(bonds)), bonds.T), shape=shape), directed=False)[1]


def _masses(topology: mdtraj.Topology) -> np.ndarray:
    """(n_atoms,) of the elements; 0 for virtual sites and beads, which have none."""
    return np.array([getattr(atom.element, "mass", 0.0) for atom in topology.atoms])


def _parts(atoms: np.ndarray, home: np.ndarray, masses: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The atoms of a group molecule by molecule, with weights that sum to 1 over the group."""
    # where no atom has a mass, as in a model of beads, all weigh the same
    weights = masses[atoms] if masses[atoms].any() else np.ones(len(atoms))
    weights = weights / weights.sum()
    own = [home[atoms] == molecule for molecule in dict.fromkeys(home[atoms].tolist())]
    return [(atoms[here], weights[here]) for here in own if weights[here].any()]


def _centre(chunk: mdtraj.Trajectory, parts: list[tuple[np.ndarray, np.ndarray]], periodic: bool) -> np.ndarray:
    """(n_frames, 3) centre of a group."""
    shares = np.array([weights.sum() for _, weights in parts])
    centres = np.stack([weights @ chunk.xyz[:, atoms] / weights.sum() for atoms, weights in parts], axis=1)
    to_each = np.column_stack([np.zeros(len(parts), dtype=int), np.arange(len(parts))])
    return centres[:, 0] + shares @ _displacements(centres, to_each, chunk, periodic)


def _displacements(points: np.ndarray, pairs: np.ndarray, chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
    """(n_frames, n_pairs, 3) from the first to the second of each pair of points, to the nearest image."""
    box = {"unitcell_lengths": chunk.unitcell_lengths, "unitcell_angles": chunk.unitcell_angles} if periodic else {}
    return mdtraj.compute_displacements(mdtraj.Trajectory(points, None, **box), pairs, periodic=periodic)
