"""States of a model system written as molecular dynamics: every three coordinates are one atom's position."""

import os
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.errors import InputError

WITH_TIMES = ("xtc", "trr", "nc", "h5", "gro")
"""Formats that keep the times of the frames."""

WRITTEN = (*WITH_TIMES, "dcd", "pdb", "xyz")


def check_output(out: str | Path, force: bool) -> tuple[Path, Path]:
    """The trajectory file to write and the topology beside it, where both can be written.

    Raises
    ------
    InputError
        If the ending is of no format that can be written, the folder does not exist or is not writable, or a file
        exists and `force` is not set.
    """
    path = Path(out)
    if path.suffix[1:] not in WRITTEN:
        raise InputError(f"--out {path} has no known ending: give one of " + ", ".join(f".{name}" for name in WRITTEN))
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: give the name of a file in an existing folder you may write to")
    topology = path.with_suffix(".pdb")
    for file in dict.fromkeys((path, topology)):
        if file.is_dir():
            raise InputError(f"{file} cannot be written: a folder has that name; give another --out")
        if file.exists() and not force:
            raise InputError(f"{file} exists: give another --out, or --force to replace it")
    return path, topology


def write_particles(path: Path, topology: Path, states: np.ndarray, spacing: float) -> None:
    """Write states as the positions of particles, and the first of them as a PDB file.

    Both files appear complete or not at all.

    Parameters
    ----------
    path, topology : Path
        See `check_output`. They may be the same file.
    states : ndarray (T, d)
        In nm. They fill the x, y and z of ⌈d/3⌉ atoms in order; the rest stays 0.
    spacing : float
        Time between frames in ps, for formats that keep times.
    """
    n_frames, dimension = states.shape
    n_atoms = -(-dimension // 3)
    positions = np.zeros((n_frames, n_atoms * 3), dtype=np.float32)
    positions[:, :dimension] = states
    trajectory = mdtraj.Trajectory(
        positions.reshape(n_frames, n_atoms, 3), _particles(n_atoms), time=spacing * np.arange(n_frames)
    )
    drafts = {file: file.with_name(f".{file.stem}-{os.getpid()}{file.suffix}") for file in (topology, path)}
    try:
        trajectory[0].save_pdb(str(drafts[topology]))
        trajectory.save(str(drafts[path]))
        for file, draft in drafts.items():
            draft.replace(file)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _particles(n_atoms: int) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n_atoms):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", chain))
    return topology
