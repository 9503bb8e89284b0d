"""Do runs from suggested frames tell more of the slowest timescale than runs from frames at random?

    python -m analysis.seeds --n 20    # analysis/results/seeds.json and .md

A double well of 6 kT is simulated for some passages between the wells, and fitted. Ten runs, each a tenth of the
slowest timescale long, then start from the frames that `spectraldyn seeds` names, and ten from frames at random; all is
fitted again with either. The error is |ln t/t*|, against the exact timescale t*. Simulations without a passage are left
out.

Three estimates are compared: that of the Markov state model of clusters in the space of the modes, as `spectraldyn
seeds` gives it; that of the learned modes, as `spectraldyn fit` gives it, which takes the runs as from equilibrium; and
the latter with every pair weighted by what the Markov state model says of the equilibrium of its cluster.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from analysis.benchmarks.record import write
from spectraldyn import NeuralSVD
from spectraldyn.data import pair_starts, stretches_of
from spectraldyn.pipeline.seeds import CLUSTERS_PER_MODE
from spectraldyn.spectra.kinetics import LIKELIHOOD_TOLERANCE, markov_model
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.seeding import Starts, best_starts, connected_counts
from spectraldyn.spectra.states import cluster_modes
from spectraldyn.spectra.timescales import timescales_from_eigenvalues
from spectraldyn.systems import double_well

WELL = double_well(6.0)
EXACT = float(1 / WELL.rates(1)[0])
SPACING, LAG = 0.02, 5
"""Time between frames; lag time in frames, twice as long as the relaxation within a well."""
N_RUNS, RUN_FRAMES = 10, 200
SITUATIONS = {"3 timescales": 6_000, "12 timescales": 24_000}
"""Length of the first simulation → frames."""
ESTIMATES = ("markov", "modes", "weighted modes")
IN_A_WELL = 0.8


def passages(run: np.ndarray) -> int:
    """Between the wells."""
    sides = np.sign(run[abs(run) > IN_A_WELL])
    return int((np.diff(sides) != 0).sum())


def fitted(runs: Sequence[np.ndarray], seed: int) -> tuple[dict[str, float], Starts]:
    """The timescale by each of the `ESTIMATES`, and where further runs should start."""
    model = NeuralSVD(n_modes=1, lagtime=LAG, n_networks=1, max_steps=200, random_state=seed).fit_fetch(list(runs))
    modes, stretches = np.concatenate([model.transform(run) for run in runs]), stretches_of([len(run) for run in runs])
    clusters = cluster_modes(modes, seed, CLUSTERS_PER_MODE)
    starts = best_starts(modes, clusters, stretches, LAG, N_RUNS, RUN_FRAMES)
    law = markov_model(
        connected_counts(clusters, stretches, LAG)[0], LAG, True, LIKELIHOOD_TOLERANCE
    ).stationary_distribution
    size = np.bincount(clusters.assignment[pair_starts(stretches, LAG)], minlength=len(law))
    weight = (law / np.maximum(size, 1))[clusters.assignment]
    functions = np.column_stack([np.ones(len(modes)), modes])
    moments = lagged_moments(functions, stretches, stretches, [LAG], tied=True, weight=weight)
    (weighted,) = timescales_from_eigenvalues(moments.eigenmodes(moments.spectrum()).values, LAG)
    found = starts.timescale, float(model.timescales()[0]), float(weighted)
    return {name: SPACING * value for name, value in zip(ESTIMATES, found, strict=True)}, starts


def repetition(n_frames: int, seed: int) -> dict[str, Any] | None:
    """One simulation, and what further runs from either choice make of it; None without a passage."""
    (first,) = WELL.simulate(n_frames, SPACING, seed=seed)
    if not (n_passages := passages(first)):
        return None
    before, starts = fitted([first], seed)
    random = np.random.default_rng([seed, 1])
    chosen = {"suggested": starts.rows, "random": random.choice(n_frames, N_RUNS, replace=False)}
    row: dict[str, Any] = {"seed": seed, "passages": n_passages, "before": before}
    row["foretold"] = {"before": float(starts.errors[0]), "suggested": float(starts.errors[-1])}
    for name, rows in chosen.items():
        runs = WELL.simulate(RUN_FRAMES, SPACING, seed=10_000 + seed, n_walkers=N_RUNS, start=first[rows])
        row[name], _ = fitted([first, *runs], seed)
        row[f"{name} starts"] = sorted(first[rows, 0].round(3).tolist())
    return row


def repetitions(n_frames: int, n: int, first_seed: int) -> list[dict[str, Any]]:
    """So many with a passage."""
    rows: list[dict[str, Any]] = []
    seed = first_seed
    with tqdm(total=n, desc=f"{n_frames} frames") as bar:
        while len(rows) < n:
            if (row := repetition(n_frames, seed)) is not None:
                rows.append(row)
                bar.update()
            seed += 1
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median errors by each estimate, and their ratio with its 95 % interval over resampled repetitions."""
    table, draws = [], np.random.default_rng(0).integers(len(rows), size=(5000, len(rows)))
    for name in ESTIMATES:
        off = {runs: np.log([row[runs][name] / EXACT for row in rows]) for runs in ("before", "suggested", "random")}
        error = {runs: abs(values) for runs, values in off.items()}
        again = np.median(error["suggested"][draws], axis=1) / np.median(error["random"][draws], axis=1)
        low, high = np.percentile(again, [2.5, 97.5])
        medians = {runs: float(np.median(values)) for runs, values in error.items()}
        table.append(
            {
                "estimate": name,
                **medians,
                "suggested / random": f"{medians['suggested'] / medians['random']:.2f} ({low:.2f} – {high:.2f})",
                "suggested nearer": f"{(error['suggested'] < error['random']).sum()} of {len(rows)}",
                "root mean square, suggested / random": " / ".join(
                    f"{np.sqrt((off[runs] ** 2).mean()):.2f}" for runs in ("suggested", "random")
                ),
                "median ln t/t*, suggested / random": " / ".join(
                    f"{np.median(off[runs]):.2f}" for runs in ("suggested", "random")
                ),
            }
        )
    return table


def main() -> None:
    """Write seeds.json and seeds.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="repetitions of each situation")
    parser.add_argument("--first-seed", type=int, default=1000)
    options = parser.parse_args()
    rows, tables = [], {}
    for name, n_frames in SITUATIONS.items():
        mine = repetitions(n_frames, options.n, options.first_seed)
        rows += [{"situation": name, **row} for row in mine]
        seen = np.median([row["passages"] for row in mine])
        tables[f"{name} of simulation, {seen:g} passages in the median"] = summary(mine)
    title, said = "# Suggested runs and runs at random", (__doc__ or "").split("\n\n", 2)[2]
    write("seeds", rows, tables, f"{title}\n\n{said}")


if __name__ == "__main__":
    main()
