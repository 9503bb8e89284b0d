"""Pairs of atoms within a cut-off, in many frames at once: the graphs that networks on coordinates work on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spectraldyn.networks.images import nearest_image

LEAST_NM = 1e-6
"""Distance that two atoms have at least: where they lie upon each other, there is no direction."""
PAIRS_AT_ONCE = 2**21
"""Pairs whose distances are looked at together (50 MB)."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms closer than the cut-off, each once; atoms are counted over all frames laid end to end."""

    first: Tensor
    second: Tensor
    """first and second: (n_pairs,) of int."""
    distance: Tensor
    """(n_pairs,): nm."""
    direction: Tensor
    """(n_pairs, 3): unit vectors from the first to the second."""
    cutoff: Tensor
    """(n_pairs,): ½ (1 + cos πd/r): 1 at distance 0, and 0, smoothly, at the cut-off r."""


def distances(xyz: Tensor, box: Tensor | None = None) -> Tensor:
    """(n_frames, n_pairs) in nm of all pairs of atoms, in the order of `torch.triu_indices`; see `pairs_within`."""
    first, second = torch.triu_indices(xyz.shape[1], xyz.shape[1], 1, device=xyz.device)
    r = xyz[:, second] - xyz[:, first]
    return (r if box is None else _nearest(r, box)).square().sum(dim=2).clamp_min(LEAST_NM**2).sqrt()


def torsions(xyz: Tensor, quadruples: Tensor, box: Tensor | None = None) -> Tensor:
    """`cosine_and_sine` of the torsion angles of n quadruples (4, n) of atoms, (n_frames, n, 2); see `pairs_within`."""
    r = (xyz[:, quadruples[1:]] - xyz[:, quadruples[:-1]]).flatten(1, 2)
    first, axis, last = (r if box is None else _nearest(r, box)).unflatten(1, (3, -1)).unbind(dim=1)
    return cosine_and_sine(first, axis, last)


def cosine_and_sine(first: Tensor, axis: Tensor, last: Tensor) -> Tensor:
    """Of dihedral angles, (n_frames, n, 2), between bonds (n_frames, n, 3); of the angle 0 where two lie on a line.

    Formula: Blondel and Karplus, J. Comput. Chem. 17, 1132 (1996).
    """
    before, after = torch.linalg.cross(first, axis), torch.linalg.cross(axis, last)
    sine = (first * after).sum(dim=2) * axis.square().sum(dim=2).sqrt()
    cosine = (before * after).sum(dim=2)
    square = sine.square() + cosine.square()
    cosine, length = torch.where(square > 0, cosine, 1.0), torch.where(square > 0, square, 1.0).sqrt()
    return torch.stack([cosine / length, sine / length], dim=2)


def pairs_within(cutoff_nm: float, xyz: Tensor, box: Tensor | None = None) -> Pairs:
    """The pairs of some frames.

    Parameters
    ----------
    cutoff_nm : float
    xyz : Tensor (n_frames, n_atoms, 3)
        nm.
    box : Tensor (n_frames, 3, 3), optional
        Box vectors, one a row, or zeros where a frame has none: then pairs are those of nearest images.
    """
    n_atoms = xyz.shape[1]
    ends = torch.triu_indices(n_atoms, n_atoms, 1, device=xyz.device)
    # Found a few frames at once, without gradient: most pairs of a large molecule are too far apart.
    step = max(1, PAIRS_AT_ONCE // max(1, ends.shape[1]))
    found = [
        _found(cutoff_nm, ends, xyz[start : start + step].detach(), None if box is None else box[start : start + step])
        for start in range(0, len(xyz), step)
    ]
    frame = torch.cat([start + own for start, (own, _) in zip(range(0, len(xyz), step), found, strict=True)])
    first, second = n_atoms * frame + ends[:, torch.cat([pair for _, pair in found])]
    atoms = xyz.flatten(0, 1)
    r = atoms[second] - atoms[first]
    if box is not None:
        r = _nearest(r[:, None], box[frame])[:, 0]
    distance = r.square().sum(dim=1).clamp_min(LEAST_NM**2).sqrt()
    cutoff = 0.5 * (1 + torch.cos(math.pi / cutoff_nm * distance))
    return Pairs(first, second, distance, r / distance[:, None], cutoff)


def _found(cutoff_nm: float, ends: Tensor, xyz: Tensor, box: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frame, and place in `ends` (2, n), of every pair within the cut-off."""
    r = xyz[:, ends[1]] - xyz[:, ends[0]]
    frame, pair = ((r if box is None else _nearest(r, box)).square().sum(dim=2) < cutoff_nm**2).nonzero(as_tuple=True)
    return frame, pair


def _nearest(r: Tensor, box: Tensor) -> Tensor:
    """Displacements (n_frames, n, 3) to nearest images, in those frames that have a box."""
    boxed = (box.diagonal(dim1=1, dim2=2).prod(dim=1) > 0)[:, None, None]
    unit = torch.eye(3, dtype=box.dtype, device=box.device)  # in place of a box that is none
    return torch.where(boxed, nearest_image(r, torch.where(boxed, box, unit)), r)


def gathered(values: Tensor, weights: Tensor, pairs: Pairs) -> Tensor:
    """Σ_j w_ij ∘ x_j over the neighbours of every atom, from x (n_atoms, m) and symmetric w (n_pairs, m)."""
    to_first, to_second = weights * values[pairs.second], weights * values[pairs.first]
    return torch.zeros_like(values).index_add(0, pairs.first, to_first).index_add(0, pairs.second, to_second)
