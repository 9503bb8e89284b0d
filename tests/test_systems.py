"""Reference spectra against independently computed ones: other discretisations, closed forms, published figures."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre
from problems import EXACT_TIMESCALES
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import eigsh

from spectraldyn.errors import InputError
from spectraldyn.systems import (
    SYSTEMS,
    Mapped,
    Overdamped,
    Separable,
    cosine_circle,
    double_well,
    mixed_double_wells,
    oracle_timescales,
    ornstein_uhlenbeck,
    prinz,
)
from spectraldyn.systems.spectrum import smallest_sums

ONE_DIMENSIONAL = [name for name, system in SYSTEMS.items() if system.dimension == 1]
IN_A_PLANE = ["double-well-2d", "triple-well-2d", "muller-brown"]


def values(function, points):
    return function(torch.from_numpy(np.ascontiguousarray(points))).detach().numpy()


@cache
def drawn(name, beta=None, again=0):
    return SYSTEMS[name].sample(20_000, seed=7, beta=beta)


@cache
def weights(system, n_cells):
    """Midpoints of a grid (n, d) and their equilibrium probabilities."""
    axes = [low + (high - low) * (np.arange(n_cells) + 0.5) / n_cells for low, high in system.domain]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, system.dimension)
    energy = values(system.energy, points)
    weight = np.exp(-system.beta * (energy - energy.min()))
    return points, weight / weight.sum()


def galerkin_rates(system, n, degree, n_nodes=600):
    """Rates from the Dirichlet form on polynomials that are orthonormal under e^{−βU}, by Gauss quadrature."""
    points, weight = weights(system, 20_000)
    inside = points[weight > 1e-13 * weight.max(), 0]
    half = (points[1, 0] - points[0, 0]) / 2
    low, high = inside[0] - half, inside[-1] + half
    nodes, gauss = legendre.leggauss(n_nodes)
    x = torch.from_numpy(low + (high - low) * (nodes[:, None] + 1) / 2)
    energy = system.energy(x).numpy()
    root = np.sqrt(gauss * np.exp(-system.beta * (energy - energy.min())))
    basis = legendre.legvander(nodes, degree)
    slopes = legendre.legval(nodes, legendre.legder(np.eye(degree + 1))).T
    triangle = np.linalg.qr(root[:, None] * basis)[1]
    slopes = np.linalg.solve(triangle.T, (2 / (high - low) * slopes).T).T
    diffusion = system.diffusion(x).numpy() if callable(system.diffusion) else np.full(len(nodes), system.diffusion)
    scaled = (np.sqrt(diffusion) * root)[:, None] * slopes
    return np.linalg.eigvalsh(scaled.T @ scaled)[1 : n + 1]


def finite_element_rates(system, n, n_cells):
    """Bilinear elements with 2 × 2 Gauss points on rectangles within 35 kT of the lowest energy."""
    (low_x, high_x), (low_y, high_y) = system.domain
    size = np.array([high_x - low_x, high_y - low_y]) / n_cells
    i, j = (index.ravel() for index in np.meshgrid(np.arange(n_cells), np.arange(n_cells), indexing="ij"))
    corners = np.stack([(i + a) * (n_cells + 1) + j + b for a in (0, 1) for b in (0, 1)], axis=1)
    origin = np.array([low_x, low_y]) + size * np.stack((i, j), axis=1)
    gauss = (0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3))
    energies = {(u, v): values(system.energy, origin + size * (u, v)) for u in gauss for v in gauss}
    lowest = min(energy.min() for energy in energies.values())
    stiffness = mass = 0.0
    for (u, v), energy in energies.items():
        weight = np.exp(lowest - energy)[:, None, None]
        along_x, along_y = np.array([1 - u, u]), np.array([1 - v, v])
        shape = np.outer(along_x, along_y).ravel()
        slope_x = np.outer([-1, 1], along_y).ravel() / size[0]
        slope_y = np.outer(along_x, [-1, 1]).ravel() / size[1]
        mass = mass + weight * np.outer(shape, shape)
        stiffness = stiffness + weight * (np.outer(slope_x, slope_x) + np.outer(slope_y, slope_y))
    kept = np.min(list(energies.values()), axis=0) < lowest + 35
    used, numbers = np.unique(corners[kept], return_inverse=True)
    numbers = numbers.reshape(-1, 4)
    rows, columns = np.repeat(numbers, 4, axis=1).ravel(), np.tile(numbers, 4).ravel()
    matrices = [
        coo_matrix((m[kept].ravel(), (rows, columns)), shape=(len(used),) * 2).tocsc() for m in (stiffness, mass)
    ]
    start = np.random.default_rng(0).random(len(used))
    return np.sort(eigsh(matrices[0], n + 1, M=matrices[1], sigma=-0.05, v0=start, return_eigenvectors=False))[1:]


@pytest.mark.parametrize("name", EXACT_TIMESCALES)
def test_published_timescales(name):
    expected = EXACT_TIMESCALES[name]
    np.testing.assert_allclose(1 / SYSTEMS[name].rates(len(expected)), expected, rtol=1e-5)


def test_more_rates_of_the_prinz_potential():
    published = [1.199, 7.889, 15.361, 82.08, 94.93, 132.62, 144.39, 220.48]
    np.testing.assert_allclose(prinz().rates(8), published, atol=6e-3)


@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_rates_in_one_dimension_by_polynomials(name):
    system = SYSTEMS[name]
    degree = 40 if name in ("legendre-diffusion", "ornstein-uhlenbeck") else 120
    np.testing.assert_allclose(system.rates(4), galerkin_rates(system, 4, degree), rtol=2e-6)


@pytest.mark.parametrize("name", ["triple-well-2d", "muller-brown"])
def test_rates_in_two_dimensions_by_finite_elements(name):
    system = SYSTEMS[name]
    coarse, fine = finite_element_rates(system, 3, 64), finite_element_rates(system, 3, 96)
    extrapolated = fine + (fine - coarse) / (1.5**2 - 1)
    np.testing.assert_allclose(system.rates(3), extrapolated, rtol=2e-4)
    assert abs(fine[0] / extrapolated[0] - 1) > 3e-4  # one grid alone would not do


@pytest.mark.parametrize("closed", [ornstein_uhlenbeck(0.5), SYSTEMS["legendre-diffusion"], cosine_circle(1.0)])
def test_closed_forms_agree_with_the_grid(closed):
    on_grid = Overdamped(closed.energy, closed.domain, closed.diffusion, periodic=closed.periodic)
    np.testing.assert_allclose(on_grid.rates(4), closed.rates(4), rtol=1e-6)
    points, weight = weights(closed, 500)
    exact, computed = closed.eigenfunctions(points, 4), on_grid.eigenfunctions(points, 4)
    overlap = exact.T @ (weight[:, None] * computed)
    if closed.periodic:  # pairs of modes share their rates, and may come in any mixture
        overlap = np.array(
            [[np.linalg.norm(overlap[i : i + 2, j : j + 2]) / np.sqrt(2) for j in (0, 2)] for i in (0, 2)]
        )
    np.testing.assert_allclose(np.abs(overlap), np.eye(len(overlap)), atol=2e-4)


def test_hermite_polynomials():
    x = np.linspace(-3, 3, 7)[:, None]
    y = np.sqrt(0.5) * x[:, 0]
    exact = np.stack((y, (y**2 - 1) / np.sqrt(2), (y**3 - 3 * y) / np.sqrt(6)), axis=1)
    np.testing.assert_allclose(ornstein_uhlenbeck(0.5).eigenfunctions(x, 3), exact, atol=1e-12)
    np.testing.assert_allclose(ornstein_uhlenbeck(0.5).rates(3), [0.5, 1, 1.5])


def test_eigenfunctions_of_the_circle_solve_their_equation():
    """−L f = −f″ + U′ f′ by differences of fourth order."""
    circle, h = cosine_circle(0.8), 1e-3
    x = np.linspace(0, 6, 13)

    def at(shift):
        return circle.eigenfunctions((x + shift * h)[:, None], 4)

    first = (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * h)
    second = (-at(-2) + 16 * at(-1) - 30 * at(0) + 16 * at(1) - at(2)) / (12 * h**2)
    np.testing.assert_allclose(-second - 0.8 * np.sin(x)[:, None] * first, at(0) * circle.rates(4), atol=1e-6)


@pytest.mark.parametrize("name", [*ONE_DIMENSIONAL, *IN_A_PLANE])
def test_eigenfunctions_are_orthonormal_at_equilibrium(name):
    system = SYSTEMS[name]
    points, weight = weights(system, 20_000 if system.dimension == 1 else 250)
    functions = np.column_stack((np.ones(len(points)), system.eigenfunctions(points, 4)))
    np.testing.assert_allclose(functions.T @ (weight[:, None] * functions), np.eye(5), atol=5e-4)


@pytest.mark.parametrize("name", ["mixed-double-wells", "cosine-torus", "muller-brown", "prinz"])
def test_eigenfunctions_are_orthonormal_under_samples(name):
    system = SYSTEMS[name]
    functions = system.eigenfunctions(drawn(name)[:5000], 4)
    products = functions[:, :, None] * functions[:, None, :]
    errors = products.std(axis=0) / np.sqrt(len(products))
    assert (np.abs(products.mean(axis=0) - np.eye(4)) < 4 * errors).all()
    assert (np.abs(functions.mean(axis=0)) < 4 / np.sqrt(len(functions))).all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_forces_are_minus_the_gradient(name):
    system, h = SYSTEMS[name], 1e-5
    points = drawn(name)[:5]
    shifts = h * np.eye(system.dimension)
    differences = np.stack(
        [(values(system.energy, points + e) - values(system.energy, points - e)) / (2 * h) for e in shifts], axis=1
    )
    np.testing.assert_allclose(values(system.force, points), -differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_keep_to_the_domain_and_have_a_description(name):
    system = SYSTEMS[name]
    low, high = np.transpose(system.domain)
    points = drawn(name)
    assert points.shape == (20_000, system.dimension)
    assert (points >= low).all()
    assert (points <= high).all()
    np.testing.assert_array_equal(points, drawn(name, again=1))
    assert "\n" not in system.description
    assert len(system.description) > 10


@pytest.mark.parametrize("name", [*ONE_DIMENSIONAL, *IN_A_PLANE])
@pytest.mark.parametrize("beta", [None, 0.5])
def test_samples_have_boltzmann_moments(name, beta):
    system = SYSTEMS[name]
    sample = drawn(name, beta)
    points, weight = weights(system, 20_000 if system.dimension == 1 else 250)
    weight = weight ** (beta or 1.0)
    weight = weight / weight.sum()
    for power in (1, 2, 3):
        exact, square = weight @ points**power, weight @ points ** (2 * power)
        z = (sample**power).mean(axis=0) - exact
        assert (np.abs(z) < 4 * np.sqrt((square - exact**2) / len(sample))).all()


def test_a_system_in_a_few_lines_has_the_spectrum_of_the_sum_it_is():
    well = Overdamped(lambda x: 3 * (x[..., 0] ** 2 - 1) ** 2 + x[..., 1] ** 2, domain=[(-2.5, 2.5), (-4, 4)])
    np.testing.assert_allclose(well.rates(3), [0.2418596, 2.0, 2.2418596], rtol=1e-5)
    assert well.dimension == 2
    assert well.simulate(3, 0.1, seed=0).shape == (1, 3, 2)
    whole = Separable((double_well(3.0), ornstein_uhlenbeck(2.0)))
    np.testing.assert_allclose(well.rates(3), whole.rates(3), rtol=1e-5)
    points = np.array([[0.9, 1.0], [-1.1, 0.5]])
    np.testing.assert_allclose(values(well.energy, points), values(whole.energy, points))
    modes = whole.eigenfunctions(points, 3)
    np.testing.assert_allclose(np.abs(well.eigenfunctions(points, 3)), np.abs(modes), rtol=1e-3)
    np.testing.assert_allclose(np.abs(modes[:, 2]), np.abs(modes[:, 0] * modes[:, 1]), rtol=1e-12)
    np.testing.assert_allclose(np.abs(modes[:, 1]), np.abs(points[:, 1]) * np.sqrt(2), rtol=1e-12)


def test_odd_eigenfunctions_have_a_sign_too():
    """Between the equal wells it is no rounding error that decides."""
    assert double_well().eigenfunctions(np.array([[1.0]]), 1) > 0.9


def test_smallest_sums_are_those_of_all_sums():
    terms = [np.sort(np.random.default_rng(i).random(6)) for i in range(4)]
    everything = sum(np.meshgrid(*terms, indexing="ij")).ravel()
    found = smallest_sums(terms, 6)
    np.testing.assert_allclose([total for total, _ in found], np.sort(everything)[:6])
    for total, order in found:
        assert total == pytest.approx(sum(term[i] for term, i in zip(terms, order, strict=True)))


def test_a_separable_sum_keeps_different_diffusions_apart():
    varied = SYSTEMS["double-well-variable-diffusion"]
    system = Separable((varied, ornstein_uhlenbeck()))
    x = torch.tensor([[0.3, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    matrix = system.diffusion(x)
    assert matrix.shape == (2, 2, 2)
    np.testing.assert_allclose(torch.diagonal(matrix, dim1=1, dim2=2), np.column_stack((varied.diffusion(x), [1, 1])))
    assert matrix[:, 0, 1].abs().max() == 0
    # Three times the diffusion, three times the rates.
    fast = Overdamped(double_well().energy, double_well().domain, diffusion=3.0)
    np.testing.assert_allclose(fast.rates(2), 3 * double_well().rates(2), rtol=1e-8)
    cold = Overdamped(double_well().energy, double_well().domain, beta=1.2)
    np.testing.assert_allclose(cold.rates(2), 1.2 * double_well(6.0).rates(2) / 1.2, rtol=1e-6)


def test_a_map_changes_energy_and_diffusion_but_not_the_rates():
    """Solved anew in the new coordinate, with U(x) + ln J and the diffusion J²."""

    def forward(x):
        return x + 0.4 * torch.sin(x)

    def inverse(y):
        x = y
        for _ in range(60):
            x = y - 0.4 * torch.sin(x)
        return x

    latent = double_well(3.0)
    (low, high) = latent.domain[0]
    ends = forward(torch.tensor([low, high], dtype=torch.float64)).tolist()
    bent = Mapped(latent, forward, inverse, [ends])
    anew = Overdamped(bent.energy, bent.domain, diffusion=lambda y: bent.diffusion(y)[..., 0, 0])
    np.testing.assert_allclose(anew.rates(3), bent.rates(3), rtol=1e-5)
    points = np.linspace(-1.5, 1.5, 9)[:, None]
    np.testing.assert_allclose(
        np.abs(anew.eigenfunctions(points, 2)), np.abs(bent.eigenfunctions(points, 2)), atol=1e-3
    )
    with pytest.raises(InputError, match=r"drawn at its own beta \(1\) only, not at 0.5"):
        bent.sample(10, 0, beta=0.5)


def test_the_mixed_wells_hide_their_spectrum():
    system = mixed_double_wells(30)
    eigenvalues = np.exp(-0.1 * system.rates(4))
    np.testing.assert_allclose(eigenvalues, [0.9882, 0.9761, 0.9645, 0.6703], atol=5e-5)
    y = torch.from_numpy(system.sample(20, seed=0))
    x = system.inverse(y)
    np.testing.assert_allclose(system.forward(x), y, atol=1e-13)
    jacobian = torch.stack([torch.autograd.functional.jacobian(system.forward, row) for row in x])
    singular = torch.linalg.svdvals(jacobian)
    assert singular.min() > 0.4 - 1e-12
    assert singular.max() < 1.6 + 1e-12
    np.testing.assert_allclose(system.diffusion(y), jacobian @ jacobian.transpose(1, 2), atol=1e-12)


def test_the_oracle_meets_the_exact_timescales_on_exact_data():
    spring = ornstein_uhlenbeck()
    frames = spring.simulate(2000, 0.2, n_walkers=20, seed=0, timestep=0.01)
    found = 0.2 * oracle_timescales(spring, list(frames), 2, 2)
    np.testing.assert_allclose(found, [1, 0.5], rtol=0.04)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Overdamped(lambda x: x[..., 0], (-1, 1)), "domain is (-1, 1): give one (low, high) pair per axis"),
        (lambda: Overdamped(lambda x: x[..., 0], [(1, -1)]), "domain has the interval (1, -1)"),
        (lambda: Overdamped(lambda x: x[..., 0], []), "domain is empty"),
        (lambda: Overdamped(lambda x: x[..., 0], [(-1, 1)], beta=0), "beta is 0: an inverse temperature is positive"),
        (lambda: Overdamped(lambda x: x[..., 0], [(-1, 1)], diffusion=-1.0), "diffusion is -1.0"),
        (lambda: Overdamped(lambda x: x, [(-1, 1)]).rates(2), "it must map a tensor of states (..., 1) to one number"),
        (lambda: Overdamped(lambda x: x.sum(-1), [(-1, 1)] * 3).rates(2), "3 dimensions has no reference on a grid"),
        (lambda: Overdamped(lambda x: x.sum(-1), [(-1, 1)] * 3).sample(2, 0), "one or two dimensions or a Separable"),
        (lambda: Separable(()), "needs at least one part"),
        (lambda: Separable((prinz(), cosine_circle(1.0))), "must agree in periodic"),
        (
            lambda: Mapped(prinz(), torch.clone, torch.clone, [(-1, 1)] * 2),
            "domain has 2 axes, but the latent system 1",
        ),
    ],
)
def test_faults_are_named(build, message):
    with pytest.raises(InputError) as error:
        build()
    assert message in str(error.value)
