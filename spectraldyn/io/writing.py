"""Trajectories out: frames picked as structures, and states of model systems as molecular dynamics."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.files import check_file, reserve, writing
from spectraldyn.io.reader import open_trajectory
from spectraldyn.io.silence import quiet

WITH_TIMES = ("xtc", "trr", "nc", "h5", "gro")  # formats that keep the times of the frames
WRITTEN = (*WITH_TIMES, "dcd", "pdb", "xyz")


def write_structures(wanted: Mapping[Path, Sequence[tuple[Path, int]]], topology: mdtraj.Topology) -> None:
    """Write frames as the models of PDB files, and the same as XTC files beside them, superposed on the first of each.

    Superposed are alpha carbons where there are at least four, else heavy atoms that are not water where there are at
    least three, else all atoms; two atoms are centred, and a particle alone stays where it is. Molecules that a
    periodic box cuts are made whole, as for features, and the box, which does not turn with them, is left out. The
    frames of an XTC file are numbered in place of times, as they come from anywhere.

    Every trajectory is opened once, and only the frames that are written are read from it.

    Parameters
    ----------
    wanted : mapping of Path to sequence of (Path, int)
        For every PDB file to write, the trajectory file and 0-based frame number of each of its models.
    """
    frames: dict[tuple[Path, int], np.ndarray] = {}
    everything = [place for picked in wanted.values() for place in picked]
    for path in dict.fromkeys(path for path, _ in everything):
        rows = sorted({row for other, row in everything if other == path})
        loaded = open_trajectory(path, topology).read(rows)
        if loaded.unitcell_lengths is not None and topology.n_bonds:
            loaded.make_molecules_whole(inplace=True)
        frames |= {(path, row): xyz for row, xyz in zip(rows, loaded.xyz, strict=True)}
    superposed = superposed_atoms(topology)
    for target, picked in wanted.items():
        structures = mdtraj.Trajectory(np.stack([frames[place] for place in picked]), topology)
        if topology.n_atoms > 2:
            structures.superpose(structures, 0, atom_indices=superposed)
        elif topology.n_atoms == 2:  # too few for a rotation
            structures.center_coordinates()
        structures.xyz = np.asarray(structures.xyz, dtype=np.float32)
        structures.save_pdb(str(target))
        structures.save_xtc(str(target.with_suffix(".xtc")))


def write_frames(wanted: Mapping[Path, tuple[Path, int]], topology: mdtraj.Topology) -> None:
    """Write frames as PDB files just as they are stored, box included, for simulations that start from them.

    Parameters
    ----------
    wanted : mapping of Path to (Path, int)
        For every PDB file to write, the trajectory file and 0-based frame number.
    """
    for path in dict.fromkeys(path for path, _ in wanted.values()):
        rows = {target: row for target, (other, row) in wanted.items() if other == path}
        for target, frame in zip(rows, open_trajectory(path, topology).read(rows.values()), strict=True):
            frame.save_pdb(str(target))


def write_topology(first: mdtraj.Trajectory, path: Path) -> None:
    """Write a frame with its topology as HDF5."""
    first.save_hdf5(str(path))
    _check_hdf5(path)


def _check_hdf5(path: Path) -> None:
    """An error where the file is cut short: a full disk is nothing that its writer tells of."""
    with mdtraj.formats.HDF5TrajectoryFile(str(path)):
        pass


def superposed_atoms(topology: mdtraj.Topology) -> np.ndarray:
    """Indices of the atoms on which structures are superposed: see `write_structures`."""
    symbols = [getattr(atom.element, "symbol", "") for atom in topology.atoms]
    atoms = list(zip(topology.atoms, symbols, strict=True))
    alpha = [atom.index for atom, symbol in atoms if atom.name == "CA" and symbol != "Ca"]  # CA is also calcium
    if len(alpha) >= 4:
        return np.array(alpha)
    heavy = [atom.index for atom, symbol in atoms if symbol not in ("H", "D", "VS") and not atom.residue.is_water]
    return np.array(heavy) if len(heavy) >= 3 else np.arange(topology.n_atoms)


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
        raise InputError(f"`out` {path} has no known ending: give one of " + ", ".join(f".{name}" for name in WRITTEN))
    return check_file(path, force), check_file(path.with_suffix(".pdb"), force)


def write_particles(path: Path, topology: Path, states: np.ndarray, spacing: float, force: bool = True) -> None:
    """Write states as the positions of particles, and the first as a PDB file; both appear complete or not at all.

    Parameters
    ----------
    path, topology : Path
        See `check_output`. They may be the same file.
    states : ndarray (T, d)
        In nm. They fill the x, y and z of ⌈d/3⌉ atoms in order; the rest stays 0.
    spacing : float
        Time between frames in ps, for formats that keep times.
    force : bool
        Replace files that are there already.
    """
    positions = np.pad(states.astype(np.float32), ((0, 0), (0, -states.shape[1] % 3))).reshape(len(states), -1, 3)
    particles = mdtraj.Topology()
    chain = particles.add_chain()
    for _ in range(positions.shape[1]):
        particles.add_atom("C", mdtraj.element.carbon, particles.add_residue("PRT", chain))
    trajectory = mdtraj.Trajectory(positions, particles, spacing * np.arange(len(positions)))
    if path == topology:
        with writing(path, force) as whole:
            trajectory.save(str(whole))
        return
    with writing(topology, force) as first:
        trajectory[0].save_pdb(str(first))
        with writing(path, force) as whole, quiet():
            if path.suffix in (".nc", ".h5"):
                reserve(whole, positions.nbytes)
            trajectory.save(str(whole))
            if path.suffix == ".h5":
                _check_hdf5(whole)
