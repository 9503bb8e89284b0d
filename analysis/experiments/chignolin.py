"""Chignolin: singular functions of a protein's transfer operator, scored on whole trajectories that were held out.

    python -m analysis.experiments.chignolin             # a stand-in, three seeds: about half an hour on one core
    python -m analysis.experiments.chignolin --quick     # fewer steps, one seed: about four minutes
    python -m analysis.experiments.chignolin --cut RUNS  # a stand-in cut from the longer trajectories in RUNS
    python -m analysis.experiments.chignolin FOLDER --published    # one's own *.xtc and one *.gro, wider networks

Published: Jeong, Ryu, Yun, Wornell, "Efficient parametric SVD of Koopman operator for stochastic dynamical systems",
NeurIPS 2025 (arXiv:2507.07222), on the 34 trajectories of doi:10.5281/zenodo.10681926 (C22star: C0.xtc ... C33.xtc and
protein.gro). Nothing here downloads; the stand-in is simulated once and kept in the cache folder. Each writes
analysis/results/experiments/SETTING/chignolin.json, .md and .png.
"""

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from torch import nn

from analysis.benchmarks.study import Row
from analysis.experiments import experiment, hairpin
from analysis.experiments.chignolin_report import LINEAR, OBJECTIVES, by_objective, figure, modes_of, published, verdict
from spectraldyn import Batch, Dataset, InputError, InputWarning, learn_spectrum, load_features
from spectraldyn.data import pair_starts
from spectraldyn.data.rows import rows_of
from spectraldyn.data.samples import PairSamples, in_batches
from spectraldyn.estimators.base import whitening_of
from spectraldyn.learning.averages import operator_moments
from spectraldyn.learning.warm_start import slow_coordinates
from spectraldyn.networks import SeparateNetworks, Whitening
from spectraldyn.operators import transfer
from spectraldyn.spectra.rayleigh_ritz import Averages, Spectrum, leading, rayleigh_ritz
from spectraldyn.spectra.scores import vamp_scores

NAME = "chignolin"
MODES = (16, 32, 64)
LAG = 1
"""In frames, as published."""
BATCH = 384
MOST_PAIRS = 100_000
"""From which averages for the spectrum and for scores are taken."""
CANDIDATES, COORDINATES, HELD_OUT = 101, 3, 0.2
"""Random splits to choose from, slow coordinates by which they are judged, and the share of the trajectories held out
as a test; of the others the same share stops the training."""
MATCHED_ROWS = 20_000


@dataclass(frozen=True)
class Setting:
    """How networks are trained."""

    widths: dict[int, tuple[int, ...]]
    """Modes → units of the hidden layers of every mode's network."""
    learning_rate: float
    n_steps: int = 0
    """0 means `EPOCHS`."""


EPOCHS = 200
NARROW: dict[int, tuple[int, ...]] = {16: (32,), 32: (32,), 64: (32,)}
SETTINGS = {
    experiment.QUICK: Setting(NARROW, 2e-2, 500),
    experiment.STANDARD: Setting(NARROW, 5e-3, 3000),
    experiment.PUBLISHED: Setting({16: (64, 64), 32: (64, 64), 64: (128, 128)}, 1e-3),
}


@dataclass(frozen=True)
class Split:
    """Trajectories by their numbers, in three parts without a common one."""

    train: list[int]
    validation: list[int]
    """To stop the training by."""
    test: list[int]
    mismatch: float
    """Of the test trajectories and all others; see `mismatch`."""
    usual: float
    """Median of the mismatches of all candidates."""


def trajectories(folder: Path) -> tuple[list[Path], Path]:
    """XTC files of a folder and the one GRO file.

    Raises
    ------
    InputError
        If there is no such folder, not one GRO file, or too few trajectories to hold some out.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one with trajectories (*.xtc) and their topology (one *.gro)")
    files, topologies = sorted(folder.glob("*.xtc")), sorted(folder.glob("*.gro"))
    if len(topologies) != 1:
        raise InputError(f"{folder} holds {len(topologies)} GRO files: put the one topology of all trajectories there")
    if len(files) < 4:
        raise InputError(f"{folder} holds {len(files)} XTC files: at least 4 are needed to train, to stop and to test")
    return files, topologies[0]


def load(folder: Path) -> Dataset:
    """Backbone torsions and Cα distances of all frames, as far as the molecule has them; InputError if files differ."""
    files, topology = trajectories(folder)
    return load_features(files, top=topology)


def mismatch(first: np.ndarray, second: np.ndarray) -> float:
    """Wasserstein distance between the laws of a coordinate in samples (n, m) and (n', m), mean of m coordinates."""
    return float(np.mean([wasserstein_distance(a, b) for a, b in zip(first.T, second.T, strict=True)]))


def matched(coordinates: Sequence[np.ndarray], seed: int) -> tuple[list[int], list[int], np.ndarray]:
    """Of random splits of trajectories (T, m), all of one size, that in which the parts have the most similar laws.

    Returns
    -------
    (kept, held out, mismatches)
        Numbers of trajectories, and the mismatch of every candidate.
    """
    random = np.random.default_rng(seed)
    n, n_held_out = len(coordinates), max(1, round(HELD_OUT * len(coordinates)))
    orders = [random.permutation(n) for _ in range(CANDIDATES)]
    mismatches = [
        mismatch(*(np.concatenate([coordinates[i] for i in part]) for part in np.split(order, [n - n_held_out])))
        for order in orders
    ]
    kept, held_out = np.split(orders[int(np.argmin(mismatches))], [n - n_held_out])
    return sorted(kept.tolist()), sorted(held_out.tolist()), np.array(mismatches)


def split_of(data: Dataset, seed: int = 0) -> Split:
    """Test trajectories that match the others in the slowest linear coordinates; among the others likewise."""
    pairs = PairSamples.of(rows_of(data, torch.device("cpu")), LAG, pair_starts(data.stretches, LAG))
    slow, _ = slow_coordinates(whitening_of(data), pairs)
    step = -(-data.n_rows // MATCHED_ROWS)
    found = [slow(torch.tensor(rows[::step]))[:, :COORDINATES].numpy() for rows in data]
    home = [source.file_index for source in data.sources]
    walks = [np.concatenate([z for z, at in zip(found, home, strict=True) if at == n]) for n in sorted(set(home))]
    kept, test, mismatches = matched(walks, seed)
    train, validation, _ = matched([walks[i] for i in kept], seed)
    chosen, usual = float(mismatches.min()), float(np.median(mismatches))
    return Split([kept[i] for i in train], [kept[i] for i in validation], test, chosen, usual)


def starts_in(data: Dataset, numbers: Sequence[int]) -> np.ndarray:
    """First rows of the pairs of these trajectories."""
    chosen = zip(data.stretches, data.sources, strict=True)
    return pair_starts([stretch for stretch, source in chosen if source.file_index in numbers], LAG)


@dataclass(frozen=True)
class Prepared:
    """What every training on a split needs."""

    samples: PairSamples
    """Pairs to train on, and to stop by."""
    inputs: Whitening
    """From the training pairs alone."""
    known: list[Batch]
    test: list[Batch]
    """known and test: pairs in double precision, of the test trajectories and of all others."""

    @classmethod
    def of(cls, data: Dataset, split: Split) -> "Prepared":
        train, validation, test = (starts_in(data, part) for part in (split.train, split.validation, split.test))
        samples = PairSamples.of(rows_of(data, experiment.device()), LAG, train, validation)
        own = Dataset(array for array, at in zip(data, data.sources, strict=True) if at.file_index in split.train)
        slow, scales = slow_coordinates(whitening_of(own).to(samples.device), samples)
        inputs = slow.followed_by(torch.diag(scales))
        rows = (torch.as_tensor(part, device=samples.device) for part in (np.concatenate((train, validation)), test))
        known, held_out = ([_double(some) for some in in_batches(samples, part, MOST_PAIRS)] for part in rows)
        return cls(samples, inputs, known, held_out)


def _double(batch: Batch) -> Batch:
    return Batch(*(part.double() for part in batch.pair))


def averages(left: nn.Module, right: nn.Module, batches: list[Batch]) -> Averages:
    """C₀₀, C₀₁ and C₁₁ of the constant and the functions."""
    return operator_moments(transfer, left, right, [batches]).means()


def measure(folder: Path, split: Split, case: Row, checkpoint: Path) -> list[Row]:
    """Held-out scores of one training."""
    prepared = Prepared.of(load(folder), split)
    started = time.perf_counter()
    try:
        found = linear(prepared, case) if case["objective"] == LINEAR else trained(prepared, case, checkpoint)
    except InputError as error:  # a divergence is a result
        return [{"VAMP-E": None, "VAMP-E of training": None, "failed": str(error)}]
    seconds = time.perf_counter() - started
    spectrum, left, right = found
    return [
        {
            "VAMP-E": vamp_scores(spectrum, averages(left, right, prepared.test))["vampe"],
            # What the score is where U, V and S come from the same averages: U and V are orthonormal there.
            "VAMP-E of training": 1 + float(np.square(spectrum.values).sum()),
            "found": len(spectrum.values),
            "seconds": seconds,
            "failed": None,
        }
    ]


def linear(prepared: Prepared, case: Row) -> tuple[Spectrum, nn.Module, nn.Module]:
    """The leading singular functions that are linear in the features."""
    inputs = prepared.inputs
    spectrum = rayleigh_ritz(averages(inputs, inputs, prepared.known), tied=False)
    return leading(spectrum, case["modes"]), inputs, inputs


def trained(prepared: Prepared, case: Row, checkpoint: Path) -> tuple[Spectrum, nn.Module, nn.Module]:
    """Networks on the features, the same whatever the objective."""
    inputs = Whitening(prepared.inputs.mean, prepared.inputs.matrix.float())
    torch.manual_seed(case["seed"])
    left, right = (SeparateNetworks(inputs, case["modes"], tuple(case["hidden"])) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # that DPNet-relaxed may not converge is what is measured
        learned = learn_spectrum(
            transfer, prepared.samples, left, prepared.known, right_network=right, objective=case["objective"],
            n_steps=case["steps"], batch_size=BATCH, learning_rate=case["learning rate"], seed=case["seed"],
            checkpoint=checkpoint,
        )  # fmt: skip
    spectrum = Spectrum(learned.values, learned.left, learned.right, learned.norms)
    return spectrum, learned.sides.left, learned.sides.right


def cases_of(setting: str, what: str, seeds: Sequence[int], n_train: int) -> list[Row]:
    """The linear functions once, and every objective with every seed, for all numbers of modes."""
    how = SETTINGS[setting]
    steps = how.n_steps or EPOCHS * n_train // BATCH
    cases: list[Row] = []
    for modes in MODES:
        asked = {"data": what, "modes": modes}
        cases.append({**asked, "objective": LINEAR})
        cases += [
            {**asked, "objective": objective, "seed": seed, "hidden": list(how.widths[modes]), "steps": steps}
            | {"learning rate": how.learning_rate}
            for objective in OBJECTIVES
            for seed in seeds
        ]
    return cases


def text(rows: Sequence[Row], split: Split, held_out: str) -> str:
    """What was measured and what came out."""
    trained = next(row for row in rows if row["objective"] != LINEAR)
    failed = [f"{row['objective']} with {row['modes']} modes" for row in rows if row["failed"]]
    diverged = f"Diverged: {', '.join(dict.fromkeys(failed))}." if failed else "No training diverged."
    return "\n\n".join(
        (
            f"Data: {trained['data']}. Lag: one frame, as published. Every objective trains the same networks, one "
            f"for every mode and side with hidden layers of {' and '.join(map(str, trained['hidden']))} units (at "
            f"{trained['modes']} modes), on slow linear coordinates of backbone torsions and Cα distances, in "
            f"{trained['steps']} steps of {BATCH} pairs. The published networks are graph networks on all atoms, with "
            "one trunk for all modes.",
            f"Whole trajectories are held out: {len(split.test)} to test ({held_out}), {len(split.validation)} to "
            f"stop the training by, {len(split.train)} to train on. Of {CANDIDATES} random splits the one was taken "
            f"whose test trajectories have the laws of the {COORDINATES} slowest linear coordinates most like those "
            f"of the others: Wasserstein distance {split.mismatch:.3f} standard deviations, where the median of the "
            f"splits has {split.usual:.3f}. Published: the same with the radius of gyration of the Cα, without a third "
            "part.",
            "VAMP-E with singular functions and values from all other trajectories and moments from the test "
            "trajectories; the constant counts 1. Mean ± standard deviation over seeds of weights and batches, on one "
            f"split. {LINEAR}: singular functions that are linear in the features, as many as there are.",
            " ".join(verdict(rows, modes) for modes in modes_of(rows)) + f" {diverged}",
        )
    )


def source(options: Any) -> tuple[str, Path]:
    """What the data are, and their folder; stand-ins are made where they are missing."""
    kept = options.folder / "stand-ins"
    if options.trajectories is not None:
        return options.trajectories.name, options.trajectories
    if options.cut is not None:
        what = f"stand-in, {hairpin.N_TRAJECTORIES} pieces of {options.cut.name}"
        return what, hairpin.write(kept / hairpin.pieces_of(options.cut), partial(hairpin.cut, options.cut))
    name = f"hairpin-{hairpin.N_TRAJECTORIES}-{hairpin.N_FRAMES}"
    what = f"stand-in, {hairpin.N_TRAJECTORIES} simulated runs of a hairpin of ten beads"
    return what, hairpin.write(kept / name, hairpin.simulated)


def run(options: Any) -> None:
    what, folder = source(options)
    data = load(folder)
    what = f"{what}, {data.n_rows:,} frames, {len(data.columns)} features"
    split = split_of(data)
    n_train = len(starts_in(data, split.train))
    cases = cases_of(options.setting, what, options.seeds, n_train)
    rows = experiment.collect(NAME, options, cases, partial(measure, folder, split))
    tables = {
        "Held-out VAMP-E": by_objective(rows, "VAMP-E"),
        "VAMP-E of the trajectories trained on and stopped by": by_objective(rows, "VAMP-E of training"),
        "Seconds": by_objective(rows, "seconds", 2),
        "Published, on the trajectories of chignolin: two readings that disagree, neither settled": published(),
    }
    held_out = ", ".join(data.files[number].path.name for number in split.test)
    experiment.write(NAME, options, rows, tables, text(rows, split, held_out), {"": figure(rows)})


def main(arguments: Sequence[str] | None = None) -> int:
    data = {
        "trajectories": "with *.xtc and one *.gro; by default a stand-in",
        "--cut": "make the stand-in from the longer runs in this folder",
    }
    seeds = {experiment.STANDARD: 3, experiment.QUICK: 1, experiment.PUBLISHED: 3}
    options = experiment.arguments(__doc__, seeds, arguments, data)
    try:
        run(options)
    except InputError as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
