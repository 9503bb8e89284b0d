"""Test problems with their exact answers, and where the shared trajectories lie."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
REPOSITORY_DATA = Path(__file__).resolve().parents[1] / "data"

EXACT_TIMESCALES = {
    "double-well-2d": (18.0106, 2.0, 1.80011),
    "prinz": (0.834033, 0.126767, 0.065098),
    "double-well": (18.0106,),
}
"""In ps where D = 1 nm²/ps; from an independent hp finite-element computation."""

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared trajectories are not beside this checkout")


def markov_chain(matrix: np.ndarray, n_steps: int, seed: int) -> np.ndarray:
    """States of a realisation of a Markov chain, shape (n_steps,)."""
    random = np.random.default_rng(seed)
    cumulative = matrix.cumsum(axis=1)
    uniform = random.random(n_steps)
    states = np.zeros(n_steps, dtype=int)
    for step in range(1, n_steps):
        states[step] = np.searchsorted(cumulative[states[step - 1]], uniform[step])
    return states


def markov_chains(
    matrix: np.ndarray, n_chains: int, n_steps: int, seed: int, law: np.ndarray | None = None
) -> np.ndarray:
    """The same for many at once, each from the stationary distribution (which may be given), (n_chains, n_steps)."""
    random = np.random.default_rng(seed)
    cumulative = matrix.cumsum(axis=1)[:, :-1]
    uniform = random.random((n_steps, n_chains))
    states = np.empty((n_steps, n_chains), dtype=int)
    states[0] = random.choice(len(matrix), n_chains, p=stationary(matrix) if law is None else law)
    for step in range(1, n_steps):
        states[step] = (uniform[step][:, None] >= cumulative[states[step - 1]]).sum(axis=1)
    return states.T


def stationary(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(matrix.T)
    vector = np.real(vectors[:, np.argmax(np.real(values))])
    return vector / vector.sum()


def passage_times(matrix: np.ndarray, sets: Sequence[Sequence[int]], lag: int) -> np.ndarray:
    """Exact mean first passage times between sets of states of a chain that is looked at every `lag` steps, in steps.

    Row: from, in equilibrium within the set; column: to.
    """
    p, seen = stationary(matrix), np.linalg.matrix_power(matrix, lag)
    times = np.zeros((len(sets), len(sets)))
    for column, target in enumerate(sets):
        others = [state for state in range(len(matrix)) if state not in target]
        to_target = np.zeros(len(matrix))
        to_target[others] = np.linalg.solve(
            np.eye(len(others)) - seen[np.ix_(others, others)], np.full(len(others), lag)
        )
        times[:, column] = [np.average(to_target[list(source)], weights=p[list(source)]) for source in sets]
    return times


# Three metastable pairs of states, detailed balance by construction from symmetric fluxes.
FLUX = np.array(
    [
        [30, 10, 0, 0, 0, 0],
        [10, 30, 0.3, 0, 0, 0],
        [0, 0.3, 20, 8, 0, 0],
        [0, 0, 8, 20, 0.1, 0],
        [0, 0, 0, 0.1, 8, 3],
        [0, 0, 0, 0, 3, 8],
    ]
)
CHAIN = FLUX / FLUX.sum(axis=1, keepdims=True)
PAIRS = [(0, 1), (2, 3), (4, 5)]
"""By falling population."""
LIVELY = np.where(np.isin(FLUX, [0.3, 0.1]), 1.5, FLUX)
LIVELY /= LIVELY.sum(axis=1, keepdims=True)
"""The same with so many passages between the pairs that their times are known to a few per cent."""


def slow_modes(chain: np.ndarray) -> np.ndarray:
    """The two slowest modes, of mean 0 and variance 1, for every state."""
    values, vectors = np.linalg.eig(chain)
    modes = vectors[:, np.argsort(-values.real)[1:3]].real
    p = stationary(chain)
    return (modes - p @ modes) / np.sqrt(p @ modes**2 - (p @ modes) ** 2)


EXCHANGING = np.array([[0.97, 0.02, 0.01], [0.02, 0.97, 0.01], [0.01, 0.01, 0.98]])
"""Three states in equal shares; eigenvalues 1, 0.97 and 0.95."""


def exchanging_frames(n_frames: int) -> np.ndarray:
    """The states of that chain as points in a plane with a little noise, (n_frames, 2)."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    noise = 0.01 * np.random.default_rng(0).normal(size=(n_frames, 2))
    return (corners[markov_chain(EXCHANGING, n_frames, seed=0)] + noise).astype(np.float32)


def blank(record: type, **known: Any) -> Any:
    """A record of which only these fields are filled."""
    return record(**{field.name: None for field in dataclasses.fields(record)} | known)
