"""Which functions of which atoms the columns of a fit are: so much as a module in torch, or PLUMED, must be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.features import define_features
from spectraldyn.features.blocks import Block, atom_labels
from spectraldyn.io import load_topology
from spectraldyn.pipeline import FittedFeatures

PER_UNIT = {"torsions": 2, "positions": 3}
"""Columns of one torsion and of one atom; of a distance or a contact there is one."""
AS_THEY_ARE = ("positions",)
"""Features that are coordinates as they are."""


@dataclass(frozen=True)
class Part:
    """Some columns: `spectraldyn.features.blocks.Geometry`, or coordinates as they are."""

    kind: str
    """{"distances", "torsions", "closest", "contacts", "positions"}."""
    atoms: np.ndarray
    """(n, 2), for torsions (n, 4), for positions (n, 1): indices in the topology."""
    counts: np.ndarray | None
    """(n_columns,) for the closest of several pairs, and contacts: how many pairs belong to each column, in order."""
    columns: list[str]


@dataclass(frozen=True)
class Inputs:
    """How the columns that a model takes follow from coordinates."""

    parts: list[Part]
    order: np.ndarray
    """(n_columns,): place of every column of the model among those of the parts."""
    atoms: np.ndarray
    """(n_atoms,) ascending: indices in the topology of those that the parts need."""
    labels: list[str]
    """Of these atoms: "ALA2-CA"."""
    keys: list[tuple[int, int, str]]
    """See `atom_key`."""
    example: np.ndarray
    """(n_atoms, 3): their coordinates (nm) in some frame of the fit, or in its topology."""


def inputs_of(folder: Path, fitted: FittedFeatures) -> Inputs | None:
    """Those of a fit, from its folder of results; None where its features were ready-made.

    Raises
    ------
    InputError
        If a feature has no form in torch, or the folder is not complete.
    """
    if fitted.features is None:
        return None
    if not (folder / "topology.h5").exists():
        raise InputError(f"{folder} is not complete (topology.h5 is missing): fit again")
    topology = load_topology(folder / "topology.h5", [])
    chosen = define_features(topology, fitted.features, fitted.atoms)
    labels = atom_labels(topology.topology)
    parts = [
        part for name, block in zip(chosen.names, chosen.blocks, strict=True)
        if (part := _part(folder, name, block, set(fitted.columns), labels)) is not None
    ]  # fmt: skip
    place = {name: i for i, name in enumerate(name for part in parts for name in part.columns)}
    if missing := [name for name in fitted.columns if name not in place]:
        raise InputError(f"{missing[0]!r} is no column of the features of {folder}: fit again")
    atoms = np.unique(np.concatenate([part.atoms.ravel() for part in parts]))
    order = np.array([place[name] for name in fitted.columns])
    keys = [atom_key(topology.topology.atom(i)) for i in atoms]
    return Inputs(parts, order, atoms, [labels[i] for i in atoms], keys, topology.xyz[0, atoms])


def atom_key(atom: Any) -> tuple[int, int, str]:
    """Chain, residue number and name of an atom of mdtraj: what it has in every topology that holds it."""
    return atom.residue.chain.index, atom.residue.resSeq, atom.name


def _part(folder: Path, name: str, block: Block, wanted: set[str], labels: list[str]) -> Part | None:
    """What of a feature is wanted; None where nothing is."""
    columns = np.array([column.name for column in block.columns])
    if not (mask := np.isin(columns, list(wanted))).any():
        return None
    if name in AS_THEY_ARE:
        place = {label: i for i, label in enumerate(labels)}
        kind, counts = "positions", None
        atoms = np.array([[place[column.site]] for column in block.columns[:: PER_UNIT[kind]]])
    elif block.geometry is not None:
        kind, atoms, counts = block.geometry.kind, block.geometry.atoms, block.geometry.counts
    else:
        known = "torsions, distances between atoms, closest distances, contacts and positions"
        raise InputError(f"{folder} was fitted with {name}, which has no form outside of spectraldyn: only {known} do")
    per = PER_UNIT.get(kind, 1)
    kept = mask.reshape(-1, per).any(axis=1)
    rows = kept if counts is None else np.repeat(kept, counts)
    return Part(kind, atoms[rows], None if counts is None else counts[kept], columns[np.repeat(kept, per)].tolist())
