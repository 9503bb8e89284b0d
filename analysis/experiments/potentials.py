"""Infinite wells and cosine potentials, as Fokker–Planck and as Schrödinger operators, in 1, 2, 5 and 10 dimensions.

    python -m analysis.experiments.potentials             # three seeds
    python -m analysis.experiments.potentials --quick     # one seed, a quarter of the steps
    python -m analysis.experiments.potentials --published # four times the steps

The cosine potentials are those of Han, Lu, Zhou, J. Comput. Phys. 423 (2020) 109792: U = Σ_k c_k cos x_k on the torus,
with amplitudes evenly spread up to 1. The dimensions are independent, so that all answers are known, of which the
networks, on the cosine and sine of all angles at once, know nothing.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import qmc
from torch import nn

from analysis import grid
from analysis.benchmarks.study import numbers
from analysis.experiments import experiment
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, Row, mean_and_spread
from analysis.problems import Problem, schroedinger_problem
from analysis.references import product_rule, quantiles
from spectraldyn import Batch, FreshSamples
from spectraldyn.networks.factors import FourierFeatures
from spectraldyn.operators import energy_space_resolvent
from spectraldyn.systems import SchroedingerSum, Separable, cosine_circle, cosine_well, infinite_well

WELL, FOKKER_PLANCK, SCHROEDINGER = "infinite well", "cosines, Fokker–Planck", "cosines, Schrödinger"
STEPS = {QUICK: 1000, STANDARD: 4000, PUBLISHED: 16_000}
N_MODES = 4


def amplitudes(dimension: int) -> tuple[float, ...]:
    return tuple(float(c) for c in np.arange(1, dimension + 1) / dimension)


def torus_rule(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights: even grids, and Sobol points where those would be too many."""
    domain = ((0.0, 2 * np.pi),) * dimension
    if dimension <= 5:
        return product_rule(domain, {1: 200, 2: 60, 5: 8}[dimension], periodic=True)
    points = 2 * np.pi * qmc.Sobol(dimension, rng=np.random.default_rng(0)).random_base2(16)
    return points, np.full(len(points), (2 * np.pi) ** dimension / len(points))


def fokker_planck(dimension: int) -> Problem:
    """The slowest rates, from independent equilibrium states."""
    system = Separable(tuple(map(cosine_circle, amplitudes(dimension))))
    tables = torch.tensor(np.stack([quantiles(part, 20_000)[:, 0] for part in system.parts]), dtype=torch.float32)

    def fresh(n: int, generator: torch.Generator) -> Batch:
        index = torch.randint(tables.shape[1], (dimension, n), generator=generator)
        return Batch(tables.gather(1, index).T.contiguous())

    points, weight = torus_rule(dimension)
    weight = weight * torch.exp(-system.energy(torch.tensor(points))).numpy()
    rates = system.rates(N_MODES)
    shift = float(rates[-1]) / 2
    return Problem(
        operator=energy_space_resolvent(system.diffusion, shift),
        samples=FreshSamples(fresh),
        n_inputs=2 * dimension,
        reference=rates,
        read_off=Batch(torch.tensor(points), weight=torch.tensor(weight / weight.mean())),
        functions=system.eigenfunctions(points, N_MODES),
        values=lambda values: shift * (1 / values - 1),
        inputs=lambda: FourierFeatures(torch.eye(dimension)),
    )


def cosine_schroedinger(dimension: int) -> Problem:
    """The lowest energies, from uniform states."""
    system = SchroedingerSum(tuple(map(cosine_well, amplitudes(dimension))))
    return schroedinger_problem(system, N_MODES, lowest=-sum(amplitudes(dimension)), rule=torus_rule(dimension))


def well(dimension: int) -> Problem:
    """On inputs from −π to π: networks that see the box from 0 to π as it is do not tell its corners apart."""
    parts = (infinite_well(np.pi),) * dimension
    problem = schroedinger_problem(parts[0] if dimension == 1 else SchroedingerSum(parts), N_MODES)
    return dataclasses.replace(problem, inputs=partial(centred, dimension))


def centred(dimension: int) -> nn.Linear:
    """2x − π, not learned."""
    layer = nn.Linear(dimension, dimension).requires_grad_(False)
    layer.weight.copy_(2 * torch.eye(dimension))
    layer.bias.fill_(-torch.pi)
    return layer


TASKS = {
    **{(WELL, d): partial(well, d) for d in (1, 2)},
    **{(FOKKER_PLANCK, d): partial(fokker_planck, d) for d in (1, 2, 5, 10)},
    **{(SCHROEDINGER, d): partial(cosine_schroedinger, d) for d in (1, 2, 5, 10)},
}


def measure(case: Row, checkpoint: Path) -> list[Row]:
    task = TASKS[case["problem"], case["dimension"]]()
    options = {"batch_size": 512, "n_steps": case["steps"], "checkpoint": checkpoint}
    task = dataclasses.replace(task, activation="gelu", options=options)
    row = grid.learn(case["problem"], "", "sequential", case["seed"], task)
    kept = ("reference", "learned", "largest error (%)", "subspace distance", "seconds")
    return [{name: row[name] for name in kept}]


def main() -> None:
    options = experiment.arguments(__doc__, {STANDARD: 3, QUICK: 1, PUBLISHED: 3})
    cases = [
        {"problem": problem, "dimension": d, "steps": STEPS[options.setting], "seed": seed}
        for problem, d in TASKS
        for seed in options.seeds
    ]
    rows = experiment.collect("potentials", options, cases, measure)
    table = [_line([row for row in rows if (row["problem"], row["dimension"]) == key]) for key in TASKS]
    worst = max(rows, key=lambda row: row["largest error (%)"])
    text = (
        f"The {N_MODES} lowest energies (counted from the bottom of the potential) or slowest rates by sequential "
        f"nesting, {STEPS[options.setting]} steps of 512 states; exact values are in closed form or from plane waves "
        "in every dimension by itself. Mean ± standard deviation over seeds. Largest error of all: "
        f"{worst['largest error (%)']:.2g} % ({worst['problem']}, {worst['dimension']} dimensions)."
    )
    experiment.write("potentials", options, rows, {"": table}, text, {"": figure(rows)})


def _line(group: list[Row]) -> Row:
    first = group[0]
    return {
        "operator": first["problem"],
        "dimensions": first["dimension"],
        "exact": first["reference"],
        f"learned, seed {first['seed']}": first["learned"],
        "largest error (%)": mean_and_spread(numbers(group, "largest error (%)")),
        "subspace distance": mean_and_spread(numbers(group, "subspace distance")),
        "seconds": f"{np.mean(numbers(group, 'seconds')):.0f}",
    }


def figure(rows: list[Row]) -> Figure:
    result = Figure(figsize=(6, 3.6), layout="constrained")
    axes = result.subplots()
    for problem, marker, shift in ((WELL, "s", 0.94), (FOKKER_PLANCK, "o", 1.0), (SCHROEDINGER, "^", 1.06)):
        mine = [row for row in rows if row["problem"] == problem]
        axes.plot(
            [shift * row["dimension"] for row in mine], [row["largest error (%)"] for row in mine], marker,
            label=problem, fillstyle="none", markersize=7,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="dimensions", ylabel=f"largest error of {N_MODES} values (%)")
    axes.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return result


if __name__ == "__main__":
    main()
