"""Objectives at small batches, equal samples seen: bias of the gradient, and what SpIN keeps in memory.

    python -m analysis.small_batches    # analysis/results/small_batches.json and .md

The Ornstein–Uhlenbeck process at lag ½, three modes, exact pairs; 200,000 pairs for every entry.
"""

import dataclasses
import json
from functools import partial
from typing import Any

import torch

from analysis import grid
from analysis.benchmarks.record import RESULTS, markdown
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.objectives import OBJECTIVES, spin
from spectraldyn.operators import Action

SAMPLES = 200_000
BATCHES = (16, 64, 256, 1024)
OBJECTIVES_TRIED = ("joint", "sequential", "vamp-2", "dpnet", "dpnet-relaxed", "neuralef", "neural-eigenmaps", "spin")


def naive_gram(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """E[f_i · g_j] over a batch, (L, L)."""
    return torch.einsum("bik,bjk->ij", f, g) / len(f)


def naive_joint(action: Action) -> torch.Tensor:
    """Joint nesting with the plain product of two batch means in its metric term."""
    modes = action.f.shape[1]
    mask = torch.linspace(1, 1 / modes, modes)
    operator = (mask * torch.diagonal(naive_gram(action.f, action.Tg))).sum()
    metric = naive_gram(action.f, action.f) * naive_gram(action.g, action.g)
    return -2 * operator + (torch.minimum(mask[:, None], mask[None, :]) * metric).sum()


def table() -> list[dict[str, Any]]:
    system, operator = "ornstein-uhlenbeck", "transfer"
    task = grid.problem(system, operator)
    rows = []
    for objective in ("naive joint", *OBJECTIVES_TRIED):
        row: dict[str, Any] = {"objective": objective}
        for batch_size in BATCHES:
            changed = dataclasses.replace(task, options={"batch_size": batch_size, "n_steps": SAMPLES // batch_size})
            result = grid.learn(system, operator, objective, task=changed)
            row[f"error (%), batch {batch_size}"] = result["largest error (%)"]
        rows.append(row)
        print(row, flush=True)
    return rows


def memory() -> list[dict[str, Any]]:
    """Bytes of SpIN's moving averages beside those of the parameters."""
    rows = []
    for width, modes in ((64, 4), (64, 16), (256, 16), (256, 64)):
        parameters = list(CommonTrunk(30, modes, (width, width)).parameters())
        size = sum(p.numel() * p.element_size() for p in parameters)
        kept = modes * (modes + 1) // 2 * size if modes > 16 else _measured(parameters, modes)
        rows.append(
            {
                "hidden layers": f"{width}, {width}", "modes": modes, "parameters (MB)": size / 1e6,
                "SpIN keeps (MB)": kept / 1e6, "how": "L (L + 1)/2 × parameters" if modes > 16 else "measured",
            }
        )  # fmt: skip
    return rows


def _measured(parameters: list[torch.nn.Parameter], modes: int) -> int:
    network = CommonTrunk(30, modes, (parameters[0].shape[0],) * 2)
    value = network(torch.randn(64, 30)).unsqueeze(2)
    _, state = spin(Action.with_tied_sides(value, value), {}, list(network.parameters()))
    return sum(mean.numel() * mean.element_size() for mean in (state["covariance"], *state["jacobian"]))


def main() -> None:
    grid.OBJECTIVES["naive joint"] = dataclasses.replace(OBJECTIVES["joint"], formula=partial(naive_joint))
    rows, kept = table(), memory()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "small_batches.json").write_text(json.dumps({"errors": rows, "memory": kept}, indent=1) + "\n")
    (RESULTS / "small_batches.md").write_text(markdown(rows) + "\n" + markdown(kept))


if __name__ == "__main__":
    main()
