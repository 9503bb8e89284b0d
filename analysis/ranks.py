"""Several processes against one: losses in double precision, timescales of whole fits, bytes that are reduced.

    python -m analysis.ranks    # analysis/results/ranks.json and .md, some minutes on two cores

1, 2 and 4 processes share out batches of 101 rows through gloo. Every objective is trained by 100 steps on pairs of a
double well with a fast second coordinate, reversibly and as a singular value decomposition, and on weighted states of
it by the generator in both its forms, as far as objective and operator suit each other.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.distributed import TCPStore

from analysis.benchmarks.processes import server
from analysis.benchmarks.record import write
from spectraldyn import GeneratorSVD, NeuralSVD, processes
from spectraldyn.data import PairSamples, Rows, WeightedSamples
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.learning import Schedule, learn, loop
from spectraldyn.networks import Layout, build_sides
from spectraldyn.objectives import OBJECTIVES, build_objective, check_combination
from spectraldyn.operators import energy_space_resolvent, reversible_transfer, shifted_generator, transfer
from spectraldyn.records import Action, Operator, State
from spectraldyn.systems import SYSTEMS

SIZES, N_STEPS = (1, 2, 4), 100
BATCH, MODES, HIDDEN, N_ROWS = 101, 3, (8, 8), 3000
"""A batch that no number of processes divides."""
OPERATORS: dict[str, Operator] = {
    "transfer, reversible": reversible_transfer,
    "transfer, SVD": transfer,
    "generator, energy space": energy_space_resolvent(1.0, 2.0),
    "generator, strong form": shifted_generator(lambda x: -4 * x * (x.square() - 1), 1.0, 40.0),
}


UNITS = " and ".join(map(str, HIDDEN))
TEXT = f"""# Several processes against one

1, 2 and 4 processes share out the rows of every batch through gloo (see `docs/several_processes.md`). Shown is what
differs from one process, relative to the value itself: the largest of all steps, or of all numbers.

**Training steps.** {N_STEPS} steps of every objective with every operator that it suits, in double precision, with
batches of {BATCH} rows, which no number of processes divides, {MODES} modes and hidden layers of {UNITS} units: the
loss of every step, and the parameters in the end. Sums over rows in another order differ by rounding, and by what the
steps make of it; processes that train together agree bit by bit. Bytes are those that each process hands to reductions
in a step: matrices of inner products, and the gradients of all parameters, 8 bytes for each number. SpIN reduces the
derivatives of its inner products, too.

**Fits.** Whole fits as `spectraldyn fit` makes them, in single precision, on {N_ROWS} rows: timescales, in rows, or
rates."""


def together(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function of a module gives in each of so many processes, which find each other by `processes.join`."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = server()
    workers, receivers = [], []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        workers.append(context.Process(target=_work, args=(rank, size, store.port, sender, work, arguments)))
        receivers.append(receiver)
        workers[-1].start()
        sender.close()
    results = [_received(receiver) for receiver in receivers]
    for worker in workers:
        worker.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _received(receiver: Connection) -> Any:
    try:
        return receiver.recv()
    except EOFError as error:  # the process has ended without a word
        return error


def _work(rank: int, size: int, port: int, sender: Connection, work: Callable[..., Any], arguments: Any) -> None:
    """As torchrun would start it."""
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    place |= {"TORCHELASTIC_RUN_ID": "ranks", "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in place.items()}
    try:
        sender.send(work(*arguments))
        processes.leave()
    except Exception as error:
        sender.send(error)


def cases() -> Iterator[tuple[str, str]]:
    """(operator, objective), as far as they suit each other."""
    for operator in OPERATORS:
        limits = {"positive": operator != "generator, strong form", "tied": operator != "transfer, SVD"}
        for objective in OBJECTIVES:
            try:
                check_combination(objective, separate_networks=True, **limits)
            except InputError:
                continue
            yield operator, objective


@cache
def _rows() -> torch.Tensor:
    """(N_ROWS, 2): a walk that hops between two wells, and a faster coordinate."""
    random = np.random.default_rng(0)
    side = np.sign(random.random(N_ROWS) - 0.03).cumprod()
    fast = np.zeros(N_ROWS)
    for row in range(1, N_ROWS):
        fast[row] = 0.8 * fast[row - 1] + 0.6 * random.normal()
    return torch.from_numpy(np.column_stack((side + 0.3 * random.normal(size=N_ROWS), fast)))


def _samples(operator: str) -> PairSamples | WeightedSamples:
    rows, train, test = Rows(_rows()[:1000]), torch.arange(500), torch.arange(502, 998)
    if operator.startswith("transfer"):
        return PairSamples(rows, 2, train, test)
    weight = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 2, len(rows)))
    return WeightedSamples(rows, weight, train, test)


def trainings(chosen: list[tuple[str, str]], n_steps: int) -> list[dict[str, Any]]:
    """What comes of one training for each case, in double precision, and the bytes that every step has reduced."""
    processes.join()
    return [_training(*case, n_steps) for case in chosen]


def _training(operator: str, name: str, n_steps: int) -> dict[str, Any]:
    losses: list[float] = []
    tied, separate = operator != "transfer, SVD", OBJECTIVES[name].separate_networks
    layout = Layout(MODES, "separate" if separate else "common-trunk", HIDDEN, "tanh", tied)
    sides = build_sides(2, layout, 0).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # what does not converge in general is compared, too
        formula = build_objective(name, list(sides.parameters()))

    def objective(action: Action, state: State) -> tuple[Tensor, State]:
        loss, state = formula(action, state)
        losses.append(loss.item())
        return loss, state

    with _reduced_in_steps() as reduced, mock.patch.object(loop, "EVALUATIONS", 4):
        schedule = Schedule(n_steps, BATCH, 1e-3)
        history = learn(OPERATORS[operator], _samples(operator), sides, objective, schedule, seed=0)
    return {
        "losses": losses,
        "scores": history.test_score,
        "parameters": torch.cat([parameter.detach().flatten() for parameter in sides.parameters()]).tolist(),
        "reduced": [numbers / n_steps for numbers in (sum(reduced), len(reduced))],
    }


@contextlib.contextmanager
def _reduced_in_steps() -> Iterator[list[int]]:
    """The bytes of every reduction of a training step."""
    reduced: list[int] = []
    step, reduce = loop.descend, torch.distributed.all_reduce

    def counting(sums: Tensor) -> None:
        reduced.append(sums.numel() * sums.element_size())
        reduce(sums)

    def counted(*arguments: Any) -> Any:
        with mock.patch("torch.distributed.all_reduce", counting):
            return step(*arguments)

    with mock.patch.object(loop, "descend", counted):
        yield reduced


SMALL: dict[str, Any] = {"hidden": (16, 16), "max_steps": 200}


def fitted(name: str) -> list[float]:
    """Timescales, or rates, of a fit as `spectraldyn fit` does it, in single precision."""
    processes.join()
    states = _rows().float().numpy()
    if name.startswith("transfer"):
        _, kind, objective = name.split(", ")
        learner = NeuralSVD(2, 2, objective=objective, reversible=kind == "reversible", random_state=0, **SMALL)
        return learner.fit_fetch(states).timescales().tolist()
    well = SYSTEMS["double-well"]
    options = {"diffusion": well.diffusion, "force": well.force, "beta": well.beta, "form": name.split(", ")[1]}
    learner = GeneratorSVD(2, objective=name.split(", ")[2], random_state=0, **SMALL, **options)
    return learner.fit_fetch(well.sample(N_ROWS, seed=0)).rates.tolist()


KINDS = ("transfer, reversible", "transfer, SVD", "generator, energy-space", "generator, strong")
FITS = [f"{kind}, {objective}" for kind in KINDS for objective in ("joint", "sequential")]


def difference(values: list[float], of_one: list[float]) -> float:
    """The largest, relative to the value itself."""
    return float(np.max(np.abs(np.array(values) / np.array(of_one) - 1)))


def main() -> None:
    chosen = list(cases())
    by_size = {size: together(size, trainings, chosen, N_STEPS) for size in SIZES}
    steps = []
    for number, (operator, objective) in enumerate(chosen):
        of_one = by_size[1][0][number]
        n_parameters = len(of_one["parameters"])
        row: dict[str, Any] = {"operator": operator, "objective": objective, "parameters": n_parameters}
        for size in SIZES[1:]:
            ranks = [rank[number] for rank in by_size[size]]
            if any({**rank, "reduced": None} != {**ranks[0], "reduced": None} for rank in ranks):
                raise RuntimeError(f"processes that trained together differ: {operator}, {objective}")
            for what in ("losses", "parameters"):
                row[f"{what}, {size} processes"] = difference(ranks[0][what], of_one[what])
            n_bytes, row["reductions"] = ranks[0]["reduced"]
            row |= {"bytes": n_bytes, "bytes of matrices": n_bytes - 8 * n_parameters}
        steps.append(row)
    fits = []
    for name in FITS:
        values = {size: together(size, fitted, name)[0] for size in SIZES}
        row = {"fit": name, "timescales or rates": ", ".join(f"{value:.6g}" for value in values[1])}
        fits.append(row | {f"{size} processes": difference(values[size], values[1]) for size in SIZES[1:]})
        print(fits[-1], flush=True)
    worst = max(row[f"losses, {size} processes"] for row in steps for size in SIZES[1:])
    farthest = max(row[f"{size} processes"] for row in fits for size in SIZES[1:])
    found = f"The largest difference of a loss is {worst:.0e}, that of a timescale or rate {farthest:.0e}."
    write("ranks", [*steps, *fits], {"Training steps": steps, "Fits": fits}, f"{TEXT}\n\n{found}")


if __name__ == "__main__":
    main()
