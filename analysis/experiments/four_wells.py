"""Langevin dynamics in four wells: the generator's eigenvalues from the potential, and from trajectories alone.

    python -m analysis.experiments.four_wells             # three seeds: about twenty minutes on one core
    python -m analysis.experiments.four_wells --quick     # one seed, four minutes
    python -m analysis.experiments.four_wells --published # networks as published, 50,000 steps

U = 4 (x⁸ + .8 e^{−80x²} + .2 e^{−80(x−½)²} + .5 e^{−40(x+½)²}), β = D = 1 (Prinz et al., J. Chem. Phys. 134 (2011)
174105). Known potential: the generator L in its strong form (L + 200)/200 with the published networks, and, in a
setting of our own, its strong form and its resolvent in the energy space. Trajectories: lagged pairs alone, the
transfer operator's eigenvalues λ at a lag time τ converted to ln λ / τ, with error bars; every method learns from
the same pairs and is judged by the same code. Writes four_wells.json, .md and .png.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.benchmarks.oracle import oracle
from analysis.benchmarks.study import Row
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, arguments, collect, device, write
from analysis.experiments.four_wells_shown import figure, tables, text
from analysis.problems import Scaling
from analysis.references import product_rule, quantiles
from spectraldyn import Batch, FreshSamples, compare_methods, learn_spectrum
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks import Sides
from spectraldyn.networks.factors import FourierFeatures
from spectraldyn.networks.mlp import NETWORKS, CommonTrunk
from spectraldyn.operators import Operator, energy_space_resolvent, shifted_generator
from spectraldyn.spectra.rayleigh_ritz import Spectrum, rayleigh_ritz
from spectraldyn.systems import SYSTEMS

SYSTEM: Any = SYSTEMS["prinz"]
N_MODES = 7
N_QUANTILES = 200_001
SPACING, TIMESTEP, N_WALKERS = 0.005, 4e-5, 10
N_FREQUENCIES = 16
PICTURE = np.linspace(-1.05, 1.05, 106)
"""Where eigenfunctions are kept for the figure."""


@dataclass(frozen=True)
class Form:
    """An operator with the generator's eigenfunctions, and its eigenvalues as rates."""

    operator: Operator
    rates: Callable[[np.ndarray], np.ndarray]


def strong(shift: float) -> Form:
    """1 + L/c: eigenvalues 1 − rate/c."""
    return Form(shifted_generator(SYSTEM.force, 1.0, shift), lambda values: shift * (1 - values))


def resolvent(shift: float) -> Form:
    """η/(η − L): eigenvalues η/(η + rate)."""
    return Form(energy_space_resolvent(1.0, shift), lambda values: shift * (1 / values.clip(1e-6) - 1))


FORMS = {"strong": strong, "resolvent": resolvent}
AS_PUBLISHED: Row = {
    "form": "strong", "shift": 200.0, "functions": N_MODES, "hidden": (64, 64, 64), "frequencies": 0,
    "objective": "sequential", "even": False, "batch": 512, "rate": 5e-3,
}  # fmt: skip
OURS: Row = {
    "functions": 12, "hidden": (64,), "frequencies": N_FREQUENCIES, "objective": "joint", "even": True, "batch": 2048,
    "rate": 1e-2,
}  # fmt: skip
POTENTIAL: dict[str, Row] = {
    "strong form, as published": AS_PUBLISHED,
    "strong form, ours": {**OURS, "form": "strong", "shift": 300.0, "functions": 10},
    "energy-space resolvent, ours": {**OURS, "form": "resolvent", "shift": 70.0},
}
STEPS = {
    STANDARD: {"strong form, as published": 6000, "strong form, ours": 8000, "energy-space resolvent, ours": 5000},
    QUICK: {"strong form, as published": 1000, "strong form, ours": 4000, "energy-space resolvent, ours": 3000},
    PUBLISHED: dict.fromkeys(POTENTIAL, 50_000),
}
FRAMES = {STANDARD: 100_000, QUICK: 50_000, PUBLISHED: 400_000}
ORACLE = "oracle"
SAMPLES: dict[str, tuple[str, Row]] = {
    "NeuralSVD": ("neural-svd", {}),
    "nested, cold start": ("neural-svd", {"objective": "joint", "warm_start": False}),
    "VAMP-2, cold start": ("neural-svd", {"objective": "vamp-2", "warm_start": False}),
    "DPNet": ("neural-svd", {"objective": "dpnet", "warm_start": False}),
    "DPNet-relaxed": ("neural-svd", {"objective": "dpnet-relaxed", "warm_start": False}),
    "VAMPNet (deeptime)": ("vampnet", {"learning_rates": [5e-3], "batch_sizes": [512], "max_epochs": 30}),
    "MSM, 100 states": ("msm", {"n_clusters": [100], "n_samples": 20}),
}
"""Method of `spectraldyn.compare_methods` and its options; a cold start has one network and its objective alone."""
SHORT, LONG = 1, 10
"""Lag times in frames; the longer one for the oracle and NeuralSVD only, to show what it leaves unresolved."""


def rule() -> Batch:
    """Gauss–Legendre points with the weights of the equilibrium distribution, which average to 1."""
    points, weights = product_rule(SYSTEM.domain, 600)
    weights = weights * np.exp(-SYSTEM.energy(torch.tensor(points)).numpy())
    return Batch(torch.tensor(points), weight=torch.tensor(weights / weights.mean()))


def samples(even: bool) -> FreshSamples:
    """Fresh states at equilibrium: independent ones, or ones that divide it evenly, from a random offset.

    Averages over the latter have next to no noise. But the rows are not independent, for which the U-statistic of the
    metric term is made: it then errs by O(1/batch), so that batches are large.
    """
    table = torch.tensor(quantiles(SYSTEM, N_QUANTILES), dtype=torch.float32, device=device())

    def sampler(n: int, random: torch.Generator) -> Batch:
        where = torch.rand(1 if even else n, generator=random, device=device(), dtype=torch.float64)
        share = (torch.arange(n, device=device()) + where) / n if even else where
        return Batch(table[(share * N_QUANTILES).long()])

    return FreshSamples(sampler, device())


def network(case: Row) -> nn.Module:
    n = case["frequencies"]
    half_waves = torch.arange(1.0, n + 1)[None] * torch.pi / (SYSTEM.domain[0][1] - SYSTEM.domain[0][0])
    inputs = FourierFeatures(half_waves) if n else Scaling(quantiles(SYSTEM, 1000))
    kind = NETWORKS["separate" if case["objective"] == "sequential" else "common-trunk"]
    return nn.Sequential(inputs, kind(2 * n or 1, case["functions"], tuple(case["hidden"]), "tanh"))


def spectrum_of(operator: Operator, functions: nn.Module, at: Batch) -> Spectrum:
    """Rayleigh–Ritz in the span of functions, in float64."""
    double = copy.deepcopy(functions).cpu().double()
    return rayleigh_ritz(operator_moments(operator, double, double, [[at]]).means(), tied=True)


def leading_rates(form: Form, values: np.ndarray, n: int) -> np.ndarray:
    """Rates (n,) of the first values; where functions depend on each other there are fewer, and the rest count as 0."""
    return form.rates(np.append(values, np.zeros(n))[:n])


@torch.no_grad()
def ritz_functions(functions: nn.Module, spectrum: Spectrum, x: Tensor) -> np.ndarray:
    """The leading Ritz functions at states (n, 1), (n, N_MODES)."""
    values = copy.deepcopy(functions).cpu().double()(x).numpy()
    found = np.hstack((np.ones((len(x), 1)), values)) @ spectrum.left[:, :N_MODES]
    return np.pad(found, ((0, 0), (0, N_MODES - found.shape[1])))


def distances(found: np.ndarray, exact: np.ndarray, weight: np.ndarray) -> list[float]:
    """1 − cos² of the angle between each function (n, k) and the exact one; 1 for one that is zero."""
    overlap = np.einsum("b,bk,bk->k", weight, found, exact) ** 2
    norms = (weight @ found**2) * (weight @ exact**2)
    return (1 - np.divide(overlap, norms, out=np.zeros_like(norms), where=norms > 0)).clip(0).tolist()


def from_potential(case: Row, checkpoint: Path | None) -> list[Row]:
    """Eigenvalues and eigenfunctions of one form, as training goes on and in the end."""
    form, at = FORMS[case["form"]](case["shift"]), rule()
    known, exact = SYSTEM.rates(N_MODES), SYSTEM.eigenfunctions(at.x.numpy(), N_MODES)
    weight = at.weight.numpy() / len(at.x)
    trace: list[Row] = []
    started = time.perf_counter()

    def observe(step: int, sides: Sides) -> None:
        spectrum = spectrum_of(form.operator, sides.left, at)
        off = np.abs(leading_rates(form, spectrum.values, N_MODES) - known)
        apart = distances(ritz_functions(sides.left, spectrum, at.x), exact, weight)
        trace.append({"step": step, "errors": off.tolist(), "distances": apart})

    torch.manual_seed(case["seed"])
    learned = learn_spectrum(
        form.operator, samples(case["even"]), network(case), [at], objective=case["objective"], n_steps=case["steps"],
        batch_size=case["batch"], learning_rate=case["rate"], average_share=0.05, seed=case["seed"],
        positive=case["form"] == "resolvent", checkpoint=checkpoint, observe=observe,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    functions = learned.sides.left
    shown = ritz_functions(functions, spectrum_of(form.operator, functions, at), torch.tensor(PICTURE[:, None]))
    row: Row = {
        "eigenvalues": (-leading_rates(form, learned.values, N_MODES)).tolist(),
        "norms": (-leading_rates(form, learned.norms, N_MODES)).tolist(), "trace": trace, "seconds": seconds,
        "functions at": np.round(shown, 4).T.tolist(),
    }  # fmt: skip
    inputs, perceptron = functions.children()
    if isinstance(perceptron, CommonTrunk):
        hidden = spectrum_of(form.operator, nn.Sequential(inputs, perceptron.trunk), at)
        row["last layer"] = (-leading_rates(form, hidden.values, N_MODES + 1)).tolist()
    return [row]


def from_samples(case: Row) -> list[Row]:
    """Eigenvalues of one method from simulated trajectories, with intervals; in units of inverse time."""
    walks = SYSTEM.simulate(
        case["frames"] // N_WALKERS, SPACING, seed=case["seed"], n_walkers=N_WALKERS, timestep=TIMESTEP
    )
    lag, seed = case["lag"], case["seed"]
    if case["method"] == ORACLE:
        result = oracle([SYSTEM.eigenfunctions(walk, N_MODES) for walk in walks], lag, N_MODES, seed)
    else:
        method, options = SAMPLES[case["method"]]
        (runs,) = compare_methods(
            list(walks), lag, N_MODES, {method: options}, n_splits=1, random_state=seed, device="cpu"
        ).runs
        (result,) = runs
    scales = result.timescales

    def eigenvalue(timescale: float | None) -> float | None:
        return None if not timescale else -1 / (timescale * SPACING)

    return [
        {
            "failed": result.failed, "eigenvalues": [eigenvalue(s.value) for s in scales],
            "low": [eigenvalue(s.low) for s in scales], "high": [eigenvalue(s.high) for s in scales],
            "unresolved": [s.unresolved for s in scales], "VAMP-E": result.vampe_test, "VAMP-2": result.vamp2_test,
            "seconds": result.seconds,
        }
    ]  # fmt: skip


def measure(case: Row, checkpoint: Path | None) -> list[Row]:
    """One training from the potential or from samples."""
    return from_potential(case, checkpoint) if case["part"] == "potential" else from_samples(case)


def cases(setting: str, seeds: Sequence[int]) -> list[Row]:
    known = [
        {"part": "potential", "method": name, "seed": seed, **chosen, "steps": STEPS[setting][name]}
        for seed in seeds
        for name, chosen in POTENTIAL.items()
    ]
    asked = [*((name, SHORT) for name in (ORACLE, *SAMPLES)), (ORACLE, LONG), ("NeuralSVD", LONG)]
    return known + [
        {"part": "samples", "method": name, "seed": seed, "lag": lag, "frames": FRAMES[setting]}
        for seed in seeds
        for name, lag in asked
    ]


def main() -> None:
    options = arguments(__doc__, {STANDARD: 3, QUICK: 1, PUBLISHED: 3})
    rows = collect("four_wells", options, cases(options.setting, options.seeds), measure)
    exact = -SYSTEM.rates(N_MODES + 1)
    functions = SYSTEM.eigenfunctions(PICTURE[:, None], N_MODES)
    shown = {"": figure(rows, exact, PICTURE, functions)}
    write("four_wells", options, rows, tables(rows, exact, SPACING), text(rows, exact, SPACING), shown)


if __name__ == "__main__":
    main()
