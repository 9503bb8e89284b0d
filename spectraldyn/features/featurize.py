"""Feature rows of one trajectory file: from the store, or computed while the file is read."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from spectraldyn import io
from spectraldyn.errors import InputError
from spectraldyn.features import store
from spectraldyn.features.definitions import FeatureSet
from spectraldyn.io import FileSummary

_BLOCK_VALUES = 2**24  # feature values computed at once (64 MiB): a pass over a file needs no more


@dataclass
class Featurizer:
    """Computes the same features for one file after another."""

    features: FeatureSet
    topology: mdtraj.Trajectory  # one reference frame with the topology
    atoms: str | None  # the selection `features` was defined with
    cache: bool
    notes: list[str] = field(default_factory=list)  # what the user should know about the store is added here
    seen: Callable[[Path, int], Any] = lambda path, n_frames: None
    """Told of which file so many frames have been read, each time that some have."""

    def __post_init__(self) -> None:
        self._names = [column.name for column in self.features.columns]
        # what an entry depends on besides the file itself
        self._options = {
            "topology": store.topology_digest(self.topology.topology),
            "features": self.features.names,
            "atoms": self.atoms,
            "digests": self.features.digests,
            "arithmetic": self.features.arithmetic,
        }

    def rows(self, path: Path, first: int, step: int) -> tuple[np.ndarray, FileSummary]:
        """Features (n, n_columns) float32 of frames first, first + step, ... of a file; all its frames are checked.

        InputError if the file fails a check, ends before `first`, or gives a feature that is not a number.
        """
        if key := self.key(path, first, step):
            stored = self._from_store(key, path)
            if stored is None and self.into_store(key, path, first, step):
                stored = self._from_store(key, path)
            if stored is not None:
                return stored
        gathered: list[np.ndarray] = []
        summary = self._read(path, first, step, gathered.append)
        return np.concatenate(gathered), summary

    def key(self, path: Path, first: int, step: int) -> str | None:
        """Of these features of a file in the store; None where they are not kept there."""
        if not (self.cache and self.features.kept):
            return None
        try:
            file = io.file_key(path)
        except OSError:
            return None  # reading the file says what is wrong with it
        # the name counts because it tells the format
        return store.entry_key(self._options | {"file": file, "name": path.name, "first": first, "step": step})

    def _from_store(self, key: str, path: Path) -> tuple[np.ndarray, FileSummary] | None:
        try:
            if (entry := store.read_entry(key)) is None:
                return None
            rows, meta = entry
            if meta["columns"] != self._names:
                raise store.DamagedEntry(key)
            record = meta["summary"]
            numbers = [record["n_frames"], record["n_atoms"], *record["segment_starts"]]
            if {type(number) for number in numbers} != {int} or type(record["timestep_ps"]) not in (float, type(None)):
                raise store.DamagedEntry(key)
            # Its sentences name the file where it is now.
            warnings = tuple(text.replace(record["path"], str(path)) for text in record["warnings"])
            moved = {"path": path, "segment_starts": tuple(record["segment_starts"]), "warnings": warnings}
            return rows, FileSummary(**record | moved)
        except (store.DamagedEntry, KeyError, TypeError):
            self.notes.append(f"the stored features of {path} were damaged and have been computed again")
            return None

    def into_store(self, key: str, path: Path, first: int, step: int) -> bool:
        """Make the entry of a file; whether the disk took it, of which else a note is made."""

        def fill(append: store.Append, done: int) -> dict[str, Any]:
            summary = self._read(path, first, step, append, done)
            timestep_ps = None if summary.timestep_ps is None else float(summary.timestep_ps)
            plain = {
                "path": str(path),
                "segment_starts": list(map(int, summary.segment_starts)),
                "timestep_ps": timestep_ps,
            }
            return {"columns": self._names, "summary": asdict(summary) | plain}

        try:
            store.write_entry(key, len(self._names), fill)
        except OSError as error:
            folder = store.cache_folder()
            self.notes.append(f"features are not kept on disk: {folder} cannot be written ({error.strerror})")
            return False
        return True

    def speed(self, path: Path, first: int, step: int, seconds: float) -> float:
        """Frames of a file that are read, with their features, in a second: of those read in so many seconds."""
        started, n_frames = 0.0, 0

        def seen(_: Path, count: int) -> None:
            nonlocal started, n_frames
            started = started or time.perf_counter()  # not before the file has been opened
            n_frames += count

        def append(rows: np.ndarray) -> None:
            if time.perf_counter() - started > seconds:
                raise _Enough

        with contextlib.suppress(_Enough):
            replace(self, seen=seen)._read(path, first, step, append)
        return n_frames / (time.perf_counter() - started)

    def _read(self, path: Path, first: int, step: int, append: store.Append, done: int = 0) -> FileSummary:
        """Check every frame; hand the features of those asked for to `append`, all but the first so many."""
        block = max(1, _BLOCK_VALUES // len(self._names))

        def visit(chunk: mdtraj.Trajectory, first_frame: int) -> None:
            self.seen(path, chunk.n_frames)
            begin = first + step * done
            offset = begin - first_frame if begin >= first_frame else (begin - first_frame) % step
            if offset >= chunk.n_frames:
                return
            kept = chunk if (offset, step) == (0, 1) else chunk.slice(slice(offset, None, step), copy=False)
            for start in range(0, kept.n_frames, block):
                part = kept if kept.n_frames <= block else kept.slice(slice(start, start + block), copy=False)
                take(computed(part, frame := first_frame + offset + step * start), frame)

        def computed(part: mdtraj.Trajectory, frame: int) -> np.ndarray:
            try:
                return self.features.compute(part)
            except InputError as error:  # only functions of the user's own fail
                last = frame + step * (part.n_frames - 1)
                raise InputError(f"{path}, frames {frame} to {last}: {error}") from error

        def take(rows: np.ndarray, frame: int) -> None:
            if not (finite := np.isfinite(rows)).all():
                bad = np.argwhere(~finite)
                where = f"{self._names[bad[0, 1]]!r} in frame {frame + step * bad[0, 0]}"
                raise InputError(f"{path} gives no number for {where}: look at that frame, or leave the feature out")
            append(rows)

        summary = io.scan(path, self.topology.topology, visit)
        check_left(path, summary.n_frames, first)
        return summary


class _Enough(Exception):
    """No more frames are wanted."""


def check_left(path: Path, n_frames: int, skipped: int) -> None:
    """InputError where skipping so many frames leaves nothing of a file."""
    if skipped >= n_frames:
        raise InputError(f"{path} has {n_frames} frames and `skip` leaves out the first {skipped}: nothing is left")
