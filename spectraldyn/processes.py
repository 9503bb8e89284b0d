"""Several processes that train together: each takes its share of the rows of every batch.

`torchrun` starts them, all with the same command; every process draws the same batches and keeps the same networks.
What they reduce are sums over rows, L × L matrices (`spectraldyn.linalg.total`), and the gradients of the parameters.
Where no batch is shared out, as ever in one process, nothing here does anything.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from spectraldyn.errors import InputError

POLL = 0.2
"""Seconds between two looks at how far other processes are."""
PATIENCE = timedelta(minutes=30)
"""How long a process that has come to a reduction waits for the others."""
TOLD_WITHIN = 10.0
"""Seconds for the process that failed first to say why, before the others end."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Group:
    rank: int
    local_rank: int
    """Among the processes on the same machine."""
    size: int
    n_machines: int
    store: Any
    """A `torch.distributed.Store`, through which they hear of each other outside of reductions."""


_group: _Group | None = None
_n_rows: int | None = None
"""Rows of the batch that is shared out at present."""


def join() -> None:
    """Find the other processes, where the variables that torchrun sets speak of several.

    Reductions go through gloo on the CPU and through NCCL on GPUs, of which each process takes that of its local rank.
    """
    global _group
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    with _reaching_the_others():
        store, rank, size = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        n_machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))
        backend = "gloo"
        if torch.cuda.is_available() and local_rank < torch.cuda.device_count():
            torch.cuda.set_device(local_rank)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    _group = _Group(rank, local_rank, size, n_machines, dist.PrefixStore("spectraldyn", store))


def leave() -> None:
    """Be one process again, once all have come here."""
    global _group
    if _group is not None:
        sum_of_all(torch.zeros(1))  # on the CPU, while a barrier might choose GPUs that not every process has
        dist.destroy_process_group()
        _group = None


def first() -> bool:
    """Whether this is the process that reads first, writes and prints; the only one is the first, too."""
    return _group is None or _group.rank == 0


def several() -> int:
    """How many train together; 0 for one process alone."""
    return 0 if _group is None else _group.size


def local_rank() -> int:
    """Place among the processes on this machine, which is that of its GPU."""
    return 0 if _group is None else _group.local_rank


def first_goes_on() -> None:
    """The processes part: the first goes on alone, for the others the program ends here."""
    here = first()
    leave()
    if not here:
        sys.exit(0)


# Batches.


@contextlib.contextmanager
def shared_out(n_rows: int) -> Iterator[None]:
    """Within, the processes share out a batch of so many rows: sums over rows are sums over those of all processes.

    With fewer rows than processes every process takes them all, and nothing is reduced.
    """
    global _n_rows
    if _group is None or n_rows < _group.size:
        yield
        return
    before, _n_rows = _n_rows, n_rows
    try:
        yield
    finally:
        _n_rows = before


def shared_rows() -> int | None:
    """Rows of the batch that is shared out at present, of all processes; None where none is."""
    return _n_rows


def own(rows: Tensor) -> Tensor:
    """This process's share of the rows of the batch that is shared out; what is a share already stays as it is."""
    if _n_rows is None or _group is None or len(rows) != _n_rows:
        return rows
    return rows[_n_rows * _group.rank // _group.size : _n_rows * (_group.rank + 1) // _group.size]


def sum_of_all(sums: Tensor) -> Tensor:
    """The sum over all processes, bit by bit the same in each."""
    result = sums.detach().clone(memory_format=torch.contiguous_format)
    with _reaching_the_others():
        dist.all_reduce(result)
    return result


def add_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their sums over all processes, in one reduction; nothing where no batch is shared out."""
    if _n_rows is None:
        return
    _in_one(dist.all_reduce, [parameter.grad for parameter in parameters if parameter.grad is not None])


def _in_one(collective: Callable[[Tensor], Any], tensors: Sequence[Tensor]) -> None:
    """Apply it in place to all of the tensors of one precision at once: every message takes its time, however short."""
    for precision in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == precision]
        joined = torch.cat([tensor.flatten() for tensor in alike])
        with _reaching_the_others():
            collective(joined)
        for tensor, part in zip(alike, joined.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view_as(tensor))


# What must be the same in all processes, also on machines that round in different ways.


def agreed(value: T) -> T:
    """What the first process has, in all of them."""
    if _group is None:
        return value
    values = [value]
    with _reaching_the_others():
        dist.broadcast_object_list(values)
    return values[0]


@torch.no_grad()
def agree_on(tensors: Iterable[Tensor]) -> None:
    """Set the tensors to those of the first process."""
    if _group is not None:
        _in_one(partial(dist.broadcast, src=0), list(tensors))


def check_alike(value: T, what: str) -> None:
    """InputError in the processes where the value is not that of the first."""
    if agreed(value) != value:
        raise InputError(f"{what} of process {dist.get_rank()} are not those of the first: give all the same files")


@contextlib.contextmanager
def in_turns() -> Iterator[None]:
    """What leaves files that the next find: the first process goes ahead, then one on each other machine, then all."""
    if _group is None:
        yield
        return
    before = 0 if _group.rank == 0 else 1 if _group.local_rank == 0 else _group.n_machines
    # Reading may take hours: no reduction waits for so long.
    while _group.store.add("turns", 0) < before:
        time.sleep(POLL)
    yield
    if _group.local_rank == 0:
        _group.store.add("turns", 1)


# Failing.


@contextlib.contextmanager
def _reaching_the_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        cause = str(error).strip().partition("\n")[0]
        raise InputError(
            f"another process of this run has ended or cannot be reached ({cause}): see what it says"
        ) from error


def tell(sentence: str) -> None:
    """Print why this process ends on stderr; of several that fail, only the first to do so."""
    if _group is None or _is_first_to_fail(_group.store):
        print(sentence, file=sys.stderr, flush=True)
    if _group is not None:
        with contextlib.suppress(RuntimeError):
            _group.store.set("told", "")


def _is_first_to_fail(store: Any) -> bool:
    """Whether no other process has failed before; else once that one has told why, as torchrun then ends them all."""
    with contextlib.suppress(RuntimeError):  # the store is gone where the process that kept it is
        if store.add("failed", 1) == 1:
            return True
        deadline = time.monotonic() + TOLD_WITHIN
        while not store.check(["told"]) and time.monotonic() < deadline:
            time.sleep(POLL)
    return False
