"""Text files read line by line: where frames begin and end, and what of a frame that is cut short can be trusted."""

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spectraldyn.io.frames import Damaged, Frames, Incomplete, Source, absent, frames_per_chunk, joined


class Record(NamedTuple):
    """One frame: `convert` gives its positions (nm) and its box, as three lengths and three angles, if it has one."""

    convert: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    time: float | None = None
    step: float | None = None


class Cut(Exception):
    """The file ends where more lines must follow."""


class Lines:
    """Lines of a text file; an end inside the compressed stream is an end all the same."""

    def __init__(self, path: Path) -> None:
        compressed = path.name.lower().endswith(".gz")
        raw = gzip.GzipFile(path) if compressed else path.open("rb")
        self.file = TextIOWrapper(raw, encoding="utf-8", errors="replace")
        self.number = 0
        self.cut = False  # the compressed stream ends too early
        self.last: list[str] = []  # the last line, where it has no end, and the one before it
        self._before = ""
        self._back: list[str] = []

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def next(self) -> str | None:
        """The next line without its end; None at the end of the file."""
        if self._back:
            self.number += 1
            return self._back.pop()
        try:
            line = self.file.readline()
        except EOFError:
            self.cut = True
            return None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise Damaged(f"the compressed data are corrupt after line {self.number} ({error})") from error
        if not line.endswith("\n"):
            if not line.strip():
                return None
            self.last = [self._before, line]
        self.number += 1
        self._before = line.rstrip("\r\n")
        return self._before

    def back(self, line: str) -> None:
        """Hand a line back, to be read again."""
        self.number -= 1
        self._back.append(line)

    def take(self, count: int) -> list[str]:
        """The next `count` lines."""
        taken = []
        for _ in range(count):
            line = self.next()
            if line is None:
                raise Cut
            taken.append(line)
        return taken

    def first(self) -> str | None:
        """The next line that is not blank; None at the end of the file."""
        line = self.next()
        while line is not None and not line.strip():
            line = self.next()
        return line

    def whole(self) -> bool | None:
        """Whether a last line that has no end is whole; None where that cannot be told.

        A number that lost its last digits still reads as a number. Where all others of this line, and of the
        line before it if that is of its kind, have the same number of decimals, the last must have as many.
        """
        if not self.last:
            return True
        before, line = (text.split() for text in self.last)
        same = len(before) == len(line)
        if line[-1].isalpha():
            return True  # END, or the element of an atom
        if "." not in line[-1] and not any("." in word for word in before[-1:]):
            # A column of integers, which are not the positions where others are no integers.
            return True if same and any("." in word for word in line) else None
        others = line[:-1] + (before if same or len(line) == 1 else [])
        decimals = {len(word.partition(".")[2]) for word in others if "." in word}
        return len(line[-1].partition(".")[2]) in decimals if len(decimals) == 1 else None


class Text(Source):
    """A text format by its parser, which gives the frames in order without converting their numbers.

    To take frames, the lines of those before them are walked over, and those after the last are not read.
    """

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        self.path, self.n_atoms = path, n_atoms

    def parse(self, lines: Lines) -> Iterator[Record]:
        """Frames of a file; raises ValueError or IndexError where it is corrupt."""
        raise NotImplementedError

    def extent(self) -> tuple[int, np.ndarray | None]:
        times: list[float] = []
        with contextlib.suppress(Incomplete):
            for record, _ in self._walk(lambda frame: False):
                times.append(np.nan if record.time is None else record.time)
        return len(times), None if np.isnan(times).all() else np.array(times)

    def chunks(self) -> Iterator[Frames]:
        pending: list[Frames] = []
        ending: Incomplete | None = None
        try:
            for _, frame in self._walk(lambda frame: True):
                # A change in the number of atoms is found, and named, by the checks.
                full = len(pending) == frames_per_chunk(frame.xyz.shape[1])
                if pending and (full or pending[0].xyz.shape != frame.xyz.shape):
                    yield joined(pending)
                    pending = []
                pending.append(frame)
        except Incomplete as shortfall:  # the sound frames read before it still count
            ending = shortfall
        if pending:
            yield joined(pending)
        if ending is not None:
            raise ending

    def take(self, rows: np.ndarray) -> Frames:
        wanted, found, count = set(rows.tolist()), [], 0
        with contextlib.suppress(Incomplete):
            for _, frame in self._walk(wanted.__contains__):
                count += 1
                if frame is not None:
                    found.append(frame)
                    if len(found) == len(wanted):
                        return joined(found)
        raise absent(int(rows[-1]), count)

    def _walk(self, wanted: Callable[[int], bool]) -> Iterator[tuple[Record, Any]]:
        """Every frame, converted where it is wanted and else None, with every fault told by its frame."""
        with Lines(self.path) as lines:
            records, count = self.parse(lines), 0
            while True:
                record = frame = None
                try:
                    record = next(records, None)
                    frame = _converted(record) if record is not None and wanted(count) else None
                    whole = lines.whole()
                except Cut:
                    whole = False
                except (ValueError, IndexError, OverflowError) as error:
                    if not lines.last:
                        what = " ".join(str(error).split())[:120]
                        raise Damaged(f"frame {count} is corrupt near line {lines.number} ({what})") from error
                    whole = False
                if whole is False or (record is None and lines.cut):
                    raise Incomplete(f"the file ends inside frame {count}, {count} complete frames are there")
                if record is None:
                    return
                yield record, frame
                if whole is None:
                    raise Incomplete(
                        f"its last line has no end: frame {count} is used, but its last number may have lost digits"
                    )
                count += 1


def _converted(record: Record) -> Frames:
    xyz, box = record.convert()
    with np.errstate(over="ignore"):  # a number too large becomes infinite, and is found by the checks
        xyz = xyz.astype(np.float32)[None]
    time, step = (None if value is None else np.array([float(value)]) for value in (record.time, record.step))
    return Frames(xyz, time, step=step) if box is None else Frames(xyz, time, box[None, :3], box[None, 3:], step)
