"""How much data every method needs, and how much it can take: 10³ to 10⁶ frames.

    python -m analysis.benchmarks.data_size            # two systems, three seeds up to 10⁴ frames, one beyond
    python -m analysis.benchmarks.data_size --seeds 1 --frames 1000 10000 --folder /tmp/quick

The data of a seed are nested: the walkers of the smaller sets are among those of the larger. Writes data_size.json and
data_size.md; goes on from data_size.jsonl where it was interrupted.
"""

from functools import lru_cache

from analysis.benchmarks.record import write
from analysis.benchmarks.samples import MIXED, Sample, langevin
from analysis.benchmarks.study import (
    FROM_EXACT,
    FROM_ORACLE,
    SHARE_E,
    WHAT,
    Row,
    arguments,
    collect,
    compared,
    described,
    failures,
    finished,
    side_by_side,
)

SYSTEMS = ("double-well-2d", MIXED)
FRAMES = (1_000, 10_000, 100_000, 1_000_000)
FULL_SEEDS = 10_000
"""Frames up to which all seeds are run; one seed beyond, where the sample's own error is small."""
TIME_LIMIT = 100.0


@lru_cache(maxsize=1)
def _simulated(system: str, n_frames: int, seed: int) -> Sample:
    return langevin(system, n_frames, seed)


def measure(case: Row, largest: int, time_limit: float) -> list[Row]:
    """All methods on the first frames of one simulation."""
    whole = largest if case["seed"] == 0 else min(largest, FULL_SEEDS)
    sample = _simulated(case["system"], whole, case["seed"]).leading(case["frames"])
    return compared(sample, case["seed"], time_limit=time_limit)


def main() -> None:
    parser = arguments(__doc__, 3, SYSTEMS)
    parser.add_argument("--frames", nargs="+", type=int, default=list(FRAMES))
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="seconds for a method with its tuning")
    options = parser.parse_args()
    cases = [
        {"system": system, "seed": seed, "frames": frames, "time limit (s)": options.time_limit}
        for system in options.systems
        for seed in range(options.seeds)
        for frames in sorted(options.frames)
        if seed == 0 or frames <= FULL_SEEDS
    ]
    rows = collect(
        "data_size",
        options.folder,
        cases,
        lambda case: measure(case, max(options.frames), options.time_limit),
        options.jobs,
    )
    tables = {}
    for system in options.systems:
        own = [row for row in rows if row["system"] == system]
        methods = [row for row in own if row["method"] != "oracle"]
        tables[f"{system}: distance to the oracle (%)"] = side_by_side(methods, "frames", FROM_ORACLE)
        tables[f"{system}: distance to the exact value (%)"] = side_by_side(own, "frames", FROM_EXACT)
        tables[f"{system}: held-out VAMP-E, divided by the oracle's"] = side_by_side(methods, "frames", SHARE_E, 4)
        tables[f"{system}: seconds, with tuning"] = side_by_side(methods, "frames", "all seconds")
    tables["Failures"] = failures(rows, "frames")
    about = (
        f"A method with its tuning has {options.time_limit:g} s, and has failed after that. Above {FULL_SEEDS} frames "
        "one seed. At 1000 frames the oracle's own score is uncertain, and so are all ratios."
    )
    write("data_size", rows, tables, "\n\n".join([about, WHAT, described()]), options.folder)
    finished("data_size", options.folder)


if __name__ == "__main__":
    main()
