"""Trajectory files read in chunks, every frame checked: the interface; see FileSummary and scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mdtraj


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
    """Topology with coordinates where there are any."""
    raise NotImplementedError


def scan(
    path: str | Path, topology: mdtraj.Topology | None, visit: Callable[[mdtraj.Trajectory, int], None] | None = None
) -> FileSummary:
    """Read every frame once in chunks, check it, hand each checked chunk to visit(chunk, first_frame)."""
    raise NotImplementedError


def load_frames(path: str | Path, topology: mdtraj.Topology, frames: Sequence[int]) -> mdtraj.Trajectory:
    """Selected frames (0-based, in the given order)."""
    raise NotImplementedError


def common_timestep(summaries: Sequence[FileSummary], timestep_ps: float | None) -> float | None:
    """Frame spacing shared by all files, checked against the user's."""
    raise NotImplementedError
