"""Features of the structure as a whole: distance from a reference, secondary structure, surface."""

from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.geometry.sasa import _ATOMIC_RADII

from spectraldyn.data import Column
from spectraldyn.errors import InputError
from spectraldyn.features.blocks import Block, Molecule, atom_labels, coordinates_digest, residue_labels, too_many
from spectraldyn.features.periodic import frames_with_box, spanning_bonds, whole
from spectraldyn.features.selection import select
from spectraldyn.io import load_topology

REFERENCE = "FILE[;SELECTION]"
BACKBONE = ("N", "CA", "C", "O")  # what mdtraj's DSSP needs of a residue
LETTERS = {"H": "helix", "E": "strand", "C": "coil"}


def rmsd(molecule: Molecule, argument: str) -> Block:
    """RMSD (nm) from the structure in a file, after superposition on it, over heavy atoms or those of a selection."""
    file, _, selection = (text.strip() for text in argument.partition(";"))
    if selection:
        chosen = select(molecule.topology, selection, "the selection of rmsd")
        atoms = chosen[molecule.selected[chosen]]
    else:
        atoms = molecule.without_water(molecule.heavy)
    if len(atoms) < 3:
        return Block(reason=f"superposing needs at least 3 atoms and there are {len(atoms)}")
    reference = _reference(file, molecule.topology, atoms)
    there = mdtraj.Trajectory(reference[None], None)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return mdtraj.rmsd(mdtraj.Trajectory(chunk.xyz[:, atoms], None), there)[:, None]

    site = Path(file).name + (f"; {selection}" if selection else "")
    return Block(
        (Column("rmsd", site, unit="nm", of_residues=False),),
        compute,
        needs_whole_molecules=True,
        depends_on_images=True,
        digest=coordinates_digest(reference),
    )


def _reference(file: str, topology: mdtraj.Topology, atoms: np.ndarray) -> np.ndarray:
    """(n_atoms, 3) coordinates (nm) that the structure in a file has of these atoms, found by name."""
    reference = load_topology(file, [])
    if reference.n_frames == 0:
        raise InputError(f"rmsd needs a structure, and {file} holds no coordinates: give a PDB file, for example")
    if frames_with_box(reference).all():
        reference = whole(reference, spanning_bonds(reference.topology, np.ones(reference.n_atoms, dtype=bool)))
    place = {label: i for i, label in enumerate(atom_labels(reference.topology))}
    labels = atom_labels(topology)
    wanted = [labels[i] for i in atoms]
    if missing := [label for label in wanted if label not in place]:
        raise InputError(
            f"{file}, the reference of rmsd, lacks {len(missing)} of the {len(wanted)} atoms to compare, {missing[0]} "
            "for one: give one with the same names and residue numbers, or compare fewer, as in 'rmsd:FILE;name CA'"
        )
    return reference.xyz[0, [place[label] for label in wanted]]


def secondary_structure(molecule: Molecule) -> Block:
    """Helix, strand or coil (DSSP) of every residue whose backbone is selected, each 0 or 1.

    Formula: Kabsch and Sander, Biopolymers 22, 2577 (1983), in mdtraj's simplification to three letters.
    """
    named = {residue: {atom.name: atom.index for atom in residue.atoms} for residue in molecule.topology.residues}
    known = [residue for residue, atoms in named.items() if all(name in atoms for name in BACKBONE)]
    chosen = [
        place
        for place, residue in enumerate(known)
        if molecule.selected[[named[residue][name] for name in BACKBONE]].all()
    ]
    if not chosen:
        return Block(reason=f"no residue here has a peptide backbone ({', '.join(BACKBONE)})")
    if refused := too_many(len(LETTERS) * len(chosen)):
        return refused
    # hydrogen bonds to residues that are not selected count all the same
    atoms = np.array([atom.index for residue in known for atom in residue.atoms])
    peptide = molecule.topology.subset(atoms)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        assigned = mdtraj.compute_dssp(mdtraj.Trajectory(chunk.xyz[:, atoms], peptide), simplified=True)[:, chosen]
        return (assigned[:, :, None] == np.array(list(LETTERS))).reshape(chunk.n_frames, -1)

    labels = residue_labels(molecule.topology)
    columns = tuple(Column("dssp", labels[known[i].index], part) for i in chosen for part in LETTERS.values())
    return Block(columns, compute, needs_whole_molecules=True, depends_on_images=True)


def surface(molecule: Molecule) -> Block:
    """Solvent-accessible surface area (nm²) of every residue, of the selected atoms alone and without water.

    Formula: Shrake and Rupley, J. Mol. Biol. 79, 351 (1973), probe of 0.14 nm.
    """
    symbols = [getattr(atom.element, "symbol", "") for atom in molecule.topology.atoms]
    atoms = molecule.without_water(np.flatnonzero(molecule.selected & np.isin(symbols, list(_ATOMIC_RADII))))
    if not len(atoms):
        return Block(reason="no atom here, water aside, is of an element with a known radius")
    residues = list(dict.fromkeys(molecule.topology.atom(int(i)).residue.index for i in atoms))
    if refused := too_many(len(residues)):
        return refused
    part = molecule.topology.subset(atoms)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return mdtraj.shrake_rupley(mdtraj.Trajectory(chunk.xyz[:, atoms], part), mode="residue")

    labels = residue_labels(molecule.topology)
    columns = tuple(Column("sasa", labels[index], unit="nm²") for index in residues)
    return Block(columns, compute, needs_whole_molecules=True, depends_on_images=True)
