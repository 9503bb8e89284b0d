"""Features and projections on a GPU against the CPU: how fast, and how far apart.

Sections of `analysis.benchmarks.gpu`.
"""

import copy
from functools import cache, partial

import mdtraj
import numpy as np
import torch

import spectraldyn as sd
from analysis.benchmarks.gpu_steps import N_INPUTS, N_MODES, Row, Sizes, network_of, noise, seconds
from spectraldyn.data import Dataset
from spectraldyn.estimators.evaluation import evaluate
from spectraldyn.features import define_features

FEATURES = ("torsions", "ca-distances", "contacts")
BOXES = {"none": None, "right angles": (90.0, 90.0, 90.0), "skewed": (60.0, 60.0, 90.0)}
"""Angles."""
EDGE = 4.0
"""Of the boxes, in nm: the molecule goes through several of them."""
SHARE = 10
"""The CPU gets one row in so many."""
HELIX = {
    "N": (0.157, 0, 0.0),
    "CA": (0.228, 28, 0.09),
    "C": (0.166, 54, 0.20),
    "O": (0.20, 60, 0.31),
    "CB": (0.33, 18, 0.04),
}
"""Radius (nm), angle (degrees) and height (nm) of the heavy atoms of the first residue, roughly those of an α-helix."""


def feature_cases(_: Sizes) -> list[Row]:
    return [{"features": name, "box": box} for name in FEATURES for box in BOXES]


@cache
def helix(n_residues: int, n_frames: int) -> mdtraj.Trajectory:
    """Alanines along a helix that trembles."""
    topology, places = mdtraj.Topology(), []
    chain = topology.add_chain()
    for number in range(n_residues):
        residue = topology.add_residue("ALA", chain)
        for name, (radius, angle, height) in HELIX.items():
            topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
            turn = np.radians(angle + 100 * number)
            places.append((radius * np.cos(turn), radius * np.sin(turn), height + 0.15 * number))
    trembling = 0.02 * np.random.default_rng(0).standard_normal((n_frames, len(places), 3))
    return mdtraj.Trajectory(np.array(places) + trembling, topology)


def features(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Frames a second by mdtraj, in one process, and on the device, with all that is sent to and fro."""
    frames = helix(sizes.residues, sizes.molecule_frames)[:]
    if angles := BOXES[case["box"]]:
        frames.unitcell_lengths = np.full((len(frames), 3), EDGE)
        frames.unitcell_angles = np.tile(angles, (len(frames), 1))
    few = frames[: max(1, len(frames) // SHARE)]
    by_mdtraj, on_device = (define_features(frames[0], case["features"], device=d) for d in (None, device.type))
    rows = by_mdtraj.compute(few), on_device.compute(few)  # which warms up
    speed = [
        len(own) / seconds(partial(chosen.compute, own), device)
        for chosen, own in ((by_mdtraj, few), (on_device, frames))
    ]
    return {
        "columns": len(by_mdtraj.columns), "mdtraj (frames/s)": speed[0], f"{device.type} (frames/s)": speed[1],
        f"{device.type} / mdtraj": speed[1] / speed[0], "largest deviation": float(np.abs(rows[0] - rows[1]).max()),
    }  # fmt: skip


def projection_cases(sizes: Sizes) -> list[Row]:
    return [{"network": name} for name in sizes.networks]


def projection(case: Row, sizes: Sizes, device: torch.device) -> Row:
    """Rows a second on which the functions are evaluated in double precision, on the CPU and on the device."""
    rows = noise(sizes.n_frames).numpy()
    data, few = Dataset([rows]), Dataset([rows[: len(rows) // SHARE]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        here = sd.networks.Sides(network_of(sizes.networks[case["network"]], N_INPUTS, N_MODES)).double()
    there = copy.deepcopy(here).to(device)
    values = evaluate(here, few), evaluate(there, few)
    speed = [own.n_rows / seconds(partial(evaluate, sides, own), device) for sides, own in ((here, few), (there, data))]
    deviation = float(np.abs(values[0] - values[1]).max() / np.abs(values[0]).max())
    return {
        "CPU (rows/s)": speed[0], f"{device.type} (rows/s)": speed[1], f"{device.type} / CPU": speed[1] / speed[0],
        "largest deviation": deviation,
    }  # fmt: skip
