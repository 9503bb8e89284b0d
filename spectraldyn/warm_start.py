"""A quick beginning for the networks of a transfer operator: slow linear coordinates, and the last layer solved for.

Nested low-rank approximation pins the norm of every mode to its singular value, which keeps it unbiased in small
batches, but a mode whose norm begins near zero grows slowly. So training begins with a few steps in which nothing is
pinned. The hidden layers look along the slow linear coordinates first; more functions than modes are put on top of
them, and the steps descend on the low-rank error that remains once their best combinations have been solved for. These
combinations, with the norms that belong to them, then become the last layer that nested low-rank approximation goes
on from.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from spectraldyn.linalg import gram
from spectraldyn.model import build_sides
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks
from spectraldyn.objectives.projected import projected_low_rank_loss
from spectraldyn.records import Action, Operator
from spectraldyn.samples import PairData
from spectraldyn.spectra.decomposition import Projection, decompose_projection
from spectraldyn.training import Sides, settings_for_small_networks

STEPS = 25
LEARNING_RATE = 0.01
EXTRA_FUNCTIONS = 15
"""Functions beyond the modes. The more there are, the better their best combinations are from the first step on; but a
batch must be large enough to solve for these."""
MIN_BATCH = 512
PAIRS_PER_FUNCTION = 32
RISE = 50
"""Steps of the training that follows over which its learning rate rises."""
RIDGE = 0.03
"""Share of every function's variance that is added to it. Wide layers on few coordinates are almost linearly dependent;
combinations that magnify what is left of them would overfit the batch and make weights too large to train."""
FOLDED_PAIRS = 8192
"""From which the combinations are solved for in the end."""
SPREAD = 2.3
"""Standard deviation of what enters the activations of the first layer: enough for them to bend between two states."""
LEAST_NORM = 0.2
"""Squared norm with which a mode goes on at least: one that begins near zero would hardly grow."""


def slowness(autocorrelations: Tensor) -> Tensor:
    """Timescales of linear coordinates from their autocorrelations (d,), in units of the slowest."""
    timescales = -1 / autocorrelations.clamp(1e-3, 1 - 1e-4).log()
    return timescales / timescales.max()


def warm_start(
    operator: Operator, data: PairData, autocorrelations: Tensor, config: dict[str, Any], seed: int
) -> Sides:
    """Networks as `config` describes them, some steps into the training.

    Parameters
    ----------
    operator : Operator
        Transfer operator, whose first function is the constant.
    data : PairData
        Linear coordinates of unit variance, uncorrelated both at once and after the lag time.
    autocorrelations : Tensor (d,)
        Of these coordinates, at the lag time.
    config : dict
        See `spectraldyn.model.build_sides`.
    seed : int
        Of initial weights and batches.
    """
    n_modes, device = config["n_modes"], data.device
    n_functions = n_modes + EXTRA_FUNCTIONS
    batch_size = max(MIN_BATCH, PAIRS_PER_FUNCTION * n_functions)
    generator = torch.Generator(device=device).manual_seed(seed)
    layout = {**config, "network": "common-trunk", "n_modes": n_functions}
    with torch.random.fork_rng(devices=[]), settings_for_small_networks(device):
        torch.manual_seed(seed)
        wide = build_sides(len(autocorrelations), layout)
        for network in dict.fromkeys((wide.left, wide.right)):
            _look_along(cast(CommonTrunk, network), slowness(autocorrelations.cpu()))
        wide = wide.to(device)
        descent = torch.optim.Adam(wide.parameters(), LEARNING_RATE, fused=True)
        for step in range(STEPS):
            for group in descent.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / STEPS)
            action = operator(wide.left, wide.right, data.draw(batch_size, generator))
            loss = projected_low_rank_loss(action, 1 + n_modes, RIDGE)
            descent.zero_grad()
            loss.backward()
            descent.step()
        with torch.no_grad():
            action = operator(wide.left, wide.right, data.draw(FOLDED_PAIRS, generator))
        sides = build_sides(len(autocorrelations), config).to(device)
        _fold(wide, sides, action, n_modes)
    return sides


def _look_along(network: CommonTrunk, slow: Tensor) -> None:
    """Scale the weights of the first layer by the slowness of their inputs."""
    with torch.no_grad():
        weight = cast(nn.Linear, network.trunk[0]).weight
        weight.normal_().mul_(SPREAD * slow / slow.norm())


@torch.no_grad()
def _fold(wide: Sides, sides: Sides, action: Action, n_modes: int) -> None:
    """Make the best combinations of the wide networks' functions the last layer of `sides`."""
    tied = action.f is action.g
    A, B, C = (
        (part.double().cpu().numpy())
        for part in (gram(action.f, action.f), gram(action.f, action.Tg), gram(action.g, action.g))
    )
    A, C = (_regularised(part, len(action.known)) for part in (A, C))
    values, *combinations = decompose_projection(Projection(A, B, C, action.known), tied)
    norms = np.sqrt(np.clip(values[:n_modes], LEAST_NORM, None))
    for network, source, functions in zip(
        (sides.left, sides.right), (wide.left, wide.right), combinations, strict=True
    ):
        folded = torch.from_numpy(functions[:, :n_modes] * norms)
        _load(cast(CommonTrunk | SeparateNetworks, network), cast(CommonTrunk, source), folded)
        if tied:
            break


def _regularised(gram: np.ndarray, n_known: int) -> np.ndarray:
    """The Gram matrix with the variance of every function that is not known raised by the ridge."""
    variances = np.diag(gram) - gram[0] ** 2
    return gram + np.diag(np.where(np.arange(len(gram)) < n_known, 0, RIDGE * variances))


def _load(network: CommonTrunk | SeparateNetworks, source: CommonTrunk, folded: Tensor) -> None:
    """Hidden layers of `source`, and combinations (1 + m, L) of the constant and its functions as outputs."""
    head = source.head
    folded = folded.to(head.weight)
    network.take_over(source, head.weight.T @ folded[1:], head.bias @ folded[1:] + folded[0])
