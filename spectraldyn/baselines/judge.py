"""One judgement for all methods: held-out scores, and timescales with error bars."""

from dataclasses import replace

import numpy as np

from spectraldyn.baselines.records import MethodResult, Outcome, Split
from spectraldyn.baselines.tuning import with_constant
from spectraldyn.spectra.scores import pair_averages, split_scores
from spectraldyn.spectra.timescales import Timescale, block_moments, read_off_timescales, with_rare_events


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
    train, test = (pair_averages(functions[rows], functions[rows + lag], tied=tied) for rows in split.starts)
    scores = split_scores(train, test, tied=tied, n_modes=split.n_modes)
    moments = block_moments(functions, split.stretches, [lag], tied=tied)
    timescales = read_off_timescales(moments, functions, split.stretches, lag, split.seed, n_modes=split.n_modes)[lag]
    if not timescales:
        raise ArithmeticError("its functions do not vary")
    return timescales, scores


def judge_outcome(outcome: Outcome, split: Split) -> MethodResult:
    """What a method has made of its job, judged; a method that failed is a result that says so."""
    result = outcome.result
    if outcome.left is None:
        return result
    try:
        timescales, scores = judge(outcome.left, outcome.right, split)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return MethodResult(result.method, str(error), settings=result.settings, warnings=result.warnings)
    if result.timescales:
        timescales = [_as_seen(own, seen) for own, seen in zip(result.timescales, timescales, strict=False)]
    vamp2, vampe = (scores[name] if np.isfinite(scores[name]) else None for name in ("vamp2_test", "vampe_test"))
    return replace(result, timescales=timescales, vamp2_test=vamp2, vampe_test=vampe)


def _as_seen(own: Timescale, seen: Timescale) -> Timescale:
    """A method's own timescale, its interval as it is, marked as unresolved where the process was seen too rarely."""
    counted = replace(own, n_transitions=seen.n_transitions)
    return replace(counted, unresolved=with_rare_events(counted, np.inf, np.inf).unresolved)
