"""The features themselves: which columns each makes of a molecule, and how a chunk of frames becomes rows."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import mdtraj
import numpy as np
from mdtraj import geometry

from spectraldyn.data import MAX_COLUMNS, Atoms, Column
from spectraldyn.errors import InputError

CONTACT_RADIUS_NM = 0.45  # where a contact counts one half; the usual heavy-atom contact cut-off
RESIDUE_SEPARATION = 3  # i, i+1 and i, i+2 are set by bonds and angles and say nothing slow
_BLOCK_VALUES = 2**24  # atom distances held at once while contacts are reduced to residues (64 MiB)

Compute = Callable[[mdtraj.Trajectory, bool], np.ndarray]  # (chunk, periodic) → (n_frames, n_columns)


@dataclass(frozen=True)
class Molecule:
    """What the definition of a feature may look at."""

    topology: mdtraj.Topology
    selected: np.ndarray  # (n_atoms,) bool: the atoms that may enter
    reference: np.ndarray | None
    """(n_atoms, 3) float or None: coordinates (nm) to superpose on; None while features are only being listed."""
    boxed: bool = False  # the first frame carries a periodic box

    @property
    def heavy(self) -> np.ndarray:
        """Indices of the selected atoms that are not hydrogen (beads without an element count as heavy)."""
        symbols = [getattr(atom.element, "symbol", "") for atom in self.topology.atoms]
        return np.flatnonzero(self.selected & ~np.isin(symbols, ("H", "D")))

    def without_water(self, atoms: np.ndarray) -> np.ndarray:
        """These atoms, by index, less those of water."""
        return np.array([i for i in atoms.tolist() if not self.topology.atom(i).residue.is_water], dtype=int)


@dataclass(frozen=True)
class Geometry:
    """What some columns are of the coordinates: so much as `spectraldyn.features.tensors` must be told."""

    kind: Literal["distances", "torsions", "closest", "contacts"]
    atoms: np.ndarray
    """(n, 2) or, for torsions, (n, 4): indices."""
    counts: np.ndarray | None = None
    """(n_columns,) for the closest of several pairs, and contacts: how many pairs belong to each column, in order."""


@dataclass(frozen=True)
class Block:
    """One feature of one molecule: its columns, or the reason why it has none."""

    columns: tuple[Column, ...] = ()
    compute: Compute | None = None
    reason: str = ""
    refused_columns: int = 0  # how many there would be, where there are too many
    needs_whole_molecules: bool = False
    depends_on_images: bool = False  # in which periodic image a whole molecule sits changes the rows
    digest: str = ""  # hash of what the rows depend on beside the topology, the selected atoms and the name
    kept: bool = True  # in the store: not where there is no telling what the rows depend on
    geometry: Geometry | None = None  # the same columns in torch, where there is such a form
    atoms: Atoms | None = None  # whose coordinates the columns are, for a network on them


def residue_labels(topology: mdtraj.Topology) -> list[str]:
    """A label for every residue, unique: "ALA2", "B:ALA2" where chains repeat it."""
    short = [f"{residue.name}{residue.resSeq}" for residue in topology.residues]
    chains = [f"{residue.chain.chain_id or residue.chain.index + 1}:" for residue in topology.residues]
    counts = Counter(short)
    return _numbered(chain * (counts[label] > 1) + label for chain, label in zip(chains, short, strict=True))


def atom_labels(topology: mdtraj.Topology) -> list[str]:
    """A label for every atom, unique: "ALA2-CA"; "C1" (name and 1-based number) for an unbonded particle."""
    residues = residue_labels(topology)
    bonded = {atom.index for bond in topology.bonds for atom in bond}

    def label(atom: mdtraj.core.topology.Atom) -> str:
        alone = atom.residue.n_atoms == 1 and atom.index not in bonded and not atom.residue.is_protein
        return f"{atom.name}{atom.index + 1}" if alone else f"{residues[atom.residue.index]}-{atom.name}"

    return _numbered(map(label, topology.atoms))


def _numbered(labels: Iterable[str]) -> list[str]:
    """Repeated labels with their place behind them."""
    labels = list(labels)
    counts = Counter(labels)
    return [f"{label}#{i}" if counts[label] > 1 else label for i, label in enumerate(labels)]


def too_many(n_columns: int) -> Block | None:
    """A block that is refused, where there would be more columns than any analysis can use."""
    if n_columns <= MAX_COLUMNS:
        return None
    many = f"there would be {n_columns:,} columns, more than the {MAX_COLUMNS:,} that can be analysed together"
    return Block(reason=f"{many}; choose fewer atoms with `atoms`", refused_columns=n_columns)


def _dihedrals(molecule: Molecule, kinds: Sequence[str], missing: str) -> Block:
    """Cosine and sine of every dihedral of these kinds whose four atoms are selected."""
    quartets: dict[tuple[str, int], np.ndarray] = {}
    for kind in kinds:
        for quartet in getattr(geometry, f"indices_{kind}")(molecule.topology):
            if molecule.selected[quartet].all():
                # in φ (C, N, Cα, C), ψ (N, Cα, C, N) and every χ, the second atom is in the residue that names it
                quartets.setdefault((kind, molecule.topology.atom(quartet[1]).residue.index), quartet)
    if not quartets:
        return Block(reason=missing)
    if refused := too_many(2 * len(quartets)):
        return refused
    residues = residue_labels(molecule.topology)
    columns = tuple(Column(kind, residues[residue], part) for kind, residue in quartets for part in ("cos", "sin"))
    indices = np.array(list(quartets.values()))

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        angles = mdtraj.compute_dihedrals(chunk, indices, periodic=periodic)
        rows = np.empty((len(angles), 2 * len(indices)), dtype=angles.dtype)
        np.cos(angles, out=rows[:, 0::2])
        np.sin(angles, out=rows[:, 1::2])
        return rows

    return Block(columns, compute, geometry=Geometry("torsions", indices))


def torsions(molecule: Molecule) -> Block:
    """Cosine and sine of φ and ψ."""
    missing = "no φ or ψ angle of a peptide backbone has all four atoms (C, N, CA, C or N, CA, C, N) here"
    return _dihedrals(molecule, ("phi", "psi"), missing)


def sidechain_torsions(molecule: Molecule) -> Block:
    """Cosine and sine of χ1 to χ5."""
    missing = "no amino acid here has a side chain with a χ angle (alanine and glycine have none)"
    return _dihedrals(molecule, ("chi1", "chi2", "chi3", "chi4", "chi5"), missing)


def _close_along_chain(residues: Sequence[mdtraj.core.topology.Residue]) -> set[tuple[int, int]]:
    """Places in `residues`, which come in order, of the pairs that are near each other along one chain."""
    close = set()
    for i, first in enumerate(residues):
        for j in range(i + 1, len(residues)):
            if residues[j].index - first.index >= RESIDUE_SEPARATION:
                break
            if residues[j].chain.index == first.chain.index:
                close.add((i, j))
    return close


def _n_pairs(n: int, left_out: set[tuple[int, int]]) -> int:
    return n * (n - 1) // 2 - len(left_out)


def pairs_of(n: int, left_out: set[tuple[int, int]]) -> np.ndarray:
    """(n_pairs, 2) places i < j below n, without those left out."""
    wanted = np.triu(np.ones((n, n), dtype=bool), k=1)
    for pair in left_out:
        wanted[pair] = False
    return np.argwhere(wanted)


def _distances(molecule: Molecule, atoms: np.ndarray, left_out: set[tuple[int, int]]) -> Block:
    """Distances between atoms, without the pairs of places left out."""
    if refused := too_many(_n_pairs(len(atoms), left_out)):
        return refused
    pairs = atoms[pairs_of(len(atoms), left_out)]
    labels = atom_labels(molecule.topology)
    columns = tuple(Column("distance", f"{labels[i]} {labels[j]}", unit="nm") for i, j in pairs)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return mdtraj.compute_distances(chunk, pairs, periodic=periodic)

    return Block(columns, compute, geometry=Geometry("distances", pairs))


def ca_distances(molecule: Molecule) -> Block:
    """Distances (nm) between Cα that are not close along the chain."""
    # an atom called CA may also be a calcium ion
    alphas = [
        atom
        for residue in molecule.topology.residues
        for atom in residue.atoms
        if atom.name == "CA" and molecule.selected[atom.index] and getattr(atom.element, "symbol", "") != "Ca"
    ]
    close = _close_along_chain([atom.residue for atom in alphas])
    if _n_pairs(len(alphas), close) == 0:
        far = f"no two of the {len(alphas)} Cα here are at least {RESIDUE_SEPARATION} residues apart"
        return Block(reason=f"{far}; heavy-distances works for any molecule")
    return _distances(molecule, np.array([atom.index for atom in alphas]), close)


def heavy_distances(molecule: Molecule) -> Block:
    """Distances (nm) between heavy atoms that are not bonded to each other."""
    heavy = molecule.heavy
    if len(heavy) < 2:
        return Block(reason="it needs at least two heavy atoms; positions works for a single particle")
    place = {int(atom): i for i, atom in enumerate(heavy)}
    ends = [sorted((bond[0].index, bond[1].index)) for bond in molecule.topology.bonds]
    bonded = {(place[i], place[j]) for i, j in ends if i in place and j in place}
    # of two bonded atoms, the distance is all there is
    return _distances(molecule, heavy, bonded if _n_pairs(len(heavy), bonded) else set())


def contacts(molecule: Molecule) -> Block:
    """Residue contacts 1/(1 + (d/r)^6), d the closest heavy-atom distance, r = `CONTACT_RADIUS_NM`."""
    heavy = set(molecule.without_water(molecule.heavy).tolist())
    members = {
        residue: atoms
        for residue in molecule.topology.residues
        if (atoms := [atom.index for atom in residue.atoms if atom.index in heavy])
    }
    residues = list(members)
    close = _close_along_chain(residues)
    n_pairs = _n_pairs(len(residues), close)
    if n_pairs == 0:
        far = f"no two residues here are at least {RESIDUE_SEPARATION} apart along the chain"
        return Block(reason=f"{far}; heavy-distances works for any molecule")
    if refused := too_many(n_pairs):
        return refused
    pairs = pairs_of(len(residues), close)
    closest, geometry = closest_distances(list(members.values()), pairs)

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return 1 / (1 + (closest(chunk, periodic) / np.float32(CONTACT_RADIUS_NM)) ** 6)

    labels = residue_labels(molecule.topology)
    names = [f"{labels[residues[i].index]} {labels[residues[j].index]}" for i, j in pairs]
    columns = tuple(Column("contact", name) for name in names)
    return Block(columns, compute, geometry=replace(geometry, kind="contacts"))


def closest_distances(groups: Sequence[Sequence[int] | np.ndarray], pairs: np.ndarray) -> tuple[Compute, Geometry]:
    """Distance (nm) of the closest two atoms of pairs of groups, (n_frames, n_pairs) float32: by mdtraj, and in torch.

    Parameters
    ----------
    groups : sequence of (n_atoms,) int
        Indices of atoms.
    pairs : (n_pairs, 2) int
        Of places in `groups`.
    """
    grids = [np.stack(np.meshgrid(groups[i], groups[j]), axis=-1).reshape(-1, 2) for i, j in pairs]
    atom_pairs = np.concatenate(grids)
    counts = np.array([len(grid) for grid in grids])
    starts = np.cumsum(counts) - counts
    step = max(1, _BLOCK_VALUES // len(atom_pairs))

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        closest = np.empty((chunk.n_frames, len(pairs)), dtype=np.float32)
        for i in range(0, chunk.n_frames, step):
            part = chunk.slice(slice(i, i + step), copy=False)
            distances = mdtraj.compute_distances(part, atom_pairs, periodic=periodic)
            closest[i : i + step] = np.minimum.reduceat(distances, starts, axis=1)
        return closest

    return compute, Geometry("closest", atom_pairs, counts)


def _coordinates(
    molecule: Molecule, atoms: np.ndarray, place: Callable[[np.ndarray], np.ndarray], digest: str = ""
) -> Block:
    """Coordinates of atoms, once `place` has moved them (n_frames, n_atoms, 3)."""
    if refused := too_many(3 * len(atoms)):
        return refused
    labels = atom_labels(molecule.topology)
    columns = tuple(Column(axis, labels[i], unit="nm") for i in atoms for axis in "xyz")

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        return place(chunk.xyz[:, atoms]).reshape(chunk.n_frames, -1)

    return Block(columns, compute, needs_whole_molecules=True, depends_on_images=True, digest=digest)


def positions(molecule: Molecule) -> Block:
    """Coordinates (nm) of every selected atom."""
    return _coordinates(molecule, np.flatnonzero(molecule.selected), lambda xyz: xyz)


def velocities(molecule: Molecule) -> Block:
    """Velocities (nm/ps) of every selected atom, of frames that hold them."""
    atoms = np.flatnonzero(molecule.selected)
    if refused := too_many(3 * len(atoms)):
        return refused
    labels = atom_labels(molecule.topology)
    columns = tuple(Column(f"v{axis}", labels[i], unit="nm/ps") for i in atoms for axis in "xyz")

    def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        known = getattr(chunk, "velocities", None)
        if known is None:
            there = "TRR, HDF5 and NetCDF files hold them where the simulation was told to write them"
            raise InputError(f"there are no velocities in these frames ({there}): leave the feature velocities out")
        return known[:, atoms].reshape(chunk.n_frames, -1)

    return Block(columns, compute)


def aligned_positions(molecule: Molecule) -> Block:
    """Coordinates (nm) of the heavy atoms, superposed on the reference."""
    atoms = molecule.heavy
    if len(atoms) < 3:
        other = "heavy-distances works for two" if len(atoms) == 2 else "positions works for a single particle"
        return Block(reason=f"superposing needs at least 3 heavy atoms and there are {len(atoms)}; {other}")

    def superpose(xyz: np.ndarray) -> np.ndarray:
        if molecule.reference is None:
            raise ValueError("aligned-positions was defined without a reference structure")
        # Topologies take no part in a superposition of chosen atoms.
        return mdtraj.Trajectory(xyz, None).superpose(mdtraj.Trajectory(molecule.reference[atoms], None)).xyz

    return _coordinates(molecule, atoms, superpose, coordinates_digest(molecule.reference))


def coordinates_digest(xyz: np.ndarray | None) -> str:
    """Hash of coordinates; empty where there are none."""
    return "" if xyz is None else hashlib.blake2b(xyz.astype("<f4").tobytes(), digest_size=16).hexdigest()
