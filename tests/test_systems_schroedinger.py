"""Schrödinger operators: closed forms against grids, a radial solve, and their own equation."""

import numpy as np
import pytest
import torch
from numpy.polynomial import laguerre
from scipy.linalg import eigh
from scipy.special import mathieu_a, mathieu_b

from spectraldyn.errors import InputError
from spectraldyn.systems import (
    SCHROEDINGER,
    Schroedinger,
    SchroedingerSum,
    cosine_well,
    harmonic_oscillator,
    hydrogen,
    infinite_well,
)

ON_A_LINE = {"box": infinite_well(2.0), "oscillator": harmonic_oscillator(1.5), "circle": cosine_well(2.0)}


@pytest.mark.parametrize("name", ON_A_LINE)
def test_closed_forms_on_a_line_agree_with_the_grid(name):
    closed = ON_A_LINE[name]
    grid = Schroedinger(closed.potential, closed.domain, closed.periodic)
    np.testing.assert_allclose(closed.energies(5), grid.energies(5), atol=1e-8)
    ((low, high),) = closed.domain
    x = low + (high - low) * (np.arange(4000) + 0.5) / 4000
    exact, computed = closed.eigenfunctions(x[:, None], 5), grid.eigenfunctions(x[:, None], 5)
    step = (high - low) / len(x)
    np.testing.assert_allclose(exact.T @ exact * step, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(np.abs(exact.T @ computed) * step, np.eye(5), atol=1e-5)


def test_box_oscillator_and_hydrogen_have_their_known_levels():
    np.testing.assert_allclose(infinite_well(2.0).energies(3), np.pi**2 / 4 * np.array([1, 4, 9]))
    np.testing.assert_allclose(harmonic_oscillator(1.5).energies(3), [1.5, 4.5, 7.5])
    np.testing.assert_allclose(SCHROEDINGER["harmonic-oscillator-2d"].energies(6), [2, 4, 4, 6, 6, 6])
    np.testing.assert_allclose(SCHROEDINGER["infinite-well-2d"].energies(4), np.pi**2 * np.array([2, 5, 5, 8]))
    np.testing.assert_allclose(hydrogen().energies(9), [-1, *[-1 / 9] * 3, *[-1 / 25] * 5])


def test_the_circle_has_mathieus_characteristic_values():
    """y″ + (a − 2q cos 2v) y = 0 with x = 2v, so that E = a/4 and q = 2c."""
    amplitude = 0.7
    exact = [mathieu_a(0, 2 * amplitude), mathieu_b(2, 2 * amplitude), mathieu_a(2, 2 * amplitude)]
    np.testing.assert_allclose(cosine_well(amplitude).energies(3), np.array(exact) / 4, rtol=1e-9)


def test_sums_have_summed_energies_and_products_of_functions():
    torus = SCHROEDINGER["cosine-torus-schroedinger"]
    lowest = [part.energies(3) for part in torus.parts]
    ground = sum(levels[0] for levels in lowest)
    excited = sorted(ground - levels[0] + level for levels in lowest for level in levels[1:])
    np.testing.assert_allclose(torus.energies(4), [ground, *excited[:3]], rtol=1e-12)
    points = np.random.default_rng(0).uniform(0, 2 * np.pi, (20_000, 5))
    functions = torus.eigenfunctions(points, 3) * (2 * np.pi) ** 2.5
    products = functions[:, :, None] * functions[:, None, :]
    errors = products.std(axis=0) / np.sqrt(len(points))
    assert (np.abs(products.mean(axis=0) - np.eye(3)) < 4 * errors).all()
    x = torch.from_numpy(points[:3])
    np.testing.assert_allclose(torus.potential(x), np.cos(points[:3]) @ [0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_plane_is_solved_on_a_grid():
    plane = Schroedinger(lambda x: x[..., 0] ** 2 + 4 * x[..., 1] ** 2, [(-7, 7), (-5, 5)])
    whole = SchroedingerSum((harmonic_oscillator(1.0), harmonic_oscillator(2.0)))
    np.testing.assert_allclose(plane.energies(3), [3, 5, 7], rtol=1e-5)
    points = np.random.default_rng(1).normal(size=(50, 2))
    np.testing.assert_allclose(
        np.abs(plane.eigenfunctions(points, 2)), np.abs(whole.eigenfunctions(points, 2)), atol=1e-3
    )


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_hydrogen_by_a_radial_solve(m):
    """−u″ − u′/r + m²/r² − 1/r on r^m e^{−ar} times polynomials, integrated by Gauss–Laguerre quadrature."""
    rate, degree = 0.2, 16
    nodes, weights = laguerre.laggauss(60)
    r = nodes / (2 * rate)
    weights = weights / (2 * rate)  # of e^{−2ar} dr
    basis = laguerre.lagvander(nodes, degree)
    slopes = np.stack([laguerre.lagval(nodes, laguerre.lagder(row)) for row in np.eye(degree + 1)], axis=1) * 2 * rate
    values = r[:, None] ** m * basis
    derivatives = r[:, None] ** m * (slopes - rate * basis) + m * r[:, None] ** (m - 1.0) * basis
    kinetic = derivatives.T @ ((weights * r)[:, None] * derivatives)
    angular = values.T @ ((weights / r)[:, None] * values) * m**2
    attraction = values.T @ (weights[:, None] * values)
    norm = values.T @ ((weights * r)[:, None] * values)
    levels = eigh(kinetic + angular - attraction, norm, eigvals_only=True)[:3]
    np.testing.assert_allclose(levels, [-1 / (2 * n + 1) ** 2 for n in range(m, m + 3)], rtol=1e-4)


def test_hydrogens_eigenfunctions_solve_its_equation():
    system, h = hydrogen(), 2e-2
    angle = np.linspace(0.1, 6.2, 12)
    points = np.linspace(1, 20, 12)[:, None] * np.column_stack((np.cos(angle), np.sin(angle)))

    def at(x, y):
        return system.eigenfunctions(points + h * np.array([x, y]), 16)

    laplacian = sum(
        (-at(2 * x, 2 * y) + 16 * at(x, y) - 30 * at(0, 0) + 16 * at(-x, -y) - at(-2 * x, -2 * y)) / (12 * h**2)
        for x, y in ((1, 0), (0, 1))
    )
    potential = system.potential(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(-laplacian + potential[:, None] * at(0, 0), at(0, 0) * system.energies(16), atol=1e-7)


def test_hydrogens_eigenfunctions_are_orthonormal():
    nodes, weights = laguerre.laggauss(120)
    r, radial = nodes * 1.5, weights * np.exp(nodes) * nodes * 1.5**2
    angle = 2 * np.pi * np.arange(16) / 16
    points = np.stack((np.outer(r, np.cos(angle)), np.outer(r, np.sin(angle))), axis=-1).reshape(-1, 2)
    weight = np.repeat(radial, 16) * 2 * np.pi / 16
    functions = hydrogen().eigenfunctions(points, 16)
    np.testing.assert_allclose(functions.T @ (weight[:, None] * functions), np.eye(16), atol=1e-8)


def test_three_dimensions_need_a_closed_form():
    with pytest.raises(InputError, match="a potential in 3 dimensions has no reference on a grid"):
        Schroedinger(lambda x: (x**2).sum(-1), [(-5, 5)] * 3).energies(2)
