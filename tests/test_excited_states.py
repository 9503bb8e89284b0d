"""Walkers in the density of learned functions, and the energies of excited states, against exact answers."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.experiments import excited_states, self_sampling
from analysis.experiments.self_sampling import (
    DeterminantSamples,
    SpanSamples,
    Start,
    energies_of,
    hamiltonian,
    local_action,
    local_energies,
    low_variance_action,
    natural_excited_states,
)
from spectraldyn import Batch
from spectraldyn.learning import loop
from spectraldyn.networks.derivatives import value_gradient_and_second
from spectraldyn.objectives import build_objective
from spectraldyn.operators import schroedinger

START = Start(spread=1.0, widths=(0.7, 2.0), reference=0.8, n_inputs=1, n_sweeps=3)
NODES, WEIGHTS = np.polynomial.hermite.hermgauss(40)


class Oscillator(nn.Module):
    """Combinations of e^{−a x²/2} (1, x, x²): for a = 1 they span the states of −d²/dx² + x² with energies 1, 3, 5."""

    def __init__(self, mixing: torch.Tensor, a: float = 1.0):
        super().__init__()
        self.mixing, self.a = nn.Parameter(mixing.double()), a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        powers = x.double() ** torch.arange(3)
        return torch.exp(-self.a * x.square() / 2) * (powers @ self.mixing)


def potential(x):
    return x[:, 0] ** 2


MIXED = torch.tensor([[1.0, 0.5, 0.2], [-0.3, 2.0, 0.1], [0.4, -1.0, 0.3]])


def z_score(values, exact):
    return abs(float(values.mean()) - exact) / (float(values.std()) / len(values) ** 0.5)


def test_walkers_have_the_density_of_the_span_and_weights_that_make_integrals():
    network = Oscillator(MIXED)
    samples, generator = SpanSamples(network, START), torch.Generator().manual_seed(0)
    for _ in range(60):
        batch = samples.draw(4000, generator)
    # ⟨x²⟩ of state k is k + ½, and each of the three states is visited alike.
    assert z_score(batch.x[:, 0] ** 2, 1.5) < 4
    x = torch.tensor(NODES)[:, None]
    exact = network(x).T @ (network(x) * torch.tensor(WEIGHTS)[:, None] * torch.exp(x**2))
    functions = network(batch.x)
    found = functions.T @ (functions * batch.weight[:, None]) / len(functions)
    scale = exact.diagonal().sqrt()
    assert ((found - exact) / torch.outer(scale, scale)).abs().max() < 0.05
    assert ((samples.overlap - exact) / torch.outer(scale, scale)).abs().max() < 0.03
    assert np.isclose(float(samples.inverse_z), 1 / 3, rtol=0.03)
    assert 0.3 < samples.acceptance < 0.9


def test_configurations_come_from_the_square_of_the_determinant():
    samples = DeterminantSamples(Oscillator(MIXED), 3, START)
    x = samples.draw(12_000, torch.Generator().manual_seed(0)).x.unflatten(0, (-1, 3))[:, :, 0]
    squares = x.square().sum(dim=1)
    assert z_score(squares, 4.5) < 4
    # Σ_{i≠j} x_i x_j has the mean −Σ ⟨i|x|j⟩² = −2 (½ + 1): points that were independent would have 0.
    assert z_score(x.sum(dim=1).square() - squares, -3.0) < 4


def test_every_configuration_has_the_exact_energies_of_exact_states():
    x = torch.randn(150, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        parts = (part.unflatten(0, (-1, 3)) for part in hamiltonian(potential, Oscillator(MIXED), x))
        matrices = local_energies(*parts)
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(matrices.numpy()).real), np.tile([1, 3, 5], (50, 1)), rtol=1e-5
    )


def test_energies_have_no_variance_for_exact_states_and_honest_errors_for_others():
    for a, tolerance in ((1.0, 1e-9), (1.3, None)):
        network = Oscillator(MIXED, a)
        energies, errors = energies_of(network, potential, SpanSamples(network, START), 512, 30, seed=0)
        if tolerance:
            np.testing.assert_allclose(energies, [1, 3, 5], rtol=tolerance)
            assert errors.max() < tolerance
            continue
        x, weight = torch.tensor(NODES)[:, None], torch.tensor(WEIGHTS * np.exp(NODES**2))[:, None]
        with torch.no_grad():
            value, image = hamiltonian(potential, network, x)
        exact = np.sort(np.linalg.eigvals(np.linalg.solve(value.T @ (weight * value), value.T @ (weight * image))).real)
        assert exact[2] > 5.05
        assert np.abs((energies - exact) / errors).max() < 4
        assert errors.max() < 0.05


@pytest.mark.parametrize(("n_states", "tolerance"), [(1, 0.002), (2, 0.1)])
def test_the_gradient_of_natural_excited_states_is_that_of_the_sum_of_energies(monkeypatch, n_states, tolerance):
    monkeypatch.setattr(self_sampling, "CLIP", 1e9)
    x = torch.linspace(-5, 5, 61, dtype=torch.float64)[:, None]
    network = Oscillator(torch.tensor([[1.0, 0.5], [0.3, 2.0], [0.4, -1.0]])[:, :n_states], 1.3)
    value, image = hamiltonian(potential, network, x)
    (exact,) = torch.autograd.grad(torch.linalg.solve(value.T @ value, value.T @ image).trace(), network.mixing)
    # Every configuration as often as it would be drawn; two points near each other, where Ψ is small, are too few.
    values = value.detach()
    if n_states == 1:
        points, square = x, values.square()
    else:
        points = torch.cartesian_prod(x[:, 0], x[:, 0])
        square = (values[:, None, 0] * values[None, :, 1] - values[:, None, 1] * values[None, :, 0]).square()
    times = (200_000 * square / square.sum()).round().long().flatten()
    rows = points.repeat_interleave(times, dim=0).reshape(-1, 1)
    loss, _ = natural_excited_states(local_action(potential)(network, network, Batch(rows)), {})
    (found,) = torch.autograd.grad(loss, network.mixing)
    assert exact.abs().max() > 0.1
    assert (found - exact).abs().max() < tolerance * exact.abs().max()


def test_holding_the_image_fixed_leaves_the_gradient_of_nested_approximation():
    network = Oscillator(MIXED, 1.3)
    batch = Batch(torch.tensor(NODES)[:, None], weight=torch.tensor(40 * WEIGHTS * np.exp(NODES**2)))
    joint = build_objective("joint")
    gradients = [
        torch.autograd.grad(joint(operator(network, network, batch), {})[0], network.mixing)[0]
        for operator in (schroedinger(potential, 7.0, 2.0), low_variance_action(potential, 7.0, 2.0))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", list(excited_states.SYSTEMS))
def test_networks_carry_their_own_derivatives(name):
    torch.manual_seed(0)
    network = excited_states.SYSTEMS[name].network(8)[0].double()
    x = torch.randn(6, 2, dtype=torch.float64)
    value, _, laplacian = value_gradient_and_second(network, x)
    hessian = torch.func.vmap(torch.func.hessian(lambda row: network(row[None])[0]))(x)
    torch.testing.assert_close(value, network(x))
    torch.testing.assert_close(laplacian, hessian.diagonal(dim1=2, dim2=3).sum(dim=2))
    if name == "hydrogen":
        near, nearer = (hamiltonian(excited_states.SYSTEMS[name].potential, network, x * h)[1] for h in (1e-4, 1e-6))
        assert (near - nearer).abs().max() < 0.01 * near.abs().max()  # 1/r would grow by 100


def test_both_objectives_find_the_states_of_the_oscillator(tmp_path, monkeypatch):
    monkeypatch.setattr(excited_states, "WIDE", 40)
    monkeypatch.setattr(loop, "EVALUATIONS", 2)
    case = {"system": "oscillator", "seed": 0, "n_steps": 10, "walkers": 16, "width": 40, "learning_rate": 3e-5}
    rows = []
    for objective in excited_states.OBJECTIVES:
        row = {**case, "objective": objective}
        rows += [{**row, **excited_states.measure(row, n_draws=20, n_begin=20)[0]}]
        assert excited_states.largest_error(rows[-1]) < 5
    for row in rows[:2]:
        nine = {key: row[key][:9] for key in ("exact", "energies", "standard errors")}
        trace = [{**point, "energies": point["energies"][:9]} for point in row["trace"]]
        rows.append({**row, "system": "hydrogen", **nine, "trace": trace})
        rows.append({**row, "system": "oscillator, 16 units"})
    assert len(excited_states.tables(rows)["Energies"]) == 29
    assert "missed" in excited_states.text(rows)
    excited_states.figure(rows).savefig(tmp_path / "figure.png")
