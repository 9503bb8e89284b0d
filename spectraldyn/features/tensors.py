"""Distances, torsions and closest distances in torch, for frames on any device; mdtraj's formulas, in single precision.

Which periodic image is nearest is mdtraj's definition, too (see `spectraldyn.networks.images`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mdtraj
import numpy as np
import torch
from torch import Tensor

from spectraldyn.features.blocks import CONTACT_RADIUS_NM, Geometry
from spectraldyn.networks.images import nearest_image, nearest_in_right_angles
from spectraldyn.networks.pairs import cosine_and_sine

CHUNK_BYTES = 2**28
"""Of tensors that live at once, at most: larger chunks are no faster."""
FREE_SHARE = 0.5
"""Of a GPU's free memory that a chunk may take."""
VALUES_PER_PAIR = 32
"""Numbers that live at once for each pair of atoms in a frame, while its nearest image is looked for."""


@dataclass(frozen=True)
class Frames:
    """Coordinates of some frames, and their box."""

    xyz: Tensor
    """(n_frames, n_atoms, 3): nm."""
    box: Tensor | None
    """(n_frames, 3, 3): box vectors, one a row; None for no box."""
    right_angles: bool
    """Of the box, in every frame."""


def distances(frames: Frames, pairs: Tensor, _: Tensor | None = None) -> Tensor:
    """Distances (nm) between atoms, (n_frames, n_pairs), to the nearest image."""
    return _displacements(frames, pairs).square().sum(dim=2).sqrt()


def torsions(frames: Frames, quartets: Tensor, _: Tensor | None = None) -> Tensor:
    """(n_frames, 2 n_quartets): see `spectraldyn.networks.pairs.cosine_and_sine`."""
    first, axis, last = (_displacements(frames, quartets[:, [i, i + 1]]) for i in range(3))
    return cosine_and_sine(first, axis, last).flatten(1)


def closest(frames: Frames, pairs: Tensor, counts: Tensor) -> Tensor:
    """The smallest of the distances (nm) of the first counts[0] pairs, of the next counts[1], ...: (n_frames, n)."""
    return smallest(_displacements(frames, pairs).square().sum(dim=2), counts).sqrt()


def contacts(frames: Frames, pairs: Tensor, counts: Tensor) -> Tensor:
    """The same as contacts; see `spectraldyn.features.blocks.contacts`."""
    return contact(closest(frames, pairs, counts))


def smallest(values: Tensor, counts: Tensor) -> Tensor:
    """Of the first counts[0] columns of values (n_frames, Σ counts), of the next counts[1], ...: (n_frames, n)."""
    column = torch.arange(counts.shape[0], device=counts.device).repeat_interleave(counts)
    # not by len, which a trace would take for a constant
    result = values.new_full((values.shape[0], counts.shape[0]), torch.inf)
    return result.scatter_reduce(1, column.expand_as(values), values, "amin")


def contact(distance: Tensor) -> Tensor:
    """How much of a contact a closest distance (nm) is."""
    return 1 / (1 + (distance / CONTACT_RADIUS_NM) ** 6)


FORMULAS: dict[str, Callable[..., Tensor]] = {
    "distances": distances,
    "torsions": torsions,
    "closest": closest,
    "contacts": contacts,
}
"""From frames, places of atoms in them and counts of pairs to (n_frames, n_columns)."""


def _displacements(frames: Frames, pairs: Tensor) -> Tensor:
    """(n_frames, n_pairs, 3) from the first to the second atom, to its nearest image."""
    r = frames.xyz[:, pairs[:, 1]] - frames.xyz[:, pairs[:, 0]]
    if frames.box is None:
        return r
    if frames.right_angles:
        return nearest_in_right_angles(r, frames.box)
    return nearest_image(r, frames.box)


def compute(
    geometries: Sequence[Geometry], chunk: mdtraj.Trajectory, periodic: bool, device: str
) -> list[np.ndarray] | None:
    """Columns of every geometry, (n_frames, n_columns) float32, for a chunk of frames, computed on a device.

    As many frames at once as its memory takes; None where it does not take a single one.
    """
    pieces: list[list[np.ndarray]] = []
    used, places = np.unique(np.concatenate([one.atoms.ravel() for one in geometries]), return_inverse=True)
    parts = np.split(places, np.cumsum([one.atoms.size for one in geometries])[:-1])
    box = torch.from_numpy(chunk.unitcell_vectors.astype(np.float32)) if periodic else None
    right_angles = periodic and np.allclose(chunk.unitcell_angles, 90)  # of all frames, as mdtraj asks
    values = 3 * len(used) + max(VALUES_PER_PAIR * one.atoms[:, 1:].size for one in geometries)
    step, start = max(1, _available(device) // (4 * values)), 0
    while start < chunk.n_frames:
        rows = slice(start, start + step)
        try:
            xyz = torch.from_numpy(chunk.xyz[rows, used]).to(device)
            frames = Frames(xyz, None if box is None else box[rows].to(device), right_angles)
            pieces.append([_columns(one, frames, own) for one, own in zip(geometries, parts, strict=True)])
        except torch.cuda.OutOfMemoryError:
            if step == 1:
                return None
            step //= 2
        else:
            start += step
    return [np.concatenate(own) for own in zip(*pieces, strict=True)]


def _columns(geometry: Geometry, frames: Frames, places: np.ndarray) -> np.ndarray:
    device = frames.xyz.device
    atoms = torch.from_numpy(places.reshape(geometry.atoms.shape)).to(device)
    counts = None if geometry.counts is None else torch.from_numpy(geometry.counts).to(device)
    return FORMULAS[geometry.kind](frames, atoms, counts).cpu().numpy()


def _available(device: str) -> int:
    """Bytes that a chunk may take."""
    if device == "cpu":
        return CHUNK_BYTES
    return min(CHUNK_BYTES, int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]))
