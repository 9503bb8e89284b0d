"""The table of formats that are read, and their recognition by name and content."""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spectraldyn.errors import InputError
from spectraldyn.io import text
from spectraldyn.io.containers import Hdf5, NetCdf
from spectraldyn.io.dcd import Dcd
from spectraldyn.io.frames import Source
from spectraldyn.io.gromacs import Trr, Xtc
from spectraldyn.io.times import MODELS, STEPS, Stamps


@dataclass(frozen=True)
class Format:
    """A format: how it is called, how it is read, which content it has and whether it carries a topology.

    `source` opens a file, given the number of atoms that its topology has; `numbers` is what the steps are that
    it may give its frames.
    """

    title: str
    source: Callable[[Path, int], Source]
    contents: tuple[str, ...]
    topology: bool = False
    numbers: Stamps = STEPS


_TEXT = ("text", "gzip-compressed text")

FORMATS: dict[str, Format] = {
    "dcd": Format("CHARMM/NAMD/OpenMM DCD", Dcd, ("DCD",)),
    "xtc": Format("GROMACS XTC", Xtc, ("XTC",)),
    "trr": Format("GROMACS TRR", Trr, ("TRR",)),
    "nc": Format("AMBER NetCDF", NetCdf, ("NetCDF", "HDF5")),
    "h5": Format("mdtraj HDF5", Hdf5, ("HDF5",), topology=True),
    "pdb": Format("PDB", text.Pdb, ("PDB", *_TEXT), True, MODELS),
    "gro": Format("GROMACS GRO", text.Gro, _TEXT, topology=True),
    "xyz": Format("XYZ", text.Xyz, _TEXT),
    "mdcrd": Format("AMBER mdcrd", text.Mdcrd, _TEXT),
    "lammpstrj": Format("LAMMPS dump", text.Lammps, ("LAMMPS dump", *_TEXT)),
    "arc": Format("Tinker arc", text.Arc, _TEXT),
}
"""Formats that are read, by their usual extension."""

_ALIASES = {"netcdf": "nc", "ncdf": "nc", "hdf5": "h5", "crd": "mdcrd", "ent": "pdb"}
_COMPRESSED = ("pdb", "xyz")  # gzip-compressed, as mdtraj reads and writes them
_BY_CONTENT = {
    "DCD": "dcd",
    "XTC": "xtc",
    "TRR": "trr",
    "NetCDF": "nc",
    "PDB": "pdb",
    "LAMMPS dump": "lammpstrj",
}

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"CORD", "DCD"),
    (4, b"VELD", "DCD of velocities"),
    (0, struct.pack(">i", 1995), "XTC"),
    (0, struct.pack(">i", 2023), "XTC"),
    (0, struct.pack(">i", 1993), "TRR"),
    (0, b"CDF\x01", "NetCDF"),
    (0, b"CDF\x02", "NetCDF"),
    (0, b"CDF\x05", "NetCDF"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"fxyz", "binpos"),
    (40, b"GENERAL INFO", "TNG"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ", "xz"),
    (0, b"ITEM: ", "LAMMPS dump"),
    *((0, name, "PDB") for name in (b"MODEL ", b"ATOM  ", b"HETATM", b"CRYST1", b"REMARK ", b"HEADER ")),
)


def formats_sentence() -> str:
    """The formats that are read, for messages."""
    names = [f".{name}" + (f", .{name}.gz" if name in _COMPRESSED else "") for name in FORMATS]
    return "formats read are " + ", ".join(names)


def extension(path: str | Path) -> str:
    """Extension in lower case without its dot; ``pdb.gz`` is one extension."""
    parts = Path(path).name.lower().split(".")[1:]
    if len(parts) > 1 and parts[-1] == "gz":
        return f"{parts[-2]}.gz"
    return parts[-1] if parts else ""


def check_kind(path: str | Path) -> None:
    """Refuse a name that is not UTF-8, a folder, a pipe and a device; there need not be such a file."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(f"{shown}: the name is not valid UTF-8, so no report can name the file: rename it") from None
    if os.path.isdir(path):
        raise InputError(f"{path}: this is a folder, where a file is needed")
    if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe may wait forever
        raise InputError(f"{path}: this is a pipe or a device, where a file is needed: save its content as a file")


def check_readable(path: str | Path) -> None:
    """Refuse also what is missing, cannot be opened, or is empty."""
    check_kind(path)
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty (0 bytes)")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: the file cannot be opened ({error.strerror})") from None


def content(path: str | Path) -> str:
    """What the first bytes of a file say it is."""
    with Path(path).open("rb") as file:
        head = file.read(512)
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as unzipped:
                head = unzipped.read1(512)
        except (EOFError, OSError, zlib.error):
            return "corrupt gzip"
        return "gzip-compressed " + ("binary data" if _content(head) not in ("text", "PDB") else "text")
    return _content(head)


def _content(head: bytes) -> str:
    for position, magic, name in _MAGIC:
        if head[position : position + len(magic)] == magic:
            return name
    printable = sum(byte in b"\t\n\r\x0c" or byte >= 32 for byte in head)
    return "text" if printable == len(head) and b"\x7f" not in head else "unknown"


def recognise(path: str | Path) -> str:
    """Format of a file (a key of FORMATS, or one with ``.gz``), by its extension and checked by its content.

    Raises
    ------
    InputError
        If the file cannot be read, its format is not among those read, or name and content contradict.
    """
    check_readable(path)
    suffix = extension(path)
    plain = suffix.removesuffix(".gz")
    name = _ALIASES.get(plain, plain)
    found = content(path)
    compressed = suffix.endswith(".gz")
    if name not in FORMATS or (compressed and name not in _COMPRESSED):
        if not suffix and found in _BY_CONTENT:
            return _BY_CONTENT[found]
        what = (
            f"the format .{suffix} is not read" if suffix else "the format cannot be told, as the name has no extension"
        )
        raise InputError(f"{path}: {what}: {formats_sentence()}")
    wanted = FORMATS[name]
    right = tuple(kind for kind in wanted.contents if compressed == kind.startswith("gzip"))
    if found not in right:
        title = f"gzip-compressed {wanted.title}" if compressed else wanted.title
        if found == "corrupt gzip":
            raise InputError(f"{path}: the compressed data cannot be read: the file is truncated or corrupt")
        if found == "unknown":
            raise InputError(f"{path}: this is not a {title} file: its content is of no format known here")
        raise InputError(
            f"{path}: this is not a {title} file: its content is {found}; give the file its right extension"
        )
    return f"{name}.gz" if compressed else name
