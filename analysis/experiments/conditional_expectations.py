"""Conditional expectations some steps ahead or back: exact ones of the noisy logistic map, and predicted ones."""

from dataclasses import dataclass

import numpy as np

from spectraldyn.spectra.rayleigh_ritz import Averages, orthonormal
from spectraldyn.systems import NoisyLogisticMap

NODES = 400


@dataclass(frozen=True)
class Law:
    """Averages over the stationary law by quadrature."""

    points: np.ndarray
    """(n,)"""
    weight: np.ndarray
    """(n,): of the stationary law, summing to 1."""
    forward: np.ndarray
    """(n, n): values of g at the points → E[g(x_{t+1}) | x_t] at the points."""
    backward: np.ndarray
    """(n, n): the same of E[g(x_{t−1}) | x_t]."""

    @classmethod
    def of(cls, system: NoisyLogisticMap) -> "Law":
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        points, weights = (nodes + 1) / 2, weights / 2
        weight = weights * system.stationary(points)
        forward = system.transition_density(points[:, None], points) * weights
        return cls(points, weight, forward, (weight[:, None] * forward).T / weight[:, None])

    def averages(self, h: np.ndarray) -> Averages:
        """Moments of functions (n, M) at both ends of a step."""
        gram = h.T @ (self.weight[:, None] * h)
        return gram, h.T @ (self.weight[:, None] * (self.forward @ h)), gram

    def spread(self, values: np.ndarray) -> float:
        """Standard deviation of values at the points."""
        return float(np.sqrt(self.weight @ (values - self.weight @ values) ** 2))

    def size(self, values: np.ndarray) -> float:
        """Root mean square."""
        return float(np.sqrt(self.weight @ values**2))


def predictor(averages: Averages, observed: np.ndarray, n_steps: int, backward: bool) -> list[np.ndarray]:
    """Coefficients (M,) in h of E[o(x_{t±n}) | x_t] for n = 1, ..., n_steps.

    Powers of the projected operator K = ⟨h, h⟩⁻¹ ⟨h, T h⟩ on the range of ⟨h, h⟩, or of its adjoint, with one basis
    h = (1, f, g) at both ends: T maps what g spans to what f spans, so that a product of matrices between f and g would
    be no power of T. `observed` (M,) are the averages ⟨h, o⟩.
    """
    gram = (averages[0] + averages[2]) / 2
    basis = np.hstack((np.eye(len(gram), 1), orthonormal(gram, 1)))
    step = basis.T @ averages[1] @ basis
    step = step.T if backward else step
    coefficients = basis.T @ observed
    result = []
    for _ in range(n_steps):
        coefficients = step @ coefficients
        result.append(basis @ coefficients)
    return result
