"""Langevin simulators against Boltzmann averages by quadrature: z-scores, and weak orders with their error bars."""

import numpy as np
import pytest
import torch
from langevin import simulate_underdamped
from numpy.polynomial.hermite_e import hermegauss

from spectraldyn.errors import InputError
from spectraldyn.systems import RUNS, SYSTEMS, Overdamped, ornstein_uhlenbeck, simulate_overdamped
from spectraldyn.systems.grids import Grid
from spectraldyn.systems.simulate import into_domain, steps_between
from spectraldyn.systems.tabulated import simulate_tabulated

SPRING = Overdamped(lambda x: x[..., 0] ** 2 / 2, [(-9, 9)], gradient=lambda x: x)
WAVY = Overdamped(
    lambda x: x[..., 0] ** 2 / 2 + torch.cos(2 * x[..., 0]) / 2, [(-9, 9)], gradient=lambda x: x - torch.sin(2 * x)
)
VARYING = Overdamped(
    lambda x: x[..., 0] ** 2 / 2, [(-9, 9)], diffusion=lambda x: 1 + torch.cos(x[..., 0]) / 2, gradient=lambda x: x
)


def bump(x):
    return np.exp(-(x**2))


def boltzmann(system, observable) -> float:
    """Average by midpoints."""
    (low, high) = system.domain[0]
    x = low + (high - low) * (np.arange(20_000) + 0.5) / 20_000
    weight = np.exp(-system.beta * system.energy(torch.from_numpy(x[:, None])).numpy())
    return float(weight @ observable(x) / weight.sum())


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Over independent walkers (n_walkers, n_frames)."""
    per_walker = values.mean(axis=1)
    return float(per_walker.mean()), float(per_walker.std(ddof=1) / np.sqrt(len(per_walker)))


def overdamped(system, timestep, n_walkers, n_frames=30):
    """Frames (n_walkers, n_frames) from equilibrium, 1.2 apart, after four to relax from that of no step."""
    seed = round(1000 * timestep)
    start = system.sample(n_walkers, seed)
    return simulate_overdamped(system, start, n_frames + 4, 1.2, timestep, seed)[:, 4:, 0]


def underdamped(system, timestep, n_walkers, n_frames=30):
    """Positions and velocities, as `overdamped`."""
    seed = round(1000 * timestep)
    start = system.sample(n_walkers, seed)
    walks = simulate_underdamped(system, start, n_frames + 4, 1.2, friction=1.0, timestep=timestep, seed=seed)
    return [frames[:, 4:, 0] for frames in walks]


def weak_order(timesteps, biases, errors) -> tuple[float, float]:
    """Weighted slope of log|bias| against log Δt, and its standard error from the statistical errors of the biases."""
    x, y = np.log(timesteps), np.log(np.abs(biases))
    weight = (np.abs(biases) / errors) ** 2
    centred = x - weight @ x / weight.sum()
    return float((weight * centred) @ y / (weight @ centred**2)), float(1 / np.sqrt(weight @ centred**2))


@pytest.mark.parametrize(
    ("run", "exact", "order", "timesteps"),
    [
        # Observables and steps for which the next order adds less than 0.03 to the slope, by quadrature over the noise.
        # The positions of BAOAB are too good at such steps: its velocities on a spring have ⟨v²⟩ = 1 − Δt²/4.
        pytest.param(
            lambda step: bump(overdamped(WAVY, step, 22_000)), boltzmann(WAVY, bump), 2, (0.2, 0.3, 0.4, 0.6), id="LM"
        ),
        pytest.param(
            lambda step: bump(overdamped(VARYING, step, 2000)),
            boltzmann(VARYING, bump),
            1,
            (0.05, 0.1, 0.2, 0.3),
            id="Euler–Maruyama",
        ),
        pytest.param(lambda step: underdamped(SPRING, step, 20_000)[1] ** 2, 1.0, 2, (0.2, 0.3, 0.4, 0.6), id="BAOAB"),
    ],
)
def test_weak_order(run, exact, order, timesteps):
    means, errors = np.transpose([mean_and_error(run(step)) for step in timesteps])
    slope, error = weak_order(timesteps, means - exact, errors)
    print(f"order {slope:.3f} ± {error:.3f}")
    assert error < 0.1
    assert abs(slope - order) < 3 * error


def z_score(values, exact) -> float:
    mean, error = mean_and_error(values)
    return abs(mean - exact) / error


def test_boltzmann_averages_within_their_errors():
    """Steps at which the bias is below a third of the statistical error."""
    observables = (np.square, np.cos, np.sin, bump)
    x = overdamped(WAVY, 0.04, 4000, n_frames=12)
    assert max(z_score(f(x), boltzmann(WAVY, f)) for f in observables) < 4
    x = overdamped(VARYING, 0.006, 1000, n_frames=12)
    assert max(z_score(f(x), boltzmann(VARYING, f)) for f in observables) < 4
    x, v = underdamped(WAVY, 0.07, 4000, n_frames=12)
    assert max(z_score(f(x), boltzmann(WAVY, f)) for f in observables) < 4
    assert z_score(v**2, 1) < 4
    assert z_score(x * v, 0) < 4
    # On the circle and between walls.
    circle = SYSTEMS["cosine-torus"].parts[-1]
    x = circle.simulate(30, 0.5, n_walkers=2000, timestep=0.05, seed=2)[:, :, 0]
    assert max(z_score(f(x), boltzmann(circle, f)) for f in (np.cos, np.sin, lambda x: np.cos(2 * x))) < 4
    legendre = SYSTEMS["legendre-diffusion"]
    x = legendre.simulate(12, 0.5, n_walkers=500, timestep=5e-3, seed=3)[:, :, 0]
    assert max(z_score(f(x), boltzmann(legendre, f)) for f in (np.square, np.abs, lambda x: x)) < 4


@pytest.mark.parametrize("step", [0.2, 0.6])
def test_on_a_spring_the_schemes_have_known_answers(step):
    x = overdamped(SPRING, step, 10_000)
    assert z_score(x**2, 1) < 4  # Leimkuhler–Matthews samples a Gaussian without error
    # and relaxes by 1 − Δt in every step
    n = round(1.2 / step)
    assert z_score(x[:, 1:] * x[:, :-1], (1 - step) ** n + step / 2 * (1 - step) ** (n - 1)) < 4
    positions, velocities = underdamped(SPRING, step, 10_000)
    assert z_score(positions**2, 1) < 4
    assert z_score(velocities**2, 1 - step**2 / 4) < 4


@pytest.mark.parametrize("name", ["double-well", "triple-well-2d", "legendre-diffusion"])
def test_the_table_and_the_tensor_follow_the_same_drift(name):
    """Without noise both schemes are Euler's."""
    system = SYSTEMS[name]
    still = 1e-24
    if callable(system.diffusion):
        still_system = Overdamped(
            lambda x: x[..., 0] ** 2, [(-1, 1)], diffusion=lambda x: still * (1 - x[..., 0] ** 2), beta=1 / still
        )
    else:
        still_system = Overdamped(system.energy, system.domain, diffusion=still, beta=1 / still)
    start = np.array([[0.3, 0.9], [-0.7, 1.4]])[:, : system.dimension]
    paths = [f(still_system, start, 8, 0.02, 1e-3, 0) for f in (simulate_overdamped, simulate_tabulated)]
    assert np.abs(paths[0][:, -1] - start).min() > 5e-3
    tolerance = 1e-7 if system.dimension == 1 else 1e-3  # of the interpolation between cells of 1/20,000 and 1/300
    np.testing.assert_allclose(paths[0], paths[1], atol=tolerance * np.abs(paths[0] - start[:, None]).max())


@pytest.mark.parametrize("n_walkers", [1, 150])
def test_a_free_particle_between_walls(n_walkers):
    """Rates (nπ)², whatever the step: walls must neither be crossed nor hold walkers back."""
    free = Overdamped(lambda x: 0 * x[..., 0], [(0, 1)])
    x = free.simulate(30_000 // n_walkers, 0.1, timestep=0.01, n_walkers=n_walkers, seed=0)[:, :, 0]
    assert x.min() >= 0
    assert x.max() <= 1
    x = x.reshape(150, -1)
    modes = np.sqrt(2) * np.cos(np.pi * x)
    assert z_score(modes[:, 1:] * modes[:, :-1], np.exp(-0.1 * np.pi**2)) < 4
    assert z_score(x**2, 1 / 3) < 4


def first_order(system, n_modes=25):
    """Relative error of the slowest timescale in one dimension for the transition operator of the integrator.

    Galerkin projection on the slowest exact eigenfunctions, with the average over the noise by Gauss–Hermite
    quadrature. Leimkuhler–Matthews is a Markov chain in z = x − √(2DΔt) R / 2: z ← z + √(2DΔt) R + Δt a(x).
    """
    (low, high) = system.domain[0]
    z = low + (high - low) * (np.arange(1500) + 0.5) / 1500
    energy = system.energy(torch.from_numpy(z[:, None])).numpy()
    weight = np.exp(energy.min() - energy)
    z, weight = z[weight > 1e-13], weight[weight > 1e-13]
    nodes, chances = hermegauss(24)
    chances = chances / chances.sum()

    def functions(x):
        return np.column_stack((np.ones(len(x)), system.eigenfunctions(x[:, None], n_modes)))

    def error(step):
        if callable(system.diffusion):
            kick = np.sqrt(2 * step * system.diffusion(torch.from_numpy(z[:, None])).numpy())[:, None] * nodes
            at = np.broadcast_to(z[:, None], kick.shape)
        else:
            kick = np.sqrt(2 * step * system.diffusion) * nodes
            at = z[:, None] + kick / 2
        moved = z[:, None] + kick + step * system.drift(torch.from_numpy(at[..., None].copy())).numpy()[..., 0]
        moved = into_domain(torch.from_numpy(moved.reshape(-1, 1)), system.domain, system.periodic)[0].numpy()[:, 0]
        before = functions(z)
        after = (functions(moved).reshape(len(z), -1, n_modes + 1) * chances[:, None]).sum(axis=1)
        weighted = before.T * weight
        values = np.linalg.eigvals(np.linalg.solve(weighted @ before, weighted @ after))
        return -step / np.log(np.sort(np.abs(values))[-2]) * system.rates(1)[0] - 1

    return error


@pytest.mark.parametrize(
    "name",
    [
        "double-well",
        "tilted-double-well",
        "prinz",
        "ornstein-uhlenbeck",
        "legendre-diffusion",
        "double-well-variable-diffusion",
    ],
)
def test_recommended_steps_leave_half_a_percent(name):
    error = first_order(SYSTEMS[name])(RUNS[name].timestep)
    assert abs(error) < 0.005
    assert abs(error) > 1e-4  # the projection does see the step


@pytest.mark.parametrize("name", ["triple-well-2d", "muller-brown"])
def test_recommended_steps_leave_half_a_percent_in_two_dimensions(name):
    """To first order, Leimkuhler–Matthews adds Δt c·∇ to the generator with c = −(a·∇)a/2 − Δa/4 (D = 1)."""
    system = SYSTEMS[name]
    grid = Grid(system.domain, (150, 150))
    points, axes = grid.points(), [grid.axis(0), grid.axis(1)]
    energy = system.energy(torch.from_numpy(points)).numpy()
    weight = np.exp(energy.min() - energy)
    drift = np.moveaxis(system.drift(torch.from_numpy(points)).numpy(), -1, 0)
    correction = []
    for component in drift:
        slopes = np.gradient(component, *axes)
        curvature = sum(
            np.gradient(slope, axis, axis=k) for k, (slope, axis) in enumerate(zip(slopes, axes, strict=True))
        )
        correction.append(-(drift * slopes).sum(axis=0) / 2 - curvature / 4)
    solved = system.on_grid(grid, 2)
    mode = solved.eigenfunctions[1]
    change = sum(c * slope for c, slope in zip(correction, np.gradient(mode, *axes), strict=True))
    shift = (weight * mode * change).sum() / weight.sum() * RUNS[name].timestep
    assert abs(shift / solved.eigenvalues[1]) < 0.005


def test_the_error_of_timescales_is_of_first_order():
    error = first_order(SYSTEMS["double-well"])
    np.testing.assert_allclose([error(1e-3), error(2e-3)], [0.0083, 0.0168], atol=1e-4)


@pytest.mark.parametrize("name", ["double-well", "double-well-2d", "triple-well-2d", "mixed-double-wells"])
def test_seeds_decide(name):
    system = SYSTEMS[name]
    first, again, other = (system.simulate(5, 0.01, seed=seed, n_walkers=3, timestep=2e-3) for seed in (4, 4, 5))
    assert first.shape == (3, 5, system.dimension)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0
    assert np.abs(first[0] - first[1]).min() > 0
    start = first[:, 0]
    np.testing.assert_allclose(system.simulate(2, 0.01, seed=4, n_walkers=3, timestep=2e-3, start=start)[:, 0], start)


def test_many_walkers_in_one_tensor_are_seeded_too():
    system = ornstein_uhlenbeck()
    first, again = (system.simulate(3, 0.1, seed=1, n_walkers=200) for _ in range(2))
    assert first.shape == (200, 3, 1)
    np.testing.assert_array_equal(first, again)


def test_steps_between_frames():
    assert steps_between(1.0, 0.3) == (4, 0.25)
    assert steps_between(0.2, 1e-3) == (200, pytest.approx(1e-3))
    assert steps_between(0.1, 5.0) == (1, 0.1)
    with pytest.raises(InputError, match=r"timestep is -1.0: give a positive time"):
        steps_between(1.0, -1.0)


def test_folding_into_the_domain():
    x = torch.tensor([[-0.25], [0.5], [1.25], [2.25]], dtype=torch.float64)
    inside, reflected = into_domain(x, ((0.0, 1.0),), False)
    np.testing.assert_allclose(inside[:, 0], [0.25, 0.5, 0.75, 0.25])
    assert reflected[:, 0].tolist() == [True, False, True, False]
    inside, reflected = into_domain(x, ((0.0, 1.0),), True)
    np.testing.assert_allclose(inside[:, 0], [0.75, 0.5, 0.25, 0.25])
    assert not reflected.any()


def test_a_system_without_a_default_asks_for_it():
    bowl = Overdamped(lambda x: (x**2).sum(dim=-1), [(-5, 5)] * 3)
    with pytest.raises(InputError, match="no default timestep"):
        bowl.default_timestep()
    walk = bowl.simulate(4, 0.1, seed=0, n_walkers=50, timestep=0.02, start=np.zeros((50, 3)))
    assert walk.shape == (50, 4, 3)
