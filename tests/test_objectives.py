"""Objectives: exact optima on a finite state space, and what a caller relies on."""

from collections.abc import Callable

import pytest
import torch
from finite_chains import (
    LEARNED,
    STATES,
    TIED,
    Problem,
    assert_same,
    kernel_problem,
    learned_gradients,
    loss_of,
    objective_of,
    table_of,
    transfer_problem,
)
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.linalg import gram
from spectraldyn.objectives import (
    OBJECTIVES,
    block_nesting,
    build_objective,
    check_combination,
    dpnet_relaxed_loss,
    joint_nesting,
    low_rank_loss,
)
from spectraldyn.objectives.known import affine, with_squared_norms
from spectraldyn.records import Action


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
