"""Batches from 8 to 16,384 pairs at equal samples seen, in 30 dimensions: scores, and norms against singular values.

    python -m analysis.benchmarks.batch_size    # about 40 minutes on one core; goes on where it was interrupted

NeuralSVD has its warm start where its batches are not larger than the ones studied; what it sees counts. All in our
loop but VAMPNet, whose batches are handed to deeptime's `partial_fit` as tensors. Learning rate 1e-2 (B/512)^½, at most
5e-3, in our loop; VAMPNet with 5e-4, its default, and with 5e-3 at every batch size, of which the better one
counts.
"""

import statistics
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from deeptime.decomposition.deep import VAMPNet

import spectraldyn as sd
from analysis.benchmarks import race
from analysis.benchmarks.record import write
from analysis.benchmarks.study import arguments, collect, finished
from analysis.small_batches import naive_joint
from spectraldyn.learning.warm_start import EXTRA_FUNCTIONS, FOLDED_PAIRS, MIN_BATCH, PAIRS_PER_FUNCTION, STEPS
from spectraldyn.objectives import Objective

SAMPLES = 160_000
LAST_SHARE, LAST_RATE = 0.2, 0.01
"""Of the steps, a last part at a small learning rate and with a long average, as NeuralSVD has one."""
BATCHES = (8, 16, 64, 256, 1024, 4096, 16384)
OURS = "NeuralSVD"
WARM_BATCH = max(MIN_BATCH, PAIRS_PER_FUNCTION * (race.N_MODES + EXTRA_FUNCTIONS))
WARM_PAIRS = STEPS * WARM_BATCH + FOLDED_PAIRS
OBJECTIVES: dict[str, Objective] = {
    OURS: sd.objectives.stateless(sd.objectives.joint_nesting),
    "naive product": sd.objectives.stateless(naive_joint),
    "DPNet-relaxed": sd.objectives.stateless(sd.objectives.dpnet_relaxed_loss),
}
VAMPNET = "VAMPNet of deeptime"
RIVAL_SEEDS = 3
"""Of the other methods, which take five sixths of the time and are there to compare with."""
simulated = cache(race.simulated)


def learned(data: race.Data, objective: Objective, batch_size: int, seed: int, warm: bool = False) -> dict[str, Any]:
    """Held-out score and singular values of one training in our loop."""
    samples = SAMPLES - (WARM_PAIRS if warm else 0)
    rate = min(5e-3, 1e-2 * (batch_size / 512) ** 0.5)
    clock = race.Clock(data, every=10**9, limit=np.inf)
    sides = race.ours(
        clock, objective, seed=seed, warm=warm, learning_rate=rate, batch_size=batch_size,
        n_steps=round((1 - LAST_SHARE) * samples / batch_size), then=rate * LAST_RATE,
        then_steps=round(LAST_SHARE * samples / batch_size),
    )  # fmt: skip
    score, spectrum = data.score(sides.left), data.spectrum(sides.left)
    norms = np.sort(spectrum.norms)[::-1]
    return {
        "VAMP-E": score,
        "share of the oracle": score / data.oracle,
        "norms from Ritz values (%)": float(100 * np.abs(norms / np.abs(spectrum.values) - 1).max()),
        "norms from the oracle's values (%)": float(100 * np.abs(norms / data.eigenvalues - 1).max()),
    }


def vampnet(data: race.Data, learning_rate: float, batch_size: int, seed: int) -> dict[str, Any]:
    """Held-out score of deeptime's VAMPNet after as many pairs; NaN where it stopped with an error."""
    rows, whitening = race.whitened(data)
    pairs = race.pairs_of(rows, data)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lobe = sd.networks.CommonTrunk(whitening.n_outputs, race.N_MODES, race.HIDDEN, race.ACTIVATION)
    estimator = VAMPNet(lobe, learning_rate=learning_rate)
    try:
        for _ in range(SAMPLES // batch_size):
            estimator.partial_fit(pairs.draw(batch_size, generator).pair)
        score = data.score(lambda x: lobe(whitening(x)))
    except (ArithmeticError, RuntimeError, ValueError) as error:
        return {"VAMP-E": float("nan"), "share of the oracle": float("nan"), "failed": str(error).splitlines()[0]}
    return {"VAMP-E": score, "share of the oracle": score / data.oracle}


def measure(case: dict[str, Any]) -> list[dict[str, Any]]:
    """NeuralSVD at one batch size, and for the first seeds every other method."""
    batch_size, seed = case["batch"], case["seed"]
    data = simulated(100 + seed)
    runs: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        (name, partial(learned, data, objective, batch_size, seed, name == OURS and batch_size >= WARM_BATCH))
        for name, objective in OBJECTIVES.items()
    ]
    runs += [(VAMPNET, partial(vampnet, data, rate, batch_size, seed)) for rate in (5e-4, 5e-3)]
    return [{"method": name, **work()} for name, work in runs if name == OURS or seed < RIVAL_SEEDS]


def table(rows: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Medians over the seeds, for NeuralSVD the quartiles as well; of the two learning rates of VAMPNet the better."""
    result = []
    for name in (*OBJECTIVES, VAMPNET):
        line: dict[str, Any] = {"method": name}
        quartiles: dict[str, Any] = {"method": f"{name}, quartiles"}
        for batch_size in BATCHES:
            best: dict[int, float] = {}
            for row in rows:
                value = row.get(column, float("nan"))
                if row["method"] == name and row["batch"] == batch_size and np.isfinite(value):
                    best[row["seed"]] = max(value, best.get(row["seed"], -np.inf))
            line[f"batch {batch_size}"] = f"{statistics.median(best.values()):.3f}" if best else "–"
            low, high = np.quantile(list(best.values()), [0.25, 0.75]) if best else (np.nan, np.nan)
            quartiles[f"batch {batch_size}"] = f"{low:.3f}–{high:.3f}"
        result += [line, quartiles] if name == OURS else [line]
    return result


def main() -> None:
    options = arguments(str(__doc__), seeds=10).parse_args()
    cases = [{"batch": batch_size, "seed": seed} for seed in range(options.seeds) for batch_size in BATCHES]
    rows = collect("batch_size", options.folder, cases, measure, options.jobs, options={})
    columns = ("share of the oracle", "norms from Ritz values (%)", "norms from the oracle's values (%)")
    text = (
        f"30-dimensional mixed double wells, {SAMPLES} pairs seen at every batch size, medians of {options.seeds} "
        f"simulations for NeuralSVD and of {min(options.seeds, RIVAL_SEEDS)} for the others. Share of the oracle: "
        "held-out VAMP-E over that of the true eigenfunctions on the same data."
    )
    write("batch_size", rows, {column: table(rows, column) for column in columns}, text, options.folder)
    finished("batch_size", options.folder)


if __name__ == "__main__":
    main()
