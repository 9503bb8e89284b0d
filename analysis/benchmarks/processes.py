"""Processes for the methods of a comparison without the seconds that every new interpreter takes to import torch.

A comparison starts one process per method, and in a study of hundreds of small comparisons the imports would take
longer than the methods. Here the processes are forked from one that has imported everything and computed nothing.
"""

import multiprocessing
import os
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

from spectraldyn.baselines import THREAD_SETTINGS, do_job


@cache
def server() -> multiprocessing.context.ForkServerContext:
    """Whose processes are forked from one that is running, with one thread each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["spectraldyn.baselines", "torch._dynamo"])
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    # Numerical libraries read these when they are loaded, which is once, in the server.
    os.environ.update(THREAD_SETTINGS)
    forkserver.ensure_running()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    return context


def in_forked_process(place: Path, time_limit: float | None) -> int:
    """A `spectraldyn.baselines.Runner`: every method runs in a forked process, alone and with one thread as ever."""
    process = server().Process(target=do_job, args=(place,))
    process.start()
    try:
        process.join(time_limit)
        if process.exitcode is None:
            raise TimeoutError
        return process.exitcode
    finally:
        process.kill()
        process.join()
