"""Frames picked from trajectory files, written as PDB."""

from collections.abc import Sequence
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.io.files import load_frames


def write_structures(path: Path, picked: Sequence[tuple[Path, int]], topology: mdtraj.Topology) -> None:
    """Write frames as the models of one PDB file, molecules whole and superposed on the first.

    Parameters
    ----------
    path : Path
    picked : sequence of (Path, int)
        Trajectory file and 0-based frame number of every model.
    topology : mdtraj.Topology
    """
    parts = []
    for file in dict.fromkeys(file for file, _ in picked):
        wanted = [frame for other, frame in picked if other == file]
        loaded = load_frames(file, topology, wanted)
        parts += [((file, frame), loaded[i]) for i, frame in enumerate(wanted)]
    by_frame = dict(parts)
    structures = mdtraj.join([by_frame[key] for key in picked], check_topology=False)
    if structures.unitcell_lengths is not None and topology.n_bonds:
        structures.make_molecules_whole(inplace=True)
    heavy = topology.select("element != H")
    if topology.n_atoms > 2:
        structures.superpose(structures, 0, atom_indices=heavy if len(heavy) > 2 else None)
    else:
        structures.center_coordinates()
    structures.xyz = np.asarray(structures.xyz, dtype=np.float32)
    structures.save_pdb(str(path))
