"""Objectives in batches: bias by z-test, the state from batch to batch, rows that several processes hold."""

import contextlib
import sys

import pytest
import torch
from finite_chains import (
    LEARNED,
    STATES,
    TIED,
    joint_law,
    learned_gradients,
    loss_of,
    objective_of,
    table_of,
    transfer_problem,
    with_known_norm,
)
from torch import Tensor

from spectraldyn import learning, linalg
from spectraldyn.data.samples import PairSamples, Rows, WeightedSamples
from spectraldyn.errors import InputError
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import OBJECTIVES, augmented_lagrangian_laplacian, spin
from spectraldyn.operators import integral_kernel, reversible_transfer, transfer
from spectraldyn.records import Batch

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


@pytest.mark.usefixtures("kept_at_every_evaluation")
@pytest.mark.parametrize("name", STATEFUL)
def test_a_training_that_was_interrupted_goes_on_with_its_state(name, tmp_path):
    """From the checkpoint of half of the steps to the very parameters of a training that went straight through."""
    rows = torch.arange(40)
    states = torch.randn(41, 2, generator=torch.Generator().manual_seed(49))
    data = PairSamples(Rows(states), 1, rows[:30], rows[30:])

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

        schedule = learning.Schedule(50, batch_size=8, learning_rate=1e-2, average_share=0.1, tolerance=1.0)
        learning.learn(reversible_transfer, data, Sides(network), objective, schedule, seed=0, checkpoint=checkpoint)
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


def test_a_kernel_whose_rows_lie_with_several_processes_is_refused(as_one_of_two_processes):
    states = torch.zeros(3, 1)
    operator = integral_kernel(lambda x, y: torch.exp(-(x - y).square().sum(dim=2)))
    with as_one_of_two_processes(), pytest.raises(InputError, match="every x of a batch meets every y"):
        operator(lambda x: x, lambda y: y, Batch(states, states))


def test_weights_are_divided_by_their_mean_over_all_processes(as_one_of_two_processes):
    states, weight, rows = torch.zeros(4, 1), torch.tensor([1.0, 2, 3, 4]), torch.arange(4)
    with as_one_of_two_processes():
        samples = WeightedSamples(Rows(states), weight, rows, rows[:0])
    torch.testing.assert_close(samples.weight, weight / 2.5)
