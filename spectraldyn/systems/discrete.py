"""Processes in discrete time with known spectra: finite Markov chains and the noisy logistic map."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
from numpy.polynomial import legendre

from spectraldyn.errors import InputError


@dataclass(frozen=True, eq=False)
class MarkovChain:
    """A chain on finitely many states.

    Raises
    ------
    InputError
        If the matrix is not square, has a negative entry or a row that does not sum to 1.
    """

    matrix: np.ndarray  # (m, m): transition probabilities
    description: str = ""

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=float)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"a transition matrix is square, and this one has shape {matrix.shape}")
        if matrix.min() < 0 or np.abs(matrix.sum(axis=1) - 1).max() > 1e-8:
            raise InputError("a transition matrix has entries ≥ 0 and rows that sum to 1")
        object.__setattr__(self, "matrix", matrix)

    @property
    def stationary(self) -> np.ndarray:
        """The stationary distribution (m,); the limit of long averages where it is unique."""
        vector = _kept_from_the_left(self.matrix)
        return vector / vector.sum()

    def eigenvalues(self, n: int) -> np.ndarray:
        """The n eigenvalues of largest modulus, descending; complex where the chain is not reversible."""
        return _eigenvalues(self.matrix, n)

    def singular_values(self, n: int, start: np.ndarray | None = None) -> np.ndarray:
        """The n largest singular values of T : L²(p₁) → L²(p₀), descending: those of diag(p₀)^½ T diag(p₁)^−½.

        p₀ (m,) is `start`, by default stationary; p₁ = p₀ T.
        """
        return self._svd(start)[1][:n]

    def singular_functions(self, n: int, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Left and right singular functions (m, n) of T, orthonormal under p₀ and p₁; see `singular_values`."""
        left, _, right, before, after = self._svd(start)
        return left[:, :n] / np.sqrt(before)[:, None], right[:, :n] / np.sqrt(after)[:, None]

    def simulate(self, n_steps: int, seed: int) -> np.ndarray:
        """States (n_steps,) of one realisation that starts from the stationary distribution."""
        random = np.random.default_rng(seed)
        rows = self.matrix.cumsum(axis=1)[:, :-1].tolist()
        state = int(np.searchsorted(self.stationary.cumsum(), random.random()))
        states = []
        for uniform in random.random(n_steps).tolist():
            states.append(state)
            state = bisect_right(rows[state], uniform)
        return np.array(states)

    def _svd(self, start: np.ndarray | None) -> tuple[np.ndarray, ...]:
        before = self.stationary if start is None else np.asarray(start, dtype=float)
        after = before @ self.matrix
        left, values, right = np.linalg.svd(np.sqrt(before)[:, None] * self.matrix / np.sqrt(after))
        return left, values, right.T, before, after


@dataclass(frozen=True, eq=False)
class NoisyLogisticMap:
    """x ← 4x (1 − x) + ξ mod 1 with ξ ∈ [−½, ½] of density ∝ cos^N(πξ): chaotic, not reversible, of finite rank N + 1.

    The transition density is a trigonometric polynomial, p(y | x) = φ(F(x)) · φ(y) with F(x) = 4x (1 − x) and N + 1
    functions φ: all of the spectrum follows from (N + 1) × (N + 1) matrices, integrated by Gauss–Legendre quadrature.

    References
    ----------
    Kostic, Novelli, Maurer, Ciliberto, Rosasco, Pontil, "Learning dynamical systems via Koopman operator regression in
    reproducing kernel Hilbert spaces", NeurIPS 2022; the trigonometric noise is that of Ostruszka, Pakoński,
    Słomczyński, Życzkowski, "Dynamical entropy for systems with stochastic perturbation", Phys. Rev. E 62 (2000) 2018.
    """

    power: int = 20  # N, even
    description: str = ""

    def __post_init__(self) -> None:
        if self.power < 2 or self.power % 2:
            raise InputError(f"the power of the noise is {self.power}: give an even number of at least 2")

    def transition_density(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """p(y | x) for arrays of equal shape, or shapes that broadcast."""
        mean = comb(self.power, self.power // 2) / 2**self.power  # of cos^N over a period
        return np.cos(np.pi * (y - _logistic(x))) ** self.power / mean

    def stationary(self, points: np.ndarray) -> np.ndarray:
        """Stationary density at points (m,)."""
        vector = _kept_from_the_left(self._coupling())
        return self._features(points) @ (vector / vector[0])  # ∫ φ₀ = 1, and 0 for all others

    def eigenvalues(self, n: int) -> np.ndarray:
        """The n eigenvalues of T of largest modulus, descending; strongly non-normal: judge by singular values."""
        return _eigenvalues(self._coupling(), n)

    def singular_values(self, n: int) -> np.ndarray:
        """The n ≤ N + 1 largest singular values of T on L²(stationary law), descending."""
        return self._decompose()[1][:n]

    def singular_functions(self, points: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Left and right singular functions of T at points (m,), orthonormal under the stationary law; (m, n) each."""
        left, _, right = self._decompose()
        before = self._features(_logistic(points))
        after = self._features(points) / self.stationary(points)[:, None]
        return before @ left[:, :n], after @ right[:, :n]

    def simulate(self, n_steps: int, seed: int) -> np.ndarray:
        """States (n_steps, 1) of one realisation; it starts in the middle and its first 100 steps are left out."""
        random = np.random.default_rng(seed)
        edges = np.linspace(-0.5, 0.5, 4001)
        density = np.cos(np.pi * (edges[:-1] + edges[1:]) / 2) ** self.power
        cumulative = np.concatenate(([0.0], density.cumsum() / density.sum()))
        x, states = 0.5, []
        for noise in np.interp(random.random(n_steps + 100), cumulative, edges).tolist():
            x = (4 * x * (1 - x) + noise) % 1.0
            states.append(x)
        return np.array(states[100:])[:, None]

    def _features(self, z: np.ndarray) -> np.ndarray:
        """φ(z): 1, √(2c_k) cos 2πkz and √(2c_k) sin 2πkz with c_k = C(N, N/2 + k) / C(N, N/2); shape (m, N + 1)."""
        half = self.power // 2
        orders = np.arange(1, half + 1)
        scale = np.sqrt([2 * comb(self.power, half + k) / comb(self.power, half) for k in orders.tolist()])
        angle = 2 * np.pi * z[:, None] * orders
        return np.column_stack((np.ones(len(z)), scale * np.cos(angle), scale * np.sin(angle)))

    def _coupling(self) -> np.ndarray:
        """∫ φ(y) φ(F(y))ᵀ dy: T on the functions φ∘F."""
        points, weights = _nodes(self.power)
        return self._features(points).T @ (weights[:, None] * self._features(_logistic(points)))

    def _decompose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Singular values of the kernel p(y | x) / π(y), and the singular functions as combinations of φ∘F and φ/π."""
        points, weights = _nodes(self.power)
        density = self.stationary(points)
        root = np.sqrt(weights * density)[:, None]
        before = np.linalg.qr(root * self._features(_logistic(points)))[1]
        after = np.linalg.qr(root * self._features(points) / density[:, None])[1]
        left, values, right = np.linalg.svd(before @ after.T)
        return np.linalg.solve(before, left), values, np.linalg.solve(after, right.T)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 4 * x * (1 - x)


@cache
def _nodes(power: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of the quadrature on [0, 1]."""
    points, weights = legendre.leggauss(40 + 20 * power)
    return (points + 1) / 2, weights / 2


def _eigenvalues(matrix: np.ndarray, n: int) -> np.ndarray:
    """The n of largest modulus, descending."""
    values = np.linalg.eigvals(matrix)
    return values[np.argsort(-np.abs(values), kind="stable")][:n]


def _kept_from_the_left(matrix: np.ndarray) -> np.ndarray:
    """The left eigenvector of the eigenvalue 1."""
    values, vectors = np.linalg.eig(matrix.T)
    return np.real(vectors[:, np.argmin(np.abs(values - 1))])
