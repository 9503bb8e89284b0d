"""Schrödinger operators on regular grids, solved by LOBPCG: what networks are compared with as grids grow.

Second-order central differences at the n points x_i = −L + 2L i/(n + 1), i = 1 ... n, of every axis of the box
[−L, L]^d, the wave function 0 on its walls: no matrix is stored. The preconditioner is the inverse of −Δ + c on the
same grid, by fast sine transforms; the published runs had none, which only takes more iterations.

References
----------
Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate gradient
method", SIAM J. Sci. Comput. 23 (2001) 517; scipy.sparse.linalg.lobpcg.
"""

import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import dstn
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator, lobpcg

from spectraldyn.systems.grids import Function, on_points
from spectraldyn.systems.spectrum import smallest_sums

OFFSET = 0.3
"""c of the preconditioner: of the order of the lowest energies."""
RESIDUAL = 1e-3
"""Largest ‖Hψ − Eψ‖ that ends the iteration; the energies are then off by about its square."""
ITERATIONS = 400


@dataclass(frozen=True)
class Solved:
    """Lowest energies (k,) of a grid, ascending, and what they took."""

    energies: np.ndarray
    seconds: float
    iterations: int
    residual: float
    """Largest ‖Hψ − Eψ‖."""


def axis(half_width: float, n: int) -> np.ndarray:
    """The n points of an axis, its ends left out."""
    return np.linspace(-half_width, half_width, n + 2)[1:-1]


def spacing(half_width: float, n: int) -> float:
    return 2 * half_width / (n + 1)


def solve(
    potential: Function,
    dimension: int,
    half_width: float,
    n: int,
    n_modes: int,
    seed: int = 0,
    iterations: int = ITERATIONS,
) -> Solved:
    """Lowest energies of −Δ + V in [−L, L]^d with n points per axis, from random functions."""
    start = time.perf_counter()
    shape, h = (n,) * dimension, spacing(half_width, n)
    points = np.stack(np.meshgrid(*[axis(half_width, n)] * dimension, indexing="ij"), axis=-1)
    hamiltonian = scaled_hamiltonian(h**2 * on_points(potential, points))
    del points
    vectors = np.random.default_rng(seed).standard_normal((n**dimension, n_modes))
    with warnings.catch_warnings():
        # Rounding may leave the iteration a little above the tolerance; what is left is handed back.
        warnings.filterwarnings("ignore", "Exited", UserWarning)
        energies, vectors, history = lobpcg(
            hamiltonian, vectors, M=_inverse_laplacian(shape, OFFSET * h**2), tol=RESIDUAL * h**2, maxiter=iterations,
            largest=False, retResidualNormsHistory=True,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    left = max(np.linalg.norm(hamiltonian @ v - e * v) for e, v in zip(energies, vectors.T, strict=True))
    return Solved(np.sort(energies) / h**2, seconds, len(history) - 1, float(left) / h**2)


def scaled_hamiltonian(potential: np.ndarray) -> LinearOperator:
    """h² (−Δ + V) on functions on the grid, from h² V on it: scaled so that neighbours are only subtracted."""
    diagonal = (2 * potential.ndim + potential)[..., None]

    def apply(functions: np.ndarray) -> np.ndarray:
        values = functions.reshape(*potential.shape, -1)
        result = diagonal * values
        for k in range(potential.ndim):
            inner, outer = np.moveaxis(result, k, 0), np.moveaxis(values, k, 0)
            inner[1:] -= outer[:-1]
            inner[:-1] -= outer[1:]
        return result.reshape(functions.shape)

    return _operator(apply, potential.size)


def _inverse_laplacian(shape: tuple[int, ...], offset: float) -> LinearOperator:
    """(−h²Δ + offset)⁻¹: sines are the eigenfunctions of the second difference."""
    axes = tuple(range(len(shape)))
    lines = [2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) for n in shape]
    eigenvalues = sum(line.reshape([-1 if j == k else 1 for j in axes]) for k, line in enumerate(lines)) + offset
    # The sine transform of type I is its own inverse but for this factor.
    factor = 1 / (eigenvalues * np.prod([2 * (n + 1) for n in shape]))[..., None]

    def apply(functions: np.ndarray) -> np.ndarray:
        transformed = dstn(functions.reshape(*shape, -1), type=1, axes=axes)
        transformed *= factor
        return dstn(transformed, type=1, axes=axes, overwrite_x=True).reshape(functions.shape)

    return _operator(apply, int(np.prod(shape)))


def _operator(apply: Callable[[np.ndarray], np.ndarray], size: int) -> LinearOperator:
    return LinearOperator((size, size), matvec=apply, matmat=apply, dtype=float)


def separable_energies(potential: Function, dimension: int, half_width: float, n: int, n_modes: int) -> np.ndarray:
    """What `solve` converges to for V(x) = Σ_k v(x_k), ascending: sums of the grid's energies in one dimension.

    Known for grids that no memory could hold, because the second differences of the axes commute.
    """
    h = spacing(half_width, n)
    diagonal = 2 / h**2 + on_points(potential, axis(half_width, n)[:, None])
    line = eigh_tridiagonal(
        diagonal, np.full(n - 1, -1 / h**2), eigvals_only=True, select="i", select_range=(0, min(n_modes, n) - 1)
    )
    return np.array([total for total, _ in smallest_sums([line] * dimension, n_modes)])


def blocks(potential: Function, dimension: int, half_width: float, n: int, n_modes: int) -> float:
    """Peak memory of `solve`, in blocks of k functions on the grid in double precision.

    Reached within a few iterations, after which nothing more is kept.
    """
    tracemalloc.start()
    try:
        solve(potential, dimension, half_width, n, n_modes, iterations=4)
        return tracemalloc.get_traced_memory()[1] / (8 * n_modes * n**dimension)
    finally:
        tracemalloc.stop()


def largest_grid(limit: float, n_blocks: float, dimension: int, n_modes: int) -> int:
    """Most points per axis, an even number, for which `blocks` blocks fit into so many bytes."""
    n = int((limit / (8 * n_modes * n_blocks)) ** (1 / dimension))
    return n - n % 2
