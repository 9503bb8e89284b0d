"""Do runs from suggested frames tell more of the slowest timescale than runs from frames at random?

    python -m analysis.seeds --n 20    # analysis/results/seeds.json and .md

A double well is simulated, and fitted. Ten runs of 200 frames then start from the frames that `spectraldyn seeds`
names, and ten from frames at random; all is fitted again with either. The error is |ln t/t*|, against the exact
timescale t*. Either there is one simulation of a barrier of 6 kT, of which the runs are a tenth of the slowest
timescale long, and simulations without a passage between the wells are left out. Or there are two of a barrier of 8 kT,
one from each well, as where both states are known from experiment, whether there is a passage or not: without passages
in both directions the timescale is a guess, and "known" counts the repetitions in which no frame that would be
suggested next is at such a gap.

Three estimates are compared: that of the Markov state model of clusters in the space of the modes, as `spectraldyn
seeds` gives it; that of the learned modes, as `spectraldyn fit` gives it, which takes the runs as from equilibrium; and
the latter with every pair weighted by what the Markov state model says of the equilibrium of its cluster.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from analysis.benchmarks.record import RESULTS, write
from spectraldyn import NeuralSVD
from spectraldyn.data import pair_starts, stretches_of
from spectraldyn.pipeline.seeds import CLUSTERS_PER_MODE
from spectraldyn.spectra.kinetics import LIKELIHOOD_TOLERANCE, markov_model
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.seeding import Starts, best_starts, connected_counts
from spectraldyn.spectra.states import cluster_modes
from spectraldyn.spectra.timescales import timescales_from_eigenvalues
from spectraldyn.systems import double_well

SPACING, LAG = 0.02, 5
"""Time between frames; lag time in frames, twice as long as the relaxation within a well."""
N_RUNS, RUN_FRAMES = 10, 200


class Situation(NamedTuple):
    """What is simulated at first."""

    barrier: float
    """In kT."""
    n_frames: int
    """Of each simulation."""
    from_both: bool = False
    """One from each well, in place of one from equilibrium that holds a passage."""


SITUATIONS = {
    "3 timescales": Situation(6.0, 6_000),
    "12 timescales": Situation(6.0, 24_000),
    "from both wells": Situation(8.0, 3_000, from_both=True),
}
ESTIMATES = ("markov", "modes", "weighted modes")
RUNS = ("before", "suggested", "random")
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


def repetition(situation: Situation, seed: int) -> dict[str, Any] | None:
    """One simulation, and what further runs from either choice make of it; None where it is left out."""
    well = double_well(situation.barrier)
    start = {"n_walkers": 2, "start": np.array([[-1.0], [1.0]])} if situation.from_both else {}
    first = list(well.simulate(situation.n_frames, SPACING, seed=seed, **start))
    if not (n_passages := sum(map(passages, first))) and not situation.from_both:
        return None
    before, starts = fitted(first, seed)
    frames, random = np.concatenate(first), np.random.default_rng([seed, 1])
    chosen = {"suggested": starts.rows, "random": random.choice(len(frames), N_RUNS, replace=False)}
    row: dict[str, Any] = {"seed": seed, "passages": n_passages}
    row |= {"before": before, "before known": not starts.bridged.any()}
    row["foretold"] = {"before": float(starts.errors[0]), "suggested": float(starts.errors[-1])}
    for name, rows in chosen.items():
        runs = well.simulate(RUN_FRAMES, SPACING, seed=10_000 + seed, n_walkers=N_RUNS, start=frames[rows])
        row[name], again = fitted([*first, *runs], seed)
        row[f"{name} known"] = not again.bridged.any()
        row[f"{name} starts"] = sorted(frames[rows, 0].round(3).tolist())
    return row


def repetitions(name: str, n: int, first_seed: int) -> list[dict[str, Any]]:
    """So many that are not left out."""
    rows: list[dict[str, Any]] = []
    seed = first_seed
    with tqdm(total=n, desc=name) as bar:
        while len(rows) < n:
            if (row := repetition(SITUATIONS[name], seed)) is not None:
                rows.append({"situation": name, **row})
                bar.update()
            seed += 1
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median errors by each estimate, and their ratio with its 95 % interval over resampled repetitions."""
    exact = 1 / double_well(SITUATIONS[rows[0]["situation"]].barrier).rates(1)[0]
    table, draws = [], np.random.default_rng(0).integers(len(rows), size=(5000, len(rows)))
    for name in ESTIMATES:
        off = {runs: np.log([row[runs][name] / exact for row in rows]) for runs in RUNS}
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


def heading(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What was simulated, and what was seen in it."""
    text = f"{name}: {np.median([row['passages'] for row in rows]):g} passages in the median"
    if not SITUATIONS[name].from_both:
        return text
    known = ", ".join(f"{sum(row[f'{runs} known'] for row in rows)} {runs}" for runs in RUNS)
    return f"{text}; known: {known}"


def main() -> None:
    """Write seeds.json and seeds.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="repetitions of each situation")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--only", choices=SITUATIONS, help="keep what is written of the others")
    options = parser.parse_args()
    kept = json.loads((RESULTS / "seeds.json").read_text())["rows"] if options.only else []
    rows, tables = [], {}
    for name in SITUATIONS:
        mine = [row for row in kept if row["situation"] == name]
        if options.only in (None, name):
            mine = repetitions(name, options.n, options.first_seed)
        if mine:
            rows += mine
            tables[heading(name, mine)] = summary(mine)
    title, said = "# Suggested runs and runs at random", (__doc__ or "").split("\n\n", 2)[2]
    write("seeds", rows, tables, f"{title}\n\n{said}")


if __name__ == "__main__":
    main()
