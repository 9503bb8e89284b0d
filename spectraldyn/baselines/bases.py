"""EDMD on Gaussian functions, and its kernel form: eigenfunctions of a Koopman matrix in a fixed basis.

Williams, Kevrekidis, Rowley, J. Nonlinear Sci. 25 (2015) 1307; Williams, Rowley, Kevrekidis, J. Comput. Dyn. 2 (2015)
247; Klus, Schuster, Muandet, J. Nonlinear Sci. 30 (2020) 283.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from deeptime.clustering import KMeans
from deeptime.decomposition import EDMD, KernelEDMD
from deeptime.kernels import GaussianKernel
from scipy.spatial.distance import cdist, pdist

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import drawn_pairs, in_chunks, slow_coordinates, tuned
from spectraldyn.spectra.rayleigh_ritz import orthonormal

CENTRES_FROM = 10_000  # frames, drawn at random, whose k-means centres carry the Gaussian functions


def edmd(problem: Problem, n_centres: int = 100, widths: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)) -> Learned:
    """EDMD on the constant and Gaussian functions around k-means centres.

    Their width, in medians of the distance from a centre to its nearest neighbour, is chosen by cross-validation.
    """
    return tuned(problem, partial(_edmd, n_centres=n_centres), width=widths)


def _edmd(problem: Problem, n_centres: int, width: float) -> Learned:
    transform = slow_coordinates(problem)
    x, y = (transform(ends) for ends in problem.pairs())
    sample = x[np.random.default_rng(problem.seed).choice(len(x), min(len(x), CENTRES_FROM), replace=False)]
    clusters = KMeans(min(n_centres, len(sample)), fixed_seed=problem.seed, n_jobs=1).fit_fetch(sample)
    # Data of few distinct points leave clusters in one place: no distance between them, no width of a Gaussian.
    centres = np.unique(clusters.cluster_centers, axis=0)
    between = cdist(centres, centres)
    np.fill_diagonal(between, np.inf)
    bandwidth = width * float(np.median(between.min(axis=1)))
    kernel = GaussianKernel(bandwidth)

    def gaussians(points: np.ndarray) -> np.ndarray:
        return np.column_stack((np.ones(len(points)), kernel.apply(points, centres)))

    # Overlapping Gaussians are almost dependent, and deeptime inverts their covariance as it is: eigenvalues above 1
    # would come of that. The same span without its null directions has none.
    on_sample = gaussians(sample)
    directions = orthonormal(on_sample.T @ on_sample / len(sample), n_known=1)
    span = np.column_stack((np.eye(len(directions), 1), directions))

    def basis(points: np.ndarray) -> np.ndarray:
        return gaussians(points) @ span

    # All eigenvalues of so small a matrix, and then the leading ones: the constant function is among them.
    leading = EDMD(basis).fit_fetch((x, y)).modes[: problem.n_modes + 1].T
    settings = {"centres": len(centres), "functions": span.shape[1], "bandwidth": bandwidth}
    return Learned(in_chunks(lambda frames: basis(transform(frames)) @ leading), settings)


def kernel_edmd(
    problem: Problem,
    n_pairs: int = 2000,
    widths: Sequence[float] = (0.5, 1.0, 2.0),
    regularisations: Sequence[float] = (0.1, 1.0),
) -> Learned:
    """EDMD in the space of a Gaussian kernel, on training pairs drawn at random: it costs N² memory and N³ time.

    The width of the kernel, in medians of the distance between two frames, and the regularisation, added to the
    diagonal of the Gram matrix, are chosen by cross-validation.
    """
    return tuned(problem, partial(_kernel_edmd, n_pairs=n_pairs), width=widths, epsilon=regularisations)


def _kernel_edmd(problem: Problem, n_pairs: int, width: float, epsilon: float) -> Learned:
    transform = slow_coordinates(problem)
    x, y = drawn_pairs(problem, transform, n_pairs)
    bandwidth = width * float(np.median(pdist(x)))
    n_eigenvalues = min(problem.n_modes + 1, len(x) - 2)
    model = KernelEDMD(GaussianKernel(bandwidth), epsilon=epsilon, n_eigs=n_eigenvalues).fit_fetch((x, y))
    settings = {"pairs": len(x), "bandwidth": bandwidth}
    return Learned(in_chunks(lambda frames: model.transform(transform(frames))), settings)
