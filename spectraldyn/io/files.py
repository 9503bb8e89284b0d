"""Files read whole: trajectories in chunks with every frame checked, and arrays of ready-made features.

``scan`` goes through a file once. What it accepts is sound: complete frames, finite positions, the atoms of
the topology, time stamps (or, without them, numbers of frames) that are even within the stretches it names.
The rest is an InputError of one sentence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from spectraldyn.data.mapped import release
from spectraldyn.errors import InputError
from spectraldyn.io.checks import FrameChecks, read_times
from spectraldyn.io.colvar import is_colvar, listed, read_colvar
from spectraldyn.io.formats import check_readable
from spectraldyn.io.reader import load_topology, open_trajectory
from spectraldyn.io.silence import Damaged, told

SUFFIXES = (".npy", ".npz")  # of files of ready-made features
_SCAN_VALUES = 2**22  # values checked at once


@dataclass(frozen=True)
class FileSummary:
    """What one pass over every frame of a trajectory file found."""

    path: Path
    format: str
    """The format as its usual extension without the dot ("dcd", "xtc", ...)."""
    n_frames: int
    n_atoms: int
    timestep_ps: float | None
    """Time between stored frames in ps; None where the file carries no usable time stamps."""
    segment_starts: tuple[int, ...]
    """First frame of every uninterrupted stretch; begins with 0. Lagged pairs never cross into the next one."""
    periodic: bool
    """Whether the frames carry a periodic box."""
    warnings: tuple[str, ...]
    """One sentence each, naming the file."""


def scan(
    path: str | Path, topology: mdtraj.Topology | None, visit: Callable[[mdtraj.Trajectory, int], None] | None = None
) -> FileSummary:
    """Read every frame once, in chunks, and check it.

    Parameters
    ----------
    topology : mdtraj.Topology or None
        None is allowed for files that carry their own (PDB, GRO, HDF5).
    visit : callable, optional
        Called as ``visit(chunk, first_frame)`` with every checked chunk, in order. Chunks of a file without a valid
        periodic box have no unit cell; without time stamps, their ``time`` is the frame number.

    Raises
    ------
    InputError
        One sentence: which file, which frame, what was received and what to do.
    """
    reader = open_trajectory(path, topology)
    checks = FrameChecks(reader.topology)
    times, steps = [np.empty(0)], [np.empty(0)]
    for frames in reader.chunks():
        first = checks.n_frames
        with told(path):
            chunk = checks.look(frames)
        times.append(frames.time)
        steps.append(frames.step)
        if chunk is not None and visit is not None:
            visit(chunk, first)
    with told(path):
        if checks.n_frames == 0:
            raise Damaged(reader.source.shortfall or "the file holds no frames")
        checks.finish()
        timestep, starts, remarks = read_times(np.concatenate(times))
        if timestep is None and not remarks:
            _, starts, remarks = read_times(np.concatenate(steps), reader.layout.numbers)
    told_of = (*([shortfall] if (shortfall := reader.source.shortfall) else []), *checks.warnings, *remarks)
    warnings = tuple(f"{path}: {warning}" for warning in told_of)
    found = (Path(path), reader.format, checks.n_frames, reader.n_atoms, timestep, starts, bool(checks.periodic))
    return FileSummary(*found, warnings)


def common_timestep(summaries: Sequence[FileSummary], timestep_ps: float | None) -> float | None:
    """Frame spacing shared by all files, in ps; None where neither the files nor the user say.

    Parameters
    ----------
    timestep_ps : float or None
        What the user says it is. Files without time stamps take it; files with stamps must agree with it.

    Raises
    ------
    InputError
        If two files, or a file and the user, differ by more than a thousandth; or if some files have time
        stamps, others have none, and the user says nothing.
    """
    if timestep_ps is not None and not (np.isfinite(timestep_ps) and timestep_ps > 0):
        raise InputError(f"`timestep` is {timestep_ps:g} ps: the frame spacing must be positive")
    stamped = [(summary.path, summary.timestep_ps) for summary in summaries if summary.timestep_ps is not None]
    for path, spacing in stamped:
        (first, usual), said = stamped[0], f"{path}: the time stamps say {spacing:g} ps between frames"
        if timestep_ps is not None and abs(spacing - timestep_ps) > 1e-3 * timestep_ps:
            said += f", `timestep` says {timestep_ps:g} ps"
            raise InputError(f"{said}: leave `timestep` out, or correct the file")
        if abs(spacing - usual) > 1e-3 * usual:
            raise InputError(f"{said}, those of {first} {usual:g} ps: analyse only files of one spacing together")
    bare = [summary.path for summary in summaries if summary.timestep_ps is None]
    if timestep_ps is None and stamped and bare:
        others = f"{stamped[0][0]} has frames {stamped[0][1]:g} ps apart"
        raise InputError(f"{bare[0]}: the file has no usable time stamps, while {others}: give `timestep`")
    return float(timestep_ps) if timestep_ps is not None else stamped[0][1] if stamped else None


def read_arrays(path: Path) -> list[tuple[str | None, np.ndarray]]:
    """Every array in a .npy or .npz file, with its name in the latter; each is a trajectory of its own, (T, d).

    Of whatever real numbers the file holds, all within the range of float32; mapped where it is a .npy file.

    Raises
    ------
    InputError
        If the file cannot be read, or an array is not a finite, non-empty table of real numbers.
    """
    check_readable(path)
    try:
        # numpy leaves a damaged .npz open when it is given the path
        with path.open("rb") as stream:
            if stream.read(2) == b"PK":
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as archive:
                    arrays: list[tuple[str | None, np.ndarray]] = [(name, archive[name]) for name in archive.files]
            else:
                arrays = [(None, np.load(path, mmap_mode="r", allow_pickle=False))]
    except Exception as error:  # of what is damaged, NumPy and the archive raise anything
        what = "it is damaged, or no NumPy file of plain numbers (pickled objects are not read)"
        raise InputError(f"{path} cannot be read: {what}") from error
    if not arrays:
        raise InputError(f"{path} holds no array")
    return [(name, _rows(array, f"{path}" if name is None else f"{path}, array {name!r}")) for name, array in arrays]


def _rows(array: Any, where: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):  # a member of an archive that is no .npy
        raise InputError(f"{where} is no NumPy array: take it out of the archive, or write it with numpy.save")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where} holds {array.dtype}, not real numbers")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{where} has shape {array.shape}: features are (frames, columns), neither of them 0")
    rows = array.view(np.ndarray)
    step = max(1, _SCAN_VALUES // rows.shape[1])
    for start in range(0, len(rows), step):
        with np.errstate(over="ignore"):  # beyond the range of float32 is infinite
            some = rows[start : start + step].astype(np.float32, copy=False)
        bad = np.flatnonzero(~np.isfinite(some).all(axis=1))
        release(rows)
        if len(bad):
            where = f"{where} holds NaN or a number too large for float32"
            raise InputError(f"{where} in row {start + bad[0]} (counted from 0)")
    return rows


def describe_files(files: Sequence[str], top: str | None) -> Iterator[tuple[str, bool]]:
    """Read every frame of every file once.

    Yields
    ------
    (line, failed)
        A line on what is in the file, or the sentence that says why it cannot be used; the others are still described.
    """
    topology = load_topology(top, []).topology if top is not None else None
    for file in files:
        try:
            yield from ((line, False) for line in _lines(file, topology))
        except InputError as error:
            yield str(error), True


def _lines(file: str, topology: mdtraj.Topology | None) -> list[str]:
    if Path(file).suffix.lower() in SUFFIXES:
        return [
            f"{file}{'' if name is None else ':' + name}: {len(rows)} frames, {rows.shape[1]} ready-made features"
            for name, rows in read_arrays(Path(file))
        ]
    if is_colvar(file):
        table = read_colvar(file)
        spacing = "" if table.timestep_ps is None else f", {table.timestep_ps:g} ps apart"
        line = f"{file}: COLVAR, {len(table.values)} rows{spacing}, columns {listed(table.fields)}"
        return [line, *(f"  note: {warning}" for warning in table.warnings)]
    found = scan(file, topology or load_topology(None, [file]).topology)
    times = "no usable time stamps (a lag in time needs `timestep`)"
    if found.timestep_ps is not None:
        times = f"{found.timestep_ps:g} ps apart, {found.n_frames * found.timestep_ps / 1000:.4g} ns"
    box = "periodic box" if found.periodic else "no periodic box"
    pieces = f", {n} uninterrupted stretches" if (n := len(found.segment_starts)) > 1 else ""
    line = f"{found.path}: {found.format}, {found.n_frames} frames, {found.n_atoms} atoms, {times}, {box}{pieces}"
    return [line, *(f"  note: {warning}" for warning in found.warnings)]


def kind_of(paths: list[Path]) -> str:
    """What the files are, all of them: "arrays", "colvar" or "trajectories"."""
    arrays = [path for path in paths if path.suffix.lower() in SUFFIXES]
    colvars = [path for path in paths if path not in arrays and is_colvar(path)]
    others = [path for path in paths if path not in arrays and path not in colvars]
    ready = arrays + colvars
    if ready and others:
        raise InputError(f"{ready[0]} holds ready-made features and {others[0]} does not: give files of one kind")
    if arrays and colvars:
        raise InputError(f"{arrays[0]} holds arrays and {colvars[0]} is a COLVAR file: give files of one kind")
    return "arrays" if arrays else "colvar" if colvars else "trajectories"
