"""A run: its stages with their time and memory, and what it keeps for the case that it is interrupted."""

import contextlib
import ctypes
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOG = "log.txt"
"""In a folder of results."""
_log = logging.getLogger("spectraldyn")


@dataclass(frozen=True)
class Stage:
    """A part of a run."""

    name: str
    seconds: float
    peak_mb: float | None
    """Most memory of the process during it, in MB; see `largest_memory`. None where the system does not tell."""


@dataclass
class Run:
    """What a run has done so far, and what it keeps."""

    stages: list[Stage] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Folders of finished fits, for the same run to take up where this one does not get to its end."""
    log: Path | None = None
    """Where it can be followed."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Its time and memory are taken, and the log says when it begins and ends."""
        _log.info("%s: begun", name)
        start_of_peak()
        started = time.perf_counter()
        yield
        seconds, peak = time.perf_counter() - started, largest_memory()
        self.stages.append(Stage(name, round(seconds, 2), None if peak is None else round(peak / 1e6, 1)))
        memory = "" if peak is None else f", at most {peak / 1e6:.0f} MB in use"
        _log.info("%s: ended after %.1f s%s", name, seconds, memory)

    def keep(self, folder: Path | None) -> Path | None:
        """A folder, if there is one, that is removed when all is done."""
        if folder is not None and folder not in self.kept:
            self.kept.append(folder)
        return folder

    def remove_kept(self) -> None:
        """All is done."""
        for folder in self.kept:
            shutil.rmtree(folder, ignore_errors=True)

    def save_log(self, folder: Path) -> None:
        """Into a folder of results, if there is a log."""
        if self.log is not None:
            _log.info("the results are complete")
            shutil.copyfile(self.log, folder / LOG)


def start_of_peak() -> float | None:
    """Memory in use, in bytes, from which a peak is to be measured."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        # What was freed but is still held would be used again and not be seen as growth (glibc).
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew at what is in use now
    return largest_memory()


def largest_memory() -> float | None:
    """Most memory in use, in bytes, since `start_of_peak`; since the beginning of the process where this is not Linux.

    Pages of files that are mapped into memory, such as stored features, count while they are held there.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * float(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
