"""The best that a method can do on given data: the true eigenfunctions, judged as the methods of a comparison are."""

from collections.abc import Sequence

import numpy as np

from spectraldyn.baselines.compare import TEST_FRACTION
from spectraldyn.baselines.judge import judge
from spectraldyn.baselines.process import Job, Outcome
from spectraldyn.baselines.records import MethodResult
from spectraldyn.data.stretches import split_stretches, starts_within


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
    return judged([part[:, :n_modes] for part in eigenfunctions], None, lagtime, n_modes, seed, reversible=True)


def judged(
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray] | None,
    lagtime: int,
    n_modes: int,
    seed: int,
    *,
    reversible: bool,
) -> MethodResult:
    """Functions at every frame of every trajectory, judged on the split and by the code of `compare_methods`."""
    lengths = [len(part) for part in left]
    train, test = pieces(lengths, lagtime, seed)
    job = Job(
        method="oracle", options={}, lengths=lengths, train=[(piece.start, piece.stop) for piece in train],
        lagtime=lagtime, n_modes=n_modes, seed=seed, reversible=reversible, device="cpu",
    )  # fmt: skip
    outcome = Outcome(left=np.concatenate(left), right=None if right is None else np.concatenate(right))
    return judge(job, outcome, starts_within(train, lagtime), starts_within(test, lagtime))


def pieces(lengths: Sequence[int], lagtime: int, seed: int) -> tuple[list[range], list[range]]:
    """The pieces of `compare_methods` for training and those held out."""
    return split_stretches(lengths, lagtime, TEST_FRACTION, np.random.default_rng(seed))
