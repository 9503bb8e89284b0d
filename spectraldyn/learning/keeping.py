"""The state of a training under way: when it is kept, and what of a file may be taken up."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

KEPT_EVERY, KEPT_AT_EVALUATIONS = 60.0, 2.0
"""Seconds after which the state is kept anew, and those after which it is at an evaluation: to keep it at each of them
would be a good part of a short training."""
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def keeping(save: Callable[[], None] | None) -> Iterator[Callable[[bool, bool], None]]:
    """A function to call after every step, with whether it ends in an evaluation, and whether it is the last.

    A signal that asks to stop waits for the end of the step, so that the state is whole, and none of the steps is lost.
    Without `save` nothing is kept, and signals do as ever.
    """
    # Python lets no other thread see to signals.
    if save is None or threading.current_thread() is not threading.main_thread():
        yield lambda evaluated, last: save() if evaluated and save is not None else None
        return
    came: list[int] = []
    before = {number: handler for number in _STOPS if _can_wait(handler := signal.getsignal(number))}
    kept = time.monotonic()

    def keep(evaluated: bool, last: bool) -> None:
        nonlocal kept
        due = KEPT_AT_EVALUATIONS if evaluated else KEPT_EVERY
        if came or last or time.monotonic() - kept >= due:
            save()
            kept = time.monotonic()
        stop()

    def stop() -> None:
        if came:
            hand_back()
            signal.raise_signal(came.pop())

    def hand_back() -> None:
        while before:
            signal.signal(*before.popitem())

    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield keep
    finally:
        hand_back()
        stop()


def _can_wait(handler: Any) -> bool:
    return callable(handler) or handler is signal.SIG_DFL


def check_tensors(found: Any, own: Mapping[str, Tensor], what: str) -> None:
    """ValueError unless these are finite tensors of the same names and shapes."""
    if not isinstance(found, dict) or found.keys() != own.keys():
        raise ValueError(f"{what} has other entries")
    for name, value in found.items():
        _check_tensor(value, own[name].shape, f"{what} {name}")


def check_optimiser(found: Any, parameters: list[Tensor]) -> None:
    """ValueError unless this is what an optimiser remembers of these parameters: nothing, or finite tensors of each."""
    if not isinstance(found, dict) or (found and found.keys() != set(range(len(parameters)))):
        raise ValueError("the optimiser has other entries")
    for number, entries in found.items():
        if not isinstance(entries, dict) or "step" not in entries:
            raise ValueError("the optimiser has other entries")
        for name, value in entries.items():
            shape = torch.Size() if name == "step" else parameters[number].shape
            _check_tensor(value, shape, f"the optimiser's {name}")


def check_finite(found: Any, what: str) -> None:
    """ValueError where tensors, in whatever dictionaries and lists, are not finite."""
    for value in found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else []:
        check_finite(value, what)
    if isinstance(found, Tensor) and not found.isfinite().all():
        raise ValueError(f"{what} is not finite")


def _check_tensor(value: Any, shape: torch.Size, what: str) -> None:
    if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
        raise ValueError(f"{what} is no tensor of shape {tuple(shape)}")
    check_finite(value, what)
