"""Reduced-rank regression in the space of a Gaussian kernel, by the Nyström method: kooplearn's estimator.

Kostic et al., NeurIPS 35 (2022) 4017; Meanti et al., NeurIPS 36 (2023) 77242. kooplearn is an optional dependency.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.spatial.distance import pdist

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import drawn_pairs, in_chunks, slow_coordinates, tuned
from spectraldyn.errors import InputError

MEDIAN_FROM = 2000  # frames, drawn at random, of whose distances the median is taken


def nystroem_rrr(
    problem: Problem,
    n_pairs: int = 20_000,
    widths: Sequence[float] = (0.5, 1.0, 2.0),
    n_centres: Sequence[int] = (100, 300),
) -> Learned:
    """Nyström reduced-rank regression on training pairs drawn at random, taken in both directions of time.

    The width of the kernel, in medians of the distance between two frames, and the number of inducing points are chosen
    by cross-validation. The latter regularise: in kooplearn 2.0 the ridge has no effect on this estimator.
    """
    if not problem.reversible:
        raise InputError("nystroem-rrr takes pairs in both directions of time, which only reversible dynamics allow")
    return tuned(problem, partial(_nystroem_rrr, n_pairs=n_pairs), width=widths, centres=n_centres)


def _nystroem_rrr(problem: Problem, n_pairs: int, width: float, centres: int) -> Learned:
    from kooplearn.kernel import NystroemKernelRidge

    transform = slow_coordinates(problem)
    x, y = drawn_pairs(problem, transform, n_pairs)
    bandwidth = width * float(np.median(pdist(x[:MEDIAN_FROM])))
    estimator = NystroemKernelRidge(
        n_components=problem.n_modes + 1,  # the constant is not given to it
        # One trajectory is all that it takes. In x, y, x all rows this far apart are pairs, there and back.
        lag_time=len(x),
        kernel="rbf",
        gamma=1 / (2 * bandwidth**2),
        n_centers=centres,
        random_state=problem.seed,
    )
    model = estimator.fit(np.concatenate((x, y, x)))
    return Learned(
        functions=in_chunks(lambda frames: model.eig(eval_right_on=transform(frames))[1]),
        settings={"pairs": len(x), "bandwidth": bandwidth},
    )
