"""Networks against grids: the grids' exact energies, their memory, the model atoms and a miniature training."""

import numpy as np
import pytest
import torch

from analysis.experiments import finite_differences, model_atoms, scaling
from analysis.experiments.lattices import kronecker_lattices
from spectraldyn.networks.derivatives import value_gradient_and_second
from spectraldyn.systems import hydrogen


def sinc_energies(n_modes):
    """One electron by sinc collocation, which converges exponentially: Colbert, Miller, J. Chem. Phys. 96 (1992)."""
    x = np.arange(-300, 301) * 0.25
    apart = x[:, None] - x
    with np.errstate(divide="ignore"):
        kinetic = np.where(apart == 0, np.pi**2 / (3 * 0.25**2), 2 * np.cos(np.pi * apart / 0.25) / apart**2)
    return np.linalg.eigvalsh(kinetic + np.diag(-1 / np.sqrt(x**2 + 1)))[:n_modes]


def test_the_energies_of_the_atoms_are_exact():
    one = sinc_energies(3)
    np.testing.assert_allclose(model_atoms.atoms(1).energies(3), one, atol=1e-6)
    expected = 3 * one[0] + np.repeat(one, [1, 4, 4])
    np.testing.assert_allclose(model_atoms.atoms(4).energies(9), expected, atol=1e-5)
    assert model_atoms.threshold(4) == pytest.approx(3 * one[0], abs=1e-5)


def test_the_published_errors_of_the_grid_come_out():
    run = finite_differences.solve(hydrogen().potential, 2, 50.0, 100, 9)
    error = 100 * np.abs(run.energies / hydrogen().energies(9) - 1).mean()
    assert error == pytest.approx(8.95, abs=0.005)
    assert run.residual < 3e-3


@pytest.mark.parametrize(("dimension", "n"), [(2, 30), (3, 14)])
def test_a_grid_has_the_energies_that_its_axes_add_up_to(dimension, n):
    run = finite_differences.solve(model_atoms.attraction_of_all, dimension, 8.0, n, 4)
    sums = finite_differences.separable_energies(model_atoms.attraction, dimension, 8.0, n, 4)
    np.testing.assert_allclose(run.energies, sums, atol=1e-5)


def test_the_error_of_a_grid_falls_with_the_square_of_its_spacing():
    coarse, middle, fine = (scaling.discrete(4, n) for n in (199, 399, 799))
    np.testing.assert_allclose((coarse - middle) / (middle - fine), 4, rtol=0.05)


def test_the_memory_of_a_grid_is_that_of_its_functions():
    few = finite_differences.blocks(model_atoms.attraction_of_all, 2, 20.0, 60, 3)
    more = finite_differences.blocks(model_atoms.attraction_of_all, 2, 20.0, 100, 6)
    assert 9 < more < 18
    assert few == pytest.approx(more, rel=0.2)
    assert finite_differences.largest_grid(8 * 9 * 10 * 50**4, 10, 4, 9) == 50


def test_features_and_envelope_propagate_as_they_are_evaluated():
    x = torch.randn(5, 3, dtype=torch.float64)
    for module in (model_atoms.Coordinates(), model_atoms.Decay()):
        value, gradient, laplacian = value_gradient_and_second(module, x)
        np.testing.assert_allclose(value, module(x), rtol=1e-12)
        by_torch = [torch.autograd.functional.jacobian(lambda z: module(z[None])[0], row) for row in x]  # noqa: B023
        np.testing.assert_allclose(gradient, torch.stack(by_torch), rtol=1e-9, atol=1e-12)
        for b, row in enumerate(x):
            for i in range(value.shape[1]):
                hessian = torch.autograd.functional.hessian(lambda z: module(z[None])[0, i], row)  # noqa: B023
                assert float(hessian.trace()) == pytest.approx(float(laplacian[b, i]), abs=1e-10)


def test_the_law_integrates():
    pieces = model_atoms.quasi_random(2, 0, 14)
    x, weight = (np.concatenate([getattr(piece, part).numpy() for piece in pieces]) for part in ("x", "weight"))
    integrals = [np.mean(weight * np.exp(-((x / s) ** 2).sum(axis=1))) / (np.pi * s**2) for s in (1, 3, 6)]
    np.testing.assert_allclose(integrals, 1, atol=0.01)


def test_lattices_have_the_same_law_and_less_noise_than_independent_points():
    batch = model_atoms.lattices(1000 * model_atoms.N_POINTS, 4, torch.Generator().manual_seed(0))
    # The integral of e^{−r²/9} in four dimensions.
    terms = batch.weight * torch.exp(-batch.x.square().sum(dim=1) / 9) / (9 * np.pi) ** 2
    means = terms.double().reshape(1000, -1).mean(dim=1)
    assert abs(float(means.mean()) - 1) < 4 * float(means.std()) / 1000**0.5
    assert float(means.std()) < 0.6 * float(terms.std()) / model_atoms.N_POINTS**0.5


def test_kronecker_lattices_step_by_the_plastic_number():
    (points,) = kronecker_lattices(1, 20, 2, torch.Generator().manual_seed(0))
    steps = (points[1:] - points[:-1]) % 1
    expected = torch.tensor([0.7548776662466927, 0.5698402909980532], dtype=torch.float64).expand(19, 2)
    torch.testing.assert_close(steps, expected, rtol=0, atol=3e-6)


def test_a_miniature_finds_two_electrons():
    functions = model_atoms.learn(2, 3, 400, seed=0, hidden=(16, 16))
    found = model_atoms.read_off(functions, 2, 3, log_points=11)
    exact = model_atoms.atoms(2).energies(3)
    assert (np.abs(found.energies - exact) < 0.04 * (model_atoms.threshold(2) - exact)).all()
    assert (found.standard_errors < 0.01).all()


def test_networks_are_ahead_where_no_grid_was_better_by_then():
    rows = [
        {"dimension": 3, "method": scaling.GRID, "n": n, "seconds": s, scaling.MEAN: e}
        for n, s, e in ((32, 1.0, 5.0), (64, 30.0, 1.0))
    ] + [
        {"dimension": 3, "method": scaling.OURS, "steps": n, "seconds": s, scaling.MEAN: e}
        for n, s, e in ((100, 2.0, 6.0), (500, 20.0, 2.0), (900, 40.0, 0.5))
    ]
    assert scaling.crossover(rows, 3).startswith("networks are ahead from 500 steps, 20 s")
    assert scaling.crossover([*rows[:-1], {**rows[-1], scaling.MEAN: 1.5}], 3).startswith("grids are ahead")
    assert scaling.seconds_of(rows, 3, 128) == pytest.approx(900)


def test_a_clock_goes_on_after_an_interruption(tmp_path):
    path = tmp_path / "training.seconds"
    path.write_text("100")
    first = scaling.Clock(path)
    first.keep(1, None)
    assert 100 < float(path.read_text()) < 101
    assert 100 < scaling.Clock(path).stop() < 101
    assert not path.exists()
