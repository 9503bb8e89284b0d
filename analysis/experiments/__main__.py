"""All published experiments one after another, each in a process of its own; the seconds that each takes.

    python -m analysis.experiments                          # what the documentation shows: hours
    python -m analysis.experiments --quick --jobs 2         # within an hour and a half on two cores
    python -m analysis.experiments --published              # networks and steps as published: for a GPU
    python -m analysis.experiments --quick hydrogen graphs  # these alone

One that fails does not stop the others: it is named at the end, and the exit code is 1. An interrupted one goes on from
where it was. Writes analysis/results/experiments/SETTING/seconds.json and .md beside what the experiments write.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.benchmarks import record
from analysis.experiments import experiment

PACKAGE = "analysis.experiments"
NAMES = (
    "hydrogen",
    "scaling",
    "oscillator",
    "potentials",
    "four_wells",
    "logistic_map",
    "ordered_digits",
    "retrieval",
    "excited_states",
    "graphs",
    "tangent_kernel",
    "chignolin",
)
"""Modules of this package that are experiments, in the order of docs/published.md."""


def run(name: str, setting: str, jobs: int) -> dict[str, Any]:
    """One experiment in a new process: how long it took and what it returned, 0 where all went well."""
    flags = [*([] if setting == experiment.STANDARD else [f"--{setting}"]), "--jobs", str(jobs)]
    started = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", f"{PACKAGE}.{name}", *flags], cwd=record.ROOT).returncode
    return {"experiment": name, "seconds": round(time.perf_counter() - started, 1), "exit code": code}


def note(row: dict[str, Any], folder: Path) -> None:
    """Write the seconds of one experiment into those of all, in the place of earlier ones."""
    path = folder / "seconds.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    known = {other["experiment"]: other for other in [*rows, row]}
    rows = [known[name] for name in NAMES if name in known]
    total = sum(row["seconds"] for row in rows)
    record.write("seconds", rows, text=f"Together {total / 60:.1f} minutes, one after another.", folder=folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    for setting in (experiment.QUICK, experiment.PUBLISHED):
        which.add_argument(f"--{setting}", action="store_const", dest="setting", const=setting)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(NAMES)}")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, each in a process with one thread")
    parser.set_defaults(setting=experiment.STANDARD)
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no experiment {unknown[0]}: choose from {', '.join(NAMES)}")
    failed = []
    for name in options.names or NAMES:
        row = run(name, options.setting, options.jobs)
        note(row, experiment.EXPERIMENTS / options.setting)
        print(f"{name}: {row['seconds']:.0f} s" + (f", failed with {row['exit code']}" if row["exit code"] else ""))
        sys.stdout.flush()
        failed += [name] if row["exit code"] else []
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
