"""Networks of the left and the right functions."""

from typing import Any

import torch
from torch import nn

from spectraldyn.networks.mlp import NETWORKS


class Sides(nn.Module):
    """Left and right network; one and the same where the sides are tied."""

    def __init__(self, left: nn.Module, right: nn.Module):
        super().__init__()
        self.left = left
        self.right = right


def build_sides(n_inputs: int, config: dict[str, Any]) -> Sides:
    """Fresh networks for `n_inputs` whitened inputs, as the configuration describes them."""

    def network() -> torch.nn.Module:
        return NETWORKS[config["network"]](n_inputs, config["n_modes"], tuple(config["hidden"]), config["activation"])

    left = network()
    return Sides(left, left if config["tied"] else network())
