"""The log of a run of the command line, which lies beside the folder of results while the run is under way."""

import contextlib
import logging
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from spectraldyn.errors import InputError, OutputError
from spectraldyn.estimators.base import pick_device
from spectraldyn.files import claimed, clear_drafts
from spectraldyn.pipeline.run import LOG, Run
from spectraldyn.pipeline.stored import software

_FIRST_LINE = "Log of spectraldyn"
_log = logging.getLogger("spectraldyn")


@contextlib.contextmanager
def under_way(out: Path, force: bool, cache: Path, device: str) -> Iterator[Run]:
    """A run of the command line towards a folder: marked, so that another one does not start, and logged.

    Where it succeeds, what it kept is removed, and so is the log beside the folder, which has the same one. Where it
    fails after its data were read, both stay; no log stays where the user's input is at fault and nothing was trained.

    Raises
    ------
    InputError
        If another run is at work on the folder and `force` is not given, or a file that is not ours lies where the log
        is to be.
    """
    clear_drafts(cache)
    place = out.resolve()
    log = place.with_name(f"{place.name}-{LOG}")
    run = Run(log=log)
    with claimed(out, force), _logged(run, log, device):
        yield run
        run.remove_kept()


@contextlib.contextmanager
def _logged(run: Run, log: Path, device: str) -> Iterator[None]:
    _check_ours(log)
    log.unlink(missing_ok=True)
    handler = _Handler(log, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    stays = False
    try:
        _introduce(device)
        yield
    except BaseException as error:
        # Reading, and training where the user is to mend something, for which the sentence on the screen is enough.
        fault = isinstance(error, InputError) and not isinstance(error, OutputError)
        stays = len(run.stages) > fault
        _log.error("%s", _said(error), exc_info=None if isinstance(error, InputError | KeyboardInterrupt) else error)
        if stays:
            error.add_note(f"log: {log}")
        raise
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        handler.close()
        if not stays:
            log.unlink(missing_ok=True)


class _Handler(logging.FileHandler):
    """A log that the disk does not take must not end a run, nor fill the screen."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: the line is lost."""

    def close(self) -> None:
        """As ever."""
        with contextlib.suppress(OSError):
            super().close()


def _check_ours(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError), log.open(encoding="utf-8", errors="replace") as stream:
        if _FIRST_LINE not in stream.readline():
            raise InputError(
                f"{log} is no log of spectraldyn, whose own would go there: move it, or give another `out`"
            )


def _introduce(device: str) -> None:
    known = software()
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    _log.info("%s %s; %s", _FIRST_LINE, known["version"], versions)
    _log.info("command: %s", " ".join(sys.argv))
    _log.info("process %d on %s, %s, in %s", os.getpid(), platform.node(), platform.platform(), Path.cwd())
    chosen = pick_device(device)
    named = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "CPU"
    _log.info("device: %s; %d threads, %s cores", named, torch.get_num_threads(), os.cpu_count())


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{'error' if isinstance(error, InputError) else type(error).__name__}: {error}"
