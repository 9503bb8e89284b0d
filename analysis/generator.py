"""Rates of the Prinz potential without a time series: from independent samples, weighted samples and a simulated file.

    python -m analysis.generator    # analysis/results/generator.json and .md; about a minute per fit on one core

The oracle is Rayleigh–Ritz with the true eigenfunctions on the same states.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spectraldyn as sd
from analysis.benchmarks.record import RESULTS, markdown
from analysis.references import oracle_rates
from spectraldyn import GeneratorSVD, load_features
from spectraldyn.spectra.rates import rate_intervals

N_MODES = 7
SYSTEM = sd.systems.SYSTEMS["prinz"]


def rows_of(source: str, seed: int, seconds: float, rates: list[dict[str, Any]], oracle: np.ndarray) -> list[dict]:
    return [
        {
            "states": source, "seed": seed, "process": k + 1, "exact": exact, "oracle": float(oracle[k]),
            "learned": rate["value"], "low": rate["low"], "high": rate["high"],
            "from oracle (%)": float(100 * (rate["value"] / oracle[k] - 1)),
            "exact inside": bool(rate["low"] <= exact <= rate["high"]), "seconds": seconds,
        }
        for k, (rate, exact) in enumerate(zip(rates, SYSTEM.rates(N_MODES).tolist(), strict=True))
    ]  # fmt: skip


def independent(seed: int, beta: float) -> list[dict[str, Any]]:
    """50,000 independent samples at the inverse temperature `beta`, weighted to 1 where it is another."""
    states = SYSTEM.sample(50_000, seed=seed, beta=beta)
    energy = SYSTEM.energy(torch.from_numpy(states)).numpy()
    weight = None if beta == 1 else np.exp(-(1 - beta) * energy)
    started = time.perf_counter()
    model = GeneratorSVD(N_MODES, random_state=seed).fit_fetch(states, sample_weight=weight)
    seconds = time.perf_counter() - started
    rates = [vars(rate) for rate in rate_intervals(model.moments, model.spectrum, model.shift, 0.0, seed)]
    name = "independent" if beta == 1 else f"independent, at {1 / beta:g} times the temperature, weighted"
    return rows_of(name, seed, seconds, rates, oracle_rates(SYSTEM, states, N_MODES, weight))


def simulated(seed: int) -> list[dict[str, Any]]:
    """`spectraldyn simulate` and `spectraldyn fit --operator generator` as a user types them."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(Path(sys.executable).with_name("spectraldyn"))

        def call(*arguments: str) -> None:
            environment = {**os.environ, "SPECTRALDYN_CACHE": folder + "/cache"}
            subprocess.run([script, *arguments], cwd=folder, check=True, capture_output=True, env=environment)

        call("simulate", "prinz", "--out", "p.dcd", "--seed", str(seed))
        started = time.perf_counter()
        call("fit", "p.dcd", "--top", "p.pdb", "--operator", "generator", "--potential", "prinz", "--modes", "7",
             "--seed", str(seed), "--out", "out")  # fmt: skip
        seconds = time.perf_counter() - started
        rates = json.loads(Path(folder, "out", "results.json").read_text())["rates"]
        states = np.concatenate(load_features(f"{folder}/p.dcd", top=f"{folder}/p.pdb", columns=1, cache=False))
    return rows_of(
        "file of `spectraldyn simulate`", seed, seconds, rates, oracle_rates(SYSTEM, states.astype(float), N_MODES)
    )


def main() -> None:
    rows = []
    for seed in range(3):
        for part in (independent(seed, 1.0), independent(seed, 0.5), simulated(seed)):
            rows += part
            inside = sum(row["exact inside"] for row in part)
            differences = [round(row["from oracle (%)"], 2) for row in part]
            print(part[0]["states"], seed, differences, f"{inside} of 7 inside, {part[0]['seconds']:.0f} s", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "generator.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "generator.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
