"""Features kept on disk, so that the same files with the same options are read once.

An entry is two files, KEY.npy (the rows, float32, which `numpy.load` reads or maps) and KEY.json (what is known about
them, with a checksum of every chunk of rows). Each appears complete or not at all, the rows last: an entry is there
when they are. While it is made, the rows lie in .KEY.part, and .KEY.sums has a line for every chunk that is finished:
another run of the same goes on behind the last one. Whoever writes a part holds a lock on it; a second process that
wants the same entry meanwhile makes one of its own, with the same content, so that either may win.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import mdtraj
import numpy as np

from spectraldyn.data.mapped import RESIDENT_BYTES, release
from spectraldyn.files import replacing

VERSION = 4  # counts up whenever the same files and options give other rows or other warnings
CHUNK_BYTES = 2**24
"""Of rows that one checksum is of: an interruption loses no more."""
FORGOTTEN_SECONDS = 86_400
"""After which a part that no run has gone on with is removed by the next one that writes to the store."""


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

    Who writes to the rows changes a copy of theirs in memory, never the entry; large ones may not be written to.
    DamagedEntry if it cannot be read or is not what was written.
    """
    folder = cache_folder()
    try:
        record = json.loads((path := folder / f"{key}.json").read_text(encoding="utf-8"))
        with contextlib.suppress(OSError):
            os.utime(path)  # when it was used last
        # a plain array on the same memory: np.memmap changes what reductions return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a damaged header, that Python 2 had written it
            rows = _mapped(folder / f"{key}.npy").view(np.ndarray)
        if list(rows.shape) != record["shape"] or rows.dtype != np.float32 or not _sound(rows, record["crc32"]):
            raise DamagedEntry(key)
        return rows, dict(record["meta"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # of what is damaged, NumPy raises anything
        raise DamagedEntry(key) from error


def holds(key: str) -> bool:
    """Whether there is such an entry, which may be damaged."""
    return all((cache_folder() / f"{key}{suffix}").exists() for suffix in (".npy", ".json"))


def _mapped(path: Path) -> np.memmap:
    if path.stat().st_size > RESIDENT_BYTES:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    try:
        # torch warns of arrays that may not be written
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # Linux refuses a private mapping larger than main memory, since all of it might be written
        return np.load(path, mmap_mode="r", allow_pickle=False)


def chunk_rows(n_columns: int) -> int:
    """Rows of one chunk."""
    return max(1, CHUNK_BYTES // (4 * max(1, n_columns)))


def _sound(rows: np.ndarray, sums: list[int]) -> bool:
    """Whether every chunk is what was written."""
    step = chunk_rows(rows.shape[1])
    if len(sums) != -(-len(rows) // step):
        return False
    for known, start in zip(sums, range(0, len(rows), step), strict=True):
        found = zlib.crc32(np.ascontiguousarray(rows[start : start + step]).data)
        release(rows)
        if found != known:
            return False
    return True


Append = Callable[[np.ndarray], None]
Fill = Callable[[Append, int], dict[str, Any]]
"""Hands rows (n, n_columns) to ``append``, all but the first so many, and returns what `read_entry` should return
beside them (JSON-able)."""


def write_entry(key: str, n_columns: int, fill: Fill) -> None:
    """Make an entry of rows that are written as they come.

    `fill` need not hand over again what an interrupted run has finished. Where it raises, or the disk does by an
    OSError, nothing is left.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    forget_parts(FORGOTTEN_SECONDS)
    with _part_of(folder, key) as part:
        try:
            rows = _Rows(part, n_columns)
            meta = fill(rows.append, rows.n_rows)
            rows.finish()
            record = {"shape": [rows.n_rows, n_columns], "crc32": rows.sums, "meta": meta}
            with replacing(folder / f"{key}.json") as draft, draft.open("wb") as stream:
                stream.write(json.dumps(record).encode())
                _flush(stream)
            part.path.replace(folder / f"{key}.npy")
        except Exception:  # and not what ends the process from outside, behind which the next run goes on
            part.remove()
            raise
        part.sums.unlink(missing_ok=True)


def kept(key: str, n_columns: int, fill: Fill) -> np.ndarray:
    """Rows of an entry, which is made where there is none; OSError where the disk refuses."""
    for _ in range(2):
        with contextlib.suppress(DamagedEntry):
            if (entry := read_entry(key)) is not None:
                return entry[0]
        write_entry(key, n_columns, fill)
    raise OSError(errno.EIO, "what has been written cannot be read again")


def forget_parts(seconds: float) -> None:
    """Remove what interrupted runs have left, where none has gone on with it for so long."""
    for path in cache_folder().glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > seconds and (part := _locked(path)) is not None:
                part.remove()
                part.stream.close()


@dataclass(frozen=True)
class _Part:
    """Rows under way. Nobody else writes to them while the stream is open, which holds a lock."""

    path: Path
    stream: BinaryIO

    @property
    def sums(self) -> Path:
        """File with the checksum of every finished chunk, one on a line."""
        return self.path.with_suffix(".sums")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sums.unlink(missing_ok=True)


@contextlib.contextmanager
def _part_of(folder: Path, key: str) -> Iterator[_Part]:
    """What there is of an entry; a new part where another process is at work on it."""
    part = _locked(folder / f".{key}.part") or _locked(folder / f".{key}-{secrets.token_hex(6)}.part")
    if part is None:
        raise OSError(errno.EAGAIN, "locks are not to be had there")
    with part.stream:
        yield part


def _locked(path: Path) -> _Part | None:
    """A part, which is made where there is none, with its lock; None where another process has it."""
    while True:
        stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Until then another process may have finished the entry, and what is locked be that.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(stream.fileno())):
                return _Part(path, stream)
        except BlockingIOError:
            stream.close()
            return None
        except OSError:
            stream.close()
            raise
        stream.close()


class _Rows:
    """Rows that are appended to a part, behind those that an interrupted run has finished."""

    def __init__(self, part: _Part, n_columns: int) -> None:
        self._stream, self._sums, self._n_columns = part.stream, part.sums, n_columns
        self._step = chunk_rows(n_columns)
        self._crc = self._filled = 0
        """Of the chunk that is being filled."""
        _write_header(self._stream, 0, n_columns)
        self._start = self._stream.tell()
        self.sums = list(self._finished())
        self.n_rows = len(self.sums) * self._step
        self._stream.seek(self._start + 4 * n_columns * self.n_rows)
        self._stream.truncate()
        self._sums.write_text("".join(f"{crc}\n" for crc in self.sums))

    def _finished(self) -> Iterator[int]:
        """Checksums of the chunks that are there and whole."""
        known = self._sums.read_text().splitlines() if self._sums.exists() else []
        size = 4 * self._n_columns * self._step
        for line in known:
            chunk = self._stream.read(size)
            if len(chunk) < size or line != str(zlib.crc32(chunk)):
                return
            yield int(line)

    def append(self, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows, dtype="<f4")
        while len(rows):
            room = self._step - self._filled
            data = rows[:room].data
            self._stream.write(data)
            self._crc = zlib.crc32(data, self._crc)
            self._filled += len(data)
            self.n_rows += len(data)
            if self._filled == self._step:
                self._close_chunk()
            rows = rows[room:]

    def _close_chunk(self) -> None:
        self._stream.flush()
        self.sums.append(self._crc)
        with self._sums.open("a") as stream:
            stream.write(f"{self._crc}\n")
        self._crc = self._filled = 0

    def finish(self) -> None:
        if self._filled:
            self._close_chunk()
        self._stream.seek(0)
        _write_header(self._stream, self.n_rows, self._n_columns)
        if self._stream.tell() != self._start:
            raise RuntimeError("the .npy header changed its length when the number of rows was filled in")
        _flush(self._stream)


def _write_header(stream: BinaryIO, n_rows: int, n_columns: int) -> None:
    # numpy pads the header for a first dimension of any length, so it can be written again at the end
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_columns)}
    np.lib.format.write_array_header_1_0(stream, header)


def _flush(stream: BinaryIO) -> None:
    # without fsync a power cut can leave a file of the right name and size, full of zeros
    stream.flush()
    os.fsync(stream.fileno())
