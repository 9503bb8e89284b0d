"""What spectraldyn says to its users when something they gave it cannot be right, or the disk refuses."""

import difflib
import errno
from collections.abc import Iterable


class InputError(ValueError):
    """A fault in what the user gave: a file, a frame, an option.

    The message is one sentence that names the file, frame or option, what was received and what to do.
    The command line prints it without a traceback and exits with code 2.
    """


class OutputError(InputError, OSError):
    """What was to be written cannot be: a full disk, a quota, a limit, a place that is not the user's."""

    @classmethod
    def of(cls, error: OSError, out: str) -> "OutputError":
        """What an error of the operating system means for the writing of `out`."""
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "give `out` in a folder of yours")
        return cls(f"{out} cannot be written ({reason}): {advice}")


class InputWarning(UserWarning):
    """Something in the input that the user should know about, though the run goes on."""


class StateWarning(InputWarning):
    """What an interrupted run would go on from cannot be kept, or cannot be used; the run goes on."""


_FULL = "make room, or give `out` on another disk"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or give `out` on another disk",
    errno.EROFS: "give `out` on another disk",
    errno.EIO: "the disk fails, give `out` on another one",
    errno.ENAMETOOLONG: "give a shorter `out`",
}


def disk_error(error: BaseException | None) -> OSError | None:
    """What the disk said that led to an error, if it did: that it is full, over a limit, read-only or failing."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _ADVICE:
            return error
        error = error.__cause__ or error.__context__
    return None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The closest of the names that exist, in brackets, to put behind one that does not; empty where none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
