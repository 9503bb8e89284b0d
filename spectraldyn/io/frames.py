"""What a reader of trajectory files yields, what every format offers, and the ways in which a file can fall short."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from mdtraj.utils import box_vectors_to_lengths_and_angles


@dataclass(frozen=True)
class Frames:
    """Frames as a file holds them, before any check."""

    xyz: np.ndarray
    """(n, atoms, 3) float32: positions in nm."""
    time: np.ndarray | None = None
    """Time stamps in ps; None where the format or the file has none."""
    lengths: np.ndarray | None = None
    angles: np.ndarray | None = None
    """lengths and angles: edges (nm) and angles (degrees) of the periodic box."""
    step: np.ndarray | None = None
    """Numbers that the file gives its frames: steps of the integration, or numbers of models."""

    def pick(self, rows: np.ndarray) -> "Frames":
        """These of the frames."""
        there = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: column[rows] for name, column in there.items() if column is not None})


class Incomplete(Exception):
    """Every frame yielded so far is sound, but the file says that there should be more, or fewer."""


class Damaged(Exception):
    """The file cannot be read: what lies beyond this point, or all of it, is not what its format says."""


class Source(ABC):
    """A trajectory file of one format. It is open only while a method reads it."""

    @abstractmethod
    def extent(self) -> tuple[int, np.ndarray | None]:
        """Number of complete frames, and their time stamps in ps where there are any."""

    @abstractmethod
    def chunks(self) -> Iterator[Frames]:
        """Every frame, in chunks; raises Incomplete after the last where the file should hold more."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Frames:
        """The frames of these numbers, which increase without repeats; raises Damaged where one is not there."""


class Indexed(Source):
    """A format in which every frame can be found without reading those before it.

    Attributes
    ----------
    n_frames, n_atoms : int
    shortfall : Incomplete or None
        What is to be said of a file that is sound only so far.
    """

    n_frames: int
    n_atoms: int
    shortfall: Incomplete | None = None

    @abstractmethod
    def blocks(self, runs: Iterable[tuple[int, int]]) -> Iterator[Frames]:
        """Frames of every run (first frame, number of frames), decoding no others."""

    def extent(self) -> tuple[int, np.ndarray | None]:
        return self.n_frames, None

    def chunks(self) -> Iterator[Frames]:
        size = frames_per_chunk(self.n_atoms)
        yield from self.blocks((i, min(size, self.n_frames - i)) for i in range(0, self.n_frames, size))
        if self.shortfall is not None:
            raise self.shortfall

    def take(self, rows: np.ndarray) -> Frames:
        if rows[-1] >= self.n_frames:
            raise absent(int(rows[-1]), self.n_frames)
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return joined(list(self.blocks((int(run[0]), len(run)) for run in runs)))


def absent(row: int, n_frames: int) -> Damaged:
    """The complaint about a frame that is asked for and not there."""
    if n_frames == 0:
        return Damaged("the file holds no complete frame")
    return Damaged(f"frame {row} is asked for, but the file has {n_frames} frames")


def frames_per_chunk(n_atoms: int) -> int:
    """Frames that one chunk holds: about 12 MB of positions, so that memory does not grow with the file."""
    return int(np.clip(1_000_000 // max(n_atoms, 1), 1, 5000))


def joined(parts: Sequence[Frames]) -> Frames:
    """Frames one after the other; a stamp or box that only some carry becomes NaN where it is missing."""
    columns = {}
    for field in fields(Frames):
        values = [getattr(part, field.name) for part in parts]
        shape = next((value.shape[1:] for value in values if value is not None), None)
        if shape is not None:
            values = [
                np.full((len(part.xyz), *shape), np.nan) if value is None else value
                for part, value in zip(parts, values, strict=True)
            ]
            columns[field.name] = np.concatenate(values)
    return Frames(**columns)


def nanometres(angstroms: np.ndarray) -> np.ndarray:
    """Å to nm in float32; what does not fit becomes infinite, and is found by the checks."""
    with np.errstate(all="ignore"):
        return np.asarray(angstroms).astype(np.float32) / np.float32(10)


def cell_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Three lengths and three angles of a box from its edges; NaN or zero where there is no box."""
    with np.errstate(all="ignore"):
        return np.stack(box_vectors_to_lengths_and_angles(a, b, c), axis=-1)


def is_box(cells: np.ndarray) -> np.ndarray:
    """Whether each row is a box: three positive lengths, and three angles that enclose a volume."""
    with np.errstate(all="ignore"):
        a, b, c = np.cos(np.radians(cells[:, 3:].astype(np.float64))).T
        possible = (np.isfinite(cells[:, :3]) & (cells[:, :3] > 0)).all(axis=1)
        possible &= ((cells[:, 3:] > 0) & (cells[:, 3:] < 180)).all(axis=1)
        return possible & (1 - a * a - b * b - c * c + 2 * a * b * c > 0)


def named(frames: Sequence[int] | np.ndarray) -> str:
    """Frame numbers for a message: ``"frame 7"``, ``"frames 50–59"``, ``"frames 3, 8–10 and 12 more"``."""
    numbers = np.asarray(frames)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    shown = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:4]]
    left = sum(len(run) for run in runs[4:])
    return f"frame{'s' if len(numbers) > 1 else ''} " + ", ".join(shown) + (f" and {left} more" if left else "")
