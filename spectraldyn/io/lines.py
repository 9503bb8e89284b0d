"""Lines of text files, plain or gzipped, and what can be trusted of the last one."""

import gzip
import itertools
import zlib
from io import TextIOWrapper
from pathlib import Path

from spectraldyn.io.silence import Damaged


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
        if "\0" in line:  # between two frames, it would be one that is missing
            raise Damaged(f"line {self.number + 1} holds zero bytes: the disk, or a copy, has lost a part of the file")
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
