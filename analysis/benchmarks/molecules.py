"""Every method on alanine dipeptide at 400 K, beside the timescales of reference Markov models.

    python -m analysis.benchmarks.molecules            # five seeds of the split
    python -m analysis.benchmarks.molecules --seeds 1 --folder /tmp/quick

The trajectories are those shipped in data/alanine_dipeptide; --data names another folder, such as the one with all of
them. A seed is a new split, and a new start of what is random in a method. Writes molecules_compared.json and
molecules_compared.md; goes on from molecules_compared.jsonl where it was interrupted.
"""

from pathlib import Path

import numpy as np

from analysis.benchmarks.processes import in_forked_process
from analysis.benchmarks.record import ROOT, write
from analysis.benchmarks.study import (
    OPTIONS,
    Options,
    Row,
    arguments,
    collect,
    described,
    failures,
    finished,
    side_by_side,
)
from spectraldyn import Dataset, compare_methods, load_features

NAME = "molecules_compared"
DATA = ROOT / "data" / "alanine_dipeptide"
LAG_PS, N_MODES = 5.0, 3
REFERENCES = {1: (307.0, 275.0, 340.0), 2: (10.1, 9.4, 10.9)}
"""Timescale in ps and accepted range of each process, from Markov models on 30 × 30 cells of φ and ψ, all data."""


def loaded(folder: Path) -> Dataset:
    """Features of all trajectories of a folder, those the command line takes by default."""
    return load_features(sorted(folder.glob("*.xtc")), top=folder / "top.pdb")


def compared(data: Dataset, seed: int, options: Options = OPTIONS) -> list[Row]:
    """One row for every method."""
    comparison = compare_methods(
        data, round(LAG_PS / data.time.row_time), N_MODES, options, n_splits=1, random_state=seed, device="cpu",
        runner=in_forked_process,
    )  # fmt: skip
    return [
        {
            **{name: row[name] for name in ("method", "failed", "vamp2_test", "vampe_test", "seconds")},
            "all seconds": row["tuning_seconds"] if row["tuning_seconds"] is not None else row["seconds"],
            **{f"timescale {k + 1} (ps)": time for k, time in enumerate(row["timescales"])},
            "low (ps)": row["low"],
            "high (ps)": row["high"],
            "unresolved": row["unresolved"],
            "settings": row["settings"],
            "warnings": row["warnings"],
        }
        for row in comparison.rows()
    ]


def verdicts(rows: list[Row]) -> list[Row]:
    """How often each method lies in the accepted ranges, and its interval holds the reference."""
    table = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        line: Row = {"method": method, "seeds": len(own)}
        for process, (reference, low, high) in REFERENCES.items():
            values = [row[f"timescale {process} (ps)"] for row in own]
            held = [
                (row["low (ps)"][process - 1] or 0.0) <= reference <= (row["high (ps)"][process - 1] or np.inf)
                for row, value in zip(own, values, strict=True)
                if value is not None
            ]
            line[f"{process}: in {low:g}–{high:g} ps"] = sum(low <= (value or 0.0) <= high for value in values)
            line[f"{process}: interval holds {reference:g} ps"] = sum(held)
        table.append(line)
    return table


def main() -> None:
    parser = arguments(__doc__, 5)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of *.xtc and top.pdb")
    options = parser.parse_args()
    data = loaded(options.data)
    cases = [{"molecule": options.data.name, "seed": seed} for seed in range(options.seeds)]
    rows = collect(NAME, options.folder, cases, lambda case: compared(data, case["seed"]), options.jobs)
    columns = {f"Timescale {k + 1} (ps)": (f"timescale {k + 1} (ps)", 3) for k in range(N_MODES)}
    columns |= {"Held-out VAMP-2": ("vamp2_test", 4), "Held-out VAMP-E": ("vampe_test", 4)}
    columns |= {"Seconds, with tuning": ("all seconds", 3)}
    tables = {heading: side_by_side(rows, "molecule", value, digits) for heading, (value, digits) in columns.items()}
    tables |= {"Against the reference": verdicts(rows), "Failures": failures(rows, "molecule")}
    text = (
        f"{len(data)} trajectories, {data.n_rows} frames, {data.width} features, lag "
        f"{LAG_PS:g} ps. References: reversible Markov models on 30 × 30 cells of φ and ψ, from twelve trajectories of "
        "the same set-up, of which some are here: slowest (φ > 0) 307 ps, accepted 275–340; α/β 10.1 ± 0.2 ps, "
        "accepted 9.4–10.9. The slowest process is seen a dozen times in the three trajectories that are shipped, "
        "which leaves it uncertain by about half. Cells: median (quartiles) over splits; timescales are read off all "
        "pairs, functions learned on seven tenths."
    )
    write(NAME, rows, tables, f"{text}\n\n{described()}", options.folder)
    finished(NAME, options.folder)


if __name__ == "__main__":
    main()
