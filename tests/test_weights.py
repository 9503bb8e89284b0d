"""Weights of biased samples: against exact answers, and what is refused."""

import numpy as np
import pytest
import torch

from analysis.references import oracle_rates
from spectraldyn import InputError, effective_sample_size, mbar_weights, weights_from_logs
from spectraldyn.data.weights import BOLTZMANN, ensembles, kt_of, log_weights
from spectraldyn.systems import SYSTEMS, cell_weights
from spectraldyn.systems.catalogue import muller_brown
from spectraldyn.systems.grids import Grid

N = 40_000


def test_log_weights_are_shifted_and_never_divided():
    logs = np.array([1000.0, 1000.0 + np.log(2), 1000.0, -np.inf] * 10)
    np.testing.assert_allclose(weights_from_logs(logs), np.tile([1.0, 2.0, 1.0, 0.0], 10))
    np.testing.assert_allclose(weights_from_logs(logs - 5000), weights_from_logs(logs))
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([1.0, 1, 0, 0])) == pytest.approx(2)


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ([0.0, np.nan, 1.0], "the weight of row 1 is nan"),
        ([0.0, 1.0, np.inf], "the weight of row 2 is inf"),
        ([-np.inf] * 4, "all 4 weights are zero"),
        ([], "no weights"),
        ([0.0] * 99 + [30.0], r"leave 1\.0 effective rows of 100, less than 10, and row 99 alone has 100 %"),
    ],
)
def test_weights_that_say_nothing(logs, message):
    with pytest.raises(InputError, match=message):
        weights_from_logs(logs)


def test_bias_and_temperature_of_a_spring():
    """E = k x²/2 has ⟨x²⟩ = kT/k, whatever it was sampled with: V = k′x²/2 at kT′ leaves the variance kT′/(k + k′)."""
    rng, stiffness, added = np.random.default_rng(0), 2.0, 1.5
    assert pytest.approx(2.494339, rel=1e-6) == kt_of(300)
    assert pytest.approx(8.314462618e-3, rel=1e-9) == BOLTZMANN
    for kt, simulated in ((1.0, 1.0), (1.0, 1.4), (1.2, 1.0)):
        x = rng.normal(size=N) * np.sqrt(simulated / (stiffness + added))
        energy, bias = stiffness * x**2 / 2, added * x**2 / 2
        weight = weights_from_logs(log_weights(kt, bias, energy, simulated))
        assert weight.mean() == pytest.approx(1)
        assert np.average(x**2, weights=weight) / (kt / stiffness) == pytest.approx(1, abs=0.08)
        assert abs(np.var(x) * stiffness / kt - 1) > 0.15


def umbrellas(n=1500):
    """Rows of springs of free energies known exactly: u_k = k_k (x − c_k)²/2 has f_k = ln √k_k up to a constant."""
    rng, stiffness, centres = np.random.default_rng(1), np.array([1.0, 4.0, 3.0, 2.0]), np.array([0.0, 0.5, 1.0, 1.6])
    x = np.concatenate([c + rng.normal(size=n) / np.sqrt(k) for k, c in zip(stiffness, centres, strict=True)])
    return x, stiffness[:, None] * (x - centres[:, None]) ** 2 / 2, stiffness


def test_many_ensembles_by_mbar():
    x, potentials, stiffness = umbrellas()
    counts = np.full(4, 1500)
    found = ensembles(potentials, counts).compute_free_energy_differences()
    exact = np.log(np.sqrt(stiffness / stiffness[0]))
    assert (np.abs(found["Delta_f"][0] - exact)[1:] < 3 * found["dDelta_f"][0, 1:]).all()
    # All rows as one sample of the third spring, and of one that was not simulated.
    for target, mean, variance in ((potentials[2], 1.0, 1 / 3), (5 * (x - 0.8) ** 2 / 2, 0.8, 1 / 5)):
        weight = mbar_weights(potentials, counts, target)
        error = np.sqrt(variance / effective_sample_size(weight))
        assert np.average(x, weights=weight) == pytest.approx(mean, abs=4 * error)
        assert np.average((x - mean) ** 2, weights=weight) == pytest.approx(variance, rel=0.1)


def test_ensembles_that_do_not_fit():
    _, potentials, _ = umbrellas(5)
    with pytest.raises(InputError, match=r"`reduced_potentials` has shape \(4, 20\) and `counts` \(3,\)"):
        mbar_weights(potentials, [5, 5, 5])
    potentials[1, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        mbar_weights(potentials, [5] * 4)


def test_mbar_without_pymbar(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymbar", None)
    with pytest.raises(InputError, match=r"pip install 'spectraldyn\[biased\]'"):
        mbar_weights(np.zeros((1, 20)), [20])


def test_cells_hold_the_equilibrium_whatever_was_sampled():
    """Uniform states of a double well: averages as in equilibrium, with much less noise than samples have."""
    system = SYSTEMS["double-well"]
    states = np.random.default_rng(0).uniform(-2, 2, (3000, 1))
    weight = cell_weights(system, states)
    exact = system.sample(200_000, seed=0)
    assert np.average(states[:, 0] ** 2, weights=weight) == pytest.approx((exact**2).mean(), rel=2e-3)
    np.testing.assert_allclose(oracle_rates(system, states, 2, weight), system.rates(2), rtol=5e-3)
    with pytest.raises(InputError, match="on a torus"):
        cell_weights(SYSTEMS["cosine-torus"], np.zeros((3, 5)))
    with pytest.raises(InputError, match="in 30 dimensions"):
        cell_weights(SYSTEMS["mixed-double-wells"], np.zeros((3, 30)))


def test_cold_mueller_brown_rates_do_not_depend_on_the_walls():
    """Finite volumes with D = 1: 1.2474e-3 and 3.5596, of which friction 10 leaves a tenth."""
    system = SYSTEMS["muller-brown-cold"]
    wider = muller_brown(1 / 0.15, 0.1, ((-1.5, 1.2), (-0.4, 2.0)))
    for one in (system, wider):
        grid = Grid(one.domain, (160, 160))
        np.testing.assert_allclose(one.on_grid(grid, 3).eigenvalues[1:], [1.2474e-4, 0.35596], rtol=3e-3)
    at = torch.tensor([[-0.75, 1.5], [-1.098815, 0.914867]], dtype=torch.float64)
    energies = system.energy(at).numpy() + 0.15 * 146.7  # as PLUMED has printed them
    np.testing.assert_allclose(energies, [8.036209, 10.853522], atol=1e-4)
