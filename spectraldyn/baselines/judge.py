"""One judgement for all methods: held-out scores, and timescales with error bars."""

from dataclasses import replace

import numpy as np

from spectraldyn.baselines.process import Job, Outcome
from spectraldyn.baselines.records import MethodResult
from spectraldyn.baselines.tuning import with_constant
from spectraldyn.data.stretches import cut_blocks
from spectraldyn.estimators.base import N_BLOCKS
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.decomposition import decompose, truncated
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.spectra.validation import split_scores


def judge(job: Job, outcome: Outcome, train_rows: np.ndarray, test_rows: np.ndarray) -> MethodResult:
    """Scores and timescales, in frames, of the functions that a method has learned.

    Parameters
    ----------
    job : Job
    outcome : Outcome
        Of this job.
    train_rows, test_rows : ndarray of int
        First frames of the pairs for training and of those held out.
    """
    failed = MethodResult(job.method, outcome.failed, settings=outcome.settings, warnings=outcome.warnings)
    if outcome.failed is not None or outcome.left is None:
        return failed
    try:
        functions = with_constant(outcome.left, job.reversible, outcome.right)
        scores = split_scores(functions, job.lagtime, train_rows, test_rows, job.reversible, job.n_modes)
        timescales = _timescales(job, functions)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        return replace(failed, failed=str(error))
    if not timescales:
        return replace(failed, failed="its functions do not vary")
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
    return replace(counted, unresolved=its.with_rare_events(counted, np.inf, np.inf).unresolved)


def _timescales(job: Job, functions: np.ndarray) -> list[Timescale]:
    """In frames, by Rayleigh–Ritz over all pairs, with block-bootstrap intervals."""
    ends = np.cumsum(job.lengths).tolist()
    stretches = [range(stop - length, stop) for stop, length in zip(ends, job.lengths, strict=True)]
    blocks = cut_blocks(job.lengths, max(1, len(functions) // N_BLOCKS))
    moments = lagged_moments(functions, stretches, blocks, {job.lagtime: job.lagtime})
    spectrum = truncated(decompose(*moments.means(0), reversible=job.reversible), job.n_modes)
    values = its.timescales_from_eigenvalues(spectrum.eigenvalues, job.lagtime)
    slowest = float(values[np.isfinite(values)].max(initial=job.lagtime))
    transitions = [its.count_transitions(mode.real, stretches) for mode in (functions @ spectrum.eigenfunctions).T]
    return its.timescales_at_lag(moments, 0, spectrum, job.reversible, transitions, slowest, job.seed)
