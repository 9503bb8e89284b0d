"""The same slow processes among ever more fast ones: every method from 2 to 100 dimensions.

    python -m analysis.benchmarks.dimension            # five dimensions, five seeds
    python -m analysis.benchmarks.dimension --seeds 1 --systems 2 10 --folder /tmp/quick

Two double wells and n − 2 springs, rotated and bent into one another; --systems names the dimensions. Writes
dimension.json and dimension.md; goes on from dimension.jsonl where it was interrupted.
"""

from analysis.benchmarks.record import write
from analysis.benchmarks.samples import mixed
from analysis.benchmarks.study import (
    FROM_EXACT,
    FROM_ORACLE,
    SHARE_E,
    WHAT,
    Row,
    arguments,
    best_baseline,
    collect,
    compared,
    described,
    failures,
    finished,
    median,
    side_by_side,
)

DIMENSIONS = (2, 3, 10, 30, 100)
N_FRAMES = 20_000


def measure(case: Row) -> list[Row]:
    """All methods on one simulation."""
    return compared(mixed(case["dimensions"], case["frames"], case["seed"]), case["seed"])


def summary(rows: list[Row]) -> str:
    """NeuralSVD and the best baseline in every dimension."""
    parts = []
    for dimensions in dict.fromkeys(row["dimensions"] for row in rows):
        mine = median(rows, FROM_ORACLE, dimensions=dimensions, method="neural-svd")
        found = best_baseline(rows, FROM_ORACLE, dimensions=dimensions)
        if mine is not None and found is not None:
            parts.append(f"{dimensions} dimensions {mine:.2f} % ({found[1]} {found[0]:.2f} %)")
    return f"Distance of NeuralSVD to the oracle, and of the baseline that comes closest, medians: {'; '.join(parts)}."


def main() -> None:
    options = arguments(__doc__, 5, DIMENSIONS).parse_args()
    cases = [
        {"dimensions": dimensions, "seed": seed, "frames": N_FRAMES}
        for seed in range(options.seeds)
        for dimensions in options.systems
    ]
    rows = collect("dimension", options.folder, cases, measure, options.jobs)
    methods = [row for row in rows if row["method"] != "oracle"]
    tables = {
        "Distance to the oracle (%)": side_by_side(methods, "dimensions", FROM_ORACLE),
        "Distance to the exact value (%)": side_by_side(rows, "dimensions", FROM_EXACT),
        "Held-out VAMP-E, divided by the oracle's": side_by_side(methods, "dimensions", SHARE_E, 4),
        "Seconds, of the setting that was chosen": side_by_side(methods, "dimensions", "seconds"),
        "Failures": failures(rows, "dimensions"),
    }
    about = f"{N_FRAMES} frames, 0.1 ps apart, lag 0.5 ps; timescales 8.395, 4.135 and 2.77 ps in every dimension."
    write("dimension", rows, tables, "\n\n".join([summary(rows), about, WHAT, described()]), options.folder)
    finished("dimension", options.folder)


if __name__ == "__main__":
    main()
