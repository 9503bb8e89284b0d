"""Trajectory files, read in chunks with every frame checked.

``scan`` goes through a file once. What it accepts is sound: complete frames, finite positions, the atoms of
the topology, time stamps (or, without them, numbers of frames) that are even within the stretches it names.
The rest is an InputError of one sentence. The table of formats is in ``formats``, the checks are in ``checks``,
random access is in ``reader``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.io.checks import FrameChecks
from spectraldyn.io.frames import Incomplete
from spectraldyn.io.reader import open_trajectory
from spectraldyn.io.times import read_times


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
    reader = open_trajectory(path, topology)
    checks = FrameChecks(str(path), reader.topology)
    times: list[np.ndarray] = []
    steps: list[np.ndarray] = []
    warnings: list[str] = []
    try:
        for frames in reader.chunks():
            first = checks.n_frames
            chunk = checks.look(frames)
            for gathered, column in ((times, frames.time), (steps, frames.step)):
                gathered.append(np.full(len(frames.xyz), np.nan) if column is None else column)
            if chunk is not None and visit is not None:
                visit(chunk, first)
    except Incomplete as shortfall:
        warnings.append(f"{path}: {shortfall}")
    if checks.n_frames == 0:
        raise InputError(warnings[0] if warnings else f"{path}: the file holds no frames")
    checks.finish()
    timestep, starts, remarks = read_times(str(path), np.concatenate(times))
    if timestep is None and not remarks:
        _, starts, remarks = read_times(str(path), np.concatenate(steps), reader.layout.numbers)
    return FileSummary(
        path=Path(path),
        format=reader.format,
        n_frames=checks.n_frames,
        n_atoms=reader.n_atoms,
        timestep_ps=timestep,
        segment_starts=starts,
        periodic=bool(checks.periodic),
        warnings=(*warnings, *checks.warnings, *remarks),
    )


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
