"""Every method in a process of its own, so that time and memory are its own."""

import gc
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.records import MethodResult, Outcome, Split, stretches_in
from spectraldyn.data import MAX_COLUMNS, Atoms, Dataset
from spectraldyn.errors import InputError
from spectraldyn.files import replacing
from spectraldyn.networks.pairs import PAIRS_AT_ONCE, distances
from spectraldyn.pipeline.run import largest_memory, start_of_peak
from spectraldyn.spectra.timescales import Timescale

THREADS = 1  # for every method, whatever library computes: networks of this size gain nothing from more
# Read by numerical libraries when they are loaded.
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
THREAD_SETTINGS = dict.fromkeys(_VARIABLES, str(THREADS))
ON_COORDINATES = ("neural-svd",)
"""Methods that have a network for coordinates; all others get the distances between the same atoms."""
_PARTS = ("stretches", "train", "test")
_ROWS, _JOB, _OUTCOME, _ERRORS = "rows.npy", "job.pt", "outcome.pt", "errors.txt"

Runner = Callable[[Path, float | None], int]
"""Does the job in a folder, by `do_job`, within so many seconds; returns the exit code, or raises TimeoutError."""


@dataclass(frozen=True)
class Job:
    """What a process is to do: a method of `METHODS`, further arguments of it, and the split of the rows."""

    method: str
    options: Mapping[str, Any]
    split: Split
    atoms: Atoms | None = None
    """Whose coordinates the rows are."""

    def save(self, path: Path) -> None:
        """Write it as plain values."""
        parts = {name: [(s.start, s.stop) for s in getattr(self.split, name)] for name in _PARTS}
        stored = {"job": (self.method, dict(self.options)), "parts": parts, "asked": self.split.asked}
        torch.save(stored | {"atoms": None if self.atoms is None else asdict(self.atoms)}, path)

    @classmethod
    def load(cls, path: Path) -> "Job":
        """Read what `save` has written."""
        stored = torch.load(path, weights_only=True)
        parts = [[range(*ends) for ends in stored["parts"][name]] for name in _PARTS]
        method, options = stored["job"]
        atoms = None if stored["atoms"] is None else Atoms(**stored["atoms"])
        return cls(method, options, Split(*parts, **stored["asked"]), atoms)


def in_new_interpreter(place: Path, time_limit: float | None) -> int:
    """The runner of a comparison: a new interpreter with one thread, in which nothing has been computed yet."""
    # A script without a guard, a notebook or standard input cannot be imported anew, as multiprocessing would do.
    command = [sys.executable, "-c", f"from {__name__} import do_job; do_job({str(place)!r})"]
    environment = {**os.environ, **THREAD_SETTINGS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
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


def run_job(folder: Path, job: Job, time_limit: float | None = None, runner: Runner = in_new_interpreter) -> Outcome:
    """Do a job in a process of its own; whatever happens to it is an outcome.

    Parameters
    ----------
    folder : Path
        With the rows of `store_rows`.
    job : Job
    time_limit : float, optional
        Seconds, with imports, after which the process is ended.
    runner : Runner
    """
    # One for every job, removed after it: functions at all rows would pile up over methods and splits.
    with tempfile.TemporaryDirectory(prefix=f"{job.method}-", dir=folder) as name:
        place = Path(name)
        job.save(place / _JOB)
        try:
            code = runner(place, time_limit)
        except TimeoutError:
            return Outcome(MethodResult(job.method, f"not done within {time_limit:g} seconds"))
        if (place / _OUTCOME).exists():
            stored = torch.load(place / _OUTCOME, weights_only=True)
            scales = [Timescale(**scale) for scale in stored["result"].pop("timescales")]
            sides = (None if side is None else side.numpy() for side in stored["sides"])
            return Outcome(MethodResult(**stored["result"], timescales=scales), *sides)
        errors = place / _ERRORS
        said = errors.read_text(errors="replace").strip().splitlines()[-1:] if errors.exists() else []
        return Outcome(MethodResult(job.method, ": ".join([f"its process ended with code {code}", *said])))


def do_job(place: str | Path) -> None:
    """Do the job that lies in a folder; leave the outcome there."""
    place = Path(place)
    torch.set_num_threads(THREADS)
    _load_what_is_loaded_late()
    job = Job.load(place / _JOB)
    frames = np.load(place.parent / _ROWS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            outcome = _do(job, frames)
        except InputError as error:
            outcome = Outcome(MethodResult(job.method, str(error)))
        except Exception as error:  # whatever a method raises is the outcome of that method
            outcome = Outcome(MethodResult(job.method, f"{type(error).__name__}: {error}".strip().splitlines()[0]))
    said = sorted({str(warning.message) for warning in caught})
    sides = [None if side is None else torch.from_numpy(side) for side in (outcome.left, outcome.right)]
    with replacing(place / _OUTCOME) as draft:
        torch.save({"result": asdict(replace(outcome.result, warnings=said)), "sides": sides}, draft)


def _do(job: Job, frames: np.ndarray) -> Outcome:
    split, atoms = job.split, job.atoms
    if atoms is not None and job.method not in ON_COORDINATES:
        frames, atoms = interatomic_distances(frames, atoms), None
    gc.collect()  # what others have left behind would be counted, or be used again
    before = start_of_peak()
    started = time.perf_counter()
    learned = METHODS[job.method](split.problem(frames, atoms), **job.options)
    seconds = time.perf_counter() - started
    left = np.asarray(learned.functions(frames), dtype=np.float64)
    other_side = None if split.reversible else learned.right
    right = None if other_side is None else np.asarray(other_side(frames), dtype=np.float64)
    now = largest_memory()
    result = MethodResult(
        job.method,
        seconds=seconds if learned.seconds is None else learned.seconds,
        tuning_seconds=None if learned.seconds is None else seconds,
        peak_mb=(now - before) / 1e6 if now and before else None,
        settings=learned.settings,
    )
    if learned.own_timescales is not None:
        result = replace(result, timescales=learned.own_timescales(stretches_in(frames, split.stretches)))
    return Outcome(result, left, right)


@torch.no_grad()
def interatomic_distances(frames: np.ndarray, atoms: Atoms) -> np.ndarray:
    """(n_rows, n_pairs) in nm, to nearest images, from coordinates: what methods get that rotation would mislead."""
    n, parts = len(atoms.kinds), []
    if (n_pairs := n * (n - 1) // 2) > MAX_COLUMNS:
        raise InputError(f"there are {n_pairs:,} distances between {n} atoms, more than {MAX_COLUMNS:,}")
    for some in torch.from_numpy(frames).split(max(1, PAIRS_AT_ONCE // n_pairs)):
        box = some[:, 3 * n :].unflatten(1, (3, 3)) if atoms.boxed else None
        parts.append(distances(some[:, : 3 * n].unflatten(1, (n, 3)), box).numpy())
    return np.concatenate(parts)


def _load_what_is_loaded_late() -> None:
    """The first step of an optimiser imports much of torch, which is no part of any method."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimiser.step()
