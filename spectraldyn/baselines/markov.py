"""Markov state model on k-means clusters, with Bayesian error bars.

Prinz et al., J. Chem. Phys. 134 (2011) 174105; Trendelkamp-Schroer et al., J. Chem. Phys. 143 (2015) 174101 (reversible
posterior).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from deeptime.clustering import KMeans
from deeptime.markov import TransitionCountEstimator
from deeptime.markov.msm import BayesianMSM, MaximumLikelihoodMSM

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import real_parts, slow_coordinates, tuned
from spectraldyn.spectra.intervals import CONFIDENCE
from spectraldyn.spectra.timescales import Timescale, unresolved_reason


def msm(problem: Problem, n_clusters: Sequence[int] = (25, 50, 100, 150, 200, 300), n_samples: int = 100) -> Learned:
    """Maximum-likelihood Markov state model: its eigenvectors as functions, its own timescales with Bayesian intervals.

    The number of clusters is chosen by cross-validation; the 95 % intervals are of `n_samples` of the posterior.
    """
    return tuned(problem, partial(_msm, n_samples=n_samples), clusters=n_clusters)


def _msm(problem: Problem, n_samples: int, clusters: int) -> Learned:
    transform = slow_coordinates(problem)
    points = [transform(part) for part in problem.trajectories]
    n_clusters = min(clusters, sum(map(len, points)))
    centres = KMeans(n_clusters, fixed_seed=problem.seed, n_jobs=1).fit_fetch(np.concatenate(points))

    def assign(frames: np.ndarray) -> np.ndarray:
        return centres.transform(transform(frames))

    model = _model([centres.transform(part) for part in points], problem.lagtime, problem.reversible)
    n_vectors = min(problem.n_modes + 1, model.n_states)
    # Clusters outside the connected set get the mean, zero.
    values = np.zeros((n_clusters, n_vectors - 1), dtype=complex)
    values[model.count_model.state_symbols] = model.eigenvectors_right(n_vectors)[:, 1:]
    table = real_parts(values if np.any(values.imag) else values.real)
    return Learned(
        functions=lambda frames: table[assign(frames)],
        settings={"states": int(model.n_states), "posterior samples": n_samples},
        own_timescales=lambda trajectories: _timescales([assign(part) for part in trajectories], problem, n_samples),
    )


def _model(trajectories: list[np.ndarray], lagtime: int, reversible: bool) -> Any:
    """Maximum-likelihood model of the largest connected set, from the cluster of every frame of the trajectories."""
    counts = TransitionCountEstimator(lagtime, "sliding").fit_fetch(trajectories).submodel_largest()
    if counts.n_states < 2:
        raise ValueError("no two clusters are connected by transitions in both directions")
    return MaximumLikelihoodMSM(reversible=reversible).fit_fetch(counts)


def _timescales(trajectories: list[np.ndarray], problem: Problem, n_samples: int) -> list[Timescale]:
    """Maximum-likelihood timescales in frames; the 95 % intervals of a posterior given effective counts.

    deeptime asks for effective counts, as overlapping windows would make the intervals too narrow.
    """
    lag = problem.lagtime
    total = sum(map(len, trajectories))
    usable = [part for part in trajectories if len(part) > lag]
    model = _model(usable, lag, problem.reversible)
    effective = TransitionCountEstimator(lag, "effective").fit_fetch(usable).submodel_largest()
    posterior = BayesianMSM(n_samples=n_samples, reversible=problem.reversible).fit_fetch(effective)
    values = model.timescales(min(problem.n_modes, model.n_states - 1))
    sampled = posterior.evaluate_samples("timescales", k=min(problem.n_modes, effective.n_states - 1))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.array(sampled), [tail, 100 - tail], axis=0)
    return [
        Timescale(
            value=float(value) if 0 < value <= total else None,
            low=float(low[k]) if k < len(low) else None,
            high=float(high[k]) if k < len(high) and high[k] < total else None,
            unresolved=unresolved_reason(value, lag, total),
        )
        for k, value in enumerate(values)
    ]
