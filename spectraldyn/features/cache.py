"""What lies in the cache folder: features of files, and the state of trainings under way."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spectraldyn.features import store


@dataclass(frozen=True)
class Kept:
    """One thing that is kept."""

    kind: str
    """{"features", "unfinished features", "training"}."""
    what: str
    """Which, in words."""
    paths: tuple[Path, ...]
    n_bytes: int
    used: float
    """When it was written or read last, in seconds since the epoch."""

    def remove(self) -> None:
        """Remove it; who reads from it at this time goes on doing so."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def kept() -> list[Kept]:
    """All that the cache folder holds of ours, the largest first."""
    folder = store.cache_folder()
    if not folder.is_dir():
        return []
    found = [*_entries(folder), *_parts(folder), *_trainings(folder)]
    return sorted(found, key=lambda one: -one.n_bytes)


def prune(days: float) -> list[Kept]:
    """Remove what has not been used for so many days; what that was."""
    old = [one for one in kept() if time.time() - one.used > 86_400 * days]
    for one in old:
        one.remove()
    return old


def _entries(folder: Path) -> Iterator[Kept]:
    for record in folder.glob("*.json"):
        rows = record.with_suffix(".npy")
        try:
            stored = json.loads(record.read_text(encoding="utf-8"))
            n_rows, n_columns = stored["shape"]
            path = stored["meta"].get("summary", {}).get("path")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            path, n_rows, n_columns = None, "?", "?"
        what = f"{n_rows} × {n_columns}" + (f" of {path}" if path else "")
        yield _kept("features", what, (rows, record))


def _parts(folder: Path) -> Iterator[Kept]:
    for part in folder.glob(".*.part"):
        yield _kept("unfinished features", part.name, (part, part.with_suffix(".sums")))


def _trainings(folder: Path) -> Iterator[Kept]:
    for pattern in ("training-*", "fits-*"):
        for path in folder.glob(pattern):
            yield _kept("training", path.name, (path,))


def _kept(kind: str, what: str, paths: tuple[Path, ...]) -> Kept:
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    states = [file.stat() for file in files]
    used = max((state.st_mtime for state in states), default=time.time())
    return Kept(kind, what, paths, sum(state.st_size for state in states), used)
