"""Eigenvalues of the kinetic generator, which is not self-adjoint, read off learned functions.

Functions are split into parts even and odd in the velocities, e = (h + Rh)/2 and o = (h − Rh)/2 with the momentum flip
R. The generator is L = A + S: A, the motion without friction, is antisymmetric and changes the parity; S, friction and
noise, is symmetric, ⟨f, S g⟩ = −(γkT/m) ⟨∇ᵥf, ∇ᵥg⟩, and keeps it. On the span of (e, o), with s = √(γkT/m) ∇ᵥ, it is
the matrix

    −⟨s e, s e⟩   −⟨Ae, o⟩
     ⟨o, Ae⟩      −⟨s o, s o⟩

beside the masses ⟨e, e⟩ and ⟨o, o⟩, from first derivatives alone. A span that holds Rh with every h holds with an
eigenfunction ψ the left one, Rψ: eigenvalues err to second order in the functions. The matrix is dissipative on any
sample, as the generator is: all its eigenvalues decay.

References
----------
Saad, "Numerical methods for large eigenvalue problems", SIAM 2011, ch. 3 and 4, for residuals and oblique projection;
Pavliotis, "Stochastic processes and applications", Springer 2014, ch. 6, for the structure of the generator.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eig

from spectraldyn.spectra import intervals
from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes, orthonormal

MOST_RESIDUAL = 0.5
"""Of ‖(M − μ)ψ‖ / ‖μψ‖ for M = 1 − L/η and its eigenvalue μ: beyond, ψ is no eigenfunction."""


@dataclass(frozen=True)
class KineticAverages:
    """What the generator does to b = [1, e, o], of n even and n odd functions, on all states; (1 + 2n, 1 + 2n) each."""

    moments: Moments
    """By block: ⟨b, b⟩ as `left` and `right`, and the matrix above as `operator`."""
    generated: np.ndarray
    """⟨b, Lb⟩ with L b as it is, second derivatives and all."""
    generated_twice: np.ndarray
    """⟨Lb, Lb⟩."""

    def leading(self, n: int) -> np.ndarray:
        """Places in b of the constant and of the parts of the first n functions."""
        half = len(self.generated) // 2
        return np.concatenate(([0], 1 + np.arange(n), 1 + half + np.arange(n)))


@dataclass(frozen=True)
class Eigenvalue:
    """One eigenvalue λ of a generator; a conjugate pair is one, with the positive imaginary part."""

    value: complex
    residual: float
    """‖Lψ − λψ‖ / ‖ψ‖, a rate: 0 for an eigenfunction."""
    sampling: float | None
    """Half width of the 95 % interval of the rate from resampled blocks; None where these are too few."""
    learning: float
    """By how much λ changes where only the leading half of the functions may be used: how far it has converged."""
    unresolved: str | None = None
    """Why the value must not be trusted; None where it may be."""

    @property
    def rate(self) -> float:
        """−Re λ: relaxation per unit of time."""
        return -self.value.real

    @property
    def period(self) -> float | None:
        """2π / Im λ; None of a real one."""
        return 2 * np.pi / self.value.imag if self.value.imag else None

    @property
    def interval(self) -> Bounds:
        """Of the rate: errors of sampling and learning, in quadrature."""
        if self.sampling is None:
            return Bounds(None, None)
        half = float(np.hypot(self.sampling, self.learning))
        return Bounds(self.rate - half, self.rate + half)


def kinetic_eigenvalues(
    averages: KineticAverages, shift: float, n_modes: int, correlation_rows: float, random_state: int
) -> tuple[list[Eigenvalue], np.ndarray]:
    """The n eigenvalues nearest to the shift η, and the coefficients in b, (1 + 2n, n), of their functions, of norm 1.

    Those that must not be trusted come after all others.

    Parameters
    ----------
    averages : KineticAverages
    shift : float
        η, a rate.
    n_modes : int
        Conjugate pairs count once.
    correlation_rows : float
        Over how many successive states these remember each other; 0 where they are independent.
    random_state : int
    """
    values, left, right = _solved(averages, len(averages.generated) // 2)
    halved = _solved(averages, max(1, len(averages.generated) // 4))[0]
    squares = _quadratic(averages.generated_twice, right).real + np.abs(values) ** 2
    squares -= 2 * (values.conj() * _quadratic(averages.generated, right)).real
    residuals = np.sqrt(np.clip(squares, 0, None))
    doubts = [_doubt(residual / abs(shift - value)) for residual, value in zip(residuals, values, strict=True)]
    single = [k for k in range(len(values)) if values[k].imag >= 0]
    kept = sorted(single, key=lambda k: (doubts[k] is not None, abs(shift - values[k])))[:n_modes]
    modes = Eigenmodes(values[kept], right[:, kept], left[:, kept])
    sampling = _sampling(averages.moments, modes, correlation_rows, random_state)
    learning = np.abs(halved[:, None] - values).min(axis=0)
    found = [
        Eigenvalue(complex(values[k]), float(residuals[k]), error, float(learning[k]), doubts[k])
        for k, error in zip(kept, sampling, strict=True)
    ]
    return found, right[:, kept]


def _solved(averages: KineticAverages, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues on the first n functions but for 0, and left and right eigenfunctions in b, the right of norm 1."""
    gram, operator, _ = averages.moments.means()
    basis = orthonormal(gram, 1, averages.leading(n)[1:])
    values, left, right = eig(basis.T @ operator @ basis, left=True, right=True)
    return values, basis @ left, basis @ right


def _doubt(residual: float) -> str | None:
    """Why an eigenvalue must not be trusted, from the residual of M = 1 − L/η relative to its eigenvalue."""
    if residual <= MOST_RESIDUAL:
        return None
    return f"the residual of its function is {residual:.0%} of what it should be small against: no eigenfunction"


def _quadratic(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """v* M v of every column."""
    return np.einsum("ik,ij,jk->k", vectors.conj(), matrix, vectors, optimize=True)


def _sampling(
    moments: Moments, modes: Eigenmodes, correlation_rows: float, random_state: int
) -> list[float] | list[None]:
    """Half widths of the 95 % intervals of the rates of fixed functions."""
    blocks, counts = intervals.block_bootstrap(moments, 0, correlation_rows, random_state)
    if not len(counts):
        return [None] * len(modes.values)
    one = np.eye(len(modes.functions))[:, :1]
    left, right = np.hstack((one, modes.dual)), np.hstack((one, modes.functions))
    # Of these functions alone, before blocks are resampled: there are many more that are not asked for.
    gram, operator = (left.conj().T @ part[0] @ right for part in (blocks.left, blocks.operator))
    gram, operator = (np.tensordot(counts, part, axes=1) for part in (gram, operator))
    mean = gram[:, 1:, 0] / gram[:, 0, 0, None]

    def centred(part: np.ndarray) -> np.ndarray:
        return np.diagonal(part, axis1=1, axis2=2)[:, 1:] - mean * part[:, 0, 1:]

    rates = -(centred(operator) / centred(gram)).real
    low, high = intervals.percentile_interval(rates, len(blocks.stretch))
    return ((high - low) / 2).tolist()
