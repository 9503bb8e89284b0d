"""How often the Chapman–Kolmogorov test is right: models that describe Markovian dynamics, and models that do not.

    python -m analysis.benchmarks.chapman_kolmogorov                        # 100 seeds: about 25 minutes on one core
    python -m analysis.benchmarks.chapman_kolmogorov --seeds 2 --folder /tmp/quick

Writes chapman_kolmogorov.json and chapman_kolmogorov.md. An interrupted study goes on where it stopped.

A new seed is a new simulation and a new fit. Fits have one small network and few steps: asked about is the test, and
functions that are learned less well than they could be make it harder for it to pass what is right.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

import spectraldyn as sd
from analysis.benchmarks.record import write
from analysis.benchmarks.study import arguments, collect, finished
from analysis.verdicts import Trajectories, driven
from spectraldyn.estimators import NeuralSVDModel
from spectraldyn.pipeline.sets import sets_of_modes
from spectraldyn.pipeline.verdict import SURE
from spectraldyn.spectra.chapman_kolmogorov import ChapmanKolmogorov, chapman_kolmogorov
from spectraldyn.spectra.kinetics import membership_coefficients
from spectraldyn.spectra.timescales import block_moments, slowest_rows

FIT: dict[str, Any] = {"n_networks": 1, "hidden": (16,), "max_steps": 120, "device": "cpu"}
SPACING = {"double-well": 0.2, "double-well-2d": 0.2, "prinz": 0.01, "triple-well-2d": 0.1}
"""Between frames; times in ps."""
TIMESTEP = {"double-well": 2e-3, "double-well-2d": 2e-3, "prinz": 1e-4, "triple-well-2d": 5e-3}
"""Longer than the default: where the process is Markovian, so is the one with a coarse step."""


@dataclass(frozen=True)
class Kind:
    """Models of one kind, and what the test should say of them."""

    make: Callable[[int], Trajectories]
    """From a seed."""
    lag: int
    """In frames."""
    n_modes: int
    right: bool
    """Whether the test should pass."""
    reversible: bool = True
    shuffled: bool = False
    """Whether functions are learned from pairs whose right ends are permuted; they are tested on the true series."""


@lru_cache(maxsize=4)  # several kinds of one seed see the same walk
def walk(name: str, seed: int, n_walkers: int = 10, n_frames: int = 3000) -> Trajectories:
    system, timestep = sd.systems.SYSTEMS[name], TIMESTEP[name]
    return list(system.simulate(n_frames, SPACING[name], seed=seed, n_walkers=n_walkers, timestep=timestep))


def triple(seed: int) -> Trajectories:
    return walk("triple-well-2d", seed, 30, 1000)


def noisy(seed: int) -> Trajectories:
    """The coordinate of a double well with noise that differs from frame to frame."""
    random = np.random.default_rng(seed)
    return [run + 0.8 * random.normal(size=run.shape) for run in walk("double-well", seed)]


def projected(seed: int, n_frames: int | None = None) -> Trajectories:
    """One coordinate of a double well in two dimensions, turned by 45°: (x + y) / √2, with √2 left out."""
    return [run[:n_frames].sum(axis=1, keepdims=True) for run in walk("double-well-2d", seed)]


def half_seen(seed: int) -> Trajectories:
    """The particle that is driven around a ring, without the sine of its angle."""
    return [run[:, :1] for run in driven(seed)]


KINDS = {
    "double well": Kind(lambda seed: walk("double-well", seed), 5, 1, right=True),
    "four wells (Prinz)": Kind(lambda seed: walk("prinz", seed), 5, 3, right=True),
    "triple well in 2-D": Kind(triple, 5, 2, right=True),
    "driven ring, two sides": Kind(driven, 2, 2, right=True, reversible=False),
    "triple well, learned on shuffled pairs": Kind(triple, 5, 2, right=False, shuffled=True),
    "double well under noise, lag of one frame": Kind(noisy, 1, 1, right=False),
    "projected double well": Kind(projected, 1, 2, right=False),
    "projected double well, a third of the data": Kind(lambda seed: projected(seed, 1000), 1, 2, right=False),
    "driven ring, two sides, only its cosine": Kind(half_seen, 2, 2, right=False, reversible=False),
}
TEXT = (
    "Models with one network of 16 units and 120 steps, and one metastable set more than they have modes. *Passes*: "
    "the verdict of the test, with the exact binomial 95 % interval of its rate; it fails where a difference is "
    "larger, at 95 %, than 3 % of what a set remembers after one lag time. *Alarms*: the verdict on a fit calls that "
    "a problem, which takes p ≤ 0.2 %. *Difference*: the largest one as a share of that memory, median over seeds. "
    "Rejected should be: functions learned from pairs whose right ends were permuted, as two arrays are that are "
    "shuffled each for itself, their spectrum read off the true series; the coordinate of a double well under noise of "
    "0.8 at a lag of one frame, 1/90 of the slowest timescale; x + y of a double well along x and a soft spring along "
    "y, at the same lag; the cosine alone of the angle of a particle that is driven around a ring."
)


def tested(model: NeuralSVDModel, data: sd.Dataset) -> ChapmanKolmogorov | None:
    """The test as `analyze` makes it with one set more than there are modes, and nothing else that `analyze` does."""
    functions, seed, lag = model.functions(data), model.settings.seed, model.lagtime
    modes = model.modes_from(functions)
    _, sets, _ = sets_of_modes(modes, 1 + modes.shape[1], seed)
    memberships = membership_coefficients(sets, model.spectrum.left * model.signs)
    slowest = slowest_rows(model.timescales(), lag)
    return chapman_kolmogorov(
        functions, data.stretches, lag, memberships, tied=model.reversible, slowest=slowest, random_state=seed
    )


def read_off(model: NeuralSVDModel, data: sd.Dataset) -> NeuralSVDModel:
    """The same functions with the spectrum that they have in other data."""
    functions = model.functions(data)
    moments = block_moments(functions, data.stretches, [model.lagtime], tied=model.reversible)
    spectrum = moments.spectrum()
    signs = np.ones(spectrum.left.shape[1])
    return dataclasses.replace(model, moments=moments, spectrum=spectrum, signs=signs)


def fitted(kind: Kind, seed: int) -> tuple[NeuralSVDModel, sd.Dataset]:
    runs = [np.asarray(run, dtype=np.float32) for run in kind.make(seed)]
    data = sd.Dataset(runs)
    learner = sd.NeuralSVD(kind.n_modes, kind.lag, reversible=kind.reversible, random_state=seed, **FIT)
    if not kind.shuffled:
        return learner.fit_fetch(data), data
    left, right = (np.concatenate([run[part] for run in runs]) for part in (np.s_[: -kind.lag], np.s_[kind.lag :]))
    pairs = left, np.random.default_rng(seed).permutation(right)
    return read_off(learner.fit_fetch(pairs), data), data


def measure(case: dict[str, Any]) -> list[dict[str, Any]]:
    """One row."""
    model, data = fitted(KINDS[case["kind"]], case["seed"])
    test = tested(model, data)
    return [
        {
            "frames": data.n_rows,
            "timescales": model.timescales().tolist(),
            "passes": None if test is None else test.passes,
            "p-value": None if test is None else test.p_value,
            "largest difference": None if test is None else float(test.differences.max()),
            "at lags": None if test is None else test.lagtimes.tolist(),
        }
    ]


def table(rows: list[dict[str, Any]], right: bool) -> list[dict[str, Any]]:
    """How often the test passes models of each kind, and all that are right together."""
    groups = {name: [row for row in rows if row["kind"] == name] for name, kind in KINDS.items() if kind.right == right}
    if right:
        groups["all"] = [row for group in groups.values() for row in group]
    return [line(name, mine) for name, mine in groups.items() if mine]


def line(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    n, passed, rejected = len(rows), *(sum(row["passes"] is said for row in rows) for said in (True, False))
    low, high = stats.binomtest(passed, n).proportion_ci(0.95, method="exact")
    known = [row for row in rows if row["passes"] is not None]
    frames = sorted({row["frames"] for row in rows})
    return {
        "models": name,
        "frames": " – ".join(f"{number:,}" for number in dict.fromkeys((frames[0], frames[-1]))),
        "passed": f"{passed} of {n}",
        "rejected": f"{rejected} of {n}",
        "passes (%)": f"{100 * passed / n:.3g} ({100 * low:.1f} – {100 * high:.1f})",
        "alarms": f"{sum(row['p-value'] <= SURE for row in known)} of {n}",
        "difference": float(np.median([row["largest difference"] for row in known])) if known else None,
        "slowest timescale (frames)": float(np.median([max(row["timescales"]) for row in rows])),
    }


def main() -> None:
    parser = arguments(str(__doc__), seeds=100, systems=list(KINDS))
    options = parser.parse_args()
    cases = [{"kind": kind, "seed": seed} for seed in range(options.seeds) for kind in options.systems]
    rows = collect("chapman_kolmogorov", options.folder, cases, measure, options.jobs, options={})
    tables = {"Right models": table(rows, right=True), "Wrong ones": table(rows, right=False)}
    write("chapman_kolmogorov", rows, tables, TEXT, options.folder)
    finished("chapman_kolmogorov", options.folder)


if __name__ == "__main__":
    main()
