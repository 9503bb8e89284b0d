"""What a method does over several splits: medians, their spread, and which differences the spread covers."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np

from spectraldyn.baselines.records import MethodResult
from spectraldyn.spectra.timescales import Timescale

ROUNDING = 1e-6
"""Scores that differ by less are the same: methods with the same span differ by rounding alone."""


def split_seeds(seed: int, n_splits: int) -> list[int]:
    """Seeds of the splits, and of what is random in the methods on each: the seed itself, and others derived of it."""
    derived = (np.random.SeedSequence([seed, number]).generate_state(1)[0] for number in range(1, n_splits))
    return [seed, *map(int, derived)]


def median_result(runs: Sequence[MethodResult]) -> MethodResult:
    """Medians over the splits on which a method has not failed; failed only where it has on all.

    A timescale and its interval are those of the split whose value is the median; settings are those of the first split
    that was done.
    """
    done = [run for run in runs if run.failed is None]
    warnings = list(dict.fromkeys(warning for run in runs for warning in run.warnings))
    if not done:
        return MethodResult(runs[0].method, reasons(runs), settings=runs[0].settings, warnings=warnings)
    numbers = ("vamp2_test", "vampe_test", "seconds", "tuning_seconds", "peak_mb")
    medians: dict[str, Any] = {name: _median([getattr(run, name) for run in done]) for name in numbers}
    scales = [_median_timescale(process) for process in zip_longest(*(run.timescales for run in done))]
    return replace(done[0], timescales=scales, warnings=warnings, **medians)


def reasons(runs: Sequence[MethodResult]) -> str:
    """Why a method has failed, every reason once."""
    return "; ".join(dict.fromkeys(run.failed for run in runs if run.failed is not None))


def standard_error(values: Sequence[float | None]) -> float | None:
    """Of the mean of those that are known; None for fewer than two."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1) / np.sqrt(len(known))) if len(known) > 1 else None


def timescale_values(runs: Sequence[MethodResult], process: int) -> list[float | None]:
    """Values of one process, counted from 0, on all splits; None where it was not found or is undetermined."""
    return [run.timescales[process].value if process < len(run.timescales) else None for run in runs]


def best_or_tied(runs: Sequence[Sequence[MethodResult]], score: str) -> list[bool]:
    """Which methods have the best median of a score, or tie with it.

    A method ties with the best one where the mean difference between the two, split by split, is within its standard
    error. One that was scored on fewer splits than others is not marked, and with less than two splits none is.

    Parameters
    ----------
    runs : sequence of sequences of MethodResult
        For every method, its results on the same splits.
    score : {"vamp2_test", "vampe_test"}
    """
    values = np.array([[getattr(run, score) for run in own] for own in runs], dtype=float)
    n_scored = np.isfinite(values).sum(axis=1)
    if n_scored.max() < 2:
        return [False] * len(runs)
    competing = np.flatnonzero(n_scored == n_scored.max())
    best = competing[np.argmax(np.nanmedian(values[competing], axis=1))]
    marked = np.zeros(len(runs), dtype=bool)
    for method in competing:
        behind = values[best] - values[method]
        behind = behind[np.isfinite(behind)]
        error = standard_error(behind.tolist())
        marked[method] = error is not None and behind.mean() <= max(error, ROUNDING)
    return marked.tolist()


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _median_timescale(scales: Sequence[Timescale | None]) -> Timescale:
    """That of the split whose value is the median, of two in the middle the smaller; undetermined if it mostly is."""
    if len(scales) == 1 and scales[0] is not None:
        return scales[0]
    known = sorted((s for s in scales if s is not None and s.value is not None), key=lambda s: s.value or 0.0)
    if 2 * len(known) <= len(scales):
        why = f"undetermined on {len(scales) - len(known)} of {len(scales)} splits"
        return Timescale(None, None, None, unresolved=why)
    return known[(len(known) - 1) // 2]
