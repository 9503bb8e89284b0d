"""Sets and kinetics of NeuralSVD beside Markov state models of deeptime on the torsions themselves.

    python -m analysis.benchmarks.kinetics --data ../shared/data
    python -m analysis.benchmarks.kinetics --systems alanine_dipeptide --seeds 1 --folder /tmp/quick    # shipped data

A seed is a new start of the training on the same frames. Goes on from kinetics.jsonl where it was interrupted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from deeptime.clustering import KMeans
from deeptime.markov import TransitionCountEstimator, TransitionCountModel
from deeptime.markov.msm import BayesianMSM, MaximumLikelihoodMSM
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix
from threadpoolctl import threadpool_limits

from analysis.benchmarks.record import ROOT, write
from analysis.benchmarks.study import Row, arguments, collect, finished
from spectraldyn import Dataset, NeuralSVD, analyze, load_features
from spectraldyn.pipeline import TransferResults
from spectraldyn.spectra.intervals import Estimates

NAME = "kinetics"
N_SAMPLES = 100  # of the posterior
WHAT = (
    "Ours: NeuralSVD with its default settings, sets and Markov model as of `spectraldyn fit`. Theirs: deeptime on "
    "torsions alone, nothing learned: 30 × 30 cells of φ and ψ for alanine dipeptide, 100 or 300 (finer) k-means "
    "clusters of cosines and sines for Asp₇; reversible, at the same lag time, 95 % of a posterior (BayesianMSM).\n\n"
    "Frames alike: in our sets and in those of deeptime's PCCA+ on these cells, matched by the frames that they share; "
    "also of the frames in the cores of our sets alone. All further numbers are of our sets and their cores, so that "
    "kinetics are compared and not definitions: how soon a core is first seen depends on how much it holds. A "
    "population is the mean of our memberships, over the frames or under the stationary distribution of their model; "
    "cells are cut where the border of a core runs through them. That makes them finer, too, so that passage times are "
    "also given for whole cells, which are in a core where most of their frames are. z: difference over both errors in "
    "quadrature, of logarithms; both sides see the same frames, so that it is well below 1 where both models are good. "
    "Committors: means, and the median of |z|, of single frames of which one of the two lies between 0.1 and 0.9."
)


@dataclass(frozen=True)
class System:
    """Trajectories, and what their torsions are cut into."""

    files: str  # below the folder of all data, or that of the repository's own
    top: str
    lag_ps: float
    n_modes: int
    n_clusters: int | None = None  # of cosines and sines, by k-means; by default 30 × 30 cells of φ and ψ


SHIPPED = "alanine_dipeptide"
SYSTEMS = {
    SHIPPED: System("alanine_dipeptide/*.xtc", "top.pdb", 5, 3),
    "alanine_dipeptide_400K": System("molecules/alanine_dipeptide_400K/*.xtc", "top.pdb", 5, 3),
    "asp7": System("real/asp7/*.xtc", "asp7.pdb", 5000, 4, 100),
    "asp7, finer": System("real/asp7/*.xtc", "asp7.pdb", 5000, 4, 300),
}


def cells_of(torsions: Dataset, n_clusters: int | None) -> np.ndarray:
    """Number of the cell of every row, (n_rows,)."""
    rows = np.concatenate(torsions).astype(float)
    if n_clusters is not None:
        return KMeans(n_clusters, fixed_seed=0, n_jobs=1).fit_fetch(rows).transform(rows)
    columns = [torsions.column_names.index(f"{kind} ALA2 {of}") for of in ("cos", "sin") for kind in ("phi", "psi")]
    angles = np.angle(rows[:, columns[:2]] + 1j * rows[:, columns[2:]])
    phi, psi = np.minimum(30 * (angles / (2 * np.pi) + 0.5), 29).astype(int).T
    return 30 * phi + psi


def majority(labels: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """For every row the label that most rows of its cell have, (n_rows,)."""
    votes = np.zeros((cells.max() + 1, labels.max() + 2), dtype=int)
    np.add.at(votes, (cells, labels + 1), 1)
    return votes.argmax(axis=1)[cells] - 1


def core_of_rows(results: TransferResults) -> np.ndarray:
    """Set in whose core every row lies, (n_rows,); −1 for none."""
    inside = [np.isin(results.kinetics.clusters.assignment, core) for core in results.kinetics.cores]
    return np.where(np.any(inside, axis=0), np.argmax(inside, axis=0), -1)


def connected(labels: np.ndarray, results: TransferResults, mode: str) -> tuple[TransitionCountModel, np.ndarray]:
    """Transitions between labels, and the state of every row among them; −1 outside of what is connected."""
    numbers = np.unique(labels, return_inverse=True)[1]
    runs = [numbers[s.start : s.stop] for s in results.data.stretches]
    counts = TransitionCountEstimator(results.model.lagtime, mode).fit_fetch(runs).submodel_largest()
    states = np.full(numbers.max() + 1, -1)
    states[counts.state_symbols] = np.arange(counts.n_states)
    return counts, states[numbers]


class Reference:
    """deeptime's Markov state model of cells, each within or outside of a core, with its posterior."""

    def __init__(self, cells: np.ndarray, cores: np.ndarray, results: TransferResults) -> None:
        n, self.row_time = len(results.kinetics.cores), results.data.time.row_time
        counts, self.states = connected(cells * (n + 1) + cores, results, "effective")
        self.posterior = BayesianMSM(n_samples=N_SAMPLES).fit_fetch(counts)
        self.cores = [np.unique(self.states[(cores == number) & (self.states >= 0)]) for number in range(n)]

    def estimates(self, quantity: Any) -> Estimates:
        """Of a function of a Markov state model, with its intervals."""
        samples = np.array([quantity(sample) for sample in self.posterior.samples])
        low, high = np.quantile(samples, [0.025, 0.975], axis=0)
        return Estimates(np.asarray(quantity(self.posterior.prior)), low, high)

    def mfpt(self, a: int, b: int) -> Estimates:
        return self.estimates(lambda msm: msm.mfpt(self.cores[a], self.cores[b])).times(self.row_time)

    def populations(self, memberships: np.ndarray) -> Estimates:
        """Of sets in which every row has these memberships, (n_rows, n)."""
        inside = self.states >= 0
        sums = np.array([np.bincount(self.states[inside], column[inside]) for column in memberships.T])
        return self.estimates(lambda msm: sums / np.bincount(self.states[inside]) @ msm.stationary_distribution)


def part(estimates: Estimates, index: Any) -> Estimates:
    return Estimates(*(numbers[index] for numbers in estimates))


def scores(ours: Estimates, theirs: Estimates) -> np.ndarray:
    """Differences over both standard errors."""
    error = np.hypot(*((one.high - one.low) / (2 * 1.96) for one in (ours, theirs)))
    return (ours.value - theirs.value) / error


def compared(quantity: str, ours: Estimates, theirs: Estimates) -> Row:
    """Two numbers; z is None where one of them has no interval."""
    numbers = [[float(number) for number in one] for one in (ours, theirs)]
    known = np.isfinite(numbers).all() and np.min(numbers) > 0
    z = float(scores(*(Estimates(*np.log(one)) for one in numbers))) if known else None
    ours_shown, theirs_shown = ("{:.3g} ({:.3g} – {:.3g})".format(*one) for one in numbers)
    return {"quantity": quantity, "ours": ours_shown, "theirs": theirs_shown, "z": z}


def committors(results: TransferResults, reference: Reference, a: int, b: int) -> Row:
    """Of the rows between two cores; nothing where there are none."""
    ours = part(results.kinetics.committor(a, b), results.kinetics.clusters.assignment)
    of_states = reference.estimates(lambda msm: msm.committor_forward(reference.cores[a], reference.cores[b]))
    theirs = part(of_states, reference.states)
    between = [(one.value > 0.1) & (one.value < 0.9) for one in (ours, theirs)]
    rows = (between[0] | between[1]) & (reference.states >= 0) & np.isfinite(ours.high)
    name = f"committor {a + 1} → {b + 1}, {100 * rows.mean():.2g} % of the frames"
    if not rows.any():
        return {"quantity": name, "ours": None, "theirs": None, "z": None}
    ours, theirs = part(ours, rows), part(theirs, rows)
    rms = np.sqrt(np.mean((ours.value - theirs.value) ** 2))
    shown = f"{theirs.value.mean():.3f}, rms difference {rms:.3f}"
    z = np.median(np.abs(scores(ours, theirs)))
    return {"quantity": name, "ours": f"{ours.value.mean():.3f}", "theirs": shown, "z": float(z)}


def measured(name: str, seed: int, folder: Path | None) -> list[Row]:
    """One row: what was fitted, how far the sets are the same, and every number beside its like."""
    system = SYSTEMS[name]
    files = sorted((ROOT / "data" if name == SHIPPED or folder is None else folder).glob(system.files))
    data, torsions = (load_features(files, top=files[0].with_name(system.top), features=f) for f in (None, "torsions"))
    lag = round(system.lag_ps / data.time.row_time)
    fit = NeuralSVD(system.n_modes, lag, random_state=seed, device="cpu").fit(data)
    results = analyze(fit.model_, data, functions=fit.functions_)
    cells, cores, n = cells_of(torsions, system.n_clusters), core_of_rows(results), len(results.kinetics.cores)
    with threadpool_limits(1):
        numbers = side_by_side(results, Reference(cells, cores, results))
        whole = passage_times(results, Reference(cells, majority(cores, cells), results))
        # Sets of its own know nothing of ours: they are of cells that are not cut.
        counts, states = connected(cells, results, "sliding")
        msm = MaximumLikelihoodMSM().fit_fetch(counts)
        pcca = msm.pcca(n)
    own, theirs = results.sets.assignment, np.where(states >= 0, pcca.assignments[states], -1)
    overlap = confusion_matrix(own, theirs, labels=range(n))
    match = linear_sum_assignment(-overlap)[1]
    (first,) = results.attribution[0].features.rows(1)
    return [
        {
            "method": "neural-svd",
            "sets": n,
            "frames alike (%)": 100 * float(overlap[range(n), match].sum() / len(own)),
            "cores alike (%)": 100 * float((match[own] == theirs)[cores >= 0].mean()),
            "in cores (%)": 100 * float((cores >= 0).mean()),
            "populations of own sets": listed(results.populations.value),
            "theirs": listed(pcca.coarse_grained_stationary_probability[match]),
            "timescales (ps)": listed([scale.value for scale in results.timescales]),
            "their timescales (ps)": listed(data.time.row_time * msm.timescales(system.n_modes)),
            "slowest process": f"{first['name']} ({first['importance']['value']:.2f})",
            "numbers": numbers,
            "whole cells": whole,
        }
    ]


def side_by_side(results: TransferResults, reference: Reference) -> list[Row]:
    """Populations, passage times and committors of both."""
    ours, theirs = results.populations, reference.populations(results.sets.memberships)
    populations = [compared(f"population {k + 1}", part(ours, k), part(theirs, k)) for k in range(len(ours.value))]
    between = [committors(results, reference, a, b) for a, b in results.kinetics.committors]
    return populations + passage_times(results, reference) + between


def passage_times(results: TransferResults, reference: Reference) -> list[Row]:
    return [
        compared(f"passage time {a + 1} → {b + 1} (ps)", part(results.kinetics.mfpt, (a, b)), reference.mfpt(a, b))
        for a, b in permutations(range(len(reference.cores)), 2)
    ]


def listed(values: Iterable[float | None]) -> str:
    return ", ".join("–" if value is None else f"{value:.3g}" for value in values)


def agreement(row: Row) -> Row:
    """z-scores of all numbers of a fit, by kind."""
    line, numbers = {name: row[name] for name in ("system", "seed")}, {"passage times, whole cells": row["whole cells"]}
    for kind in ("population", "passage time", "committor"):
        numbers[f"{kind}s"] = [one for one in row["numbers"] if one["quantity"].startswith(kind)]
    for kind, found in numbers.items():
        z = np.abs([one["z"] for one in found if one["z"] is not None])
        shown = f"{np.sqrt(np.mean(z**2)):.2f}, {z.max():.2f}" if len(z) else "–"
        line[kind] = f"{shown} ({len(z)} of {len(found)})"
    return line


def main() -> None:
    parser = arguments(__doc__, 3, list(SYSTEMS))
    parser.add_argument("--data", type=Path, help="folder with molecules/ and real/")
    options = parser.parse_args()
    if options.data is None and options.systems != [SHIPPED]:
        parser.error(f"--data is needed for all systems but {SHIPPED}")
    cases = [{"system": name, "seed": seed} for name in options.systems for seed in range(options.seeds)]
    rows = collect(NAME, options.folder, cases, lambda case: measured(*case.values(), options.data), options.jobs, {})
    tables = {
        "Sets": [
            {name: value for name, value in row.items() if name not in ("method", "numbers", "whole cells")}
            for row in rows
        ],
        "z: root mean square, largest (how many have intervals)": [agreement(row) for row in rows],
        **{f"{row['system']}, seed {row['seed']}": row["numbers"] for row in rows if row["seed"] == 0},
    }
    write(NAME, rows, tables, WHAT, options.folder)
    finished(NAME, options.folder)


if __name__ == "__main__":
    main()
