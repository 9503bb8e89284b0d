"""How the metastable sets exchange: passage times, committors and reactive fluxes, with error bars.

The learned functions give timescales and sets. How long a passage takes, and along which sets, needs a valid stochastic
matrix: that of a Markov state model on clusters in the space of the modes, which deeptime estimates.

Passages are counted between the *cores* of sets, clusters that surely belong to one: between sets that touch, frames
that merely cross the border to and fro would count as passages, the more the shorter the lag time.

References
----------
E, Vanden-Eijnden, J. Stat. Phys. 123 (2006) 503; Metzner, Schütte, Vanden-Eijnden, Multiscale Model. Simul. 7 (2009)
1192 (transition-path theory); Buchete, Hummer, J. Phys. Chem. B 112 (2008) 6057 (cores); Kube, Weber, J. Chem. Phys.
126 (2007) 024103 (how memberships propagate).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations

import numpy as np
from deeptime.markov import TransitionCountModel
from deeptime.markov.msm import MarkovStateModel
from deeptime.markov.tools.analysis import committor
from deeptime.markov.tools.analysis import mfpt as mean_first_passage_times
from deeptime.markov.tools.estimation import transition_matrix

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra.intervals import (
    LOGARITHM,
    LOGIT,
    MIN_BLOCKS,
    PLAIN,
    Estimates,
    Scale,
    sampling_interval,
    with_refits,
)
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.relearned import RelearnedSets
from spectraldyn.spectra.states import Clusters, MetastableSets
from spectraldyn.spectra.timescales import Timescale, with_rare_events

CORE = 0.8
"""Share of the largest membership of any cluster in a set from which on a cluster belongs to the core of the set."""
N_REPLICATES = 200
"""Bootstrap replicates of the Markov state model."""
LIKELIHOOD_TOLERANCE = 1e-8
REPLICATE_TOLERANCE = 1e-5
"""Of the stationary distribution, where the search for the largest likelihood ends: in a replicate 0.2 % of a passage
time off, at a quarter of the cost."""
MIN_FRAMES = 10
"""Of a cluster outside the two cores, below which its committor has no interval."""
MOST_LOST = 0.1
"""Share of the replicates that may miss a cluster whose committor still has an interval."""


@dataclass(frozen=True)
class Kinetics:
    """Exchange between metastable sets, of which there are n; times are in rows unless it is said to be otherwise."""

    msm: MarkovStateModel | None
    """deeptime's Markov state model of the clusters; None where no clusters are connected in both directions. The
    clusters that are its states are `msm.count_model.state_symbols`."""
    clusters: Clusters
    """In the space of the modes."""
    cores: list[np.ndarray]
    """For every set the clusters of its core."""
    n_passages: np.ndarray
    """(n, n) of int: how often the core of the column's set was reached after that of the row's."""
    mfpt: Estimates
    """(n, n): mean first passage times from row to column: from equilibrium within the core of the one set until the
    core of the other is first seen."""
    fluxes: Estimates
    """(n, n): reactive fluxes, passages from the core of one set to that of another per unit of time, in the steady
    state; as many there as back."""
    committors: dict[tuple[int, int], Estimates]
    """Sets (i, j), i < j → for every cluster the probability that the core of j is reached before that of i."""

    def committor(self, source: int, target: int) -> Estimates:
        """For every cluster the probability that the core of one set is reached before that of another."""
        if source < target:
            return self.committors[source, target]
        value, low, high = self.committors[target, source]
        return Estimates(1 - value, 1 - high, 1 - low)

    def in_time(self, row_time: float) -> "Kinetics":
        """The same in the unit of `row_time`, the time from one row to the next."""
        return replace(self, mfpt=self.mfpt.times(row_time), fluxes=self.fluxes.times(1 / row_time))


def exchange(
    clusters: Clusters,
    sets: MetastableSets,
    stretches: Stretches,
    lagtime: int,
    resampled: tuple[Moments, np.ndarray],
    *,
    reversible: bool,
    refits: Sequence[RelearnedSets] = (),
) -> Kinetics:
    """Kinetics of the metastable sets at a lag time in rows, in rows.

    Parameters
    ----------
    clusters, sets
        Of all rows, stretch after stretch.
    resampled : (Moments, ndarray)
        Blocks, and how often each enters every replicate: see `intervals.block_bootstrap`.
    reversible : bool
        Whether the Markov state model is to have detailed balance.
    refits : sequence of RelearnedSets
        The same from functions that were learned anew, for intervals that hold the errors of learning, too.
    """
    blocks, draws = resampled
    counts = block_counts(clusters, stretches, blocks, lagtime)
    cores, passages = cores_of(clusters, sets), passages_between(sets, stretches)
    msm = markov_model(counts.sum(axis=0), lagtime, reversible, LIKELIHOOD_TOLERANCE)
    value = _Exchange.of(msm, cores, len(counts[0]))

    def replicate(draw: np.ndarray) -> _Exchange:
        again = markov_model(np.tensordot(draw, counts, axes=1), lagtime, reversible, REPLICATE_TOLERANCE)
        return _Exchange.of(again, cores, len(counts[0]))

    replicates = [replicate(draw) for draw in draws[:N_REPLICATES]]
    n_blocks, total = len(blocks.stretch), float(blocks.block_rows.sum())
    # A replicate in which two cores are not connected has seen no passage between them.
    mfpt = _estimates(value.mfpt, [one.mfpt for one in replicates], n_blocks, np.inf, LOGARITHM)
    mfpt = _few_passages(mfpt, passages, total)
    fluxes = _estimates(value.flux, [one.flux for one in replicates], n_blocks, 0.0, LOGARITHM)
    # The few frames of a sparse cluster may agree by chance, and then all replicates do.
    sparse = np.bincount(clusters.assignment, minlength=len(clusters.centres)) < MIN_FRAMES
    committors = {}
    for pair, q in value.committors.items():
        found = _estimates(q, [one.committors[pair] for one in replicates], n_blocks, q, LOGIT)
        unknown = sparse & ~np.isin(np.arange(len(sparse)), np.concatenate([cores[number] for number in pair]))
        committors[pair] = Estimates(q, *np.where(unknown, np.nan, found[1:]))
    kinetics = Kinetics(msm, clusters, cores, passages, mfpt, fluxes, committors)
    if not refits:
        return kinetics
    fixed = [replicate(refit.draw) for refit in refits]
    anew = [_exchange_anew(refit, clusters, stretches, blocks, lagtime, reversible) for refit in refits]
    return _with_learning(kinetics, fixed, anew)


def _exchange_anew(
    refit: RelearnedSets, clusters: Clusters, stretches: Stretches, blocks: Moments, lagtime: int, reversible: bool
) -> "_Exchange":
    """What a refit says of the blocks that it has drawn; committors for the clusters of the fit."""
    counts = np.tensordot(refit.draw, block_counts(refit.clusters, stretches, blocks, lagtime), axes=1)
    msm = markov_model(counts, lagtime, reversible, REPLICATE_TOLERANCE)
    found = _Exchange.of(msm, cores_of(refit.clusters, refit.sets), len(counts))
    n = len(clusters.centres)
    size, own = np.bincount(clusters.assignment, minlength=n), refit.clusters.assignment
    committors = {
        pair: np.bincount(clusters.assignment, q[own], minlength=n) / np.maximum(size, 1)
        for pair, q in found.committors.items()
    }
    return replace(found, committors=committors)


def _with_learning(kinetics: Kinetics, fixed: "list[_Exchange]", anew: "list[_Exchange]") -> Kinetics:
    """Intervals that hold the errors of learning, too: see `learning_error`."""

    def both(estimates: Estimates, of: Callable[[_Exchange], np.ndarray], scale: Scale) -> Estimates:
        return with_refits(estimates, np.stack([of(one) for one in anew]), np.stack([of(one) for one in fixed]), scale)

    def committor(pair: tuple[int, int]) -> Estimates:
        value, *bounds = both(kinetics.committors[pair], lambda one: one.committors[pair], PLAIN)
        return Estimates(value, *np.clip(bounds, 0, 1))

    return replace(
        kinetics,
        mfpt=both(kinetics.mfpt, lambda one: one.mfpt, LOGARITHM),
        fluxes=both(kinetics.fluxes, lambda one: one.flux, LOGARITHM),
        committors={pair: committor(pair) for pair in kinetics.committors},
    )


def propagated_memberships(sets: MetastableSets, modes: np.ndarray, operator: np.ndarray) -> np.ndarray:
    """Matrix (n, n) of the sets over a lag time, from the learned functions alone; rows sum to 1.

    Memberships χ = [1, modes] A propagate as T χ ≈ χ A⁻¹ K A (Kube & Weber), where K = ⟨h, T h⟩ of h = [1, slowest
    n − 1 modes]. Modes are coefficients (M, k) in the functions of which `operator` (M, M) holds ⟨f, T g⟩.
    """
    h = _with_constant(modes, len(sets.populations))
    return np.linalg.solve(sets.transformation, h.T @ operator @ h @ sets.transformation)


def membership_coefficients(sets: MetastableSets, modes: np.ndarray) -> np.ndarray:
    """Coefficients (M, n) of the memberships, before clipping, in the functions in which the modes are given."""
    return _with_constant(modes, len(sets.populations)) @ sets.transformation


def _with_constant(modes: np.ndarray, n_states: int) -> np.ndarray:
    """Coefficients (M, n_states) of [1, slowest n_states − 1 modes]; the constant is the first of the functions."""
    return np.column_stack((np.eye(len(modes))[:, 0], modes[:, : n_states - 1]))


def learned_committor(sets: MetastableSets, matrix: np.ndarray, source: int, target: int) -> np.ndarray:
    """Probability of every frame (n_frames,) to reach one set before another, read off the learned memberships.

    q = Σ_i χ_i q_i, with q_i the committor of set i in the `matrix` of `propagated_memberships`.
    """
    n = len(matrix)
    rest = [number for number in range(n) if number not in (source, target)]
    q = np.zeros(n)
    q[target] = 1.0
    q[rest] = np.linalg.solve(np.eye(len(rest)) - matrix[np.ix_(rest, rest)], matrix[rest, target])
    return np.clip(sets.memberships @ q, 0, 1)


def block_counts(clusters: Clusters, stretches: Stretches, blocks: Moments, lagtime: int) -> np.ndarray:
    """Pairs one lag time apart from cluster to cluster, (n_blocks, n_clusters, n_clusters), by the block of the first.

    Of the concatenated rows; blocks are those of these moments. A pair counts by the weight of the row that it starts
    in.
    """
    n, ends = len(clusters.centres), np.array([s.stop for s in stretches])
    counts = np.zeros((len(blocks.stretch), n, n))
    for number, (stop, rows) in enumerate(zip(np.cumsum(blocks.block_rows), blocks.block_rows, strict=True)):
        start, last = stop - rows, min(stop, ends[blocks.stretch[number]] - lagtime)
        if last > start:
            first, second = (clusters.assignment[start + shift : last + shift] for shift in (0, lagtime))
            weight = None if clusters.weight is None else clusters.weight[start:last]
            counts[number] = np.bincount(n * first + second, weight, minlength=n * n).reshape(n, n)
    return counts


def cores_of(clusters: Clusters, sets: MetastableSets) -> list[np.ndarray]:
    """For every set the clusters that surely belong to it; see `CORE`."""
    size = np.maximum(np.bincount(clusters.assignment, minlength=len(clusters.centres)), 1)
    membership = np.stack(
        [np.bincount(clusters.assignment, m, len(clusters.centres)) / size for m in sets.memberships.T], axis=1
    )
    own = membership.argmax(axis=1)
    sure = membership >= CORE * membership.max(axis=0)
    return [np.flatnonzero((own == number) & sure[:, number]) for number in range(membership.shape[1])]


def passages_between(sets: MetastableSets, stretches: Stretches) -> np.ndarray:
    """How often the core of one set was reached after that of another, (n, n) of int, within the stretches.

    Of the rows: those whose membership is sure in the sense of `CORE`.
    """
    memberships, n = sets.memberships, len(sets.populations)
    own = sets.assignment
    sure = np.take_along_axis(memberships >= CORE * memberships.max(axis=0), own[:, None], axis=1)[:, 0]
    visited = np.where(sure, own, -1)
    counts = np.zeros((n, n), dtype=int)
    for stretch in stretches:
        visits = visited[stretch.start : stretch.stop]
        visits = visits[visits >= 0]
        visits = visits[np.append(True, np.diff(visits) != 0)] if len(visits) else visits
        for a, b in combinations(range(n), 2):
            between = visits[(visits == a) | (visits == b)]
            turns = between[1:][np.diff(between) != 0]
            counts[a, b] += np.count_nonzero(turns == b)
            counts[b, a] += np.count_nonzero(turns == a)
    return counts


def markov_model(counts: np.ndarray, lagtime: int, reversible: bool, tolerance: float) -> MarkovStateModel | None:
    """That of the largest likelihood, of the largest set of clusters that are connected in both directions; None where
    there is none."""
    connected = TransitionCountModel(counts, "sliding", lagtime).submodel_largest()
    if connected.n_states < 2:
        return None
    # What `MaximumLikelihoodMSM` does, which leaves no choice of the method and looks for the connected clusters again.
    method = "sparse" if reversible else "dense"
    estimation = {"reversible": reversible, "maxerr": tolerance, "method": method, "return_statdist": True}
    try:
        matrix, law = transition_matrix(connected.count_matrix, **estimation)
    except RuntimeError:  # where so few transitions connect the clusters that the likelihood has no maximum within them
        return None
    return MarkovStateModel(matrix, law, reversible=reversible, count_model=connected)


@dataclass(frozen=True)
class _Exchange:
    """What one Markov state model says: arrays as in `Kinetics`, in rows."""

    mfpt: np.ndarray
    flux: np.ndarray
    committors: dict[tuple[int, int], np.ndarray]

    @classmethod
    def of(cls, msm: MarkovStateModel | None, cores: list[np.ndarray], n_clusters: int) -> "_Exchange":
        n = len(cores)
        mfpt, flux = np.full((n, n), np.nan), np.full((n, n), np.nan)
        np.fill_diagonal(mfpt, 0.0)
        committors = {pair: np.full(n_clusters, np.nan) for pair in combinations(range(n), 2)}
        if msm is not None:
            matrix, law, lag = msm.transition_matrix, msm.stationary_distribution, msm.lagtime
            states = [np.flatnonzero(np.isin(msm.count_model.state_symbols, core)) for core in cores]
            found = [number for number in range(n) if len(states[number])]
            for b in found:
                hitting = lag * mean_first_passage_times(matrix, states[b])
                for a in found:
                    mfpt[a, b] = np.average(hitting[states[a]], weights=law[states[a]])
            for a, b in combinations(found, 2):
                q = committor(matrix, states[a], states[b])
                # In the steady state as many go there as back.
                flux[a, b] = flux[b, a] = law[states[a]] @ matrix[states[a]] @ q / lag
                committors[a, b][msm.count_model.state_symbols] = q
        return cls(mfpt, flux, committors)


def _estimates(
    value: np.ndarray, replicates: list[np.ndarray], n_blocks: int, missing: float | np.ndarray, scale: Scale
) -> Estimates:
    """A value with intervals from its replicates, in which this stands for what is missing."""
    nothing = np.full(value.shape, np.nan)
    if not replicates:
        return Estimates(value, nothing, nothing)
    lost = np.isnan(replicates)
    low, high = sampling_interval(value, np.where(lost, missing, replicates), n_blocks, scale)
    unknown = np.isnan(value) | (lost.mean(axis=0) > MOST_LOST)
    low, high = (np.where(np.isfinite(bound) & ~unknown, bound, np.nan) for bound in (low, high))
    return Estimates(value, low, high)


def _few_passages(mfpt: Estimates, n_passages: np.ndarray, total: float) -> Estimates:
    """Intervals widened where passages are few; see `with_rare_events`."""
    low, high = mfpt.low.copy(), mfpt.high.copy()
    for pair in permutations(range(len(n_passages)), 2):
        if np.isfinite(mfpt.value[pair]):
            lower, upper = (float(bound[pair]) if np.isfinite(bound[pair]) else None for bound in (low, high))
            scale = Timescale(float(mfpt.value[pair]), lower, upper, int(n_passages[pair]))
            scale = with_rare_events(scale, MIN_BLOCKS, total)
            low[pair], high[pair] = (np.nan if bound is None else bound for bound in (scale.low, scale.high))
    return Estimates(mfpt.value, low, np.where(high > total, np.nan, high))
