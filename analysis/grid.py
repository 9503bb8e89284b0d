"""Systems × operators × objectives: what each learns, against what is known.

    python -m analysis.grid                   # the whole table: analysis/results/grid.json and .md
    python -m analysis.grid --system prinz    # some rows of it, printed

The whole table takes a quarter of an hour on one core. `tests/test_grid.py` learns the same problems in a minute, with
combinations of fixed functions in place of networks. Reference values are exact, or those of the oracle (Rayleigh–Ritz
with the true eigenfunctions on the same samples) where the samples are random and finite.
"""

import argparse
import json
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch

from analysis.benchmarks.record import RESULTS, markdown
from analysis.distances import subspace_distance
from analysis.problems import PROBLEMS, Problem
from spectraldyn.learning.spectrum import LearnedSpectrum, learn_spectrum
from spectraldyn.objectives import OBJECTIVES

SAME_LEVEL = 0.1
"""Relative distance below which two reference values count as one level, within which any rotation is as good."""
EVERY_OBJECTIVE = {
    ("reversible chain of 8 states", "transfer"),
    ("ornstein-uhlenbeck", "transfer"),
    ("double-well", "generator, energy space"),
    ("infinite-well", "Schrödinger"),
    ("noisy-logistic-map", "transfer, not reversible"),
}
"""Problems on which every objective that makes sense is tried; the others see the two nestings."""
FEWER_OBJECTIVES = {"infinite-well": ("joint", "sequential", "low-rank", "vamp-2", "orbital-minimisation", "neuralef")}
"""Where the others would add time and nothing new."""
OPTIONS: dict[str, dict[str, Any]] = {
    "dpnet": {"distortion_weight": 0.01},
    "dpnet-relaxed": {"distortion_weight": 0.01},
    "neural-eigenmaps": {"weight": 2.0},
}
"""Where the defaults do worse: found on the Ornstein–Uhlenbeck process."""


@cache
def problem(system: str, operator: str) -> Problem:
    return PROBLEMS[system, operator]()


def cases() -> Iterable[tuple[str, str, str]]:
    """(system, operator, objective) of every row."""
    for system, operator in PROBLEMS:
        if (system, operator) not in EVERY_OBJECTIVE:
            # Third derivatives are dear: the strong form is learned once.
            objectives: list[str] = ["sequential"] if operator == "generator, strong form" else ["joint", "sequential"]
        else:
            untied, unbounded = operator == "transfer, not reversible", operator == "Schrödinger"
            objectives = [
                name
                for name, framework in OBJECTIVES.items()
                if name in FEWER_OBJECTIVES.get(system, OBJECTIVES)
                and not (untied and framework.tied)
                and not (unbounded and framework.contraction)
            ]
        for objective in objectives:
            yield system, operator, objective


def learn(system: str, operator: str, objective: str, seed: int = 0, task: Problem | None = None) -> dict[str, Any]:
    """One row of the table; `task` by default as the table has it."""
    task = task or problem(system, operator)
    framework = OBJECTIVES[objective]
    torch.manual_seed(seed)
    network = task.network(framework.separate_networks, task.inputs)
    untied = task.right_inputs is not None or operator == "transfer, not reversible"
    right = task.network(framework.separate_networks, task.right_inputs or task.inputs) if untied else None
    started = time.perf_counter()
    options = {"batch_size": 256, "average_share": 0.1, **task.options, **OPTIONS.get(objective, {})}
    spectrum = learn_spectrum(
        task.operator, task.samples, network, [task.read_off], right_network=right, objective=objective,
        read_operator=task.read_operator, seed=seed, **options,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    remark = framework.remark
    row = {"system": system, "operator": operator, "objective": objective, **compared(task, spectrum)}
    return row | {"order": row["order"] if framework.ordered else None, "remark": remark, "seconds": seconds}


def compared(task: Problem, spectrum: LearnedSpectrum) -> dict[str, Any]:
    """What was learned beside what is known."""
    # Functions that became linearly dependent leave fewer values than modes.
    values = np.full(len(task.reference), np.nan)
    values[: len(spectrum.values)] = task.values(spectrum.values)
    weight = np.ones(len(task.functions)) if task.read_off.weight is None else task.read_off.weight.numpy()
    with torch.no_grad():
        trained = spectrum.sides.left(task.read_off.x.double()).numpy()
    if len(spectrum.left) > trained.shape[1]:
        # The constant is known, and what is left of it in the others is no matter.
        trained = trained - (weight @ trained) / weight.sum()
    return {
        "reference": " ".join(f"{v:.4g}" for v in task.reference),
        "learned": " ".join(f"{v:.4g}" for v in values),
        "largest error (%)": float(100 * np.abs(np.nan_to_num(values) / task.reference - 1).max()),
        "subspace distance": subspace_distance(spectrum.functions(task.read_off.x), task.functions, weight),
        "modes found": len(spectrum.values),
        "order": smallest_overlap(trained, task.functions, weight, task.reference),
    }


def smallest_overlap(trained: np.ndarray, exact: np.ndarray, weight: np.ndarray, reference: np.ndarray) -> float:
    """Over the functions as trained: the smallest part that lies in the level of their number.

    Only made orthonormal one after the other (Gram–Schmidt), which SpIN leaves to be done; never rotated.
    """
    parts = []
    root = np.sqrt(weight)[:, None]
    orthonormal = np.linalg.qr(root * trained)[0]
    for i, value in enumerate(reference):
        level = np.flatnonzero(np.abs(reference - value) <= SAME_LEVEL * abs(value))
        parts.append(np.linalg.norm(np.linalg.qr(root * exact[:, level])[0].T @ orthonormal[:, i]))
    return float(min(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", help="only this one, printed and not written")
    parser.add_argument("--operator")
    parser.add_argument("--objective")
    options = parser.parse_args()
    wanted = (options.system, options.operator, options.objective)
    rows = []
    for case in cases():
        if all(w is None or w == part for w, part in zip(wanted, case, strict=True)):
            rows.append(learn(*case))
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    if not any(wanted):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "grid.json").write_text(json.dumps(rows, indent=1) + "\n")
        (RESULTS / "grid.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
