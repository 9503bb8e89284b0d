"""Learned functions at every row of data, in double precision, where the networks are."""

import numpy as np
import torch

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError
from spectraldyn.learning import cpu_settings
from spectraldyn.networks import Sides


@torch.no_grad()
def evaluated(sides: Sides, states: torch.Tensor) -> np.ndarray:
    """[1, f] or, where the sides differ, [1, f, g] at states (B, d), in double precision."""
    x = states.to(sides.device, torch.float64)
    return torch.cat([x.new_ones(len(x), 1), *(network(x) for network in sides.distinct)], dim=1).cpu().numpy()


def evaluate(sides: Sides, data: Dataset) -> np.ndarray:
    """The same at every row of a data set, chunk by chunk."""
    result: np.ndarray | None = None
    with cpu_settings(sides):
        for rows, view in data.chunks():
            values = evaluated(sides, torch.tensor(view))  # in double precision there: half as much to send
            if result is None:
                result = np.empty((data.n_rows, values.shape[1]))
            result[rows.start : rows.stop] = values
    if result is None:
        raise InputError("there are no frames")
    return result
