"""Alanine dipeptide in three programs: what their users write, what comes out, and how long it takes.

    python -m analysis.benchmarks.side_by_side                             # without PyEMMA
    python -m analysis.benchmarks.side_by_side --pyemma env/bin/python     # in an environment that holds it

Each program of analysis/side_by_side runs in a process of its own, on one core and with one thread. PyEMMA 2.5.12, the
last release, runs on Python 3.11 with libraries of its time alone, which are not those of spectraldyn; they are made by

    python3.11 -m venv env && env/bin/pip install setuptools pyemma==2.5.12 six mdtraj==1.10.0
    env/bin/pip install numpy==1.23.5 'scipy<1.11' 'scikit-learn<1.4' 'matplotlib<3.8' 'contourpy<1.2' 'h5py<3.11'
"""

import argparse
import ast
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from analysis.benchmarks.record import RESULTS, ROOT, write
from analysis.benchmarks.study import collect, finished
from spectraldyn.baselines import THREAD_SETTINGS

NAME = "side_by_side"
PROGRAMS = {
    name: ROOT / "analysis" / "side_by_side" / f"with_{name}.py" for name in ("spectraldyn", "deeptime", "pyemma")
}
DATA = ROOT / "data" / "alanine_dipeptide"
PRINTED = re.compile(r"^([a-z]+ \S.*): (\S+) \((\S+) – (\S+)\)$", re.MULTILINE)
UNITS = {"timescale": " (ps)", "passage": " (ps)", "population": ""}
TEXT = """\
Three runs of 23,400 frames, 1 ps apart (`data/alanine_dipeptide`); lag time 5 ps, three processes, three metastable
sets. The programs are those of `analysis/side_by_side`: from files to timescales at several lag times, a
Chapman–Kolmogorov test, sets and populations, free energies, passage times, figures of these, and 95 % intervals. Lines
are those with code, of at most 120 characters, figures those in files. Seconds are medians (lowest – highest) of {runs}
runs, with the start of Python and all imports, on one core; those of spectraldyn hold four refits, which other cores
would share. Numbers are those of the run in the middle by the first timescale."""


def measure(name: str, python: str) -> dict[str, Any]:
    """Seconds, figures and numbers of one program, run once, and the size of its text."""
    source = PROGRAMS[name].read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False) or ""
    lines = [line for line in source.replace(docstring, "").splitlines() if line.strip(' "') and line[0] != "#"]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | THREAD_SETTINGS | {"SPECTRALDYN_CACHE": f"{folder}/store", "MPLBACKEND": "agg"}
        start = time.perf_counter()
        done = subprocess.run(
            [python, PROGRAMS[name], DATA, folder], env=environment, check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
        figures = len(list(Path(folder).rglob("*.png")))
    numbers = {found[1]: [float(value) for value in found.groups()[1:]] for found in PRINTED.finditer(done.stdout)}
    return {"lines": len(lines), "figures": figures, "seconds": seconds, "numbers": numbers}


def tables(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What is written and how long it takes, and what comes out."""
    names = list(dict.fromkeys(row["program"] for row in rows))
    mine = {name: sorted((row for row in rows if row["program"] == name), key=_first) for name in names}
    effort = [
        {
            **{key: mine[name][0][key] for key in ("program", "lines", "figures")},
            "seconds": _median_and_range([row["seconds"] for row in mine[name]]),
        }
        for name in names
    ]
    middle = {name: mine[name][len(mine[name]) // 2]["numbers"] for name in names}
    found = [
        {"": quantity + UNITS[quantity.split()[0]]} | {name: _interval(middle[name].get(quantity)) for name in names}
        for quantity in middle[names[0]]
    ]
    return {"What is written, and how long it takes": effort, "What comes out": found}


def _first(row: dict[str, Any]) -> float:
    return row["numbers"]["timescale 1"][0]


def _median_and_range(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} – {max(values):.3g})"


def _interval(numbers: list[float] | None) -> str:
    return "–" if numbers is None else "{} ({} – {})".format(*map(_three_digits, numbers))


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pyemma", help="Python of an environment with PyEMMA")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where to write, and to go on from")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pythons = {"spectraldyn": sys.executable, "deeptime": sys.executable}
    if options.pyemma:
        pythons["pyemma"] = options.pyemma
    cases = [{"program": name, "run": run} for run in range(options.runs) for name in pythons]
    rows = collect(
        NAME, options.folder, cases, lambda case: [measure(case["program"], pythons[case["program"]])], options={}
    )
    write(NAME, rows, tables(rows), TEXT.format(runs=options.runs), options.folder)
    finished(NAME, options.folder)


if __name__ == "__main__":
    main()
