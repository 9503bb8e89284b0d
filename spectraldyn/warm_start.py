"""A quick beginning for the networks of a transfer operator: slow linear coordinates, and the last layer solved for.

Nested low-rank approximation pins the norm of every mode to its singular value, which keeps it unbiased in small
batches, but a mode whose norm begins near zero grows slowly. So training begins with a few steps in which nothing is
pinned. The hidden layers look along the slow linear coordinates first; more functions than modes are put on top of
them, and the steps descend on the low-rank error that remains once their best combinations have been solved for. These
combinations, with the norms that belong to them, then become the last layer that nested low-rank approximation goes
on from.
"""

import copy
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
from spectraldyn.training import Sides, held_out_score, settings_for_small_networks

STEPS = 25
LEARNING_RATE = 0.01
EXTRA_FUNCTIONS = 15
"""Functions beyond the modes. The more there are, the better their best combinations are from the first step on; but a
batch must be large enough to solve for these."""
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
SOLVED_PAIRS = 50_000
RIDGES = (1e-2, 1e-3)
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
    combinations = best_combinations(action, n_modes, RIDGE)
    for network, source, folded in zip((sides.left, sides.right), (wide.left, wide.right), combinations, strict=False):
        source = cast(CommonTrunk, source)
        weight, bias = source.head.weight.T @ folded[1:], source.head.bias @ folded[1:] + folded[0]
        cast(CommonTrunk | SeparateNetworks, network).take_over(source, weight, bias)


def best_combinations(action: Action, n_modes: int, ridge: float) -> list[Tensor]:
    """Combinations (1 + m, L) of the constant and the functions on either side, one side alone where they are tied.

    Leading singular functions of the operator projected on the functions, with the norms of nested low-rank
    approximation. The ridge is a share of every function's variance that is added to it.
    """
    tied = action.f is action.g
    A, B, C = (
        part.double().cpu().numpy()
        for part in (gram(action.f, action.f), gram(action.f, action.Tg), gram(action.g, action.g))
    )
    for matrix in (A, C):
        variances = np.diag(matrix) - matrix[0] ** 2
        matrix += np.diag(np.where(np.arange(len(matrix)) < len(action.known), 0, ridge * variances))
    values, *combinations = decompose_projection(Projection(A, B, C, action.known), tied)
    norms = np.sqrt(np.clip(values[:n_modes], LEAST_NORM, None))
    return [torch.from_numpy(functions[:, :n_modes] * norms).to(action.f) for functions in combinations[: 2 - tied]]


@torch.no_grad()
def solve_last_layer(sides: Sides, operator: Operator, data: PairData, n_modes: int) -> None:
    """Replace the last layer of a common trunk by the best one on the training pairs, where held-out pairs agree.

    Descent is slow along combinations of hidden units that hardly vary; a linear problem has no such trouble. Of the
    ridges the one with the best held-out score is taken, and the layer is left as it is where none does better.
    """
    networks = [cast(CommonTrunk, network) for network in dict.fromkeys((sides.left, sides.right))]
    rows = data.train[:: -(-len(data.train) // SOLVED_PAIRS)]
    action = operator(networks[0].trunk, networks[-1].trunk, data.batch(rows))
    scored = data.scored()
    best_score, best = -np.inf, copy.deepcopy(sides.state_dict())
    if scored is not None:
        best_score = held_out_score(sides, operator, *scored)[0]
    for ridge in RIDGES:
        for network, folded in zip(networks, best_combinations(action, n_modes, ridge), strict=True):
            if folded.shape[1] < n_modes:
                continue
            network.head.weight.copy_(folded[1:].T)
            network.head.bias.copy_(folded[0])
        if scored is None:
            return
        score = held_out_score(sides, operator, *scored)[0]
        if score > best_score:
            best_score, best = score, copy.deepcopy(sides.state_dict())
    sides.load_state_dict(best)
