"""Every method in a process of its own, so that time and memory are its own; run as `python -m` with a folder."""

import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.records import Problem
from spectraldyn.data import Dataset, stretches_of
from spectraldyn.errors import InputError
from spectraldyn.files import replacing
from spectraldyn.spectra.timescales import Timescale

THREADS = 1
"""For every method, whatever library computes: networks of this size gain nothing from more."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_ROWS, _JOB, _ANSWER, _ERRORS = "rows.npy", "job.json", "answer.json", "errors.txt"


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes
    ----------
    method : str
        Name in `METHODS`.
    options : dict
        Further arguments of the method, in plain values.
    lengths : list of int
        Of all stretches, laid end to end in the file of rows.
    train : list of (int, int)
        First rows of the stretches to learn from, and the rows after their last.
    lagtime, n_modes, seed, reversible, device
        See `Problem`.
    """

    method: str
    options: Mapping[str, Any]
    lengths: list[int]
    train: list[tuple[int, int]]
    lagtime: int
    n_modes: int
    seed: int
    reversible: bool
    device: str


@dataclass(frozen=True)
class Outcome:
    """What a method made of all rows, and its price.

    Attributes
    ----------
    failed : str or None
        Why there is nothing else here.
    left, right : ndarray (n_rows, k) or None
        Its functions at every row.
    seconds : float or None
        Wall time of the fit with the setting that was chosen.
    tuning_seconds : float or None
        Wall time of all fits, where several settings were tried.
    peak_mb : float or None
        Main memory in use at most during fit and projection, in 10⁶ bytes, less what was in use before; None where the
        system does not tell.
    settings : dict
    warnings : list of str
    own_timescales : list of Timescale or None
        In rows.
    """

    failed: str | None = None
    left: np.ndarray | None = None
    right: np.ndarray | None = None
    seconds: float | None = None
    tuning_seconds: float | None = None
    peak_mb: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    own_timescales: list[Timescale] | None = None


Runner = Callable[[Path, float | None], int]
"""Does the job that lies in a folder, by `main`, within so many seconds; returns the exit code, or raises
TimeoutError."""


def in_new_interpreter(place: Path, time_limit: float | None) -> int:
    """The runner of a comparison: a new interpreter with one thread, in which nothing has been computed yet."""
    # A script without a guard, a notebook or standard input cannot be imported anew, as multiprocessing would do.
    command = [sys.executable, "-m", "spectraldyn.baselines.process", str(place)]
    environment = {
        **os.environ,
        **{name: str(THREADS) for name in THREAD_VARIABLES},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    with (place / _ERRORS).open("w") as errors:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            return child.wait(time_limit)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            child.kill()
            child.wait()


def store_rows(folder: Path, data: Dataset) -> None:
    """Write all rows, laid end to end, where every process finds them."""
    shape = (data.n_rows, data[0].shape[1])
    stored = np.lib.format.open_memmap(folder / _ROWS, mode="w+", dtype=data[0].dtype, shape=shape)
    for rows, view in data.chunks():
        stored[rows.start : rows.stop] = view
    stored.flush()


def run_job(folder: Path, job: Job, time_limit: float | None, runner: Runner = in_new_interpreter) -> Outcome:
    """Do a job in a process of its own; whatever happens to it is an outcome.

    Parameters
    ----------
    folder : Path
        With the rows of `store_rows`.
    job : Job
    time_limit : float or None
        Seconds, with imports, after which the process is ended.
    runner : Runner
    """
    place = folder / job.method
    place.mkdir()
    (place / _JOB).write_text(json.dumps(asdict(job)))
    try:
        code = runner(place, time_limit)
    except TimeoutError:
        return Outcome(failed=f"not done within {time_limit:g} seconds")
    if not (place / _ANSWER).exists():
        errors = place / _ERRORS
        said = errors.read_text(errors="replace").strip().splitlines() if errors.exists() else []
        return Outcome(failed=f"its process ended with code {code}" + (f": {said[-1]}" if said else ""))
    answer = json.loads((place / _ANSWER).read_text())
    own = answer.pop("own_timescales", None)
    arrays = {side: np.load(path) for side in ("left", "right") if (path := place / f"{side}.npy").exists()}
    return Outcome(**answer, **arrays, own_timescales=own and [Timescale(**scale) for scale in own])


def main(place: Path) -> None:
    """Do the job that lies in a folder; leave the answer there."""
    torch.set_num_threads(THREADS)
    _load_what_is_loaded_late()
    job = json.loads((place / _JOB).read_text())
    frames = np.load(place.parent / _ROWS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            answer = _do(place, Job(**job), frames)
        except InputError as error:
            answer = {"failed": str(error)}
        except Exception as error:  # whatever a method raises is the outcome of that method
            answer = {"failed": f"{type(error).__name__}: {error}".strip().splitlines()[0]}
    answer["warnings"] = sorted({str(warning.message) for warning in caught})
    with replacing(place / _ANSWER) as draft:
        draft.write_text(json.dumps(answer))


def _do(place: Path, job: Job, frames: np.ndarray) -> dict[str, Any]:
    problem = Problem(
        trajectories=[frames[start:stop] for start, stop in job.train],
        lagtime=job.lagtime,
        n_modes=job.n_modes,
        seed=job.seed,
        reversible=job.reversible,
        device=job.device,
    )
    before = _start_of_peak()
    started = time.perf_counter()
    learned = METHODS[job.method](problem, **job.options)
    seconds = time.perf_counter() - started
    sides = {"left": learned.functions(frames)}
    if learned.right is not None and not job.reversible:
        sides["right"] = learned.right(frames)
    peak_mb = _peak(before)
    for side, values in sides.items():
        np.save(place / f"{side}.npy", np.asarray(values, dtype=np.float64))
    own = None
    if learned.own_timescales is not None:
        everything = [frames[stretch.start : stretch.stop] for stretch in stretches_of(job.lengths)]
        own = [asdict(scale) for scale in learned.own_timescales(everything)]
    return {
        "seconds": seconds if learned.seconds is None else learned.seconds,
        "tuning_seconds": None if learned.seconds is None else seconds,
        "peak_mb": peak_mb,
        "settings": learned.settings,
        "own_timescales": own,
    }


def _load_what_is_loaded_late() -> None:
    """The first step of an optimiser imports much of torch, which is no part of any method."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimiser.step()


def _start_of_peak() -> float | None:
    """Memory in use, in bytes, from which a peak is to be measured; the largest so far where Linux is not at hand."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        # What was freed but is still held would be used again and not be seen as growth (glibc).
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew at what is in use now
        return _status("VmRSS")
    except OSError:
        return _largest()


def _peak(before: float | None) -> float | None:
    """Largest memory in use since, in 10⁶ bytes, less what was in use before."""
    now: float | None
    try:
        now = _status("VmHWM")
    except OSError:
        now = _largest()
    return None if before is None or now is None else (now - before) / 1e6


def _status(entry: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry + ":"):
            return 1024 * float(line.split()[1])
    raise OSError(f"the system does not tell {entry}")


def _largest() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
