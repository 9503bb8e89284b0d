"""A quick beginning for the networks of a transfer operator: slow linear coordinates, and the last layer solved for.

Nested low-rank approximation pins the norm of every mode to its singular value, which keeps it unbiased in small
batches, but a mode whose norm begins near zero grows slowly. So training begins with a few steps in which nothing is
pinned: more functions than modes are put on top of the hidden layers, and the steps descend on the low-rank error that
remains once their best combinations have been solved for. These combinations, with the norms that belong to them, then
become the last layer that the training goes on from.

What the networks see is scaled by how slow it is, coordinate by coordinate: where many coordinates are fast, networks
that look at all of them alike learn the noise of the sample. A slow process in coordinates whose autocorrelation tells
nothing of it is left to `spectraldyn.learning.ensemble`.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.samples import PairSamples, evenly_picked
from spectraldyn.learning.averages import operator_moments
from spectraldyn.learning.loop import cpu_settings, descend
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks, linear_layers
from spectraldyn.networks.sides import Layout, Sides, build_sides
from spectraldyn.networks.whitening import WhitenedLinear, Whitening
from spectraldyn.objectives.projected import projected_low_rank_loss
from spectraldyn.processes import agree_on, shared_out
from spectraldyn.records import Action, Operator, State
from spectraldyn.spectra.rayleigh_ritz import Averages, leading, rayleigh_ritz

STEPS = 25
LEARNING_RATE = 0.01
EXTRA_FUNCTIONS = 15
"""Functions beyond the modes, at most. The more there are, the better their best combinations are from the first step
on; but a batch must be large enough to solve for these, and few pairs are overfitted at once."""
PAIRS_FOR_EXTRA = 1000
"""Training pairs for each of them."""
MIN_BATCH = 512
PAIRS_PER_FUNCTION = 32
RISE = 50
"""Steps of the training that follows over which its learning rate rises."""
TOLERANCE = 0.0005
"""Share of the best held-out score by which a later evaluation of that training may fall short and still be kept: what
follows a good beginning is soon more of an adaptation to the sample than of an improvement."""
RIDGE = 0.03
"""Share of every function's variance that is added to it. Wide layers on few coordinates are almost linearly dependent;
combinations that magnify what is left of them would overfit the batch and make weights too large to train."""
FOLDED_PAIRS = 8192
"""From which the combinations are solved for in the end."""
SPREAD = 2.3
"""Standard deviation of what enters the activations of the first layer: enough for them to bend between two states."""
MAX_LINEAR_PAIRS = 50_000
"""Enough for the slow linear coordinates."""
POWER, LEAST_SCALE = 2, 0.03
"""Of the autocorrelations by which coordinates are scaled; least scale as a share of that of the slowest. With a higher
power, what is less slow is looked at too little; with a lower one, fast coordinates are overfitted."""
MANY, POWER_OF_MANY, LEAST_SCALE_OF_MANY = 64, 3, 0.005
"""The same for more than so many coordinates: hundreds of fast ones are overfitted together."""
NOISE = 3
"""Where all autocorrelations are below so many times their statistical error, one divided by the root of the pairs, no
coordinate is slower than another."""
MOST_INPUTS = 128
"""Slow linear coordinates that a network looks at. With the scales of many inputs those behind them, which are faster
still, hardly count; and what each step costs does not grow with the features any more."""
SOLVED_PAIRS = 50_000
LEAST_NORM = 0.2
"""Squared norm with which a mode begins at least: one that begins near zero would hardly grow."""


@torch.no_grad()
def slow_coordinates(whitening: Whitening, pairs: PairSamples) -> tuple[Whitening, Tensor]:
    """Time-lagged independent components of whitened inputs, slowest first, from the training pairs.

    The map into the components, at most `MOST_INPUTS` of them, along whose axes Adam, which treats every weight by
    itself, gets on better; and powers (k,) of their autocorrelations, divided by the largest: what would be left of
    each after some lag times if it decayed exponentially.

    References
    ----------
    Molgedey, Schuster, Phys. Rev. Lett. 72 (1994) 3634; Pérez-Hernández et al., J. Chem. Phys. 139 (2013) 015102;
    Noé, Clementi, J. Chem. Theory Comput. 11 (2015) 5002 for coordinates scaled by their eigenvalues.
    """
    some = evenly_picked(pairs.train, MAX_LINEAR_PAIRS)
    n_pairs = sum(map(len, some))
    # Raw inputs are multiplied and only their moments are whitened: a third of the work where inputs are many.
    lagged = sum(whitening.centred(x).T @ whitening.centred(y) for x, y in (pairs.batch(part).pair for part in some))
    lagged = whitening.matrix.T @ (lagged / n_pairs) @ whitening.matrix
    autocorrelations, rotation = torch.linalg.eigh((lagged + lagged.T) / 2)
    slow = autocorrelations.flip(0).clamp_min(1e-9)
    power, least = (POWER, LEAST_SCALE) if len(slow) <= MANY else (POWER_OF_MANY, LEAST_SCALE_OF_MANY)
    scales = (slow / slow[0]).pow(power).clamp_min(least if slow[0] > NOISE / n_pairs**0.5 else 1.0)
    return whitening.followed_by(rotation.flip(1)[:, :MOST_INPUTS]), scales[:MOST_INPUTS]


def warm_start(operator: Operator, samples: PairSamples, inputs: Whitening, layout: Layout, seed: int) -> Sides:
    """Networks as `layout` describes them, some steps into the training.

    For a transfer operator, whose first function is the constant. The inputs are mapped to uncorrelated coordinates:
    the larger the variance of one, the more is looked along it. The seed is that of initial weights and batches.
    """
    n_modes = layout.n_modes
    n_functions = n_modes + min(EXTRA_FUNCTIONS, len(samples.train) // PAIRS_FOR_EXTRA)
    batch_size = max(MIN_BATCH, PAIRS_PER_FUNCTION * n_functions)
    generator = torch.Generator(device=samples.device).manual_seed(seed)
    wide_layout = Layout(n_functions, "common-trunk", layout.hidden, layout.activation, layout.tied)
    wide = build_sides(inputs, wide_layout, seed).to(samples.device)
    for network in wide.distinct:
        _spread(cast(CommonTrunk, network), samples, generator)
    agree_on([*wide.parameters(), *wide.buffers()])

    def objective(action: Action, state: State) -> tuple[Tensor, State]:
        return projected_low_rank_loss(action, 1 + n_modes, RIDGE), state

    with cpu_settings(wide):
        samples.seek(0, seed)
        optimiser = torch.optim.Adam(wide.parameters(), LEARNING_RATE, fused=True)
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / STEPS)
            with shared_out(batch_size):
                descend(wide, operator, objective, {}, samples.draw(batch_size, generator), optimiser)
        folded = operator_moments(operator, wide.left, wide.right, [[samples.draw(FOLDED_PAIRS, generator)]])
        sides = build_sides(inputs, layout, seed).to(samples.device)
        _fold(wide, sides, folded.means(), n_modes)
    return sides


@torch.no_grad()
def _spread(network: CommonTrunk, samples: PairSamples, generator: torch.Generator) -> None:
    """Weights of the first layer that point everywhere, of a size that suits its inputs."""
    variance = total_variance(cast(WhitenedLinear, network.trunk[0]).whitening, samples)
    linear_layers(network.trunk)[0].weight.normal_(generator=generator).mul_(SPREAD / variance**0.5)


@torch.no_grad()
def total_variance(inputs: Whitening, samples: PairSamples) -> float:
    """Of what a network looks at, over all coordinates."""
    some = samples.train[:: -(-len(samples.train) // FOLDED_PAIRS)]
    return float(inputs(samples.batch(some).x).var(dim=0).sum())


@torch.no_grad()
def _fold(wide: Sides, sides: Sides, averages: Averages, n_modes: int) -> None:
    """Make the best combinations of the wide networks' functions the last layer of `sides`."""
    combinations = best_combinations(averages, n_modes, RIDGE, LEAST_NORM, tied=sides.tied)
    for network, source, folded in zip(sides.distinct, wide.distinct, combinations, strict=False):
        source = cast(CommonTrunk, source)
        lift = torch.from_numpy(folded).to(source.head.weight)
        weight, bias = source.head.weight.T @ lift[1:], source.head.bias @ lift[1:] + lift[0]
        cast(CommonTrunk | SeparateNetworks, network).take_over(source, weight, bias)


def best_combinations(
    averages: Averages, n_modes: int, ridge: float, least_norm: float = 1e-6, *, tied: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Combinations (1 + m, L) of the constant, which comes first, and the functions on either side.

    Leading singular functions of the operator projected on the functions, with the norms of nested low-rank
    approximation, squared at least `least_norm`. Added to every variance is the ridge times the larger of itself and
    their mean.
    """
    a, b, c = averages
    spectrum = leading(rayleigh_ritz((_ridged(a, ridge), b, _ridged(c, ridge)), tied=tied), n_modes)
    norms = np.sqrt(np.clip(spectrum.values, least_norm, None))
    return spectrum.left * norms, spectrum.right * norms


def _ridged(gram: np.ndarray, ridge: float) -> np.ndarray:
    variances = np.diag(gram) - gram[0] ** 2
    # A function that hardly varies would otherwise get a weight so large that no later step could correct it.
    added = ridge * np.maximum(variances, variances.mean())
    added[0] = 0
    return gram + np.diag(added)
