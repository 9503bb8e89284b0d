"""AMBER NetCDF and mdtraj's HDF5: arrays in a container, of which the libraries read any part.

The NetCDF library invents frames past the end of a truncated file, and the HDF5 library crashes where the
directory is corrupt: both are looked at before they are read.
"""

import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import netCDF4
import numpy as np
from mdtraj.formats import HDF5TrajectoryFile
from mdtraj.utils import in_units_of

from spectraldyn.io.frames import Damaged, Frames, Incomplete, Indexed, nanometres
from spectraldyn.io.gromacs import unpack
from spectraldyn.io.silence import ask, decode, opened


class Container(Indexed):
    """Arrays by name, of which any frames can be read."""

    kind: str
    reader: Callable

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        self.path = path
        with opened(self.kind, self.reader, path) as file:
            shape = ask(f"its content is not that of {self.kind} trajectories", partial(self.shape, file))
        if len(shape) != 3 or shape[2] != 3:
            raise Damaged(f"its coordinates have the shape {shape}, not frames × atoms × 3")
        self.n_frames, self.n_atoms = shape[:2]

    def shape(self, file: Any) -> tuple[int, ...]:
        """Shape of the positions."""
        raise NotImplementedError

    def columns(self, file: Any, first: int, count: int) -> tuple:
        """Positions (nm), times, lengths (nm) and angles of the box of so many frames; None for what is not there."""
        raise NotImplementedError

    def times(self, file: Any) -> np.ndarray | None:
        """Time stamps of all frames."""
        raise NotImplementedError

    def extent(self) -> tuple[int, np.ndarray | None]:
        with opened(self.kind, self.reader, self.path) as file:
            return self.n_frames, _stamps(ask("its time stamps cannot be read", partial(self.times, file)))

    def blocks(self, runs: Iterable[tuple[int, int]]) -> Iterator[Frames]:
        with opened(self.kind, self.reader, self.path) as file:
            for first, count in runs:
                xyz, time, lengths, angles = decode(first, count, partial(self.columns, file, first, count))
                for name, values in (("time stamps", time), ("box lengths", lengths), ("box angles", angles)):
                    if values is not None and len(values) != count:
                        there = f"{first + len(values)} frames, positions for {self.n_frames}"
                        raise Damaged(f"{name} are there for {there}")
                yield Frames(xyz, _stamps(time), lengths, angles)


def _stamps(time: np.ndarray | None) -> np.ndarray | None:
    with np.errstate(all="ignore"):  # what is no number is found by the checks
        return None if time is None else np.asarray(time, dtype=np.float64)


_AMBER = ("coordinates", "time", "cell_lengths", "cell_angles")


class NetCdf(Container):
    """AMBER NetCDF, classic or HDF5-based, in Å."""

    kind, reader = "AMBER NetCDF", netCDF4.Dataset

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        there = _netcdf_records(path)
        super().__init__(path)
        promised = self.n_frames
        if there is not None and there < promised:
            self.n_frames = there
            self.shortfall = Incomplete(
                f"the file ends inside frame {there}: the header promises {promised} frames, {there} are there"
            )

    def shape(self, file: netCDF4.Dataset) -> tuple[int, ...]:
        file.dimensions["atom"]  # missing in other HDF5 files that hold coordinates
        return file["coordinates"].shape

    def columns(self, file: netCDF4.Dataset, first: int, count: int) -> tuple:
        file.set_auto_mask(False)
        where = slice(first, first + count)
        found = {name: values[where] for name, values in file.variables.items() if name in _AMBER}
        lengths = nanometres(found["cell_lengths"]) if "cell_lengths" in found else None
        return nanometres(found["coordinates"]), found.get("time"), lengths, found.get("cell_angles")

    def times(self, file: netCDF4.Dataset) -> np.ndarray | None:
        file.set_auto_mask(False)
        return file["time"][: self.n_frames] if "time" in file.variables else None


class Hdf5(Container):
    """HDF5 in mdtraj's layout."""

    kind, reader = "mdtraj's HDF5", HDF5TrajectoryFile

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        check_hdf5(path)
        super().__init__(path)

    def shape(self, file: HDF5TrajectoryFile) -> tuple[int, ...]:
        return file.root.coordinates.shape

    def columns(self, file: HDF5TrajectoryFile, first: int, count: int) -> tuple:
        file.seek(first)
        return tuple(file.read(count))[:4]

    def times(self, file: HDF5TrajectoryFile) -> np.ndarray | None:
        if "time" not in file.root:
            return None
        return in_units_of(file.root.time[:], str(file.root.time.attrs.units), "picoseconds")


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
        return int(unpack(file, f">{layout}")[0])

    def skip(size: int) -> None:
        unpack(file, f">{_padded(size)}s")

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
