"""Features kept on disk, so that the same files with the same options are read once.

An entry is two files, KEY.npy (the rows) and KEY.json (what is known about them, with a checksum of the rows). Each
appears complete or not at all, the JSON last: an entry is there when its JSON is. Two processes that compute the same
entry at once write the same content, so either may win.
"""

import errno
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import mdtraj
import numpy as np

from spectraldyn.files import replacing

VERSION = 3  # counts up whenever the same files and options give other rows or other warnings
_CHECK_BYTES = 2**24


class DamagedEntry(Exception):
    """An entry is there but is not what was written."""


def cache_folder() -> Path:
    """$SPECTRALDYN_CACHE, or spectraldyn/ in the user's cache folder of this platform."""
    if own := os.environ.get("SPECTRALDYN_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "spectraldyn"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/spectraldyn").expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "spectraldyn" / "Cache"
    return Path("~/.cache/spectraldyn").expanduser()


def topology_digest(topology: mdtraj.Topology) -> str:
    """Hash of everything in a topology that features or the checks of a file may depend on."""
    state = hashlib.blake2b()
    for atom in topology.atoms:
        residue, chain = atom.residue, atom.residue.chain
        place = (residue.index, residue.name, residue.resSeq, residue.segment_id), (chain.index, chain.chain_id)
        state.update(repr((atom.name, getattr(atom.element, "symbol", ""), atom.serial, *place)).encode())
    for bond in topology.bonds:
        state.update(repr((bond[0].index, bond[1].index)).encode())
    return state.hexdigest()


def entry_key(parts: dict[str, Any]) -> str:
    """Name of the entry for these JSON-able parts."""
    text = json.dumps(parts | {"version": VERSION, "mdtraj": mdtraj.__version__}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def read_entry(key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The rows, memory-mapped, and what was stored with them; None where there is no such entry.

    Who writes to the rows changes a copy of theirs in memory, never the entry. DamagedEntry if it cannot be read or is
    not what was written.
    """
    folder = cache_folder()
    try:
        record = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        # a plain array on the same memory: np.memmap changes what reductions return
        rows = _mapped(folder / f"{key}.npy").view(np.ndarray)
        if list(rows.shape) != record["shape"] or rows.dtype != np.float32 or _checksum(rows) != record["crc32"]:
            raise DamagedEntry(key)
        return rows, dict(record["meta"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntry(key) from error


def _mapped(path: Path) -> np.memmap:
    try:
        # torch warns of arrays that may not be written
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # Linux refuses a private mapping larger than main memory, since all of it might be written
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _checksum(rows: np.ndarray) -> int:
    crc = 0
    step = max(1, _CHECK_BYTES // max(1, rows.itemsize * rows.shape[1]))
    for start in range(0, len(rows), step):
        crc = zlib.crc32(np.ascontiguousarray(rows[start : start + step]).data, crc)
    return crc


def write_entry(key: str, n_columns: int, fill: Callable[[Callable[[np.ndarray], None]], dict[str, Any]]) -> None:
    """Make an entry of rows that are written as they come; where that fails, by an OSError, nothing is left.

    `fill` is called with ``append``, to which it hands rows (n, n_columns), and returns what `read_entry` should return
    beside them (JSON-able).
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = crc = 0
    with replacing(folder / f"{key}.npy") as draft, draft.open("wb") as stream:

        def append(rows: np.ndarray) -> None:
            nonlocal n_rows, crc
            data = np.ascontiguousarray(rows, dtype="<f4").data
            stream.write(data)
            crc = zlib.crc32(data, crc)
            n_rows += len(rows)

        _write_header(stream, 0, n_columns)
        data_start = stream.tell()
        meta = fill(append)
        stream.seek(0)
        _write_header(stream, n_rows, n_columns)
        if stream.tell() != data_start:
            raise RuntimeError("the .npy header changed its length when the number of rows was filled in")
        _flush(stream)
    record = {"shape": [n_rows, n_columns], "crc32": crc, "meta": meta}
    with replacing(folder / f"{key}.json") as draft, draft.open("wb") as stream:
        stream.write(json.dumps(record).encode())
        _flush(stream)


def _write_header(stream: BinaryIO, n_rows: int, n_columns: int) -> None:
    # numpy pads the header for a first dimension of any length, so it can be written again at the end
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_columns)}
    np.lib.format.write_array_header_1_0(stream, header)


def _flush(stream: BinaryIO) -> None:
    # without fsync a power cut can leave a file of the right name and size, full of zeros
    stream.flush()
    os.fsync(stream.fileno())
