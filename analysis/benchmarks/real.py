"""Every method on molecules that were really simulated: held-out scores of NeuralSVD beside the best of its peers.

    python -m analysis.benchmarks.real --data ../shared/data
    python -m analysis.benchmarks.real --data ../shared/data --methods neural-svd --forget neural-svd
    python -m analysis.benchmarks.real --data ../shared/data --systems asp7 beta_peptide --seeds 3 --folder /tmp/quick

A seed is a new split, and a new start of what is random in a method. Methods are measured one by one and kept in
FOLDER/real.jsonl, from which every run goes on: --forget measures those named anew, after their code has changed, and
--methods leaves the others as they are. Writes real.json and real.md from all that is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats.mstats import mjci

from analysis.benchmarks.processes import in_forked_process
from analysis.benchmarks.record import write
from analysis.benchmarks.study import (
    OPTIONS,
    Options,
    Row,
    arguments,
    collect,
    described,
    failures,
    forget,
    measured_so_far,
    side_by_side,
)
from spectraldyn import Dataset, compare_methods, load_features
from spectraldyn.baselines.summary import standard_error
from spectraldyn.units import TimeAxis

NAME = "real"
OURS = "neural-svd"
METHODS = (OURS, "tica", "edmd", "kernel-edmd", "msm", "vampnet")
"""Without VAMP, which is TICA where the dynamics are taken as reversible."""
SCORES = {"vamp2_test": "VAMP-2", "vampe_test": "VAMP-E"}


@dataclass(frozen=True)
class System:
    """A set of trajectories, and what is asked of it."""

    files: str
    """Below the folder of all data."""
    top: str
    """In the same folder; a name of columns, separated by commas, where the files are PLUMED's COLVAR."""
    lag_ps: float
    n_modes: int
    further: Mapping[str, Any] = field(default_factory=dict)
    """Options of `load_features`."""
    fewer: Options = field(default_factory=dict)
    """Smaller grids, where a method would take more than a minute for a split."""


PER_PS = {"timestep": "1ps"}
SYSTEMS = {
    "chignolin_short": System("real/chignolin_short/*.dcd", "topology.pdb", 500, 2, {"timestep": "500ps"}),
    "alanine_multithermal": System("real/alanine_multithermal/*.xtc", "input.ala2.pdb", 5, 2),
    "mueller_brown_opes": System("real/mueller_brown_opes/COLVAR", "p.x,p.y", 2, 2),
    "beta_peptide": System("real/beta_peptide/*.xtc", "beta.pdb", 500, 3),
    "asp7": System("real/asp7/*.xtc", "asp7.pdb", 5000, 4),
    "alanine_two_basins": System("real/alanine_two_basins/*.trr", "alad.gro", 5, 2),
    "alanine_tetrapeptide_400K": System("molecules/alanine_tetrapeptide_400K/*.dcd", "top.pdb", 20, 4, PER_PS),
    "alanine_dipeptide_99sb": System("molecules/alanine_dipeptide_99sb/*.dcd", "ala2.pdb", 5, 3, PER_PS),
    "alanine_dipeptide_300K": System("molecules/alanine_dipeptide_300K/*.xtc", "top.pdb", 5, 3),
    "alanine_dipeptide_400K": System("molecules/alanine_dipeptide_400K/*.xtc", "top.pdb", 5, 3),
    "villin_go": System(
        "real_sized/villin_go/*.xtc",
        "villin_go.pdb",
        5,
        3,
        {"features": "ca-distances"},
        # What cross-validation chooses on the first split: it takes minutes for each method.
        {"edmd": {"widths": [4.0]}, "kernel-edmd": {"widths": [2.0]}, "msm": {"n_clusters": [50]}},
    ),
}
"""From those that take seconds to the one that takes longest."""
WHAT = (
    "Scores on held-out blocks, three tenths of the frames; a seed is a new split, the same for all methods, and a new "
    "start. A split whose held-out part holds most of a rare state has a VAMP-E of −10 or less for every method that "
    "knows the state, and decides any mean: methods are compared by medians over splits. Best peer: of the highest "
    "median, among those that work on at least half of the splits. Difference: NeuralSVD's score minus the peer's, "
    "split by split; above or below where its median is further from 0 than the standard error of the median, else a "
    "tie. Cells of the comparison: median ± its standard error by Maritz and Jarrett (1978), which assumes no law. The "
    "same by means and their standard errors is counted above for comparison. Splits share frames: these errors tell "
    "how much the choice of the blocks matters and not how another simulation would end. VAMP is left out: where "
    "dynamics are taken as reversible it is TICA. All methods run on one thread through `spectraldyn.compare_methods`."
)


def loaded(folder: Path, system: System) -> Dataset:
    """Features of all trajectories, those the command line takes by default unless the system says otherwise."""
    files = sorted(folder.glob(system.files))
    if files and files[0].name == "COLVAR":
        return _columns(files[0], system.top.split(","))
    return load_features(files, top=files[0].parent / system.top, **system.further)


def _columns(path: Path, names: Sequence[str]) -> Dataset:
    """Columns of a file of PLUMED as one trajectory, without its first tenth: there the bias still grows."""
    with path.open() as lines:
        fields = lines.readline().split()[2:]
    table = np.loadtxt(path, dtype=np.float32, ndmin=2, usecols=[fields.index(name) for name in names])
    return Dataset([table[len(table) // 10 :]], time=TimeAxis(1.0))


def cases_of(systems: Iterable[str], seeds: int) -> list[Row]:
    """One for every set, split and method, with all that its numbers depend on."""
    return [
        {
            "system": name,
            "lag (ps)": SYSTEMS[name].lag_ps,
            "modes": SYSTEMS[name].n_modes,
            "seed": seed,
            "method": method,
            "options": {**OPTIONS[method], **SYSTEMS[name].fewer.get(method, {})},
        }
        for name in systems
        for seed in range(seeds)
        for method in METHODS
    ]


def measured(case: Row, load: Callable[[str], Dataset]) -> list[Row]:
    """One method on one split."""
    data = load(case["system"])
    lagtime = round(case["lag (ps)"] / data.time.row_time)
    comparison = compare_methods(
        data, lagtime, case["modes"], {case["method"]: case["options"]}, random_state=case["seed"], device="cpu",
        n_splits=1, runner=in_forked_process,
    )  # fmt: skip
    (row,) = comparison.rows()
    return [
        {
            **{name: row[name] for name in ("method", "failed", *SCORES, "timescales", "seconds")},
            "all seconds": row["seconds"] if row["tuning_seconds"] is None else row["tuning_seconds"],
            **{name: row[name] for name in ("settings", "warnings")},
            "frames": data.n_rows,
            "features": len(data.columns),
            "row (ps)": data.time.row_time,
        }
    ]


def error_of_median(values: Sequence[float]) -> float | None:
    """Standard error of the median (Maritz, Jarrett, J. Am. Stat. Assoc. 73 (1978) 194); None for a single value."""
    return float(mjci(values, prob=[0.5])[0]) if len(values) > 1 else None


@dataclass(frozen=True)
class Middle:
    """What stands for the scores of all splits, and its standard error."""

    of: Callable[[Sequence[float]], Any]
    error_of: Callable[[Sequence[float]], float | None]

    def as_text(self, values: Sequence[float]) -> str:
        if not values:
            return "–"
        error = self.error_of(values)
        return f"{self.of(values):.3f}" + ("" if error is None else f" ± {error:.3f}")

    def verdict(self, differences: Sequence[float]) -> str:
        """Above or below where the paired differences are further from 0 than their standard error."""
        if not differences:
            return "no common split"
        middle, error = self.of(differences), self.error_of(differences)
        return "tie" if error is None or abs(middle) <= error else "above" if middle > 0 else "below"


MEDIAN, MEAN = Middle(np.median, error_of_median), Middle(np.mean, standard_error)


def against_peers(rows: Sequence[Row], score: str, by: Middle = MEDIAN) -> list[Row]:
    """A line for every set: the scores of NeuralSVD and of the best peer, and their differences split by split.

    The best peer is that of the highest median (or mean), among those that work on at least half of the splits. A split
    on which either of the two fails has no difference.
    """
    table = []
    for system, own in _by_system(rows).items():
        scores = {method: _by_seed(own, method, score) for method in METHODS}
        n_splits = len({row["seed"] for row in own})
        peers = {m: found for m, found in scores.items() if m != OURS and found and 2 * len(found) >= n_splits}
        if not scores[OURS] or not peers:
            continue
        best = max(peers, key=lambda method: by.of(list(peers[method].values())))
        ours, its = scores[OURS], peers[best]
        differences = [ours[seed] - its[seed] for seed in ours if seed in its]
        table.append(
            {
                "system": system,
                OURS: list(ours.values()),
                "best peer": best,
                "its": list(its.values()),
                "difference": differences,
                "verdict": by.verdict(differences),
            }
        )
    return table


def shown(table: Sequence[Row]) -> list[Row]:
    """The same with medians in place of lists of values."""
    return [{k: MEDIAN.as_text(v) if isinstance(v, list) else v for k, v in line.items()} for line in table]


def means(rows: Sequence[Row], score: str) -> list[Row]:
    """Mean and standard error of every method on every set, and on how many splits it has none."""
    table = []
    for system, own in _by_system(rows).items():
        line = {"system": system}
        for method in METHODS:
            tried = [row for row in own if row["method"] == method]
            found = _by_seed(tried, method, score)
            n_without = len(tried) - len(found)
            line[method] = MEAN.as_text(list(found.values()))
            line[method] += f" (none on {n_without} of {len(tried)})" * bool(n_without)
        table.append(line)
    return table


def counted(table: Sequence[Row]) -> str:
    """On how many sets NeuralSVD is where."""
    numbers = [f"{word} on {sum(line['verdict'] == word for line in table)}" for word in ("above", "tie", "below")]
    return f"{', '.join(numbers)} of {len(table)} sets"


def _by_system(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {name: [row for row in rows if row["system"] == name] for name in dict.fromkeys(r["system"] for r in rows)}


def _by_seed(rows: Sequence[Row], method: str, score: str) -> dict[int, float]:
    """Score of every split on which the method has one."""
    return {row["seed"]: row[score] for row in rows if row["method"] == method and row[score] is not None}


def sets(rows: Sequence[Row]) -> list[Row]:
    """What was asked of every set, and options that are not those of the others."""
    return [
        {
            "system": name,
            **{value: own[0][value] for value in ("frames", "features", "row (ps)", "lag (ps)", "modes")},
            "smaller grids": "; ".join(f"{method}: {chosen}" for method, chosen in SYSTEMS[name].fewer.items()),
        }
        for name, own in _by_system(rows).items()
    ]


def main() -> None:
    parser = arguments(__doc__, 10, list(SYSTEMS))
    parser.add_argument("--data", type=Path, required=True, help="folder with real/, molecules/ and real_sized/")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="which to measure if not kept")
    parser.add_argument("--forget", nargs="+", choices=METHODS, default=[], help="methods of which nothing is kept")
    options = parser.parse_args()
    forget(NAME, options.folder, options.forget)
    cases = cases_of(options.systems, options.seeds)
    load = lru_cache(maxsize=1)(lambda name: loaded(options.data, SYSTEMS[name]))
    asked = [case for case in cases if case["method"] in options.methods]
    collect(NAME, options.folder, asked, partial(measured, load=load), options.jobs, {})
    rows = measured_so_far(NAME, options.folder, cases, {})
    compared = {name: against_peers(rows, score) for score, name in SCORES.items()}
    tables = {"Sets": sets(rows)}
    for score, name in SCORES.items():
        tables[f"Held-out {name} beside the best peer"] = shown(compared[name])
        tables[f"Held-out {name}: mean ± standard error"] = means(rows, score)
        tables[f"Held-out {name}: median (quartiles)"] = side_by_side(rows, "system", score, 4)
    tables["Seconds, with tuning"] = side_by_side(rows, "system", "all seconds")
    tables["Failures"] = failures(rows, "system")
    parts = [
        f"NeuralSVD beside the best peer in {name}: by medians {counted(compared[name])}; by means "
        f"{counted(against_peers(rows, score, MEAN))}."
        for score, name in SCORES.items()
    ]
    write(NAME, rows, tables, "\n\n".join([*parts, WHAT, described()]), options.folder)


if __name__ == "__main__":
    main()
