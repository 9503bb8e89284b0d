"""Objectives: published formulas against the one implementation, with and without known functions."""

import pytest
import torch
from finite_chains import (
    LEARNED,
    PROBLEMS,
    STATES,
    Problem,
    assert_same,
    kernel_problem,
    learned_gradients,
    loss_of,
    table_of,
    transfer_problem,
    with_known_norm,
)
from torch import Tensor

from spectraldyn.linalg import gram, gram_product, inner
from spectraldyn.objectives import (
    dpnet_loss,
    dpnet_relaxed_loss,
    low_rank_loss,
    orbital_minimisation,
    sequential_nesting,
    spin,
    vamp1_loss,
    vamp2_loss,
)
from spectraldyn.objectives.dpnet import metric_distortion
from spectraldyn.objectives.known import with_squared_norms
from spectraldyn.operators import reversible_transfer
from spectraldyn.records import Action, Batch


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("penalty", [0.7, 2.0])
def test_trace_penalty_is_the_low_rank_error_of_a_shifted_operator(problem, penalty):
    table = table_of(9)
    known = problem.known[0] if problem.known else 0.0
    S, B = with_known_norm(problem, table, 1 + known / penalty)
    published = -B.trace() / 2 + penalty / 4 * (S - torch.eye(len(S))).square().sum()
    assert_same(loss_of("trace-penalty", penalty=penalty)(problem.action(table)), published, table)


@pytest.mark.parametrize("penalty", [0.7, 2.0])
@pytest.mark.parametrize("problem", PROBLEMS[:2])
def test_graph_drawing_is_the_trace_penalty_and_the_low_rank_error_of_shifted_operators(problem, penalty):
    table = table_of(10)
    S, B = with_known_norm(problem, table, 1 - (1 - problem.known[0]) / (2 * penalty))
    published = (S - B).trace() + penalty * (S - torch.eye(len(S))).square().sum()
    action = problem.action(table)
    assert_same(loss_of("graph-drawing", penalty=penalty)(action), published, table)

    # Doubled trace penalty with μ = 2b of T − 1; its known function is left at the amplitude 1 − (1 − λ₀)/μ.
    amplitude = 1 - (1 - problem.known[0]) / (2 * penalty)
    drawn = with_squared_norms(action, (amplitude,))
    Tf = drawn.Tf - drawn.f
    laplacian = Action.with_tied_sides(drawn.f, Tf)
    assert_same(2 * loss_of("trace-penalty", penalty=2 * penalty)(laplacian), published, table)


@pytest.mark.parametrize("penalty", [0.7, 2.0])
@pytest.mark.parametrize("problem", PROBLEMS[:2])
def test_generalised_graph_drawing_is_its_joint_nesting(problem, penalty):
    table = table_of(11)
    S, B = with_known_norm(problem, table, 1 - (1 - problem.known[0]) / (2 * penalty))
    L = len(S)
    c = torch.arange(L, 0, -1, dtype=torch.float64) / L
    published = (c * (S - B).diagonal()).sum() + penalty * (
        torch.minimum(c[:, None], c[None, :]) * (S - torch.eye(L)).square()
    ).sum()
    assert_same(loss_of("generalised-graph-drawing", penalty=penalty)(problem.action(table)), published, table)
    levels = [(S - B)[:k, :k].trace() + penalty * (S - torch.eye(L))[:k, :k].square().sum() for k in range(1, L + 1)]
    assert_same(torch.stack(levels).mean(), published, table)


def test_laplacian_of_lagged_pairs_is_half_the_mean_squared_step():
    """The form in which graph drawing is published: unbiased pairs of transitions and of independent states."""
    generator = torch.Generator().manual_seed(12)
    x, y = (torch.randn(30, LEARNED, generator=generator, dtype=torch.float64) for _ in range(2))
    action = reversible_transfer(lambda s: s, lambda s: s, Batch(x, y))
    steps = (x - y).square().sum(dim=1).mean() / 2
    torch.testing.assert_close((inner(action.f, action.f) - inner(action.f, action.Tf)).sum(), steps)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_symmetric_low_rank_product(problem):
    table = table_of(13)
    functions = torch.cat(
        [problem.stationary.sqrt()[:, None] * value**0.5 for value in problem.known]
        + [table * problem.stationary.sqrt()[:, None]],
        dim=1,
    )
    published = (problem.matrix - functions @ functions.T).square().sum() / 2
    constant = problem.matrix.square().sum() / 2
    value = low_rank_loss(problem.action(table))
    assert_same(value / 2 + constant, published, table)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_triangularised_orthogonalisation_free_is_sequential_nesting(problem):
    table = table_of(14)
    root = problem.stationary.sqrt()[:, None]
    functions = torch.cat([root * value**0.5 for value in problem.known] + [table * root], dim=1).detach()
    direction = -problem.matrix @ functions + functions @ (functions.T @ functions).triu()
    gradient = learned_gradients(sequential_nesting(problem.action(table)), table)
    torch.testing.assert_close(gradient / root, 4 * direction[:, len(problem.known) :], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_orbital_minimisation(problem, shift):
    """tr((2 − S) H), and mode by mode for the triangularised gradient, which has a closed form as well."""
    table = table_of(15)
    action = problem.action(table)
    S, B = with_known_norm(problem, table, 1.0)
    H = -(B + shift * S)
    published = ((2 * torch.eye(len(S)) - S) @ H).trace()
    assert_same(loss_of("orbital-minimisation", shift=shift)(action), published, table)

    root = problem.stationary.sqrt()[:, None]
    functions = torch.cat([root for _ in problem.known] + [table * root], dim=1).detach()
    images = problem.matrix @ functions + shift * functions
    direction = 2 * images - images @ (functions.T @ functions).triu() - functions @ (functions.T @ images).triu()
    gradient = learned_gradients(loss_of("triangularised-orbital-minimisation", shift=shift)(action), table)
    torch.testing.assert_close(gradient / root, -2 * direction[:, len(problem.known) :], rtol=1e-10, atol=1e-12)
    for mode in range(len(problem.known), len(S)):
        leading = ((2 * torch.eye(mode + 1) - S[: mode + 1, : mode + 1]) @ H[: mode + 1, : mode + 1]).trace()
        own = learned_gradients(leading, table)[:, mode - len(problem.known)]
        torch.testing.assert_close(gradient[:, mode - len(problem.known)], own, rtol=1e-9, atol=1e-11)


def test_orbital_minimisation_needs_a_positive_operator():
    problem = kernel_problem(positive=False)
    lowest = problem.leading[1][:, -1:] / problem.stationary.sqrt()[:, None]
    losses = [orbital_minimisation(problem.action(scale * lowest)).item() for scale in (3.0, 10.0)]
    assert losses[1] < losses[0] - 100
    shifted = [orbital_minimisation(problem.action(scale * lowest), shift=0.5).item() for scale in (3.0, 10.0)]
    assert shifted[1] > shifted[0]


def test_vamp_e_is_the_low_rank_error():
    """tr(2 S UᵀC₀₁V − S UᵀC₀₀U S VᵀC₁₁V) with its singular values absorbed into both sides."""
    random = torch.Generator().manual_seed(16)
    features, modes = 5, 3
    C00, C11 = (m @ m.T for m in torch.randn(2, features, features, generator=random, dtype=torch.float64))
    C01 = torch.randn(features, features, generator=random, dtype=torch.float64)
    U, V = torch.randn(2, features, modes, generator=random, dtype=torch.float64)
    s = torch.rand(modes, generator=random, dtype=torch.float64)
    S = torch.diag(s)
    score = (2 * S @ U.T @ C01 @ V - S @ U.T @ C00 @ U @ S @ V.T @ C11 @ V).trace()
    # Components are coordinates in which the covariances are the inner products.
    left, right = torch.linalg.cholesky(C00), torch.linalg.cholesky(C11)
    operator = torch.linalg.solve(left, C01) @ torch.linalg.inv(right).T
    f = (left.T @ (U * s.sqrt())).T.expand(2, modes, features)
    g = (right.T @ (V * s.sqrt())).T.expand(2, modes, features)
    loss = low_rank_loss(Action(f=f, Tg=g @ operator.T, g=g, Tf=f @ operator))
    torch.testing.assert_close(-loss, score, rtol=1e-11, atol=0)


# Gradients and values by explicit formulas.


def whitened_operator(problem: Problem, table: Tensor, known_norm: float) -> tuple[Tensor, Tensor]:
    S, B = with_known_norm(problem, table, known_norm)
    values, vectors = torch.linalg.eigh(S)
    root = vectors / values.sqrt() @ vectors.T
    return root @ B @ root, S


@pytest.mark.parametrize("problem", PROBLEMS)
def test_vamp_scores(problem):
    table = table_of(17)
    exact, _ = whitened_operator(problem, table, 1.0)
    action = problem.action(table)
    assert_same(vamp1_loss(action, ridge=0.0), -torch.linalg.matrix_norm(exact, "nuc"), table)
    assert_same(vamp2_loss(action, ridge=0.0), -exact.square().sum(), table)
    assert vamp2_loss(action).item() == pytest.approx(-exact.square().sum().item(), rel=2e-3)
    mixed = table @ torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 30.0], [0.0, 0.5, 1.0]], dtype=torch.float64)
    for loss in (vamp1_loss, vamp2_loss):
        invariant = loss(problem.action(mixed), ridge=0.0)
        torch.testing.assert_close(loss(action, ridge=0.0), invariant, rtol=1e-9, atol=0)


@pytest.mark.parametrize("loss", [vamp1_loss, vamp2_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vamp_of_dependent_functions(loss, dtype):
    """A function given twice, one that is constant and one that is 0 change nothing, and gradients stay finite."""
    problem = transfer_problem()
    problem = Problem(problem.matrix.to(dtype), problem.stationary.to(dtype), problem.known)
    table = table_of(18).detach().to(dtype)
    spoilt = torch.cat((table, table[:, :1], torch.full((STATES, 1), 3.0), torch.zeros(STATES, 1)), dim=1)
    spoilt = spoilt.to(dtype).requires_grad_()
    value = loss(problem.action(spoilt))
    value.backward()
    assert value.item() == pytest.approx(loss(problem.action(table)).item(), rel=2e-3)
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_dpnet_scores(problem, weight):
    table = table_of(19)
    exact, S = whitened_operator(problem, table, 1.0)
    B = with_known_norm(problem, table, 1.0)[1]
    values = torch.linalg.eigvalsh(S)
    distortion = (values**2 - values - values.log()).sum()
    action = problem.action(table)
    score = exact.square().sum() - 2 * weight * distortion
    assert_same(dpnet_loss(action, distortion_weight=weight, ridge=0.0), -score, table)
    relaxed = B.square().sum() / values[-1] ** 2 - 2 * weight * distortion
    assert_same(dpnet_relaxed_loss(action, distortion_weight=weight, ridge=0.0), -relaxed, table)
    assert relaxed < score


def test_dpnet_counts_the_distortion_of_both_sides():
    problem = transfer_problem()
    f, g = problem.action(table_of(20)), problem.action(table_of(21))
    action = Action(f=f.f, Tg=g.Tf, g=g.f, Tf=f.Tf)
    for loss in (dpnet_loss, dpnet_relaxed_loss):
        difference = loss(action, distortion_weight=1.0) - loss(action, distortion_weight=0.0)
        expected = metric_distortion(gram(f.f, f.f)) + metric_distortion(gram(g.f, g.f))
        torch.testing.assert_close(difference, expected)
    identity = torch.eye(4, dtype=torch.float64)
    assert metric_distortion(identity, ridge=0.0).item() == pytest.approx(0, abs=1e-12)
    assert min(metric_distortion(scale * identity).item() for scale in (0.5, 2.0)) > 0.5


@pytest.mark.parametrize("name", ["neuralef", "neural-eigenmaps"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_player_follows_its_own_utility(name, problem):
    table = table_of(22)
    gradient = learned_gradients(loss_of(name)(problem.action(table)), table)
    n_known = len(problem.known)
    for player in range(LEARNED):
        own = table_of(22)
        S, B = with_known_norm(problem, own, 1.0)
        j = player + n_known
        R = B / (S.diagonal()[:, None] * S.diagonal()[None, :]).sqrt()
        utility = R[j, j]
        for i in range(j):
            utility = utility - (R[i, j] ** 2 / R[i, i].clamp_min(0.01) if name == "neuralef" else 10 * R[i, j] ** 2)
        torch.testing.assert_close(
            gradient[:, player], -learned_gradients(utility, own)[:, player], rtol=1e-9, atol=1e-11
        )


def test_neural_eigenmaps_are_ordered_from_the_weight_stated_on():
    """Player j prefers its own eigenfunction to an earlier one exactly where λ_i − α λ_i² < λ_j."""
    values = torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)
    problem = Problem(torch.diag(values), torch.full((3,), 1 / 3, dtype=torch.float64), ())
    states = torch.eye(3, dtype=torch.float64)
    chosen = {"right": states, "repeated": states[:, [0, 1, 1]]}
    for weight, right_is_better in ((2.4, False), (2.6, True)):
        losses = {
            name: loss_of("neural-eigenmaps", weight=weight)(problem.action(table)).item()
            for name, table in chosen.items()
        }
        assert (losses["right"] < losses["repeated"]) == right_is_better


def masked_quotients(u: Tensor, Tu: Tensor) -> Tensor:
    """−Σ_k Λ_kk in which only mode k carries the gradient of Λ_kk, by automatic differentiation of Cholesky."""
    total = u.new_zeros(())
    for k in range(u.shape[1]):
        own = torch.arange(u.shape[1])[:, None] == k
        v, Tv = torch.where(own, u, u.detach()), torch.where(own, Tu, Tu.detach())
        factor = torch.linalg.cholesky(gram(v, v))
        inverse = torch.linalg.inv(factor)
        total = total - (inverse @ gram(v, Tv) @ inverse.T)[k, k]
    return total


@pytest.mark.parametrize("problem", PROBLEMS)
def test_spin_follows_the_masked_gradient(problem):
    table = table_of(23)
    action = problem.action(table)
    loss, _ = spin(action, {}, [table], ridge=0.0)
    explicit = masked_quotients(action.f, action.Tf)
    torch.testing.assert_close(loss, explicit)
    torch.testing.assert_close(
        learned_gradients(loss, table), learned_gradients(explicit, table), rtol=1e-9, atol=1e-11
    )


def test_spin_regularises_consistently():
    """With a ridge the gradient is that of the regularised quotients."""
    problem, table = kernel_problem(True), table_of(23, columns=1)
    loss, _ = spin(problem.action(table), {}, [table], ridge=0.1)
    S, B = with_known_norm(problem, table, 1.0)
    assert_same(loss, -B[0, 0] / (1.1 * S[0, 0]), table)


def test_spin_through_a_shared_trunk_and_its_averages():
    """Σ and J are plain means first, then exponential ones; the gradient uses them with Π of the last batch alone."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.SiLU(), torch.nn.Linear(5, LEARNED)).double()
    parameters = [*network.parameters(), torch.nn.Parameter(torch.ones(2))]
    batches = [Batch(*torch.randn(2, 12, 2, dtype=torch.float64)) for _ in range(3)]
    actions = [reversible_transfer(network, network, batch) for batch in batches]

    explicit = torch.autograd.grad(masked_quotients(actions[0].f, actions[0].Tf), parameters[:-1], retain_graph=True)
    state = {}
    losses = []
    for action in actions:
        loss, state = spin(action, state, parameters, decay=0.4, ridge=0.0)
        losses.append(loss)
    first = torch.autograd.grad(losses[0], parameters[:-1], retain_graph=True)
    for got, wanted in zip(first, explicit, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)

    last = torch.autograd.grad(losses[2], parameters[:-1], retain_graph=True)
    weights = (0.3, 0.3, 0.4)
    covariance = sum(w * gram(a.f, a.f) for w, a in zip(weights, actions, strict=True)).detach()
    inverse = torch.linalg.inv(torch.linalg.cholesky(covariance))
    f, Tf = actions[2].f, actions[2].Tf
    quotients = (inverse @ gram(f, Tf) @ inverse.T).detach()
    L = f.shape[1]
    outer = torch.diag(inverse.diagonal())
    surrogate = -2 * ((outer @ inverse) * gram(f, Tf.detach())).sum() + 2 * sum(
        w * ((outer @ quotients.tril() @ inverse) * gram(a.f, a.f.detach())).sum()
        for w, a in zip(weights, actions, strict=True)
    )
    for got, wanted in zip(last, torch.autograd.grad(surrogate, parameters[:-1]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)

    pairs = L * (L + 1) // 2 - 1
    assert state["n_batches"] == 3
    assert [mean.shape for mean in state["jacobian"]] == [(pairs, *p.shape) for p in parameters]
    torch.testing.assert_close(state["covariance"], covariance)


def test_products_of_expectations_in_orbital_minimisation_are_those_of_the_u_statistic():
    """gram_product of four different sets of functions: ⟨f_i, f_j⟩⟨f_i, T f_j⟩ over pairs of different rows."""
    generator = torch.Generator().manual_seed(44)
    f, Tf = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64)
    first = torch.einsum("bik,bjk->bij", f, f)
    second = torch.einsum("bik,bjk->bij", f, Tf)
    expected = sum(first[b] * second[c] for b in range(5) for c in range(5) if b != c) / 20
    torch.testing.assert_close(gram_product(f, f, g_other=Tf), expected)
