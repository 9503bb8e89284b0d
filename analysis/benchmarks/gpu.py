"""On a GPU: steps of training against other loops, features, projections, whole fits, lower precision, compilation.

    python -m analysis.benchmarks.gpu                            # under 8 minutes; appends to analysis/results/gpu.md
    python -m analysis.benchmarks.gpu --dry-run --folder FOLDER  # all of the code at tiny sizes, on any machine

Every section has its share of the time; cases for which none is left are named in the end. What has been measured is in
gpu.jsonl at once, one line a case, so that a run that is cut short has not been in vain.

The loops of the first section: ours, as every fit runs it, where steps are replayed as a CUDA graph; the same without
graphs; the floor, which is nothing but replays of that step (draw, gather, forward, loss, backward, Adam, moving
average); and that of deeptime's VAMPNet with a shuffled DataLoader.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import spectraldyn as sd
from analysis.benchmarks.gpu_features import feature_cases, features, projection, projection_cases
from analysis.benchmarks.gpu_steps import (
    FULL,
    LARGE,
    LONG,
    N_INPUTS,
    N_MODES,
    TINY,
    Row,
    Sizes,
    compile_cases,
    compile_table,
    compiled,
    network_of,
    pairs_of,
    seconds,
    speed,
    speed_cases,
    speed_table,
)
from analysis.benchmarks.record import RESULTS, command, machine, markdown, versions
from analysis.benchmarks.samples import Sample, mixed
from spectraldyn.data import stretches_of
from spectraldyn.learning.averages import operator_moments
from spectraldyn.operators import Batch, reversible_transfer
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz
from spectraldyn.spectra.timescales import read_off_timescales

N_PROCESSES = 3
"""Of the system that is fitted."""
SECONDS = 400
"""After which no case is begun."""
WITHOUT = "A CUDA graph needs a GPU: without one there is no floor, and our loop runs as it is."


@dataclass(frozen=True)
class Section:
    """Some cases and what is measured of each."""

    title: str
    seconds: float
    cases: Callable[[Sizes], list[Row]]
    measure: Callable[[Row, Sizes, torch.device], Row]
    """Given a case, what is measured beside it."""
    table: Callable[[list[Row]], list[Row]]


def fit_cases(sizes: Sizes) -> list[Row]:
    return [{"seed": seed, "device": device} for seed in range(sizes.seeds) for device in ("cuda", "cpu")]


@cache
def sample(n_dimensions: int, n_frames: int) -> Sample:
    return mixed(n_dimensions, n_frames, 0)


def fit(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Seconds of a fit with the defaults, and its timescales in frames with their 95 % intervals."""
    data = sample(sizes.fit_dimensions, sizes.fit_frames)
    where = device.type if case["device"] == "cuda" else "cpu"
    estimator = sd.NeuralSVD(
        N_PROCESSES, data.lagtime, device=where, random_state=case["seed"], max_steps=sizes.max_steps
    )
    taken = seconds(lambda: estimator.fit(data.trajectories), device)
    stretches = stretches_of([len(walk) for walk in data.trajectories])
    scales = read_off_timescales(
        estimator.model_.moments, estimator.functions_, stretches, data.lagtime, 0, lagtimes=[data.lagtime]
    )[data.lagtime]
    found = {name: [getattr(scale, name) for scale in scales] for name in ("value", "low", "high")}
    return {"seconds": taken, **found, "exact": (data.exact / data.spacing).tolist(), **estimator.model_.scores}


def fit_table(rows: list[Row]) -> list[Row]:
    """Seconds, held-out scores and timescales: medians over seeds, and what the difference is worth."""
    on = {device: [row for row in rows if row["device"] == device] for device in ("cpu", "cuda")}
    if not all(on.values()):
        return []
    lines = [
        compared(what, *([row[what] for row in own] for own in on.values()))
        for what in ("seconds", "vamp2_test", "vampe_test")
    ]
    first = on["cpu"][0]
    for k in range(N_PROCESSES):
        cpu, gpu = ([row["value"][k] or np.nan for row in own] for own in on.values())
        ends = first["low"][k], first["high"][k]
        half = 50 * (ends[1] - ends[0]) / first["value"][k] if all(ends) else None
        lines.append(compared(f"timescale {k + 1} (frames)", cpu, gpu, half))
    return lines


def compared(what: str, cpu: Sequence[float], gpu: Sequence[float], half: float | None = None) -> Row:
    middle = float(np.median(cpu))
    return {
        "": what, "CPU": middle, "GPU": float(np.median(gpu)),
        "GPU from CPU (%)": float(100 * (np.median(gpu) / middle - 1)),
        "spread over seeds, CPU (%)": float(100 * np.std(cpu) / abs(middle)),
        "spread over seeds, GPU (%)": float(100 * np.std(gpu) / abs(middle)),
        "half of the 95 % interval (%)": half,
    }  # fmt: skip


PRECISIONS = ("float32", "TF32", "bfloat16")


def precision_cases(sizes: Sizes) -> list[Row]:
    return [{"seed": seed, "precision": name} for seed in range(min(3, sizes.seeds)) for name in PRECISIONS]


class LowerPrecision(nn.Module):
    """A network whose matrix products take bfloat16; its outputs are in the precision of the inputs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network(x).to(x.dtype)


def precision(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Milliseconds a step of the wide network, and the singular values and norms learned, read off in float64."""
    data = sample(sizes.fit_dimensions, sizes.fit_frames)
    frames = torch.from_numpy(np.concatenate(data.trajectories)).float()
    samples = pairs_of((frames - frames.mean(0)) / frames.std(0), data.lagtime, device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case["seed"])
        network: nn.Module = network_of(sizes.networks[LARGE], frames.shape[1], N_PROCESSES)
    if case["precision"] == "bfloat16":
        network = LowerPrecision(network)
    sides = sd.networks.Sides(network).to(device)
    schedule = sd.learning.Schedule(sizes.steps, sizes.batch)
    joint = sd.objectives.build_objective("joint")
    torch.set_float32_matmul_precision("high" if case["precision"] == "TF32" else "highest")
    try:
        learn = partial(sd.learning.learn, reversible_transfer, samples, sides, joint, schedule, seed=case["seed"])
        taken = seconds(learn, device)
    finally:
        torch.set_float32_matmul_precision("highest")
    rows = ((samples.rows.gather(part).double() for part in (i, i + data.lagtime)) for i in samples.train.split(10_000))
    left = sides.double().left
    averages = operator_moments(reversible_transfer, left, left, [[Batch(*pair) for pair in rows]]).means()
    spectrum = rayleigh_ritz(averages, tied=True, n_known=1)
    exact = np.exp(-data.lagtime * data.spacing / data.exact)
    return {
        "step (ms)": 1000 * taken / sizes.steps,
        "values": spectrum.values.tolist(), "norms": spectrum.norms.tolist(), "exact": exact.tolist(),
    }  # fmt: skip


def precision_table(rows: list[Row]) -> list[Row]:
    """Largest difference of a singular value and a norm from float32 with the same seed; medians over seeds."""
    full = {row["seed"]: row for row in rows if row["precision"] == "float32"}
    lines = []
    for name in PRECISIONS:
        own = [row for row in rows if row["precision"] == name and row["seed"] in full]
        if not own:
            continue
        line: Row = {"precision": name, "step (ms)": statistics.median(row["step (ms)"] for row in own)}
        for what in ("values", "norms"):
            line[f"{what} from float32 (%)"] = statistics.median(off(r, full[r["seed"]][what], what) for r in own)
            line[f"{what} from exact (%)"] = statistics.median(off(row, row["exact"], what) for row in own)
        lines.append({**line, "seeds": len(own)})
    return lines


def off(row: Row, reference: Sequence[float], what: str) -> float:
    """Largest relative difference in per cent."""
    return max(100 * abs(a / b - 1) for a, b in zip(row[what], reference, strict=False))


SECTIONS = {
    "throughput": Section("Pairs a second", 170, speed_cases, speed, speed_table),
    "features": Section("Features", 40, feature_cases, features, list),
    "projections": Section("Projections", 15, projection_cases, projection, list),
    "fit": Section("Whole fits with the defaults", 110, fit_cases, fit, fit_table),
    "precision": Section("Precision of matrix products", 50, precision_cases, precision, precision_table),
    "compile": Section("torch.compile within the graph", 60, compile_cases, compiled, compile_table),
}


def run(sizes: Sizes, device: torch.device, folder: Path, sections: dict[str, Section] = SECTIONS) -> None:
    """Measure everything for which there is time, and append it to FOLDER/gpu.jsonl and FOLDER/gpu.md."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"date": datetime.now(UTC).isoformat(timespec="minutes"), **machine(), **versions(), "command": command()}
    end = time.perf_counter() + SECONDS
    left_out = []

    def tell(*parts: str) -> None:
        """At once, so that a run that is cut short has its tables."""
        with (folder / "gpu.md").open("a") as page:
            page.writelines(f"{part.rstrip()}\n\n" for part in parts)

    tell(*heading(about, sizes, device))
    for name, section in sections.items():
        deadline = min(time.perf_counter() + section.seconds, end)
        rows = []
        for case in section.cases(sizes):
            if time.perf_counter() > deadline:
                left_out.append(f"{name} ({', '.join(map(str, case.values()))})")
                continue
            started = time.perf_counter()
            rows.append({**case, **section.measure(case, sizes, device)})
            print(f"{name} in {time.perf_counter() - started:.1f} s:", rows[-1], flush=True)
            with (folder / "gpu.jsonl").open("a") as lines:
                lines.write(json.dumps({"section": name, **rows[-1], "about": about}) + "\n")
        if shown := rows and section.table(rows):
            tell(f"### {section.title}", markdown(shown))
    left = f"Left out for want of time: {'; '.join(left_out)}." if left_out else "Nothing was left out."
    tell(left, "; ".join(f"{key}: {value}" for key, value in about.items()))


def heading(about: Row, sizes: Sizes, device: torch.device) -> list[str]:
    """Paragraphs before the tables."""
    card = about["GPU"] if device.type == "cuda" else "no GPU: a dry run, whose numbers mean nothing"
    notes = [
        f"## {card}, {about['date']}",
        f"Speed: {N_INPUTS} inputs, {N_MODES} modes, {sizes.steps} steps ({LONG:.0%} of them above "
        f"{sizes.batch} pairs), medians of {sizes.rounds} rounds; our loop with all "
        f"that it sets up, the graph included. Fits: {sizes.fit_frames:,} frames of double wells in "
        f"{sizes.fit_dimensions} dimensions. Precision: {LARGE} network, {sizes.batch} pairs, {sizes.steps} steps. "
        f"Features: {sizes.residues} residues, {sizes.molecule_frames} frames; mdtraj in one process. Projections: "
        f"{sizes.n_frames:,} rows, in double precision.",
    ]
    return notes if device.type == "cuda" else [*notes, WITHOUT]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="all of the code at tiny sizes, on the CPU")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where to append")
    options = parser.parse_args()
    if options.dry_run and options.folder.resolve() == RESULTS:
        print("a dry run leaves the results alone: name a --folder for what it writes", file=sys.stderr)
        return 2
    if not (options.dry_run or torch.cuda.is_available()):
        print("no GPU can be used here: run this where there is one, or with --dry-run", file=sys.stderr)
        return 2
    run(*((TINY, torch.device("cpu")) if options.dry_run else (FULL, torch.device("cuda"))), options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
