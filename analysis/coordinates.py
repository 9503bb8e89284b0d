"""NeuralSVD from the coordinates of atoms alone, beside the same data through features.

    python -m analysis.coordinates --data ../shared/data
    python -m analysis.coordinates --data ../shared/data --systems asp7 --seeds 1 --folder /tmp/quick
    python -m analysis.coordinates --data ../shared/data --seeds 0    # the tables of what is kept

Fits of all frames with the default settings give timescales and seconds; comparisons, which hold three tenths of the
frames out, give scores. A seed is a new start and, for scores, a new split. What is measured is kept in
FOLDER/coordinates.jsonl, from which every run goes on, set by set. Writes coordinates.json and coordinates.md.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from analysis.benchmarks.processes import in_forked_process
from analysis.benchmarks.real import SCORES, SYSTEMS, loaded
from analysis.benchmarks.record import write
from analysis.benchmarks.study import Row, arguments, collect, measured_so_far
from spectraldyn import Dataset, NeuralSVD, compare_methods
from spectraldyn.networks import Encoding

NAME = "coordinates"
SEEDS = 5
COORDINATES, PLAIN, FEATURES = "coordinates", "coordinates, plain", "features"
"""Coordinates with the default settings, the same without an encoder, and the columns that the command line takes by
default."""
ACCEPTED = {
    "alanine_dipeptide_99sb": {1: (205.0, 275.0), 2: (6.0, 7.4)},
    "alanine_dipeptide_300K": {2: (22.4, 25.2)},
    "alanine_dipeptide_400K": {1: (275.0, 340.0), 2: (9.4, 10.9)},
    "villin_go": {1: (16.7, 17.8)},
}
"""Timescales in ps of reference Markov models, by process."""
SCORED = "asp7"
STEPS = 10
"""Training steps of an encoder that are timed."""
WHAT = (
    "Accepted: ranges of reversible Markov models on torsions, for villin on distances, of the same frames; at 300 K "
    "the first process, φ > 0, is seen three times and undetermined. CPU seconds of one thread, as other work ran "
    "beside it: those of a whole fit, and those of the encoder alone in one epoch, as many pairs as the data have. "
    "Plain: torsion angles and distances between residues, for villin distances alone, without an encoder. Taken: what "
    "the default settings took. "
    "Scores: on held-out blocks, three tenths of the frames, the same splits for both inputs."
)


def cases_of(systems: Sequence[str], seeds: int) -> list[Row]:
    """Fits of the sets with a reference, and scores of the one without."""
    inputs = (COORDINATES, PLAIN, FEATURES)
    return [
        {"system": name, "inputs": given, "seed": seed, "what": "scores" if name == SCORED else "fit"}
        for seed in range(seeds)
        for name in systems
        for given in inputs
    ]


@lru_cache(maxsize=2)
def _data(folder: Path, name: str, coordinates: bool) -> Dataset:
    system = SYSTEMS[name]
    further = {**system.further, "features": "coordinates"} if coordinates else system.further
    return loaded(folder, replace(system, further=further))


def measured(case: Row, folder: Path) -> list[Row]:
    """One fit, or one score."""
    torch.set_num_threads(1)
    system, coordinates = SYSTEMS[case["system"]], case["inputs"] != FEATURES
    data = _data(folder, case["system"], coordinates)
    lagtime = round(system.lag_ps / data.time.row_time)
    options = {"encoder": "plain"} if case["inputs"] == PLAIN else {}
    row: Row = {"frames": data.n_rows, "columns": len(data.columns)}
    began = time.process_time()
    if case["what"] == "scores":
        comparison = compare_methods(
            data, lagtime, system.n_modes, {"neural-svd": options}, random_state=case["seed"], device="cpu", n_splits=1,
            runner=in_forked_process,
        )  # fmt: skip
        (found,) = comparison.rows()
        return [{**row, **{name: found[name] for name in ("failed", *SCORES, "timescales", "seconds")}}]
    model = NeuralSVD(system.n_modes, lagtime, random_state=case["seed"], device="cpu", **options).fit_fetch(data)
    row["cpu seconds"] = time.process_time() - began
    row["timescales"] = (model.timescales() * data.time.row_time).tolist()
    row["taken"] = model.settings.layout.encoding.encoder if coordinates else None
    return [row | {"epoch": seconds_per_epoch(data) if case["inputs"] == COORDINATES else None, **model.scores}]


def seconds_per_epoch(data: Dataset) -> float:
    """CPU seconds in which an encoder is trained on as many pairs as there are, in batches of 512."""
    encoder = Encoding("schnet", data.atoms.kinds, data.atoms.boxed).build(0)
    batch = torch.from_numpy(data.rows(np.arange(0, data.n_rows, max(1, data.n_rows // 1024))[:1024]))
    began = time.process_time()
    for _ in range(STEPS):
        encoder(batch).square().mean().backward()
    return (time.process_time() - began) / STEPS * data.n_rows / 512


def tables_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Timescales beside the accepted ranges, scores, and seconds."""
    fits, scores = ([row for row in rows if row["what"] == what] for what in ("fit", "scores"))
    return {
        "Timescales": [_timescales(own) for own in _groups(fits)],
        "Held-out scores": [_scored(own) for own in _groups(scores)],
        "Seconds": [_seconds(own) for own in _groups(fits)],
    }


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys((row["system"], row["inputs"]) for row in rows)
    return [[row for row in rows if (row["system"], row["inputs"]) == name] for name in names]


def _timescales(own: Sequence[Row]) -> Row:
    line: Row = {**{name: own[0][name] for name in ("system", "inputs")}, "seeds": len(own)}
    for process in (1, 2):
        values = np.array([row["timescales"][process - 1] for row in own])
        line[f"timescale {process} (ps)"] = ", ".join(f"{value:.4g}" for value in values)
        low, high = ACCEPTED[own[0]["system"]].get(process, (np.nan, np.nan))
        known = np.isfinite(low)
        line[f"accepted {process}"] = f"{low:g} – {high:g}" if known else "–"
        line[f"inside {process}"] = f"{np.sum((low <= values) & (values <= high))} of {len(own)}" if known else "–"
    return line


def _scored(own: Sequence[Row]) -> Row:
    found = {name: np.array([row[score] for row in own]) for score, name in SCORES.items()}
    line: Row = {**{name: own[0][name] for name in ("system", "inputs", "columns")}, "splits": len(own)}
    return line | {name: ", ".join(f"{v:.3f}" for v in values) for name, values in found.items()} | {
        f"median {name}": f"{np.median(values):.3f}" for name, values in found.items()
    }  # fmt: skip


def _seconds(own: Sequence[Row]) -> Row:
    line = {name: own[0][name] for name in ("system", "inputs", "frames", "columns")}
    epochs = [row["epoch"] for row in own if row["epoch"] is not None]
    line["fit (CPU s)"] = f"{np.median([row['cpu seconds'] for row in own]):.0f}"
    taken = ", ".join(f"{name} {n}" for name, n in Counter(row["taken"] for row in own if row["taken"]).items())
    line["taken"] = taken or "–"
    return line | {"epoch of the encoder (CPU s)": f"{np.median(epochs):.0f}" if epochs else "–"}


def main() -> None:
    parser = arguments(__doc__, SEEDS, [*ACCEPTED, SCORED])
    parser.add_argument("--data", type=Path, required=True, help="folder with real/, molecules/ and real_sized/")
    options = parser.parse_args()
    cases = cases_of(options.systems, options.seeds)
    collect(NAME, options.folder, cases, lambda case: measured(case, options.data), options.jobs, {})
    every = cases_of([*ACCEPTED, SCORED], SEEDS)
    rows = measured_so_far(NAME, options.folder, every, {})
    write(NAME, rows, tables_of(rows), WHAT, options.folder)


if __name__ == "__main__":
    main()
