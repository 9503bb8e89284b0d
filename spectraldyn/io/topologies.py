"""Topologies: from trajectories that carry their own, or from files of their own."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.formats import GroTrajectoryFile, HDF5TrajectoryFile

from spectraldyn.errors import InputError
from spectraldyn.io.containers import check_hdf5
from spectraldyn.io.formats import FORMATS, check_kind, check_readable, extension, recognise
from spectraldyn.io.frames import Damaged
from spectraldyn.io.lines import Lines
from spectraldyn.io.silence import ask, attempt


def load_topology(top: str | Path | None, files: Sequence[str | Path]) -> mdtraj.Trajectory:
    """Topology, with coordinates where there are any.

    Parameters
    ----------
    top : path or None
        A PDB, GRO, HDF5, prmtop, PSF, mol2 file, ...; None takes that of the first trajectory that has one.
    files : sequence of paths
        The trajectories.

    Returns
    -------
    mdtraj.Trajectory
        One frame, or none (``n_frames == 0``) where the topology file holds no coordinates (prmtop, PSF).

    Raises
    ------
    InputError
        If there is no topology, or it cannot be read. That the atoms are those of each file, `scan` checks.
    """
    for path in files:  # what can never be read is refused before any work
        check_kind(path)
    source = top if top is not None else next((path for path in files if carries_topology(path)), None)
    if source is None:
        given = f"{files[0]} carries" if len(files) == 1 else "the trajectories carry"
        raise InputError(f"{given} no topology: give one with --top (a PDB file of the same atoms, for example)")
    return _structure(source)


def carries_topology(path: str | Path) -> bool:
    """Whether a trajectory's format names its atoms."""
    plain = extension(path).removesuffix(".gz")
    return plain in FORMATS and FORMATS[recognise(path).removesuffix(".gz")].topology


def _structure(path: str | Path) -> mdtraj.Trajectory:
    """Topology and first frame of a file, without reading a trajectory whole."""
    check_readable(path)
    plain = extension(path).removesuffix(".gz")
    format = recognise(path) if plain in ("pdb", "ent", "gro", "h5", "hdf5") else ""
    if plain in FORMATS and not (format or plain == "arc"):
        raise InputError(f"{path}: a trajectory of this format carries no topology: give a PDB file, for example")
    try:
        if format in ("gro", "h5"):
            return _first_frame(Path(path), format)
        if format:
            structure, complaint = _pdb_structure(Path(path))
        elif plain in ("prmtop", "parm7", "prm7", "psf"):
            read = mdtraj.load_psf if plain == "psf" else mdtraj.load_prmtop
            topology, complaint = attempt(lambda: read(str(path)))
            structure = topology and mdtraj.Trajectory(np.zeros((0, topology.n_atoms, 3), dtype=np.float32), topology)
        else:
            structure, complaint = attempt(lambda: mdtraj.load(str(path))[:1])
    except (Damaged, OSError) as damage:
        structure, complaint = None, str(damage)
    if structure is None or not structure.n_atoms:
        raise InputError(
            f"{path}: no topology can be read from this file ({complaint or 'no atoms'}): give a PDB file, for example"
        )
    return structure


def _first_frame(path: Path, format: str) -> mdtraj.Trajectory:
    if format == "h5":
        check_hdf5(path)
    topology = ask("its list of atoms cannot be read", partial(_own_topology, path, format))
    if topology is None:
        raise Damaged("it carries none")
    frames = FORMATS[format].source(path, topology.n_atoms).take(np.array([0]))
    if frames.xyz.shape[1] != topology.n_atoms:
        raise InputError(f"{path}: the file has {frames.xyz.shape[1]} atoms, its topology {topology.n_atoms}")
    return mdtraj.Trajectory(frames.xyz, topology)


def _own_topology(path: Path, format: str) -> mdtraj.Topology | None:
    with (GroTrajectoryFile if format == "gro" else HDF5TrajectoryFile)(str(path)) as file:
        return file.topology


def _pdb_structure(path: Path) -> tuple[mdtraj.Trajectory | None, str]:
    """First model of a PDB file with the CONECT records, which follow the last one."""
    kept: list[str] = []
    with Lines(path) as lines:
        first = True
        while (line := lines.next()) is not None:
            record = line[:6].rstrip()
            if (first and record in ("ATOM", "HETATM", "TER", "CRYST1")) or record == "CONECT":
                kept.append(line)
            first = first and record not in ("ENDMDL", "END")
    if not any(line.startswith(("ATOM", "HETATM")) for line in kept):
        return None, "no atoms"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.pdb"
        copy.write_text("\n".join([*kept, "END", ""]), encoding="utf-8")
        return attempt(lambda: mdtraj.load_pdb(str(copy)))
