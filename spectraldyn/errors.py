"""What spectraldyn says to its users when something they gave it cannot be right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A fault in what the user gave: a file, a frame, an option.

    The message is one sentence that names the file, frame or option, what was received and what to do.
    The command line prints it without a traceback and exits with code 2.
    """


class InputWarning(UserWarning):
    """Something in the input that the user should know about, though the run goes on."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The closest of the names that exist, in brackets, to put behind one that does not; empty where none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
