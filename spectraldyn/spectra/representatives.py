"""Rows that show metastable sets and processes: pure functions of modes and memberships.

Modes have variance 1 over the data, and distances between rows are taken in the space of all modes. All is done in
single precision, in which results are stored, so that a fit and its stored results give the same rows.
"""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

LOOKED_AT = 2_000
"""Members of a set, evenly picked, of which all distances to each other are taken."""
LOOKED_AT_ALONG = 200
"""Frames nearest to each value of a mode among which a path along it is looked for."""
ENDS = (0.0005, 0.9995)
"""Quantiles of a mode at which its range ends, as where transitions are counted."""
DETOUR = 30.0
"""By how much a path may be longer, for each mode, so as to visit all parts of the range: as fifteen squared steps
between frames at random, as modes have variance 1."""
AT_THE_END = 0.1
"""Part of the way between the ends of a mode within which a set counts as at an end."""
OF_BOTH_ENDS = 0.8
"""Membership in the sets at both ends that a frame must have to lie between them."""
OFF_HALF = 0.1
"""How far a committor may be from ½ at the transition state."""


def set_frames(modes: np.ndarray, memberships: np.ndarray, n_frames: int, random_state: int) -> list[np.ndarray]:
    """Rows that show each metastable set: its most probable frame, its medoid, then a spread over its core.

    The most probable frame is the member around which the members lie most densely. It stands for the set where one
    frame has to: it is at the bottom of a basin, while the medoid, the member with the least mean distance to all
    members, may lie between two basins that make up one set. The others are nearest to the centres of k-means among
    the half of the members with the larger memberships, away from the borders of the set.

    Parameters
    ----------
    modes : ndarray (n_rows, n_modes)
    memberships : ndarray (n_rows, n_sets)
    n_frames : int
        Rows wanted of each set.
    random_state : int
        Seed of k-means.

    Returns
    -------
    list of ndarray (n,) of int
        One for every set, of n_frames rows or of as many as there are. Medoid and most probable frame may be one row,
        which then stands twice; no other row is repeated.
    """
    modes, memberships = (np.asarray(values, dtype=np.float32) for values in (modes, memberships))
    assignment = memberships.argmax(axis=1)
    return [
        _set_frames(modes, memberships[:, number], np.flatnonzero(assignment == number), n_frames, random_state)
        for number in range(memberships.shape[1])
    ]


def _set_frames(
    modes: np.ndarray, membership: np.ndarray, members: np.ndarray, n_frames: int, random_state: int
) -> np.ndarray:
    if not len(members):
        return members
    members = _evenly(members, max(LOOKED_AT, n_frames))
    points = modes[members]
    distances = cdist(points, points)
    # Where several are equally dense, as among states of a chain, that in their midst.
    middle = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    chosen = members[[np.lexsort((middle, _sparsity(distances)))[0], distances.mean(axis=1).argmin()]]
    others = members[~np.isin(members, chosen)]
    spread = _spread(modes, membership, others, n_frames - len(chosen), random_state)
    return np.concatenate((chosen, spread))[:n_frames]


def _sparsity(distances: np.ndarray) -> np.ndarray:
    """How far the neighbours of every point reach, (n,), from all distances between them: the farther, the sparser."""
    neighbour = int(np.sqrt(len(distances) - 1))
    return np.partition(distances, neighbour, axis=1)[:, neighbour]


def _spread(
    modes: np.ndarray, membership: np.ndarray, rows: np.ndarray, n_frames: int, random_state: int
) -> np.ndarray:
    """So many of the rows, or all, nearest to centres of k-means in their core, the largest cluster first."""
    if n_frames <= 0 or len(rows) <= n_frames:
        return rows[: max(n_frames, 0)]
    least = np.sort(membership[rows])[-max(len(rows) // 2, n_frames)]
    core = rows[membership[rows] >= least]
    n_clusters = min(n_frames, len(np.unique(modes[core], axis=0)))
    kmeans = KMeans(n_clusters, n_init=1, random_state=random_state).fit(modes[core])
    off = np.linalg.norm(modes[core] - kmeans.cluster_centers_[kmeans.labels_], axis=1)
    clusters = [np.flatnonzero(kmeans.labels_ == label) for label in np.unique(kmeans.labels_)]
    picked = core[[mine[off[mine].argmin()] for mine in sorted(clusters, key=len, reverse=True)]]
    # Fewer distinct points than frames wanted: further frames at the same points.
    return np.concatenate((picked, core[~np.isin(core, picked)]))[:n_frames]


def frames_along(modes: np.ndarray, number: int, n_frames: int) -> np.ndarray:
    """Rows along one mode from its lower end to its upper one, which rise in its value.

    The range of the mode between the quantiles `ENDS` is cut into parts around n_frames even values, and the rows come
    from different parts, each from those nearest to the value. They make the path along which the other modes change
    least, in the sum of its squared steps, and that keeps to where the frames of a part are dense. It leaves out a part
    where the way there is too long for it (`DETOUR`): frames that lie elsewhere and have the same value of the mode by
    chance, as those of another set may, are not on it.

    Parameters
    ----------
    modes : ndarray (n_rows, n_modes)
    number : int
        Column of the mode.
    n_frames : int
        Rows wanted.

    Returns
    -------
    ndarray (n,) of int
        n ≤ n_frames: there may be parts without a frame on the path.
    """
    modes = np.asarray(modes, dtype=np.float32)
    low, high = np.quantile(modes[:, number], ENDS)
    price = DETOUR * modes.shape[1] / n_frames
    spacing = (high - low) / max(n_frames - 1, 1) or 1.0
    part = np.rint((modes[:, number] - low) / spacing)
    off = (modes[:, number] - low - part * spacing) ** 2
    found = [np.flatnonzero(part == i) for i in range(n_frames)]
    parts = [some[np.argsort(off[some], kind="stable")[:LOOKED_AT_ALONG]] for some in found if len(some)]
    rows, place = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(some) for some in parts])
    others = modes[rows]
    others[:, number] = 0
    cost, origin = off[rows], np.full(len(rows), -1)
    for i in range(len(parts)):
        before, here = np.flatnonzero(place < i), np.flatnonzero(place == i)
        cost[here] += _sparsity(cdist(others[here], others[here])) ** 2
        cost[here] -= cost[here].min()  # chooses within a part; that frames are few there is no detour
        if len(before):
            left_out = price * (i - 1 - place[before])
            steps = (cost[before] + left_out)[:, None] + cdist(others[before], others[here], "sqeuclidean")
            origin[here] = steps.argmin(axis=0)
            cost[here] += steps.min(axis=0)
    last = np.flatnonzero(place == len(parts) - 1)
    path = [int(last[cost[last].argmin()])]
    while origin[path[-1]] >= 0:
        path.append(int(origin[path[-1]]))
    return rows[path[::-1]]


def committor_between_ends(memberships: np.ndarray, mode: np.ndarray) -> np.ndarray:
    """Committor from the sets at the lower end of a mode to those at its upper end, read off their memberships.

    Where two sets are metastable, the committor is linear in the slow mode that tells them apart (Berezhkovskii &
    Szabo, J. Chem. Phys. 121 (2004) 9186), and so are their memberships: it is the share that the second has of both.
    A set belongs to an end where its mean of the mode is no farther from it than `AT_THE_END` of the distance between
    both.

    Parameters
    ----------
    memberships : ndarray (n_rows, n_sets)
    mode : ndarray (n_rows,)

    Returns
    -------
    ndarray (n_rows,)
        NaN where sets at neither end have more than 1 − `OF_BOTH_ENDS` of the membership.
    """
    means = mode @ memberships / memberships.sum(axis=0)
    along = (means - means.min()) / (np.ptp(means) or 1)
    first, second = (memberships[:, end].sum(axis=1) for end in (along <= AT_THE_END, along >= 1 - AT_THE_END))
    both = first + second
    return np.where(both >= OF_BOTH_ENDS, second / np.maximum(both, OF_BOTH_ENDS), np.nan)


def transition_frames(committor: np.ndarray, n_frames: int) -> np.ndarray:
    """Rows at a transition state: those of a committor (n_rows,) nearest to ½, none farther than `OFF_HALF` from it.

    NaN is no committor. There may be fewer than n_frames, or none.
    """
    off = np.abs(committor - 0.5)
    near = np.flatnonzero(off <= OFF_HALF)
    return near[np.argsort(off[near], kind="stable")][:n_frames]


def _evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly picked."""
    return rows[:: -(-len(rows) // most)]
