"""What a reader of trajectory files yields, and the two ways in which a file can fall short."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mdtraj.utils import box_vectors_to_lengths_and_angles


@dataclass(frozen=True)
class Frames:
    """Consecutive frames as a file holds them, before any check.

    Attributes
    ----------
    xyz : (n, atoms, 3) float32
        Positions in nm.
    time : (n,) float64, optional
        Time stamps in ps; None where the format or the file has none.
    lengths, angles : (n, 3) float32, optional
        Edges (nm) and angles (degrees) of the periodic box.
    """

    xyz: np.ndarray
    time: np.ndarray | None = None
    lengths: np.ndarray | None = None
    angles: np.ndarray | None = None


class Incomplete(Exception):
    """Every frame yielded so far is sound, but the file says that there should be more, or fewer."""


class Damaged(Exception):
    """The file cannot be read: what lies beyond this point, or all of it, is not what its format says."""


def frames_per_chunk(n_atoms: int) -> int:
    """Frames that one chunk holds: about 12 MB of positions, so that memory does not grow with the file."""
    return int(np.clip(1_000_000 // max(n_atoms, 1), 1, 5000))


def chunked(frames: Iterator[tuple[np.ndarray, float | None, np.ndarray | None]]) -> Iterator[Frames]:
    """Gather single frames (positions, time, box as three lengths and three angles) into chunks."""
    pending: list[tuple[np.ndarray, float | None, np.ndarray | None]] = []
    ending: Incomplete | None = None
    while ending is None:
        try:
            frame = next(frames, None)
        except Incomplete as caught:  # the sound frames read before the fault still count
            frame, ending = None, caught
        if frame is not None:
            if pending and len(frame[0]) != len(pending[0][0]):
                yield _joined(pending)  # a change in the number of atoms is found, and named, by the checks
                pending = []
            pending.append(frame)
        if pending and (frame is None or len(pending) == frames_per_chunk(len(pending[0][0]))):
            yield _joined(pending)
            pending = []
        if frame is None and ending is None:
            return
    raise ending


def _joined(frames: list[tuple[np.ndarray, float | None, np.ndarray | None]]) -> Frames:
    # A stamp or a box that only some frames carry becomes NaN there, which the checks know to handle.
    times = [np.nan if time is None else time for _, time, _ in frames]
    boxes = np.array([np.full(6, np.nan) if box is None else box for _, _, box in frames])
    has_box = any(box is not None for _, _, box in frames)
    with np.errstate(over="ignore"):  # a number too large becomes infinite, and is found by the checks
        xyz = np.array([positions for positions, _, _ in frames]).astype(np.float32)
    return Frames(
        xyz=xyz,
        time=None if np.isnan(times).all() else np.array(times),
        lengths=boxes[:, :3] if has_box else None,
        angles=boxes[:, 3:] if has_box else None,
    )


def nanometres(angstroms: np.ndarray) -> np.ndarray:
    """Å to nm in float32; what does not fit becomes infinite, and is found by the checks."""
    with np.errstate(all="ignore"):
        return np.asarray(angstroms).astype(np.float32) / np.float32(10)


def cell_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Three lengths and three angles of a box from its edges; NaN or zero where there is no box."""
    with np.errstate(all="ignore"):
        return np.stack(box_vectors_to_lengths_and_angles(a, b, c), axis=-1)


def named(frames: Sequence[int] | np.ndarray) -> str:
    """Frame numbers for a message: ``"frame 7"``, ``"frames 50–59"``, ``"frames 3, 8–10 and 12 more"``."""
    numbers = np.asarray(frames)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    shown = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:4]]
    left = sum(len(run) for run in runs[4:])
    return f"frame{'s' if len(numbers) > 1 else ''} " + ", ".join(shown) + (f" and {left} more" if left else "")
