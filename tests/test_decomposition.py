"""Moments, Rayleigh–Ritz, CCA and scores against exact finite-state answers and deeptime."""

import numpy as np
import pytest
from deeptime.decomposition import VAMP
from problems import markov_chain, stationary

from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.rayleigh_ritz import eigenmodes, orthonormal, rayleigh_ritz, whitening
from spectraldyn.spectra.scores import vamp_scores

CHAIN = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
BIRTH_DEATH = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.3, 0.7]])  # detailed balance holds


def exact_moments(matrix: np.ndarray, functions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """C₀₀, C₀₁, C₁₁ of functions (n_states, M) under the chain started from its stationary distribution."""
    p = stationary(matrix)
    return functions.T * p @ functions, functions.T * p @ matrix @ functions, functions.T * (p @ matrix) @ functions


def reversible_moments(matrix: np.ndarray, functions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in both directions of time."""
    c00, c01, c11 = exact_moments(matrix, functions)
    return (c00 + c11) / 2, (c01 + c01.T) / 2, (c00 + c11) / 2


def with_constant(functions: np.ndarray) -> np.ndarray:
    return np.column_stack((np.ones(len(functions)), functions))


def test_singular_values_of_a_three_state_chain():
    """σ(diag(p₀)^½ T diag(p₁)^−½) without the leading 1, and the eigenvalues of T, from scrambled functions."""
    p = stationary(CHAIN)
    expected = np.linalg.svd(np.diag(p**0.5) @ CHAIN @ np.diag(p**-0.5), compute_uv=False)
    random = np.random.default_rng(0)
    f, g = np.eye(3)[:, :2] @ random.normal(size=(2, 2)), np.eye(3)[:, 1:] @ random.normal(size=(2, 2))
    averages = exact_moments(CHAIN, with_constant(np.hstack((f, g))))
    result = rayleigh_ritz(averages, tied=False, both_ends=True)
    np.testing.assert_allclose(result.values, expected[1:], atol=1e-12)
    eigenvalues = np.linalg.eigvals(CHAIN)
    found = eigenmodes(averages, result, tied=False)
    np.testing.assert_allclose(found.values, np.sort(eigenvalues)[::-1][1:], atol=1e-10)
    psi = with_constant(np.hstack((f, g))) @ found.functions
    np.testing.assert_allclose(CHAIN @ psi, psi * found.values, atol=1e-10)


def test_left_and_right_functions_of_different_states():
    """Averages of [1, f] on the left and [1, g] on the right, as of two modalities: the same singular values."""
    p = stationary(CHAIN)
    expected = np.linalg.svd(np.diag(p**0.5) @ CHAIN @ np.diag(p**-0.5), compute_uv=False)
    f, g = with_constant(np.eye(3)[:, :2]), with_constant(np.eye(3)[:, 1:])
    averages = f.T * p @ f, f.T * p @ CHAIN @ g, g.T * (p @ CHAIN) @ g
    result = rayleigh_ritz(averages, tied=False)
    np.testing.assert_allclose(result.values, expected[1:], atol=1e-12)
    left, right = f @ result.left, g @ result.right
    np.testing.assert_allclose(left.T * p @ left, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(left.T * p @ CHAIN @ right, np.diag(expected[1:]), atol=1e-12)


def test_complex_eigenvalues_of_a_cyclic_chain():
    cyclic = np.array([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]])
    functions = with_constant(np.eye(3)[:, [0, 1, 0, 1]])
    averages = exact_moments(cyclic, functions)
    result = rayleigh_ritz(averages, tied=False, both_ends=True)
    values = eigenmodes(averages, result, tied=False).values
    expected = 0.6 + 0.4 * np.exp(2j * np.pi / 3)
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex([expected, expected.conj()]))
    np.testing.assert_allclose(result.values, abs(expected) * np.ones(2), atol=1e-12)


def test_reversible_chain_and_its_eigenfunctions():
    values = np.sort(np.linalg.eigvals(BIRTH_DEATH).real)[::-1]
    functions = with_constant(np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.2]]))
    result = rayleigh_ritz(reversible_moments(BIRTH_DEATH, functions), tied=True)
    np.testing.assert_allclose(result.values, values[1:], atol=1e-12)
    psi = functions @ result.left
    np.testing.assert_allclose(BIRTH_DEATH @ psi, psi * result.values, atol=1e-12)
    p = stationary(BIRTH_DEATH)
    np.testing.assert_allclose(psi.T * p @ psi, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(p @ psi, 0, atol=1e-12)


def test_norms_state_the_singular_values_of_the_exact_functions():
    """f_i = √λ_i ψ_i is the optimum of the low-rank objective; its squared norm is λ_i before any rotation."""
    functions = with_constant(np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.2]]))
    exact = rayleigh_ritz(reversible_moments(BIRTH_DEATH, functions), tied=True)
    optimal = with_constant(functions @ exact.left * np.sqrt(exact.values))
    again = rayleigh_ritz(reversible_moments(BIRTH_DEATH, optimal), tied=True)
    np.testing.assert_allclose(again.norms, exact.values, atol=1e-12)


def test_reversible_moments_are_those_of_the_data_and_their_reverse():
    """Far from stationarity, where E[h(x)h(x)ᵀ] and E[h(y)h(y)ᵀ] differ, eigenvalues still cannot exceed 1."""
    functions = with_constant(np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.2]]))
    states = np.concatenate([markov_chain(BIRTH_DEATH, 6, seed) for seed in range(300)])  # each starts in state 0
    stretches = [range(a, a + 6) for a in range(0, len(states), 6)]
    moments = lagged_moments(functions[states], stretches, stretches, [1], tied=True)
    result = moments.spectrum()
    starts = np.concatenate([np.arange(s.start, s.stop - 1) for s in stretches])
    x, y = (
        functions[np.concatenate(ends)]
        for ends in ((states[starts], states[starts + 1]), (states[starts + 1], states[starts]))
    )
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(x.T @ x, x.T @ y)).real)[::-1]
    assert expected[0] == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(result.values, expected[1:], atol=1e-10)


def test_linearly_dependent_and_constant_functions_are_left_out():
    functions = with_constant(np.array([[1.0, 2.0, 5.0], [0.5, 1.0, 5.0], [3.0, 6.0, 5.0]]))
    result = rayleigh_ritz(reversible_moments(BIRTH_DEATH, functions), tied=True)
    assert result.values.shape == (1,)
    assert np.isfinite(result.left).all()


def test_moments_do_not_cross_stretches_and_agree_with_deeptime():
    random = np.random.default_rng(1)
    trajectories = [random.normal(size=(n, 2)).cumsum(axis=0) / 20 for n in (40, 3, 90)]
    functions = with_constant(np.concatenate(trajectories))
    stretches = [range(40), range(40, 43), range(43, 133)]
    blocks = [range(20), range(20, 40), range(40, 43), range(43, 133)]
    moments = lagged_moments(functions, stretches, blocks, [1, 7], tied=False)
    assert moments.weight[1].tolist() == [20, 13, 0, 83]
    c00, c01, c11 = moments.means(1)
    pairs = [(t[:-7], t[7:]) for t in trajectories if len(t) > 7]
    x, y = (with_constant(np.concatenate(part)) for part in zip(*pairs, strict=True))
    np.testing.assert_allclose(c00, x.T @ x / len(x), atol=1e-12)
    np.testing.assert_allclose(c01, x.T @ y / len(x), atol=1e-12)
    np.testing.assert_allclose(c11, y.T @ y / len(x), atol=1e-12)
    both = with_constant(np.concatenate(trajectories)[:, [0, 1, 0, 1]])
    ours = lagged_moments(both, stretches, blocks, [7], tied=False).spectrum()
    theirs = VAMP(lagtime=7).fit_fetch((x[:, 1:], y[:, 1:]))
    np.testing.assert_allclose(ours.values, theirs.singular_values[:2], rtol=1e-6)


def test_merged_blocks_keep_the_sums_and_the_stretches():
    functions = with_constant(np.random.default_rng(2).normal(size=(100, 1)))
    stretches = [range(60), range(60, 100)]
    blocks = [range(a, a + 10) for a in range(0, 100, 10)]
    moments = lagged_moments(functions, stretches, blocks, [2], tied=False)
    merged = moments.merged(25)
    assert merged.block_rows.tolist() == [30, 30, 40]
    assert merged.stretch.tolist() == [0, 0, 1]
    for part in ("left", "operator", "right", "weight"):
        np.testing.assert_allclose(getattr(merged, part).sum(axis=1), getattr(moments, part).sum(axis=1))
    np.testing.assert_allclose(merged.means(0)[1], moments.means(0)[1])


def test_scores_on_the_exact_chain():
    """In-sample VAMP-2 and VAMP-E are both the sum of squared singular values, the constant's 1 counted."""
    functions = with_constant(np.eye(3)[:, [0, 1, 1, 2]])
    averages = exact_moments(CHAIN, functions)
    spectrum = rayleigh_ritz(averages, tied=False, both_ends=True)
    scores = vamp_scores(spectrum, averages)
    expected = 1 + (spectrum.values**2).sum()
    assert scores["vamp2"] == pytest.approx(expected, abs=1e-12)
    assert scores["vampe"] == pytest.approx(expected, abs=1e-12)


def test_vampe_is_the_approximation_error_of_the_kernel():
    """‖K‖² − ‖K̂ − K‖² on another chain, with the kernels K = T / p₁ summed over all pairs of states."""
    functions = with_constant(np.eye(3)[:, [0, 1, 1, 2]])
    spectrum = rayleigh_ritz(exact_moments(CHAIN, functions), tied=False, both_ends=True)
    other = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]])
    p0 = stationary(other)
    weight = np.outer(p0, p0)
    kernel = other / p0
    learned = 1 + functions @ spectrum.left * spectrum.values @ (functions @ spectrum.right).T
    expected = (weight * kernel**2).sum() - (weight * (learned - kernel) ** 2).sum()
    scores = vamp_scores(spectrum, exact_moments(other, functions))
    assert scores["vampe"] == pytest.approx(expected, abs=1e-12)


def test_held_out_vamp2_agrees_with_deeptime():
    states = markov_chain(CHAIN, 3000, seed=3)
    frames = np.eye(3)[states][:, :2]
    halves = frames[:1500], frames[1500:]
    models = [VAMP(lagtime=1).fit_fetch((part[:-1], part[1:])) for part in halves]
    averages = []
    for part in halves:
        h = with_constant(part[:, [0, 1, 0, 1]])
        averages.append(tuple(m / (len(h) - 1) for m in (h[:-1].T @ h[:-1], h[:-1].T @ h[1:], h[1:].T @ h[1:])))
    spectrum = rayleigh_ritz(averages[0], tied=False, both_ends=True)
    scores = vamp_scores(spectrum, averages[1])
    assert scores["vamp2"] == pytest.approx(models[0].score(r=2, test_model=models[1]), abs=1e-6)


def test_of_many_sets_of_functions_each_has_its_own_rank():
    """A stack of inner products: all independent, one dependent, one zero."""
    f = np.random.default_rng(0).normal(size=(20, 3))
    sets = [f, np.column_stack((f[:, :2], f[:, 0] - f[:, 1])), np.column_stack((f[:, :2], np.zeros(20)))]
    grams = np.stack([one.T @ one for one in sets])
    found = whitening(grams)
    for gram, coefficients, rank in zip(grams, found, (3, 2, 2), strict=True):
        np.testing.assert_array_equal(coefficients.any(axis=0).sum(), rank)
        np.testing.assert_allclose(
            coefficients.T @ gram @ coefficients, np.diag([0.0] * (3 - rank) + [1.0] * rank), atol=1e-9
        )
        alone = orthonormal(gram, 0)
        np.testing.assert_allclose(coefficients @ coefficients.T, alone @ alone.T, rtol=1e-9, atol=1e-12)
