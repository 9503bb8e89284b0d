"""What a reader of trajectory files yields, and formats in which every frame is found by itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mdtraj
import numpy as np
from mdtraj.utils import box_vectors_to_lengths_and_angles

from spectraldyn.io.silence import Damaged, ask

NONE = np.array(np.nan)  # a column of frames that is not there
AT_REST = np.empty((1, 0, 3), dtype=np.float32)  # velocities that are not there


@dataclass
class Frames:
    """Frames as a file holds them, before any check; NaN where it does not tell."""

    xyz: np.ndarray
    """(n, atoms, 3) float32: positions in nm."""
    time: np.ndarray = field(default_factory=NONE.copy)
    """(n,) float64: time stamps in ps."""
    cell: np.ndarray = field(default_factory=NONE.copy)
    """(n, 6) float32: edges (nm) and angles (degrees) of the periodic box."""
    step: np.ndarray = field(default_factory=NONE.copy)
    """(n,) float64: numbers that the file gives its frames: steps of the integration, or numbers of models."""
    velocities: np.ndarray = field(default_factory=AT_REST.copy)
    """(n, atoms, 3) float32: in nm/ps; of no atoms where the file does not tell."""

    def __post_init__(self) -> None:
        n = len(self.xyz)
        with np.errstate(all="ignore"):  # a number too large becomes infinite, and is found by the checks
            self.xyz = self.xyz.astype(np.float32, copy=False)
            self.time, self.step = (np.broadcast_to(np.asarray(x, np.float64), n) for x in (self.time, self.step))
            self.cell = np.broadcast_to(self.cell.astype(np.float32), (n, 6))
            known = self.velocities.astype(np.float32, copy=False)
            self.velocities = np.broadcast_to(known, (n, *known.shape[1:]))

    def pick(self, rows: np.ndarray) -> "Frames":
        """These of the frames."""
        return Frames(*(column[rows] for column in vars(self).values()))


def joined(parts: Sequence[Frames]) -> Frames:
    """Frames one after the other."""
    return Frames(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))


class Moving(mdtraj.Trajectory):
    """Frames with velocities."""

    velocities: np.ndarray
    """(n_frames, n_atoms, 3) float32: in nm/ps."""

    def slice(self, key: Any, copy: bool = True) -> "Moving":
        """Some of the frames, as mdtraj does it; velocities, which are never changed, are not copied."""
        part = super().slice(key, copy)
        part.velocities = self.velocities[key]
        return part


class Indexed:
    """A trajectory file in which every frame is found by itself; it is open only while a method reads it."""

    n_frames: int
    n_atoms: int
    shortfall: str | None = None
    """What is to be said, once all frames are read, of a file that is sound only so far."""
    labels: Sequence[str] = ()
    """What the file says of the atoms: nothing."""

    opened: Callable[[], AbstractContextManager[Any]]
    decoded: Callable[[Any, int, int], Frames]
    """So many frames (first, count) of what `opened` gives, decoding no others; it may raise anything."""

    def blocks(self, runs: Iterable[tuple[int, int]]) -> Iterator[Frames]:
        """Frames of every run (first frame, number of frames)."""
        with self.opened() as file:
            for first, count in runs:
                fault = f"frames {first}–{first + count - 1} cannot be decoded"
                frames = ask(fault, partial(self.decoded, file, first, count))
                if len(frames.xyz) != count:
                    raise Damaged(f"frame {first + len(frames.xyz)} cannot be decoded")
                yield frames

    def extent(self) -> tuple[int, np.ndarray | None]:
        """Number of complete frames, and their time stamps in ps where there are any."""
        return self.n_frames, None

    def chunks(self) -> Iterator[Frames]:
        """Every frame, in chunks."""
        size = frames_per_chunk(self.n_atoms)
        return self.blocks((i, min(size, self.n_frames - i)) for i in range(0, self.n_frames, size))

    def take(self, rows: np.ndarray) -> Frames:
        """The frames of these numbers, which increase without repeats; raises Damaged where one is not there."""
        if rows[-1] >= self.n_frames:
            raise absent(rows[-1], self.n_frames)
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return joined(list(self.blocks((int(run[0]), len(run)) for run in runs)))


def absent(row: int, n_frames: int) -> Damaged:
    """The complaint about a frame that is asked for and not there."""
    there = f"frame {row} is asked for, but the file has {n_frames} frames"
    return Damaged(there if n_frames else "the file holds no complete frame")


def frames_per_chunk(n_atoms: int) -> int:
    """Frames that one chunk holds: about 12 MB of positions, so that memory does not grow with the file."""
    return int(np.clip(1_000_000 // max(n_atoms, 1), 1, 5000))


def cell_of(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Three lengths and three angles of a box from its edges; NaN or zero where there is no box."""
    with np.errstate(all="ignore"):
        return np.stack(box_vectors_to_lengths_and_angles(a, b, c), axis=-1)


def is_box(cells: np.ndarray) -> np.ndarray:
    """Whether each row is a box: three positive lengths, and three angles that enclose a volume."""
    with np.errstate(all="ignore"):
        sound = np.isfinite(cells) & (cells > 0)
        sound[:, 3:] &= cells[:, 3:] < 180
        return sound.all(axis=1) & (volume(cells) > 0)


def edges_of(cells: np.ndarray) -> np.ndarray:
    """Edges (n, 3, 3), one a row, of boxes (n, 6): the first along x, the second in the plane of x and y."""
    a, b, c = cells[:, :3].astype(np.float64).T
    alpha, beta, gamma = np.radians(cells[:, 3:].astype(np.float64)).T
    xy = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    height = volume(cells) / (a * b * np.sin(gamma))
    edges = np.zeros((len(cells), 3, 3))
    edges[:, 0, 0] = a
    edges[:, 1, :2] = np.transpose([b * np.cos(gamma), b * np.sin(gamma)])
    edges[:, 2] = np.transpose([c * np.cos(beta), c * xy, height])
    return edges


def volume(cells: np.ndarray) -> np.ndarray:
    """Volumes of boxes; 0 where the angles enclose none."""
    a, b, c = np.cos(np.radians(cells[:, 3:].astype(np.float64))).T
    enclosed = np.sqrt(np.maximum(1 - a * a - b * b - c * c + 2 * a * b * c, 0))
    return np.prod(cells[:, :3], axis=1, dtype=np.float64) * enclosed
