"""Silence for the C libraries and parsers of mdtraj, which print what is not ours and raise anything."""

import contextlib
import ctypes
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from spectraldyn.io.frames import Damaged

Result = TypeVar("Result")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what C libraries print and what mdtraj warns of, while one of its readers runs.

    The file descriptors themselves are redirected, as C code does not know Python's sys.stdout; whatever
    Python had buffered for them is written first, so that it is not lost.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # None, closed, or a broken pipe
            stream.flush()
    _flush_c_streams()
    # Opened first, so that where stdout is closed this takes its place, not the copy of stderr.
    sink = os.open(os.devnull, os.O_WRONLY)
    saved = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed: nothing can be printed there
            saved.append((descriptor, os.dup(descriptor)))
    try:
        for descriptor, _ in saved:
            os.dup2(sink, descriptor)
        printed = io.StringIO()  # mdtraj's own prints, which may not go by way of the descriptors
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        _flush_c_streams()
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(sink)


def _flush_c_streams() -> None:
    # printf into a pipe or file is buffered by the C library and would come out after the silence has ended.
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no such function on this platform
        ctypes.CDLL(None).fflush(None)


def attempt(call: Callable[[], Result]) -> tuple[Result | None, str]:
    """Result of a parser of mdtraj, or None and what it complained of: they raise anything, bare RuntimeErrors too.

    The exception does not leave this function, as it would keep open the files that a failing parser leaves behind.
    """
    with quiet():
        try:
            return call(), ""
        except (AttributeError, LookupError, NameError, TypeError):
            return None, "its content is not that of its format"  # what Python says of it helps nobody
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            return None, words if len(words) < 120 else words[:120] + "..."


def ask(fault: str, call: Callable[[], Result]) -> Result:
    """Result of a parser of mdtraj; raises Damaged with the fault and what the parser complained of."""
    result, complaint = attempt(call)
    if complaint:
        raise Damaged(f"{fault} ({complaint})")
    return result  # type: ignore[return-value]  # None only if the call gives it


def decode(first: int, count: int, call: Callable[[], tuple]) -> tuple:
    """Call a reader for frames known to be there."""
    result = ask(f"frames {first}–{first + count - 1} cannot be decoded", call)
    if len(result[0]) != count:
        raise Damaged(f"frame {first + len(result[0])} cannot be decoded")
    return result


@contextlib.contextmanager
def opened(kind: str, reader: Callable, path: Path) -> Iterator:
    """A file open in one of those readers."""
    handle = ask(f"it cannot be opened as {kind}: truncated or corrupt", partial(reader, str(path)))
    try:
        yield handle
    finally:
        with quiet():
            handle.close()
