"""What the experiments share: settings on the command line, cases that are kept as they come, tables and figures."""

import argparse
import hashlib
import json
import math
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from analysis.benchmarks import record, study
from analysis.benchmarks.study import Row

EXPERIMENTS = record.RESULTS / "experiments"
STANDARD, QUICK, PUBLISHED = SETTINGS = ("standard", "quick", "published")
"""What the documentation shows, what two cores do in minutes, and what was published, which asks for a GPU."""


def arguments(
    description: str | None,
    seeds: Mapping[str, int],
    arguments: Sequence[str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Any:
    """Options of the command line that every experiment has.

    Parameters
    ----------
    description : str
        Docstring of the module.
    seeds : mapping
        Setting → number of seeds.
    arguments : sequence of str, optional
        By default those of the command line.
    data : mapping, optional
        Option that takes a folder with data, or name of an argument that may be left out → its help.

    Returns
    -------
    namespace
        `setting`, `seeds` (a range), `folder` and `jobs`, and each of `data`: a path, or None.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_const", dest="setting", const=QUICK, help="minutes on two cores")
    which.add_argument(
        "--published", action="store_const", dest="setting", const=PUBLISHED,
        help="networks and numbers of steps as published: for a GPU",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, help="how many; " + ", ".join(f"{n} in {s}" for s, n in seeds.items()))
    parser.add_argument("--folder", type=Path, help="where to write, and to go on from after an interruption")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time, each in a process with one thread")
    for name, text in (data or {}).items():
        may_be_missing: dict[str, Any] = {} if name.startswith("-") else {"nargs": "?"}
        parser.add_argument(name, type=Path, metavar="FOLDER", help=text, **may_be_missing)
    parser.set_defaults(setting=STANDARD)
    options = parser.parse_args(arguments)
    options.folder = options.folder or EXPERIMENTS / options.setting
    options.seeds = range(seeds[options.setting] if options.seeds is None else options.seeds)
    return options


def collect(name: str, options: Any, cases: Sequence[Row], measure: Callable[..., list[Row]]) -> list[Row]:
    """Rows of all cases, those of an experiment that was interrupted taken from FOLDER/NAME.jsonl.

    Parameters
    ----------
    name : str
    options : namespace
        From `arguments`.
    cases : sequence of dict
        What tells measurements apart, in plain values.
    measure : function of a module, (case, checkpoint=Path) → rows
        A training that is given the checkpoint goes on where it was interrupted.
    """
    kept = options.folder / "unfinished"
    step = partial(_measure, measure, kept, name)
    rows = study.collect(name, options.folder, cases, step, options.jobs, {"setting": options.setting}, _processes)
    if kept.exists() and not any(kept.iterdir()):
        kept.rmdir()
    return rows


def _measure(measure: Callable[..., list[Row]], kept: Path, name: str, case: Row) -> list[Row]:
    digest = hashlib.sha256(json.dumps(case, sort_keys=True).encode()).hexdigest()[:16]
    kept.mkdir(parents=True, exist_ok=True)
    checkpoint = kept / f"{name}-{digest}.pt"
    rows = measure(case, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    return rows


def _processes(jobs: int) -> Executor:
    # Forked from a server that has one thread: a process that computes must not be forked.
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))


def device() -> torch.device:
    """Where an experiment computes."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def write(
    name: str,
    options: Any,
    rows: Sequence[Row],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    text: str,
    figures: Mapping[str, Figure],
) -> None:
    """Write FOLDER/NAME.json and .md, the figures as FOLDER/NAME_KEY.png (NAME.png for the key ""), and clear up.

    Parameters
    ----------
    name, options, rows
        See `collect`.
    tables, text
        See `analysis.benchmarks.record.write`.
    figures : mapping
        What distinguishes a figure of this experiment → figure.
    """
    record.write(name, rows, tables, text, options.folder)
    for key, figure in figures.items():
        figure.savefig(options.folder / f"{name}{'_' if key else ''}{key}.png", dpi=110)
    study.finished(name, options.folder)
    print((options.folder / f"{name}.md").read_text())


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds, as the published tables have them.

    The spread has one digit and the mean is told as far as that; without a spread it has `digits`.
    """
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    if mean and abs(mean) < 1e-3:
        return f"{mean:.{digits}g}" + (f" ± {spread:.1g}" if len(values) > 1 else "")
    if spread <= 1e-12 * abs(mean):  # rounding
        return f"{_plain(mean, digits)}{' ± 0' if len(values) > 1 else ''}"
    decimals = max(0, -math.floor(math.log10(spread)))
    return f"{mean:.{decimals}f} ± {_plain(spread, 1)}"


def _plain(value: float, digits: int) -> str:
    """So many digits, without an exponent."""
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, decimals):.{max(0, decimals)}f}"
