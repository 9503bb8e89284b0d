"""The features themselves: which columns each makes of a molecule, and how a chunk of frames becomes rows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import mdtraj
import numpy as np
from mdtraj.geometry import (
    indices_chi1,
    indices_chi2,
    indices_chi3,
    indices_chi4,
    indices_chi5,
    indices_phi,
    indices_psi,
)

CONTACT_RADIUS_NM = 0.45  # where a contact counts one half; the usual heavy-atom contact cut-off
RESIDUE_SEPARATION = 3  # i, i+1 and i, i+2 are set by bonds and angles and say nothing slow
MAX_COLUMNS = 100_000
_BLOCK_VALUES = 2**24  # atom distances held at once while contacts are reduced to residues (64 MiB)

Compute = Callable[[mdtraj.Trajectory, bool], np.ndarray]  # (chunk, periodic) → (n_frames, n_columns)


@dataclass(frozen=True)
class Molecule:
    """What the definition of a feature may look at.

    Attributes
    ----------
    topology : mdtraj.Topology
    selected : (n_atoms,) bool
        The atoms that may enter.
    reference : (n_atoms, 3) float or None
        Coordinates (nm) to superpose on; None while features are only being listed.
    """

    topology: mdtraj.Topology
    selected: np.ndarray
    reference: np.ndarray | None

    @property
    def heavy(self) -> np.ndarray:
        """Indices of the selected atoms that are not hydrogen (beads without an element count as heavy)."""
        symbols = [getattr(atom.element, "symbol", "") for atom in self.topology.atoms]
        return np.flatnonzero(self.selected & ~np.isin(symbols, ("H", "D")))


@dataclass(frozen=True)
class Block:
    """One feature of one molecule: its columns, or the reason why it has none."""

    columns: list[str]
    compute: Compute | None = None
    reason: str = ""
    refused_columns: int = 0  # how many there would be, where there are too many
    needs_whole_molecules: bool = False


def _residue_labels(topology: mdtraj.Topology) -> list[str]:
    """A label for every residue, unique: "ALA2", "B:ALA2" where chains repeat it."""
    short = [f"{residue.name}{residue.resSeq}" for residue in topology.residues]
    counts = Counter(short)
    chained = [
        f"{residue.chain.chain_id or residue.chain.index + 1}:{label}" if counts[label] > 1 else label
        for residue, label in zip(topology.residues, short, strict=True)
    ]
    counts = Counter(chained)
    return [f"{label}#{i}" if counts[label] > 1 else label for i, label in enumerate(chained)]


def _atom_labels(topology: mdtraj.Topology) -> list[str]:
    """A label for every atom, unique: "ALA2-CA"; "C1" (name and 1-based number) for an unbonded particle."""
    residues = _residue_labels(topology)
    bonded = {atom.index for bond in topology.bonds for atom in (bond[0], bond[1])}
    labels = [
        f"{atom.name}{atom.index + 1}"
        if atom.residue.n_atoms == 1 and atom.index not in bonded and not atom.residue.is_protein
        else f"{residues[atom.residue.index]}-{atom.name}"
        for atom in topology.atoms
    ]
    counts = Counter(labels)
    return [f"{label}#{i}" if counts[label] > 1 else label for i, label in enumerate(labels)]


def _too_many(n_columns: int) -> Block:
    limit = f"more than {MAX_COLUMNS:,}"
    return Block(
        [],
        reason=f"there would be {n_columns:,} columns, {limit}; choose fewer atoms with --atoms",
        refused_columns=n_columns,
    )


def _dihedrals(molecule: Molecule, kinds: dict[str, Callable[[mdtraj.Topology], np.ndarray]], missing: str) -> Block:
    """Cosine and sine of every dihedral of these kinds whose four atoms are selected."""
    residues = _residue_labels(molecule.topology)
    quartets: list[np.ndarray] = []
    columns: list[str] = []
    for kind, find in kinds.items():
        seen: set[str] = set()
        for quartet in find(molecule.topology):
            # in φ (C, N, Cα, C), ψ (N, Cα, C, N) and every χ, the second atom is in the residue that names it
            residue = molecule.topology.atom(quartet[1]).residue
            label = f"{kind} {residues[residue.index]}"
            if molecule.selected[quartet].all() and label not in seen:
                seen.add(label)
                quartets.append(quartet)
                columns += [f"{label} cos", f"{label} sin"]
    if not quartets:
        return Block([], reason=missing)
    indices = np.array(quartets)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        angles = mdtraj.compute_dihedrals(chunk, indices, periodic=periodic)
        return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(chunk.n_frames, -1)

    return Block(columns, compute)


def torsions(molecule: Molecule) -> Block:
    """Cosine and sine of φ and ψ."""
    return _dihedrals(
        molecule,
        {"phi": indices_phi, "psi": indices_psi},
        "no φ or ψ angle of a peptide backbone has all four atoms (C, N, CA, C or N, CA, C, N) here",
    )


def sidechain_torsions(molecule: Molecule) -> Block:
    """Cosine and sine of χ1 to χ5."""
    finders = (indices_chi1, indices_chi2, indices_chi3, indices_chi4, indices_chi5)
    return _dihedrals(
        molecule,
        {f"chi{i}": find for i, find in enumerate(finders, start=1)},
        "no amino acid here has a side chain with a χ angle (alanine and glycine have none)",
    )


def _far_pairs(topology: mdtraj.Topology, residues: np.ndarray) -> np.ndarray:
    """(n_pairs, 2) places in `residues` (residue indices): in other chains, or far along the same one."""
    chains = np.array([residue.chain.index for residue in topology.residues])[residues]
    first, second = np.triu_indices(len(residues), k=1)
    apart = np.abs(residues[second] - residues[first]) >= RESIDUE_SEPARATION
    return np.stack([first, second], axis=1)[apart | (chains[first] != chains[second])]


def _distances(columns: list[str], pairs: np.ndarray) -> Block:
    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return mdtraj.compute_distances(chunk, pairs, periodic=periodic)

    return Block(columns, compute)


def ca_distances(molecule: Molecule) -> Block:
    """Distances (nm) between Cα that are not close along the chain."""
    # an atom called CA may also be a calcium ion
    alphas = np.array(
        [
            atom.index
            for atom in molecule.topology.atoms
            if atom.name == "CA" and molecule.selected[atom.index] and getattr(atom.element, "symbol", "") != "Ca"
        ],
        dtype=int,
    )
    if len(alphas) * (len(alphas) - 1) // 2 > MAX_COLUMNS:
        return _too_many(len(alphas) * (len(alphas) - 1) // 2)
    residues = np.array([molecule.topology.atom(i).residue.index for i in alphas], dtype=int)
    pairs = alphas[_far_pairs(molecule.topology, residues)] if len(alphas) > 1 else np.empty((0, 2), dtype=int)
    if len(pairs) == 0:
        return Block(
            [],
            reason=f"no two of the {len(alphas)} Cα here are at least {RESIDUE_SEPARATION} residues apart; "
            "heavy-distances works for any molecule",
        )
    labels = _atom_labels(molecule.topology)
    return _distances([f"distance {labels[i]} {labels[j]}" for i, j in pairs], pairs)


def heavy_distances(molecule: Molecule) -> Block:
    """Distances (nm) between heavy atoms that are not bonded to each other."""
    heavy = molecule.heavy
    n_pairs = len(heavy) * (len(heavy) - 1) // 2
    if n_pairs == 0:
        return Block([], reason="it needs at least two heavy atoms; positions works for a single particle")
    if n_pairs > MAX_COLUMNS:
        return _too_many(n_pairs)
    every = heavy[np.stack(np.triu_indices(len(heavy), k=1), axis=1)]
    bonds = {frozenset((bond[0].index, bond[1].index)) for bond in molecule.topology.bonds}
    pairs = np.array([pair for pair in every if frozenset(pair.tolist()) not in bonds], dtype=int)
    if len(pairs) == 0:  # two bonded atoms: their distance is all there is
        pairs = every
    labels = _atom_labels(molecule.topology)
    return _distances([f"distance {labels[i]} {labels[j]}" for i, j in pairs], pairs)


def contacts(molecule: Molecule) -> Block:
    """Residue contacts 1/(1 + (d/r)^6), d the closest heavy-atom distance, r = `CONTACT_RADIUS_NM`."""
    members: dict[int, list[int]] = {}
    for i in molecule.heavy:
        residue = molecule.topology.atom(i).residue
        if not residue.is_water:
            members.setdefault(residue.index, []).append(int(i))
    if len(members) * (len(members) - 1) // 2 > MAX_COLUMNS:
        return _too_many(len(members) * (len(members) - 1) // 2)
    residues = np.array(list(members), dtype=int)
    pairs = residues[_far_pairs(molecule.topology, residues)] if len(members) > 1 else np.empty((0, 2), dtype=int)
    if len(pairs) == 0:
        return Block(
            [],
            reason=f"no two residues here are at least {RESIDUE_SEPARATION} apart along the chain; "
            "heavy-distances works for any molecule",
        )
    grids = [np.stack(np.meshgrid(members[i], members[j]), axis=-1).reshape(-1, 2) for i, j in pairs]
    atom_pairs = np.concatenate(grids)
    starts = np.cumsum([0] + [len(grid) for grid in grids[:-1]])
    step = max(1, _BLOCK_VALUES // len(atom_pairs))

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        closest = np.empty((chunk.n_frames, len(pairs)), dtype=np.float32)
        for i in range(0, chunk.n_frames, step):
            distances = mdtraj.compute_distances(
                chunk.slice(slice(i, i + step), copy=False), atom_pairs, periodic=periodic
            )
            closest[i : i + step] = np.minimum.reduceat(distances, starts, axis=1)
        return 1 / (1 + (closest / np.float32(CONTACT_RADIUS_NM)) ** 6)

    labels = _residue_labels(molecule.topology)
    return Block([f"contact {labels[i]} {labels[j]}" for i, j in pairs], compute)


def _coordinate_columns(molecule: Molecule, atoms: np.ndarray) -> list[str]:
    labels = _atom_labels(molecule.topology)
    return [f"{axis} {labels[i]}" for i in atoms for axis in "xyz"]


def positions(molecule: Molecule) -> Block:
    """Coordinates (nm) of every selected atom."""
    atoms = np.flatnonzero(molecule.selected)
    if 3 * len(atoms) > MAX_COLUMNS:
        return _too_many(3 * len(atoms))

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return chunk.xyz[:, atoms].reshape(chunk.n_frames, -1)

    return Block(_coordinate_columns(molecule, atoms), compute, needs_whole_molecules=True)


def aligned_positions(molecule: Molecule) -> Block:
    """Coordinates (nm) of the heavy atoms, superposed on the reference."""
    atoms = molecule.heavy
    if len(atoms) < 3:
        return Block(
            [],
            reason=f"superposing needs at least 3 heavy atoms and there are {len(atoms)}; "
            + ("heavy-distances works for two" if len(atoms) == 2 else "positions works for a single particle"),
        )
    if 3 * len(atoms) > MAX_COLUMNS:
        return _too_many(3 * len(atoms))

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        if molecule.reference is None:
            raise ValueError("aligned-positions was defined without a reference structure")
        # Topologies take no part in a superposition of chosen atoms.
        placed = mdtraj.Trajectory(chunk.xyz[:, atoms], None)
        placed.superpose(mdtraj.Trajectory(molecule.reference[atoms], None))
        return placed.xyz.reshape(chunk.n_frames, -1)

    return Block(_coordinate_columns(molecule, atoms), compute, needs_whole_molecules=True)
