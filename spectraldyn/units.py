"""Times as users write them (``50`` frames, ``50ps``, ``1.2ns``), and what rows, stored frames and times are to each
other."""

import re
from dataclasses import dataclass

from spectraldyn.errors import InputError

PICOSECONDS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "µs": 1e6, "ms": 1e9}

_TIME = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([a-zµ]*)\s*")


@dataclass(frozen=True)
class Duration:
    """A length of time as the user gave it: in picoseconds, or in stored frames where no unit was written."""

    value: float
    in_frames: bool

    def to_frames(self, timestep_ps: float | None, option: str) -> int:
        """Number of stored frames in this duration; None as the time between them says that it is not known.

        An InputError, which names the option ("`lag`") that carried the duration, if the spacing is needed and unknown,
        or the duration is not a whole number of frames.
        """
        if self.in_frames:
            frames = self.value
        elif timestep_ps is None:
            raise InputError(
                f"{option} is given in time ({self.value:g} ps), but the frame spacing is unknown: "
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
    if match is None or (match[2] and match[2] not in PICOSECONDS):
        raise InputError(
            f"{option} is {str(text)!r}, which is not a time: write a number of frames (50) or a time with one of "
            "the units " + ", ".join(unit for unit in PICOSECONDS if unit.isascii()) + " (50ps, 1.2ns)"
        )
    if not match[2]:
        return Duration(float(match[1]), in_frames=True)
    return Duration(float(match[1]) * PICOSECONDS[match[2]], in_frames=False)


@dataclass(frozen=True)
class TimeAxis:
    """What the rows of a data set are in time: the one home of every conversion between rows, stored frames and time.

    Attributes
    ----------
    timestep_ps : float or None
        Time between stored frames in ps; None where neither the files nor the user say.
    stride : int
        Stored frames from one row to the next.
    """

    timestep_ps: float | None = None
    stride: int = 1

    @property
    def unit(self) -> str:
        """Of every time that is reported: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return "frames" if self.timestep_ps is None else "ps"

    @property
    def row_time(self) -> float:
        """Time from one row to the next, in `unit`."""
        return self.stride * (1.0 if self.timestep_ps is None else self.timestep_ps)

    def time(self, rows: float) -> float:
        """So many rows as a time, in `unit`."""
        return rows * self.row_time

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
