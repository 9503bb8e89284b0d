"""Steps of training on a GPU: ours, without a graph, with nothing around it, compiled, and those of deeptime's VAMPNet.

Sections of `analysis.benchmarks.gpu`.
"""

import copy
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from queue import Empty
from typing import Any

import numpy as np
import torch
from deeptime.decomposition.deep import VAMPNet
from deeptime.util.data import TrajectoriesDataset
from torch import Tensor
from torch.utils.data import DataLoader

import spectraldyn as sd
from spectraldyn.learning.graphs import WARM_UP, GraphedStep, learning_rate
from spectraldyn.learning.loop import descend
from spectraldyn.objectives import Objective
from spectraldyn.operators import Batch, Operator, reversible_transfer

Row = dict[str, Any]
N_MODES, LAG, N_INPUTS, RATE = 5, 5, 30, 1e-3
LONG = 0.4
"""Share of the steps for batches beyond the usual ones, which take long."""
SECONDS_TO_COMPILE = 60
"""After which a compilation is given up."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    networks: dict[str, tuple[int, ...]]
    batches: tuple[int, ...]
    n_frames: int
    """Of noise, to measure speed with."""
    steps: int
    rounds: int
    vampnet_seconds: float
    fit_dimensions: int
    fit_frames: int
    max_steps: int | None
    seeds: int
    batch: int
    """For precision and compilation."""
    compiler: str
    residues: int
    """Of the molecule whose features are computed."""
    molecule_frames: int


SMALL, LARGE = "64-64", "256-256-256"
FULL = Sizes(
    {SMALL: (64, 64), LARGE: (256, 256, 256)}, (512, 4096, 8192, 32768, 65536), 300_000, 1000, 2, 1.5, 30, 100_000,
    None, 4, 8192, "inductor", 64, 2000,
)  # fmt: skip
TINY = Sizes({SMALL: (8, 8), LARGE: (8, 8, 8)}, (16, 32), 500, 4, 1, 0.01, 3, 2000, 20, 2, 16, "eager", 6, 20)


def speed_cases(sizes: Sizes) -> list[Row]:
    return [{"network": network, "batch": batch} for network in sizes.networks for batch in sizes.batches]


@cache
def noise(n_frames: int) -> Tensor:
    return torch.randn(n_frames, N_INPUTS, generator=torch.Generator().manual_seed(0))


def pairs_of(frames: Tensor, lag: int, device: torch.device) -> sd.data.PairSamples:
    """All pairs of one trajectory, none held out."""
    return sd.data.PairSamples.of(sd.data.Rows(frames.to(device)), lag, np.arange(len(frames) - lag))


def network_of(hidden: tuple[int, ...], n_inputs: int, n_modes: int) -> sd.networks.CommonTrunk:
    return sd.networks.CommonTrunk(n_inputs, n_modes, hidden)


def without_graph(objective: Objective) -> Objective:
    """The same, remembering something from batch to batch, which keeps the loop from replaying a graph."""
    return lambda action, state: (objective(action, {})[0], {"some": True})


def speed(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Milliseconds a step of every loop: the median over rounds."""
    hidden, batch_size = sizes.networks[case["network"]], case["batch"]
    samples = pairs_of(noise(sizes.n_frames), LAG, device)
    n_steps = sizes.steps if batch_size <= sizes.batch else max(1, round(LONG * sizes.steps))
    schedule = sd.learning.Schedule(n_steps, batch_size, RATE, average_share=0.01)
    joint = sd.objectives.build_objective("joint")

    def sides() -> sd.networks.Sides:
        return sd.networks.Sides(network_of(hidden, N_INPUTS, N_MODES)).to(device)

    def learn(objective: Objective) -> None:
        sd.learning.learn(reversible_transfer, samples, sides(), objective, schedule, seed=0)

    floor = bare_step(sides(), samples, batch_size, reversible_transfer, joint)
    loops: dict[str, Callable[[], Any]] = {
        "ours": partial(learn, joint), "ours without graph": partial(learn, without_graph(joint)),
        "floor": partial(repeat, floor, n_steps),
    }  # fmt: skip
    row = {}
    for name, loop in loops.items():
        loop()  # the first round warms up
        times = [seconds(loop, device) for _ in range(sizes.rounds)]
        row[f"{name} (ms)"] = 1000 * statistics.median(times) / n_steps
    if not floor.captured:
        del row["floor (ms)"]
    return {**row, "VAMPNet (ms)": vampnet(hidden, batch_size, sizes, device)}


def bare_step(
    sides: sd.networks.Sides, samples: sd.data.PairSamples, batch_size: int, operator: Operator, objective: Objective
) -> GraphedStep:
    """A step of our training with nothing around it, captured where that can be."""
    averaged = copy.deepcopy(sides).requires_grad_(False)
    weights, averages = list(sides.parameters()), list(averaged.parameters())
    rate, on_gpu = learning_rate(RATE, sides.device), sides.device.type == "cuda"
    optimiser = torch.optim.Adam(weights, rate, fused=True, capturable=on_gpu)
    generator = torch.Generator(sides.device).manual_seed(0)

    def step(state: Row) -> tuple[Tensor, Row]:
        batch = samples.draw(batch_size, generator)
        loss, state = descend(sides, operator, objective, state, batch, optimiser)
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 0.1)
        return loss.detach(), state

    graphed = GraphedStep(step, generator)
    repeat(graphed, WARM_UP + 1)
    return graphed


def repeat(step: GraphedStep, times: int) -> None:
    for _ in range(times):
        step({})


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Until the device has done it."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else int
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def vampnet(hidden: tuple[int, ...], batch_size: int, sizes: Sizes, device: torch.device) -> float:
    """Milliseconds a step of deeptime's loop, as its `fit` sends batches to the device."""
    dataset = TrajectoriesDataset.from_numpy(LAG, [noise(sizes.n_frames).numpy()])
    network = network_of(hidden, N_INPUTS, N_MODES).to(device)
    estimator = VAMPNet(network, learning_rate=RATE, device=device)
    batches = endless(DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True))

    def step() -> None:
        estimator.partial_fit([part.to(device) for part in next(batches)])

    step()
    times: list[float] = []
    while sum(times) < sizes.vampnet_seconds:
        times.append(seconds(step, device))
    return 1000 * statistics.mean(times)


def endless(loader: DataLoader) -> Iterator[Sequence[Tensor]]:
    while True:
        yield from loader


def speed_table(rows: list[Row]) -> list[Row]:
    result = []
    for row in rows:
        times = {name: row.get(f"{name} (ms)") for name in ("ours", "ours without graph", "floor", "VAMPNet")}
        rates = {f"{name} (pairs/s)": t and f"{1000 * row['batch'] / t:.3g}" for name, t in times.items()}
        ratios = {f"ours / {name}": t and t / times["ours"] for name, t in times.items() if name != "ours"}
        result.append({"network": row["network"], "batch": row["batch"], **rates, **ratios})
    return result


def compile_cases(sizes: Sizes) -> list[Row]:
    return [{"network": name, "batch": sizes.batch} for name in sizes.networks]


def compiled(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """In a process of its own, which is ended if compilation takes too long."""
    context = multiprocessing.get_context("spawn")  # a GPU cannot be used in a forked process
    results: Any = context.Queue()
    process = context.Process(target=_compiled, args=(results, case, sizes, device))
    process.start()
    try:
        return results.get(timeout=SECONDS_TO_COMPILE)
    except Empty:
        return {"failed": f"no result after {SECONDS_TO_COMPILE} s"}
    finally:
        process.kill()
        process.join()


def _compiled(results: Any, case: Row, sizes: Sizes, device: torch.device) -> None:
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no processes that could outlive this one
    warnings.simplefilter("ignore")  # the compiler's own
    try:
        results.put(_compiled_steps(case, sizes, device))
    except Exception as error:  # whatever the compiler says belongs in the table
        results.put({"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"})


def _compiled_steps(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Milliseconds a step, as a graph where that can be, with operator, networks and loss compiled or not."""
    samples = pairs_of(noise(sizes.n_frames), LAG, device)
    joint = sd.objectives.build_objective("joint")
    row: Row = {}

    def loss(left: Any, x: Tensor, y: Tensor) -> Tensor:
        return joint(reversible_transfer(left, left, Batch(x, y)), {})[0]

    kinds = {"as it is": loss, "compiled": torch.compile(loss, backend=sizes.compiler, dynamic=False)}
    for name, kind in kinds.items():
        sides = sd.networks.Sides(network_of(sizes.networks[case["network"]], N_INPUTS, N_MODES)).to(device)
        # Compilation waits for the device, which a capture may not.
        pair = samples.batch(samples.train[: case["batch"]]).pair
        first = seconds(partial(_with_gradient, kind, sides.left, pair), device)

        def together(left: Any, _: Any, batch: Batch, kind: Any = kind) -> Any:
            return kind(left, *batch.pair)

        step = bare_step(sides, samples, case["batch"], together, lambda value, state: (value, state))
        times = [seconds(partial(repeat, step, sizes.steps), device) for _ in range(sizes.rounds)]
        row |= {f"{name} (ms)": 1000 * statistics.median(times) / sizes.steps, f"first, {name} (s)": first}
    return row


def _with_gradient(loss: Any, network: Any, pair: tuple[Tensor, Tensor]) -> None:
    loss(network, *pair).backward()


def compile_table(rows: list[Row]) -> list[Row]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]
