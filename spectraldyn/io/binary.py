"""Binary trajectories decoded by mdtraj: XTC, TRR, NetCDF, HDF5.

Where its readers end silently, or invent frames, the frame headers or the file's header are walked first, so
that only frames known to be complete are asked for.
"""

import contextlib
import ctypes
import io
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from mdtraj.formats import HDF5TrajectoryFile, NetCDFTrajectoryFile, TRRTrajectoryFile, XTCTrajectoryFile

from spectraldyn.io.frames import Damaged, Frames, Incomplete, cell_of, frames_per_chunk, nanometres


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what C libraries print and what mdtraj warns of, while one of its readers runs.

    The file descriptors themselves are redirected, as C code does not know Python's sys.stdout; whatever
    Python had buffered for them is written first, so that it is not lost.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, closed, or a broken pipe
            stream.flush()
    _flush_c_streams()
    # Opened first, so that where stdout is closed this takes its place, not the copy of stderr.
    sink = os.open(os.devnull, os.O_WRONLY)
    saved = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed: nothing can be printed there
            saved.append((descriptor, os.dup(descriptor)))
    try:
        for descriptor, _ in saved:
            os.dup2(sink, descriptor)
        printed = io.StringIO()  # mdtraj's own prints, which may not go by way of the descriptors
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        _flush_c_streams()
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(sink)


def _flush_c_streams() -> None:
    # printf into a pipe or file is buffered by the C library and would come out after the silence has ended.
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no such function on this platform
        ctypes.CDLL(None).fflush(None)


Result = TypeVar("Result")


def attempt(call: Callable[[], Result]) -> tuple[Result | None, str]:
    """Result of a parser of mdtraj, or None and what it complained of: they raise anything, bare RuntimeErrors too.

    The exception does not leave this function, as it would keep open the files that a failing parser leaves behind.
    """
    with quiet():
        try:
            return call(), ""
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            return None, words if len(words) < 120 else words[:120] + "..."


def _decode(first: int, count: int, call: Callable[[], tuple]) -> tuple:
    """Call a reader for frames known to be there."""
    result, complaint = attempt(call)
    if result is None:
        raise Damaged(f"frames {first}–{first + count - 1} cannot be decoded ({complaint})")
    if len(result[0]) != count:
        raise Damaged(f"frame {first + len(result[0])} cannot be decoded")
    return result


def _ask(layout: str, call: Callable[[], tuple]) -> tuple:
    result, complaint = attempt(call)
    if result is None:
        raise Damaged(f"its content is not that of {layout} trajectories ({complaint})")
    return result


@contextlib.contextmanager
def _opened(kind: str, reader: Callable, path: Path) -> Iterator:
    handle, complaint = attempt(partial(reader, str(path)))
    if handle is None:
        raise Damaged(f"it cannot be opened as {kind}: truncated or corrupt ({complaint})")
    try:
        yield handle
    finally:
        with quiet():
            handle.close()


@dataclass
class _Walk:
    """Complete frames found by their headers, and the fault at which the walk ended, if any."""

    n_atoms: int
    times: list[float]
    fault: Damaged | None = None


def _walk(path: Path, header: Callable[[BinaryIO], tuple[int, float, int]]) -> _Walk:
    """Follow the chain of frame headers; `header` gives atoms, time and the bytes of data that follow it."""
    walk = _Walk(0, [])
    size = path.stat().st_size
    with path.open("rb") as file:
        while (start := file.tell()) < size:
            count = len(walk.times)
            try:
                n_atoms, time, content = header(file)
                end = file.tell() + content
                if count and n_atoms != walk.n_atoms:
                    raise Damaged(f"has {n_atoms} atoms, the frames before it {walk.n_atoms}")
            except (EOFError, Damaged) as error:
                if isinstance(error, Damaged):
                    walk.fault = Damaged(f"frame {count} (byte {start}) {error}")
                end = size + 1
            if walk.fault is None and end > size:
                # Unlike a DCD or NetCDF header, this stream does not say how many frames were meant to follow.
                walk.fault = Damaged(
                    f"the file ends inside frame {count}, after {count} complete frames: write the complete ones to a "
                    "new file (gmx trjconv or mdconvert), or run again when the simulation has ended"
                    if count
                    else "the file ends inside its first frame, so it holds no complete frame"
                )
            if walk.fault is not None:
                return walk
            walk.n_atoms = n_atoms
            walk.times.append(time)
            file.seek(end)
    return walk


def _unpack(file: BinaryIO, layout: str) -> tuple:
    size = struct.calcsize(layout)
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return struct.unpack(layout, data)


def _xtc_header(file: BinaryIO) -> tuple[int, float, int]:
    (magic,) = _unpack(file, ">i")
    if magic not in (1995, 2023):
        raise Damaged(f"starts with {magic} instead of XTC's 1995, so the file is corrupt from there on")
    n_atoms, _, time = _unpack(file, ">iif")
    *_, again = _unpack(file, ">9fi")
    if n_atoms < 1 or again != n_atoms:
        raise Damaged(f"has a corrupt header ({n_atoms} and {again} atoms)")
    if n_atoms <= 9:  # so few are stored uncompressed
        return n_atoms, time, 12 * n_atoms
    _, *bounds, index, size = _unpack(file, ">f3i3ii" + ("i" if magic == 1995 else "q"))
    if not 0 < size <= 64 * n_atoms:
        raise Damaged(f"has a corrupt header ({size} bytes for {n_atoms} atoms)")
    # The decoder believes these: an index into its table of 73 sizes, of which the first nine are not used, and
    # the smallest and largest integer coordinates. It crashes where they are wrong.
    if not 9 <= index < 73 or any(low > high for low, high in zip(bounds[:3], bounds[3:], strict=True)):
        raise Damaged("has a corrupt header of its compressed positions")
    return n_atoms, time, (size + 3) // 4 * 4


def _trr_header(file: BinaryIO) -> tuple[int, float, int]:
    (magic,) = _unpack(file, ">i")
    if magic != 1993:
        raise Damaged(f"starts with {magic} instead of TRR's 1993, so the file is corrupt from there on")
    _, length = _unpack(file, ">ii")
    if not 0 <= length <= 128:
        raise Damaged("has a corrupt header")
    _unpack(file, f">{(length + 3) // 4 * 4}s")
    *sizes, n_atoms, _, _ = _unpack(file, ">13i")
    positions = sizes[7]
    if n_atoms < 1 or min(sizes) < 0 or positions not in (0, 12 * n_atoms, 24 * n_atoms):
        raise Damaged("has a corrupt header")
    if positions == 0:
        raise Damaged("holds no positions: write a trajectory with positions in every frame")
    double = positions == 24 * n_atoms
    time, _ = _unpack(file, ">dd" if double else ">ff")
    return n_atoms, time, sum(sizes)


def _read_gromacs(kind: str, path: Path, reader: Callable, header: Callable) -> Iterator[Frames]:
    walk = _walk(path, header)
    # Frames before the fault are not worth reading: the caller refuses the file in any case.
    if walk.fault is not None:
        raise walk.fault
    size = frames_per_chunk(walk.n_atoms)
    with _opened(kind, reader, path) as file:
        for first in range(0, len(walk.times), size):
            times = np.array(walk.times[first : first + size])
            xyz, _, _, boxes, *_ = _decode(first, len(times), partial(file.read, len(times)))
            if boxes is None:
                yield Frames(xyz, times)
            else:
                cell = cell_of(*np.moveaxis(boxes, 1, 0))
                yield Frames(xyz, times, cell[:, :3], cell[:, 3:])


def read_xtc(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """GROMACS XTC."""
    return _read_gromacs("XTC", path, XTCTrajectoryFile, _xtc_header)


def read_trr(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """GROMACS TRR, of single or double precision."""
    return _read_gromacs("TRR", path, TRRTrajectoryFile, _trr_header)


def read_netcdf(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """AMBER NetCDF, classic or HDF5-based."""
    there = _netcdf_records(path)
    with _opened("NetCDF", NetCDFTrajectoryFile, path) as file:
        promised, n_atoms = _ask("AMBER NetCDF", lambda: (file.n_frames, file.n_atoms))
        n_frames = promised if there is None else min(promised, there)
        size = frames_per_chunk(n_atoms)
        for first in range(0, n_frames, size):
            count = min(size, n_frames - first)
            xyz, time, lengths, angles = _decode(first, count, partial(file.read, count))
            yield Frames(
                nanometres(xyz),
                None if time is None else _stamps(time),
                None if lengths is None else nanometres(lengths),
                None if angles is None else 10 * nanometres(angles),  # degrees
            )
    if n_frames < promised:
        raise Incomplete(
            f"the file ends inside frame {n_frames}: the header promises {promised} frames, {n_frames} are there"
        )


def _stamps(time: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # what is no number is found by the checks
        return np.asarray(time, dtype=np.float64)


def _netcdf_records(path: Path) -> int | None:
    """Records for which a classic NetCDF file has room, None where it has no records.

    The NetCDF library reads zeros past the end of a truncated file. Files based on HDF5 know their own size.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF":
            check_hdf5(path)
            return None
        try:
            variables = list(_netcdf_variables(file, magic[3]))
        except (EOFError, KeyError, IndexError, OverflowError, struct.error, MemoryError) as error:
            raise Damaged("the NetCDF header is cut short or corrupt, so the file holds no frames") from error
    size = path.stat().st_size
    if any(begin + length > size for begin, length, repeated in variables if not repeated):
        raise Damaged("the file ends before its first frame: it is truncated")
    records = [(begin, length) for begin, length, repeated in variables if repeated]
    if not records:
        return None
    lengths = [length for _, length in records]
    record = lengths[0] if len(lengths) == 1 else sum(_padded(length) for length in lengths)
    # The last record may lack the padding that parts it from the next.
    return max(0, (size - max(begin + length for begin, length in records)) // max(record, 1) + 1)


def _netcdf_variables(file: BinaryIO, version: int) -> Iterator[tuple[int, int, bool]]:
    """Where each variable begins, its length in bytes, and whether that is its length in one of many records.

    Layout: the NetCDF classic format specification of Unidata, versions 1, 2 and 5.
    """
    width = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}

    def number(layout: str = "q" if version == 5 else "i") -> int:
        return int(_unpack(file, f">{layout}")[0])

    def skip(size: int) -> None:
        _unpack(file, f">{_padded(size)}s")

    def entries() -> range:
        number("i")  # the tag says which list follows; an absent list has no entries
        count = number()
        if not 0 <= count < 10_000:
            raise Damaged("the NetCDF header is corrupt")
        return range(count)

    def attributes() -> None:
        for _ in entries():
            skip(number())
            kind = number("i")
            skip(number() * width.get(kind, 1))

    number()  # records promised
    dimensions = []
    for _ in entries():
        skip(number())
        dimensions.append(number())
    attributes()
    for _ in entries():
        skip(number())
        shape = [dimensions[number()] for _ in range(number())]
        attributes()
        kind = number("i")
        number()  # the stored size overflows for large variables
        begin = number("i" if version == 1 else "q")
        repeated = shape[:1] == [0]
        yield begin, prod(shape[1:] if repeated else shape) * width[kind], repeated


def _padded(size: int) -> int:
    """Bytes that so many take in a NetCDF file."""
    return (size + 3) // 4 * 4


_PROBE = """
import sys, warnings
warnings.simplefilter("ignore")
import tables
with tables.open_file(sys.argv[1]) as file:
    for node in file.walk_nodes("/", "Array"):
        if len(node):
            node[0], node[-1]
"""


def check_hdf5(path: Path) -> None:
    """Let another process open an HDF5 file first: where its directory is corrupt, the library crashes."""
    state = path.stat()
    _probe_hdf5(str(path.resolve()), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1024)
def _probe_hdf5(path: str, size: int, changed: int) -> None:
    command = [sys.executable, "-c", _PROBE, path]
    try:
        code = subprocess.run(command, capture_output=True, timeout=120, check=False).returncode if command[0] else 0
    except subprocess.TimeoutExpired:
        code = -1
    if code not in (0, 1):  # an ordinary exception, 1, comes again when the file is opened, and is told there
        raise Damaged("the HDF5 library crashes on this file: it is corrupt")


def read_hdf5(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """HDF5 in mdtraj's layout."""
    check_hdf5(path)
    with _opened("HDF5", HDF5TrajectoryFile, path) as file:
        (shape,) = _ask("mdtraj's HDF5", lambda: (file.root.coordinates.shape,))
        if len(shape) != 3 or shape[2] != 3:
            raise Damaged(f"its coordinates have the shape {shape}, not frames × atoms × 3")
        size = frames_per_chunk(shape[1])
        for first in range(0, shape[0], size):
            count = min(size, shape[0] - first)
            data = _decode(first, count, partial(_first_four, file, count))
            xyz, time, lengths, angles = data
            for name, values in (("time stamps", time), ("box lengths", lengths), ("box angles", angles)):
                if values is not None and len(values) != count:
                    raise Damaged(f"{name} are there for {first + len(values)} frames, positions for {shape[0]}")
            yield Frames(xyz, None if time is None else _stamps(time), lengths, angles)


def _first_four(file: HDF5TrajectoryFile, count: int) -> tuple:
    return tuple(file.read(count))[:4]
