"""Single frames that are unlike all others of their file: damage that leaves every number possible in itself.

Nothing is known of what a file holds but what its frames have in common. A frame is named only where a gap parts it
from all others: one that no thermal motion, no rare event and no mixture of independent runs bridges.
"""

from collections.abc import Collection
from itertools import combinations

import mdtraj
import numpy as np

from spectraldyn.io.frames import edges_of, volume
from spectraldyn.io.silence import named

MOST = 50
"""Frames that are named of one kind, where they are no more than a tenth of all: what is frequent is no fault."""
FEWEST = 20
"""Frames below which nothing can be said of what is usual in a file."""

GAP_OF_PAIRS, WIDTHS, RESOLUTION = 2.0, 10.0, 0.002
"""Of distances between atoms that a bond, or two, hold together: the deviation from the usual one is this many times
those in all other frames, and so many widths (standard deviations). A width is at least this (nm): files round to
0.001 nm, and constraints let distances vary by less. In sound files no deviation exceeds 9 widths, and the largest is
1.2 times the next among thousands of frames, 1.8 times among twenty."""
GAP_OF_STEPS, SHORTEST = 5.0, 0.1
"""Of steps of an atom there and back: this many times those of all other frames, and longer than this (nm)."""
GAP_OF_IMAGES, IMAGES = 2.0, 1.5
"""Of the same as they are written, in edges of the periodic box: an atom that is wrapped steps by one edge."""
GAP_OF_BOXES, BREATHING = 5.0, 0.05
"""Of changes of the box there and back, in logarithms of edges and radians: barostats change it by a hundredth."""

_FIRST = 100  # frames from which the usual distances and their widths are taken


class Outliers:
    """Frames that are unlike all others, found in one pass over a file, chunk by chunk."""

    def __init__(self) -> None:
        self._pairs = _Pairs()
        self._steps, self._images, self._boxes = _Returns(), _Returns(), _Returns()
        self._last: tuple[np.ndarray, np.ndarray | None] | None = None

    def look(self, chunk: mdtraj.Trajectory, lengths: np.ndarray, first: int) -> None:
        """Take in the next chunk; `lengths` (n, pairs) are of `held_pairs`, and its first frame has this number."""
        self._pairs.add(lengths, first)
        xyz, cells = chunk.xyz, None
        if chunk.unitcell_lengths is not None:
            cells = np.hstack((chunk.unitcell_lengths, chunk.unitcell_angles))
        before, self._last = self._last, (xyz[-1:].copy(), None if cells is None else cells[-1:])
        steps = np.empty((len(xyz) - (before is None), *xyz.shape[1:]), dtype=xyz.dtype)
        np.subtract(xyz[1:], xyz[:-1], out=steps[before is not None :])
        if before is None:
            first += 1  # the first frame that a step leads to
        else:
            np.subtract(xyz[:1], before[0], out=steps[:1])
        if cells is not None:
            cells = cells if before is None or before[1] is None else np.concatenate((before[1], cells))
            shape = np.hstack((np.log(cells[:, :3]), np.radians(cells[:, 3:])))
            self._boxes.add(np.abs(np.diff(shape, axis=0)), first)
            self._images.add(_to_nearest_images(steps, cells[1:]), first)
        steps *= steps
        self._steps.add(steps @ np.ones(3, dtype=steps.dtype), first)  # squares, as roots take time

    def remarks(self, named_already: Collection[int]) -> list[str]:
        """A clause for each kind of fault, which names no frame twice, nor one that is named already."""
        told, remarks = set(named_already), []
        for largest, gap, least, what in (
            (self._pairs.largest, GAP_OF_PAIRS, WIDTHS, "bond lengths or angles are far out of their range in {}"),
            (
                self._steps.largest,
                GAP_OF_STEPS**2,
                SHORTEST**2,
                "atoms lie far from where they are before and after {}",
            ),
            (self._images.largest, GAP_OF_IMAGES, IMAGES, "atoms lie boxes away from where they are beside {}"),
            (self._boxes.largest, GAP_OF_BOXES, BREATHING, "the periodic box is another than before and after {}"),
        ):
            frames = [frame for frame in largest.apart(gap, least) if frame not in told]
            told.update(frames)
            if frames:
                found = what.format(named(frames))
                remarks.append(f"{found}, unlike in all other frames: a damaged file, or something very rare")
        return remarks


def held_pairs(bonds: np.ndarray) -> np.ndarray:
    """Pairs (n, 2) of atoms at a fixed distance: bonds (n, 2) as they are, then the ends of angles between them."""
    partners: dict[int, set[int]] = {}
    for a, b in bonds.tolist():
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    ends = {pair for others in partners.values() for pair in combinations(sorted(others), 2)}
    ends -= {(min(a, b), max(a, b)) for a, b in bonds.tolist()}  # in rings of three
    return np.concatenate((bonds, np.array(sorted(ends), dtype=int).reshape(-1, 2)))


def _to_nearest_images(steps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Take steps (n, atoms, 3) to the nearest images in the boxes `cells` (n, 6), in place.

    Returns
    -------
    ndarray (n, atoms)
        How many edges of its box each had spanned; 0 where it is below half of the shortest height.
    """
    heights = volume(cells) / np.prod(cells[:, :3], axis=1, dtype=np.float64) * cells[:, :3].min(axis=1)
    images = np.zeros(steps.shape[:2], dtype=np.float32)
    frames, atoms = np.nonzero((np.abs(steps) > heights[:, None, None] / 2).any(axis=2))
    boxed, place = np.unique(frames, return_inverse=True)
    edges = edges_of(cells[boxed])
    spanned = np.einsum("ni,nij->nj", steps[frames, atoms], np.linalg.inv(edges)[place])
    images[frames, atoms] = np.abs(spanned).max(axis=1, initial=0)
    steps[frames, atoms] = np.einsum("ni,nij->nj", spanned - np.round(spanned), edges[place])
    return images


class _Pairs:
    """Distances between atoms that a bond, or two, hold together: how far, in widths, they are from usual."""

    def __init__(self) -> None:
        self._first: list[np.ndarray] = []
        self._usual: tuple[np.ndarray, np.ndarray] | None = None
        self._largest = _Largest()

    def add(self, lengths: np.ndarray, first: int) -> None:
        """The distances (n, pairs) in this frame and those after it."""
        if not lengths.shape[1]:
            return
        if self._usual is not None:
            self._judge(lengths, first, *self._usual)
            return
        self._first.append(lengths)
        if sum(map(len, self._first)) >= _FIRST:
            self._learn_and_judge()

    @property
    def largest(self) -> "_Largest":
        """The largest deviations of all frames."""
        if self._usual is None and self._first:
            self._learn_and_judge()
        return self._largest

    def _learn_and_judge(self) -> None:
        """What is usual, from the first frames, and how far these are from it."""
        lengths = np.concatenate(self._first)
        low, usual, high = np.percentile(lengths[:_FIRST], [10, 50, 90], axis=0).astype(np.float32)
        # of a normal distribution 80 % lie within 2.563 standard deviations; a tenth of the frames may be damaged
        self._usual = usual, np.maximum((high - low) / 2.563, RESOLUTION)
        self._first = []
        self._judge(lengths, 0, *self._usual)

    def _judge(self, lengths: np.ndarray, first: int, usual: np.ndarray, widths: np.ndarray) -> None:
        deviations = lengths - usual
        deviations /= widths
        self._largest.add(np.maximum(deviations.max(axis=1), -deviations.min(axis=1)), first)


class _Returns:
    """What changes from frame to frame: how far each frame is from both of its neighbours."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self.largest = _Largest()

    def add(self, changes: np.ndarray, first: int) -> None:
        """Changes (n, quantities) that lead to this frame and those after it."""
        if self._before is not None:
            changes, first = np.concatenate((self._before, changes)), first - 1
        self._before = changes[-1:].copy()
        self.largest.add(np.minimum(changes[1:], changes[:-1]).max(axis=1), first)


class _Largest:
    """The largest of one number for each frame."""

    def __init__(self) -> None:
        self._n, self._values, self._frames = 0, np.empty(0), np.empty(0, dtype=int)

    def add(self, values: np.ndarray, first: int) -> None:
        """The values of this frame and those after it."""
        self._n += len(values)
        values = np.concatenate((self._values, values))
        frames = np.concatenate((self._frames, first + np.arange(len(values) - len(self._values))))
        kept = np.argsort(-values, kind="stable")[: MOST + 1]
        self._values, self._frames = values[kept], frames[kept]

    def apart(self, gap: float, least: float) -> list[int]:
        """Frames whose values a gap parts from all others: they are so many times the next, and above `least`."""
        if self._n < FEWEST:
            return []
        values = self._values[: 1 + min(MOST, self._n // 10)]
        wide = np.flatnonzero((values[:-1] > least) & (values[:-1] > gap * values[1:]))
        return sorted(self._frames[: wide[-1] + 1].tolist()) if len(wide) else []
