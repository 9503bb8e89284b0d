"""The two-dimensional hydrogen atom, −∇² − 1/r, learned in minutes; and the price and error of its Laplacian.

    python -m analysis.hydrogen learn        # nine states, sequential nesting: about five minutes on one core
    python -m analysis.hydrogen laplacian    # forward propagation against a five-point stencil: time and error

Each writes analysis/results/hydrogen_NAME.json and .md.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.benchmarks.record import RESULTS, markdown
from analysis.distances import angle_distance, level_distance, orthogonality, subspace_distance
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.networks.derivatives import (
    Jet,
    affine,
    concatenate,
    elementwise,
    exponential,
    product,
    square_root,
    value_gradient_and_second,
)
from spectraldyn.networks.factors import Factor, GaussianEnvelope, squared_radius
from spectraldyn.networks.mlp import SeparateNetworks
from spectraldyn.operators import schroedinger
from spectraldyn.systems import hydrogen

ENVELOPE = 16.0
NEAR = 4.0
LEVELS = (1, 3, 5)
SYSTEM = hydrogen()


class Orbitals(nn.Module):
    """e^{−r/s} and x e^{−r/s}, y e^{−r/s} for ten scales s: the cusp of the states at r = 0 is in the features."""

    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scales", torch.logspace(np.log10(0.7), np.log10(40), 10))

    def forward(self, x: Tensor) -> Tensor:
        decay = torch.exp(-x.norm(dim=1, keepdim=True) / self.scales)
        return torch.cat((decay, x[:, :1] * decay, x[:, 1:] * decay), dim=1)

    def propagate(self, jet: Jet) -> Jet:
        radius = elementwise(squared_radius(jet), square_root)
        decay = elementwise(affine(radius, -1 / self.scales[None], None), exponential)
        x, y = (jet.units(slice(k, k + 1)) for k in (0, 1))
        return concatenate((decay, product(x, decay), product(y, decay)))


def network(n_modes: int, width: int = 64) -> nn.Module:
    orbitals = nn.Sequential(Orbitals(), SeparateNetworks(30, n_modes, (width,) * 3, "softplus"))
    return Factor(GaussianEnvelope(2, ENVELOPE), orbitals)


def sampler(n: int, generator: torch.Generator) -> Batch:
    """½ N(0, 16²) + ½ e^{−r/4}/(8π r), with weights 1/p: p ∝ 1/r near the nucleus tames the variance of V ψ."""
    wide = ENVELOPE * torch.randn(n, 2, generator=generator)
    r = -NEAR * torch.log1p(-torch.rand(n, generator=generator))
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    near = torch.stack((r * angle.cos(), r * angle.sin()), dim=1)
    x = torch.where(torch.rand(n, 1, generator=generator) < 0.5, wide, near)
    r = x.norm(dim=1)
    density = torch.exp(-r.square() / (2 * ENVELOPE**2)) / (4 * torch.pi * ENVELOPE**2) + torch.exp(-r / NEAR) / (
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


def learn(
    n_steps: int,
    seed: int,
    n_modes: int = sum(LEVELS),
    width: int = 64,
    learning_rate: float = 1e-3,
    progress: bool = True,
) -> LearnedSpectrum:
    torch.manual_seed(seed)
    points, weight = quadrature()
    # A row's weight counts once per average over rows, so that the sum over the rule becomes the integral.
    rule = Batch(torch.tensor(points), weight=torch.tensor(len(weight) * weight))
    return learn_spectrum(
        schroedinger(SYSTEM.potential), FreshSamples(sampler), network(n_modes, width), [rule],
        objective="sequential", n_steps=n_steps, batch_size=512, learning_rate=learning_rate, average_share=0.1,
        seed=seed, progress=progress,
    )  # fmt: skip


def metrics(spectrum: LearnedSpectrum, levels: Sequence[int] = LEVELS) -> dict[str, float]:
    """Errors of the values from Rayleigh–Ritz and from the norms; published distances of the functions as trained."""
    points, weight = quadrature()
    exact_values = -SYSTEM.energies(sum(levels))
    exact = SYSTEM.eigenfunctions(points, sum(levels))
    with torch.no_grad():
        trained = spectrum.sides.left(torch.tensor(points)).numpy()
    ritz = np.abs(spectrum.values / exact_values - 1)
    norms = np.abs(spectrum.norms / exact_values - 1)
    return {
        "largest eigenvalue error (%)": 100 * float(ritz.max()),
        "mean eigenvalue error (%)": 100 * float(ritz.mean()),
        "largest error of the norms (%)": 100 * float(norms.max()),
        "subspace distance, whole span": subspace_distance(trained, exact, weight),
        "subspace distance, per level": level_distance(trained, exact, weight, levels),
        "angle distance": angle_distance(trained, exact, weight, levels),
        "orthogonality": orthogonality(trained, weight),
    }


def five_point(net: nn.Module, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Value and Laplacian (B, L) by the five-point stencil, as in the published code."""
    shifts = step * torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=x.dtype)
    values = net((x + shifts[:, None]).flatten(0, 1)).unflatten(0, (5, -1))
    return values[0], (values[1:].sum(dim=0) - 4 * values[0]) / step**2


def laplacian(repetitions: int, seed: int) -> list[dict[str, Any]]:
    """Forward propagation against the stencil: time of a training step, side by side, and error in float32."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = network(sum(LEVELS))
    batch = sampler(512, torch.Generator().manual_seed(seed))
    ways = {
        "forward propagation": lambda n, x: value_gradient_and_second(n, x)[::2],
        "five-point stencil, step 0.01": lambda n, x: five_point(n, x, 0.01),
    }
    exact = value_gradient_and_second(network_in_double(net), batch.x.double())[2].detach()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            started = time.perf_counter()
            value, second = way(net, batch.x)
            (value * second).sum().backward()
            times[name].append(time.perf_counter() - started)
    reference = np.array(times["five-point stencil, step 0.01"])
    rows = []
    for name, way in ways.items():
        error = (way(net, batch.x)[1].double() - exact).abs().detach()
        ratio = np.array(times[name]) / reference
        rows.append(
            {
                "Laplacian": name,
                "ms per step, median": 1e3 * float(np.median(times[name])),
                "ratio of times, median": float(np.median(ratio)),
                "quartiles": " – ".join(f"{q:.3f}" for q in np.quantile(ratio, [0.25, 0.75])),
                "largest error / largest |Laplacian|": float(error.max() / exact.abs().max()),
                "largest error / median |Laplacian|": float(error.max() / exact.abs().median()),
                "median error / median |Laplacian|": float(error.median() / exact.abs().median()),
            }
        )
    return rows


def network_in_double(net: nn.Module) -> nn.Module:
    twin = network(sum(LEVELS)).double()
    twin.load_state_dict(net.state_dict())
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["learn", "laplacian"])
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.study == "learn":
        started = time.perf_counter()
        spectrum = learn(options.steps, options.seed)
        seconds = time.perf_counter() - started
        rows = [{"seed": options.seed, "steps": options.steps, **metrics(spectrum), "seconds": seconds}]
        print("eigenvalues", np.round(spectrum.values, 6))
    else:
        rows = laplacian(60, options.seed)
    print(json.dumps(rows, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"hydrogen_{options.study}.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / f"hydrogen_{options.study}.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
