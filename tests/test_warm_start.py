"""The beginning of the training: linear coordinates, the objective with the last layer solved for, and the fold."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from spectraldyn import NeuralSVD
from spectraldyn.data import PairSamples, Rows
from spectraldyn.learning.warm_start import (
    MOST_INPUTS,
    POWER,
    best_combinations,
    slow_coordinates,
    total_variance,
    warm_start,
)
from spectraldyn.linalg import gram
from spectraldyn.networks import CommonTrunk, Layout, SeparateNetworks, Whitening, build_sides
from spectraldyn.objectives.nested import low_rank_loss
from spectraldyn.objectives.projected import projected_low_rank_loss
from spectraldyn.objectives.vamp import vamp2_loss
from spectraldyn.operators.transfer import reversible_transfer, transfer
from spectraldyn.records import Action
from spectraldyn.systems import SYSTEMS, oracle_timescales

LAG = 2
AS_THEY_ARE = Whitening(torch.zeros(2), torch.eye(2))


@pytest.fixture(scope="module")
def springs():
    """Two springs, of timescales 1 and 1/4, mixed; frames 0.1 apart."""
    random = np.random.default_rng(0)
    decay = np.exp(-0.1 * np.array([1.0, 4.0]))
    noise = random.standard_normal((20_000, 2)) * np.sqrt(1 - decay**2)
    states = np.empty_like(noise)
    states[0] = random.standard_normal(2)
    for t in range(1, len(noise)):
        states[t] = decay * states[t - 1] + noise[t]
    return states @ np.array([[1.0, 0.4], [0.5, 2.0]])


@pytest.fixture(scope="module")
def data(springs):
    """The springs as a network sees them: pairs of slow coordinates; and the scales of these."""
    states, starts = torch.from_numpy(springs), np.arange(len(springs) - LAG)
    whitening = Whitening.of(states.mean(dim=0), states.T.cov())
    slow, scales = slow_coordinates(whitening, PairSamples.of(Rows(states), LAG, starts))
    return PairSamples.of(Rows(slow(states).float()), LAG, starts), scales


def layout(network="common-trunk", n_modes=2, hidden=(8,), activation="tanh", tied=True):
    return Layout(n_modes, network, hidden, activation, tied)


def functions(n_rows=200, n_functions=6, components=2, tied=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    f, Tf, g, Tg = torch.randn(4, n_rows, n_functions, components, generator=generator, dtype=torch.float64)
    return Action.with_tied_sides(f, Tf) if tied else Action(f=f, Tg=Tg, g=g, Tf=Tf)


def test_slow_coordinates_are_those_of_the_springs(data):
    pairs, scales = data
    x, y = pairs.batch(pairs.train).pair
    lagged = x.T @ y / len(x)
    assert lagged.diagonal().tolist() == pytest.approx(np.exp(-0.1 * LAG * np.array([1.0, 4.0])), abs=0.03)
    assert abs(float(lagged[0, 1] + lagged[1, 0])) < 1e-3
    autocorrelations = (lagged + lagged.T).diagonal().double() / 2
    assert scales.tolist() == pytest.approx([1, float((autocorrelations[1] / autocorrelations[0]) ** POWER)], abs=1e-4)


def test_of_many_inputs_the_slowest_are_looked_at(springs):
    """As many as `MOST_INPUTS`, in order; the map to them takes all inputs."""
    n_noise = MOST_INPUTS + 20
    noise = np.random.default_rng(1).standard_normal((len(springs), n_noise))
    states, starts = torch.from_numpy(np.hstack((noise, springs))).float(), np.arange(len(springs) - LAG)
    whitening = Whitening.of(states.double().mean(dim=0), states.double().T.cov())
    slow, scales = slow_coordinates(whitening, PairSamples.of(Rows(states), LAG, starts))
    assert (slow.n_inputs, slow.n_outputs, len(scales)) == (n_noise + 2, MOST_INPUTS, MOST_INPUTS)
    coordinates = slow(states)
    assert coordinates.double().T.cov() == pytest.approx(np.eye(MOST_INPUTS), abs=1e-4)
    autocorrelations = (coordinates[:-LAG] * coordinates[LAG:]).double().mean(dim=0)
    assert autocorrelations[:2].tolist() == pytest.approx(np.exp(-0.1 * LAG * np.array([1.0, 4.0])), abs=0.05)
    assert (scales.diff() <= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_inputs_of_which_none_is_slow_are_all_alike(seed):
    """Autocorrelations of noise are chance; a scale made of them would hide one coordinate or the other."""
    states = torch.from_numpy(np.random.default_rng(seed).standard_normal((5000, 2)))
    pairs = PairSamples.of(Rows(states), LAG, np.arange(len(states) - LAG))
    _, scales = slow_coordinates(Whitening.of(states.mean(dim=0), states.T.cov()), pairs)
    assert scales.tolist() == [1.0, 1.0]


def test_total_variance_is_that_of_all_coordinates(data):
    pairs, _ = data
    scaled = Whitening(torch.zeros(2), torch.tensor([[1.0, 0.0], [0.0, 0.3]]))
    assert total_variance(scaled, pairs) == pytest.approx(1 + 0.09, rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_projected_loss_is_the_least_low_rank_loss_over_last_layers(tied):
    """Eckart–Young: no combination of the functions does better, and gradient descent on them comes there."""
    generator = torch.Generator().manual_seed(1)
    f = torch.randn(2000, 5, 2, generator=generator, dtype=torch.float64)
    mixing = torch.diag(torch.tensor([0.9, 0.8, 0.6, 0.4, 0.2], dtype=torch.float64))
    Tf = torch.einsum("bik,ij->bjk", f, mixing)
    action = Action(f=f, Tg=Tf, g=f, Tf=Tf, tied=tied)
    # low_rank_loss estimates a product of expectations from pairs of rows; the projection is exact on the sample.
    least = float(projected_low_rank_loss(action, 2, ridge=0.0))
    weights = [torch.randn(5, 2, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2 - tied)]
    A, B, C = gram(f, f), (gram(f, Tf) + gram(Tf, f)) / 2, gram(f, f)

    def loss():
        P, Q = weights[0], weights[-1]
        return -2 * torch.trace(P.T @ B @ Q) + ((P.T @ A @ P) * (Q.T @ C @ Q)).sum()

    descent = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure():
        descent.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(3):
        descent.step(closure)
    assert float(loss().detach()) == pytest.approx(least, abs=1e-6)
    values = torch.linalg.eigvals(torch.linalg.solve(A, B)).real.sort(descending=True).values
    assert least == pytest.approx(-float(values[:2].square().sum()), rel=1e-9)


@pytest.mark.parametrize("tied", [True, False])
def test_projected_loss_of_full_rank_is_vamp2(tied):
    action = functions(tied=tied)
    positive = Action.with_tied_sides(action.f, action.f) if tied else action
    assert float(projected_low_rank_loss(positive, 6)) == pytest.approx(float(vamp2_loss(positive)), rel=1e-9)


def test_tied_sides_leave_out_negative_eigenvalues():
    f = torch.randn(100, 3, 1, dtype=torch.float64)
    action = Action.with_tied_sides(f, -f)
    assert float(projected_low_rank_loss(action, 3)) == 0


@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("network", ["common-trunk", "separate"])
def test_warm_start_ends_close_to_the_nested_optimum(data, network, reversible):
    """Norms are the singular values, the modes are orthogonal, and the loss is almost −Σ σ²: 1 + e^−0.4 + e^−0.8."""
    pairs, _ = data
    wanted = layout(network, hidden=(16, 16), activation="gelu", tied=reversible)
    operator = reversible_transfer if reversible else transfer
    sides = warm_start(operator, pairs, AS_THEY_ARE, wanted, seed=0)
    assert isinstance(sides.left, SeparateNetworks if network == "separate" else CommonTrunk)
    assert (sides.left is sides.right) == reversible
    with torch.no_grad():
        action = operator(sides.left, sides.right, pairs.batch(pairs.train))
    exact = np.exp(-0.1 * LAG * np.array([0, 1, 2]))
    assert float(low_rank_loss(action)) == pytest.approx(-np.sum(exact**2), abs=0.05)
    for side in (action.f, action.g):
        assert gram(side, side).numpy() == pytest.approx(np.diag(exact), abs=0.05)
    cold = build_sides(AS_THEY_ARE, wanted, seed=0)
    with torch.no_grad():
        begun = operator(cold.left, cold.right, pairs.batch(pairs.train))
    assert float(low_rank_loss(begun)) > -1.2


def test_separate_networks_begin_as_the_common_one(data):
    pairs, _ = data
    common, separate = (
        warm_start(reversible_transfer, pairs, AS_THEY_ARE, layout(network), seed=3).left
        for network in ("common-trunk", "separate")
    )
    x = torch.randn(50, 2)
    with torch.no_grad():
        assert separate(x).numpy() == pytest.approx(common(x).numpy(), abs=1e-5)


def test_few_steps_suffice_after_a_warm_start():
    """A double well and a spring, 100 steps: within 2 % of the oracle, where a cold start is far off."""
    system = SYSTEMS["double-well-2d"]
    frames = list(system.simulate(1000, 0.2, timestep=2e-3, seed=1, n_walkers=20))
    oracle = oracle_timescales(system, frames, 5, 2)
    errors = {}
    for warm in (True, False):
        model = NeuralSVD(2, 5, max_steps=100, warm_start=warm, random_state=0).fit_fetch(frames)
        errors[warm] = abs(model.timescales() / oracle - 1).max()
    assert errors[True] < 0.02 < 0.05 < errors[False]


def test_slow_process_that_linear_coordinates_do_not_show(monkeypatch):
    """A double well in the radius, the angle fast: no component of the position is autocorrelated, and all of the slow
    process is found from the beginning that looks at all coordinates alike."""
    system = SYSTEMS["double-well"]
    walks = np.concatenate([*system.simulate(1000, 0.2, timestep=2e-3, seed=0, n_walkers=20)])[:, 0]
    random = np.random.default_rng(1)
    radius, angle = 2 + 0.7 * walks, random.uniform(0, 2 * np.pi, len(walks))
    spring = lfilter([1.0], [1.0, -0.9], random.standard_normal(len(walks)))  # slow at first sight
    frames = np.column_stack((radius * np.cos(angle), radius * np.sin(angle), spring))
    truth = oracle_timescales(system, [walks[:, None]], 5, 1)
    estimator = NeuralSVD(1, 5, max_steps=150, random_state=0)
    assert estimator.fit(frames).model_.timescales()[0] == pytest.approx(truth[0], rel=0.25)
    monkeypatch.setattr("spectraldyn.estimators.neural_svd.NONLINEAR", np.inf)
    assert estimator.fit(frames).model_.timescales()[0] < truth[0] / 2


def test_fits_are_the_same_from_the_same_seed(springs):
    models = [
        NeuralSVD(2, LAG, max_steps=20, reversible=False, random_state=7).fit_fetch(springs[:3000]) for _ in range(2)
    ]
    assert (models[0].timescales() == models[1].timescales()).all()


def test_ridge_is_a_share_of_the_mean_variance_where_a_function_hardly_varies():
    """Variances 2.97 and 0.03, whose mean with the constant's 0 is 1: a ridge of 0.1 makes them 1.1 · 2.97 and 0.13."""
    variances = np.diag([1.0, 2.97, 0.03])
    averages = variances, variances * [1.0, 0.5, 0.9], variances
    combinations, _ = best_combinations(averages, 2, ridge=0.1, tied=True)
    values = np.array([0.5 / 1.1, 0.9 * 0.03 / 0.13])  # of the modes, which are the squares of their norms
    weights = np.sqrt(values / np.array([1.1 * 2.97, 0.13]))
    assert np.abs(combinations) == pytest.approx(np.vstack((np.zeros(2), np.diag(weights))), abs=1e-6)
