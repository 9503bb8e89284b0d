"""AMBER NetCDF and mdtraj's HDF5: arrays in a container, any part of which the NetCDF library reads.

It invents frames past the end of a truncated file of its own classic format. The HDF5 library, by which mdtraj reads
the topology, crashes where the directory is corrupt. Both are looked at before they are read.
"""

import contextlib
import struct
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import BinaryIO

import netCDF4
import numpy as np
from mdtraj.utils import in_units_of

from spectraldyn.io.frames import Frames, Indexed
from spectraldyn.io.gromacs import padded, unpack
from spectraldyn.io.silence import Damaged, ask, quiet

_COLUMNS = {
    "coordinates": ("positions", "nanometers"),
    "time": ("time stamps", "picoseconds"),
    "cell_lengths": ("box lengths", "nanometers"),
    "cell_angles": ("box angles", "degrees"),
}


class Container(Indexed):
    """Arrays by name, of which any frames can be read."""

    kind: str

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        self.path = path
        there = _netcdf_records(path)
        with self.opened() as file:
            shape = ask(f"its content is not that of {self.kind} trajectories", partial(self.shape, file))
        if len(shape) != 3 or shape[2] != 3:
            raise Damaged(f"its coordinates have the shape {shape}, not frames × atoms × 3")
        self.n_frames, self.n_atoms, _ = shape
        if there is not None and there < self.n_frames:
            header = f"the header promises {self.n_frames} frames, {there} are there"
            self.n_frames, self.shortfall = there, f"the file ends inside frame {there}: {header}"

    def shape(self, file: netCDF4.Dataset) -> tuple[int, ...]:
        """Shape of the positions."""
        return file["coordinates"].shape

    def unit(self, array: netCDF4.Variable) -> str:
        """Unit of an array; in mdtraj's layout each says its own."""
        return str(array.units)

    @contextlib.contextmanager
    def opened(self) -> Iterator[netCDF4.Dataset]:
        fault = f"it cannot be opened as {self.kind}: truncated or corrupt"
        file = ask(fault, partial(netCDF4.Dataset, str(self.path)))
        file.set_auto_mask(False)
        try:
            yield file
        finally:
            with quiet():
                file.close()

    def extent(self) -> tuple[int, np.ndarray | None]:
        with self.opened() as file:
            times = ask("its time stamps cannot be read", partial(self._column, file, "time", 0, self.n_frames))
        return self.n_frames, times

    def decoded(self, file: netCDF4.Dataset, first: int, count: int) -> Frames:
        found = {name: self._column(file, name, first, count) for name in _COLUMNS if name in file.variables}
        for name, values in found.items():
            if len(values) != len(found["coordinates"]):
                there = f"{first + len(values)} frames, positions for {self.n_frames}"
                raise Damaged(f"{_COLUMNS[name][0]} are there for {there}")
        time, *box = (found.get(name, np.array(np.nan)) for name in ("time", "cell_lengths", "cell_angles"))
        cell = np.concatenate([np.broadcast_to(part, (len(found["coordinates"]), 3)) for part in box], axis=1)
        return Frames(found["coordinates"], time, cell)

    def _column(self, file: netCDF4.Dataset, name: str, first: int, count: int) -> np.ndarray:
        array = file[name]
        return in_units_of(array[first : first + count], self.unit(array), _COLUMNS[name][1])


class NetCdf(Container):
    """AMBER NetCDF, classic or HDF5-based, in Å, ps and degrees."""

    kind = "AMBER NetCDF"

    def shape(self, file: netCDF4.Dataset) -> tuple[int, ...]:
        file.dimensions["atom"]  # missing in other HDF5 files that hold coordinates
        return super().shape(file)

    def unit(self, array: netCDF4.Variable) -> str:
        return {"coordinates": "angstroms", "cell_lengths": "angstroms"}.get(array.name) or _COLUMNS[array.name][1]


class Hdf5(Container):
    """HDF5 in mdtraj's layout."""

    kind = "mdtraj's HDF5"


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
    record = lengths[0] if len(lengths) == 1 else sum(padded(length) for length in lengths)
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
        unpack(file, f">{padded(size)}s")

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
