"""Which frames of the files are asked for."""

import math
import operator
from typing import NamedTuple

from spectraldyn.errors import InputError
from spectraldyn.units import Duration, parse_duration


class Sampling(NamedTuple):
    """Which frames the user asked for."""

    stride: int
    skip: Duration
    timestep_ps: float | None

    @classmethod
    def of(cls, stride: int, skip: str | float | None, timestep: str | float | None) -> "Sampling":
        """As users say it; InputError where that cannot be right."""
        left_out = parse_duration(0 if skip is None else skip, "`skip`")
        return cls(_as_stride(stride), left_out, _as_picoseconds(timestep))

    def computed(self) -> tuple[int, int]:
        """(first, step) of the frames to compute features of."""
        # All of them unless a stride saves work: then entries of the store serve any skip. All as well for a skip in
        # time where the file itself must first tell the spacing.
        known = self.skip.in_frames or self.skip.value == 0 or self.timestep_ps is not None
        return (self.skipped(self.timestep_ps), self.stride) if self.stride > 1 and known else (0, 1)

    def skipped(self, timestep_ps: float | None) -> int:
        """Frames left out at the start of each file."""
        return self.skip.to_frames(timestep_ps, "`skip`") if self.skip.value else 0


def _as_stride(stride: int) -> int:
    try:
        number = operator.index(stride)
    except TypeError:
        number = 0
    if not 1 <= number < 2**31:
        raise InputError(f"`stride` is {stride!r}, which is not a whole number of frames from 1 to 2147483647")
    return number


def _as_picoseconds(timestep: str | float | None) -> float | None:
    if timestep is None:
        return None
    if isinstance(timestep, str):
        duration = parse_duration(timestep, "`timestep`")
        if duration.in_frames:
            better = f"write it as a time, such as {timestep.strip()}ps"
            raise InputError(f"`timestep` is {timestep!r}, which has no unit: {better}")
        timestep = duration.value
    if not (math.isfinite(timestep) and timestep > 0):
        raise InputError(f"`timestep` is {timestep!r} ps, which is not a time greater than 0")
    return float(timestep)
