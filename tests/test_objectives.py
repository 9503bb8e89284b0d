"""Objectives: exact optima on a finite state space, gradients by explicit formulas, bias in a batch by z-test."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from spectraldyn import linalg
from spectraldyn.data.samples import PairData, WeightedSamples
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.learning.loop import train
from spectraldyn.linalg import gram, gram_product, inner
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import (
    OBJECTIVES,
    augmented_lagrangian_laplacian,
    block_nesting,
    build_objective,
    check_combination,
    dpnet_loss,
    dpnet_relaxed_loss,
    joint_nesting,
    low_rank_loss,
    orbital_minimisation,
    sequential_nesting,
    spin,
    vamp1_loss,
    vamp2_loss,
)
from spectraldyn.objectives.dpnet import metric_distortion
from spectraldyn.objectives.known import affine, with_squared_norms
from spectraldyn.operators import integral_kernel, reversible_transfer, transfer
from spectraldyn.records import Action, Batch, Objective

STATES, LEARNED = 8, 3


@pytest.fixture(autouse=True)
def _one_thread():
    """Matrices of this size gain nothing from threads, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


TIED = [name for name, framework in OBJECTIVES.items() if framework.tied]


def objective_of(name: str, parameters=(), **options) -> Objective:
    """`build_objective`, whose warning is expected where the registry has a remark."""
    if not OBJECTIVES[name].remark:
        return build_objective(name, parameters, **options)
    with pytest.warns(InputWarning, match=f"'{name}' often fails to converge: its "):
        return build_objective(name, parameters, **options)


def loss_of(name: str, parameters=(), **options) -> Callable[[Action], Tensor]:
    """Its value on a first batch."""
    objective = objective_of(name, parameters, **options)
    return lambda action: objective(action, {})[0]


@dataclass(frozen=True)
class Problem:
    """A self-adjoint operator as a symmetric matrix in the orthonormal basis of states 1_s/√π_s."""

    matrix: Tensor
    stationary: Tensor
    known: tuple[float, ...]

    @property
    def leading(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of all modes in descending order, the known one first."""
        values, vectors = torch.linalg.eigh(self.matrix)
        return values.flip(0), vectors.flip(1)

    def action(self, table: Tensor) -> Action:
        """Exact expectations: the states are the components of a row, and two such rows are independent samples."""
        root = self.stationary.sqrt()
        functions = table.T * root
        if self.known:
            functions = torch.cat(((root * self.known[0] ** 0.5)[None, :], functions))
        f = functions.expand(2, *functions.shape)
        Tf = f @ self.matrix
        return Action.with_tied_sides(f, Tf, self.known)

    def learned(self, table: Tensor) -> Tensor:
        """The functions of a table (states, L) as vectors in the orthonormal basis."""
        return table.detach() * self.stationary.sqrt()[:, None]


def joint_law() -> Tensor:
    """p(x, y) of a reversible chain: two sets of states, each of two pairs."""
    generator = torch.Generator().manual_seed(1)
    law = torch.full((STATES, STATES), 0.03, dtype=torch.float64)
    law[:4, :4] += 0.12
    law[4:, 4:] += 0.4
    for pair, weight in enumerate((0.9, 0.6, 0.9, 0.6)):
        law[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] += weight
    law = law + 0.4 * torch.diag(torch.rand(STATES, generator=generator, dtype=torch.float64))
    return (law + law.T) / (2 * law.sum())


def transfer_problem(scale: float = 1.0) -> Problem:
    """A reversible chain; with scale < 1 the constant function has singular value and squared norm `scale`."""
    law = joint_law()
    stationary = law.sum(dim=1)
    symmetric = law / (stationary[:, None] * stationary[None, :]).sqrt()
    return Problem(scale * symmetric, stationary, (scale,))


def kernel_problem(positive: bool) -> Problem:
    """No known function, eigenvalues above 1 and, unless positive, a negative one."""
    generator = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(STATES, STATES, generator=generator, dtype=torch.float64))[0]
    values = torch.tensor([2.0, 1.5, 1.1, 0.5, 0.3, 0.2, 0.1, 0.05 if positive else -0.4], dtype=torch.float64)
    return Problem((basis * values) @ basis.T, torch.full((STATES,), 1 / STATES, dtype=torch.float64), ())


def table_of(seed: int, columns: int = LEARNED, scale: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(STATES, columns, generator=generator, dtype=torch.float64)).requires_grad_()


def scaled_to_norms(name: str, values: Tensor) -> Tensor | None:
    """Squared norms of the functions at the optimum; None where the objective does not fix them."""
    formula = OBJECTIVES[name].formula
    if formula in (OBJECTIVES[n].formula for n in ("low-rank", "joint", "sequential", "block")):
        return values
    if name == "trace-penalty":
        return 1 + values
    if name in ("graph-drawing", "generalised-graph-drawing"):
        return 1 - (1 - values) / 2
    if name.startswith(("dpnet", "orbital", "triangularised-orbital", "augmented")):
        return torch.ones_like(values)
    return None


GRADIENT_FIELDS = {
    "sequential": {},
    "spin": {"decay": 0.5},
    "neuralef": {},
    "neural-eigenmaps": {"weight": 1.5},
    "triangularised-orbital-minimisation": {},
    "augmented-lagrangian-laplacian": {"dual_rate": 0.3},
}
"""No functions that a line search could minimise, and options that suit the step below."""


def descend(name: str, problem: Problem, table: Tensor) -> None:
    """Fixed steps along a gradient field, preconditioned by the law of the states."""
    objective = objective_of(name, [table], **GRADIENT_FIELDS[name])
    state = {}
    for _ in range(600):
        loss, state = objective(problem.action(table), state)
        gradient = learned_gradients(loss, table) / problem.stationary[:, None]
        with torch.no_grad():
            table -= 0.1 * gradient


def descend_to_a_kink(problem: Problem, table: Tensor) -> None:
    """DPNet-relaxed: its spectral norms are not smooth at the optimum, so the steps must fall to 0."""
    for i in range(800):
        gradient = learned_gradients(dpnet_relaxed_loss(problem.action(table)), table) / problem.stationary[:, None]
        with torch.no_grad():
            table -= 0.04 * min(1, 2 - i / 400) ** 3 * gradient


def minimise(loss: Callable[[], Tensor], tables: list[Tensor]) -> None:
    """A quasi-Newton method for losses that are functions of the tables."""
    optimiser = torch.optim.LBFGS(
        tables, max_iter=300, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in OBJECTIVES
        for kind in ("transfer", "scaled transfer", "kernel")
        if kind != "kernel" or not OBJECTIVES[name].contraction
    ],
)
def test_optimum_is_the_leading_eigenspace(name, kind):
    framework = OBJECTIVES[name]
    problem = {
        "transfer": transfer_problem(),
        "scaled transfer": transfer_problem(0.8),
        "kernel": kernel_problem(framework.positive),
    }[kind]
    n_known = len(problem.known)
    values, vectors = problem.leading
    values, vectors = values[n_known : n_known + LEARNED], vectors[:, : n_known + LEARNED]
    table = table_of(5)
    if name == "dpnet-relaxed":
        # Steps along the kink are slow from afar.
        exact = vectors[:, n_known:] / problem.stationary.sqrt()[:, None]
        table = (exact + 0.6 * table.detach()).requires_grad_()
        descend_to_a_kink(problem, table)
    elif name in GRADIENT_FIELDS:
        descend(name, problem, table)
    else:
        objective = objective_of(name)
        minimise(lambda: objective(problem.action(table), {})[0], [table])
    learned = problem.learned(table)
    functions = torch.cat((vectors[:, :n_known], learned), dim=1)
    tolerance = 1e-4

    basis = torch.linalg.qr(functions).Q
    assert (basis @ basis.T - vectors @ vectors.T).norm() < tolerance
    if framework.ordered:
        overlaps = (basis.T @ vectors).abs()
        assert (overlaps - torch.eye(len(overlaps), dtype=overlaps.dtype)).norm() < tolerance
    if framework.ordered and name != "spin":
        cosines = ((learned / learned.norm(dim=0)) * vectors[:, n_known:]).sum(dim=0).abs()
        torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=0, atol=tolerance)
    squared_norms = scaled_to_norms(name, values)
    if squared_norms is not None:
        found = torch.linalg.eigvalsh(learned.T @ learned).flip(0)
        rtol = 1e-2 if name == "dpnet-relaxed" else 1e-4
        torch.testing.assert_close(found, squared_norms, rtol=rtol, atol=0)


def test_the_problems_tell_right_from_wrong():
    """Gaps are wide enough for the tolerances, and eigenvalues lie where the objectives need them."""
    for problem in (transfer_problem(), transfer_problem(0.8), kernel_problem(True)):
        values, vectors = problem.leading
        first = len(problem.known)
        assert (values[first : first + LEARNED + 1].diff() < -0.15).all()
        assert values.min() > 0
        if problem.known:
            assert values[0].item() == pytest.approx(problem.known[0], rel=1e-12)
            overlap = vectors[:, 0] @ problem.stationary.sqrt()
            assert abs(overlap.item()) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", ["low-rank", "joint", "sequential", "vamp-1", "vamp-2", "dpnet"])
def test_optimum_of_two_different_sides_is_the_leading_singular_space(name):
    generator = torch.Generator().manual_seed(6)
    left, right = (
        torch.linalg.qr(torch.randn(STATES, STATES, generator=generator, dtype=torch.float64))[0] for _ in range(2)
    )
    values = torch.tensor([1.0, 0.75, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    operator = (left * values) @ right.T
    f, g = table_of(7), table_of(8)
    framework = OBJECTIVES[name]
    objective = loss_of(name)

    def loss() -> Tensor:
        rows = [side.T.expand(2, LEARNED, STATES) for side in (f, g)]
        return objective(Action(f=rows[0], Tg=rows[1] @ operator.T, g=rows[1], Tf=rows[0] @ operator))

    if name == "sequential":
        for _ in range(600):
            gradients = torch.autograd.grad(loss(), (f, g))
            with torch.no_grad():
                f -= 0.1 * gradients[0]
                g -= 0.1 * gradients[1]
    else:
        minimise(loss, [f, g])
    for table, exact in ((f, left[:, :LEARNED]), (g, right[:, :LEARNED])):
        basis = torch.linalg.qr(table.detach()).Q
        assert (basis @ basis.T - exact @ exact.T).norm() < 1e-4
        if framework.ordered:
            assert ((basis.T @ exact).abs() - torch.eye(LEARNED, dtype=torch.float64)).norm() < 1e-4
    if name in ("joint", "sequential"):
        norms = f.detach().norm(dim=0) * g.detach().norm(dim=0)
        torch.testing.assert_close(norms, values[:LEARNED], rtol=1e-5, atol=0)


# Identities: the published formula against the one implementation, with and without known functions.

PROBLEMS = [transfer_problem(), transfer_problem(0.8), kernel_problem(False)]


def learned_gradients(value: Tensor, table: Tensor) -> Tensor:
    return torch.autograd.grad(value, table, retain_graph=True)[0]


def assert_same(first: Tensor, second: Tensor, table: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(learned_gradients(first, table), learned_gradients(second, table), rtol=1e-9, atol=1e-11)


def with_known_norm(problem: Problem, table: Tensor, squared_norm: float) -> tuple[Tensor, Tensor]:
    """S = ⟨f, f⟩ and B = ⟨f, T f⟩ straight from the states, the known function given that squared norm."""
    functions = table * problem.stationary.sqrt()[:, None]
    if problem.known:
        functions = torch.cat((problem.stationary.sqrt()[:, None] * squared_norm**0.5, functions), dim=1)
    return functions.T @ functions, functions.T @ problem.matrix @ functions


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


STATEFUL = ("spin", "augmented-lagrangian-laplacian")


@pytest.mark.parametrize("name", STATEFUL)
def test_a_stored_state_is_taken_up_again(name, tmp_path):
    """What went through a file leads to the same gradient as what did not; and no call changes a state in place."""
    problem, objective, state = transfer_problem(), None, {}
    table = table_of(24)
    objective = objective_of(name, [table])
    for seed in (25, 26):
        with torch.no_grad():
            table.copy_(table_of(seed))
        _, state = objective(problem.action(table), state)
    torch.save(state, tmp_path / "state")
    with torch.no_grad():
        table.copy_(table_of(27))
    states = [state, torch.load(tmp_path / "state", weights_only=True), {}]
    gradients = [learned_gradients(objective(problem.action(table), each)[0], table) for each in states]
    again = learned_gradients(objective(problem.action(table), state)[0], table)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)
    torch.testing.assert_close(gradients[0], again, rtol=0, atol=0)
    assert (gradients[0] - gradients[2]).norm() > 1e-3 * gradients[0].norm()


@pytest.mark.parametrize("name", STATEFUL)
def test_a_training_that_was_interrupted_goes_on_with_its_state(name, tmp_path):
    """From the checkpoint of half of the steps to the very parameters of a training that went straight through."""
    rows = torch.arange(40)
    states = torch.randn(41, 2, generator=torch.Generator().manual_seed(49))
    data = PairData(states, 1, rows[:30], rows[30:])

    def learn(checkpoint, interrupted=False):
        torch.manual_seed(0)
        network = CommonTrunk(2, 2, (4,))
        formula = objective_of(name, list(network.parameters()))
        calls = []

        def objective(action, state):
            calls.append(state)
            if interrupted and len(calls) == 30:
                raise KeyboardInterrupt
            return formula(action, state)

        train(
            Sides(network, network), reversible_transfer, objective, data, batch_size=8, n_steps=50,
            learning_rate=1e-2, average_share=0.1, tolerance=1.0, seed=0, checkpoint=checkpoint,
        )  # fmt: skip
        return len(calls), list(network.parameters())

    straight = learn(None)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "checkpoint", interrupted=True)
    resumed = learn(tmp_path / "checkpoint")
    assert (straight[0], resumed[0]) == (50, 22)
    torch.testing.assert_close(resumed[1], straight[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", STATEFUL)
def test_evaluation_leaves_the_state_alone(name):
    problem, table = transfer_problem(), table_of(28)
    objective = objective_of(name, [table])
    _, learned = objective(problem.action(table), {})
    with torch.no_grad():
        other = problem.action(table_of(29))
        for state in (learned, {}):
            loss, after = objective(other, state)
            assert after is state
            assert loss.isfinite()


def test_augmented_lagrangian():
    problem = transfer_problem(0.8)
    table = table_of(30)
    S, B = with_known_norm(problem, table, 1.0)
    error = (S - torch.eye(len(S))).tril()
    options = {"barrier": 1.7, "dual_rate": 0.2}
    _, state = augmented_lagrangian_laplacian(problem.action(table), {}, **options)
    duals = state["duals"]
    torch.testing.assert_close(duals, 0.2 * error.detach())
    loss, state = augmented_lagrangian_laplacian(problem.action(table), state, **options)
    published = (S - B).trace() + (duals * error).sum() + 1.7 * error.square().sum()
    torch.testing.assert_close(loss, published)
    gradient = learned_gradients(loss, table)
    root = problem.stationary.sqrt()[:, None]
    functions = torch.cat((root, table * root), dim=1).detach()
    pull = 2 * (functions - problem.matrix @ functions) + functions @ (duals + 2 * 1.7 * error.detach()).T
    torch.testing.assert_close(gradient / root, pull[:, 1:], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(state["duals"], 0.4 * error.detach())


def test_duals_hold_the_eigenvalues():
    problem, table, state = transfer_problem(), table_of(31), {}
    for _ in range(700):
        loss, state = augmented_lagrangian_laplacian(problem.action(table), state, dual_rate=0.5)
        gradient = learned_gradients(loss, table) / problem.stationary[:, None]
        with torch.no_grad():
            table -= 0.1 * gradient
    values = 1 + state["duals"].diagonal() / 2
    torch.testing.assert_close(values, problem.leading[0][: LEARNED + 1], rtol=0, atol=1e-5)


def test_block_nesting_weighs_every_step_th_level_of_the_learned_modes():
    table = table_of(33, columns=5)
    for problem, levels in ((kernel_problem(True), [2, 4, 5]), (transfer_problem(), [3, 5, 6])):
        action = problem.action(table)
        parts = [
            low_rank_loss(Action(*(t[:, :level] for t in (action.f, action.Tg, action.g, action.Tf))))
            for level in levels
        ]
        assert_same(block_nesting(action, step=2), torch.stack(parts).mean(), table)
        assert_same(block_nesting(action, step=5), low_rank_loss(action), table)
    assert_same(
        block_nesting(kernel_problem(True).action(table), step=1),
        joint_nesting(kernel_problem(True).action(table)),
        table,
    )


def test_blocks_are_ordered():
    problem = kernel_problem(True)
    table = table_of(34, columns=4)
    minimise(lambda: block_nesting(problem.action(table)), [table])
    minimised = problem.learned(table)
    exact = problem.leading[1]
    basis = torch.linalg.qr(minimised).Q
    for size in (2, 4):
        difference = basis[:, :size] @ basis[:, :size].T - exact[:, :size] @ exact[:, :size].T
        assert difference.norm() < 1e-4


# Bias of the gradient in a batch.

BATCH, N_BATCHES = 4, 20_000


def batch_gradients(objective, table: Tensor, seed: int, chunk: int = 4000) -> Tensor:
    """Gradients (batches, states, L) over batches of lagged pairs of the chain."""
    generator = torch.Generator().manual_seed(seed)
    picked = torch.multinomial(joint_law().flatten(), N_BATCHES * BATCH, replacement=True, generator=generator)
    x, y = (picked // STATES).view(-1, BATCH), (picked % STATES).view(-1, BATCH)

    def loss(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
        def network(states: Tensor) -> Tensor:
            return values[states]

        return objective(reversible_transfer(network, network, Batch(x, y)))

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    parts = [gradient(table.detach(), *some) for some in zip(x.split(chunk), y.split(chunk), strict=True)]
    return torch.cat(parts)


def z_scores(samples: Tensor, exact: Tensor) -> Tensor:
    return (samples.mean(dim=0) - exact).abs() / (samples.std(dim=0) / len(samples) ** 0.5)


UNBIASED = (
    "low-rank",
    "joint",
    "sequential",
    "block",
    "trace-penalty",
    "graph-drawing",
    "generalised-graph-drawing",
    "orbital-minimisation",
    "triangularised-orbital-minimisation",
    "augmented-lagrangian-laplacian",
)
BIASED = ("vamp-1", "vamp-2", "dpnet", "dpnet-relaxed", "neuralef", "neural-eigenmaps")


def test_every_formula_is_said_to_be_biased_or_not():
    assert set(OBJECTIVES) == {*UNBIASED, *BIASED, "spin"}


@pytest.mark.parametrize("name", UNBIASED + BIASED)
def test_bias_of_the_gradient_in_a_batch(name):
    problem, table = transfer_problem(), table_of(35, columns=2, scale=1.0)
    objective = loss_of(name)
    if name == "augmented-lagrangian-laplacian":
        duals = torch.tensor([[0.0, 0, 0], [0.3, -0.4, 0], [0.2, 0.5, -0.7]], dtype=torch.float64)
        objective = lambda action: augmented_lagrangian_laplacian(action, {"duals": duals})[0]  # noqa: E731
    exact = learned_gradients(objective(problem.action(table)), table)
    z = z_scores(batch_gradients(objective, table, seed=36), exact)
    if name in UNBIASED:
        assert z.max() < 4.5
    else:
        assert z.max() > 8


def test_spin_is_unbiased_with_converged_averages_only():
    problem, table = transfer_problem(), table_of(37, columns=2, scale=1.0)
    generator = torch.Generator().manual_seed(38)
    loss, state = spin(problem.action(table), {}, [table])
    exact = learned_gradients(loss, table)
    states = {"converged": {**state, "n_batches": 10**12}, "none": {}}
    for name, before in states.items():
        gradients = []
        for _ in range(1500):
            picked = torch.multinomial(joint_law().flatten(), BATCH, replacement=True, generator=generator)
            batch = Batch(picked // STATES, picked % STATES)
            action = reversible_transfer(lambda s: table[s], lambda s: table[s], batch)
            gradients.append(learned_gradients(spin(action, before, [table], decay=0.0)[0], table))
        z = z_scores(torch.stack(gradients), exact)
        assert z.max() < 4.5 if name == "converged" else z.max() > 6


# What a caller relies on.

BLIND_TO_AMPLITUDE = (
    "vamp-1",
    "vamp-2",
    "dpnet",
    "dpnet-relaxed",
    "spin",
    "neuralef",
    "neural-eigenmaps",
    "augmented-lagrangian-laplacian",
)


@pytest.mark.parametrize("name", TIED)
def test_two_different_sides_are_refused_by_objectives_for_tied_ones(name):
    f, g = table_of(39), table_of(40)
    action = Action(*(t.T.expand(2, LEARNED, STATES) for t in (f, g, g, f)))
    with pytest.raises(InputError, match="tied sides"):
        loss_of(name, [f, g])(action)


def test_known_functions_are_rescaled_and_the_others_left_alone():
    problem, table = transfer_problem(0.8), table_of(41)
    action = problem.action(table)
    shifted = affine(action, 0.5, 0.5)
    assert shifted.known == pytest.approx((0.9,))
    assert shifted.tied
    norms = gram(shifted.f, shifted.f).diagonal()
    assert norms[0].item() == pytest.approx(0.9, rel=1e-12)
    torch.testing.assert_close(norms[1:], gram(action.f, action.f).diagonal()[1:])
    torch.testing.assert_close(shifted.Tf[:, 0], 0.9 * shifted.f[:, 0])
    # Tied sides cannot represent a negative eigenvalue: the known function then counts for nothing.
    assert gram(affine(action, 1.0, -2.0).f, action.f)[0].abs().max() == 0
    other = Action(f=action.f, Tg=2 * action.Tg, g=2 * action.g, Tf=action.Tf, known=action.known)
    assert gram(with_squared_norms(other, (0.2,)).f, other.g)[0, 0].item() == pytest.approx(1.6 * (0.2 / 0.8) ** 0.5)


@pytest.mark.parametrize("name", BLIND_TO_AMPLITUDE)
def test_amplitude_of_known_functions_does_not_matter(name):
    """To scores of spans and to frameworks with an orthonormal optimum, which rescale what is known."""
    problem, table = transfer_problem(), table_of(42)
    action = problem.action(table)
    factors = torch.ones(LEARNED + 1, 1, dtype=torch.float64)
    factors[0] = 0.5
    f, Tf = action.f * factors, action.Tf * factors
    loss = loss_of(name, [table])
    torch.testing.assert_close(loss(Action.with_tied_sides(f, Tf, (0.25,))), loss(action), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_diverged_functions_give_no_number_instead_of_an_error(name):
    """So that the training loop can say what happened."""
    problem, table = transfer_problem(), table_of(45)
    with torch.no_grad():
        table[2, 1] = torch.nan
    assert loss_of(name, [table])(problem.action(table)).isnan()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_registry_tells_what_a_framework_needs(name):
    framework = OBJECTIVES[name]
    needs = dict.fromkeys(("tied", "separate_networks", "positive", "contraction"), True)
    check_combination(name, **needs)
    for key in needs:
        if getattr(framework, key):
            with pytest.raises(InputError, match=name):
                check_combination(name, **{**needs, key: False})
        else:
            check_combination(name, **{**needs, key: False})


def test_names_and_options_that_do_not_exist():
    with pytest.raises(InputError, match=r"'vamp' is unknown; choose one of joint, .*graph-drawing"):
        build_objective("vamp", [])
    with pytest.raises(InputError, match="'trace-penalty' has no option 'barrier'; its options: penalty"):
        loss_of("trace-penalty", [], barrier=1.0)
    with pytest.raises(InputError, match="its options: none"):
        build_objective("low-rank", [], penalty=1.0)
    with pytest.raises(InputError, match="'symmetric-low-rank-product' is another name of 'low-rank': choose that"):
        build_objective("symmetric-low-rank-product")


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name, framework in OBJECTIVES.items() for option in framework.options if name != "joint"],
)
def test_options_reach_the_formula(name, option):
    problem, table = transfer_problem(), table_of(43)
    value = 3 if option == "step" else 0.9
    outcomes = []
    for options in ({}, {option: value}):
        objective, state = objective_of(name, [table], **options), {}
        for scale in (1.0, 0.5, 0.2):
            table.data *= scale
            loss, state = objective(problem.action(table), state)
            outcomes.append(torch.cat((loss.detach()[None], learned_gradients(loss, table).flatten())))
            table.data /= scale
    assert (torch.stack(outcomes[:3]) - torch.stack(outcomes[3:])).abs().max() > 1e-3


def test_products_of_expectations_in_orbital_minimisation_are_those_of_the_u_statistic():
    """gram_product of four different sets of functions: ⟨f_i, f_j⟩⟨f_i, T f_j⟩ over pairs of different rows."""
    generator = torch.Generator().manual_seed(44)
    f, Tf = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64)
    first = torch.einsum("bik,bjk->bij", f, f)
    second = torch.einsum("bik,bjk->bij", f, Tf)
    expected = sum(first[b] * second[c] for b in range(5) for c in range(5) if b != c) / 20
    torch.testing.assert_close(gram_product(f, f, g_other=Tf), expected)


# Rows that lie with several processes.


@pytest.fixture
def as_one_of_two_processes(monkeypatch):
    """A context in which another process holds the very same rows: sums over rows, and their number, are doubled."""

    doubled = {linalg.total: lambda sums: sums + sums.detach(), linalg.n_rows: lambda rows: 2 * rows}

    @contextlib.contextmanager
    def context():
        with monkeypatch.context() as patch:
            modules = [module for name, module in sys.modules.items() if name.startswith("spectraldyn.")]
            for original, replacement in doubled.items():
                for module in modules:
                    if vars(module).get(original.__name__) is original:
                        patch.setattr(module, original.__name__, replacement)
            yield

    return context


def repeated(batch: Batch) -> Batch:
    return Batch(torch.cat((batch.x, batch.x)), torch.cat((batch.y, batch.y)))


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        *((name, reversible_transfer) for name in OBJECTIVES),
        *((name, transfer) for name in OBJECTIVES if name not in TIED),
        ("joint", integral_kernel(lambda x, y: torch.exp(-(x - y).double().square() / 8))),
    ],
)
def test_all_averages_are_taken_over_the_rows_of_all_processes(name, operator, as_one_of_two_processes):
    """Loss, state and the sum of the gradients are those of one process that holds all rows."""
    generator = torch.Generator().manual_seed(46)
    batches = [Batch(*torch.randint(STATES, (2, 6), generator=generator)) for _ in range(2)]
    tables = [table_of(47, scale=1.0), table_of(48, scale=1.0)]
    objective = objective_of(name, tables)

    def outcome(batches):
        state = {}
        for batch in batches:
            loss, state = objective(operator(lambda s: tables[0][s], lambda s: tables[1][s], batch), state)
        return loss, state, torch.autograd.grad(loss, tables, materialize_grads=True)

    loss, state, gradients = outcome([repeated(batch) for batch in batches])
    with as_one_of_two_processes():
        own_loss, own_state, own_gradients = outcome(batches)
    torch.testing.assert_close(own_loss, loss)
    torch.testing.assert_close(own_state, state)
    torch.testing.assert_close([2 * gradient for gradient in own_gradients], list(gradients))


def test_weights_are_divided_by_their_mean_over_all_processes(as_one_of_two_processes):
    states, weight, rows = torch.zeros(4, 1), torch.tensor([1.0, 2, 3, 4]), torch.arange(4)
    with as_one_of_two_processes():
        samples = WeightedSamples(states, weight, rows, rows[:0])
    torch.testing.assert_close(samples.weight, weight / 2.5)
