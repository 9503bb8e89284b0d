"""Times as users write them (``50`` frames, ``50ps``, ``1.2ns``) and are shown them, and what rows, stored frames and
times are to each other."""

import re
from dataclasses import dataclass

import numpy as np

from spectraldyn.errors import InputError

PICOSECONDS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "µs": 1e6, "ms": 1e9}
READABLE = (0.01, 100_000)
"""Least and largest number for which the unit that the user typed is kept."""

LENGTHS = (1e-9, 1e15)
"""Shortest and longest time that can be meant, in ps, and number of frames: fractions and multiples of it are finite.
"""

_ASCII = {"us": "µs"}
_TIME = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([a-zµ]*)\s*")


@dataclass(frozen=True)
class TimeUnit:
    """A unit that times are shown in. Records, results.json and compare.json hold them in ps, or in stored frames."""

    name: str
    """One of `PICOSECONDS`, or "frames"."""

    @classmethod
    def for_time(cls, time_ps: float, typed: str | None = None) -> "TimeUnit":
        """The unit for a time above 0, given in ps, and for all that stands in one table or figure with it.

        The unit that the user typed, where the number in it is `READABLE`. Otherwise the largest in which it is at
        least 1 when written with three digits, so that 999.6 ps are 1 ns; fs for all that is shorter.
        """
        if typed is not None and READABLE[0] <= time_ps / PICOSECONDS[typed] <= READABLE[1]:
            return cls(typed)
        large_enough = [name for name, size in PICOSECONDS.items() if float(f"{time_ps / size:.3g}") >= 1]
        return cls(large_enough[-1] if large_enough else "fs")

    @property
    def size(self) -> float:
        """In ps; 1 for stored frames."""
        return PICOSECONDS.get(self.name, 1.0)

    def text(self, *times: float) -> str:
        """Times without uncertainty, given in ps or stored frames, as "1.2 ns" or "0.5, 2 ns"."""
        numbers = (float(f"{time / self.size:.6g}") for time in times)
        return ", ".join(np.format_float_positional(number, trim="-") for number in numbers) + f" {self.name}"


@dataclass(frozen=True)
class Duration:
    """A length of time as the user gave it."""

    value: float
    """In ps, or in stored frames where no unit was written."""
    unit: str | None
    """That was written, one of `PICOSECONDS`."""

    @property
    def in_frames(self) -> bool:
        """Whether no unit was written."""
        return self.unit is None

    def to_frames(self, timestep_ps: float | None, option: str) -> int:
        """Number of stored frames in this duration; None as the time between them says that it is not known.

        An InputError, which names the option ("`lag`") that carried the duration, if the spacing is needed and unknown,
        or the duration is not a whole number of frames.
        """
        if self.unit is None:
            frames = self.value
        elif timestep_ps is None:
            given = TimeUnit(self.unit).text(self.value)
            raise InputError(
                f"{option} is given in time ({given}), but the frame spacing is unknown: "
                f"give `timestep`, or {option} as a number of frames"
            )
        else:
            frames = self.value / timestep_ps
        if abs(frames - round(frames)) > 1e-3:
            spacing = "" if self.in_frames else f" of {timestep_ps:g} ps"
            raise InputError(f"{option} is {frames:g} frames{spacing}: it must be a whole number of stored frames")
        return round(frames)


def parse_duration(text: str | float, option: str) -> Duration:
    """Read ``"50"`` or ``50`` as frames, ``"50ps"`` or ``"1.2 ns"`` as time; InputError if it is neither."""
    match = _TIME.fullmatch(str(text))
    if match is None or (match[2] and match[2] not in {*PICOSECONDS, *_ASCII}):
        raise InputError(
            f"{option} is {str(text)!r}, which is not a time: write a number of frames (50) or a time with one of "
            "the units fs, ps, ns, us, ms (50ps, 1.2ns)"
        )
    unit = _ASCII.get(match[2], match[2])
    value = float(match[1]) * PICOSECONDS.get(unit, 1.0)
    if value and not LENGTHS[0] <= value <= LENGTHS[1]:
        limits = f"{LENGTHS[0]:g} and {LENGTHS[1]:g} {'ps' if unit else 'frames'}"
        raise InputError(f"{option} is {str(text)[:30]!r}: give a time of a simulation, between {limits}")
    return Duration(value, unit or None)


@dataclass(frozen=True)
class TimeAxis:
    """What the rows of a data set are in time: the one home of every conversion between rows, stored frames and time.

    Attributes
    ----------
    timestep_ps : float or None
        Time between stored frames in ps; None where neither the files nor the user say.
    stride : int
        Stored frames from one row to the next.
    typed_unit : str or None
        Unit in which the user gave the lag time, which times are shown in; None where there was none.
    """

    timestep_ps: float | None = None
    stride: int = 1
    typed_unit: str | None = None

    @property
    def unit(self) -> str:
        """Of every time in records and files: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return "frames" if self.timestep_ps is None else "ps"

    @property
    def row_time(self) -> float:
        """Time from one row to the next, in `unit`."""
        return self.stride * (1.0 if self.timestep_ps is None else self.timestep_ps)

    def time(self, rows: float) -> float:
        """So many rows as a time, in `unit`."""
        return rows * self.row_time

    def unit_for(self, time: float) -> TimeUnit:
        """The unit to show a time above 0 in, given in `unit`, with all beside it (see `TimeUnit.for_time`)."""
        return TimeUnit("frames") if self.timestep_ps is None else TimeUnit.for_time(time, self.typed_unit)

    def lag_text(self, rows: int) -> str:
        """A lag time in words: in the unit that the user typed, whatever its size."""
        time = self.time(rows)
        return (self.unit_for(time) if self.typed_unit is None else TimeUnit(self.typed_unit)).text(time)

    def typed_lag(self, rows: int) -> str:
        """A lag time as one types it: "2ps", or a number of stored frames."""
        number, _, unit = self.lag_text(rows).rpartition(" ")
        return number if unit == "frames" else number + unit

    def length_text(self, rows: float) -> str:
        """How long so many rows are together, in words: in a unit by its size, as they are many times the lag time."""
        time = self.time(rows)
        return (TimeUnit("frames") if self.timestep_ps is None else TimeUnit.for_time(time)).text(time)

    def frames(self, rows: int) -> int:
        """So many rows as stored frames."""
        return rows * self.stride

    def rows_of_lag(self, lag: "Duration", longest: int) -> int:
        """A lag time that a user gave, in rows.

        Parameters
        ----------
        lag : Duration
        longest : int
            Rows of the longest stretch.

        Raises
        ------
        InputError
            If it is no whole number of rows, not positive, or longer than every stretch.
        """
        frames = lag.to_frames(self.timestep_ps, "`lag`")
        if frames < 1 or frames % self.stride:
            raise InputError(
                f"`lag` is {frames} stored frames: it must be a positive multiple of `stride` ({self.stride}), since "
                "the lag counts frames before striding"
            )
        if frames // self.stride >= longest:
            raise InputError(
                f"`lag` is {frames} stored frames, but the longest uninterrupted stretch has {longest * self.stride}: "
                "there is no pair at this lag"
            )
        return frames // self.stride


def size_text(n_bytes: float) -> str:
    """Bytes as users read them, such as "1.3 GB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} B"
