"""NeuralSVD at learning rates from 0.001 to 0.05, on systems of known answer: where the default comes from.

    python -m analysis.benchmarks.learning_rate        # five systems, five seeds
    python -m analysis.benchmarks.learning_rate --seeds 1 --systems prinz --folder /tmp/quick

Writes learning_rate.json and learning_rate.md; goes on from learning_rate.jsonl where it was interrupted.
"""

from analysis.benchmarks.accuracy import N_FRAMES, sample
from analysis.benchmarks.record import write
from analysis.benchmarks.samples import MIXED
from analysis.benchmarks.study import (
    FROM_ORACLE,
    SHARE_E,
    Row,
    arguments,
    collect,
    compared,
    finished,
    median,
    side_by_side,
)
from spectraldyn.estimators.neural_svd import WARM_RATE

NAME = "learning_rate"
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
SYSTEMS = ("prinz", "double-well-2d", "triple-well-2d", "muller-brown", MIXED)


def measure(case: Row) -> list[Row]:
    """NeuralSVD at one rate; in place of the method stands the rate, so that the tables have a column for each."""
    rows = compared(
        sample(case["system"], case["seed"], case["frames"]),
        case["seed"],
        {"neural-svd": {"learning_rate": case["rate"]}},
    )
    return [{**row, "method": f"{case['rate']:g}"} for row in rows if row["method"] != "oracle"]


def worst_ratios(rows: list[Row]) -> dict[float, float]:
    """For every rate its median distance to the oracle, divided by that of the best rate, on its worst system."""
    worst = dict.fromkeys(RATES, 1.0)
    for system in dict.fromkeys(row["system"] for row in rows):
        distances = {rate: median(rows, FROM_ORACLE, system=system, rate=rate) for rate in RATES}
        known = {rate: distance for rate, distance in distances.items() if distance is not None}
        for rate, distance in known.items():
            worst[rate] = max(worst[rate], distance / min(known.values()))
    return worst


def main() -> None:
    options = arguments(__doc__, 5, SYSTEMS).parse_args()
    cases = [
        {"system": system, "rate": rate, "seed": seed, "frames": N_FRAMES}
        for seed in range(options.seeds)
        for system in options.systems
        for rate in RATES
    ]
    rows = collect(NAME, options.folder, cases, measure, options.jobs)
    ratios = "; ".join(f"{rate:g}: {ratio:.1f}" for rate, ratio in worst_ratios(rows).items())
    text = (
        f"NeuralSVD at several learning rates, {N_FRAMES} frames; the default is {WARM_RATE:g}. Columns: learning "
        "rates; cells: median (quartiles) over seeds. Distance to the oracle on the worst system, as a multiple of "
        f"that of the best rate there, by rate: {ratios}."
    )
    tables = {
        "Distance to the oracle (%)": side_by_side(rows, "system", FROM_ORACLE),
        "Held-out VAMP-E, divided by the oracle's": side_by_side(rows, "system", SHARE_E, 4),
    }
    write(NAME, rows, tables, text, options.folder)
    finished(NAME, options.folder)


if __name__ == "__main__":
    main()
