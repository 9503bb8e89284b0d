"""How many rows and columns files will give, and how long that takes, before they are read."""

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.features import store
from spectraldyn.features.definitions import Features, define_features
from spectraldyn.features.featurize import Featurizer
from spectraldyn.features.load import Top
from spectraldyn.features.sampling import Sampling
from spectraldyn.features.several import processes_for
from spectraldyn.io import frame_count, kind_of, load_topology, open_trajectory, recognise

SAMPLE_SECONDS = 1.5
HEAD_BYTES = 2**16
LINES_BESIDE = {"pdb": 3, "gro": 3, "xyz": 2, "mdcrd": 1, "lammpstrj": 9, "arc": 1}
"""Of a frame of text, beside those of its atoms."""
GZIP_RATIO = 4
"""Of compressed text, roughly."""


@dataclass(frozen=True)
class FeaturePlan:
    """What `load_features` will give."""

    n_rows: int
    n_columns: int
    new_rows: int
    """Those that are not in the store yet."""
    seconds: float
    """For these."""
    n_processes: int = 1
    """That read files at once."""


def plan_features(
    paths: list[Path],
    top: Top,
    features: Features,
    atoms: str | None,
    stride: int,
    skip: str | float | None,
    timestep: str | float | None,
    device: str = "cpu",
) -> FeaturePlan:
    """Count frames, and time the features of the first ones for `SAMPLE_SECONDS`; see `load_features`."""
    sampling = Sampling.of(stride, skip, timestep)
    if (kind := kind_of(paths)) == "colvar":
        raise InputError(f"{paths[0]} is a COLVAR file of more than 256 MB: store the columns as a .npy array")
    if kind == "arrays":
        shapes = [shape for path in paths for shape in _array_shapes(path)]
        n_rows = sum(shape[0] for shape in shapes) // sampling.stride
        return FeaturePlan(n_rows, max(math.prod(shape[1:]) for shape in shapes), 0, 0.0)
    topology = top if isinstance(top, mdtraj.Trajectory) else load_topology(top, paths)

    def first_frame() -> mdtraj.Trajectory:
        return open_trajectory(paths[0], topology.topology).read([0])

    reference = topology[0] if topology.n_frames else first_frame()
    on_device = None if device == "cpu" else device
    featurizer = Featurizer(define_features(reference, features, atoms, first_frame, on_device), reference, atoms, True)
    first, step = sampling.computed()
    counts = {path: _frames(path, reference.topology) for path in dict.fromkeys(paths)}
    keys = {path: featurizer.key(path, first, step) for path in counts}
    new = [path for path in counts if (key := keys[path]) is None or not store.holds(key)]
    seconds, n_processes = 0.0, max(1, processes_for(new))
    if new:
        largest = max(new, key=lambda path: counts[path])
        seconds = sum(counts[path] for path in new) / featurizer.speed(largest, first, step, SAMPLE_SECONDS)
    return FeaturePlan(
        sum(counts[path] // sampling.stride for path in paths),
        len(featurizer.features.columns),
        sum(counts[path] // step for path in new),
        seconds / n_processes,
        n_processes,
    )


def _frames(path: Path, topology: mdtraj.Topology) -> int:
    """Of a file: of text estimated from its size and the length of its first lines."""
    if (count := frame_count(path, topology)) is not None:
        return count
    compressed = path.name.lower().endswith(".gz")
    with gzip.open(path) if compressed else path.open("rb") as stream:
        lines = stream.read(HEAD_BYTES).splitlines()
    size = path.stat().st_size * (GZIP_RATIO if compressed else 1)
    kind = recognise(path).removesuffix(".gz")
    n_lines = LINES_BESIDE[kind] + (math.ceil(0.3 * topology.n_atoms) if kind == "mdcrd" else topology.n_atoms)
    return max(1, int(size / (n_lines * np.mean([1 + len(line) for line in lines]))))


def _array_shapes(path: Path) -> list[tuple[int, ...]]:
    """Of the arrays in a file; none where they cannot be told without reading it."""
    if path.suffix.lower() != ".npy":
        return []
    try:
        return [np.load(path, mmap_mode="r", allow_pickle=False).shape]
    except Exception:  # of what is damaged, NumPy raises anything
        raise InputError(f"{path} cannot be read: it is damaged, or no NumPy file of plain numbers") from None
