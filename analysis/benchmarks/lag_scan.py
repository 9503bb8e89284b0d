"""What a timescale plot over many lag times costs beside one fit, and whether refits at each lag time agree with it.

    python -m analysis.benchmarks.lag_scan             # three systems, three seeds: about an hour on one core
    python -m analysis.benchmarks.lag_scan --seeds 1 --folder /tmp/quick

Writes lag_scan.json, with every comparison, and lag_scan.md.

Cost: moments and intervals are read off the functions of one fit twice, once at its own lag time alone, once at all lag
times and with the figure drawn and saved. A fit keeps moments at all lag times itself: what those cost beside one is
taken off a fit at one lag time. Agreement: a refit has the data, the
options and the seed of the one fit, and only another lag time, so that the noise of the sample is common to both and
what differs is what the one fit lost by being trained at one lag time. A new seed is a new simulation too.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

import spectraldyn as sd
from analysis.benchmarks.record import RESULTS, write
from spectraldyn import Dataset, NeuralSVD, TransferResults, analyze, refit_at_lags
from spectraldyn.spectra.timescales import Timescale, block_moments, read_off_timescales

NAMES = ("double-well-2d", "prinz", "mixed-double-wells")
N_MODES = 3
N_WALKERS = 10
TARGET = 1.3


def simulated(name: str, seed: int) -> Dataset:
    """Trajectories as long in all as `spectraldyn simulate` makes them."""
    run = sd.systems.RUNS[name]
    walkers = sd.systems.SYSTEMS[name].simulate(
        run.n_frames // N_WALKERS, run.spacing, seed=seed, n_walkers=N_WALKERS, timestep=run.timestep
    )
    data = Dataset(walkers.astype(np.float32))
    data.time = replace(data.time, timestep_ps=run.spacing)
    return data


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, the seconds that passed, and the seconds of processor it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Cost of one system and seed, and all comparisons of its refits."""
    data = simulated(name, seed)
    learner = NeuralSVD(N_MODES, round(sd.systems.RUNS[name].lag / sd.systems.RUNS[name].spacing), random_state=seed)
    clone(learner).set_params(max_steps=20).fit(data)  # what only the first fit of a process pays
    _, *fitting = timed(lambda: learner.fit(data))
    model, functions = learner.model_, learner.functions_

    def moments(lagtimes: list[int]) -> Any:
        return block_moments(functions, data.stretches, lagtimes, tied=model.reversible)

    def read_off(lagtimes: list[int]) -> Any:
        return read_off_timescales(model.moments, functions, data.stretches, model.lagtime, seed, lagtimes=lagtimes)

    scan, own = model.moments.lagtimes.tolist(), [model.lagtime]
    (_, *all_sums), (_, *own_sums) = timed(lambda: moments(scan)), timed(lambda: moments(own))
    (_, *all_scales), (_, *own_scales) = timed(lambda: read_off(scan)), timed(lambda: read_off(own))
    results = analyze(model, data, functions=functions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timescales.png"
        _, *drawing = timed(lambda: sd.plots.save_figure(sd.plots.plot_timescales(results), path))
    results, refitting, _ = timed(lambda: refit_at_lags(results, learner))
    one, one_cpu = np.array(fitting) - all_sums + own_sums + own_scales
    every, every_cpu = np.add(fitting, all_scales)
    cost = {
        "system": name, "seed": seed, "frames": data.n_rows, "lag times": len(scan),
        "fit, one lag time (s)": float(one), "fit, all lag times (s)": float(every), "figure (s)": drawing[0],
        "ratio": float((every + drawing[0]) / one),
        "ratio of processor times": float((every_cpu + drawing[1]) / one_cpu), "refits (s)": refitting,
    }  # fmt: skip
    return cost, comparisons(name, seed, results)


class Evaluated:
    """Eigenfunctions that have been evaluated stand in for the states: once serves all lag times."""

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        return points[:, :n]


def comparisons(name: str, seed: int, results: TransferResults) -> list[dict[str, Any]]:
    """One row for each lag time and process that the plot shows, except at the lag time of the fit."""
    exact = 1 / sd.systems.SYSTEMS[name].rates(N_MODES)
    known = [sd.systems.SYSTEMS[name].eigenfunctions(np.asarray(part, dtype=float), N_MODES) for part in results.data]
    refits = results.refitted_timescales_by_lag or {}
    row_time = results.data.time.row_time
    rows = []
    for lag, row in results.refit_agreement.items():
        oracle = row_time * sd.systems.oracle_timescales(Evaluated(), known, lag, N_MODES)
        for k, agrees in enumerate(row):
            if agrees is None:
                continue
            one, again = (
                scales[k] if k < len(scales) else Timescale(None, None, None)
                for scales in (results.timescales_by_lag[lag], refits[lag])
            )
            rows.append(
                {
                    "system": name, "seed": seed, "lag (ps)": lag * row_time, "process": k + 1,
                    "exact (ps)": float(exact[k]), "oracle (ps)": float(oracle[k]),
                    "one fit (ps)": one.value, "low": one.low, "high": one.high,
                    "refit (ps)": again.value, "refit low": again.low, "refit high": again.high,
                    "z": standard_errors_apart(one, again), "agrees": agrees,
                    "one fit in the interval of the refit": inside(one.value, again),
                }
            )  # fmt: skip
    return rows


def standard_errors_apart(one: Timescale, again: Timescale) -> float | None:
    """Logarithm of refit over fit, in units of the standard error that the interval of the fit claims."""
    if not (one.value and again.value and one.low and one.high):
        return None
    return float(np.log(again.value / one.value) / (np.log(one.high / one.low) / (2 * 1.96)))


def inside(value: float | None, scale: Timescale) -> bool:
    return value is not None and (scale.low or 0.0) <= value <= (np.inf if scale.high is None else scale.high)


def agreement_by_system(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = []
    other_way = "one fit in the interval of the refit"
    for system, process in dict.fromkeys((row["system"], row["process"]) for row in rows):
        mine = [row for row in rows if (row["system"], row["process"]) == (system, process)]
        apart = [abs(row["z"]) for row in mine if row["z"] is not None]
        table.append(
            {
                "system": system, "process": process, "compared": len(mine),
                "refit in the interval of the one fit": sum(row["agrees"] for row in mine),
                other_way: sum(row[other_way] for row in mine),
                "median |z|": statistics.median(apart) if apart else None, "largest |z|": max(apart, default=None),
            }
        )  # fmt: skip
    return table


def summary(costs: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    ratios = [cost["ratio"] for cost in costs]
    agree, of = sum(row["agrees"] for row in rows), len(rows)
    return (
        f"A timescale plot over {min(cost['lag times'] for cost in costs)} lag times, with error bars and the figure, "
        f"costs {statistics.median(ratios):.3f} times one fit (median; largest {max(ratios):.3f}; target at most "
        f"{TARGET}). Refitting at each lag time costs "
        f"{statistics.median(cost['refits (s)'] / cost['fit, one lag time (s)'] for cost in costs):.1f} fits more.\n\n"
        f"{agree} of {of} refitted timescales ({100 * agree / max(of, 1):.1f} %) lie within the 95 % interval of the "
        "one fit. Compared is what the plot shows: every process at every lag time shorter than it. z: logarithm of "
        "refit over fit in units of the standard error that the interval of the fit claims. Oracle: Rayleigh–Ritz with "
        "the exact eigenfunctions on the same frames, which tells fit and refit apart where they differ."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    costs, rows = [], []
    for name in options.systems:
        for seed in range(options.seeds):
            cost, compared = measure(name, seed)
            print(cost, f"{sum(row['agrees'] for row in compared)} of {len(compared)} agree", flush=True)
            costs.append(cost)
            rows += compared
    tables = {
        "Cost": costs,
        "Agreement": agreement_by_system(rows),
        "Outside the error bars": [row for row in rows if not row["agrees"]],
    }
    everything = [{"measured": "cost", **row} for row in costs] + [{"measured": "agreement", **row} for row in rows]
    write("lag_scan", everything, tables, summary(costs, rows), options.folder)


if __name__ == "__main__":
    main()
