"""What the studies of methods side by side share: options of the methods, rows kept as they come, tables of medians."""

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis.benchmarks.oracle import oracle
from analysis.benchmarks.processes import in_forked_process
from analysis.benchmarks.record import RESULTS
from analysis.benchmarks.samples import Sample
from spectraldyn import compare_methods
from spectraldyn.baselines import MethodResult

Row = dict[str, Any]
Options = Mapping[str, Mapping[str, Any]]

MATRIX_METHODS = ("tica", "vamp", "edmd", "kernel-edmd", "msm")
OPTIONS: Options = {
    "neural-svd": {},
    "tica": {},
    "vamp": {},
    "edmd": {"widths": [2.0, 4.0, 8.0]},
    # Its time grows with the cube of the pairs. On three systems the whole grid chose much the same as these two.
    "kernel-edmd": {"n_pairs": 1000, "widths": [0.5, 2.0], "regularisations": [1.0]},
    "msm": {"n_clusters": [50, 100, 200], "n_samples": 20},
    # Few frames make short epochs: with an upper limit of 20 on their number VAMPNet would be stopped while it learns.
    "vampnet": {"learning_rates": [1.5e-3, 5e-3], "batch_sizes": [512], "max_epochs": 100},
}
"""Grids smaller than the defaults of `compare_methods`, as a study is hundreds of comparisons."""
FROM_ORACLE, FROM_EXACT = "from the oracle (%)", "from the exact value (%)"
SHARE_E, SHARE_2 = "VAMP-E / oracle's", "VAMP-2 / oracle's"


def arguments(description: str, seeds: int, systems: Sequence[Any] = ()) -> argparse.ArgumentParser:
    """Options of the command line that every study has; `systems` is what --systems may name, if anything."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="a new seed is a new simulation and a new split")
    if systems:
        parser.add_argument("--systems", nargs="+", type=type(systems[0]), choices=systems, default=list(systems))
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where to write, and to go on from")
    parser.add_argument("--jobs", type=int, default=1, help="comparisons at a time")
    return parser


def collect(
    name: str,
    folder: Path,
    cases: Sequence[Row],
    measure: Callable[[Row], list[Row]],
    jobs: int = 1,
    options: Mapping[str, Any] = OPTIONS,
    pool: Callable[[int], Executor] = ThreadPoolExecutor,
) -> list[Row]:
    """Rows of all cases, those of a study that was interrupted taken from FOLDER/NAME.jsonl.

    Taken are only those with the same options of the methods; that the code is the same too is for the user to see to.

    Parameters
    ----------
    name : str
    folder : Path
    cases : sequence of dict
        What tells measurements apart, in plain values.
    measure : callable, case → rows
    jobs : int
        Cases at a time.
    options : mapping
        Of the methods.
    pool : callable, jobs → Executor
        Where the cases are measured; a pool of processes takes a `measure` that can be pickled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    kept = _kept(path, options)
    torch.set_num_threads(1)
    missing = [case for case in cases if _key(case) not in kept]
    if len(missing) < len(cases):
        print(f"{len(cases) - len(missing)} of {len(cases)} cases are taken from {path}", flush=True)

    with path.open("a") as lines, pool(jobs) as workers:
        lines.write("\n")  # the last line may have been left unfinished
        for number, (case, rows, seconds) in enumerate(workers.map(partial(_timed, measure), missing), 1):
            kept[_key(case)] = rows
            # One line for a case, so that none is ever half there.
            lines.write(json.dumps({"case": case, "options": options, "rows": rows}) + "\n")
            lines.flush()
            print(f"{number}/{len(missing)} in {seconds:.0f} s:", *case.values(), *map(brief, rows), flush=True)
    return [row for case in cases for row in kept[_key(case)]]


def _timed(measure: Callable[[Row], list[Row]], case: Row) -> tuple[Row, list[Row], float]:
    started = time.perf_counter()
    rows = [{**case, **row} for row in measure(case)]
    return case, rows, time.perf_counter() - started


def measured_so_far(name: str, folder: Path, cases: Sequence[Row], options: Mapping[str, Any] = OPTIONS) -> list[Row]:
    """Rows of those cases that `collect` has kept in this folder."""
    kept = _kept(folder / f"{name}.jsonl", options)
    return [row for case in cases for row in kept.get(_key(case), [])]


def forget(name: str, folder: Path, methods: Collection[str]) -> None:
    """Remove the kept cases of these methods, whose code has changed; for studies that have a case for every method."""
    path = folder / f"{name}.jsonl"
    left = [json.dumps(entry) for entry in _entries(path) if entry["case"]["method"] not in methods]
    if path.exists():
        path.write_text("\n".join([*left, ""]))  # in place: another run may be adding to the file


def finished(name: str, folder: Path) -> None:
    """Remove what was kept for the case of an interruption: the study is written, and code may change."""
    (folder / f"{name}.jsonl").unlink(missing_ok=True)


def _key(case: Any) -> str:
    return json.dumps(case, sort_keys=True)


def _kept(path: Path, options: Mapping[str, Any]) -> dict[str, list[Row]]:
    asked = _key(options)
    return {_key(entry["case"]): entry["rows"] for entry in _entries(path) if _key(entry.get("options")) == asked}


def _entries(path: Path) -> list[Row]:
    entries = []
    for line in path.read_text().split("\n") if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):  # empty, or unfinished as the study was ended
            entries.append(json.loads(line))
    return entries


def brief(row: Row) -> str:
    """A row in a few words, to watch a study by."""
    if "passes" in row:
        return f"| {'passes' if row['passes'] else 'does not pass'}"
    if row.get("failed"):
        return f"| {row.get('method', '')} failed"
    name, distance = row.get("method", row.get("quantity")), row.get(FROM_ORACLE)
    return ("" if name is None else f"| {name}") + ("" if distance is None else f" {distance:.1f} %")


def compared(
    sample: Sample, seed: int, options: Options = OPTIONS, n_modes: int | None = None, time_limit: float | None = None
) -> list[Row]:
    """One row for the oracle and one for every method on the same data and split."""
    n_modes = n_modes or len(sample.exact)
    best = oracle(sample.eigenfunctions, sample.lagtime, n_modes, seed)
    comparison = compare_methods(
        sample.trajectories, sample.lagtime, n_modes, options, n_splits=1, random_state=seed, device="cpu",
        time_limit=time_limit, runner=in_forked_process,
    )  # fmt: skip
    return [_row(result, best, sample, n_modes) for result in (best, *comparison.results)]


def _row(result: MethodResult, best: MethodResult, sample: Sample, n_modes: int) -> Row:
    scales, known = (
        [scale.value and scale.value * sample.spacing for scale in own.timescales] for own in (result, best)
    )
    exact = sample.exact[:n_modes].tolist()
    from_oracle, from_exact = (None if result.failed else errors(scales, reference) for reference in (known, exact))
    return {
        "method": "oracle" if result is best else result.method,
        "failed": result.failed,
        FROM_ORACLE: from_oracle and max(from_oracle),
        "median process " + FROM_ORACLE: from_oracle and float(np.median(from_oracle)),
        FROM_EXACT: from_exact and max(from_exact),
        SHARE_E: ratio(result.vampe_test, best.vampe_test),
        SHARE_2: ratio(result.vamp2_test, best.vamp2_test),
        "timescales (ps)": scales,
        "oracle (ps)": known,
        "exact (ps)": exact,
        "vamp2_test": result.vamp2_test,
        "vampe_test": result.vampe_test,
        "seconds": result.seconds,
        "all seconds": result.seconds if result.tuning_seconds is None else result.tuning_seconds,
        "frames": sum(map(len, sample.trajectories)),
        "lag (ps)": sample.lagtime * sample.spacing,
        "settings": result.settings,
        "warnings": result.warnings,
    }


def errors(found: Sequence[float | None], reference: Sequence[float | None]) -> list[float]:
    """Relative error of every process in per cent; one that is not found is off by all of itself, 100."""
    padded = [*found, *[None] * len(reference)]
    return [
        100.0 if value is None else 100 * abs(value / true - 1)
        for value, true in zip(padded, reference, strict=False)
        if true
    ]


def ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference


def median(rows: Sequence[Row], value: str, **where: Any) -> float | None:
    """Median over the rows that have these values, None where there is nothing."""
    values = numbers(rows, value, **where)
    return float(np.median(values)) if values else None


def baselines(rows: Sequence[Row]) -> tuple[str, ...]:
    """The methods beside NeuralSVD."""
    return tuple(dict.fromkeys(row["method"] for row in rows if row["method"] not in ("oracle", "neural-svd")))


def best_baseline(rows: Sequence[Row], value: str, largest: bool = False, **where: Any) -> tuple[float, str] | None:
    """The best median among the baselines, and which that is; None where there is nothing."""
    found = [(median(rows, value, method=method, **where), method) for method in baselines(rows)]
    known = [(number, method) for number, method in found if number is not None]
    return None if not known else (max(known) if largest else min(known))


def numbers(rows: Sequence[Row], value: str, **where: Any) -> list[float]:
    return [row[value] for row in rows if row.get(value) is not None and _matches(row, where)]


def side_by_side(rows: Sequence[Row], index: str, value: str, digits: int = 3) -> list[Row]:
    """A line for every value of `index`, a column for every method: the median over seeds, and the quartiles."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    return [
        {index: entry, **{method: _cell(rows, value, digits, {index: entry, "method": method}) for method in methods}}
        for entry in dict.fromkeys(row[index] for row in rows)
    ]


def _cell(rows: Sequence[Row], value: str, digits: int, where: Row) -> str:
    own = [row for row in rows if _matches(row, where)]
    values = numbers(own, value)
    n_failed = sum(row["failed"] is not None for row in own)
    note = f" ({n_failed} of {len(own)} failed)" if n_failed else ""
    if not values:
        return f"failed{note if len(own) > 1 else ''}" if n_failed else "–"
    low, middle, high = (f"{v:.{digits}g}" for v in np.percentile(values, [25, 50, 75]))
    return middle + (f" ({low}–{high})" if len(values) > 1 else "") + note


def _matches(row: Row, where: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in where.items())


def failures(rows: Sequence[Row], index: str) -> list[Row]:
    """Which methods failed, where and why."""
    return [
        {
            **{name: row[name] for name in dict.fromkeys(("system", index)) if name in row},
            "seed": row["seed"],
            "method": row["method"],
            "why": row["failed"],
        }
        for row in rows
        if row["failed"]
    ]


def described(options: Options = OPTIONS) -> str:
    """The options of every method, as a sentence."""
    parts = [
        f"{method} ({', '.join(f'{name} {_plain(value)}' for name, value in chosen.items())})"
        for method, chosen in options.items()
        if chosen
    ]
    others = [method for method, chosen in options.items() if not chosen]
    text = f"Options that are not the defaults of `compare_methods`: {'; '.join(parts)}."
    return text + (f" No options: {', '.join(others)}." if others else "")


def _plain(value: Any) -> str:
    return " / ".join(f"{v:g}" for v in value) if isinstance(value, list) else f"{value:g}"


WHAT = (
    "From the oracle: relative error of the implied timescales against Rayleigh–Ritz with the exact eigenfunctions on "
    "the same data, the largest over the processes asked for, in per cent; a process that a method does not find is "
    "off by 100. VAMP-E: on held-out blocks, divided by that of the oracle on the same split. Cells: median "
    "(quartiles) over seeds; a seed is a new simulation and a new split. All methods run on one thread through "
    "`spectraldyn.compare_methods`."
)
"""What the columns of the tables mean."""
