"""GROMACS XTC and TRR, of which mdtraj decodes the frames that a walk over the headers finds.

mdtraj ends silently at the first frame that is incomplete, and its C code believes what a header says. It is
given copies of frames known to be complete.
"""

import contextlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mdtraj.formats import XTCTrajectoryFile

from spectraldyn.errors import InputError
from spectraldyn.io.frames import AT_REST, NONE, Frames, Indexed, cell_of
from spectraldyn.io.silence import Damaged

Header = tuple[int, int, float, bool, int]  # atoms, step, time, whether with velocities, bytes that follow it


class Gromacs(Indexed):
    """A chain of frames, each with its own header, and nothing that says how many there should be."""

    def __init__(self, reader: Callable, path: Path, n_atoms: int) -> None:
        self.reader, self.path = reader, path
        status = path.stat()
        headers = _headers(path.resolve(), (status.st_size, status.st_mtime_ns), reader)
        self.n_frames, self.n_atoms = len(headers), int(headers["atoms"][0])
        self._steps, self._times = headers["step"], headers["time"]
        self._moving = bool(headers["moving"].all())
        self._starts = np.concatenate(([0], np.cumsum(headers["size"])))

    def extent(self) -> tuple[int, np.ndarray]:
        return self.n_frames, self._times

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[BinaryIO, Path]]:
        with self.path.open("rb") as file, _temporary_file() as copy:
            yield file, copy

    def decoded(self, file: tuple[BinaryIO, Path], first: int, count: int) -> Frames:
        raw, copy = file
        begin, end = self._starts[[first, first + count]].tolist()
        raw.seek(begin)
        content = raw.read(end - begin)
        first_frame = _larger(self.reader, self.n_atoms, self._moving)
        try:
            copy.write_bytes(first_frame + content)
        except OSError as error:
            refused = f"frames are copied into {copy.parents[1]}, which cannot be written ({error.strerror})"
            raise InputError(f"{refused}: make room there, or name a folder on another disk in TMPDIR") from error
        velocities = AT_REST
        with self.reader(str(copy)) as decoder:
            if self._moving:  # by mdtraj's own name for what its public method leaves out
                xyz, _, _, boxes, _, velocities, _ = decoder._read(1 + count, None, True, False)
                velocities = np.ascontiguousarray(velocities[1:, : self.n_atoms])
            else:
                xyz, _, _, boxes, *_ = decoder.read(1 + count)
        where = slice(first, first + len(xyz) - 1)
        cell = NONE if boxes is None else cell_of(*np.moveaxis(boxes[1:], 1, 0))
        xyz = np.ascontiguousarray(xyz[1:, : self.n_atoms])
        return Frames(xyz, self._times[where], cell, self._steps[where], velocities)


@lru_cache(maxsize=16)
def _larger(reader: Callable, n_atoms: int, moving: bool) -> bytes:
    """A frame of more atoms than the others have, to be decoded before them.

    From corrupt data the decoder may take more atoms than there are: it writes past the end of buffers that have
    the size of the first frame. An item holds ten atoms or less.
    """
    with _temporary_file() as path:
        atoms, one = np.zeros((1, n_atoms + 11, 3), dtype=np.float32), np.zeros(1, dtype=np.float32)
        with reader(str(path), "w") as file:
            if moving:
                file._write(atoms, one, one.astype(np.int32), np.eye(3, dtype=np.float32)[None], one, atoms)
            else:
                file.write(atoms)
        return path.read_bytes()


@lru_cache(maxsize=4)
def _headers(path: Path, status: tuple[int, int], reader: Callable) -> np.ndarray:
    """Headers of all frames of a file of this size and date: a forecast looks at a file that is then read."""
    columns = [("atoms", np.int32), ("step", np.float64), ("time", np.float64), ("moving", bool), ("size", np.int64)]
    headers = np.fromiter(_walk(path, _xtc if reader is XTCTrajectoryFile else _trr), dtype=columns)
    headers.flags.writeable = False
    return headers


def _walk(path: Path, read_header: Callable[[BinaryIO], Header]) -> Iterator[Header]:
    """The header of each frame, with its size as that of the whole frame; raises Damaged at the first fault."""
    size = path.stat().st_size
    count, known, end = 0, 0, 0
    with path.open("rb") as file:
        while (start := end) < size:
            file.seek(start)
            try:
                n_atoms, step, time, moving, length = read_header(file)
                end = file.tell() + length
                if count and n_atoms != known:
                    raise Damaged(f"has {n_atoms} atoms, the frames before it {known}")
            except EOFError:
                end = size + 1
            except Damaged as fault:
                raise Damaged(f"frame {count} (byte {start}) {fault}") from fault
            if end > size and count == 0:
                raise Damaged("the file ends inside its first frame, so it holds no complete frame")
            if end > size:
                advice = "write the complete ones to a new file (gmx trjconv or mdconvert), or wait for the simulation"
                raise Damaged(f"the file ends inside frame {count}, after {count} complete frames: {advice} to end")
            yield n_atoms, step, time, moving, end - start
            count, known = count + 1, n_atoms


def _xtc(file: BinaryIO) -> Header:
    """Header of a frame of positions rounded and compressed; raises EOFError or Damaged."""
    (magic,) = unpack(file, ">i")
    if magic not in (1995, 2023):
        raise Damaged(f"starts with {magic} instead of XTC's 1995, so the file is corrupt from there on")
    n_atoms, step, time = unpack(file, ">iif")
    *_, again = unpack(file, ">9fi")
    if n_atoms < 1 or again != n_atoms:
        raise Damaged(f"has a corrupt header ({n_atoms} and {again} atoms)")
    if n_atoms <= 9:  # so few are stored uncompressed
        return n_atoms, step, time, False, 12 * n_atoms
    _, *bounds, index, size = unpack(file, ">f3i3ii" + ("i" if magic == 1995 else "q"))
    # The decoder believes these and crashes where they are wrong. Its buffer, which is also that of the encoder,
    # has 1.2 integers for each coordinate, three of which are not for data.
    if not 0 < size <= 4 * int(3 * n_atoms * 1.2) - 12:
        raise Damaged(f"has a corrupt header ({size} bytes for {n_atoms} atoms)")
    # An index into a table of 73 sizes, of which the first nine are not used; and the smallest and largest integer
    # coordinates, whose range the encoder keeps this far from an overflow; one of 2³² would be a division by zero.
    ranges = [high - low for low, high in zip(bounds[:3], bounds[3:], strict=True)]
    if not 9 <= index < 73 or not 0 <= min(ranges) <= max(ranges) < 2**31 - 3:
        raise Damaged("has a corrupt header of its compressed positions")
    return n_atoms, step, time, False, padded(size)


def _trr(file: BinaryIO) -> Header:
    """Header of a frame of positions of single or double precision; raises EOFError or Damaged."""
    (magic,) = unpack(file, ">i")
    if magic != 1993:
        raise Damaged(f"starts with {magic} instead of TRR's 1993, so the file is corrupt from there on")
    _, length = unpack(file, ">ii")
    if not 0 <= length <= 128:
        raise Damaged("has a corrupt header")
    unpack(file, f">{padded(length)}s")
    *sizes, n_atoms, step, _ = unpack(file, ">13i")
    positions, velocities = sizes[7:9]
    if n_atoms < 1 or min(sizes) < 0 or positions not in (0, 12 * n_atoms, 24 * n_atoms):
        raise Damaged("has a corrupt header")
    if positions == 0:
        raise Damaged("holds no positions: write a trajectory with positions in every frame")
    time, _ = unpack(file, ">dd" if positions == 24 * n_atoms else ">ff")
    # Of another length than the positions they would not be velocities of these atoms.
    return n_atoms, step, time, velocities == positions, sum(sizes)


def unpack(file: BinaryIO, layout: str) -> tuple:
    """Values that follow in a file; raises EOFError where it ends before."""
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return struct.unpack(layout, data)


def padded(size: int) -> int:
    """Bytes that so many take where the next item begins at a multiple of four."""
    return (size + 3) // 4 * 4


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    """A place for a file under a name that the C code can open, which is ASCII."""
    plain = tempfile.gettempdir().isascii()
    with tempfile.TemporaryDirectory(dir=None if plain else os.curdir) as folder:
        yield Path(folder if plain else os.path.relpath(folder)) / "frames"
