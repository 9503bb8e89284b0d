"""What is in the files: the lines of `spectraldyn info`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import mdtraj

from spectraldyn.errors import InputError
from spectraldyn.io.arrays import read_arrays
from spectraldyn.io.files import FileSummary, scan
from spectraldyn.io.topologies import load_topology


def describe_files(files: Sequence[str], top: str | None) -> Iterator[tuple[str, bool]]:
    """Read every frame of every file once.

    Yields
    ------
    (line, failed)
        A line on what is in the file, or the sentence that says why it cannot be used. One bad file does not keep
        the others from being described.
    """
    topology = load_topology(top, []).topology if top is not None else None
    for file in files:
        try:
            for line in _lines(file, topology):
                yield line, False
        except InputError as error:
            yield str(error), True


def _lines(file: str, topology: mdtraj.Topology | None) -> list[str]:
    if Path(file).suffix.lower() in (".npy", ".npz"):
        return [
            f"{file}{'' if name is None else ':' + name}: {len(rows)} frames, {rows.shape[1]} ready-made features"
            for name, rows in read_arrays(Path(file))
        ]
    if topology is None:
        topology = load_topology(None, [file]).topology
    summary = scan(file, topology)
    return [_line(summary), *(f"  note: {warning}" for warning in summary.warnings)]


def _line(summary: FileSummary) -> str:
    if summary.timestep_ps is None:
        times = "no usable time stamps (a lag in time needs --timestep)"
    else:
        times = f"{summary.timestep_ps:g} ps apart, {summary.n_frames * summary.timestep_ps / 1000:.4g} ns"
    box = "periodic box" if summary.periodic else "no periodic box"
    stretches = len(summary.segment_starts)
    pieces = f", {stretches} uninterrupted stretches" if stretches > 1 else ""
    return (
        f"{summary.path}: {summary.format}, {summary.n_frames} frames, {summary.n_atoms} atoms, {times}, {box}{pieces}"
    )
