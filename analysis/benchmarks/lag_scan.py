"""What a timescale plot over many lag times costs beside one fit, and whether refits at each lag time agree with it.

    python -m analysis.benchmarks.lag_scan             # three systems, three seeds: about an hour on one core
    python -m analysis.benchmarks.lag_scan --seeds 1 --folder /tmp/quick

Writes lag_scan.json, with every comparison, and lag_scan.md.

Cost: the same fit is made twice side by side, once with moments and intervals at its own lag time alone, once at all
lag times and with the figure drawn and saved; the two train alike, step for step. Agreement: a refit has the data, the
options and the seed of the one fit, and only another lag time, so that the noise of the sample is common to both and
what differs is what the one fit lost by being trained at one lag time. A new seed is a new simulation too.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.base import clone

from analysis.benchmarks.record import write
from analysis.validation import RESULTS
from spectraldyn import Features, NeuralSVD, NeuralSVDModel, Results, analyze, plots, refit_at_lags
from spectraldyn.pipeline.refit import stretches_of, timescales_by_lag
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import RUNS, SYSTEMS, oracle_timescales

NAMES = ("double-well-2d", "prinz", "mixed-double-wells")
N_MODES = 3
N_WALKERS = 10
TARGET = 1.3


def simulated(name: str, seed: int) -> Features:
    """Trajectories as long in all as `spectraldyn simulate` makes them, as features."""
    run = RUNS[name]
    walkers = SYSTEMS[name].simulate(
        run.n_frames // N_WALKERS, run.spacing, seed=seed, n_walkers=N_WALKERS, timestep=run.timestep
    )
    columns = [f"x{k}" for k in range(walkers.shape[2])]
    return Features(
        walkers.astype(np.float32), columns=columns, sources=[], files=[], timestep_ps=run.spacing, width=len(columns)
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, the seconds that passed, and the seconds of processor it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def fit_and_read_off(learner: NeuralSVD, features: Features, *, all_lags: bool) -> NeuralSVDModel:
    """One fit, with moments and intervals at its own lag time or at all."""
    own = mock.patch("spectraldyn.estimators.neural_svd.lag_scan", lambda lagtime, longest: [lagtime])
    with contextlib.nullcontext() if all_lags else own:
        model = clone(learner).fit_fetch(features)
    timescales_by_lag(model, model.functions(np.concatenate(features)), stretches_of(features), 1.0)
    return model


def measure(name: str, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Cost of one system and seed, and all comparisons of its refits."""
    features = simulated(name, seed)
    learner = NeuralSVD(N_MODES, round(RUNS[name].lag / RUNS[name].spacing), random_state=seed)
    clone(learner).set_params(max_steps=20).fit(features)  # what only the first fit of a process pays
    spent = {
        all_lags: timed(partial(fit_and_read_off, learner, features, all_lags=all_lags))
        for all_lags in ((False, True) if seed % 2 == 0 else (True, False))
    }
    results = analyze(spent[True][0], features)
    with tempfile.TemporaryDirectory() as folder:
        _, drawing, drawing_cpu = timed(
            lambda: plots.save_figure(plots.plot_timescales(results), Path(folder) / "timescales.png")
        )
    results, refitting, _ = timed(lambda: refit_at_lags(results, learner))
    (_, one, one_cpu), (_, every, every_cpu) = spent[False], spent[True]
    cost = {
        "system": name, "seed": seed, "frames": sum(map(len, features)), "lag times": len(results.timescales_by_lag),
        "fit, one lag time (s)": one, "fit, all lag times (s)": every, "figure (s)": drawing,
        "ratio": (every + drawing) / one, "ratio of processor times": (every_cpu + drawing_cpu) / one_cpu,
        "refits (s)": refitting,
    }  # fmt: skip
    return cost, comparisons(name, seed, results)


class Evaluated:
    """Eigenfunctions that have been evaluated stand in for the states: once serves all lag times."""

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        return points[:, :n]


def comparisons(name: str, seed: int, results: Results) -> list[dict[str, Any]]:
    """One row for each lag time and process that the plot shows, except at the lag time of the fit."""
    exact = 1 / SYSTEMS[name].rates(N_MODES)
    known = [SYSTEMS[name].eigenfunctions(np.asarray(part, dtype=float), N_MODES) for part in results.features]
    refits = results.refitted_timescales_by_lag or {}
    rows = []
    for lag, row in results.refit_agreement.items():
        oracle = results.frame_time * oracle_timescales(Evaluated(), known, lag, N_MODES)
        for k, agrees in enumerate(row):
            if agrees is None:
                continue
            one, again = (
                scales[k] if k < len(scales) else Timescale(None, None, None)
                for scales in (results.timescales_by_lag[lag], refits[lag])
            )
            rows.append(
                {
                    "system": name, "seed": seed, "lag (ps)": lag * results.frame_time, "process": k + 1,
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
