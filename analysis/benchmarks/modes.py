"""How many processes can be learned at once: 2 to 64 of the 127 slow ones of seven double wells.

    python -m analysis.benchmarks.modes                # six numbers of modes, two seeds
    python -m analysis.benchmarks.modes --seeds 1 --systems 2 16 --folder /tmp/quick

The wells are independent of each other, one per coordinate and of different heights: the processes are all products of
one slow function per well. --systems names the numbers of modes. Writes modes.json and modes.md; goes on from
modes.jsonl where it was interrupted.
"""

from analysis.benchmarks.record import write
from analysis.benchmarks.samples import LOW_BARRIERS, many_modes
from analysis.benchmarks.study import (
    FROM_ORACLE,
    OPTIONS,
    SHARE_2,
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

MODES = (2, 4, 8, 16, 32, 64)
N_FRAMES = LOW_BARRIERS.n_frames
# Many modes take more steps than a few: NeuralSVD may take those of its default, as VAMPNet its hundred epochs.
CHOSEN = {"neural-svd": {}, **{name: OPTIONS[name] for name in ("tica", "vamp", "edmd", "vampnet")}}
MIDDLE = "median process " + FROM_ORACLE


def measure(case: Row) -> list[Row]:
    """All methods on one simulation, asked for so many processes."""
    return compared(many_modes(case["frames"], case["seed"], case["modes"]), case["seed"], CHOSEN)


def summary(rows: list[Row]) -> str:
    """NeuralSVD and the best baseline for every number of modes."""
    parts = []
    for modes in dict.fromkeys(row["modes"] for row in rows):
        mine = median(rows, SHARE_E, modes=modes, method="neural-svd")
        found = best_baseline(rows, SHARE_E, largest=True, modes=modes)
        if mine is not None and found is not None:
            parts.append(f"{modes} modes {mine:.3f} ({found[1]} {found[0]:.3f})")
    return f"VAMP-E of NeuralSVD, divided by the oracle's, and of the best baseline, medians: {'; '.join(parts)}."


def main() -> None:
    options = arguments(__doc__, 2, MODES).parse_args()
    cases = [
        {"modes": modes, "seed": seed, "frames": N_FRAMES} for seed in range(options.seeds) for modes in options.systems
    ]
    rows = collect("modes", options.folder, cases, measure, options.jobs, CHOSEN)
    methods = [row for row in rows if row["method"] != "oracle"]
    tables = {
        "Held-out VAMP-E, divided by the oracle's": side_by_side(methods, "modes", SHARE_E, 4),
        "Held-out VAMP-2, divided by the oracle's": side_by_side(methods, "modes", SHARE_2, 4),
        "Distance to the oracle (%), median over processes": side_by_side(methods, "modes", MIDDLE),
        "Distance to the oracle (%), largest": side_by_side(methods, "modes", FROM_ORACLE),
        "Seconds, of the setting that was chosen": side_by_side(methods, "modes", "seconds"),
        "Failures": failures(rows, "modes"),
    }
    exact = max((row["exact (ps)"] for row in rows), key=len)
    about = (
        f"{N_FRAMES} frames of seven coordinates, {LOW_BARRIERS.spacing:g} ps apart, lag {LOW_BARRIERS.lag:g} ps; "
        f"timescales from {exact[0]:.3g} down to {exact[-1]:.3g} ps at {len(exact)} modes. The constant is not "
        "counted. Linear methods have seven functions at most."
    )
    write("modes", rows, tables, "\n\n".join([summary(rows), about, WHAT, described(CHOSEN)]), options.folder)
    finished("modes", options.folder)


if __name__ == "__main__":
    main()
