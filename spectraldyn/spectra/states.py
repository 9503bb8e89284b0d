"""Metastable sets by PCCA+ on the learned slow modes.

References
----------
Deuflhard, Weber, Linear Algebra Appl. 398 (2005) 161 (inner simplex); Röblitz, Weber, Adv. Data Anal. Classif. 7 (2013)
147 (crispness objective).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.cluster import KMeans

CLUSTERED_ROWS = 50_000
"""Enough to find a hundred centres: five hundred rows for each."""


@dataclass(frozen=True)
class Clusters:
    """k-means clusters in the space of the modes."""

    centres: np.ndarray
    """(n_clusters, n_modes)."""
    assignment: np.ndarray
    """(n_frames,) of int."""
    weight: np.ndarray | None = None
    """(n_frames,): of every frame in averages; None means 1."""


@dataclass(frozen=True)
class MetastableSets:
    """Soft assignment of every frame to metastable sets, the most populated set first."""

    memberships: np.ndarray
    """(n_frames, n_states): rows sum to 1."""
    populations: np.ndarray
    """(n_states,): mean memberships, weighted where frames have weights."""
    transformation: np.ndarray
    """(n_states, n_states): linear map from [1, slowest n_states − 1 modes] to the memberships, before clipping; see
    `memberships_of`."""
    weight: np.ndarray | None = None
    """(n_frames,): of every frame; None means 1."""

    @property
    def assignment(self) -> np.ndarray:
        """State of largest membership of every frame, shape (n_frames,)."""
        return self.memberships.argmax(axis=1)


def cluster_modes(
    modes: np.ndarray, random_state: int, n_clusters: int = 100, weight: np.ndarray | None = None
) -> Clusters:
    """Cluster the rows (n_rows, n_modes) by k-means in the space of the modes.

    Modes have variance 1, so distances are kinetic: a rare state lies many standard deviations away from the rest. The
    centres are found on at most `CLUSTERED_ROWS` of the rows, drawn at random, and every row is assigned once. Rows
    count by their weight (n_rows,) where there is one.
    """
    some, its_weight, random = modes, weight, np.random.default_rng(random_state)
    if len(modes) > CLUSTERED_ROWS:
        chosen = np.sort(random.choice(len(modes), CLUSTERED_ROWS, False))
        some, its_weight = modes[chosen], None if weight is None else weight[chosen]
    distinct = len(np.unique(some[:: max(1, len(some) // 10_000)], axis=0))
    kmeans = KMeans(min(n_clusters, distinct), n_init=1, random_state=random_state).fit(some, sample_weight=its_weight)
    return Clusters(kmeans.cluster_centers_, kmeans.predict(modes), weight)


def metastable_sets(modes: np.ndarray, clusters: Clusters, n_states: int) -> MetastableSets:
    """PCCA+ on the first n_states − 1 modes.

    Memberships are the linear functions of [1, modes] that are as crisp as a partition of unity with values in
    [0, 1] can be. The simplex is found on cluster centres, which average over outliers; memberships of single frames
    that stick out of it are clipped. The modes (n_frames, n_modes) come slowest first; 2 ≤ n_states ≤ n_modes + 1.
    Where a set is left without a frame there are fewer sets, as many as have some.
    """
    sets = _metastable_sets(modes, clusters, n_states)
    while n_states > 2 and not np.bincount(sets.assignment, minlength=n_states).all():
        n_states -= 1
        sets = _metastable_sets(modes, clusters, n_states)
    return sets


def _metastable_sets(modes: np.ndarray, clusters: Clusters, n_states: int) -> MetastableSets:
    """So many sets, some of them possibly without a frame."""
    corners = np.column_stack((np.ones(len(clusters.centres)), clusters.centres[:, : n_states - 1]))
    rotation = _optimise(corners, _inner_simplex(corners))
    memberships = memberships_of(modes, rotation)
    weight = clusters.weight
    populations = memberships.mean(axis=0, dtype=np.float64) if weight is None else weight @ memberships / weight.sum()
    order = np.argsort(-populations)
    return MetastableSets(memberships[:, order], populations[order], rotation[:, order], weight)


@dataclass(frozen=True)
class CoherentSets:
    """Where the sets of a nonreversible process have moved one lag time later.

    Metastable sets keep their place; coherent ones may move, as in driven dynamics, and are pairs: what is in a set at
    one time is in its partner a lag time later. Left singular functions u and right ones v belong to either time, and
    as E[v(y) | x] = σ u(x), memberships that are made of v in the way in which those of the set are made of u are those
    of its partner.

    References
    ----------
    Koltai, Wu, Noé, Schütte, Computation 6 (2018) 22.
    """

    memberships: np.ndarray
    """(n_frames, n_states): of the partners, rows sum to 1."""
    coherence: np.ndarray
    """(n_states,): probability to be in the partner one lag time after the set; 1 for one that nothing leaves or
    enters. NaN without frames a lag time apart."""

    @classmethod
    def of(cls, sets: MetastableSets, right: np.ndarray, starts: np.ndarray, lagtime: int) -> "CoherentSets":
        """From the right singular functions (n_frames, n_modes) and the frames in which a lagged pair starts."""
        partners = memberships_of(right, sets.transformation)
        here, there = sets.memberships[starts], partners[starts + lagtime]
        if sets.weight is not None:
            here = sets.weight[starts, None] * here
        with np.errstate(invalid="ignore"):
            return cls(partners, (here * there).sum(axis=0, dtype=np.float64) / here.sum(axis=0, dtype=np.float64))


def memberships_of(modes: np.ndarray, transformation: np.ndarray) -> np.ndarray:
    """Memberships (n_frames, n_states) of frames with known modes (n_frames, n_modes), also of new ones."""
    # In place, as there may be millions of frames.
    transformation = transformation.astype(modes.dtype)
    memberships = modes[:, : len(transformation) - 1] @ transformation[1:]
    memberships += transformation[0]
    np.clip(memberships, 0, None, out=memberships)
    memberships /= memberships.sum(axis=1, keepdims=True)
    return memberships


def _inner_simplex(vectors: np.ndarray) -> np.ndarray:
    """Transformation (m, m) that maps the m rows furthest apart to the unit vectors."""
    m = vectors.shape[1]
    rest = vectors.copy()
    chosen = [int(np.argmax(np.linalg.norm(rest, axis=1)))]
    rest = rest - rest[chosen[0]]
    for _ in range(1, m):
        distances = np.linalg.norm(rest, axis=1)
        chosen.append(int(np.argmax(distances)))
        direction = rest[chosen[-1]] / distances[chosen[-1]]
        rest = rest - np.outer(rest @ direction, direction)
    return np.linalg.inv(vectors[chosen])


def _optimise(vectors: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Make memberships nonnegative and as crisp as possible (Röblitz & Weber, eqs. 16-19)."""

    def feasible(free: np.ndarray) -> np.ndarray:
        inner = free.reshape(len(rotation) - 1, len(rotation) - 1)
        inner = np.column_stack((-inner.sum(axis=1), inner))
        first = -(vectors[:, 1:] @ inner).min(axis=0)
        return np.vstack((first, inner)) / first.sum()

    def softness(free: np.ndarray) -> float:
        full = feasible(free)
        return -float((full**2 / full[0]).sum())

    best = minimize(softness, rotation[1:, 1:].ravel(), method="Nelder-Mead", options={"maxiter": 2000})
    return feasible(best.x)
