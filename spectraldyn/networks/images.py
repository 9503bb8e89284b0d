"""Displacements to the nearest periodic image, in a box of any shape; see `nearest_image`."""

from itertools import product

import torch
from torch import Tensor


def nearest_in_right_angles(r: Tensor, box: Tensor) -> Tensor:
    """The same as `nearest_image` in boxes whose angles are all 90°: every component within half an edge."""
    edges = box.diagonal(dim1=1, dim2=2)[:, None]
    return r - (r * (1 / edges)).round() * edges


def nearest_image(r: Tensor, box: Tensor) -> Tensor:
    """Displacements (n_frames, n_pairs, 3) brought to their shortest image.

    The box vectors are reduced, the displacement is brought into the reduced cell, and of it and its 26 neighbours, one
    box vector up or down along each, the shortest is taken: mdtraj's definition.

    Parameters
    ----------
    r : Tensor (n_frames, n_pairs, 3)
    box : Tensor (n_frames, 3, 3)
        Box vectors, one a row.
    """
    box = _reduced(box)
    for axis in (2, 1, 0):
        r = r - (r[:, :, axis, None] * (1 / box[:, axis, axis, None, None])).round() * box[:, axis, None]
    shortest, nearest = torch.full_like(r[:, :, 0], torch.inf), r
    steps = box.new_tensor(list(product((-1.0, 0.0, 1.0), repeat=3)))
    # not as a product of matrices, which may be set to a lower precision
    for shift in (steps[:, None, :, None] * box).sum(dim=2):
        image = r + shift[:, None]
        length = image.square().sum(dim=2)
        nearer = length < shortest
        shortest, nearest = torch.where(nearer, length, shortest), torch.where(nearer[:, :, None], image, nearest)
    return nearest


def _reduced(box: Tensor) -> Tensor:
    """The same lattice by vectors (n_frames, 3, 3) of which none leans over another by more than half of it."""
    a, b, c = box.unbind(dim=1)
    c = c - b * (c[:, 1] / b[:, 1]).round()[:, None]
    c = c - a * (c[:, 0] / a[:, 0]).round()[:, None]
    b = b - a * (b[:, 0] / a[:, 0]).round()[:, None]
    return torch.stack([a, b, c], dim=1)
