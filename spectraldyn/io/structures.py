"""Frames picked from trajectory files, written as PDB."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.io.reader import open_trajectory


def write_structures(wanted: Mapping[Path, Sequence[tuple[Path, int]]], topology: mdtraj.Topology) -> None:
    """Write frames as the models of PDB files, molecules whole and superposed on the first of each.

    Every trajectory is opened once, and only the frames that are written are read from it.

    Parameters
    ----------
    wanted : mapping of Path to sequence of (Path, int)
        For every PDB file to write, the trajectory file and 0-based frame number of each of its models.
    topology : mdtraj.Topology
    """
    frames: dict[tuple[Path, int], mdtraj.Trajectory] = {}
    everything = [place for picked in wanted.values() for place in picked]
    for path in dict.fromkeys(path for path, _ in everything):
        rows = sorted({row for other, row in everything if other == path})
        loaded = open_trajectory(path, topology).read(rows)
        frames |= {(path, row): loaded.slice(i, copy=False) for i, row in enumerate(rows)}
    for target, picked in wanted.items():
        _write_models(target, mdtraj.join([frames[place] for place in picked], check_topology=False))


def _write_models(target: Path, structures: mdtraj.Trajectory) -> None:
    topology = structures.topology
    if structures.unitcell_lengths is not None and topology.n_bonds:
        structures.make_molecules_whole(inplace=True)
    heavy = topology.select("element != H")
    if topology.n_atoms > 2:
        structures.superpose(structures, 0, atom_indices=heavy if len(heavy) > 2 else None)
    else:
        structures.center_coordinates()
    structures.xyz = np.asarray(structures.xyz, dtype=np.float32)
    structures.save_pdb(str(target))
