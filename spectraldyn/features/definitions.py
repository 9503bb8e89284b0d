"""Named features: choose them, see what they make of a molecule, compute them for a chunk of frames."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import mdtraj
import numpy as np

from spectraldyn.data import MAX_COLUMNS, Atoms, Column
from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.features import blocks as make
from spectraldyn.features.atoms import coordinates
from spectraldyn.features.blocks import CONTACT_RADIUS_NM, RESIDUE_SEPARATION, Block, Molecule
from spectraldyn.features.groups import GROUPS, centres_of_groups, closest_between_groups
from spectraldyn.features.own import Function, OwnFeature, as_given, from_file, is_own
from spectraldyn.features.periodic import frames_with_box, spanning_bonds, whole
from spectraldyn.features.selection import select
from spectraldyn.features.structure import REFERENCE, rmsd, secondary_structure, surface

MAX_DEFAULT_COLUMNS = 2_000  # nobody asked for more by name: about 65 Cα
NO_ROOM = "the GPU's memory does not take the features of a single frame, so mdtraj computed some of them on the CPU"

Features = str | Function | Sequence[str | Function] | None


@dataclass(frozen=True)
class Feature:
    """A feature as users name it."""

    description: str
    build: Callable[..., Block]  # of the molecule, and of the argument where it takes one
    argument: str = ""  # what users write behind its name and a colon


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
    device: str | None = None  # where torch computes what it can; None: mdtraj computes everything

    @property
    def digests(self) -> list[str]:
        """For every name, hash of what its rows depend on beside the topology and the selected atoms."""
        return [block.digest for block in self.blocks]

    @property
    def atoms(self) -> Atoms | None:
        """Whose coordinates the columns are, where they are meant for a network on them."""
        return self.blocks[0].atoms

    @property
    def arithmetic(self) -> list[str]:
        """For every name, whose arithmetic its rows are of: they agree to 1e-5, but not to the last digit."""
        return [f"torch {self.device}" if self.device and block.geometry else "mdtraj" for block in self.blocks]

    @property
    def kept(self) -> bool:
        """Whether the rows may go to the store: not where there is no telling what they depend on."""
        return all(block.kept for block in self.blocks)

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
        boxed = frames_with_box(chunk)
        if boxed.all() or not boxed.any():
            return self._compute(chunk, bool(boxed.any()))
        rows = np.empty((chunk.n_frames, len(self.columns)), dtype=np.float32)
        for frames, periodic in ((boxed, True), (~boxed, False)):
            rows[frames] = self._compute(chunk.slice(frames, copy=False), periodic)
        return rows

    def _compute(self, chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
        cut = periodic and len(self.bonds) and any(block.needs_whole_molecules for block in self.blocks)
        uncut = whole(chunk, self.bonds) if cut else chunk
        frames = [uncut if block.needs_whole_molecules else chunk for block in self.blocks]
        there = self._on_device(chunk, periodic)
        parts = [
            there[i] if i in there else block.compute(own, periodic)
            for i, (block, own) in enumerate(zip(self.blocks, frames, strict=True))
            if block.compute
        ]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def _on_device(self, chunk: mdtraj.Trajectory, periodic: bool) -> dict[int, np.ndarray]:
        """Rows of the blocks that the device computes, by their places."""
        geometries = {i: block.geometry for i, block in enumerate(self.blocks) if block.geometry}
        if self.device is None or not geometries:
            return {}
        # torch takes seconds to import
        from spectraldyn.features.tensors import compute

        rows = compute(list(geometries.values()), chunk, periodic, self.device)
        if rows is None:
            if NO_ROOM not in self.notes:
                self.notes.append(NO_ROOM)
            return {}
        return dict(zip(geometries, rows, strict=True))


COORDINATES = "coordinates"
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
    "velocities": Feature("velocities (nm/ps) as the frames of TRR, HDF5 or NetCDF files hold them", make.velocities),
    "aligned-positions": Feature(
        "Cartesian coordinates (nm) of the heavy atoms after superposition on the topology file's structure "
        "(without one, on the first frame)",
        make.aligned_positions,
    ),
    COORDINATES: Feature(
        "Cartesian coordinates (nm) of the heavy atoms without water, for a network that rotation, translation and "
        "exchange of like atoms do not change; alone",
        coordinates,
    ),
    "closest-distances": Feature(
        "distances (nm) of the closest heavy atoms of two or more groups, such as 'protein;resname LIG'",
        closest_between_groups,
        GROUPS,
    ),
    "centre-distances": Feature(
        "distances (nm) between the centres of mass of two or more groups", centres_of_groups, GROUPS
    ),
    "rmsd": Feature(
        "RMSD (nm) from the structure in a file, superposed on it, over the heavy atoms without water, or over those "
        "of a selection",
        rmsd,
        REFERENCE,
    ),
    "dssp": Feature("helix, strand or coil (DSSP) of every residue, each 0 or 1", secondary_structure),
    "sasa": Feature(
        "solvent-accessible surface (nm²) of every residue, of the selected atoms without water; slow", surface
    ),
}
OWN = "FILE.py:FUNCTION"
OWN_DESCRIPTION = "a function of your own, from an mdtraj.Trajectory to an array (n_frames, n_columns)"


def move_paths(names: str, move: Callable[[str], str]) -> str:
    """Comma-separated names of features with every path in them changed; those that name no file stay as they are."""
    return ",".join(map(partial(_moved, move=move), names.split(",")))


def _moved(name: str, move: Callable[[str], str]) -> str:
    head, _, argument = name.strip().partition(":")
    if head in FEATURES:
        if FEATURES[head].argument != REFERENCE or not argument:
            return name
        file, mark, selection = argument.partition(";")
        return f"{head}:{move(file.strip())}{mark}{selection}"
    file, mark, function = name.strip().rpartition(":")
    return f"{move(file)}{mark}{function}" if file and is_own(name) else name


def _asked_for(features: str | Function | Sequence[str | Function]) -> dict[str, Feature | OwnFeature]:
    """What is asked for, by name, each once."""
    if callable(features):
        features = [features]
    given = features.split(",") if isinstance(features, str) else list(features)
    chosen: dict[str, Feature | OwnFeature] = {}
    for one in given or [""]:
        if callable(one):
            own = as_given(one)
            if own.name in chosen:
                called = own.name.rpartition(":")[2]
                raise InputError(f"two functions among `features` are called {called}: give each a name of its own")
            chosen[own.name] = own
        elif (name := str(one).strip()) not in chosen:
            chosen[name] = _named(name)
    return chosen


def _named(name: str) -> Feature | OwnFeature:
    """The feature of that name, with its argument bound."""
    head, _, argument = name.partition(":")
    if head in FEATURES:
        feature, argument = FEATURES[head], argument.strip()
        if feature.argument and not argument:
            raise InputError(f"`features` names {head}, which needs to be told more: write {head}:{feature.argument}")
        if argument and not feature.argument:
            raise InputError(f"`features` names {name}, but {head} takes nothing behind a colon: leave it out")
        return replace(feature, build=partial(feature.build, argument=argument)) if argument else feature
    if is_own(name):
        return from_file(name)
    close = did_you_mean(head, FEATURES)
    raise InputError(
        f"`features` names {name!r}, which does not exist{close}: choose from {', '.join(FEATURES)}, or give one of "
        f"your own ({OWN})"
    )


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
    blocks = {name: _listed(name, feature, molecule) for name, feature in FEATURES.items()}
    return [(name, FEATURES[name].description, len(block.columns), block.reason) for name, block in blocks.items()]


def _listed(name: str, feature: Feature, molecule: Molecule) -> Block:
    if feature.argument:
        return Block(reason=f"write {name}:{feature.argument}")
    return feature.build(molecule)


def _molecule(topology: mdtraj.Topology | mdtraj.Trajectory, atoms: str | None) -> Molecule:
    """The molecule with these atoms selected, and with the first frame as reference where there is one."""
    reference = None
    if isinstance(topology, mdtraj.Trajectory):
        reference = topology.xyz[0] if topology.n_frames else None
        topology = topology.topology
    if atoms is None:
        return Molecule(topology, np.ones(topology.n_atoms, dtype=bool), reference)
    indices = select(topology, atoms, "`atoms`")
    return Molecule(topology, np.isin(np.arange(topology.n_atoms), indices), reference)


def define_features(
    reference: mdtraj.Trajectory,
    features: Features = None,
    atoms: str | None = None,
    first_frame: Callable[[], mdtraj.Trajectory] | None = None,
    device: str | None = None,
) -> FeatureSet:
    """Fix what the columns are, for this molecule.

    Parameters
    ----------
    reference : mdtraj.Trajectory
        Topology, and in its first frame the coordinates that aligned-positions superposes on.
    features : str, function, or sequence of them, optional
        Names, comma-separated or in a sequence, and functions of the user's own or FILE.py:FUNCTION for one; see
        `spectraldyn.features.own`. Default: torsions, with ca-distances where these are at most
        `MAX_DEFAULT_COLUMNS`; positions where there is neither a backbone nor a bond; heavy-distances, or
        aligned-positions where that makes too many columns, for any other molecule.
    atoms : str, optional
        Only these atoms enter, in mdtraj's selection language.
    first_frame : callable, optional
        Gives a frame of all atoms for which functions of the user's own say what their columns are. Default: that of
        the reference.
    device : {"cpu", "cuda"}, optional
        Where torch computes torsions, distances and contacts; mdtraj computes all others, and these too by default.

    Raises
    ------
    InputError
        If a name is unknown, a feature has no columns for this molecule, or the selection is wrong or empty.
    """
    molecule = _molecule(reference, atoms)
    bonds = spanning_bonds(molecule.topology, molecule.selected)
    if len(bonds) and frames_with_box(reference[:1]).all():
        # a cut molecule would be a wrong shape to superpose on
        molecule = Molecule(molecule.topology, molecule.selected, whole(reference[:1], bonds).xyz[0])
    notes: list[str] = []
    if features is None:
        blocks = _default_blocks(molecule, notes)
    else:
        first_frame = first_frame or (lambda: reference[:1])
        asked = _asked_for(features)
        if COORDINATES in asked:
            if len(asked) > 1:
                without = " and ".join(name for name in asked if name != COORDINATES)
                raise InputError(f"coordinates are for a network of their own: ask for them alone, without {without}")
            molecule = replace(molecule, boxed=bool(frames_with_box(first_frame()).all()))
        blocks = {name: _built(name, one, molecule, first_frame) for name, one in asked.items()}
    for name, block in blocks.items():
        if not block.columns:
            raise InputError(f"feature {name} cannot be computed for this molecule: {block.reason}")
    columns = tuple(column for block in blocks.values() for column in block.columns)
    # as positions and aligned-positions do, and the distances of a model that is all Cα
    if twice := [name for name, count in Counter(column.name for column in columns).items() if count > 1]:
        both = [name for name, block in blocks.items() if twice[0] in {column.name for column in block.columns}]
        raise InputError(f"the features {' and '.join(both)} share a column, {twice[0]!r}: choose one of them")
    if len(columns) > MAX_COLUMNS:
        many = f"{len(columns):,} columns, more than the {MAX_COLUMNS:,} that can be analysed together"
        fewer = "choose fewer atoms with `atoms`, or fewer `features`"
        raise InputError(f"the features {', '.join(blocks)} have {many}; {fewer}")
    if device is not None and (others := [name for name, block in blocks.items() if block.geometry is None]):
        only = "only torsions, distances between atoms and contacts have a form for the GPU"
        notes.append(f"{' and '.join(others)}: computed by mdtraj on the CPU, {only}")
    periodic_notes = _periodic_notes(blocks, molecule, bonds)
    return FeatureSet(list(blocks), columns, list(blocks.values()), bonds, notes, periodic_notes, device)


def _built(
    name: str, asked: Feature | OwnFeature, molecule: Molecule, first_frame: Callable[[], mdtraj.Trajectory]
) -> Block:
    if isinstance(asked, OwnFeature):
        return asked.block(molecule, first_frame())
    block = asked.build(molecule)
    # what was registered from outside may change while its name stays
    inside = str(FEATURES[name.partition(":")[0]].build.__module__).startswith("spectraldyn.")
    return block if inside else replace(block, kept=False)


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


def _periodic_notes(blocks: dict[str, Block], molecule: Molecule, bonds: np.ndarray) -> list[str]:
    """What a periodic box does to the features that are coordinates."""
    if not (names := [name for name, block in blocks.items() if block.depends_on_images]):
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
