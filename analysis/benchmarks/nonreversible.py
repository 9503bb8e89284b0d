"""Dynamics without detailed balance: singular values, and what the same data would give if taken as reversible.

    python -m analysis.benchmarks.nonreversible        # a chain and a chaotic map, five seeds
    python -m analysis.benchmarks.nonreversible --seeds 1 --systems three-state-chain --folder /tmp/quick

Methods are run as `spectraldyn.compare_methods` runs them, each in a process of its own on the training blocks, and
judged by the same code; singular values are read off their functions over all pairs. Writes nonreversible.json and
nonreversible.md; goes on from nonreversible.jsonl where it was interrupted.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import legendre

import spectraldyn as sd
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
    finished,
    side_by_side,
)
from spectraldyn.baselines import Job, MethodResult, Outcome, Question, Split, judge_outcome, run_job, store_rows
from spectraldyn.spectra.timescales import block_moments

N_MODES = {"three-state-chain": 2, "noisy-logistic-map": 6}
CHOSEN: Options = {"neural-svd": {}, **{name: OPTIONS[name] for name in ("vamp", "edmd", "vampnet")}}
FEW_STATES: Options = {**CHOSEN, "edmd": {"n_centres": 3, "widths": [0.5, 1.0]}}
"""For the chain, where more centres than states would lie on each other and leave the width of the Gaussians 0."""
AS_REVERSIBLE = "neural-svd, reversible"
N_STEPS = 20_000
NODES = 400
OFF, SHARE = "largest error of a singular value", "VAMP-2 / exact sum of squares"


@dataclass(frozen=True)
class Realisation:
    """States as features (T, d), and the exact singular functions along them (T, n)."""

    features: np.ndarray
    left: np.ndarray
    right: np.ndarray


def realisation(name: str, n_steps: int, seed: int) -> Realisation:
    """One run of a process; a chain is seen through the indicators of all states but the last."""
    process, n_modes = sd.systems.DISCRETE[name], N_MODES[name]
    states = process.simulate(n_steps, seed)
    if isinstance(process, sd.systems.MarkovChain):
        left, right = (side[states] for side in process.singular_functions(n_modes + 1))
        return Realisation(np.eye(len(process.stationary))[states][:, :-1], left[:, 1:], right[:, 1:])
    left, right = process.singular_functions(states[:, 0], n_modes + 1)
    return Realisation(states, left[:, 1:], right[:, 1:])


def kernel(name: str) -> np.ndarray:
    """T on L² of the stationary law as a matrix: its singular values and eigenvalues are those of T."""
    process = sd.systems.DISCRETE[name]
    if isinstance(process, sd.systems.MarkovChain):
        root = np.sqrt(process.stationary)
        return root[:, None] * process.matrix / root
    points, weights = legendre.leggauss(NODES)
    points, weights = (points + 1) / 2, weights / 2
    root = np.sqrt(weights * process.stationary(points))
    joint = process.transition_density(points[:, None], points[None, :]) * weights
    return root[:, None] * joint / root


def exact_values(name: str) -> dict[str, list[float]]:
    """Singular values, moduli of the eigenvalues, and eigenvalues of (T + T*)/2; the constant's 1 left out."""
    matrix, n = kernel(name), N_MODES[name] + 1
    return {
        "singular": np.linalg.svd(matrix, compute_uv=False)[1:n].tolist(),
        "moduli": np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1][1:n].tolist(),
        "symmetrised": np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1][1:n].tolist(),
    }


def options_for(name: str) -> Options:
    """Of the methods, for this system."""
    return FEW_STATES if isinstance(sd.systems.DISCRETE[name], sd.systems.MarkovChain) else CHOSEN


def question(name: str, seed: int, reversible: bool) -> Question:
    """What is asked of every method, at lag 1."""
    return Question(lagtime=1, n_modes=N_MODES[name], seed=seed, reversible=reversible)


def fitted(data: sd.Dataset, method: str, options: Mapping[str, Any], split: Split) -> Outcome:
    """What a method makes of one trajectory; its left functions, and right ones where it has some."""
    with tempfile.TemporaryDirectory(prefix="spectraldyn-") as folder:
        store_rows(Path(folder), data)
        return run_job(Path(folder), Job(method, options, split), runner=in_forked_process)


def measure(case: Row) -> list[Row]:
    """The oracle, the methods without detailed balance, and NeuralSVD with it."""
    name, seed = case["system"], case["seed"]
    run, chosen = realisation(name, case["frames"], seed), options_for(name)
    data = sd.Dataset([run.features])
    split = Split.of(data.stretches, question(name, seed, reversible=False))
    outcomes = [Outcome(MethodResult("oracle"), run.left, run.right)]
    outcomes += [fitted(data, method, options, split) for method, options in chosen.items()]
    rows = [_row(outcome, split, exact_values(name)) for outcome in outcomes]
    split = Split.of(data.stretches, question(name, seed, reversible=True))
    outcome = fitted(data, "neural-svd", chosen["neural-svd"], split)
    failed = outcome.result.failed
    values = {} if failed else {"eigenvalues": _spectrum(outcome, split)[1].tolist()}
    return [*rows, {"method": AS_REVERSIBLE, "failed": failed, **values}]


def _spectrum(outcome: Outcome, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Singular values and eigenvalues over all pairs."""
    sides = (
        [outcome.left] if split.reversible else [outcome.left, outcome.left if outcome.right is None else outcome.right]
    )
    functions = np.column_stack((np.ones(len(outcome.left)), *sides))
    moments = block_moments(functions, split.stretches, [1], tied=split.reversible)
    spectrum = moments.spectrum()
    return np.abs(spectrum.values), moments.eigenmodes(spectrum).values


def _row(outcome: Outcome, split: Split, exact: dict[str, list[float]]) -> Row:
    result = judge_outcome(outcome, split)
    if result.failed is not None:
        return {"method": result.method, "failed": result.failed}
    singular, eigenvalues = _spectrum(outcome, split)
    n_modes = split.n_modes
    found = [*singular[:n_modes], *[0.0] * n_modes][:n_modes]
    return {
        "method": result.method,
        "failed": None,
        OFF: float(np.abs(np.subtract(found, exact["singular"])).max()),
        SHARE: result.vamp2_test and result.vamp2_test / (1 + float(np.square(exact["singular"]).sum())),
        "singular values": singular[:n_modes].tolist(),
        "moduli of eigenvalues": np.abs(eigenvalues[:n_modes]).tolist(),
        "vamp2_test": result.vamp2_test,
        "vampe_test": result.vampe_test,
    }


def spectra(rows: Sequence[Row], system: str) -> list[Row]:
    """One line per spectrum: exact ones and those found, medians over seeds."""
    exact = exact_values(system)
    table = [_line("exact: singular values of T", exact["singular"])]
    own = [row for row in rows if row["system"] == system and not row["failed"]]
    for method in dict.fromkeys(row["method"] for row in own if "singular values" in row):
        found = [row["singular values"] for row in own if row["method"] == method]
        table.append(_line(f"{method}: singular values", _medians(found)))
    table.append(_line("exact: moduli of the eigenvalues of T", exact["moduli"]))
    found = [row["moduli of eigenvalues"] for row in own if row["method"] == "neural-svd"]
    table.append(_line("neural-svd: moduli of the eigenvalues", _medians(found)))
    table.append(_line("exact: eigenvalues of (T + T*)/2", exact["symmetrised"]))
    found = [row["eigenvalues"] for row in own if row["method"] == AS_REVERSIBLE]
    return [*table, _line(f"{AS_REVERSIBLE}: eigenvalues", _medians(found))]


def _medians(found: Sequence[Sequence[float]]) -> list[float]:
    """Position by position, as far as all of them reach."""
    return [float(np.median(values)) for values in zip(*found, strict=False)]


def _line(spectrum: str, values: Sequence[float]) -> Row:
    longest = max(N_MODES.values())
    return {"spectrum": spectrum} | {str(k + 1): f"{values[k]:.4f}" if k < len(values) else "–" for k in range(longest)}


def main() -> None:
    options = arguments(__doc__, 5, tuple(N_MODES)).parse_args()
    cases = [
        {"system": system, "seed": seed, "frames": N_STEPS}
        for system in options.systems
        for seed in range(options.seeds)
    ]
    rows = collect("nonreversible", options.folder, cases, measure, options.jobs, {"map": CHOSEN, "chain": FEW_STATES})
    judged_rows = [row for row in rows if row["method"] != AS_REVERSIBLE]
    tables = {
        "Largest error of a singular value": side_by_side(judged_rows, "system", OFF),
        "Held-out VAMP-2, divided by the exact sum of squares": side_by_side(judged_rows, "system", SHARE, 4),
        **{f"Spectra of {system}": spectra(rows, system) for system in options.systems},
        "Failures": failures(rows, "system"),
    }
    text = (
        f"One trajectory of {N_STEPS} steps, lag 1; median (quartiles) over seeds. Oracle: the exact singular "
        "functions on the same data. A singular value that a method does not have counts as 0: the map has one "
        "coordinate, and so one linear function. EDMD has eigenfunctions only, which are taken for both sides: the "
        "eigenvalues of the map are next to nothing beyond the second, and their functions are not the singular ones. "
        "Taken as reversible, the same data give the eigenvalues of (T + T*)/2, which are neither the singular values "
        "nor the eigenvalues of T."
    )
    centres = FEW_STATES["edmd"]["n_centres"]
    write(
        "nonreversible",
        rows,
        tables,
        "\n\n".join([text, described(CHOSEN), f"On the chain EDMD has {centres} centres."]),
        options.folder,
    )
    finished("nonreversible", options.folder)


if __name__ == "__main__":
    main()
