"""Weights from biased runs that others published: how far rates and free energies lie from what they should be.

    python -m analysis.biased --data ../shared/data    # analysis/results/biased.json and .md

The particle on the Müller–Brown surface against finite volumes: the oracle (Rayleigh–Ritz with the true eigenfunctions)
and GeneratorSVD, with weights from the recorded bias and by cells. Several fits together: Rayleigh–Ritz with all their
functions, which by the variational principle is nearer than each. Alanine dipeptide in vacuum under a multithermal and
an umbrella bias, at 300 K, against unbiased runs within either of its two basins.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np

from analysis.benchmarks.record import write
from analysis.references import oracle_rates, ritz_rates
from spectraldyn import Dataset, GeneratorSVD, Weights, effective_sample_size, load_features
from spectraldyn.spectra.rates import correlation_rows, rate_intervals
from spectraldyn.systems import SYSTEMS, cell_weights

SYSTEM = SYSTEMS["muller-brown-cold"]
SKIP = 1000
"""Rows of the particle: a tenth, while the bias still grows."""
N_BLOCKS, N_DRAWS = 20, 60
LEARNER: dict[str, Any] = {
    "n_modes": 8, "objective": "vamp-2", "hidden": (64, 64), "shift": 0.05, "max_steps": 3000, "device": "cpu",
}  # fmt: skip
"""Of eight functions, of which two are judged. The second process lives in states of 0.3 % of the probability: by
VAMP-2 no function has to grow to a norm of 1 there before it counts, and among more functions it is not missed."""
EDGES = np.linspace(-np.pi, np.pi, 13)


def particle(data: Path) -> dict[str, Dataset]:
    """The states with either weights."""
    file = f"{data}/real/mueller_brown_opes/COLVAR"
    biases = Weights(f"{file}:opes.bias,lwall.bias,uwall.bias", kt=1)
    states = load_features(file, features="p.x,p.y", skip=SKIP, weights=biases)
    return {"bias": states, "cells": states.weighted(cell_weights(SYSTEM, np.concatenate(states)))}


def oracles(states: dict[str, Dataset]) -> list[dict[str, Any]]:
    exact, found = SYSTEM.rates(2), []
    for name, some in states.items():
        rows, weight = np.concatenate(some).astype(float), some.weight
        assert weight is not None
        values = oracle_rates(SYSTEM, rows, 2, weight)
        drawn = [oracle_rates(SYSTEM, rows[i], 2, weight[i]) for i in _resampled(len(rows))]
        for k in range(2):
            low, high = np.percentile([draw[k] for draw in drawn], [2.5, 97.5]) / exact[k]
            found.append(
                {
                    "weights": name, "effective rows": effective_sample_size(weight), "process": k + 1,
                    "exact rate": exact[k], "oracle rate": values[k],
                    "oracle from exact (%)": 100 * (values[k] / exact[k] - 1),
                    "95 % of resampled blocks (%)": f"{100 * (low - 1):.0f} to {100 * (high - 1):.0f}",
                }
            )  # fmt: skip
    return found


def learned(states: Dataset, name: str, n_seeds: int) -> Iterator[dict[str, Any]]:
    """The fits one by one, and what the functions of all of them span together."""
    models = []
    for seed in range(n_seeds):
        started = time.perf_counter()
        model = GeneratorSVD(diffusion=SYSTEM.diffusion, random_state=seed, **LEARNER).fit_fetch(states)
        models.append(model)
        memory = correlation_rows(np.concatenate(model.transform(states)), states.stretches)
        rates = rate_intervals(model.moments, model.spectrum, model.shift, memory, seed)
        for k, (rate, exact) in enumerate(zip(rates[:2], SYSTEM.rates(2).tolist(), strict=True)):
            inside = rate.low is not None and rate.high is not None and rate.low <= exact <= rate.high
            yield {
                "weights": name, "seed": seed, "process": k + 1, "exact": exact, "learned": rate.value, "low": rate.low,
                "high": rate.high, "from exact (%)": 100 * (rate.value / exact - 1), "exact inside": bool(inside),
                "seconds": time.perf_counter() - started,
            }  # fmt: skip
    rows = np.concatenate(states).astype(float)
    together = ritz_rates(lambda x: np.hstack([model.transform(x) for model in models]), SYSTEM, rows, states.weight)
    for k, (value, exact) in enumerate(zip(together[:2].tolist(), SYSTEM.rates(2).tolist(), strict=True)):
        yield {
            "weights": name, "seed": "all together", "process": k + 1, "exact": exact, "learned": value, "low": None,
            "high": None, "from exact (%)": 100 * (value / exact - 1), "exact inside": None, "seconds": None,
        }  # fmt: skip


def alanine(data: Path) -> Iterator[dict[str, Any]]:
    """Free energies (kT) along φ and ψ within a basin, from the biased run and from an unbiased one."""
    home, skip = data / "real" / "alanine_multithermal", 500
    biases = Weights(f"{home}/COLVAR:opes.bias", temperature=300)
    states = load_features(home / "COLVAR", features="phi,psi", skip=skip, weights=biases)
    cosines = np.concatenate(states).astype(float)
    angles, weight = np.arctan2(cosines[:, 1::2], cosines[:, ::2]), states.weight
    assert weight is not None
    right = (angles[:, 0] > 0) & (angles[:, 0] < 2.2)
    for basin, here, run in (("φ < 0", ~right, "A"), ("φ > 0", right, "B")):
        two = data / "real" / "alanine_two_basins"
        free = mdtraj.load(two / f"alad_{run}.trr", top=two / "alad.gro")
        unbiased = np.hstack([mdtraj.compute_phi(free)[1], mdtraj.compute_psi(free)[1]])
        for k, name in enumerate("φψ"):
            ours = _free_energies(angles[:, k], weight * here)
            theirs = _free_energies(unbiased[:, k], np.ones(len(unbiased)))
            for low, (a, error_a), (b, error_b) in zip(EDGES[:-1], ours, theirs, strict=True):
                if np.isfinite([a, b]).all() and b < 5:
                    yield {
                        "basin": basin, "effective rows": effective_sample_size(weight[here]), "angle": name,
                        "from (rad)": low, "reweighted (kT)": a, "± ": error_a, "unbiased (kT)": b, "±": error_b,
                        "z": (a - b) / np.hypot(error_a, error_b),
                    }  # fmt: skip


def _free_energies(angle: np.ndarray, weight: np.ndarray) -> list[tuple[float, float]]:
    """−ln p of every bin with its standard error, from resampled blocks of the run."""

    def of(rows: np.ndarray) -> np.ndarray:
        counts = np.histogram(angle[rows], EDGES, weights=weight[rows])[0]
        return -np.log(np.where(counts > 0, counts, np.nan) / counts.sum())

    values, drawn = of(np.arange(len(angle))), np.array([of(rows) for rows in _resampled(len(angle))])
    seen = np.isfinite(drawn).sum(axis=0) > 2
    errors = [float(np.nanstd(drawn[:, k])) if seen[k] else np.nan for k in range(len(values))]
    return list(zip(values.tolist(), errors, strict=True))


def _resampled(n_rows: int) -> list[np.ndarray]:
    blocks, random = np.array_split(np.arange(n_rows), N_BLOCKS), np.random.default_rng(0)
    return [np.concatenate([blocks[k] for k in random.integers(0, N_BLOCKS, N_BLOCKS)]) for _ in range(N_DRAWS)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    states = particle(options.data)
    tables = {"Müller–Brown: the oracle": oracles(states)}
    rates = [*learned(states["cells"], "cells", options.seeds), *list(learned(states["bias"], "bias", 1))[:2]]
    angles = list(alanine(options.data))
    z = np.array([row["z"] for row in angles])
    text = (
        f"Alanine dipeptide: {int((abs(z) < 2).sum())} of {len(z)} free energies lie within two standard errors of the "
    )
    text += f"unbiased ones; root mean square of z {np.sqrt((z**2).mean()):.2f}."
    tables |= {"Müller–Brown: learned": rates, "Alanine dipeptide at 300 K, within its basins": angles}
    write("biased", [row for rows in tables.values() for row in rows], tables, text)


if __name__ == "__main__":
    main()
