"""Regular grids of cells in one and two dimensions: function values on them, interpolation and draws between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline, RectBivariateSpline
from torch import Tensor

from spectraldyn.errors import InputError

Domain = tuple[tuple[float, float], ...]
Function = Callable[[Tensor], Tensor]  # maps states (..., d) to one number each (...)

PAD = 4
"""Cells by which a periodic grid is continued: beyond the reach of a cubic spline within double precision's grasp."""


def checked_domain(domain: Iterable[Iterable[float]]) -> Domain:
    """One (low, high) pair per axis, as a tuple of pairs of floats; InputError where it is not that."""
    try:
        pairs = tuple((float(low), float(high)) for low, high in domain)
    except (TypeError, ValueError):
        raise InputError(f"domain is {domain!r}: give one (low, high) pair per axis") from None
    for low, high in pairs:
        if not (np.isfinite([low, high]).all() and low < high):
            raise InputError(f"domain has the interval ({low:g}, {high:g}): both ends must be finite and low < high")
    if not pairs:
        raise InputError("domain is empty: give one (low, high) pair per axis")
    return pairs


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells of equal size that fill a box, `shape` of them along its axes, whose ends meet where it is periodic."""

    domain: Domain
    shape: tuple[int, ...]
    periodic: bool = False

    @property
    def steps(self) -> np.ndarray:
        """Size of the cells per axis."""
        return np.array([(high - low) / n for (low, high), n in zip(self.domain, self.shape, strict=True)])

    def axis(self, k: int, pad: int = 0) -> np.ndarray:
        """Centres of the cells along axis k, and of `pad` more at either end."""
        return self.domain[k][0] + self.steps[k] * (np.arange(-pad, self.shape[k] + pad) + 0.5)

    def points(self) -> np.ndarray:
        """Centres of the cells; shape (*shape, d)."""
        return np.stack(np.meshgrid(*map(self.axis, range(len(self.shape))), indexing="ij"), axis=-1)

    def faces(self, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centres (m, d) of the faces across an axis, and the flat numbers (m,) of the cells below and above them."""
        points = self.points()
        points[..., axis] += self.steps[axis] / 2
        lower = np.arange(np.prod(self.shape)).reshape(self.shape)
        upper = np.roll(lower, -1, axis=axis)
        if not self.periodic:
            points, lower, upper = (np.delete(array, -1, axis=axis) for array in (points, lower, upper))
        return points.reshape(-1, len(self.shape)), lower.ravel(), upper.ravel()

    def interpolate(self, values: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Cubic interpolation of values (*shape) at the cell centres to points (n, d); shape (n,).

        Points beyond the box get the value at its nearest end, or of their periodic image.
        """
        low, high = np.transpose(self.domain)
        pad = 0
        if self.periodic:
            pad, points = PAD, low + (points - low) % (high - low)
            values = np.pad(values, pad, mode="wrap")
        axes = [self.axis(k, pad) for k in range(len(self.shape))]
        inside = np.clip(points, low, high)
        if len(axes) == 1:
            return CubicSpline(axes[0], values)(inside[:, 0])
        return RectBivariateSpline(axes[0], axes[1], values)(inside[:, 0], inside[:, 1], grid=False)

    def draw(self, log_density: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Independent draws (n, d), by the inverse of the cumulative distribution over the cells.

        The density, whose logarithm (*shape) is given up to a constant, is taken as uniform within a cell; the error
        that this makes in moments falls as the size of the cells squared.
        """
        cumulative = np.cumsum(np.exp(log_density - log_density.max()))
        random = np.random.default_rng(seed)
        cells = np.searchsorted(cumulative, random.random(n) * cumulative[-1])
        corners = np.stack(np.unravel_index(cells, self.shape), axis=1)
        low = np.array([low for low, _ in self.domain])
        return low + self.steps * (corners + random.random(corners.shape))


def on_points(function: Function, points: np.ndarray) -> np.ndarray:
    """Values (...) in float64 of a torch function at points (..., d)."""
    with torch.no_grad():
        values = function(torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64)))
    if not isinstance(values, Tensor) or values.shape != points.shape[:-1]:
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        wanted = f"it must map a tensor of states (..., {points.shape[-1]}) to one number each (...)"
        raise InputError(f"a function of the system gives {shape} for states of shape {points.shape}: {wanted}")
    return values.numpy().astype(np.float64)
