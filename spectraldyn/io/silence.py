"""What goes wrong in a file, told in our words alone: mdtraj's readers raise anything and print what is not ours."""

import contextlib
import ctypes
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from spectraldyn.errors import InputError

Result = TypeVar("Result")


class Damaged(Exception):
    """What is wrong with a file, in words that follow its name."""


def named(frames: Sequence[int]) -> str:
    """Frame numbers for a message: ``"frame 7"``, ``"frames 50–59"``, ``"frames 3, 8–10 and 12 more"``."""
    numbers = np.asarray(frames)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    shown = [f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs[:4]]
    left = sum(len(run) for run in runs[4:])
    return f"frame{'s' if len(numbers) > 1 else ''} " + ", ".join(shown) + (f" and {left} more" if left else "")


@contextlib.contextmanager
def told(path: str | Path) -> Iterator[None]:
    """A complaint becomes the user's, with the name of the file as the user gave it."""
    try:
        yield
    except Damaged as damage:
        raise InputError(f"{path}: {damage}") from damage
    except OSError as error:  # a disk or network that fails while the file is read
        raise InputError(f"{path}: reading failed ({error.strerror or error})") from error


def ask(fault: str, call: Callable[[], Result]) -> Result:
    """Result of a reader of mdtraj; raises Damaged with the fault, if one is named, and what the reader said of it.

    What is not a fault of the file passes as the InputError that it is.
    """
    with quiet():
        try:
            return call()
        except (Damaged, InputError):
            raise
        except (AttributeError, LookupError, NameError, TypeError):
            said = "its content is not that of its format"  # what Python says of it helps nobody
        except Exception as error:  # bare RuntimeErrors too
            said = " ".join(str(error).split()) or type(error).__name__
    # Raised here, for the exception itself would keep open the files that a failing reader leaves behind.
    said = said if len(said) < 120 else said[:120] + "..."
    raise Damaged(f"{fault} ({said})" if fault else said)


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
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
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
