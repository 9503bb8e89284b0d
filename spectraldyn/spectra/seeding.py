"""From where further runs would tell most of the slowest timescale.

An eigenvalue of a Markov state model is uncertain because the transitions out of every state have been seen only so
often. To first order its variance is a sum over states, each part of which falls with the number of transitions out of
its state. A run that begins in a state adds transitions there and in those that it comes to, which the model foretells.

References
----------
Hinrichs, Pande, J. Chem. Phys. 126 (2007) 244101 (variance of an eigenvalue by states, and runs that reduce it most).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from spectraldyn.data.stretches import Stretches, pair_starts
from spectraldyn.errors import InputError
from spectraldyn.spectra.kinetics import LIKELIHOOD_TOLERANCE, markov_model
from spectraldyn.spectra.states import Clusters

NEVER_SEEN = 0.5
"""Transitions that are taken to have been seen between clusters that must be connected and were not seen to be."""


@dataclass(frozen=True)
class Starts:
    """Rows from which to start further runs, the most useful first."""

    rows: np.ndarray
    """(n,) of int, no two the same."""
    clusters: np.ndarray
    """(n,) of int: in which these rows are."""
    exits: np.ndarray
    """(n,) of int: how often the cluster has been left."""
    bridged: np.ndarray
    """(n,) of bool: whether the way between the cluster and others is taken for granted; see `NEVER_SEEN`."""
    timescale: float
    """The slowest one of the Markov state model, in rows."""
    errors: np.ndarray
    """(n + 1,): its relative standard error without further runs, after the first one, ..."""


def best_starts(
    modes: np.ndarray,
    clusters: Clusters,
    stretches: Stretches,
    lagtime: int,
    n_starts: int,
    run_rows: float,
    *,
    reversible: bool = True,
) -> Starts:
    """Rows from which runs of that length would reduce the error of the slowest timescale most, one after the other.

    Each run is taken to bring the transitions that the model expects of it; the next one is chosen as if they had been
    seen. In a cluster the rows come from the stretches that have been used least, the nearest to its centre first.

    Parameters
    ----------
    modes : ndarray (n_rows, n_modes)
    clusters : Clusters
        In the space of the modes, of all rows.
    stretches : sequence of range
        Uninterrupted runs of rows.
    lagtime, run_rows : int, float
        Lag time of the model, and length of the runs to come, in rows.
    n_starts : int
    reversible : bool
        Whether the model has detailed balance.

    Raises
    ------
    InputError
        If there are fewer rows than runs, or no Markov state model or no process in it.
    """
    if len(modes) < n_starts:
        raise InputError(f"{n_starts} runs are asked for, and there are only {len(modes)} frames to start from")
    counts, bridged = connected_counts(clusters, stretches, lagtime)
    model = markov_model(counts, lagtime, reversible, LIKELIHOOD_TOLERANCE)
    if model is None or len(counts) != model.n_states:
        raise InputError("the frames make no Markov state model, from which to tell where runs are wanting: fit again")
    value, by_state = eigenvalue_variances(model.transition_matrix)
    if not 0 < value < 1:
        raise InputError("the Markov state model has no slow process: there is no timescale that runs could improve")
    seen = counts.sum(axis=1) / lagtime  # pairs of neighbouring frames are nearly copies of each other
    added = expected_transitions(model.transition_matrix, max(1, round(run_rows / lagtime) - 1))
    stretch = np.repeat(np.arange(len(stretches)), [len(stretch) for stretch in stretches])
    off = ((modes - clusters.centres[clusters.assignment]) ** 2).sum(axis=1)
    free, used = np.ones(len(modes), dtype=bool), np.zeros(len(stretches), dtype=int)
    rows, variances = [], [(by_state / seen).sum()]
    for _ in range(n_starts):
        after = (by_state / (seen + added)).sum(axis=1)
        after[np.bincount(clusters.assignment[free], minlength=len(seen)) == 0] = np.inf
        best = int(after.argmin())
        members = np.flatnonzero(free & (clusters.assignment == best))
        row = members[np.lexsort((off[members], used[stretch[members]]))[0]]
        free[row] = False
        used[stretch[row]] += 1
        rows.append(row)
        seen = seen + added[best]
        variances.append(after[best])
    chosen = clusters.assignment[rows]
    # t = −τ / ln λ, of which dt/t = dλ / (λ |ln λ|)
    timescale, errors = -lagtime / np.log(value), np.sqrt(variances) / (value * -np.log(value))
    exits = _exits(clusters, stretches)[chosen]
    return Starts(np.array(rows), chosen, exits, bridged[chosen], float(timescale), errors)


def connected_counts(clusters: Clusters, stretches: Stretches, lagtime: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs a lag time apart from cluster to cluster, (n_clusters, n_clusters), and which clusters (n_clusters,) had
    to be connected.

    Clusters that cannot be reached, or not be left again, have no place in a Markov state model, and yet it may be
    them that further runs are wanting from. Each group of those is connected with the rest where it comes nearest, by
    `NEVER_SEEN` transitions there and as many back.
    """
    n, starts = len(clusters.centres), pair_starts(stretches, lagtime)
    pairs = n * clusters.assignment[starts] + clusters.assignment[starts + lagtime]
    counts = np.bincount(pairs, minlength=n * n).reshape(n, n).astype(float)
    apart, bridged = cdist(clusters.centres, clusters.centres), np.zeros(n, dtype=bool)
    while True:
        n_groups, group = connected_components(counts, connection="strong")
        if n_groups == 1:
            return counts, bridged
        mine = group == np.bincount(group, np.bincount(clusters.assignment, minlength=n)).argmin()
        gaps = np.where(mine[:, None] & ~mine, apart, np.inf)
        a, b = np.unravel_index(gaps.argmin(), gaps.shape)
        counts[a, b] += NEVER_SEEN * lagtime
        counts[b, a] += NEVER_SEEN * lagtime
        bridged[[a, b]] = True


def eigenvalue_variances(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest modulus |λ| below 1 of the eigenvalues of a stochastic matrix, and how its variance arises.

    ∂λ/∂P_ij = φ_i ψ_j with left and right eigenvectors of φ·ψ = 1, and so ∂|λ|/∂P_ij = Re(φ_i ψ_j λ*/|λ|). Row i, out
    of which n transitions have been seen, has to first order the covariance (diag(p) − p pᵀ) / n, and rows are
    independent of each other. With detailed balance and runs from equilibrium that is also the variance where detailed
    balance is imposed; for other runs it is an upper bound.

    Returns
    -------
    float, ndarray (n,)
        |λ|, and for every row its part of the variance times the transitions seen out of it.
    """
    values, right = np.linalg.eig(matrix)
    second = int(np.argsort(-abs(values))[1])
    value = values[second]
    left = np.linalg.inv(right)[second]
    slope = np.real(np.outer(left, right[:, second]) * np.conj(value) / abs(value))
    return float(abs(value)), (matrix * slope**2).sum(axis=1) - (matrix * slope).sum(axis=1) ** 2


def expected_transitions(matrix: np.ndarray, n_steps: int) -> np.ndarray:
    """Transitions (n, n) out of the state of the column that so many steps from the state of the row are to bring.

    Σ_{k < n_steps} P^k, a block of the power of [[P, 1], [0, 1]].
    """
    n = len(matrix)
    one = np.eye(n)
    return np.linalg.matrix_power(np.block([[matrix, one], [np.zeros_like(one), one]]), n_steps)[:n, n:]


def _exits(clusters: Clusters, stretches: Stretches) -> np.ndarray:
    """How often each cluster has been left, (n_clusters,) of int."""
    starts = pair_starts(stretches, 1)
    here, there = clusters.assignment[starts], clusters.assignment[starts + 1]
    return np.bincount(here[here != there], minlength=len(clusters.centres))
