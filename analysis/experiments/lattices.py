"""Lattices in the unit cube, each shifted at random: rules to average over.

Single points are evenly distributed, and averages over a lattice vary far less than averages over as many independent
points (Cranley, Patterson, SIAM J. Numer. Anal. 13 (1976) 904). scipy.stats.qmc has no lattices, and scrambles anew in
NumPy for every batch.
"""

import math

import numpy as np
import torch
from torch import Tensor


def fibonacci_lattices(n_rows: int, n_parts: int, size: int, generator: torch.Generator) -> Tensor:
    """In the unit square, (rows, parts, size, 2), at least one row; `size` is a Fibonacci number."""
    index = torch.arange(size, device=generator.device)
    step = round(size * (math.sqrt(5) - 1) / 2)
    points = torch.stack((index / size, index * step % size / size), dim=1)
    return _shifted(points, (max(1, n_rows), n_parts), generator)


def kronecker_lattices(n_rows: int, size: int, dimension: int, generator: torch.Generator) -> Tensor:
    """In any dimension, (rows, size, d), at least one row.

    The points are multiples of powers of 1/g, where g^(d+1) = g + 1, modulo 1: an additive recurrence with badly
    approximable numbers (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).
    """
    g = float(np.real(np.roots([1.0, *[0.0] * (dimension - 1), -1.0, -1.0])).max())
    steps = g ** -torch.arange(1, dimension + 1, dtype=torch.float64, device=generator.device)
    points = torch.arange(size, dtype=torch.float64, device=generator.device)[:, None] * steps
    return _shifted(points, (max(1, n_rows),), generator)


def _shifted(points: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Copies of the points (size, d), each with a shift of its own, modulo 1: (*shape, size, d)."""
    shift = torch.rand(*shape, 1, points.shape[1], dtype=points.dtype, generator=generator, device=generator.device)
    # Never quite 0 or 1, where laws that reach to infinity have their ends.
    return ((points + shift) % 1.0).clamp(1e-6, 1 - 1e-6)
