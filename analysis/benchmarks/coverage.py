"""How often 95 % intervals hold the exact value: timescales, populations, passage times, and rates of the generator.

    python -m analysis.benchmarks.coverage --jobs 2                     # 100 seeds: under two hours on two cores
    python -m analysis.benchmarks.coverage --seeds 2 --folder /tmp/quick

Writes coverage.json and coverage.md. An interrupted study goes on where it stopped.

A seed is a new simulation, or new samples, and a new start of the learning. Exact sets are those that the exact
eigenfunctions give, by the same PCCA+ on the same number of frames from equilibrium; populations and passage times
between their cores follow from finite volumes (`analysis.exact_kinetics`). Fits are small, as it takes many of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, permutations
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import linear_sum_assignment

import spectraldyn as sd
from analysis.benchmarks.record import write
from analysis.benchmarks.study import arguments, collect, finished
from analysis.exact_kinetics import exact_exchange, over_lag
from spectraldyn.pipeline.resampled import resampled_blocks
from spectraldyn.spectra.kinetics import CORE, exchange
from spectraldyn.spectra.populations import population_estimates
from spectraldyn.spectra.states import MetastableSets, cluster_modes, memberships_of, metastable_sets
from spectraldyn.systems import SYSTEMS
from spectraldyn.systems.grids import Grid
from spectraldyn.units import TimeAxis

N_WALKERS, N_FRAMES = 10, 2000
N_MODES, N_REFITS = 3, 4
# With 150 steps passage times come out up to a third too long, in all refits alike: they cannot tell.
FIT: dict[str, Any] = {"n_networks": 1, "hidden": (32, 32), "max_steps": 500, "device": "cpu"}
N_SAMPLES = 5000
GENERATOR: dict[str, Any] = {
    "objective": "joint", "hidden": (32, 32), "batch_size": 256, "max_steps": 800, "learning_rate": 0.02,
    "device": "cpu",
}  # fmt: skip
N_EXACT = 5
"""Drawings of frames from equilibrium over which exact sets are averaged: where their clusters lie is chance."""


@dataclass(frozen=True)
class Problem:
    """A simulation, and what is known of it."""

    spacing: float
    lag: int
    """In frames."""
    n_states: int
    kinetics: str
    """The system on whose grid sets exchange: the slow part of one that separates."""
    cells: tuple[int, ...]


PROBLEMS = {
    "double-well-2d": Problem(0.2, 5, 2, "double-well", (400,)),
    "prinz": Problem(0.01, 3, 4, "prinz", (400,)),
    "triple-well-2d": Problem(0.05, 2, 3, "triple-well-2d", (45, 45)),
}
RATES = "prinz, generator"
TEXT = (
    f"{N_WALKERS} walkers of {N_FRAMES} frames from equilibrium, or {N_SAMPLES} independent samples for the generator; "
    f"{N_MODES} modes, {N_REFITS} refits, one small network. *Combined*: errors of sampling and of learning. "
    "*Sampling*: the functions are kept and blocks resampled. Brackets: exact binomial 95 % interval of the share, "
    "which takes the intervals of one seed for independent."
)


@cache
def exact_sets(name: str) -> tuple[np.ndarray, np.ndarray, list[MetastableSets]]:
    """Populations and passage times between the cores of sets that the exact eigenfunctions give, and such sets."""
    problem, system = PROBLEMS[name], SYSTEMS[name]
    slow = SYSTEMS[problem.kinetics]
    grid, n = Grid(slow.domain, problem.cells), problem.n_states
    lag_time = problem.lag * problem.spacing
    matrix, law = over_lag(slow, grid, 200, lag_time)
    on_grid = slow.eigenfunctions(grid.points().reshape(-1, slow.dimension), n - 1)
    populations, log_mfpt, found = [], [], []
    for seed in count():
        if len(found) == N_EXACT:
            break
        points = system.sample(N_WALKERS * N_FRAMES, seed=1000 + seed)
        modes = system.eigenfunctions(points, N_MODES)
        # Signs of the eigenfunctions on the grid are those at the points.
        here = slow.eigenfunctions(points[:, : slow.dimension], n - 1)
        signs = np.sign((here * modes[:, : n - 1]).sum(axis=0))
        clusters = cluster_modes(modes, seed)
        sets = metastable_sets(modes, clusters, n)
        if len(sets.populations) < n:  # where a rare set got no frame of its own
            continue
        size = np.bincount(clusters.assignment, minlength=len(clusters.centres))
        largest = [(np.bincount(clusters.assignment, m) / np.maximum(size, 1)).max() for m in sets.memberships.T]
        memberships = memberships_of(signs * on_grid, sets.transformation)
        own = memberships.argmax(axis=1)
        cores = [np.flatnonzero((own == k) & (memberships[:, k] >= CORE * largest[k])) for k in range(n)]
        if found:  # in the order of the first
            common = memberships_of(modes, found[0].transformation).T @ sets.memberships
            order = linear_sum_assignment(-common)[1]
        else:
            order = np.arange(n)
        found.append(sets)
        populations.append((law @ memberships)[order])
        mfpt = exact_exchange(matrix, law, [cores[k] for k in order], lag_time).mfpt
        log_mfpt.append(np.log(mfpt + np.eye(n)))
    return np.mean(populations, axis=0), np.exp(np.mean(log_mfpt, axis=0)), found


def row(quantity: str, exact: float, whole: Sequence[Any], sampling: Sequence[Any]) -> dict[str, Any]:
    """A value (value, low, high) beside the exact one; bounds that are missing are None."""
    value, low, high = (None if x is None or not np.isfinite(x) else float(x) for x in whole)
    below, above = (None if x is None or not np.isfinite(x) else float(x) for x in sampling)
    return {
        "quantity": quantity, "exact": float(exact), "value": value, "low": low, "high": high, "sampling_low": below,
        "sampling_high": above, "combined": covers(low, high, exact), "sampling": covers(below, above, exact),
    }  # fmt: skip


def covers(low: float | None, high: float | None, exact: float) -> bool | None:
    """None where there is no interval."""
    if low is None and high is None:
        return None
    return bool((low is None or low <= exact) and (high is None or exact <= high))


def simulated(name: str, seed: int) -> list[dict[str, Any]]:
    """Timescales, populations and passage times of one simulation."""
    problem, system = PROBLEMS[name], SYSTEMS[name]
    walkers = system.simulate(N_FRAMES, problem.spacing, seed=seed, n_walkers=N_WALKERS)
    data = sd.Dataset([walker.astype(np.float32) for walker in walkers], time=TimeAxis(problem.spacing, 1))
    learner = sd.NeuralSVD(N_MODES, problem.lag, random_state=seed, **FIT).fit(data)
    model, functions = learner.model_, learner.functions_
    refits = sd.refit_resampled(learner, model, data, N_REFITS, functions=functions, n_jobs=1)
    results = sd.analyze(model, data, problem.n_states, functions=functions, refits=refits)
    rows = [
        row(f"timescale {k}", 1 / rate, (s.value, s.low, s.high), (s.sampling.low, s.sampling.high))
        for k, (s, rate) in enumerate(zip(results.timescales, system.rates(N_MODES), strict=True), 1)
    ]
    populations, mfpt, found = exact_sets(name)
    n, sets = len(populations), results.sets
    if len(sets.populations) != n:
        return rows
    there = memberships_of(system.eigenfunctions(np.concatenate(walkers), N_MODES), found[0].transformation)
    order = linear_sum_assignment(-there.T @ sets.memberships)[1]
    resampled = resampled_blocks(model, results.modes, data)
    alone = population_estimates(sets, resampled)
    for k, own in enumerate(order):
        whole, part = [one[own] for one in results.populations], [alone.low[own], alone.high[own]]
        rows.append(row(f"population {k + 1}", populations[k], whole, part))
    kinetics, clusters = results.kinetics, results.kinetics.clusters
    plain = exchange(clusters, sets, data.stretches, problem.lag, resampled, reversible=True)
    plain = plain.in_time(problem.spacing).mfpt
    for a, b in permutations(range(n), 2):
        pair = order[a], order[b]
        rows.append(
            row(
                f"passage {a + 1} to {b + 1}", mfpt[a, b], [part[pair] for part in kinetics.mfpt],
                [plain.low[pair], plain.high[pair]],
            )
        )  # fmt: skip
    return rows


def sampled(seed: int) -> list[dict[str, Any]]:
    """Rates from independent samples and the force alone."""
    system = SYSTEMS["prinz"]
    data = sd.Dataset([system.sample(N_SAMPLES, seed=seed)])
    learner = sd.GeneratorSVD(N_MODES, random_state=seed, **GENERATOR).fit(data)
    refits = sd.refit_resampled(learner, learner.model_, data, N_REFITS, functions=learner.functions_, n_jobs=1)
    results = sd.analyze_generator(learner.model_, data, 4, functions=learner.functions_, refits=refits)
    return [
        row(f"rate {k}", rate, (r.value, r.low, r.high), (r.sampling.low, r.sampling.high))
        for k, (r, rate) in enumerate(zip(results.rates, system.rates(N_MODES), strict=True), 1)
    ]


def measure(case: dict[str, Any]) -> list[dict[str, Any]]:
    """All quantities of one seed."""
    return sampled(case["seed"]) if case["data"] == RATES else simulated(case["data"], case["seed"])


def share(rows: list[dict[str, Any]], which: str) -> str:
    """Of the intervals, those that hold the exact value, in per cent."""
    inside = [row[which] for row in rows if row[which] is not None]
    if not inside:
        return "–"
    low, high = stats.binomtest(sum(inside), len(inside)).proportion_ci()
    return f"{100 * np.mean(inside):.1f} ({100 * low:.1f}–{100 * high:.1f})"


def line(rows: list[dict[str, Any]], **names: str) -> dict[str, Any]:
    """Of a table."""
    widths = [
        np.log(r["high"] / r["low"]) / np.log(r["sampling_high"] / r["sampling_low"])
        for r in rows
        if None not in (r["low"], r["high"], r["sampling_low"], r["sampling_high"]) and r["sampling_low"] > 0 < r["low"]
    ]
    return {
        **names,
        "intervals": sum(r["combined"] is not None for r in rows),
        "none": sum(r["combined"] is None for r in rows),
        "combined (%)": share(rows, "combined"),
        "sampling (%)": share(rows, "sampling"),
        "width, combined over sampling": float(np.median(widths)) if widths else None,
        "value over exact, median": float(np.median([r["value"] / r["exact"] for r in rows if r["value"] is not None])),
    }


def main() -> None:
    names = [*PROBLEMS, RATES]
    options = arguments(str(__doc__), seeds=100, systems=names).parse_args()
    cases = [{"data": name, "seed": seed} for seed in range(options.seeds) for name in options.systems]
    rows = collect("coverage", options.folder, cases, measure, options.jobs, options={})
    kinds = ("timescale", "population", "passage", "rate")
    pooled = [
        line(found, kind=kind) for kind in kinds if (found := [r for r in rows if r["quantity"].startswith(kind)])
    ]
    pooled.append(line(rows, kind="all"))
    single = [
        line(found, data=name, quantity=quantity)
        for name in options.systems
        for quantity in dict.fromkeys(r["quantity"] for r in rows if r["data"] == name)
        if (found := [r for r in rows if r["data"] == name and r["quantity"] == quantity])
    ]
    write("coverage", rows, {"Pooled": pooled, "Every quantity": single}, TEXT, options.folder)
    finished("coverage", options.folder)


if __name__ == "__main__":
    main()
