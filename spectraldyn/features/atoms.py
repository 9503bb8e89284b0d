"""Coordinates of atoms for networks on them: which atoms are alike, and what a periodic box adds."""

import mdtraj
import numpy as np

from spectraldyn.data import Atoms, Column
from spectraldyn.errors import InputError
from spectraldyn.features.blocks import Block, Molecule, atom_labels, too_many


def coordinates(molecule: Molecule) -> Block:
    """Coordinates (nm) of the heavy atoms among those selected, without water, for a network that rotation does not
    change.

    One molecule is made whole where the box cuts it. Of several molecules pairs of atoms are those of nearest images,
    for which the box vectors follow as nine more columns.
    """
    atoms = molecule.without_water(molecule.heavy)
    if len(atoms) < 2:
        return Block(reason=f"it needs at least two heavy atoms besides water, and there are {len(atoms)}")
    several = n_molecules(molecule.topology, atoms) > 1
    boxed = several and molecule.boxed
    if refused := too_many(3 * len(atoms) + 9 * boxed):
        return refused
    labels = atom_labels(molecule.topology)
    columns = [Column("atom", labels[i], axis, "nm") for i in atoms for axis in "xyz"]
    if boxed:
        columns += [Column("box", "", vector + axis, "nm", of_residues=False) for vector in "abc" for axis in "xyz"]

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        rows = chunk.xyz[:, atoms].reshape(chunk.n_frames, -1)
        if not boxed:
            if periodic and several:
                raise InputError(
                    "they carry a periodic box, which the first frame of all does not: give such files alone"
                )
            return rows
        box = chunk.unitcell_vectors.reshape(-1, 9) if periodic else np.zeros((chunk.n_frames, 9))
        return np.hstack((rows, box.astype(np.float32)))

    given = molecule.topology, atoms, kinds(molecule.topology, atoms)
    known = Atoms(given[2], boxed, torsions(*given), landmarks(*given))
    return Block(tuple(columns), compute, needs_whole_molecules=not several, digest="boxed" * boxed, atoms=known)


def n_molecules(topology: mdtraj.Topology, atoms: np.ndarray) -> int:
    """How many molecules, joined by bonds, these atoms belong to."""
    group = np.arange(topology.n_atoms)
    for bond in topology.bonds:
        low, high = sorted((group[bond[0].index], group[bond[1].index]))
        if low != high:
            group[group == high] = low
    return len(np.unique(group[atoms]))


def kinds(topology: mdtraj.Topology, atoms: np.ndarray) -> tuple[str, ...]:
    """Kind of each of these atoms, named after the first one of it.

    Two atoms are alike that have the same element, in proteins in the same residue, counted along chains, and whose
    bonds lead to the same kinds of atoms, which have bonds to the same kinds again, and so on: the two oxygens of a
    carboxylate, a ring's two sides, the same places in chains of one sequence.

    References
    ----------
    Weisfeiler, Leman, Nauchno-Technicheskaya Informatsiya 9 (1968) 12, for colours refined by those of the neighbours.
    """
    neighbours = _neighbours(topology)
    start = {chain.index: next(chain.residues).index for chain in topology.chains if chain.n_residues}
    colours = _numbered([_first_colour(atom, start) for atom in topology.atoms])
    while True:
        finer = _numbered(
            [(own, *sorted(colours[j] for j in near)) for own, near in zip(colours, neighbours, strict=True)]
        )
        if max(finer) == max(colours):
            break
        colours = finer
    labels = atom_labels(topology)
    names: dict[int, str] = {}
    return tuple(names.setdefault(colours[i], labels[i]) for i in atoms)


def torsions(
    topology: mdtraj.Topology, atoms: np.ndarray, alike: tuple[str, ...]
) -> tuple[tuple[int, int, int, int], ...]:
    """Places of four of these atoms in a row along bonds, for every bond that others among them lie beyond of.

    At either end it is the neighbour with the most bonds, the first of several, and all that are like it.
    """
    place = {int(atom): number for number, atom in enumerate(atoms)}
    every = _neighbours(topology)
    near = [[place[other] for other in every[atom] if other in place] for atom in atoms]

    def ends(atom: int, other: int) -> list[int]:
        beyond = [end for end in near[atom] if end != other]
        first = min(beyond, key=lambda end: (-len(near[end]), end), default=None)
        return [end for end in beyond if first is not None and alike[end] == alike[first]]

    return tuple(
        (before, first, second, after)
        for first in range(len(atoms))
        for second in sorted(near[first])
        if first < second
        for before in ends(first, second)
        for after in ends(second, first)
        if before != after
    )


def landmarks(topology: mdtraj.Topology, atoms: np.ndarray, alike: tuple[str, ...]) -> tuple[int, ...]:
    """Places, among these atoms, of one of every residue: of a protein's the Cα, else that with the most bonds.

    With it come those of its residue that are like it.
    """
    near = _neighbours(topology)
    known = set(atoms.tolist())

    def order(place: int) -> tuple[bool, int]:
        atom = topology.atom(atoms[place])
        is_alpha = atom.residue.is_protein and atom.name == "CA"
        return not is_alpha, -len(known.intersection(near[atom.index]))

    residues = [topology.atom(atom).residue.index for atom in atoms]
    chosen: dict[int, str] = {}
    for place in sorted(range(len(atoms)), key=order):
        chosen.setdefault(residues[place], alike[place])
    return tuple(place for place, residue in enumerate(residues) if chosen[residue] == alike[place])


def _neighbours(topology: mdtraj.Topology) -> list[list[int]]:
    """Of every atom, those that it has bonds to."""
    neighbours: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for bond in topology.bonds:
        neighbours[bond[0].index].append(bond[1].index)
        neighbours[bond[1].index].append(bond[0].index)
    return neighbours


def _first_colour(atom: mdtraj.core.topology.Atom, start: dict[int, int]) -> tuple[str, str, int]:
    residue = atom.residue
    place = residue.index - start[residue.chain.index] if residue.is_protein or residue.is_nucleic else -1
    return getattr(atom.element, "symbol", "") or atom.name, residue.name, place


def _numbered(colours: list[tuple]) -> list[int]:
    """Each of them as a number."""
    number: dict[tuple, int] = {}
    return [number.setdefault(colour, len(number)) for colour in colours]
