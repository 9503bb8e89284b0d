"""How often the plateau test is right: a double well in its own coordinate, and one that is seen at an angle.

    python -m analysis.benchmarks.plateau                                   # 20 seeds: about a quarter of an hour
    python -m analysis.benchmarks.plateau --seeds 2 --folder /tmp/quick

Writes plateau.json and plateau.md. An interrupted study goes on where it stopped.

The particle moves in U = 5 (x² − 1)² + y²/4, and what is seen is x cos α + y sin α. At α = 0 this is a Markov process,
and every climb is a false alarm; at other angles the wells overlap, and the timescale climbs with the lag time. A new
seed is a new simulation. The test is asked twice: about the timescales of one fit at all lag times, and about those of
a new fit at each of four. Fits have one network, as many of them tell more than few that are better.
"""

from collections import Counter
from typing import Any

import numpy as np

import spectraldyn as sd
from analysis.benchmarks.record import write
from analysis.benchmarks.study import arguments, collect, finished
from spectraldyn import NeuralSVD
from spectraldyn.spectra.plateau import Plateau, Source, plateau, plateau_of

ANGLES = (0, 15, 30)
"""In degrees."""
LAGS = (8, 4, 16, 32)
"""In frames; the first is the one asked about."""
N_WALKERS, N_FRAMES, SPACING, TIMESTEP = 10, 2000, 0.2, 2e-3
"""Times in ps; the slowest timescale is 18 ps, or 90 frames."""
FITS = {"one fit at all lags": "one", "a fit at each lag": "many"}
TEXT = (
    "A double well and a spring, U = 5 (x² − 1)² + y²/4, seen along x cos α + y sin α: 20,000 frames, 220 times the "
    "slowest timescale. In its own coordinate, α = 0, the process is Markovian and every climb a false alarm; at the "
    "other angles its timescale climbs with the lag time. Asked about is the lag of 1.6 ps. *Level*: a plateau "
    "that holds this lag. *Climbs*: no plateau, or one that begins later. *Undecided*: for want of data."
)


def projection(angle: float, seed: int) -> list[np.ndarray]:
    """One coordinate of every walker, (T, 1)."""
    parts = sd.systems.SYSTEMS["double-well-2d"].parts
    options = {"n_walkers": N_WALKERS, "timestep": TIMESTEP}
    x, y = (part.simulate(N_FRAMES, SPACING, seed=2 * seed + k, **options) for k, part in enumerate(parts))
    return list(np.cos(np.radians(angle)) * x + np.sin(np.radians(angle)) * y)


def verdict(found: Plateau) -> str:
    """Of the lag time asked about."""
    if found.reached is None:
        return "undecided"
    return "level" if found.from_lag is not None and found.from_lag <= LAGS[0] else "climbs"


def measure(case: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for every way to ask."""
    data = projection(case["angle"], case["seed"])
    models = [NeuralSVD(1, lag, n_networks=1, random_state=case["seed"]).fit_fetch(data) for lag in LAGS]
    own = [Source(model.moments, model.moments.at(model.lagtime), model.eigenmodes, 0) for model in models]
    sources = sorted(own, key=lambda source: source.lagtime)
    answers = {
        "one": plateau(models[0].moments, LAGS[0], case["seed"])[0],
        "many": plateau_of(sources, LAGS[0], own[0].value, case["seed"]),
    }
    return [
        {
            "method": name,
            "verdict": verdict(found),
            "from lag": found.from_lag,
            "to lag": found.to_lag,
            "climb": found.change and [found.change.ratio, found.change.low, found.change.high],
            "timescales": [source.value for source in sources],
        }
        for name, found in answers.items()
    ]


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often each verdict was given."""
    lines = []
    for angle in ANGLES:
        for heading, name in FITS.items():
            mine = [row for row in rows if row["angle"] == angle and row["method"] == name]
            counts = Counter(row["verdict"] for row in mine)
            if mine:
                shown = {word: f"{counts[word]} of {len(mine)}" for word in ("level", "climbs", "undecided")}
                ratio = np.median([row["climb"][0] for row in mine if row["climb"]])
                lines.append({"α (degrees)": angle, "asked about": heading, **shown, "median climb": float(ratio)})
    return lines


def main() -> None:
    options = arguments(str(__doc__), seeds=20).parse_args()
    cases = [{"angle": angle, "seed": seed} for seed in range(options.seeds) for angle in ANGLES]
    rows = collect("plateau", options.folder, cases, measure, options.jobs, options={})
    write("plateau", rows, {"Verdicts": table(rows)}, TEXT, options.folder)
    finished("plateau", options.folder)


if __name__ == "__main__":
    main()
