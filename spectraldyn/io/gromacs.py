"""GROMACS XTC and TRR, decoded by mdtraj at the places that a walk over the frame headers finds.

mdtraj ends silently at the first frame that is incomplete, and its C code believes what a header says.
"""

import contextlib
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from mdtraj.formats import TRRTrajectoryFile, XTCTrajectoryFile

from spectraldyn.io.frames import Damaged, Frames, Indexed, cell_of
from spectraldyn.io.silence import decode, opened


class Header(NamedTuple):
    """What the header of one frame says; `content` is the number of bytes that follow it."""

    n_atoms: int
    step: int
    time: float
    content: int


class Gromacs(Indexed):
    """A chain of frames, each with its own header, and nothing that says how many there should be."""

    kind: str
    reader: Callable

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        self.path = path
        offsets, headers = [], []
        for offset, header in self._walk():
            offsets.append(offset)
            headers.append((header.step, header.time))
            self.n_atoms = header.n_atoms
        self.n_frames = len(headers)
        self._offsets = np.array(offsets, dtype=np.int64)
        self._steps, self._times = np.array(headers, dtype=np.float64).reshape(-1, 2).T

    def extent(self) -> tuple[int, np.ndarray | None]:
        return self.n_frames, self._times

    def blocks(self, runs: Iterable[tuple[int, int]]) -> Iterator[Frames]:
        with _ascii_name(self.path) as name, opened(self.kind, self.reader, name) as file:
            file.offsets = self._offsets
            for first, count in runs:
                if first != file.tell():
                    file.seek(first)
                xyz, _, _, boxes, *_ = decode(first, count, partial(file.read, count))
                where = slice(first, first + count)
                found = Frames(xyz, self._times[where], step=self._steps[where])
                if boxes is not None:
                    cell = cell_of(*np.moveaxis(boxes, 1, 0))
                    found = Frames(xyz, found.time, cell[:, :3], cell[:, 3:], found.step)
                yield found

    def _walk(self) -> Iterator[tuple[int, Header]]:
        """Where each frame begins and what its header says; raises Damaged at the first fault."""
        size = self.path.stat().st_size
        count, n_atoms, end = 0, 0, 0
        with self.path.open("rb") as file:
            while (start := end) < size:
                file.seek(start)
                try:
                    header = self.header(file)
                    end = file.tell() + header.content
                    if count and header.n_atoms != n_atoms:
                        raise Damaged(f"has {header.n_atoms} atoms, the frames before it {n_atoms}")
                except EOFError:
                    end = size + 1
                except Damaged as fault:
                    raise Damaged(f"frame {count} (byte {start}) {fault}") from fault
                if end > size:
                    raise Damaged(
                        f"the file ends inside frame {count}, after {count} complete frames: write the complete ones "
                        "to a new file (gmx trjconv or mdconvert), or run again when the simulation has ended"
                        if count
                        else "the file ends inside its first frame, so it holds no complete frame"
                    )
                yield start, header
                count, n_atoms = count + 1, header.n_atoms

    @staticmethod
    def header(file: BinaryIO) -> Header:
        """Read the header of a frame; raises EOFError or Damaged."""
        raise NotImplementedError


class Xtc(Gromacs):
    """Positions rounded and compressed."""

    kind, reader = "XTC", XTCTrajectoryFile

    @staticmethod
    def header(file: BinaryIO) -> Header:
        (magic,) = unpack(file, ">i")
        if magic not in (1995, 2023):
            raise Damaged(f"starts with {magic} instead of XTC's 1995, so the file is corrupt from there on")
        n_atoms, step, time = unpack(file, ">iif")
        *_, again = unpack(file, ">9fi")
        if n_atoms < 1 or again != n_atoms:
            raise Damaged(f"has a corrupt header ({n_atoms} and {again} atoms)")
        if n_atoms <= 9:  # so few are stored uncompressed
            return Header(n_atoms, step, time, 12 * n_atoms)
        _, *bounds, index, size = unpack(file, ">f3i3ii" + ("i" if magic == 1995 else "q"))
        # The decoder believes these and crashes where they are wrong. Its buffer, which is also that of the encoder,
        # has 1.2 integers for each coordinate, three of which are not for data.
        if not 0 < size <= 4 * int(3 * n_atoms * 1.2) - 12:
            raise Damaged(f"has a corrupt header ({size} bytes for {n_atoms} atoms)")
        # An index into a table of 73 sizes, of which the first nine are not used; and the smallest and largest
        # integer coordinates, whose range the encoder keeps this far from an overflow. A range of 2³² would be
        # a division by zero.
        ranges = [high - low for low, high in zip(bounds[:3], bounds[3:], strict=True)]
        if not 9 <= index < 73 or not 0 <= min(ranges) <= max(ranges) < 2**31 - 3:
            raise Damaged("has a corrupt header of its compressed positions")
        return Header(n_atoms, step, time, (size + 3) // 4 * 4)


class Trr(Gromacs):
    """Positions of single or double precision."""

    kind, reader = "TRR", TRRTrajectoryFile

    @staticmethod
    def header(file: BinaryIO) -> Header:
        (magic,) = unpack(file, ">i")
        if magic != 1993:
            raise Damaged(f"starts with {magic} instead of TRR's 1993, so the file is corrupt from there on")
        _, length = unpack(file, ">ii")
        if not 0 <= length <= 128:
            raise Damaged("has a corrupt header")
        unpack(file, f">{(length + 3) // 4 * 4}s")
        *sizes, n_atoms, step, _ = unpack(file, ">13i")
        positions = sizes[7]
        if n_atoms < 1 or min(sizes) < 0 or positions not in (0, 12 * n_atoms, 24 * n_atoms):
            raise Damaged("has a corrupt header")
        if positions == 0:
            raise Damaged("holds no positions: write a trajectory with positions in every frame")
        time, _ = unpack(file, ">dd" if positions == 24 * n_atoms else ">ff")
        return Header(n_atoms, step, time, sum(sizes))


def unpack(file: BinaryIO, layout: str) -> tuple:
    """Values that follow in a file; raises EOFError where it ends before."""
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return struct.unpack(layout, data)


@contextlib.contextmanager
def _ascii_name(path: Path) -> Iterator[Path]:
    """The file under a name that mdtraj's C readers can take."""
    if str(path).isascii():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "trajectory"
        link.symlink_to(path.absolute())
        yield link
