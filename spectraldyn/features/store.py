"""Features kept on disk, so that the same files with the same options are read once.

An entry is two files, KEY.npy (the rows) and KEY.json (what is known about them, with a checksum of the
rows). Each is written under a temporary name and moved into place, the JSON last: an entry is there when its
JSON is.
Two processes that compute the same entry at once write the same content, so either may win.
"""

import hashlib
import json
import os
import sys
import tempfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import mdtraj
import numpy as np

VERSION = 1  # counts up whenever the same files and options give other rows or other warnings
_CHECK_BYTES = 2**24


class DamagedEntry(Exception):
    """An entry is there but is not what was written."""


def cache_folder() -> Path:
    """$SPECTRALDYN_CACHE, or spectraldyn/ in the user's cache folder of this platform."""
    own = os.environ.get("SPECTRALDYN_CACHE")
    if own:
        return Path(own).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg:
        return Path(xdg) / "spectraldyn"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/spectraldyn").expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "spectraldyn" / "Cache"
    return Path("~/.cache/spectraldyn").expanduser()


def file_digest(path: Path) -> str:
    """Hash of a file's bytes.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def topology_digest(topology: mdtraj.Topology) -> str:
    """Hash of everything in a topology that features or the checks of a file may depend on."""
    state = hashlib.blake2b()
    for atom in topology.atoms:
        residue = atom.residue
        element = getattr(atom.element, "symbol", "")
        place = (residue.index, residue.name, residue.resSeq, residue.segment_id)
        chain = (residue.chain.index, residue.chain.chain_id)
        state.update(repr((atom.name, element, atom.serial, place, chain)).encode())
    for bond in topology.bonds:
        state.update(repr((bond[0].index, bond[1].index)).encode())
    return state.hexdigest()


def entry_key(parts: dict[str, Any]) -> str:
    """Name of the entry for these JSON-able parts."""
    versions = {"version": VERSION, "mdtraj": mdtraj.__version__}
    text = json.dumps(parts | versions, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def read_entry(key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The rows, memory-mapped, and what was stored with them; None where there is no such entry.

    Raises
    ------
    DamagedEntry
        If the entry cannot be read or is not what was written.
    """
    folder = cache_folder()
    try:
        record = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        mapped = np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
        # a plain array on the same memory: np.memmap changes what reductions return
        rows = mapped.view(np.ndarray)
        if list(rows.shape) != record["shape"] or rows.dtype != np.float32 or _checksum(rows) != record["crc32"]:
            raise DamagedEntry(key)
        return rows, dict(record["meta"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntry(key) from error


def _checksum(rows: np.ndarray) -> int:
    crc = 0
    step = max(1, _CHECK_BYTES // max(1, rows.itemsize * rows.shape[1]))
    for start in range(0, len(rows), step):
        crc = zlib.crc32(np.ascontiguousarray(rows[start : start + step]).data, crc)
    return crc


class EntryWriter:
    """Rows written as they come; `commit` makes them an entry, leaving without it leaves nothing.

    Parameters
    ----------
    key : str
    n_columns : int

    Raises
    ------
    OSError
        By any method, if the folder cannot be written.
    """

    def __init__(self, key: str, n_columns: int) -> None:
        self._key = key
        self._n_columns = n_columns
        self._n_rows = 0
        self._crc = 0
        self._folder = cache_folder()

    def __enter__(self) -> "EntryWriter":
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=self._key, suffix=".tmp")
        self._temporary = Path(name)
        self._stream: BinaryIO = os.fdopen(handle, "wb")
        try:
            self._write_header()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        try:
            self._stream.close()
        except OSError:
            pass  # a full disk refuses the last buffer; the file goes anyway
        finally:
            self._temporary.unlink(missing_ok=True)

    def _write_header(self) -> None:
        # numpy pads the header for a first dimension of any length, so it can be written again at the end
        shape = (self._n_rows, self._n_columns)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, rows: np.ndarray) -> None:
        """Write more rows (n, n_columns)."""
        data = np.ascontiguousarray(rows, dtype="<f4")
        self._stream.write(data.data)
        self._crc = zlib.crc32(data.data, self._crc)
        self._n_rows += len(data)

    def commit(self, meta: dict[str, Any]) -> None:
        """Make the rows an entry, with what `read_entry` should return beside them (JSON-able)."""
        data_start = self._stream.tell() - self._n_rows * self._n_columns * 4
        self._stream.seek(0)
        self._write_header()
        if self._stream.tell() != data_start:
            raise RuntimeError("the .npy header changed its length when the number of rows was filled in")
        self._flush(self._stream)
        self._stream.close()
        os.replace(self._temporary, self._folder / f"{self._key}.npy")
        record = {"shape": [self._n_rows, self._n_columns], "crc32": self._crc, "meta": meta}
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=self._key, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(json.dumps(record).encode())
                self._flush(stream)
            os.replace(name, self._folder / f"{self._key}.json")
        finally:
            Path(name).unlink(missing_ok=True)

    @staticmethod
    def _flush(stream: BinaryIO) -> None:
        # without fsync a power cut can leave a file of the right name and size, full of zeros
        stream.flush()
        os.fsync(stream.fileno())
