"""Periodic boxes: which frames have one, and molecules that it cuts made whole."""

import mdtraj
import numpy as np


def whole(chunk: mdtraj.Trajectory, bonds: np.ndarray) -> mdtraj.Trajectory:
    """A copy in which no molecule is cut by the periodic box."""
    result = chunk.slice(slice(None), copy=False)  # a plain copy would copy the topology, chunk by chunk
    result.xyz = chunk.xyz.copy()
    return result.make_molecules_whole(inplace=True, sorted_bonds=bonds)


def frames_with_box(chunk: mdtraj.Trajectory) -> np.ndarray:
    """(n_frames,) bool: a box of length 0, some formats' word for none, would give distances of 1e19 nm."""
    lengths = chunk.unitcell_lengths
    if lengths is None or chunk.unitcell_angles is None:
        return np.zeros(chunk.n_frames, dtype=bool)
    return np.all(np.isfinite(lengths) & (lengths > 0), axis=1)


def spanning_bonds(topology: mdtraj.Topology, selected: np.ndarray) -> np.ndarray:
    """(n_bonds, 2) int32: every molecule with a selected atom, walked from its first atom along its bonds."""
    neighbours: dict[int, list[int]] = {}
    for bond in topology.bonds:
        for here, there in (bond, reversed(bond)):
            neighbours.setdefault(here.index, []).append(there.index)
    tree: list[tuple[int, int]] = []
    visited: set[int] = set()
    for root in sorted(neighbours):
        if root in visited:
            continue
        visited.add(root)
        members, branch = [root], []
        for here in members:  # which grow on the way
            for there in sorted(neighbours[here]):
                if there not in visited:
                    visited.add(there)
                    members.append(there)
                    branch.append((here, there))
        if selected[members].any():
            tree += branch
    return np.array(tree, dtype=np.int32).reshape(-1, 2)
