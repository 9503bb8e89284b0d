"""The Laplacian of networks by forward propagation against a five-point stencil: time of a training step, and error.

    python -m analysis.benchmarks.laplacian    # analysis/results/laplacian.json and .md

Nine states of the two-dimensional hydrogen atom, 440 points, single precision.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.benchmarks.record import write
from analysis.experiments.hydrogen import N_POINTS, states
from spectraldyn.networks.derivatives import value_gradient_and_second

STEP = 0.01
"""Of the stencil, as in the published code."""
REPETITIONS = 60


def five_point(net: nn.Module, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Value and Laplacian (B, L) by the five-point stencil, as in the published code."""
    shifts = step * torch.tensor([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=x.dtype)
    values = net((x + shifts[:, None]).flatten(0, 1)).unflatten(0, (5, -1))
    return values[0], (values[1:].sum(dim=0) - 4 * values[0]) / step**2


def rows(repetitions: int, seed: int = 0) -> list[dict[str, Any]]:
    """Time side by side, and error in float32, of the two."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    task = states(9)
    net, twin = task.network(9, True), task.network(9, True).double()
    twin.load_state_dict(net.state_dict())
    x = task.sampler(4 * N_POINTS, torch.Generator().manual_seed(seed)).x
    ways = {
        "forward propagation": lambda n, x: value_gradient_and_second(n, x)[::2],
        f"five-point stencil, step {STEP}": lambda n, x: five_point(n, x, STEP),
    }
    exact = value_gradient_and_second(twin, x.double())[2].detach()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            started = time.perf_counter()
            value, second = way(net, x)
            (value * second).sum().backward()
            times[name].append(time.perf_counter() - started)
    *_, reference = map(np.array, times.values())
    result = []
    for name, way in ways.items():
        error = (way(net, x)[1].double() - exact).abs().detach()
        ratio = np.array(times[name]) / reference
        result.append(
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
    return result


def main() -> None:
    write("laplacian", rows(REPETITIONS))


if __name__ == "__main__":
    main()
