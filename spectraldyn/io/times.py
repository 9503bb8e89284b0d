"""Frame spacing and uninterrupted stretches, from time stamps or from the numbers that a file gives its frames."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from spectraldyn.io.silence import Damaged


class Stamps(NamedTuple):
    """What the stamps of the frames are, for messages."""

    name: str
    measure: str
    """What they measure."""
    unit: str = ""
    layout: str = ".15g"


TIMES = Stamps("time stamp", "time", " ps", "g")
STEPS = Stamps("step number", "the step number")
MODELS = Stamps("MODEL number", "the MODEL number")


def read_times(times: np.ndarray, stamps: Stamps = TIMES) -> tuple[float | None, tuple[int, ...], list[str]]:
    """Frame spacing in ps, starts of uninterrupted stretches, and warnings; raises Damaged where there is no telling.

    There is no spacing where there are no stamps, or the same one everywhere. The stamps are in ps, as far as rounding
    to float32 leaves them exact, or other numbers of the frames.
    """
    if len(times) < 2 or (times == times[0]).all() or np.isnan(times).all():
        return None, (0,), []
    if not np.isfinite(times).all():
        return None, (0,), [f"some {stamps.name}s are missing or not numbers, so all are ignored"]
    steps = np.diff(times)
    # Stamps are stored, or were once computed, in float32: near 1e6 ps they are off by up to 0.03 ps each.
    rounding = np.spacing(np.abs(times).astype(np.float32)).astype(float) * (stamps is TIMES)
    even = (times[-1] - times[0]) / len(steps)
    line = times[0] + even * np.arange(len(times))
    if even > 0 and (np.abs(times - line) <= 2 * rounding + 1e-3 * even).all():
        return _neat(even, len(steps), rounding.max()), (0,), []
    forward = np.sort(steps[steps > rounding[1:]])
    if not len(forward):
        since = f"{times[0]:{stamps.layout}}{stamps.unit}"
        raise Damaged(f"{stamps.name}s never increase (from {since} on): write the file with its {stamps.name}s")
    usual = forward[(len(forward) - 1) // 2]
    regular = np.abs(steps - usual) <= 2 * np.maximum(rounding[1:], rounding[:-1]) + 1e-3 * usual
    starts = [int(index) + 1 for index in np.flatnonzero(~regular)]
    if len(starts) > max(1, 0.1 * len(steps)):
        differ = f"{len(starts)} of {len(steps)} steps differ from the usual {usual:.6g}{stamps.unit}"
        where = f"(the first at frame {starts[0]}), so that no lag time is defined: write evenly spaced frames"
        raise Damaged(f"{stamps.name}s are uneven: {differ} {where}")
    covered = sum(times[end - 1] - times[start] for start, end in pairwise([0, *starts, len(times)]))
    timestep = _neat(covered / regular.sum(), int(regular.sum()), rounding.max())
    return timestep, (0, *starts), list(_breaks(times, starts, rounding, stamps))


def _neat(spacing: float, n_steps: int, rounding: float) -> float:
    """The spacing without the digits that rounding of the stamps put there: 0.2 rather than 0.20000000149."""
    shorter = (float(f"{spacing:.{digits}g}") for digits in range(1, 7))
    return next((short for short in shorter if abs(short - spacing) * n_steps <= 2 * rounding), float(spacing))


def _breaks(times: np.ndarray, starts: list[int], rounding: np.ndarray, stamps: Stamps) -> Iterator[str]:
    """One sentence for each kind of break."""
    kinds: dict[str, list[int]] = {"occurs twice": [], "goes back": [], "jumps": []}
    for start in starts:
        step = times[start] - times[start - 1]
        kind = "occurs twice" if abs(step) <= rounding[start] else "goes back" if step < 0 else "jumps"
        kinds[kind].append(start)
    for kind, (start, *others) in ((kind, found) for kind, found in kinds.items() if found):
        before, after = (f"{times[frame]:{stamps.layout}}" for frame in (start - 1, start))
        what = f"{stamps.measure} {kind} from {before} to {after}{stamps.unit} at frame {start}"
        if kind == "occurs twice":
            what = f"{stamps.name} {after}{stamps.unit} occurs twice, at frames {start - 1} and {start}"
        yield what + f" (and at {len(others)} more places)" * bool(others) + ": lagged pairs do not cross it"
