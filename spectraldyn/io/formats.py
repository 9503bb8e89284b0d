"""The table of formats that are read, and their recognition by name and content."""

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mdtraj.formats import TRRTrajectoryFile, XTCTrajectoryFile

from spectraldyn.errors import InputError
from spectraldyn.io import text
from spectraldyn.io.checks import MODELS, STEPS, Stamps
from spectraldyn.io.containers import AMBER_UNITS, Container
from spectraldyn.io.dcd import Dcd
from spectraldyn.io.frames import Indexed
from spectraldyn.io.gromacs import Gromacs


@dataclass(frozen=True)
class Format:
    """A format that is read."""

    title: str
    source: Callable[[Path, int], Indexed | text.Text]
    """Opens a file, given the number of atoms that its topology has."""
    contents: tuple[str, ...] = ("text", "gzip-compressed text")
    """What its content may be; `content` tells."""
    topology: bool = False
    """Whether it names its atoms."""
    numbers: Stamps = STEPS
    """What the steps are that it may give its frames."""


FORMATS: dict[str, Format] = {  # by their usual extension
    "dcd": Format("CHARMM/NAMD/OpenMM DCD", Dcd, ("DCD",)),
    "xtc": Format("GROMACS XTC", partial(Gromacs, XTCTrajectoryFile), ("XTC",)),
    "trr": Format("GROMACS TRR", partial(Gromacs, TRRTrajectoryFile), ("TRR",)),
    "nc": Format("AMBER NetCDF", partial(Container, "AMBER NetCDF", AMBER_UNITS), ("NetCDF", "HDF5")),
    "h5": Format("mdtraj HDF5", partial(Container, "mdtraj's HDF5", {}), ("HDF5",), topology=True),
    "pdb": Format("PDB", partial(text.Text, text.pdb), ("PDB", *Format.contents), True, MODELS),
    "gro": Format("GROMACS GRO", partial(text.Text, text.gro), topology=True),
    "xyz": Format("XYZ", partial(text.Text, text.xyz)),
    "mdcrd": Format("AMBER mdcrd", partial(text.Text, text.mdcrd)),
    "lammpstrj": Format("LAMMPS dump", partial(text.Text, text.lammpstrj), ("LAMMPS dump", *Format.contents)),
    "arc": Format("Tinker arc", partial(text.Text, text.arc)),
}

_ALIASES = {"netcdf": "nc", "ncdf": "nc", "hdf5": "h5", "crd": "mdcrd", "ent": "pdb"}
_COMPRESSED = ("pdb", "xyz")  # gzip-compressed, as mdtraj reads and writes them

_MAGIC: dict[str, tuple[int, tuple[bytes, ...]]] = {  # where contents have which bytes
    "DCD": (4, (b"CORD",)),
    "DCD of velocities": (4, (b"VELD",)),
    "XTC": (0, (struct.pack(">i", 1995), struct.pack(">i", 2023))),
    "TRR": (0, (struct.pack(">i", 1993),)),
    "NetCDF": (0, (b"CDF\x01", b"CDF\x02", b"CDF\x05")),
    "HDF5": (0, (b"\x89HDF\r\n\x1a\n",)),
    "binpos": (0, (b"fxyz",)),
    "TNG": (40, (b"GENERAL INFO",)),
    "ZIP": (0, (b"PK\x03\x04",)),
    "bzip2": (0, (b"BZh",)),
    "xz": (0, (b"\xfd7zXZ",)),
    "LAMMPS dump": (0, (b"ITEM: ",)),
    "PDB": (0, (b"MODEL ", b"ATOM  ", b"HETATM", b"CRYST1", b"REMARK ", b"HEADER ")),
}


def formats_sentence() -> str:
    """The formats that are read, for messages."""
    names = [f".{name}" + (f", .{name}.gz" if name in _COMPRESSED else "") for name in FORMATS]
    return "formats read are " + ", ".join(names)


def plain_extension(path: str | Path) -> str:
    """Usual extension of the format in the name, whether it is compressed or not; it need not be one that is read."""
    plain = _extension(path).removesuffix(".gz")
    return _ALIASES.get(plain, plain)


def _extension(path: str | Path) -> str:
    """Extension in lower case without its dot; ``pdb.gz`` is one extension."""
    _, *parts = Path(path).name.lower().split(".")
    return ".".join(parts[-2:] if parts[-1:] == ["gz"] else parts[-1:])


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


def file_key(path: str | Path) -> dict[str, int | str]:
    """Identity of a file for caches, without reading it whole.

    Returns
    -------
    dict
        JSON-able: ``size`` in bytes, ``mtime_ns``, and ``blake2b`` of the first, middle and last 64 KiB. A
        file of which any of these changes is another; one that is changed elsewhere, with its size kept and its
        time of change set back, is not told apart.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    """
    if Path(path).exists() and not Path(path).is_file():  # to open a pipe may wait forever
        raise OSError(f"{path} is no regular file")
    digest, piece = hashlib.blake2b(digest_size=20), 64 * 1024
    with Path(path).open("rb") as file:
        state = Path(path).stat()
        for start in (0, (state.st_size - piece) // 2, state.st_size - piece):
            file.seek(max(start, 0))
            digest.update(file.read(piece))
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "blake2b": digest.hexdigest()}


def _content(path: str | Path) -> str:
    """What the first bytes of a file say it is."""
    with Path(path).open("rb") as file:
        head = file.read(512)
    compressed = head[:2] == b"\x1f\x8b"
    if compressed:
        try:
            with gzip.open(path) as unzipped:
                head = unzipped.read1(512)
        except (EOFError, OSError, zlib.error):
            return "corrupt gzip"
    known = (name for name, (position, magics) in _MAGIC.items() if head.startswith(magics, position))
    printable = all(byte in b"\t\n\r\x0c" or (byte >= 32 and byte != 127) for byte in head)
    found = next(known, "text" if printable else "unknown")
    return found if not compressed else f"gzip-compressed {'text' if found in ('text', 'PDB') else 'binary data'}"


def recognise(path: str | Path) -> str:
    """Format of a file (a key of FORMATS, or one with ``.gz``), by its extension and checked by its content."""
    check_readable(path)
    suffix, name, found = _extension(path), plain_extension(path), _content(path)
    compressed = suffix.endswith(".gz")
    if name not in FORMATS or (compressed and name not in _COMPRESSED):
        named = [name for name, known in FORMATS.items() if known.contents[0] == found not in ("text", "HDF5")]
        if not suffix and named:
            return named[0]
        what = f"format .{suffix} is not read" if suffix else "format cannot be told, as the name has no extension"
        raise InputError(f"{path}: the {what}: {formats_sentence()}")
    wanted = FORMATS[name]
    if found not in (kind for kind in wanted.contents if compressed == kind.startswith("gzip")):
        if found == "corrupt gzip":
            raise InputError(f"{path}: the compressed data cannot be read: the file is truncated or corrupt")
        title = f"gzip-compressed {wanted.title}" if compressed else wanted.title
        what = "of no format known here" if found == "unknown" else f"{found}; give the file its right extension"
        raise InputError(f"{path}: this is not a {title} file: its content is {what}")
    return f"{name}.gz" if compressed else name
