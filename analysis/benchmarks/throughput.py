"""Pairs a second of our training loop, of a bare tensor loop with the same network and loss, and of deeptime's VAMPNet.

    python -m analysis.benchmarks.throughput    # about 3 minutes on one core, quiet

The loops take turns, round by round. The bare loop is what one would write by hand: two gathers, one forward pass, the
joint low-rank loss with its U-statistic on (B, L) tensors, fused Adam; no averages, no schedule, no held-out scores.
deeptime's loop is that of its documentation: a DataLoader over its own dataset, shuffled.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from deeptime.decomposition.deep import VAMPNet
from deeptime.util.data import TrajectoriesDataset
from torch import Tensor
from torch.utils.data import DataLoader

import spectraldyn as sd
from analysis.benchmarks.record import RESULTS, write

N_FRAMES, N_INPUTS, N_MODES, LAG = 100_000, 30, 5, 5
NETWORKS = {"64-64 GELU (default)": ((64, 64), "gelu"), "128-128-128 SiLU": ((128, 128, 128), "silu")}
BATCHES = (128, 512)
STEPS, ROUNDS = 190, 15


def bare(network: sd.networks.CommonTrunk, frames: Tensor, starts: Tensor, batch_size: int) -> None:
    descent = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    levels = 1 + N_MODES
    mask = torch.full((levels,), 1 / levels).flip(0).cumsum(0).flip(0)
    pair_mask = torch.minimum(mask[:, None], mask[None, :])
    ones = torch.ones(batch_size, 1)
    for _ in range(STEPS):
        rows = starts[torch.randint(len(starts), (batch_size,))]
        x, y = network(torch.cat((frames[rows], frames[rows + LAG]))).chunk(2)
        x, y = torch.cat((ones, x), 1), torch.cat((ones, y), 1)
        gram = (x.T @ x + y.T @ y) / (2 * batch_size)
        xx, yy, xy = x * x, y * y, x * y
        same_row = (xx.T @ xx + yy.T @ yy + 2 * xy.T @ xy) / 4
        metric = (batch_size * gram * gram - same_row / batch_size) / (batch_size - 1)
        loss = -2 * (mask * xy.mean(0)).sum() + (pair_mask * metric).sum()
        descent.zero_grad()
        loss.backward()
        descent.step()


def seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def vampnet(network: sd.networks.CommonTrunk, dataset: Any, batch_size: int) -> None:
    estimator = VAMPNet(network, learning_rate=1e-3)
    for _, batch in zip(range(STEPS), DataLoader(dataset, batch_size=batch_size, shuffle=True), strict=False):
        estimator.partial_fit(batch)


def measure(name: str, batch_size: int) -> list[dict[str, Any]]:
    """Milliseconds a step of every loop, round by round."""
    torch.manual_seed(0)
    frames = torch.randn(N_FRAMES, N_INPUTS)
    starts = torch.arange(N_FRAMES - LAG)
    dataset = TrajectoriesDataset.from_numpy(LAG, [frames.numpy()])
    hidden, activation = NETWORKS[name]
    samples = sd.data.PairSamples(sd.data.Rows(frames), LAG, starts, starts[:0])
    schedule = sd.learning.Schedule(STEPS, batch_size, 1e-3, average_share=0.01)
    objective = sd.objectives.build_objective("joint")

    def network() -> sd.networks.CommonTrunk:
        return sd.networks.CommonTrunk(N_INPUTS, N_MODES, hidden, activation)

    def ours() -> None:
        sides = sd.networks.Sides(network())
        sd.learning.learn(sd.operators.reversible_transfer, samples, sides, objective, schedule, seed=0)

    rows = []
    for number in range(-1, ROUNDS):  # the first round warms up
        times = {
            "ours": seconds(ours),
            "bare loop": seconds(lambda: bare(network(), frames, starts, batch_size)),
            "VAMPNet": seconds(lambda: vampnet(network(), dataset, batch_size)),
        }
        if number >= 0:
            per_step = {f"{loop} (ms)": 1000 * total / STEPS for loop, total in times.items()}
            rows.append({"network": name, "batch": batch_size, "round": number, **per_step})
    return rows


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result = []
    for name in NETWORKS:
        for batch_size in BATCHES:
            own = [row for row in rows if (row["network"], row["batch"]) == (name, batch_size)]
            line: dict[str, Any] = {"network": name, "batch": batch_size}
            for loop in ("ours", "bare loop", "VAMPNet"):
                line[f"{loop} (pairs/s)"] = round(batch_size * 1000 / statistics.median(r[f"{loop} (ms)"] for r in own))
            for rival in ("VAMPNet", "bare loop"):
                ratios = [row[f"{rival} (ms)"] / row["ours (ms)"] for row in own]
                line[f"ours / {rival}"] = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
            result.append(line)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for name in NETWORKS for batch_size in BATCHES for row in measure(name, batch_size)]
    text = (
        f"One thread, {N_INPUTS} inputs, {N_MODES} modes; medians of {ROUNDS} rounds of {STEPS} steps, ratios of "
        "throughput with their range."
    )
    write("throughput", rows, {"": table(rows)}, text, options.folder)


if __name__ == "__main__":
    main()
