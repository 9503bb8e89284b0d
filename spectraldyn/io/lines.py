"""Text files read line by line: where frames begin and end, and what of a frame that is cut short can be trusted."""

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spectraldyn.io.frames import Frames, absent, frames_per_chunk, joined
from spectraldyn.io.silence import Damaged


class Record(NamedTuple):
    """One frame: `convert` gives its positions (nm) and its box, as three lengths and three angles, or NaN."""

    convert: Callable[[], tuple[np.ndarray, np.ndarray]]
    time: float = np.nan
    step: float = np.nan


class Cut(Exception):
    """The file ends where more lines must follow."""


class Lines:
    """Lines of a text file; an end inside the compressed stream is an end all the same."""

    def __init__(self, path: Path) -> None:
        compressed = path.name.lower().endswith(".gz")
        raw = gzip.GzipFile(path) if compressed else path.open("rb")
        self._file = TextIOWrapper(raw, encoding="utf-8", errors="replace")
        self.close = self._file.close
        self.number = 0
        self.cut = False  # the compressed stream ends too early
        self.last: list[str] = []  # the last line, where it has no end, and the one before it
        self._before = ""
        self._ahead: str | None = None

    def peek(self) -> str | None:
        """The next line without its end, which stays the next; None at the end of the file."""
        if self._ahead is not None:
            return self._ahead
        try:
            line = self._file.readline()
        except EOFError:
            self.cut = True
            return None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise Damaged(f"the compressed data are corrupt after line {self.number} ({error})") from error
        if not line.endswith("\n"):
            if not line.strip():
                return None
            self.last = [self._before, line]
        self._ahead = self._before = line.rstrip("\r\n")
        return self._ahead

    def next(self) -> str | None:
        """The next line."""
        line = self.peek()
        self._ahead = None
        self.number += line is not None
        return line

    def take(self, count: int) -> list[str]:
        """The next `count` lines."""
        taken = list(itertools.islice(iter(self.next, None), count))
        if len(taken) < count:
            raise Cut
        return taken

    def skip_blank(self) -> str | None:
        """The next line that is not blank, which stays the next."""
        while (line := self.peek()) is not None and not line.strip():
            self.next()
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


class Text:
    """A text file, as `Indexed` is one of a binary format; its parser gives the frames in order, not yet converted.

    To take frames, the lines of those before them are walked over, and those after the last are not read.
    """

    def __init__(self, parse: Callable[[Lines, int | None], Iterator[Record]], path: Path, n_atoms: int | None) -> None:
        self.parse, self.path, self.n_atoms = parse, path, n_atoms
        self.shortfall: str | None = None

    def extent(self) -> tuple[int, np.ndarray | None]:
        times = np.array([record.time for record, _ in self._walk(lambda number: False)])
        return len(times), None if np.isnan(times).all() else times

    def chunks(self) -> Iterator[Frames]:
        pending: list[Frames] = []
        for _, frame in self._walk(lambda number: True):
            assert frame is not None
            # A change in the number of atoms is found, and named, by the checks.
            full = len(pending) == frames_per_chunk(frame.xyz.shape[1])
            if pending and (full or pending[0].xyz.shape != frame.xyz.shape):
                yield joined(pending)
                pending = []
            pending.append(frame)
        if pending:
            yield joined(pending)

    def take(self, rows: np.ndarray) -> Frames:
        wanted, found, count = set(rows.tolist()), [], 0
        for _, frame in self._walk(wanted.__contains__):
            count += 1
            if frame is not None:
                found.append(frame)
                if len(found) == len(wanted):
                    return joined(found)
        raise absent(rows[-1], count)

    def _walk(self, wanted: Callable[[int], bool]) -> Iterator[tuple[Record, Frames | None]]:
        """Every frame, converted where it is wanted, with every fault told by its frame."""
        with closing(Lines(self.path)) as lines:
            records = self.parse(lines, self.n_atoms)
            for count in itertools.count():
                record = frame = whole = None
                try:
                    record = next(records, None)
                    if record is not None and wanted(count):
                        frame = _converted(record)
                    whole = lines.whole()
                except Cut:
                    whole = False
                except (ValueError, IndexError, OverflowError) as error:
                    if not lines.last:
                        what = " ".join(str(error).split())[:120]
                        raise Damaged(f"frame {count} is corrupt near line {lines.number} ({what})") from error
                    whole = False
                if whole is False or (record is None and lines.cut):
                    self.shortfall = f"the file ends inside frame {count}, {count} complete frames are there"
                    return
                if record is None:
                    return
                yield record, frame
                if whole is None:
                    self.shortfall = (
                        f"its last line has no end: frame {count} is used, but its last number may have lost digits"
                    )
                    return


def _converted(record: Record) -> Frames:
    xyz, box = record.convert()
    return Frames(xyz[None], np.array(record.time), box, np.array(record.step))
