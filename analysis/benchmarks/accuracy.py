"""Timescales of every method on systems of known answer, from 1 to 100 dimensions, against the oracle and the truth.

    python -m analysis.benchmarks.accuracy             # eleven systems, ten seeds
    python -m analysis.benchmarks.accuracy --seeds 1 --systems prinz double-well-2d --folder /tmp/quick

Writes accuracy.json and accuracy.md. What has been measured is kept in accuracy.jsonl until the study is finished: the
same command goes on from there.
"""

from typing import Any

import spectraldyn as sd
from analysis.benchmarks.record import write
from analysis.benchmarks.samples import MIXED, Sample, langevin, mixed
from analysis.benchmarks.study import (
    FROM_EXACT,
    FROM_ORACLE,
    MATRIX_METHODS,
    SHARE_E,
    WHAT,
    Row,
    arguments,
    baselines,
    collect,
    compared,
    described,
    failures,
    finished,
    median,
    side_by_side,
)

HUNDRED = f"{MIXED}-100"
HIGH_DIMENSIONAL = {MIXED: 30, HUNDRED: 100}
SYSTEMS = (*sd.systems.RUNS, HUNDRED)
N_FRAMES = 20_000
MARGIN = 1.0
"""Percentage points by which NeuralSVD may be further from the oracle than the best matrix method."""


def sample(name: str, seed: int, n_frames: int = N_FRAMES) -> Sample:
    """A new simulation for every seed."""
    return mixed(100, n_frames, seed) if name == HUNDRED else langevin(name, n_frames, seed)


def measure(case: Row) -> list[Row]:
    """All methods on one simulation."""
    return compared(sample(case["system"], case["seed"], case["frames"]), case["seed"])


def against(rows: list[Row], system: str, methods: tuple[str, ...]) -> tuple[float, float, str] | None:
    """Median distance to the oracle of NeuralSVD, and the smallest among these methods with its name."""
    mine = median(rows, FROM_ORACLE, system=system, method="neural-svd")
    theirs = [(median(rows, FROM_ORACLE, system=system, method=method), method) for method in methods]
    known = [(value, method) for value, method in theirs if value is not None]
    return None if mine is None or not known else (mine, *min(known))


def claims(rows: list[Row]) -> list[str]:
    """What the medians say, as sentences."""
    present = list(dict.fromkeys(row["system"] for row in rows))
    low = [system for system in present if system not in HIGH_DIMENSIONAL]
    sentences = []
    results = {system: found for system in low if (found := against(rows, system, MATRIX_METHODS))}
    if results:
        further = {system: mine - best for system, (mine, best, _) in results.items() if mine - best > MARGIN}
        worst = max(results, key=lambda system: results[system][0] - results[system][1])
        sentences.append(
            f"On {len(results) - len(further)} of {len(results)} systems of one or two dimensions NeuralSVD is at most "
            f"{MARGIN:g} percentage point further from the oracle than the best matrix method "
            f"({', '.join(MATRIX_METHODS)}; medians). Largest difference: {_difference(worst, results[worst])}."
            + "".join(f" Further: {_difference(system, results[system])}." for system in further if system != worst)
        )
    for system in present:
        if system in HIGH_DIMENSIONAL and (found := against(rows, system, baselines(rows))):
            closest = found[0] < found[1]
            verdict = "closer to the oracle than every baseline" if closest else "not the closest to the oracle"
            sentences.append(
                f"In {HIGH_DIMENSIONAL[system]} dimensions NeuralSVD is {verdict}: {_difference(system, found)}."
            )
    return sentences


def _difference(system: str, found: tuple[float, float, str]) -> str:
    mine, best, method = found
    return f"{mine:.2f} % against {best:.2f} % of {method} on {system}"


def tables(rows: list[Row]) -> dict[str, list[dict[str, Any]]]:
    methods = [row for row in rows if row["method"] != "oracle"]
    return {
        "Systems": [_system(rows, system) for system in dict.fromkeys(row["system"] for row in rows)],
        "Distance to the oracle (%)": side_by_side(methods, "system", FROM_ORACLE),
        "Distance to the exact value (%)": side_by_side(rows, "system", FROM_EXACT),
        "Held-out VAMP-E, divided by the oracle's": side_by_side(methods, "system", SHARE_E, 4),
        "Seconds, of the setting that was chosen": side_by_side(methods, "system", "seconds"),
        "Failures": failures(rows, "system"),
    }


def _system(rows: list[Row], system: str) -> Row:
    own = next(row for row in rows if row["system"] == system)
    return {
        "system": system, "frames": own["frames"], "lag (ps)": own["lag (ps)"],
        "processes asked for": len(own["exact (ps)"]), "exact (ps)": ", ".join(f"{t:.4g}" for t in own["exact (ps)"]),
    }  # fmt: skip


def main() -> None:
    options = arguments(__doc__, 10, SYSTEMS).parse_args()
    cases = [
        {"system": system, "seed": seed, "frames": N_FRAMES}
        for seed in range(options.seeds)
        for system in options.systems
    ]
    rows = collect("accuracy", options.folder, cases, measure, options.jobs)
    text = "\n\n".join(
        [*claims(rows), WHAT, "Asked for are the processes slower than the lag, at most three.", described()]
    )
    write("accuracy", rows, tables(rows), text, options.folder)
    finished("accuracy", options.folder)


if __name__ == "__main__":
    main()
