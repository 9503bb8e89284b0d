"""One judgement for all methods: held-out scores, and timescales with error bars."""

from dataclasses import dataclass, replace

import numpy as np

from spectraldyn.baselines.process import Job, Outcome
from spectraldyn.baselines.records import MethodResult
from spectraldyn.baselines.tuning import with_constant
from spectraldyn.data import pair_starts
from spectraldyn.spectra.scores import pair_averages, split_scores
from spectraldyn.spectra.timescales import Timescale, block_moments, read_off_timescales, with_rare_events


@dataclass(frozen=True)
class Split:
    """What every method is judged on.

    Attributes
    ----------
    stretches : list of range
        All rows.
    train, test : list of range
        Stretches to learn from, and stretches that no method has seen; each holds a pair.
    lagtime, n_modes : int
    reversible : bool
    seed : int
        Of the resampling.
    """

    stretches: list[range]
    train: list[range]
    test: list[range]
    lagtime: int
    n_modes: int
    reversible: bool
    seed: int


def judge(left: np.ndarray, right: np.ndarray | None, split: Split) -> tuple[list[Timescale], dict[str, float]]:
    """Timescales and scores of functions that have been evaluated on all rows.

    Parameters
    ----------
    left, right : ndarray (n_rows, k)
        Slow functions; `right` where they differ and the dynamics are not taken as reversible.
    split : Split

    Returns
    -------
    list of Timescale
        In rows, by Rayleigh–Ritz over all pairs, with block-bootstrap intervals.
    dict
        See `spectraldyn.spectra.scores.split_scores`.

    Raises
    ------
    ArithmeticError
        If the functions are not finite, or do not vary.
    """
    lag, tied = split.lagtime, split.reversible
    functions = with_constant(left, tied, right)
    averages = []
    for part in (split.train, split.test):
        starts = pair_starts(part, lag)
        averages.append(pair_averages(functions[starts], functions[starts + lag], tied=tied))
    scores = split_scores(averages[0], averages[1], tied=tied, n_modes=split.n_modes)
    moments = block_moments(functions, split.stretches, [lag], tied=tied)
    timescales = read_off_timescales(moments, functions, split.stretches, lag, split.seed, n_modes=split.n_modes)[lag]
    if not timescales:
        raise ArithmeticError("its functions do not vary")
    return timescales, scores


def judge_outcome(job: Job, outcome: Outcome, split: Split) -> MethodResult:
    """What a method has made of its job, judged; a method that failed is a result that says so."""
    failed = MethodResult(job.method, outcome.failed, settings=outcome.settings, warnings=outcome.warnings)
    if outcome.failed is not None or outcome.left is None:
        return failed
    try:
        timescales, scores = judge(outcome.left, outcome.right, split)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return replace(failed, failed=str(error))
    if outcome.own_timescales is not None:
        timescales = [
            _as_seen(own, scale.n_transitions) for own, scale in zip(outcome.own_timescales, timescales, strict=False)
        ]
    vamp2, vampe = (float(scores[name]) if np.isfinite(scores[name]) else None for name in ("vamp2_test", "vampe_test"))
    return MethodResult(
        method=job.method,
        timescales=timescales,
        vamp2_test=vamp2,
        vampe_test=vampe,
        seconds=outcome.seconds,
        tuning_seconds=outcome.tuning_seconds,
        peak_mb=outcome.peak_mb,
        settings=outcome.settings,
        warnings=outcome.warnings,
    )


def _as_seen(own: Timescale, n_transitions: int | None) -> Timescale:
    """A method's own timescale, its interval as it is, marked as unresolved where the process was seen too rarely."""
    counted = replace(own, n_transitions=n_transitions)
    return replace(counted, unresolved=with_rare_events(counted, np.inf, np.inf).unresolved)
