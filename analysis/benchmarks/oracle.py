"""The best that a method can do on given data: the true eigenfunctions, judged as the methods of a comparison are."""

from collections.abc import Sequence

import numpy as np

import spectraldyn as sd
from spectraldyn.baselines import MethodResult, Outcome, Question, Split, judge_outcome


def oracle(eigenfunctions: Sequence[np.ndarray], lagtime: int, n_modes: int, seed: int) -> MethodResult:
    """Rayleigh–Ritz with the true eigenfunctions: timescales over all pairs, scores on held-out ones.

    Parameters
    ----------
    eigenfunctions : sequence of ndarray (T, k)
        At every frame of every trajectory, slowest first, k ≥ n_modes.
    lagtime, n_modes, seed : int
        Of the comparison, so that the split is that of `compare_methods`.

    Returns
    -------
    MethodResult
        Times in frames.
    """
    stretches = sd.data.stretches_of([len(part) for part in eigenfunctions])
    split = Split.of(stretches, Question(lagtime=lagtime, n_modes=n_modes, seed=seed))
    known = np.concatenate([part[:, :n_modes] for part in eigenfunctions])
    return judge_outcome(Outcome(MethodResult("oracle"), known), split)
