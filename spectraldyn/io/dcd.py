"""DCD files, read from their Fortran records.

mdtraj's own reader is silent where record markers are broken, where the header promises more frames than are
there and where it promises none. The layout is simple enough to be read, every marker checked, with numpy.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spectraldyn.io.frames import Damaged, Frames, Incomplete, frames_per_chunk, nanometres


def read_dcd(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """Frames of a DCD file of either byte order, with or without unit cells and a fourth dimension."""
    with path.open("rb") as file:
        promised, frame = _header(file)
        room = path.stat().st_size - file.tell()
        complete, rest = divmod(room, frame.itemsize)
        if complete == 0:
            part = f" (the header promises {promised}, the {room} bytes after it are less than one)" if room else ""
            raise Damaged(f"the file holds no frames{part}")
        records = [name for name in frame.names or () if not name.endswith(("_begin", "_end"))]
        coordinates = ("x", "y", "z")
        size = frames_per_chunk(frame["x"].shape[0])
        for first in range(0, complete, size):
            data = np.fromfile(file, dtype=frame, count=min(size, complete - first))
            sound = np.ones(len(data), dtype=bool)
            for name in records:
                sound &= data[f"{name}_begin"] == frame[name].itemsize
                sound &= data[f"{name}_end"] == frame[name].itemsize
            if not sound.all():
                raise Damaged(
                    f"the record markers of frame {first + int(np.argmin(sound))} are broken, "
                    "so the file is corrupt from there on"
                )
            xyz = nanometres(np.stack([data[axis] for axis in coordinates], axis=-1))
            if "cell" in records:
                lengths, angles = _box(data["cell"].astype(np.float64))
                yield Frames(xyz, lengths=lengths, angles=angles)
            else:
                yield Frames(xyz)
    header = f"the header promises {promised} frames"
    if promised == 0:
        raise Incomplete(f"its header says 0 frames, as a run that was cut off leaves it, but {complete} are there")
    if rest and promised != complete:
        raise Incomplete(f"the file ends inside frame {complete} ({header}), {complete} complete frames are there")
    if rest:
        raise Incomplete(f"{rest} bytes that are no frame follow the last of its {complete} frames")
    if promised != complete:
        raise Incomplete(f"{header}, but {complete} are there")


def _header(file: BinaryIO) -> tuple[int, np.dtype]:
    """Number of frames promised, and the layout of one; leaves the file at the first frame."""
    start = file.read(92)
    if len(start) < 92 or start[4:8] != b"CORD":
        raise Damaged("the DCD header is cut short" if start[4:8] == b"CORD" else "this is not a DCD trajectory")
    order = "<" if start[:4] == (84).to_bytes(4, "little") else ">"
    integer, real = np.dtype(f"{order}i4"), np.dtype(f"{order}f4")
    control = np.frombuffer(start, dtype=integer, count=20, offset=8)
    if np.frombuffer(start, dtype=integer, count=1, offset=88)[0] != 84:
        raise Damaged("the first record of the DCD header is corrupt")
    _record(file, integer, "title")
    counts = np.frombuffer(_record(file, integer, "number of atoms"), dtype=integer)
    if len(counts) != 1 or counts[0] < 1:
        raise Damaged("the DCD header does not say how many atoms there are")
    if control[8] != 0:
        raise Damaged(
            f"{control[8]} atoms are fixed and stored in the first frame only: write the "
            "trajectory again with all atoms in every frame"
        )
    charmm = control[19] != 0  # X-PLOR leaves a zero here and knows neither boxes nor a fourth dimension
    records = [("cell", np.dtype((f"{order}f8", 6)))] if charmm and control[10] else []
    axes = "xyzw" if charmm and control[11] else "xyz"
    records += [(axis, np.dtype((real, int(counts[0])))) for axis in axes]
    fields: list[tuple[str, np.dtype]] = []
    for name, content in records:
        fields += [(f"{name}_begin", integer), (name, content), (f"{name}_end", integer)]
    return int(control[0]), np.dtype(fields)


def _record(file: BinaryIO, integer: np.dtype, name: str) -> bytes:
    marker = file.read(4)
    size = int(np.frombuffer(marker, dtype=integer)[0]) if len(marker) == 4 else -1
    if 0 <= size <= 1 << 20:  # a header record longer than a megabyte can only be a broken marker
        content = file.read(size)
        if file.read(4) == marker and len(content) == size:
            return content
    raise Damaged(f"the DCD header is cut short or corrupt in its record of the {name}, so the file holds no frames")


def _box(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (nm) and angles (degrees) from a record (A, γ, B, β, α, C); NAMD and CHARMM write cosines."""
    angles = cell[:, [4, 3, 1]]
    with np.errstate(invalid="ignore"):
        cosines = (np.abs(angles) <= 1).all(axis=1, keepdims=True)
    angles = np.where(cosines, 90 - np.degrees(np.arcsin(np.clip(angles, -1, 1))), angles)
    with np.errstate(all="ignore"):  # whatever is no box is found by the checks
        return nanometres(cell[:, [0, 2, 5]]), angles.astype(np.float32)
