"""Networks that held out different parts of the data: mean operator, held-out eigenvalues, relevant coordinates."""

import numpy as np
import pytest
import torch
from torch import nn

from spectraldyn import NeuralSVD
from spectraldyn.data import PairSamples, Rows
from spectraldyn.learning import History
from spectraldyn.learning.averages import operator_moments
from spectraldyn.learning.ensemble import Member, average, held_out_values, relevant_coordinates
from spectraldyn.networks import Layout, Whitening, build_sides
from spectraldyn.networks.mlp import SideBySide
from spectraldyn.operators import reversible_transfer, transfer
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz

DECAY = np.array([0.9, 0.7, 0.2])
N_FRAMES = 20_000
INPUTS = Whitening(torch.zeros(3), torch.eye(3))
NONE = History([], [], [], 0)


@pytest.fixture(scope="module")
def pairs():
    """Three independent springs that keep these shares of themselves from row to row: all rows, all pairs."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((N_FRAMES, 3)) * np.sqrt(1 - DECAY**2)
    states = np.empty_like(noise)
    states[0] = random.standard_normal(3)
    for t in range(1, N_FRAMES):
        states[t] = DECAY * states[t - 1] + noise[t]
    starts = np.arange(N_FRAMES - 1)
    return PairSamples.of(Rows(torch.from_numpy(states).float()), 1, starts[:15_000], starts[15_001:])


def linear(coefficients, tied=True):
    """Networks whose functions are these combinations (n, 3) of the coordinates, however non-linear they could be."""
    sides = build_sides(INPUTS, Layout(len(coefficients), "common-trunk", (6,), "gelu", tied), seed=0)
    for network in sides.distinct:
        with torch.no_grad():
            first = network.trunk[0].linear
            first.weight.copy_(torch.cat((torch.eye(3), -torch.eye(3))))
            first.bias.zero_()
            # gelu(x) − gelu(−x) = x
            network.head.weight.copy_(torch.tensor(np.hstack((coefficients, -np.asarray(coefficients)))))
            network.head.bias.zero_()
    return sides


def values_of(sides, pairs, operator=reversible_transfer):
    batch = [pairs.batch(pairs.train)]
    return rayleigh_ritz(operator_moments(operator, sides.left, sides.right, [batch]).means(), tied=sides.tied)


@pytest.mark.parametrize("tied", [True, False])
def test_mean_of_operators_keeps_what_the_networks_have_in_common(pairs, tied):
    """Both know the slowest spring; of the second and the third, each knows one: the slower counts for more."""
    operator = reversible_transfer if tied else transfer
    members = [
        Member(linear(rows, tied), pairs, 0.0, NONE)
        for rows in ([[1.0, 0, 0], [0, 1.0, 0]], [[1.0, 0, 0], [0, 0, 1.0]])
    ]
    sides = average(members, operator, pairs, Layout(2, "common-trunk", (6,), "gelu", tied))
    assert isinstance(sides.left.trunk, SideBySide)
    spectrum = values_of(sides, pairs, operator)
    assert spectrum.values == pytest.approx(DECAY[:2], abs=0.02)
    # Norms are those of all pairs and not halved because one of two networks knows the mode.
    assert spectrum.norms == pytest.approx(spectrum.values, abs=1e-4)


def test_a_single_network_is_put_in_order(pairs):
    """One network alone: modes of any rotation and norm become the singular functions, with their norms."""
    mixed = linear([[2.0, 3.0, 0], [-1.0, 1.0, 0]])
    layout = Layout(2, "separate", (6,), "gelu", True)
    sides = average([Member(mixed, pairs, 0.0, NONE)], reversible_transfer, pairs, layout)
    spectrum = values_of(sides, pairs)
    assert spectrum.values == pytest.approx(DECAY[:2], abs=0.02)
    with torch.no_grad():
        functions = sides.left(pairs.batch(pairs.train).x).double().numpy()
    covariance = functions.T @ functions / len(functions)
    assert covariance == pytest.approx(np.diag(spectrum.values), abs=0.03)


@pytest.mark.parametrize("tied", [True, False])
def test_held_out_eigenvalues_are_those_of_pairs_not_seen(pairs, tied):
    """Training pairs that are each their own partner have eigenvalues of 1; held-out ones know better."""
    rows = pairs.rows.parts[0]
    still = len(rows) + torch.arange(0, 2 * 15_000, 2)
    both = Rows(rows, rows[:15_000].repeat_interleave(2, dim=0))
    member = Member(linear(np.eye(3), tied), PairSamples(both, 1, still, pairs.test), 0.0, NONE)
    values, spectrum = held_out_values(member, reversible_transfer if tied else transfer)
    assert spectrum.values == pytest.approx(np.ones(3), abs=1e-6)
    # A fifth is what training pairs say, of a variance that is the same here.
    held_out = (spectrum.left[1:] ** 2 * DECAY[:, None]).sum(axis=0)
    assert values == pytest.approx(0.2 + 0.8 * held_out, abs=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_a_mode_that_held_out_pairs_never_see_counts_as_in_training(pairs, tied):
    """They know nothing of a state that they do not visit; of noise they know that it decays."""
    rows = pairs.rows.parts[0].clone()
    rows[15_001:, 0] = 0.0
    unseen = PairSamples(Rows(rows), pairs.distance, pairs.train, pairs.test)
    member = Member(linear(np.eye(3), tied), unseen, 0.0, NONE)
    values, spectrum = held_out_values(member, reversible_transfer if tied else transfer)
    assert values[0] == pytest.approx(spectrum.values[0], rel=0.02)


def test_relevant_coordinates_are_those_that_the_functions_depend_on(pairs):
    """Of a function of x₀ + 2 x₁ alone the gradients lie along (1, 2, 0)/√5, in whatever coordinates it is learned."""
    stretched = torch.diag(torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64))
    inputs = INPUTS.followed_by(stretched)
    sides = linear([[1.0, 2.0, 0.0]])
    sides.left.trunk[0].whitening = Whitening(inputs.mean, inputs.matrix.float())
    (found,) = (relevant_coordinates([(Member(sides, pairs, 0.0, NONE), stretched)], reversible_transfer),)
    lengths = found.norm(dim=0)
    assert lengths.tolist() == pytest.approx([1e-3, 1e-3, 1.0], rel=1e-4)
    # In the stretched coordinates (1, 2): the function is x₀ + 2 · 0.5 x₁ in the others.
    assert (found[:, 2].abs() * np.sqrt(2)).tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-3)


def test_a_slow_radius_among_noise_is_found():
    """A slow circle's radius, 6 fast coordinates beside it: nearly the oracle, where inputs all alike fall short."""
    random = np.random.default_rng(1)
    walk = np.empty(12_000)
    walk[0] = 0
    kicks = random.standard_normal(len(walk)) * np.sqrt(1 - 0.95**2)
    for t in range(1, len(walk)):
        walk[t] = 0.95 * walk[t - 1] + kicks[t]
    radius, angle = 3 + 0.7 * walk, random.uniform(0, 2 * np.pi, len(walk))
    noise = random.standard_normal((len(walk), 6))
    frames = np.column_stack((radius * np.cos(angle), radius * np.sin(angle), noise))
    model = NeuralSVD(1, 1, random_state=0).fit_fetch(frames)
    best = walk - walk.mean()
    oracle = -1 / np.log((best[1:] @ best[:-1]) / (best @ best))
    assert model.timescales()[0] == pytest.approx(oracle, rel=0.12)


def test_side_by_side_is_one_after_the_other():
    parts = [nn.Linear(3, 2), nn.Linear(3, 4)]
    x = torch.randn(5, 3)
    assert torch.equal(SideBySide(parts)(x), torch.cat([part(x) for part in parts], dim=1))


def test_inputs_far_from_zero_are_centred_in_single_precision():
    """A mean that single precision cannot hold, a million away: what is left of it is taken off as well."""
    mean = torch.tensor([1e6 + 0.03, 0.5], dtype=torch.float64)
    x = (mean + torch.tensor([[0.25, 1.0], [-1.5, -2.0]])).float()
    found = Whitening(mean, torch.eye(2)).centred(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), x.double() - mean, rtol=0, atol=1e-6)
