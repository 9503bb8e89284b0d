"""Trajectory files, read in chunks with every frame checked.

``scan`` goes through a file once. What it accepts is sound: complete frames, finite positions, the atoms of
the topology, time stamps that are even within the stretches it names. The rest is an InputError of one
sentence. The table of formats is in ``formats``, the checks are in ``checks``.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.formats import GroTrajectoryFile, HDF5TrajectoryFile

from spectraldyn.errors import InputError
from spectraldyn.io import text
from spectraldyn.io.binary import attempt, check_hdf5
from spectraldyn.io.checks import FrameChecks, read_times
from spectraldyn.io.formats import FORMATS, check_readable, extension, formats_sentence, recognise
from spectraldyn.io.frames import Damaged, Frames, Incomplete

__all__ = [
    "FORMATS",
    "FileSummary",
    "common_timestep",
    "formats_sentence",
    "load_frames",
    "load_topology",
    "scan",
]


@dataclass(frozen=True)
class FileSummary:
    """What one pass over every frame of a trajectory file found.

    Attributes
    ----------
    path : Path
    format : str
        The format as its usual extension without the dot ("dcd", "xtc", ...).
    n_frames, n_atoms : int
    timestep_ps : float or None
        Time between stored frames in ps; None where the file carries no usable time stamps.
    segment_starts : tuple of int
        First frame of every uninterrupted stretch; begins with 0. Lagged pairs never cross into the next one.
    periodic : bool
        Whether the frames carry a periodic box.
    warnings : tuple of str
        One sentence each, naming the file.
    """

    path: Path
    format: str
    n_frames: int
    n_atoms: int
    timestep_ps: float | None
    segment_starts: tuple[int, ...]
    periodic: bool
    warnings: tuple[str, ...]


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
    source = top if top is not None else next((path for path in files if _carries_topology(path)), None)
    if source is None:
        given = f"{files[0]} carries" if len(files) == 1 else "the trajectories carry"
        raise InputError(f"{given} no topology: give one with --top (a PDB file of the same atoms, for example)")
    return _structure(source)


def scan(
    path: str | Path,
    topology: mdtraj.Topology | None,
    visit: Callable[[mdtraj.Trajectory, int], None] | None = None,
) -> FileSummary:
    """Read every frame once, in chunks, and check it.

    Parameters
    ----------
    path : path
    topology : mdtraj.Topology or None
        None is allowed for files that carry their own (PDB, GRO, HDF5).
    visit : callable, optional
        Called as ``visit(chunk, first_frame)`` with every checked chunk, in order. Chunks of a file
        without a valid periodic box have no unit cell; without time
        stamps, their ``time`` is the frame number.

    Returns
    -------
    FileSummary

    Raises
    ------
    InputError
        One sentence: which file, which frame, what was received and what to do.
    """
    format = recognise(path)
    if topology is None:
        if not _carries_topology(path):
            raise InputError(f"{path}: the file carries no topology: give one with --top")
        topology = _structure(path).topology
    checks = FrameChecks(str(path), topology)
    stamps: list[np.ndarray] = []
    warnings: list[str] = []
    try:
        for frames in _frames(path, format, topology.n_atoms):
            first = checks.n_frames
            chunk = checks.look(frames)
            stamps.append(np.full(len(frames.xyz), np.nan) if frames.time is None else frames.time)
            if chunk is not None and visit is not None:
                visit(chunk, first)
    except Incomplete as shortfall:
        warnings.append(f"{path}: {shortfall}")
    if checks.n_frames == 0:
        raise InputError(warnings[0] if warnings else f"{path}: the file holds no frames")
    checks.finish()
    times = np.concatenate(stamps)
    timestep, starts, remarks = read_times(str(path), None if np.isnan(times).all() else times)
    return FileSummary(
        path=Path(path),
        format=format,
        n_frames=checks.n_frames,
        n_atoms=topology.n_atoms,
        timestep_ps=timestep,
        segment_starts=starts,
        periodic=bool(checks.periodic),
        warnings=(*warnings, *checks.warnings, *remarks),
    )


def load_frames(path: str | Path, topology: mdtraj.Topology, frames: Sequence[int]) -> mdtraj.Trajectory:
    """Selected frames, for writing structures.

    Parameters
    ----------
    path : path
    topology : mdtraj.Topology
    frames : sequence of int
        0-based frame numbers; the frames come back in this order, as often as they are named.

    Raises
    ------
    InputError
        If the file has no such frame, or cannot be read up to it.
    """
    format = recognise(path)
    wanted = np.asarray(frames, dtype=int)
    if not len(wanted):
        raise InputError(f"{path}: no frames are asked for")
    kept: dict[int, mdtraj.Trajectory] = {}
    checks = FrameChecks(str(path), topology)
    with contextlib.suppress(Incomplete):
        for chunk_frames in _frames(path, format, topology.n_atoms):
            first = checks.n_frames
            chunk = checks.look(chunk_frames)
            if chunk is None:
                checks.finish()  # raises what is wrong
                break
            for frame in np.unique(wanted[(wanted >= first) & (wanted < first + len(chunk))]):
                kept[int(frame)] = chunk[int(frame) - first]
            if checks.n_frames > wanted.max():
                break
    missing = [int(frame) for frame in wanted if int(frame) not in kept]
    if missing:
        raise InputError(f"{path}: frame {missing[0]} is asked for, but the file has {checks.n_frames} frames")
    return mdtraj.join([kept[int(frame)] for frame in wanted], check_topology=False)


def common_timestep(summaries: Sequence[FileSummary], timestep_ps: float | None) -> float | None:
    """Frame spacing shared by all files, in ps.

    Parameters
    ----------
    summaries : sequence of FileSummary
    timestep_ps : float or None
        What the user says it is. Files without time stamps take it; files with stamps must agree with it.

    Returns
    -------
    float or None
        None where neither the files nor the user say.

    Raises
    ------
    InputError
        If two files, or a file and the user, differ by more than a thousandth; or if some files have time
        stamps, others have none, and the user says nothing.
    """
    if timestep_ps is not None and not (np.isfinite(timestep_ps) and timestep_ps > 0):
        raise InputError(f"--timestep is {timestep_ps:g} ps: the frame spacing must be positive")
    stamped = [(summary.path, summary.timestep_ps) for summary in summaries if summary.timestep_ps is not None]
    for path, spacing in stamped:
        if timestep_ps is not None and abs(spacing - timestep_ps) > 1e-3 * timestep_ps:
            raise InputError(
                f"{path}: the time stamps say {spacing:g} ps between frames, --timestep says "
                f"{timestep_ps:g} ps: leave --timestep out, or correct the file"
            )
        if abs(spacing - stamped[0][1]) > 1e-3 * stamped[0][1]:
            raise InputError(
                f"{path}: frames are {spacing:g} ps apart, those of {stamped[0][0]} {stamped[0][1]:g} ps: "
                "analyse only files of one spacing together"
            )
    if timestep_ps is not None:
        return float(timestep_ps)
    if stamped and len(stamped) < len(summaries):
        bare = next(summary.path for summary in summaries if summary.timestep_ps is None)
        raise InputError(
            f"{bare}: the file has no usable time stamps, while {stamped[0][0]} has frames "
            f"{stamped[0][1]:g} ps apart: give --timestep"
        )
    return stamped[0][1] if stamped else None


def _frames(path: str | Path, format: str, n_atoms: int | None) -> Iterator[Frames]:
    """Frames of a file; a reader's complaint becomes the user's, with the file's name as the user gave it."""
    try:
        yield from FORMATS[format.removesuffix(".gz")].read(Path(path), n_atoms)
    except Damaged as damage:
        raise InputError(f"{path}: {damage}") from damage
    except OSError as error:  # a disk or network that fails while the file is read
        raise InputError(f"{path}: reading failed ({error.strerror or error})") from error


def _carries_topology(path: str | Path) -> bool:
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
            return _first_frame(path, format)
        if format:
            structure, complaint = _pdb_structure(Path(path))
        elif plain in ("prmtop", "parm7", "prm7", "psf"):
            read = mdtraj.load_psf if plain == "psf" else mdtraj.load_prmtop
            topology, complaint = attempt(lambda: read(str(path)))
            structure = topology and mdtraj.Trajectory(np.zeros((0, topology.n_atoms, 3), dtype=np.float32), topology)
        else:
            structure, complaint = attempt(lambda: mdtraj.load(str(path))[:1])
    except Damaged as damage:
        structure, complaint = None, str(damage)
    if structure is None or not structure.n_atoms:
        raise InputError(
            f"{path}: no topology can be read from this file ({complaint or 'no atoms'}): give a PDB file, for example"
        )
    return structure


def _first_frame(path: str | Path, format: str) -> mdtraj.Trajectory:
    if format == "h5":
        check_hdf5(Path(path))
    topology, complaint = attempt(partial(_own_topology, path, format))
    if topology is None:
        raise Damaged(complaint or "it carries none")
    frames = next(_frames(path, format, topology.n_atoms), None)
    if frames is None:
        raise InputError(f"{path}: the file holds no frames")
    if frames.xyz.shape[1] != topology.n_atoms:
        raise InputError(f"{path}: the file has {frames.xyz.shape[1]} atoms, its topology {topology.n_atoms}")
    return mdtraj.Trajectory(frames.xyz[:1], topology)


def _own_topology(path: str | Path, format: str) -> mdtraj.Topology | None:
    with (GroTrajectoryFile if format == "gro" else HDF5TrajectoryFile)(str(path)) as file:
        return file.topology


def _pdb_structure(path: Path) -> tuple[mdtraj.Trajectory | None, str]:
    """First model of a PDB file with the CONECT records, which follow the last one."""
    kept: list[str] = []
    with text.Lines(path) as lines:
        first = True
        while (line := lines.next()) is not None:
            record = line[:6].rstrip()
            if (first and record in ("ATOM", "HETATM", "TER", "CRYST1")) or record == "CONECT":
                kept.append(line)
            first = first and record not in ("ENDMDL", "END")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.pdb"
        copy.write_text("\n".join([*kept, "END", ""]), encoding="utf-8")
        return attempt(lambda: mdtraj.load_pdb(str(copy)))
