"""Named features: choose them, see what they make of a molecule, compute them for a chunk of frames."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mdtraj
import numpy as np
from mdtraj.core.selection import SelectionKeyword

from spectraldyn.data import MAX_COLUMNS, Column
from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.features import blocks as make
from spectraldyn.features.blocks import CONTACT_RADIUS_NM, RESIDUE_SEPARATION, Block, Molecule

MAX_DEFAULT_COLUMNS = 2_000  # nobody asked for more by name: about 65 Cα


@dataclass(frozen=True)
class Feature:
    """A feature as users name it."""

    description: str
    build: Callable[[Molecule], Block]


@dataclass(frozen=True)
class FeatureSet:
    """The features chosen for one molecule."""

    names: list[str]
    columns: tuple[Column, ...]  # in the order of `compute`
    blocks: list[Block]
    bonds: np.ndarray
    """(n_bonds, 2) int32: spanning tree of every molecule that holds a selected atom, from its first atom outwards."""
    notes: list[str]  # what the user should know about the choice, one sentence each
    periodic_notes: list[str]  # the same, for frames that carry a periodic box

    def compute(self, chunk: mdtraj.Trajectory) -> np.ndarray:
        """Feature rows of a chunk of frames.

        Parameters
        ----------
        chunk : mdtraj.Trajectory
            All atoms of the topology; left as it is.

        Returns
        -------
        (n_frames, n_columns) float32
        """
        boxed = _frames_with_box(chunk)
        if boxed.all() or not boxed.any():
            return self._compute(chunk, bool(boxed.any()))
        rows = np.empty((chunk.n_frames, len(self.columns)), dtype=np.float32)
        for frames, periodic in ((boxed, True), (~boxed, False)):
            rows[frames] = self._compute(chunk.slice(frames, copy=False), periodic)
        return rows

    def _compute(self, chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        cut = periodic and len(self.bonds) and any(block.needs_whole_molecules for block in self.blocks)
        whole = _whole(chunk, self.bonds) if cut else chunk
        frames = [whole if block.needs_whole_molecules else chunk for block in self.blocks]
        parts = [block.compute(own, periodic) for block, own in zip(self.blocks, frames, strict=True) if block.compute]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def _whole(chunk: mdtraj.Trajectory, bonds: np.ndarray) -> mdtraj.Trajectory:
    """A copy in which no molecule is cut by the periodic box."""
    whole = chunk.slice(slice(None), copy=False)  # a plain copy would copy the topology, chunk by chunk
    whole.xyz = chunk.xyz.copy()
    return whole.make_molecules_whole(inplace=True, sorted_bonds=bonds)


def _frames_with_box(chunk: mdtraj.Trajectory) -> np.ndarray:
    """(n_frames,) bool: a box of length 0, some formats' word for none, would give distances of 1e19 nm."""
    lengths = chunk.unitcell_lengths
    if lengths is None or chunk.unitcell_angles is None:
        return np.zeros(chunk.n_frames, dtype=bool)
    return np.all(np.isfinite(lengths) & (lengths > 0), axis=1)


FEATURES: dict[str, Feature] = {
    "torsions": Feature("backbone dihedrals φ and ψ, each as cosine and sine", make.torsions),
    "sidechain-torsions": Feature("side-chain dihedrals χ1 to χ5, each as cosine and sine", make.sidechain_torsions),
    "ca-distances": Feature(
        f"distances (nm) between Cα at least {RESIDUE_SEPARATION} residues apart, or in different chains",
        make.ca_distances,
    ),
    "heavy-distances": Feature(
        "distances (nm) between heavy atoms not bonded to each other (bonded ones where there are no others)",
        make.heavy_distances,
    ),
    "contacts": Feature(
        f"1/(1 + (d/{CONTACT_RADIUS_NM} nm)^6) of the closest heavy atoms of residues at least "
        f"{RESIDUE_SEPARATION} apart, or in different chains; no water",
        make.contacts,
    ),
    "positions": Feature("Cartesian coordinates (nm) as they are, rigid motion included", make.positions),
    "aligned-positions": Feature(
        "Cartesian coordinates (nm) of the heavy atoms after superposition on the topology file's structure "
        "(without one, on the first frame)",
        make.aligned_positions,
    ),
}


def feature_names(features: str | Sequence[str]) -> list[str]:
    """Names from a comma-separated string or a sequence, each once.

    Raises
    ------
    InputError
        If there is none, or one that is not in `FEATURES`.
    """
    given = features.split(",") if isinstance(features, str) else list(features)
    names = list(dict.fromkeys(str(name).strip() for name in given))
    for name in names or [""]:
        if name not in FEATURES:
            close = did_you_mean(name, FEATURES)
            raise InputError(
                f"`features` names {name!r}, which does not exist{close}: choose from {', '.join(FEATURES)}"
            )
    return names


def available_features(
    topology: mdtraj.Topology | mdtraj.Trajectory, atoms: str | None = None
) -> list[tuple[str, str, int, str]]:
    """What every feature would give for a molecule.

    Returns
    -------
    list of (name, description, number of columns, reason)
        The reason says why a feature has no columns; it is empty where it has some.

    Raises
    ------
    InputError
        If `atoms` is not a selection or selects nothing.
    """
    molecule = _molecule(topology, atoms)
    blocks = {name: feature.build(molecule) for name, feature in FEATURES.items()}
    return [(name, FEATURES[name].description, len(block.columns), block.reason) for name, block in blocks.items()]


def _molecule(topology: mdtraj.Topology | mdtraj.Trajectory, atoms: str | None) -> Molecule:
    """The molecule with these atoms selected, and with the first frame as reference where there is one."""
    reference = None
    if isinstance(topology, mdtraj.Trajectory):
        reference = topology.xyz[0] if topology.n_frames else None
        topology = topology.topology
    if atoms is None:
        return Molecule(topology, np.ones(topology.n_atoms, dtype=bool), reference)
    try:
        indices = np.asarray(topology.select(atoms), dtype=int)
    except (ValueError, TypeError, AttributeError, SyntaxError, NameError, LookupError, re.error) as error:
        reason = _unknown_keyword(atoms) or "write for example 'protein', 'name CA', 'resSeq 1 to 20'"
        raise InputError(f"`atoms` is {atoms!r}, which is not a selection mdtraj understands: {reason}") from error
    if len(indices) == 0:
        raise InputError(f"`atoms` is {atoms!r}, which selects none of the {topology.n_atoms} atoms of the topology")
    return Molecule(topology, np.isin(np.arange(topology.n_atoms), indices), reference)


def _unknown_keyword(selection: str) -> str | None:
    """What to say of the first word that stands where a keyword should and is none; None where there is no such."""
    keywords = SelectionKeyword.keyword_aliases
    for word in re.findall(r"(?:^|\(|!|&&|\|\||\b(?:and|or|not)\b)\s*(?!(?:and|or|not)\b)([A-Za-z_]\w*)", selection):
        if word not in keywords:
            return f"{word!r} is none of its keywords{did_you_mean(word.lower(), keywords)}"
    return None


def define_features(
    reference: mdtraj.Trajectory, features: str | Sequence[str] | None = None, atoms: str | None = None
) -> FeatureSet:
    """Fix what the columns are, for this molecule.

    Parameters
    ----------
    reference : mdtraj.Trajectory
        Topology, and in its first frame the coordinates that aligned-positions superposes on.
    features : str or sequence of str, optional
        Names, comma-separated or in a sequence. Default: torsions, with ca-distances where these are at most
        `MAX_DEFAULT_COLUMNS`; positions where there is neither a backbone nor a bond; heavy-distances, or
        aligned-positions where that makes too many columns, for any other molecule.
    atoms : str, optional
        Only these atoms enter, in mdtraj's selection language.

    Raises
    ------
    InputError
        If a name is unknown, a feature has no columns for this molecule, or the selection is wrong or empty.
    """
    molecule = _molecule(reference, atoms)
    bonds = _spanning_bonds(molecule)
    if len(bonds) and _frames_with_box(reference[:1]).all():
        # a cut molecule would be a wrong shape to superpose on
        molecule = Molecule(molecule.topology, molecule.selected, _whole(reference[:1], bonds).xyz[0])
    notes: list[str] = []
    if features is None:
        blocks = _default_blocks(molecule, notes)
    else:
        blocks = {name: FEATURES[name].build(molecule) for name in feature_names(features)}
    for name, block in blocks.items():
        if not block.columns:
            raise InputError(f"feature {name} cannot be computed for this molecule: {block.reason}")
    columns = tuple(column for block in blocks.values() for column in block.columns)
    # as positions and aligned-positions do, and the distances of a model that is all Cα
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        both = [name for name, block in blocks.items() if twice[0] in block.columns]
        raise InputError(f"the features {' and '.join(both)} share a column, {twice[0].name!r}: choose one of them")
    if len(columns) > MAX_COLUMNS:
        many = f"{len(columns):,} columns, more than the {MAX_COLUMNS:,} that can be analysed together"
        fewer = "choose fewer atoms with `atoms`, or fewer `features`"
        raise InputError(f"the features {', '.join(blocks)} have {many}; {fewer}")
    periodic_notes = _periodic_notes(blocks, molecule, bonds)
    return FeatureSet(list(blocks), columns, list(blocks.values()), bonds, notes, periodic_notes)


def _default_blocks(molecule: Molecule, notes: list[str]) -> dict[str, Block]:
    """The features nobody named; what was left out, or needs care, goes to `notes`."""
    backbone, alphas = make.torsions(molecule), make.ca_distances(molecule)
    many_alphas = max(len(alphas.columns), alphas.refused_columns)
    if (backbone.columns or backbone.refused_columns) and many_alphas > MAX_DEFAULT_COLUMNS:
        usable = len(backbone.columns) + many_alphas <= MAX_COLUMNS
        how = "ask for them by name (torsions,ca-distances)" if usable else "choose fewer atoms with `atoms`"
        many = f"ca-distances would make {many_alphas:,} columns, more than {MAX_DEFAULT_COLUMNS:,}"
        notes.append(f"the default features are torsions alone: {many}; to have both, {how}")
        return {"torsions": backbone}
    if backbone.columns or 0 < many_alphas <= MAX_DEFAULT_COLUMNS:
        blocks = {"torsions": backbone, "ca-distances": alphas}
        return {name: block for name, block in blocks.items() if block.columns}
    n_atoms = int(molecule.selected.sum())
    if molecule.topology.n_bonds or many_alphas:
        distances, aligned = make.heavy_distances(molecule), make.aligned_positions(molecule)
        if 0 < len(distances.columns) <= MAX_DEFAULT_COLUMNS:
            return {"heavy-distances": distances}
        if 0 < len(aligned.columns) <= MAX_DEFAULT_COLUMNS:
            many = f"distances would make more than {MAX_DEFAULT_COLUMNS:,} columns"
            notes.append(f"the default features are aligned-positions: {many}")
            return {"aligned-positions": aligned}
    if 3 * n_atoms > MAX_DEFAULT_COLUMNS:
        choose = f"choose atoms with `atoms`, or features with `features` ({', '.join(FEATURES)})"
        raise InputError(f"there are no default features for {n_atoms:,} atoms without a peptide backbone: {choose}")
    if n_atoms > 1:
        raw = f"the raw positions of {n_atoms} particles, rigid motion included"
        notes.append(f"the default features are {raw}; heavy-distances leaves it out")
    return {"positions": make.positions(molecule)}


def _spanning_bonds(molecule: Molecule) -> np.ndarray:
    """(n_bonds, 2) int32: every molecule with a selected atom, walked from its first atom along its bonds."""
    neighbours: dict[int, list[int]] = {}
    for bond in molecule.topology.bonds:
        for here, there in (bond, reversed(bond)):
            neighbours.setdefault(here.index, []).append(there.index)
    tree: list[tuple[int, int]] = []
    visited: set[int] = set()
    for root in sorted(neighbours):
        if root in visited:
            continue
        visited.add(root)
        members, branch = [root], []
        for here in members:  # which grow on the way
            for there in sorted(neighbours[here]):
                if there not in visited:
                    visited.add(there)
                    members.append(there)
                    branch.append((here, there))
        if molecule.selected[members].any():
            tree += branch
    return np.array(tree, dtype=np.int32).reshape(-1, 2)


def _periodic_notes(blocks: dict[str, Block], molecule: Molecule, bonds: np.ndarray) -> list[str]:
    """What a periodic box does to the features that are coordinates."""
    if not (names := [name for name, block in blocks.items() if block.needs_whole_molecules]):
        return []
    box = f"{' and '.join(names)}: the frames carry a periodic box"
    atoms = np.flatnonzero(molecule.selected) if "positions" in names else molecule.heavy
    notes = []
    if len(bonds):
        image = "which periodic image each molecule sits in is as stored"
        notes.append(f"{box}, so molecules were made whole along their bonds; {image}")
    if single := len(np.setdiff1d(atoms, bonds)):
        jump = "their coordinates are as stored and jump where a particle crosses the edge of the box"
        notes.append(f"{box} and {single} of the atoms have no bonds, so {jump}")
    return notes
