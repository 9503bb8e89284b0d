"""What the verdict says of twelve data sets that are bad in one way each, and of six good ones.

    python -m analysis.verdicts                           # about an hour on one core
    python -m analysis.verdicts --seeds 2 --folder /tmp/quick

A bad one counts as seen where the verdict holds a problem or a caution with the words that are expected; a good one as
a false alarm where it holds any problem or caution. Goes on from verdicts.jsonl where it was interrupted.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import spectraldyn as sd
from analysis.benchmarks.record import RESULTS, write
from spectraldyn.systems import SYSTEMS
from spectraldyn.units import TimeAxis

Trajectories = list[np.ndarray]


@dataclass(frozen=True)
class Case:
    """Trajectories, and how they are fitted."""

    make: Callable[[int], Trajectories]
    """From a seed."""
    lag: int
    """In rows."""
    n_modes: int
    expected: tuple[str, ...] = ()
    """Words of which some must be said; none where nothing must be."""


def wells(seed: int, n_frames: int = 3000, n_walkers: int = 10, name: str = "double-well") -> Trajectories:
    spacing = {
        "double-well": 0.2,
        "double-well-2d": 0.2,
        "prinz": 0.01,
        "triple-well-2d": 0.05,
        "mixed-double-wells": 0.02,
    }.get(name, 0.1)
    return list(SYSTEMS[name].simulate(n_frames, spacing, seed=seed, n_walkers=n_walkers))


def disconnected(seed: int) -> Trajectories:
    left, right = SYSTEMS["ornstein-uhlenbeck"].simulate(5000, 0.2, seed=seed, n_walkers=2)
    return [0.1 * left - 1, 0.1 * right + 1]


def drifting(seed: int) -> Trajectories:
    return [run + np.linspace(0, 4, len(run))[:, None] for run in wells(seed, name="ornstein-uhlenbeck")]


def shuffled(seed: int) -> Trajectories:
    random = np.random.default_rng(seed)
    return [random.permutation(run) for run in wells(seed)]


def frozen(seed: int) -> Trajectories:
    first, *others = wells(seed)
    first[-400:] = first[-400]
    return [first, *others]


def wide(seed: int) -> Trajectories:
    """Two hundred coordinates of noise beside the slow one, 1,500 frames."""
    (run,) = wells(seed, 1500, 1)
    return [np.hstack((run, np.random.default_rng(seed).normal(size=(1500, 200))))]


def noisy(seed: int) -> Trajectories:
    """The slow coordinate with noise that differs from frame to frame: at short lags it hides how slow it is."""
    random = np.random.default_rng(seed)
    return [run + 0.8 * random.normal(size=run.shape) for run in wells(seed)]


def driven(seed: int) -> Trajectories:
    """A particle driven around a ring with three shallow wells, as the cosine and sine of its angle."""
    random, angle = np.random.default_rng(seed), np.zeros(10)
    frames = np.empty((4000, 10))
    for frame in frames:
        for _ in range(10):
            angle += 0.01 * (1.5 + 1.5 * np.sin(3 * angle)) + np.sqrt(2 * 0.01 * 0.5) * random.normal(size=10)
        frame[:] = angle
    return [np.column_stack((np.cos(column), np.sin(column))) for column in frames.T]


def projected(seed: int) -> Trajectories:
    """One coordinate of a rotated double well in two dimensions: it mixes the slow motion with a faster, wider one."""
    return [run.sum(axis=1, keepdims=True) for run in wells(seed, name="double-well-2d")]


def doubled(seed: int) -> Trajectories:
    first, *others = wells(seed)
    return [first, *others, first.copy()]


NOT_MARKOVIAN = ("Chapman–Kolmogorov test fails", "still climbs with the lag time")
BAD = {
    "one short run": Case(lambda seed: wells(seed, 150, 1), 1, 1, ("too short",)),
    "two disconnected runs": Case(disconnected, 1, 1, ("never visit the same states",)),
    "drift": Case(drifting, 1, 1, ("the trajectories drift",)),
    "shuffled frames": Case(shuffled, 1, 1, ("out of order",)),
    "frozen end": Case(frozen, 5, 1, ("do not differ",)),
    "too many features": Case(wide, 1, 2, ("features and only 1500 frames",)),
    "too few transitions": Case(lambda seed: wells(seed, 800, 1), 1, 1, ("transitions seen", "transition seen")),
    "lag too short": Case(noisy, 1, 1, NOT_MARKOVIAN),
    "lag too long": Case(
        lambda seed: wells(seed), 600, 1, ("shorter than the lag time", "no process slower than the lag time")
    ),
    "driven dynamics taken as reversible": Case(driven, 2, 2, ("run one way in time",)),
    "non-Markovian projection": Case(projected, 1, 2, NOT_MARKOVIAN),
    "duplicated run": Case(doubled, 5, 1, ("the same trajectory was given 2 times",)),
}
GOOD = {
    "double well": Case(wells, 5, 1),
    "tilted double well": Case(lambda seed: wells(seed, name="tilted-double-well"), 5, 1),
    "four wells": Case(lambda seed: wells(seed, name="prinz"), 5, 3),
    "triple well": Case(lambda seed: wells(seed, 5000, name="triple-well-2d"), 10, 2),
    "spring": Case(lambda seed: wells(seed, name="ornstein-uhlenbeck"), 2, 2),
    "thirty dimensions": Case(lambda seed: wells(seed, 5000, 20, "mixed-double-wells"), 5, 3),
}


def judged(name: str, case: Case, seed: int, **options: Any) -> dict[str, Any]:
    """What the verdict says of one data set; options of `NeuralSVD` are its defaults."""
    data = sd.Dataset([np.asarray(run, dtype=np.float32) for run in case.make(seed)], time=TimeAxis(1.0, 1))
    started = time.perf_counter()
    fit = sd.NeuralSVD(case.n_modes, case.lag, random_state=seed, device="cpu", **options).fit(data)
    verdict = sd.analyze(fit.model_, data, functions=fit.functions_).verdict
    said = [f"{one.level}: {one.message}" for one in verdict if one.level != "good"]
    seen = any(words in sentence for sentence in said for words in case.expected)
    seconds = time.perf_counter() - started
    return {"data": name, "seed": seed, "said": said, "seen": seen, "seconds": round(seconds, 1)}


def table(rows: list[dict[str, Any]], cases: dict[str, Case]) -> list[dict[str, Any]]:
    lines = []
    for name, case in cases.items():
        own = [row for row in rows if row["data"] == name]
        if not own:
            continue
        line: dict[str, Any] = {"data": name, "seeds": len(own)}
        if not case.expected:
            line["false alarms"] = sum(bool(row["said"]) for row in own)
            said = [sentence for row in own for sentence in row["said"]]
        else:
            line["seen"] = sum(row["seen"] for row in own)
            said = [s for row in own for s in row["said"] if any(words in s for words in case.expected)]
        line["what is said (first)"] = said[0] if said else "–"
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--systems", nargs="+", choices=[*BAD, *GOOD], default=[*BAD, *GOOD])
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    kept = options.folder / "verdicts.jsonl"
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["data"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for name in options.systems:
            if (name, seed) not in done:
                rows.append(judged(name, (BAD | GOOD)[name], seed))
                print(name, seed, *rows[-1]["said"], sep=" | ", flush=True)
                with kept.open("a") as lines:
                    lines.write(json.dumps(rows[-1]) + "\n")
    tables = {"Bad in one way each": table(rows, BAD), "Good": table(rows, GOOD)}
    write("verdicts", rows, tables, "Default fits. Seen: the verdict names what is wrong.", options.folder)
    kept.unlink()


if __name__ == "__main__":
    main()
