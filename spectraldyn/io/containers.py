"""AMBER NetCDF and mdtraj's HDF5: arrays in a container, any part of which the NetCDF library reads.

It invents frames past the end of a truncated file of its own classic format. The HDF5 library, by which mdtraj reads
the topology, crashes where the directory is corrupt. Both are looked at before they are read.
"""

import contextlib
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import BinaryIO

import netCDF4
import numpy as np
from mdtraj.utils import in_units_of

from spectraldyn.io.frames import AT_REST, NONE, Frames, Indexed
from spectraldyn.io.gromacs import padded, unpack
from spectraldyn.io.silence import Damaged, ask, quiet

UNITS = {"coordinates": "nanometers", "time": "picoseconds", "cell_lengths": "nanometers", "cell_angles": "degrees"}
AMBER_UNITS = UNITS | {"coordinates": "angstroms", "cell_lengths": "angstroms"}


class Container(Indexed):
    """Arrays by name: AMBER's, which have fixed units, or mdtraj's, which tell them."""

    def __init__(self, kind: str, units: Mapping[str, str], path: Path, n_atoms: int) -> None:
        self.kind, self.units, self.path = kind, units, path
        there = _netcdf_records(path)
        with self.opened() as file:
            fault = f"its content is not that of {kind} trajectories"
            if units and "atom" not in file.dimensions:  # as in other HDF5 files that hold coordinates
                raise Damaged(fault)
            shape = ask(fault, lambda: file["coordinates"].shape)
        if len(shape) != 3 or shape[2] != 3:
            raise Damaged(f"its coordinates have the shape {shape}, not frames × atoms × 3")
        self.n_frames, self.n_atoms, _ = shape
        if there is not None and there < self.n_frames:
            header = f"the header promises {self.n_frames} frames, {there} are there"
            self.n_frames, self.shortfall = there, f"the file ends inside frame {there}: {header}"

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
            times = ask("its time stamps cannot be read", partial(self._column, file, "time", slice(self.n_frames)))
        return self.n_frames, times.astype(np.float64) if times.ndim else None

    def decoded(self, file: netCDF4.Dataset, first: int, count: int) -> Frames:
        xyz, time, *box = (self._column(file, name, slice(first, first + count)) for name in UNITS)
        for name, values in zip(UNITS, (xyz, time, *box), strict=True):
            if values.ndim and len(values) != len(xyz):
                there = f"{first + len(values)} frames, its coordinates for {self.n_frames}"
                raise Damaged(f"its array {name} is there for {there}")
        cell = np.concatenate([np.broadcast_to(part, (len(xyz), 3)) for part in box], axis=1)
        return Frames(xyz, time, cell, velocities=self._velocities(file, slice(first, first + count), xyz.shape))

    def _velocities(self, file: netCDF4.Dataset, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
        """Where there are any. AMBER's own unit of time stands in a scale factor, which the library applies."""
        if "velocities" not in file.variables:
            return AT_REST
        velocities = file["velocities"]
        values = velocities[rows]
        if values.shape != shape:
            raise Damaged(f"its velocities have the shape {values.shape} where its coordinates have {shape}")
        length = str(getattr(velocities, "units", "angstrom")).partition("/")[0]
        return in_units_of(values, length if length.endswith("s") else f"{length}s", "nanometers")

    def _column(self, file: netCDF4.Dataset, name: str, rows: slice) -> np.ndarray:
        if name not in file.variables:
            return NONE
        return in_units_of(file[name][rows], self.units.get(name) or str(file[name].units), UNITS[name])


def _netcdf_records(path: Path) -> int | None:
    """Records for which a classic NetCDF file has room; None where it has no records, or knows its size as HDF5."""
    with path.open("rb") as file:
        if (magic := file.read(4))[:3] != b"CDF":
            check_hdf5(path)
            return None
        try:
            variables = list(_netcdf_variables(file, magic[3]))
        except (EOFError, KeyError, IndexError, OverflowError, struct.error, MemoryError) as error:
            raise Damaged("the NetCDF header is cut short or corrupt, so the file holds no frames") from error
    size = path.stat().st_size
    if any(end > size for end, _, repeated in variables if not repeated):
        raise Damaged("the file ends before its first frame: it is truncated")
    lengths = [length for _, length, repeated in variables if repeated]
    if not lengths:
        return None
    record = lengths[0] if len(lengths) == 1 else sum(map(padded, lengths))
    # The last record may lack the padding that parts it from the next.
    return max(0, (size - max(end for end, _, repeated in variables if repeated)) // max(record, 1) + 1)


def _netcdf_variables(file: BinaryIO, version: int) -> Iterator[tuple[int, int, bool]]:
    """Where each variable ends, its length in bytes, and whether these are of the first of many records.

    Layout: the NetCDF classic format specification of Unidata, versions 1, 2 and 5.
    """
    width = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}

    def number(layout: str = "q" if version == 5 else "i") -> int:
        return int(unpack(file, f">{layout}")[0])

    def entries() -> Iterator[None]:
        number("i")  # the tag says which list follows; an absent list has no entries
        count = number()
        if not 0 <= count < 10_000:
            raise Damaged("the NetCDF header is corrupt")
        for _ in range(count):
            skip(number())  # its name
            yield

    def skip(size: int) -> None:
        unpack(file, f">{padded(size)}s")

    def skip_attributes() -> None:
        for _ in entries():
            kind = number("i")
            skip(number() * width.get(kind, 1))

    number()  # records promised
    dimensions = [number() for _ in entries()]
    skip_attributes()
    for _ in entries():
        shape = [dimensions[number()] for _ in range(number())]
        skip_attributes()
        kind = number("i")
        number()  # the stored size overflows for large variables
        begin = number("i" if version == 1 else "q")
        repeated = shape[:1] == [0]
        length = prod(shape[repeated:]) * width[kind]
        yield begin + length, length, repeated


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
