"""A slow process that no linear coordinate shows: a double well along a radius, among 0 to 20 noise coordinates.

    python -m analysis.benchmarks.hidden               # two numbers of noise coordinates, ten seeds
    python -m analysis.benchmarks.hidden --seeds 1 --systems 20 --folder /tmp/quick

--systems names the numbers of noise coordinates. Writes hidden.json and hidden.md; goes on from hidden.jsonl where it
was interrupted.
"""

from analysis.benchmarks.record import write
from analysis.benchmarks.samples import hidden_radius
from analysis.benchmarks.study import (
    FROM_ORACLE,
    OPTIONS,
    SHARE_E,
    WHAT,
    Row,
    arguments,
    collect,
    compared,
    described,
    failures,
    finished,
    median,
    side_by_side,
)

NOISE = (0, 20)
N_FRAMES = 20_000
CHOSEN = {name: OPTIONS[name] for name in ("neural-svd", "tica", "edmd", "vampnet")}


def measure(case: Row) -> list[Row]:
    """All methods on one simulation with so many noise coordinates."""
    return compared(hidden_radius(case["frames"], case["seed"], case["noise"]), case["seed"], CHOSEN)


def summary(rows: list[Row]) -> str:
    """NeuralSVD's distance to the oracle for every number of noise coordinates."""
    parts = [
        f"{noise} noise coordinates {median(rows, FROM_ORACLE, noise=noise, method='neural-svd'):.2g} %"
        for noise in dict.fromkeys(row["noise"] for row in rows)
    ]
    return f"Distance of NeuralSVD to the oracle, medians: {'; '.join(parts)}."


def main() -> None:
    options = arguments(__doc__, 10, NOISE).parse_args()
    cases = [
        {"noise": noise, "seed": seed, "frames": N_FRAMES} for seed in range(options.seeds) for noise in options.systems
    ]
    rows = collect("hidden", options.folder, cases, measure, options.jobs, CHOSEN)
    methods = [row for row in rows if row["method"] != "oracle"]
    tables = {
        "Distance to the oracle (%)": side_by_side(methods, "noise", FROM_ORACLE),
        "Held-out VAMP-E, divided by the oracle's": side_by_side(methods, "noise", SHARE_E, 4),
        "Seconds, of the setting that was chosen": side_by_side(methods, "noise", "seconds"),
        "Failures": failures(rows, "noise"),
    }
    about = (
        f"{N_FRAMES} frames in walks of 1,000; the slow process lies in the radius of the first two coordinates, whose "
        "angle is drawn anew in every frame; the others are independent noise of variance 1."
    )
    write("hidden", rows, tables, "\n\n".join([summary(rows), about, WHAT, described(CHOSEN)]), options.folder)
    finished("hidden", options.folder)


if __name__ == "__main__":
    main()
