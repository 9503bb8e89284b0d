"""A spring in a heat bath, of which everything is known: what methods are compared on."""

import numpy as np
from scipy.signal import lfilter

TAU, LAG = 30.0, 5


def spring(n_frames: int = 10_000, n_trajectories: int = 3) -> list[np.ndarray]:
    """An Ornstein–Uhlenbeck process of variance 1, sampled exactly: eigenfunctions He_n(x), timescales τ/n."""
    random = np.random.default_rng(5)
    decay = np.exp(-1 / TAU)
    noise = random.normal(size=(n_trajectories, n_frames)) * np.sqrt(1 - decay**2)
    noise[:, 0] = random.normal(size=n_trajectories)
    return [x[:, None] for x in lfilter([1], [1, -decay], noise, axis=1)]
