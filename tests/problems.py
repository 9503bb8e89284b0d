"""Test problems with their exact answers, and where the shared trajectories lie."""

from pathlib import Path

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


def stationary(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(matrix.T)
    vector = np.real(vectors[:, np.argmax(np.real(values))])
    return vector / vector.sum()
