"""Self-adjoint operators on a finite state space, where expectations are exact sums; for the tests of objectives."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from spectraldyn.errors import InputWarning
from spectraldyn.objectives import OBJECTIVES, build_objective
from spectraldyn.records import Action, Objective

STATES, LEARNED = 8, 3
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
