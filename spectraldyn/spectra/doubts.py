"""What speaks against the timescales of a fit: modes that held-out data do not confirm, and data in pieces."""

import numpy as np

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra.intervals import MIN_INDEPENDENT
from spectraldyn.spectra.scores import HeldOut
from spectraldyn.spectra.timescales import timescales_from_eigenvalues

MIN_HELD_OUT = 150
"""With fewer held-out pairs no mode is confirmed: any mode that drifts looks slow on so few."""
STANDARD_ERRORS = 2
"""Of a held-out eigenvalue, by which it must be above or below what it is compared with."""
MOST_LOST = 0.5
"""Share of an eigenvalue, or of a timescale, that may be lost on held-out pairs. Beyond one half of the eigenvalue the
mode lowers the held-out VAMP-E, 2 λ λ̂ − λ² < 0."""
MIN_VARIANCE = 0.2
"""A mode with less of its variance than this on the held-out pairs was hardly seen there."""
MIN_GAP = 0.3
"""Between values of a mode, in standard deviations, that part two groups of trajectories."""


def confirmed(held_out: HeldOut) -> list[bool | None]:
    """Whether held-out pairs confirm each mode; None where they are too few to say, or the mode hardly occurs in them.

    Confirmed is a mode that surely keeps half of its eigenvalue there, and whose timescale is not surely less than
    half. One that varies in a few pieces of the held-out pairs alone says nothing: whether it was seen often enough
    is for its transitions to tell.
    """
    if held_out.n_pairs < MIN_HELD_OUT:
        return [None] * len(held_out.values)
    seen = (held_out.variance >= MIN_VARIANCE) & (held_out.n_pieces >= MIN_INDEPENDENT)
    margin = STANDARD_ERRORS * held_out.error
    magnitude = np.minimum(np.abs(held_out.values), 1)
    found = timescales_from_eigenvalues(magnitude, 1)
    most = timescales_from_eigenvalues(np.minimum(magnitude * np.maximum(held_out.kept + margin, 0), 1), 1)
    # More than the whole eigenvalue is chance: that of noise, which is next to nothing, may double.
    good = (np.minimum(held_out.kept, 1) - margin >= MOST_LOST) & (most >= MOST_LOST * found)
    return [bool(g) if s else None for g, s in zip(good, seen, strict=True)]


def separate_groups(modes: np.ndarray, stretches: Stretches) -> np.ndarray:
    """Group of every stretch, (n_stretches,) of int: those of different groups never visit the same states.

    Along every mode (n_rows, n_modes), of variance 1, the ranges of values that the stretches cover are laid side by
    side, and a gap between them that no stretch covers parts them. Groups are numbered in the order of the stretches,
    so that a single group is all zeros.
    """
    groups = np.zeros((len(stretches), modes.shape[1]), dtype=int)
    for mode, parted in zip(modes.T, groups.T, strict=True):
        low, high = np.array([(mode[s.start : s.stop].min(), mode[s.start : s.stop].max()) for s in stretches]).T
        order = np.argsort(low)
        reach = np.maximum.accumulate(high[order])
        parted[order[1:]] = np.cumsum(low[order[1:]] - reach[:-1] > MIN_GAP)
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(tuple(row), len(numbers)) for row in groups.tolist()])
