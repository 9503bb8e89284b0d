"""Operators: what they do to exact eigenfunctions, under exact quadrature, and how they weigh samples."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import hermite_e, legendre

from spectraldyn.errors import InputError
from spectraldyn.linalg import gram
from spectraldyn.objectives import low_rank_loss
from spectraldyn.operators import (
    energy_space_resolvent,
    integral_kernel,
    reversible_transfer,
    schroedinger,
    shifted_generator,
    transfer,
)
from spectraldyn.records import Batch
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz
from spectraldyn.systems import SYSTEMS, Separable, double_well, hydrogen, ornstein_uhlenbeck

SHIFT = 3.0


def polynomials(coefficients: np.ndarray, basis: str, scale: float = 1.0):
    """Functions Σ_n c_n P_n(x/scale) of one coordinate (B, 1) → (B, L), differentiable, by the basis' recurrence."""
    c = torch.tensor(coefficients)

    def functions(x):
        z = x[:, :1] / scale
        terms = [torch.ones_like(z), z]
        for n in range(1, len(c) - 1):
            if basis == "legendre":
                terms.append(((2 * n + 1) * z * terms[-1] - n * terms[-2]) / (n + 1))
            else:
                terms.append(z * terms[-1] - n * terms[-2])
        return torch.cat(terms[: len(c)], dim=1) @ c

    return functions


def galerkin(system, n_modes, n_basis, n_points=400):
    """Eigenfunctions of a one-dimensional generator as Legendre series, with the quadrature they are exact under."""
    ((low, high),) = system.domain
    nodes, weights = legendre.leggauss(n_points)
    half = (high - low) / 2
    x = torch.tensor((low + high) / 2 + half * nodes)[:, None]
    density = torch.exp(-system.beta * system.energy(x)).numpy()
    weights = weights * density / (weights @ density)
    values = legendre.legvander(nodes, n_basis)
    slopes = legendre.legval(nodes, legendre.legder(np.eye(n_basis + 1))).T / half
    diffusion = system.diffusion(x).numpy() if callable(system.diffusion) else system.diffusion
    stiffness = slopes.T @ ((weights * diffusion)[:, None] * slopes)
    mass = values.T @ (weights[:, None] * values)
    # An orthonormal basis first: the mass matrix of many polynomials is close to singular.
    variances, directions = np.linalg.eigh(mass)
    basis = directions[:, variances > 1e-13] / np.sqrt(variances[variances > 1e-13])
    rates, vectors = np.linalg.eigh(basis.T @ stiffness @ basis)
    return rates[1 : n_modes + 1], basis @ vectors[:, 1 : n_modes + 1], x, torch.tensor(weights)


def rates_of(operator, functions, x, weights, invert):
    """Rates from the diagonal of the projected operator under a quadrature rule."""
    action = operator(functions, functions, Batch(x, weight=len(weights) * weights))
    a, b = gram(action.f, action.f)[1:, 1:], gram(action.f, action.Tg)[1:, 1:]
    values = torch.diagonal(b) / torch.diagonal(a)
    return invert(values)


def both_forms(system, functions, x, weights):
    energy = rates_of(
        energy_space_resolvent(system.diffusion, SHIFT), functions, x, weights, lambda v: SHIFT * (1 / v - 1)
    )
    strong = rates_of(
        shifted_generator(system.force, system.diffusion, SHIFT, system.beta),
        functions, x, weights, lambda v: SHIFT * (1 - v),
    )  # fmt: skip
    return energy, strong


def test_the_two_forms_agree_on_the_double_well():
    system = double_well(2.0)
    rates, coefficients, x, weights = galerkin(system, 3, 90)
    energy, strong = both_forms(system, polynomials(coefficients, "legendre", system.domain[0][1]), x, weights)
    torch.testing.assert_close(energy, torch.tensor(rates), rtol=1e-8, atol=0)
    torch.testing.assert_close(strong, torch.tensor(rates), rtol=1e-8, atol=0)
    np.testing.assert_allclose(rates, system.rates(3), rtol=1e-6)


def test_the_two_forms_agree_where_diffusion_depends_on_position():
    system = SYSTEMS["legendre-diffusion"]
    nodes, weights = legendre.leggauss(40)
    coefficients = np.eye(5)[:, 1:]
    exact = torch.tensor([2.0, 6.0, 12.0, 20.0], dtype=torch.float64)
    energy, strong = both_forms(
        system, polynomials(coefficients, "legendre"), torch.tensor(nodes)[:, None], torch.tensor(weights / 2)
    )
    torch.testing.assert_close(energy, exact, rtol=1e-10, atol=0)
    torch.testing.assert_close(strong, exact, rtol=1e-10, atol=0)


def test_the_two_forms_agree_in_twelve_dimensions():
    """Eigenfunctions of two of the coordinates: quadrature in these two, the other ten wherever they like."""
    stiffness = np.linspace(0.5, 3.0, 12)
    system = Separable(tuple(ornstein_uhlenbeck(float(k)) for k in stiffness))
    nodes, weights = hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    first, second = np.meshgrid(nodes, nodes, indexing="ij")
    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 0] = torch.tensor(first.ravel() / math.sqrt(stiffness[0]))
    x[:, 5] = torch.tensor(second.ravel() / math.sqrt(stiffness[5]))

    def functions(states):
        u, v = states[:, 0] * math.sqrt(stiffness[0]), states[:, 5] * math.sqrt(stiffness[5])
        return torch.stack((u, v, u * v, (u**2 - 1) * v, u**3 - 3 * u), dim=1)

    a, b = stiffness[0], stiffness[5]
    exact = torch.tensor([a, b, a + b, 2 * a + b, 3 * a])
    energy, strong = both_forms(system, functions, x, torch.tensor(np.outer(weights, weights).ravel()))
    torch.testing.assert_close(energy, exact, rtol=1e-8, atol=0)
    torch.testing.assert_close(strong, exact, rtol=1e-8, atol=0)
    # Strong form: the eigenvalue equation holds state by state, wherever the other coordinates are.
    action = shifted_generator(system.force, system.diffusion, SHIFT)(functions, functions, Batch(x))
    image, value = action.Tg[:, 1:, 0], action.f[:, 1:, 0]
    torch.testing.assert_close(SHIFT * (image - value), -exact * value, rtol=1e-8, atol=1e-8)


def test_matrix_diffusion_is_that_of_a_rotated_and_stretched_process():
    """y = A x turns D = 1 into AAᵀ and the spring k = 1 into one of energy |A⁻¹y|²/2: rates 1 and 2 stay."""
    mix = torch.tensor([[1.0, 0.4], [-0.3, 1.7]], dtype=torch.float64)
    back = torch.linalg.inv(mix)
    nodes, weights = hermite_e.hermegauss(12)
    grid = torch.tensor(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2))
    weight = torch.tensor(np.outer(weights, weights).ravel() / weights.sum() ** 2)
    y = grid @ mix.T

    def functions(states):
        x = states @ back.T
        return torch.stack((x[:, 0], x[:, 1], x[:, 0] * x[:, 1]), dim=1)

    exact = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    constant = mix @ mix.T
    for diffusion in (constant, lambda s: constant.expand(len(s), 2, 2)):
        energy = rates_of(energy_space_resolvent(diffusion, SHIFT), functions, y, weight, lambda v: SHIFT * (1 / v - 1))
        strong = rates_of(
            shifted_generator(lambda s: -s @ back.T @ back, diffusion, SHIFT),
            functions, y, weight, lambda v: SHIFT * (1 - v),
        )  # fmt: skip
        torch.testing.assert_close(energy, exact, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(strong, exact, rtol=1e-10, atol=1e-10)


def test_matrix_diffusion_that_depends_on_position_has_its_divergence_in_the_drift():
    """Two Legendre diffusions, rotated: P_n P_m stay eigenfunctions, state by state, with rates that add."""
    c, s = math.cos(0.7), math.sin(0.7)
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)

    def diffusion(y):
        return rotation @ torch.diag_embed(1 - (y @ rotation) ** 2) @ rotation.T

    def functions(y):
        u, v = (y @ rotation).unbind(dim=1)
        return torch.stack((u, v, u * v, 1.5 * u**2 - 0.5, (1.5 * u**2 - 0.5) * v), dim=1)

    y = (1.6 * torch.rand(30, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 0.8) @ rotation.T
    action = shifted_generator(torch.zeros_like, diffusion, SHIFT)(functions, functions, Batch(y))
    value, image = action.f[:, 1:, 0], action.Tg[:, 1:, 0]
    exact = torch.tensor([2.0, 2.0, 4.0, 6.0, 8.0], dtype=torch.float64)
    torch.testing.assert_close(SHIFT * (image - value), -exact * value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", ["energy-space", "strong"])
def test_weights_stand_for_samples_of_another_law(form):
    """Rows drawn evenly but weighted by π give what rows drawn from π give: here both by quadrature."""
    system = ornstein_uhlenbeck()
    operator = (
        energy_space_resolvent(1.0, SHIFT) if form == "energy-space" else shifted_generator(system.force, 1.0, SHIFT)
    )
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    density = torch.exp(-(x[:, 0] ** 2) / 2)
    weights = density / density.sum()

    def functions(states):
        return torch.cat((states, states**2 - 1, states**3), dim=1)

    weighted = operator(functions, functions, Batch(x, weight=len(x) * weights))
    nodes, gauss = hermite_e.hermegauss(30)
    plain = operator(functions, functions, Batch(torch.tensor(nodes)[:, None]))
    gauss = torch.tensor(gauss / gauss.sum())

    def under_gauss(f, g):
        return torch.einsum("b,bik,bjk->ij", gauss, f, g)

    for pair in (("f", "f"), ("f", "Tg")):
        a, b = (getattr(weighted, part) for part in pair)
        c, d = (getattr(plain, part) for part in pair)
        torch.testing.assert_close(gram(a, b), under_gauss(c, d), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "operator",
    [transfer, reversible_transfer, energy_space_resolvent(1.0, 0.3), shifted_generator(lambda x: -x, 1.0, 0.3)],
    ids=["transfer", "reversible", "energy space", "strong form"],
)
def test_the_known_constant_leaves_no_residual(operator):
    """A function proportional to the constant has nothing to gain: gradient 0, loss −1 = −σ₀², for any shift."""
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)

    def constant(states):
        return scale * torch.ones_like(states)

    action = operator(constant, constant, Batch(x, x))
    (gradient,) = torch.autograd.grad(low_rank_loss(action), scale)
    assert abs(float(gradient)) < 1e-12
    assert action.known == (1.0,)
    assert low_rank_loss(action).item() == pytest.approx(-1.0, abs=1e-12)


def test_hydrogen_states_are_eigenfunctions_state_by_state():
    """e^{−r} and x e^{−r/3} of −∇² − 1/r, away from the nucleus in single directions."""
    system = hydrogen()

    def functions(x):
        r = x.norm(dim=1)
        return torch.stack((torch.exp(-r), x[:, 0] * torch.exp(-r / 3)), dim=1)

    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    action = schroedinger(system.potential)(functions, functions, Batch(x))
    exact = -torch.tensor(system.energies(2))
    torch.testing.assert_close(action.Tg[:, :, 0], exact * functions(x), rtol=1e-9, atol=1e-9)
    shifted = schroedinger(system.potential, shift=2.0, scale=4.0)(functions, functions, Batch(x))
    torch.testing.assert_close(shifted.Tg[:, :, 0], (2 + exact) / 4 * functions(x), rtol=1e-9, atol=1e-9)


def test_integral_kernel_averages_over_all_pairs():
    def kernel(x, y):
        return torch.exp(x[..., 0] * y[..., 0])

    x, y = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f, g = torch.cat((x, x**2), dim=1), torch.cat((y**3, y), dim=1)
    action = integral_kernel(kernel)(
        lambda s: torch.cat((s, s**2), dim=1), lambda s: torch.cat((s**3, s), dim=1), Batch(x, y)
    )
    by_hand = sum(math.exp(float(x[b, 0] * y[c, 0])) * torch.outer(f[b], g[c]) for b in range(5) for c in range(5)) / 25
    torch.testing.assert_close(gram(action.f, action.Tg), by_hand)
    torch.testing.assert_close(gram(action.Tf, action.g), by_hand)


def test_projection_takes_known_modes_out():
    """Functions that lean on the constant still give the spectrum of the rest."""
    random = np.random.default_rng(0)
    values = np.array([1.0, 0.8, 0.5, 0.1])
    mix = np.eye(4)
    mix[1:, :] = random.normal(size=(3, 4))
    mix[1:, 1:] += 2 * np.eye(3)
    averages = (mix @ mix.T, mix @ np.diag(values) @ mix.T, mix @ mix.T)
    for tied in (True, False):
        found = rayleigh_ritz(averages, tied=tied)
        np.testing.assert_allclose(found.values, values[1:], atol=1e-12)
        np.testing.assert_allclose(np.abs(found.left.T @ mix), np.eye(4)[1:], atol=1e-10)


def test_a_pair_operator_says_that_it_needs_pairs():
    with pytest.raises(InputError, match="has no y"):
        transfer(lambda x: x, lambda x: x, Batch(torch.zeros(2, 1)))
