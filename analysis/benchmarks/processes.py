"""Processes for the methods of a comparison without the seconds that every new interpreter takes to import torch.

A comparison starts one process per method, and in a study of hundreds of small comparisons the imports would take
longer than the methods. Here the processes are forked from one that has imported everything and computed nothing.
"""

import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from spectraldyn.baselines import process

_CONTEXT = multiprocessing.get_context("forkserver")


class _Forked:
    """What `spectraldyn.baselines.process.run_in_process` uses of `subprocess.Popen`."""

    def __init__(self, command: list[str], **_: Any) -> None:
        self._process = _CONTEXT.Process(target=process.main, args=(Path(command[-1]),))
        self._process.start()

    def wait(self, limit: float | None = None) -> int:
        self._process.join(limit)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("", limit or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()


@contextmanager
def forked() -> Iterator[None]:
    """Within it, every method of a comparison runs in a forked process, alone and with one thread as ever."""
    # Numerical libraries read these when they are loaded, which is once, in the server.
    threads = dict.fromkeys(process._THREAD_VARIABLES, str(process.THREADS))
    stand_in = SimpleNamespace(Popen=_Forked, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
    _CONTEXT.set_forkserver_preload(["spectraldyn.baselines.process", "torch._dynamo"])
    with mock.patch.dict(os.environ, threads), mock.patch("spectraldyn.baselines.process.subprocess", stand_in):
        yield
