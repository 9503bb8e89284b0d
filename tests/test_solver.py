"""learn_spectrum: what it refuses, and that weights and known modes are kept straight."""

import numpy as np
import pytest
import torch

from spectraldyn.data import FreshSamples, Rows, WeightedSamples
from spectraldyn.errors import InputError
from spectraldyn.learning.spectrum import learn_spectrum
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.operators.kernel import integral_kernel
from spectraldyn.operators.overdamped import energy_space_resolvent
from spectraldyn.records import Batch

OPERATOR = energy_space_resolvent(1.0, 1.0)
STATES = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))


def samples(weight=None):
    rows = torch.arange(500)
    return WeightedSamples(Rows(STATES), weight, rows, rows[:0])


def solve(operator=OPERATOR, network=None, **options):
    network = network or SeparateNetworks(1, 2, (16,), "tanh")
    return learn_spectrum(operator, samples(), network, **{"read_off": [Batch(STATES)], "n_steps": 3, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "nothing"}, "objective 'nothing' is unknown"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"optimiser": "sgd"}, "optimiser is 'sgd'"),
        ({"read_off": []}, "read_off is empty"),
        ({"right_network": CommonTrunk(1, 2, (4,))}, "ties both sides"),
        ({"objective": "sequential", "network": CommonTrunk(1, 2, (4,))}, "gradient of its own"),
        ({"objective": "orbital-minimisation", "positive": False}, "negative eigenvalues"),
        ({"objective": "graph-drawing", "contraction": False}, "1 − T"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        solve(**options)


def test_a_kernel_has_two_sides_even_with_one_network():
    kernel = integral_kernel(lambda x, y: torch.exp(x[..., 0] * y[..., 0]))
    pairs = FreshSamples(lambda n, g: Batch(torch.randn(n, 1, generator=g), torch.randn(n, 1, generator=g)))
    with pytest.raises(InputError, match="self-adjoint"):
        learn_spectrum(kernel, pairs, SeparateNetworks(1, 2, (4,)), [Batch(STATES, STATES)], objective="neuralef")


def test_weights_count_relative_to_their_mean():
    plain, scaled = samples(torch.ones(500)), samples(torch.full((500,), 9.0))
    torch.testing.assert_close(plain.weight, scaled.weight)


def test_training_descends_and_the_given_network_stays():
    torch.manual_seed(0)
    network = SeparateNetworks(1, 1, (16,), "tanh")
    before = [p.clone() for p in network.parameters()]
    spectrum = solve(network=network, n_steps=300, learning_rate=1e-2, objective="sequential")
    for a, b in zip(before, network.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    np.testing.assert_allclose(spectrum.values, [0.5], atol=0.05)
    functions = spectrum.functions(STATES)
    assert functions.shape == (500, 1)


def test_rmsprop_descends_too():
    torch.manual_seed(0)
    spectrum = solve(network=SeparateNetworks(1, 1, (16,), "tanh"), n_steps=300, optimiser="rmsprop")
    np.testing.assert_allclose(spectrum.values, [0.5], atol=0.05)


@pytest.mark.usefixtures("kept_at_every_evaluation")
def test_an_interrupted_training_goes_on_from_its_checkpoint_and_is_observed(tmp_path):
    torch.manual_seed(0)
    network, seen = SeparateNetworks(1, 2, (16,), "tanh"), []
    options = {"network": network, "n_steps": 40, "checkpoint": tmp_path / "half.pt"}

    def observe(step, sides):
        assert sides.left(STATES).shape == (500, 2)
        seen.append(step)

    def interrupt(step, sides):
        if step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(**options, observe=interrupt)
    resumed = solve(**options, observe=observe)
    assert seen == list(range(20, 41, 2))
    np.testing.assert_array_equal(resumed.values, solve(network=network, n_steps=40).values)
