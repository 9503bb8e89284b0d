"""Underdamped Langevin dynamics: the kinetic generator, KineticSVD, exact spectra and simulated trajectories."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from spectraldyn import Dataset, InputError, KineticSVD
from spectraldyn.cli import main
from spectraldyn.estimators.kinetic_svd import slow_inputs
from spectraldyn.operators import Langevin, kinetic_resolvent
from spectraldyn.records import Batch
from spectraldyn.systems import Underdamped, double_well, underdamped_double_well, underdamped_spring
from spectraldyn.systems.underdamped import generator_matrix

FRICTION, MASS, KT, STIFFNESS = 0.7, 1.7, 0.6, 2.3
SPRING = Langevin(lambda x: -STIFFNESS * x, FRICTION, MASS, KT)


def quadrature(n=24):
    """Gauss–Hermite nodes (n², 2) and weights of the equilibrium of that spring: exact for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    x, v = np.meshgrid(nodes * np.sqrt(KT / STIFFNESS), nodes * np.sqrt(KT / MASS), indexing="ij")
    w = np.outer(weights, weights).ravel()
    return torch.tensor(np.stack((x.ravel(), v.ravel()), axis=1)), torch.tensor(w / w.sum())


class Polynomials(nn.Module):
    """x, v, x² v, x v² + v³ and x³ − x v."""

    def forward(self, state):
        x, v = state.T
        return torch.stack((x, v, x**2 * v, x * v**2 + v**3, x**3 - x * v), dim=1)


def test_the_identity_of_the_resolvent_by_quadrature():
    """⟨Mf, Mg⟩ with M = 1 − L/η, which the components of the operator give, computed directly."""
    shift = 0.9
    x, w = quadrature()
    action = kinetic_resolvent(SPRING, shift)(Polynomials(), Polynomials(), Batch(x, weight=w))
    value, _, generated = SPRING.generated(Polynomials(), x)
    image = torch.nn.functional.pad(value - generated / shift, (1, 0), value=1.0)
    direct = (w[:, None] * image).T @ image
    torch.testing.assert_close(torch.einsum("bik,bjk->ij", action.f, action.f), direct, rtol=1e-10, atol=1e-10)
    plain = torch.nn.functional.pad(value, (1, 0), value=1.0)
    with_inverse = torch.einsum("bik,bjk->ij", action.f, action.Tg)
    torch.testing.assert_close(with_inverse, (w[:, None] * plain).T @ plain, rtol=1e-10, atol=1e-10)


def test_the_adjoint_is_the_generator_with_velocities_flipped():
    x, w = quadrature()
    flip = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def flipped(state):
        return Polynomials()(state * flip)

    value, _, generated = SPRING.generated(Polynomials(), x)
    back = SPRING.generated(flipped, x * flip)[2]  # R L R
    torch.testing.assert_close((w[:, None] * value).T @ generated, (w[:, None] * back).T @ value, rtol=1e-10, atol=1e-9)


def test_the_generator_on_known_eigenfunctions():
    """x + a v is an eigenfunction of a spring for λ a = 1 − γ a... that is λ = −a ω², a² ω² − γ a + 1 = 0."""
    square = STIFFNESS / MASS
    x = torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = np.roots([square, -FRICTION, 1.0])[0]  # complex: the real and the imaginary part are two functions
    value, _, generated = SPRING.generated(lambda z: torch.stack((z[:, 0] + a.real * z[:, 1], a.imag * z[:, 1]), 1), x)
    function, image = (part[:, 0].numpy() + 1j * part[:, 1].numpy() for part in (value, generated))
    np.testing.assert_allclose(image, -a * square * function, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("friction", [0.5, 2.5, 10.0])
def test_the_solver_gives_the_spectrum_of_a_spring(friction):
    spring = underdamped_spring(friction)
    exact = spring.eigenvalues(60)
    # Far down the list the sums of n₁ and n₂ go beyond the polynomials that are there.
    found = dataclasses.replace(spring, exact=None).eigenvalues(6, functions=(30, 30))
    distance = np.abs(found[:, None] - exact).min(axis=1)
    np.testing.assert_allclose(distance, 0, atol=1e-8)
    assert exact[0].real == pytest.approx(-0.25 if friction == 0.5 else -(friction - np.sqrt(friction**2 - 4)) / 2)


def test_the_solver_converges_for_a_double_well():
    """Rates from overdamped to underdamped: the same with more functions; Smoluchowski and energy-diffusion limits."""
    for friction in (0.1, 1.0, 100.0):
        well = underdamped_double_well(friction)
        coarse, fine = (well.eigenvalues(3, functions)[0].real for functions in ((64, 128), (80, 200)))
        assert coarse == pytest.approx(fine, rel=3e-3)
    assert -fine * friction == pytest.approx(double_well(4.0).rates(1)[0], rel=2e-3)
    rates = [-underdamped_double_well(friction).eigenvalues(1, (80, 240))[0].real for friction in (0.03, 0.06, 2, 30)]
    assert rates[1] / rates[0] == pytest.approx(2, rel=0.1)  # ∝ γ, less what dissipation saves
    assert rates[2] > max(rates[1], rates[3])  # Kramers' turnover


def test_the_matrix_of_the_generator_has_the_flip_symmetry():
    matrix = generator_matrix(underdamped_double_well(0.7), (6, 8)).toarray()
    flip = np.repeat((-1.0) ** np.arange(8), 6)
    np.testing.assert_allclose(matrix.T, flip[:, None] * matrix * flip, atol=1e-12)


def test_simulated_springs_have_the_exact_moments_and_velocity_correlation():
    """⟨v(0) v(t)⟩ = (kT/m)(μ₊ e^{−μ₊t} − μ₋ e^{−μ₋t})/(μ₊ − μ₋)."""
    spring = Underdamped(lambda x: STIFFNESS / 2 * x[..., 0] ** 2, [(-5, 5)], friction=FRICTION, mass=MASS, kT=KT)
    states = spring.simulate(6, 0.5, seed=0, n_walkers=40_000, timestep=0.05)
    x, v = states[..., 0], states[..., 1]
    for values, exact in ((x, KT / STIFFNESS), (v, KT / MASS)):
        np.testing.assert_allclose(values.var(axis=0), exact, rtol=0.03)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.02)
    time = 0.5 * np.arange(6)
    root = np.sqrt(complex(FRICTION**2 - 4 * STIFFNESS / MASS))
    slow, fast = (FRICTION - root) / 2, (FRICTION + root) / 2
    exact = KT / MASS * ((fast * np.exp(-fast * time) - slow * np.exp(-slow * time)) / (fast - slow)).real
    np.testing.assert_allclose((v[:, :1] * v).mean(axis=0), exact, atol=4 * KT / MASS / np.sqrt(40_000))


def quick(friction, **options):
    settings = {"hidden": (32, 32), "batch_size": 256, "max_steps": 300, "random_state": 0}
    return KineticSVD(2, **{"force": lambda x: -x, "friction": friction, **settings, **options})


def test_eigenvalues_of_a_spring_are_learned():
    """A conjugate pair, told as one, with its residual; its sign says that it decays, and is exact within 1 %."""
    spring = underdamped_spring(0.5)
    model = quick(0.5, shift=1.0).fit(spring.sample(10_000, seed=0)).fetch_model()
    first = next(one for one in model.eigenvalues if one.period)
    exact = spring.eigenvalues(2)[1]
    assert first.unresolved is None
    assert abs(first.value - exact) < 0.01 * abs(exact)
    assert abs(first.value - exact) < np.hypot(first.sampling, first.learning)
    assert first.rate == pytest.approx(0.25, rel=0.03)
    assert first.period == pytest.approx(2 * np.pi / exact.imag, rel=0.01)
    assert 0 < first.residual < 0.5
    states = spring.sample(2000, seed=1)
    mode = model.transform(states)[:, model.eigenvalues.index(first)]
    known = states[:, 0] - exact * states[:, 1]
    assert abs(np.vdot(known, mode)) / np.linalg.norm(known) / np.linalg.norm(mode) > 0.995
    assert "KineticModel(2 modes" in repr(model)


def test_slow_inputs_of_high_friction_and_velocities_made_smaller():
    """A spring's slow eigenfunction is x + τv; of two springs at angles to each other both are whitened."""
    friction, square, share = 7.0, 1.3, 0.1
    delay = 2 / (friction + np.sqrt(friction**2 - 4 * square))
    assert -delay * square == pytest.approx(np.roots([1, friction, square]).max())
    states = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 4)) @ np.diag([2.0, 1, 1, 3]) + 1)
    inputs = slow_inputs(states.mean(dim=0), states.T.cov(), delay, share)
    found = inputs(states)
    ahead = states[:, :2] + delay * states[:, 2:]
    assert np.linalg.matrix_rank(torch.hstack((found[:, :2], ahead - ahead.mean(dim=0))).numpy(), tol=1e-9) == 2
    for part, deviation in ((found[:, :2], 1.0), (found[:, 2:], share)):
        torch.testing.assert_close(part.T.cov(), deviation**2 * torch.eye(2, dtype=torch.float64), atol=1e-10, rtol=0)
    assert np.linalg.matrix_rank(torch.hstack((found[:, 2:], states[:, 2:] - states[:, 2:].mean(dim=0))).numpy()) == 2


def test_the_first_input_of_a_spring_is_its_slow_eigenfunction():
    friction, square = 7.0, 1.3
    x = np.linspace(-2, 2, 301)[:, None]
    states = np.hstack((x / np.sqrt(square * (x**2).mean()), np.roll(x, 77)))  # ⟨F · F⟩ is what it is at kT = m = 1
    learner = KineticSVD(1, force=lambda x: -square * x, friction=friction)
    data = Dataset([states])
    dynamics = learner._dynamics(data)
    inputs = learner._inputs(dynamics, data, None)
    value, _, generated = dynamics.generated(lambda z: z @ inputs.matrix, torch.from_numpy(states))
    rate = -np.roots([1, friction, square]).max()
    torch.testing.assert_close(generated[:, 0], -rate * value[:, 0], rtol=1e-9, atol=1e-9)
    assert inputs.matrix[0, 1] == 0


def test_a_double_well_at_high_friction():
    """From whitened positions and velocities these few steps lead to a rate twice as high."""
    well = underdamped_double_well(600.0)
    states = well.sample(8000, seed=0, kT=2.0)
    weight = np.exp(-2 * (states[:, 0] ** 2 - 1) ** 2)
    options = {"force": lambda x: -16 * x * (x**2 - 1), "n_functions": 8, "shift": 3.0, "hidden": (32, 64)}
    model = quick(600.0, **options).fit(states, sample_weight=weight).fetch_model()
    first, exact = min(model.eigenvalues, key=lambda one: one.rate), -well.eigenvalues(1)[0].real
    assert first.unresolved is None
    assert abs(first.rate - exact) < min(np.hypot(first.sampling, first.learning), 0.15 * exact)
    assert first.residual < 0.2


def test_the_same_seed_and_weights():
    states = underdamped_spring(2.0).sample(400, seed=0, kT=2.0)
    weight = np.exp(-(states[:, 0] ** 2) / 4)
    first, again = (quick(2.0, max_steps=5).fit(states, sample_weight=weight).model_ for _ in range(2))
    assert first.eigenvalues == again.eigenvalues
    assert quick(2.0, max_steps=5).fit(states).model_.eigenvalues != first.eigenvalues


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"friction": 0.0}, "friction is 0.0: it must be a positive number"),
        ({"mass": -1.0}, "mass is -1.0"),
        ({"kT": np.nan}, "kT is nan"),
        ({"force": None}, "needs the force"),
        ({"force": lambda x: x[:, 0]}, "force gives"),
        ({"shift": -1.0}, "must be a positive rate"),
        ({"n_functions": 1}, "2 modes need at least as many functions"),
        ({"columns": 3}, "3 columns: give all positions and then as many velocities"),
    ],
)
def test_wrong_options_are_named(options, message):
    options = dict(options)
    states = np.random.default_rng(0).normal(size=(60, options.pop("columns", 2)))
    with pytest.raises(InputError, match=message):
        quick(**{"friction": 1.0, "max_steps": 2, **options}).fit(states)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"friction": 0}, "friction is 0"), ({"domain": [(-1, 1)] * 2}, "has one"), ({"kT": -1.0}, "kT is -1.0")],
)
def test_wrong_systems_are_named(options, message):
    with pytest.raises(InputError, match=message):
        Underdamped(**{"energy": lambda x: x[..., 0] ** 2, "domain": [(-5, 5)], **options})


def test_the_command_writes_what_it_found(tmp_path, capsys):
    """A run too short to learn much: the record and the table, and one sentence for what is wrong."""
    out = tmp_path / "spring.json"
    few = ["--friction", "0.5", "--states", "500", "--steps", "5", "--quiet", "--out", str(out)]
    assert main(["underdamped", "spring", "--modes", "2", *few]) == 0
    assert "exact rate" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert (written["friction"], len(written["eigenvalues"])) == (0.5, 2)
    assert written["eigenvalues"][0]["exact_rate"] > 0
    for arguments, message in (
        (["underdamped", "spring", *few], "exists"),
        (["underdamped", "sprig", *few], "sprig is no underdamped system (did you mean spring?)"),
        (["underdamped", "spring", *few[2:], "--friction", "-1", "--force"], "--friction is -1: give a rate above 0"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
