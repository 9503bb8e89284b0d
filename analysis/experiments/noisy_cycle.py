"""The process behind ordered digits: 0 → 1 → 2 → 3 → 4 → 0, left at random, and what can be known of its future."""

import numpy as np

N_CLASSES = 5
NOISE = 0.2
"""η: probability with which the next class is drawn from all."""
DIRECTIONS = {"forward": 1, "backward": -1}


def noisy_cycle(n: int, random: np.random.Generator) -> np.ndarray:
    """Classes (n,): on by one with probability 1 − η, else drawn anew."""
    # A class drawn anew is the last one plus a uniform step: all are sums of independent steps.
    steps = np.where(random.random(n) < NOISE, random.integers(N_CLASSES, size=n), 1)
    return (random.integers(N_CLASSES) + np.cumsum(steps)) % N_CLASSES


def most_probable(labels: np.ndarray, n: int, direction: str) -> np.ndarray:
    """Classes n steps after, or before, these: n places on, or back."""
    return (labels + DIRECTIONS[direction] * n) % N_CLASSES


def hit_rate(agreement: float, n: int) -> float:
    """Chance to hit the class that comes n steps later, for predictions that are so often the most probable one.

    After n steps the class is the one n places on with probability (1 − η)ⁿ plus a fifth of the rest, and each of the
    others with a fifth of the rest. With agreement 1 this is the best that any predictor attains.
    """
    kept = (1 - NOISE) ** n
    return kept * agreement + (1 - kept) / N_CLASSES
