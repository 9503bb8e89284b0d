"""Timescales learned from trajectory files against exact ones, the oracle and reference Markov models.

    python -m analysis.validation known --data ../shared/data       # particles with an exact spectrum, three seeds
    python -m analysis.validation molecules --data ../shared/data   # alanine dipeptide, five seeds
    python -m analysis.validation norms --data ../shared/data       # norms against Rayleigh-Ritz by batch size

Each writes analysis/results/NAME.json and NAME.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import spectraldyn as sd
from analysis.benchmarks.record import RESULTS, markdown
from spectraldyn import NeuralSVD, fit_trajectories, load_features

KNOWN = {
    "double_well_2d": {
        "system": "double-well-2d", "exact": [18.0106, 2.0, 1.8001],
        "options": {"features": "positions", "lag": "1ps", "timestep": "0.2ps"},
    },
    "prinz": {
        "system": "prinz", "exact": [0.834033, 0.126767, 0.065098],
        "options": {"features": "positions", "lag": "0.05ps", "timestep": "0.01ps"},
    },
    "dimer": {
        "system": "double-well", "exact": [18.0106],
        "options": {"features": "heavy-distances", "lag": "1ps", "timestep": "0.2ps"},
    },
}  # fmt: skip

MOLECULES = {
    "alanine_dipeptide_99sb": {
        "files": "*.dcd", "top": "ala2.pdb", "timestep": "1ps", "accept": {1: (205, 275), 2: (6.0, 7.4)},
    },
    "alanine_dipeptide_300K": {"files": "*.xtc", "top": "top.pdb", "timestep": None, "accept": {2: (22.4, 25.2)}},
    "alanine_dipeptide_400K": {
        "files": "*.xtc", "top": "top.pdb", "timestep": None, "accept": {1: (275, 340), 2: (9.4, 10.9)},
    },
}  # fmt: skip


def states(name: str, features: list[np.ndarray]) -> list[np.ndarray]:
    """The coordinates in which the system is defined, from the features."""
    if name == "dimer":
        return [(np.asarray(part[:, :1], dtype=float) - 0.6) / 0.2 for part in features]
    return [np.asarray(part, dtype=float) for part in features]


def known(data: Path, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for name, problem in KNOWN.items():
        files = sorted((data / "known").glob(f"{name}_*.dcd"))
        top = data / "known" / f"{name}.pdb"
        best = None
        for seed in range(seeds):
            results = fit_trajectories(files, top=top, random_state=seed, n_modes=3, refits=0, **problem["options"])
            if best is None:
                best = results.data.time.row_time * sd.systems.oracle_timescales(
                    sd.systems.SYSTEMS[problem["system"]],
                    states(name, results.data),
                    results.model.lagtime,
                    len(problem["exact"]),
                )
            for k, exact in enumerate(problem["exact"]):
                scale = results.timescales[k]
                rows.append(
                    {
                        "system": name, "seed": seed, "process": k + 1, "exact (ps)": exact, "oracle (ps)": best[k],
                        "learned (ps)": scale.value, "low": scale.low, "high": scale.high,
                        "from oracle (%)": 100 * (scale.value / best[k] - 1),
                        "exact inside": bool(scale.low <= exact <= scale.high), "seconds": results.seconds,
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def molecules(data: Path, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for name, problem in MOLECULES.items():
        folder = data / "molecules" / name
        for seed in range(seeds):
            results = fit_trajectories(
                sorted(folder.glob(problem["files"])), top=folder / problem["top"], timestep=problem["timestep"],
                lag="5ps", n_modes=3, random_state=seed, refits=0,
            )  # fmt: skip
            for k, scale in enumerate(results.timescales):
                low, high = problem["accept"].get(k + 1, (None, None))
                rows.append(
                    {
                        "set": name, "seed": seed, "process": k + 1, "learned (ps)": scale.value, "low": scale.low,
                        "high": scale.high, "transitions": scale.n_transitions, "unresolved": scale.unresolved or "",
                        "accepted range": "" if low is None else f"{low}–{high}",
                        "inside": "" if low is None else bool(low <= scale.value <= high), "seconds": results.seconds,
                    }
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def norms(data: Path, seeds: int) -> list[dict[str, Any]]:
    rows = []
    for name, problem in KNOWN.items():
        options = {k: v for k, v in problem["options"].items() if k != "lag"}
        data_set = load_features(
            sorted((data / "known").glob(f"{name}_*.dcd")), top=data / "known" / f"{name}.pdb", **options
        )
        for batch_size in (1024, 128, 32):
            for objective in ("joint", "sequential"):
                for seed in range(seeds):
                    model = NeuralSVD(
                        len(problem["exact"]), 5, batch_size=batch_size, objective=objective, random_state=seed
                    ).fit_fetch(data_set)
                    ratio = model.spectrum.norms / model.singular_values
                    rows.append(
                        {
                            "system": name, "batch size": batch_size, "objective": objective, "seed": seed,
                            "Ritz": " ".join(f"{s:.4f}" for s in model.singular_values),
                            "norms": " ".join(f"{s:.4f}" for s in model.spectrum.norms),
                            "largest difference (%)": float(100 * np.abs(ratio - 1).max()),
                        }
                    )  # fmt: skip
                    print(rows[-1], flush=True)
    return rows


STUDIES = {"known": known, "molecules": molecules, "norms": norms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", type=Path, required=True, help="folder with known/ and molecules/")
    parser.add_argument("--seeds", type=int)
    options = parser.parse_args()
    seeds = options.seeds or {"known": 3, "molecules": 5, "norms": 1}[options.study]
    rows = STUDIES[options.study](options.data, seeds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.study}.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / f"{options.study}.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
