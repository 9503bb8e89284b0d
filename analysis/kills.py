"""Does a run that is killed at any moment come to the same results when it is repeated, and leave nothing behind?

    python -m analysis.kills --n 100 --seed 0

A small `spectraldyn fit` is run once undisturbed. Then it is hit at random moments of its reading, training, refits,
analysis and writing: by SIGKILL, by SIGTERM, or by a disk that takes no more (a limit on the size of files, from that
moment on). After each the same command is run again. It must end well, with the same results.json but for times and
memory; beside the results nothing may be left but the input, and in the cache nothing but the stored features.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from analysis.benchmarks.record import write

KINDS = ("SIGKILL", "SIGTERM", "full disk")
PHASES = ("reading", "training", "refits", "analysis", "writing")
TIMES = ("seconds", "stages")
"""What of results.json may differ."""
EMPTY = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x90\0\0\0\x90"
"""A picture of which the page reads no more than its size."""
MOST_BYTES = 60_000
"""To which the size of files is limited at most; the largest file of the results has more."""


def command(force: bool = False) -> list[str]:
    """What is typed, in the folder of the case."""
    options = ["--lag", "5", "--modes", "2", "--refits", "2", "--out", "results", "--quiet"]
    return ["fit", "x.npy", *options, *["--force"] * force]


def prepare(folder: Path) -> None:
    """Two wells in one coordinate, and noise in another."""
    rng = np.random.default_rng(0)
    wells = np.cumsum(rng.random(1000) < 0.02) % 2
    (folder / "case").mkdir(parents=True)
    np.save(
        folder / "case" / "x.npy", np.column_stack([2 * wells - 1, np.zeros(1000)]) + 0.2 * rng.normal(size=(1000, 2))
    )


class Started(NamedTuple):
    """A process, and where what it prints can be read: a pipe, as a file would be under the limit, too."""

    process: int
    output: int


def start(folder: Path, arguments: list[str]) -> Started:
    """Run the command line in a new process, in the folder of the case.

    A fork of this process, in which all libraries are loaded already.
    """
    output, end = os.pipe()
    if child := os.fork():
        os.close(end)
        return Started(child, output)
    code = 99
    try:
        os.chdir(folder / "case")
        os.environ["SPECTRALDYN_CACHE"] = str(folder / "cache")
        os.dup2(end, 1)
        os.dup2(end, 2)
        code = run_shortly(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_shortly(arguments: list[str]) -> int:
    """The command line with hardly any training after the warm start, refits one after the other and no pictures.

    Drawing takes longer than all else that is written; the files are there, empty. Returns the exit code.
    """
    import traceback
    from unittest.mock import patch

    steps = {"STEPS": 60, "STEPS_PER_MODE": 0, "PROBE_STEPS": 20, "SETTLING_STEPS": 20}
    patches = [patch(f"spectraldyn.estimators.neural_svd.{name}", value) for name, value in steps.items()]
    patches += [patch("joblib.cpu_count", lambda: 1), patch("spectraldyn.spectra.kinetics.N_REPLICATES", 20)]
    patches += [patch("spectraldyn.plots.save_figure", lambda _, path: path.write_bytes(EMPTY))]
    for one in patches:
        one.start()
    try:
        return import_module("spectraldyn.cli").main(arguments)
    except BaseException:
        traceback.print_exc()
        return 98


def finish(started: Started) -> tuple[int, str]:
    """Its exit code, negative for a signal, and what it printed."""
    with open(started.output, errors="replace") as stream:
        said = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(started.process, 0)[1]), said.strip()


def contents(folder: Path) -> dict[str, Any]:
    """What results.json holds, less times."""
    stored = json.loads((folder / "case" / "results" / "results.json").read_text())
    return {name: value for name, value in stored.items() if name not in TIMES}


def hit(folder: Path, child: int, kind: str, phase: str, delay: float, size: int) -> None:
    """Let a run come to a phase, wait, and strike."""
    log = folder / "case" / "results-log.txt"
    while f"{phase}: begun" not in read(log):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.001)
    time.sleep(delay)
    if kind == "full disk":
        resource.prlimit(child, resource.RLIMIT_FSIZE, (size, size))
    else:
        os.kill(child, getattr(signal, kind))


def read(path: Path) -> str:
    """Text of a file; empty where there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def phase_of(log: str) -> str:
    """The last one that had begun; a run that ends while it reads leaves no log."""
    return [phase for phase in PHASES if f"{phase}: begun" in log or phase == PHASES[0]][-1]


def one_case(folder: Path, kind: str, phase: str, delay: float, size: int, expected: dict[str, Any]) -> dict[str, Any]:
    """Hit a run and repeat it; what came of both."""
    prepare(folder)
    child = start(folder, command())
    hit(folder, child.process, kind, phase, delay, size)
    code, said = finish(child)
    done = (folder / "case" / "results" / "results.json").exists()
    struck = "none: it was done" if done else phase_of(read(folder / "case" / "results-log.txt"))
    whole = {"SIGKILL": (-9,), "SIGTERM": (143,), "full disk": (0, 2)}[kind] + (0,) * done
    again, said_again = finish(start(folder, command(force=done)))
    beside = {path.name for path in (folder / "case").iterdir()} - {"x.npy", "results"}
    cached = {path.name for path in (folder / "cache").iterdir() if path.suffix not in (".npy", ".json")}
    cached |= {path.name for path in (folder / "cache").glob(".*")}
    return {
        "kind": kind,
        "meant for": phase,
        "hit in": struck,
        "exit code": code,
        "ended as it should": code in whole and "Traceback" not in said,
        "repeated": again == 0,
        "equal": again == 0 and contents(folder) == expected,
        "litter": sorted(beside | cached),
        "said": said.splitlines()[-1:],
        "said when repeated": said_again.splitlines()[-1:] if again else [],
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts by kind and by the phase that was under way."""
    groups = Counter((row["kind"], row["hit in"]) for row in rows)
    tests: dict[str, Callable[[dict[str, Any]], bool]] = {
        "ended as it should": lambda row: row["ended as it should"],
        "repeat ended well": lambda row: row["repeated"],
        "results equal": lambda row: row["equal"],
        "nothing left behind": lambda row: not row["litter"],
    }
    table = []
    for (kind, phase), number in sorted(groups.items(), key=lambda item: (item[0][0], order(item[0][1]))):
        mine = [row for row in rows if (row["kind"], row["hit in"]) == (kind, phase)]
        counts = {name: sum(map(test, mine)) for name, test in tests.items()}
        table.append({"what came": kind, "while": phase, "cases": number, **counts})
    totals = {name: sum(map(test, rows)) for name, test in tests.items()}
    return [*table, {"what came": "all", "while": "", "cases": len(rows), **totals}]


def order(phase: str) -> int:
    """Of phases in a table."""
    return PHASES.index(phase) if phase in PHASES else len(PHASES)


def study(n: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """So many cases, kind after kind and phase after phase, at random moments."""
    rng = np.random.default_rng(seed)
    prepare(folder / "undisturbed")
    code, said = finish(start(folder / "undisturbed", command()))
    if code:
        raise RuntimeError(f"the undisturbed run failed: {said}")
    expected = contents(folder / "undisturbed")
    stored = json.loads((folder / "undisturbed" / "case" / "results" / "results.json").read_text())
    seconds = {stage["name"]: stage["seconds"] for stage in stored["stages"]}
    rows = []
    for number in range(n):
        kind, phase = KINDS[number % len(KINDS)], PHASES[number // len(KINDS) % len(PHASES)]
        delay, size = rng.uniform(0, seconds[phase]), int(MOST_BYTES ** rng.uniform())
        row = one_case(folder / str(number), kind, phase, delay, size, expected)
        rows.append({"number": number, "delay": round(delay, 3), "size": size if kind == "full disk" else None, **row})
        sound = row["ended as it should"] and row["equal"] and not row["litter"]
        print(number, kind, row["hit in"], "" if sound else row, file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Write kills.json and kills.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for room in ("cli", "pipeline", "report"):  # loaded once, for all forks
        import_module(f"spectraldyn.{room}")
    import_module("torch._dynamo")  # which the first optimiser loads, for seconds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        rows = study(options.n, options.seed, Path(folder))
    text = (__doc__ or "").split("\n\n", 2)[2].strip().replace("\n", " ")
    write("kills", rows, {"": summary(rows)}, f"# Killed and repeated\n\n{text}")


if __name__ == "__main__":
    main()
