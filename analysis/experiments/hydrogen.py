"""The two-dimensional hydrogen atom, −∇² − 1/r: nested low-rank approximation, NeuralEF and SpIN beside each other.

    python -m analysis.experiments.hydrogen --jobs 2      # 9, 16 and 36 states, three seeds: hours
    python -m analysis.experiments.hydrogen --quick       # 9 states, one seed, fewer steps
    python -m analysis.experiments.hydrogen --published   # 500,000 steps, ten seeds: for a GPU

Two ways to represent and sample the states. *Published*: random Fourier features of the coordinates, states drawn from
N(0, 16²), RMSProp. *Ours*: features with the cusp of the states at the nucleus, half of the states drawn from a law
∝ 1/r near it, Adam.

References
----------
Ryu, Xu, Erol, Bu, Zheng, Wornell, ICML 2024 (arXiv:2402.03655): section 4.1, appendix E.1 and the published scripts.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from analysis.experiments import experiment, published, shown
from analysis.experiments.bound_states import BoundStates, cases_of
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, Row
from analysis.experiments.lattices import fibonacci_lattices
from analysis.experiments.planar import CentralFeatures
from spectraldyn import Batch
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.networks.factors import Factor, FourierFeatures, GaussianEnvelope
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.systems import hydrogen

SYSTEM = hydrogen()
SCALES = np.geomspace(1, 40, 10)
"""Decay lengths of the features; those of the states are 2n + 1."""
NEAR = 4.0
"""Decay length of the law near the nucleus."""
SPREADS = {1: 16.0, 4: 16.0, 9: 16.0, 16: 20.0, 36: 40.0}
"""Number of states → standard deviation of the wide law, and of the square of the envelope: the states must fit in."""
N_POINTS = 2 * 55
"""In a rule: so many from either law."""


def cusp_network(n_modes: int, separate: bool, spread: float, n_harmonics: int) -> nn.Module:
    """Networks on features e^{−r/s} with the cusp of the states at r = 0, under an envelope."""
    features, kind = CentralFeatures(SCALES, n_harmonics, power=1), SeparateNetworks if separate else CommonTrunk
    networks = kind(features.n_outputs, n_modes, (32, 32), "gelu")
    return Factor(GaussianEnvelope(2, spread), nn.Sequential(features, networks))


def fourier_network(n_modes: int, separate: bool, n_frequencies: int = 1024, width: int = 128) -> nn.Module:
    """Networks on random Fourier features, as published."""
    features = FourierFeatures.random(2, n_frequencies, 2 * math.pi * 0.1)
    kind = SeparateNetworks if separate else CommonTrunk
    networks = kind(2 * n_frequencies, n_modes, (width,) * 3, "softplus")
    return Factor(GaussianEnvelope(2, 16.0), nn.Sequential(features, networks))


def normal_sampler(n: int, generator: torch.Generator, spread: float = 16.0) -> Batch:
    """N(0, 16²) with weights 1/p, as published."""
    x = spread * torch.randn(n, 2, generator=generator, device=generator.device)
    return Batch(x, weight=2 * math.pi * spread**2 * torch.exp(x.square().sum(dim=1) / (2 * spread**2)))


def rules(n: int, generator: torch.Generator, spread: float) -> Batch:
    """Randomised rules of `N_POINTS` points each: half from N(0, s²), half from e^{−r/4}/(8π r), with weights 1/p.

    p ∝ 1/r near the nucleus tames the variance of V ψ. Either half is a lattice in (radius, angle), mapped to its
    law.
    """
    radial, turn = fibonacci_lattices(n // N_POINTS, 2, N_POINTS // 2, generator).unbind(dim=-1)
    tail = -torch.log1p(-radial)
    r = torch.stack((NEAR * tail[:, 0], spread * (2 * tail[:, 1]).sqrt()), dim=1)
    angle = 2 * torch.pi * turn
    x = torch.stack((r * angle.cos(), r * angle.sin()), dim=-1).flatten(0, 2)
    r = r.flatten()
    density = torch.exp(-r.square() / (2 * spread**2)) / (4 * torch.pi * spread**2) + torch.exp(-r / NEAR) / (
        4 * torch.pi * NEAR * r
    )
    return Batch(x, weight=1 / density)


def quadrature(n_radii: int = 300, n_angles: int = 48, radius: float = 120.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) and weights of a rule in polar coordinates, dense near the nucleus (Gauss–Legendre in √r)."""
    nodes, weights = np.polynomial.legendre.leggauss(n_radii)
    root = (nodes + 1) / 2 * np.sqrt(radius)
    r, radial = root**2, weights / 2 * np.sqrt(radius) * 2 * root * root**2
    angle = 2 * np.pi * np.arange(n_angles) / n_angles
    points = np.stack((np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))), axis=-1).reshape(-1, 2)
    return points, np.repeat(radial * 2 * np.pi / n_angles, n_angles)


def states(n_modes: int, way: str = "ours") -> BoundStates:
    """The lowest 1, 4, 9, 16 or 36 states."""
    n_levels = math.isqrt(n_modes)
    levels = tuple(2 * n + 1 for n in range(n_levels))
    if way != "ours":
        network = fourier_network if way == "published" else partial(fourier_network, n_frequencies=128, width=64)
        # Eigenvalues of 100 and less, as the published code has them.
        return BoundStates(SYSTEM, network, normal_sampler, quadrature(), levels, n_modes, scale=0.01)
    spread = SPREADS[n_modes]
    network = partial(cusp_network, spread=spread, n_harmonics=max(1, n_levels - 1))
    rule = quadrature(radius=120.0 if n_modes < 36 else 300.0)
    sampler = partial(rules, spread=spread)
    return BoundStates(SYSTEM, network, sampler, rule, levels, n_modes, points_per_row=N_POINTS)


SPARING = ("sequential", "joint", "neuralef")
OBJECTIVES = (*SPARING, "spin")
TRAINING: dict[str, dict[str, Any]] = {
    "ours": {"learning_rate": 5e-3, "average_share": 0.1},
    "reduced": {"learning_rate": 1e-3, "optimiser": "rmsprop"},
    "published": {"learning_rate": 1e-4, "optimiser": "rmsprop"},
}
WAYS = {
    "ours": "our own way",
    "reduced": "the published way, with 128 frequencies, 64 units and a rate of 1e-3",
    "published": "the published way",
}
RUNS = {
    QUICK: [("ours", 9, 220, 1500, OBJECTIVES), ("reduced", 9, 128, 2000, OBJECTIVES)],
    # A step of SpIN takes a backward pass for every pair of states: fewer steps take it longer than the others.
    STANDARD: [
        ("ours", 9, 220, 4000, SPARING),
        ("ours", 9, 220, 1500, ("spin",)),
        ("ours", 16, 220, 6000, SPARING),
        ("ours", 16, 220, 1000, ("spin",)),
        ("reduced", 9, 128, 4000, SPARING),
        ("reduced", 9, 128, 2000, ("spin",)),
        ("ours", 36, 440, 4000, ("sequential",)),
    ],
    PUBLISHED: [("published", 16, batch, 500_000, OBJECTIVES) for batch in (128, 512)],
}
"""Setting → (way, states, batch size in points, steps, objectives)."""
N_PIXELS = 41


def measure(case: Row, checkpoint: Path) -> list[Row]:
    way, objective = case["way"], case["objective"]
    task = states(case["states"], way)
    spectrum, seconds = task.trained(case, TRAINING[way], checkpoint)
    picture = None
    if objective == "sequential" and case["seed"] == 0:
        picture = pictures(task, spectrum)
    return [{**task.judge(spectrum, objective), "seconds": seconds, "picture": picture}]


def half_width(level: int) -> float:
    """Of the square in which the states of a level are drawn."""
    return 6.0 * (level + 0.5) * (level + 1)


def pictures(task: BoundStates, spectrum: LearnedSpectrum) -> list[list[float]]:
    """Learned functions, turned within their levels, on the pixels of their squares; (states, pixels)."""
    turned = task.aligned(spectrum)
    result = []
    for level, columns in enumerate(task.columns):
        axis = half_width(level) * np.linspace(-1, 1, N_PIXELS)
        points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        result += turned(points)[:, columns].T.tolist()
    return [[float(f"{value:.3g}") for value in column] for column in result]


def eigenfunction_figure(picture: list[list[float]]) -> Figure:
    """Two lines for every level: learned above, exact below."""
    levels = range(math.isqrt(len(picture)))
    figure = Figure(figsize=(1.35 * (2 * levels[-1] + 1) + 1.0, 2.7 * len(levels)), layout="constrained")
    axes = figure.subplots(2 * len(levels), 2 * levels[-1] + 1, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    number = 0
    for level in levels:
        size = half_width(level)
        axis = size * np.linspace(-1, 1, N_PIXELS)
        points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        exact = SYSTEM.eigenfunctions(points, len(picture))
        for column in range(2 * level + 1):
            for line, values in ((2 * level, picture[number]), (2 * level + 1, exact[:, number])):
                panel, limit = axes[line, column], np.abs(exact[:, number]).max()
                panel.imshow(np.reshape(values, (N_PIXELS, -1)), vmin=-limit, vmax=limit, origin="lower")
                if column == 0:
                    kind = "exact" if line % 2 else "learned"
                    energy = "−1" if level == 0 else f"−1/{(2 * level + 1) ** 2}"
                    panel.set_title(f"{kind}, E = {energy}, |x|, |y| < {size:g}", fontsize=8, loc="left")
            number += 1
    return figure


def main() -> None:
    options = experiment.arguments(__doc__, {STANDARD: 3, QUICK: 1, PUBLISHED: 10})
    rows = experiment.collect("hydrogen", options, cases_of(RUNS[options.setting], options.seeds), measure)
    seen: dict[int, list[list[float]]] = {}
    for row in rows:
        # Of several ways to the same states the first is shown.
        if picture := row.pop("picture"):
            seen.setdefault(row["states"], picture)
    tables, text = shown.tables(rows, WAYS, published.HYDROGEN)
    figures = {"": shown.distances(rows, WAYS, published.HYDROGEN)}
    largest = max((n for n in seen if n <= 16), default=None)
    if largest:
        figures["functions"] = eigenfunction_figure(seen[largest])
    experiment.write("hydrogen", options, rows, tables, text, figures)


if __name__ == "__main__":
    main()
