"""NeuralSVD on the villin model from its Cα distances alone, beside reference Markov models and TICA.

    python -m analysis.benchmarks.villin --data ../shared/data
    python -m analysis.benchmarks.villin --data ../shared/data --forget fit neural-svd    # after its code has changed
    python -m analysis.benchmarks.villin --data ../shared/data --seeds 0                  # the references alone

Three runs, 561 distances, lag 5 ps, three modes. References are reversible Markov models of all frames, on k-means
clusters in TICA coordinates. Fits of all frames with the default settings give timescales and seconds; comparisons,
which hold three tenths of the frames out, give scores. Writes villin.json and villin.md; what is measured is kept in
FOLDER/villin.jsonl, from which every run goes on.
"""

import time
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.benchmarks.real import SCORES, SYSTEMS, against_peers, loaded, measured, shown
from analysis.benchmarks.record import write
from analysis.benchmarks.study import Row, arguments, collect, forget
from analysis.references import block_counts, clustered, markov_timescales, resampled_timescales, slow_projection
from spectraldyn import NeuralSVD, analyze

NAME, SYSTEM = "villin", "villin_go"
REFERENCE, FIT, OURS, LINEAR = "markov", "fit", "neural-svd", "tica"
COORDINATES, CLUSTERS, LAGS_PS = (4, 8), (50, 100, 200), (5.0, 10.0, 20.0)
"""More clusters fit noise: with 400 the slowest timescale of resampled blocks lies up to 7 % above that of all."""
N_BLOCKS, N_SAMPLES = 20, 100
"""Blocks of every run, 500 ps or some 30 of the slowest relaxation times each; resamplings."""
CONVERGED_PS = ((10.0, 20.0), (5.0, 10.0))
"""Lag times that count for the first and for the second process. At 5 ps few clusters still miss a part of the first;
at 20 ps some 5 % of the second are left, and its timescale grows with the number of clusters, which is noise."""
WHAT = (
    "References: reversible Markov models on k-means clusters in TICA coordinates (kinetic map, lag 5 ps) of all "
    "distances and frames; the range is that of the maximum-likelihood values over all settings at the lags named. In "
    "brackets 95 % intervals, of which the first table has the median: blocks of 500 ps drawn anew (basic bootstrap), "
    "which tells how far the truth may lie from what these frames say, to models and fits alike. Fits: default "
    "settings. Scores: on held-out blocks, three tenths of the frames, median ± standard error over splits; above or "
    "below where the median of the paired differences is further from 0 than its standard error."
)


def cases_of(seeds: int) -> list[Row]:
    """The references, fits and comparisons."""
    settings = product(COORDINATES, CLUSTERS, LAGS_PS)
    references = [{"method": REFERENCE, "coordinates": m, "clusters": n, "lag (ps)": lag} for m, n, lag in settings]
    fits = [{"method": FIT, "seed": seed} for seed in range(seeds)]
    asked = {"system": SYSTEM, "lag (ps)": SYSTEMS[SYSTEM].lag_ps, "modes": SYSTEMS[SYSTEM].n_modes, "options": {}}
    compared = [{**asked, "method": method, "seed": seed} for seed in range(seeds) for method in (OURS, LINEAR)]
    return references + fits + compared


class Measurements:
    """What a case of the study needs, made once."""

    def __init__(self, folder: Path) -> None:
        self.data = cache(lambda: loaded(folder, SYSTEMS[SYSTEM]))
        self.projected = cache(lambda m: slow_projection(self.data(), self.rows_of(SYSTEMS[SYSTEM].lag_ps), m))
        self.clusters = cache(lambda m, n: clustered(self.projected(m), n, seed=0))

    def rows_of(self, time_ps: float) -> int:
        return round(time_ps / self.data().time.row_time)

    def __call__(self, case: Row) -> list[Row]:
        with threadpool_limits(1):
            if case["method"] == REFERENCE:
                return [self._markov(case)]
            return [self._fitted(case)] if case["method"] == FIT else measured(case, lambda _: self.data())

    def _markov(self, case: Row) -> Row:
        lagtime, n = self.rows_of(case["lag (ps)"]), len(CONVERGED_PS)
        counts = block_counts(self.clusters(case["coordinates"], case["clusters"]), lagtime, N_BLOCKS)
        row_time = self.data().time.row_time
        values = row_time * markov_timescales(counts.sum(axis=0), lagtime, n)
        samples = row_time * resampled_timescales(counts, lagtime, n, N_SAMPLES, seed=0)
        # The basic interval: resampled values lie above those of all blocks as those lie above the truth.
        low, high = 2 * values - np.percentile(samples, [97.5, 2.5], axis=0)
        found = {"timescales": values, "low": low, "high": high, "mean of samples": samples.mean(axis=0)}
        return {"failed": None, **{name: value.tolist() for name, value in found.items()}}

    def _fitted(self, case: Row) -> Row:
        data = self.data()
        estimator = NeuralSVD(
            SYSTEMS[SYSTEM].n_modes, self.rows_of(SYSTEMS[SYSTEM].lag_ps), random_state=case["seed"], device="cpu"
        )
        started = time.perf_counter()
        model = estimator.fit_fetch(data)
        seconds = time.perf_counter() - started
        results = analyze(model, data)
        scales = [scale.value for scale in results.timescales]
        return {"failed": None, "timescales": scales, "seconds": seconds, "warnings": results.warnings}


def references(rows: Sequence[Row]) -> list[Row]:
    """For each process, the range of the Markov models' values over their settings, and the error by sampling."""
    table = []
    for k, lags in enumerate(CONVERGED_PS):
        own = [row for row in rows if row["method"] == REFERENCE and row["lag (ps)"] in lags]
        values = [row["timescales"][k] for row in own]
        table.append(
            {
                "process": k + 1,
                "lags (ps)": ", ".join(f"{lag:g}" for lag in lags),
                "models": len(own),
                "lowest (ps)": min(values),
                "median (ps)": float(np.median(values)),
                "highest (ps)": max(values),
                "95 % by resampling": "–".join(
                    f"{np.median([row[end][k] for row in own]):.1f}" for end in ("low", "high")
                ),
            }
        )
    return table


def verdicts(rows: Sequence[Row], known: Sequence[Row]) -> list[Row]:
    """For each process: its timescale in the fits, their spread, and how many lie in the range of the references."""
    fits = [row["timescales"] for row in rows if row["method"] == FIT]
    table = []
    for k, reference in enumerate(known):
        low, high = reference["lowest (ps)"], reference["highest (ps)"]
        found = [scales[k] for scales in fits if len(scales) > k and scales[k] is not None]
        if found:
            table.append(
                {
                    "process": k + 1,
                    "fits": len(fits),
                    "timescales (ps)": ", ".join(f"{value:.2f}" for value in found),
                    "median (ps)": float(np.median(found)),
                    "largest less smallest (%)": 100 * (max(found) - min(found)) / float(np.median(found)),
                    "inside": f"{sum(low <= value <= high for value in found)} in {low:.1f}–{high:.1f} ps",
                }
            )
    return table


def main() -> None:
    parser = arguments(__doc__, 5)
    parser.add_argument("--data", type=Path, required=True, help="folder with real_sized/")
    parser.add_argument("--forget", nargs="+", choices=(REFERENCE, FIT, OURS, LINEAR), default=[])
    options = parser.parse_args()
    forget(NAME, options.folder, options.forget)
    rows = collect(NAME, options.folder, cases_of(options.seeds), Measurements(options.data), options.jobs, {})
    known = references(rows)
    fits = [row for row in rows if row["method"] == FIT]
    seconds = ", ".join(f"{row['seconds']:.1f}" for row in fits)
    compared = [row for row in rows if row["method"] in (OURS, LINEAR)]
    scores = [
        {"score": name, **{column: value for column, value in line.items() if column != "system"}}
        for score, name in SCORES.items()
        for line in shown(against_peers(compared, score))
    ]
    markov = [
        {
            **{name: row[name] for name in ("coordinates", "clusters", "lag (ps)")},
            **{
                f"timescale {k + 1} (ps)": f"{row['timescales'][k]:.2f} ({row['low'][k]:.2f}–{row['high'][k]:.2f})"
                for k in range(len(CONVERGED_PS))
            },
        }
        for row in rows
        if row["method"] == REFERENCE
    ]
    tables = {
        "References": known,
        "Fits of all frames": verdicts(rows, known),
        "Held-out scores": scores,
        "Markov models": markov,
    }
    text = f"Seconds of a fit's training on one core: {seconds}.\n\n" * bool(fits)
    write(NAME, rows, tables, text + WHAT, options.folder)


if __name__ == "__main__":
    main()
