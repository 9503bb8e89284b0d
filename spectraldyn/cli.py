"""Command line: results on stdout, progress and remarks on stderr; a user error is one sentence and exit code 2."""

import argparse
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from spectraldyn.commands.cache import add_cache
from spectraldyn.commands.compare import add_compare
from spectraldyn.commands.doctor import add_doctor
from spectraldyn.commands.export import add_export
from spectraldyn.commands.files import add_features, add_info
from spectraldyn.commands.fit import add_fit, add_transform, fit
from spectraldyn.commands.options import as_options
from spectraldyn.commands.parser import Parser, PrintCompletion
from spectraldyn.commands.report import add_report
from spectraldyn.commands.scan import add_scan, scan
from spectraldyn.commands.seeds import add_seeds
from spectraldyn.commands.states import add_states
from spectraldyn.commands.systems import add_simulate, add_systems
from spectraldyn.commands.underdamped import add_underdamped
from spectraldyn.errors import InputError, InputWarning, OutputError, StateWarning, disk_error
from spectraldyn.version import __version__

SAME_REQUEST = 10.0
"""Seconds after a signal within which further ones ask for nothing new."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = argparse.Namespace(handler=None)
    tell: Callable[[str], None] = _to_stderr
    with _stopped_by_signals() as came, warnings.catch_warnings():
        try:
            # What the user must know arrives in the results' own list of warnings, and all of it in the log.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", InputWarning)
            warnings.showwarning = lambda message, *_, **__: _log_warning(message, options)
            if together := _started_by_torchrun():
                from spectraldyn import processes

                processes.join()
                tell = processes.tell
            options = _parser().options(arguments)
            if together and options.handler is not fit:
                raise InputError("torchrun is for `spectraldyn fit`: start any other command without it")
            code = options.handler(options)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # The reader of our output has gone (`| head`); Python must not complain at exit about the closed pipe.
            _close_stdout()
            return 141
        except (Exception, KeyboardInterrupt) as error:
            return _said(error, options, came, tell)


def _said(error: BaseException, options: argparse.Namespace, came: list[int], tell: Callable[[str], None]) -> int:
    """Say on stderr what has ended a run; the exit code. What is no fault of the user or the machine is raised."""
    goes_on = options.handler in (fit, scan)
    log = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
    if came or isinstance(error, KeyboardInterrupt):
        again = "; run the same command again to go on from where it stopped" if goes_on else ""
        tell(f"spectraldyn: interrupted{again}{log}")
        return 128 + (came[0] if came else signal.SIGINT)
    if not isinstance(error, InputError):
        refused = disk_error(error)
        if refused is None:
            raise error
        if refused is error and refused.filename is None:
            _close_stdout()  # Python would try once more at exit
        error = OutputError.of(
            refused, refused.filename or "what is computed on the way, or the output of this command,"
        )
    kept = "; what was trained is kept, and the same command goes on from there, also with another --out"
    sentence = as_options(str(error)) + kept * (goes_on and isinstance(error, OutputError))
    tell(f"spectraldyn: error: {sentence}{log}")
    return 2


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # which may lie on the very disk that is full
        print(text, file=sys.stderr, flush=True)


def _close_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log_warning(message: Warning | str, options: argparse.Namespace) -> None:
    """What could not be kept is for stderr, too: the results do not know of it."""
    logging.getLogger("spectraldyn").warning("note: %s", message)
    if isinstance(message, StateWarning) and not getattr(options, "quiet", False):
        print(f"note: {message}", file=sys.stderr)


@contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP stop a run as SIGINT does, all by a KeyboardInterrupt; yields those that came.

    A second one soon after the first is the same request once more, as of a batch system that tells a process and its
    group, and must not end the cleaning up.
    """
    came: list[int] = []
    last = -math.inf

    def stop(number: int, _: Any) -> None:
        nonlocal last
        if time.monotonic() - last < SAME_REQUEST:
            return
        last = time.monotonic()
        came.append(number)
        raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # What is ignored, as by nohup, stays so.
    default = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) in default}
    for number in before:
        signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _started_by_torchrun() -> bool:
    """Whether this process is one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _parser() -> Parser:
    parser = Parser(
        prog="spectraldyn",
        description="The slow spectrum behind molecular-dynamics trajectories: implied timescales with error bars, "
        "metastable sets and kinetics.",
        epilog="example: spectraldyn fit traj.xtc --top protein.pdb --lag 1ns\n\n"
        "Times: a number of stored frames (50), or a time with its unit (50ps, 1.2ns).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spectraldyn {__version__}")
    how = "print a script for tab completion, for instance into ~/.local/share/bash-completion/completions/spectraldyn"
    parser.add_argument("--print-completion", action=PrintCompletion, choices=["bash", "zsh", "tcsh"], help=how)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        add_fit,
        add_scan,
        add_compare,
        add_transform,
        add_seeds,
        add_states,
        add_export,
        add_report,
        add_info,
        add_features,
        add_systems,
        add_simulate,
        add_underdamped,
        add_cache,
        add_doctor,
    ):
        add(commands)
    return parser
