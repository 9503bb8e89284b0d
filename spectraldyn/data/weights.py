"""Importance weights of rows."""

import numpy as np


def effective_sample_size(weight: np.ndarray) -> float:
    """How many rows of equal weight average as well as these weights (n,), (Σ w)² / Σ w²; 0 where all are 0.

    References
    ----------
    Kish, "Survey sampling" (Wiley, 1965), section 11.7.
    """
    largest = weight.max(initial=0)
    if largest == 0:
        return 0.0
    share = weight / largest  # squares of very small or large numbers would be 0 or infinite
    return float(share.sum() ** 2 / (share**2).sum())
