"""DCD files, read from their Fortran records.

mdtraj's own reader is silent where record markers are broken, where the header promises more frames than are
there and where it promises none. The layout is simple enough to be read, every marker checked, with numpy.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spectraldyn.io.frames import Damaged, Frames, Incomplete, Indexed, is_box, nanometres

OTHERS = 24
"""The version of CHARMM that NAMD, OpenMM, VMD and others claim to be; CHARMM itself writes its own."""


class Dcd(Indexed):
    """DCD of either byte order, with or without unit cells and a fourth dimension."""

    def __init__(self, path: Path, n_atoms: int | None = None) -> None:
        self.path = path
        size = path.stat().st_size
        with path.open("rb") as file:
            promised, self._version, self._frame = _header(file, size)
            self._start = file.tell()
        self.n_atoms = self._frame["x"].shape[0]
        room = size - self._start
        self.n_frames, rest = divmod(room, self._frame.itemsize)
        there, header = self.n_frames, f"the header promises {promised} frames"
        if there == 0:
            part = f" (the header promises {promised}, the {room} bytes after it are less than one)" if room else ""
            raise Damaged(f"the file holds no frames{part}")
        if promised == 0:
            complaint = f"its header says 0 frames, as a run that was cut off leaves it, but {there} are there"
        elif rest and promised != there:
            complaint = f"the file ends inside frame {there} ({header}), {there} complete frames are there"
        elif rest:
            complaint = f"{rest} bytes that are no frame follow the last of its {there} frames"
        else:
            complaint = f"{header}, but {there} are there"
        if rest or promised != there:
            self.shortfall = Incomplete(complaint)

    def blocks(self, runs: Iterable[tuple[int, int]]) -> Iterator[Frames]:
        frame = self._frame
        records = [name for name in frame.names or () if not name.endswith(("_begin", "_end"))]
        with self.path.open("rb") as file:
            for first, count in runs:
                file.seek(self._start + first * frame.itemsize)
                data = np.fromfile(file, dtype=frame, count=count)
                sound = np.ones(len(data), dtype=bool)
                for name in records:
                    sound &= data[f"{name}_begin"] == frame[name].itemsize
                    sound &= data[f"{name}_end"] == frame[name].itemsize
                if not sound.all():
                    raise Damaged(
                        f"the record markers of frame {first + int(np.argmin(sound))} are broken, "
                        "so the file is corrupt from there on"
                    )
                xyz = nanometres(np.stack([data[axis] for axis in "xyz"], axis=-1))
                if "cell" in records:
                    cell = _cell(data["cell"].astype(np.float64), self._version)
                    yield Frames(xyz, lengths=nanometres(cell[:, :3]), angles=cell[:, 3:].astype(np.float32))
                else:
                    yield Frames(xyz)


def _header(file: BinaryIO, size: int) -> tuple[int, int, np.dtype]:
    """Number of frames promised, version of CHARMM, layout of a frame; leaves the file at the first of them."""
    start = file.read(92)
    if len(start) < 92 or start[4:8] != b"CORD":
        raise Damaged("the DCD header is cut short" if start[4:8] == b"CORD" else "this is not a DCD trajectory")
    order = "<" if start[:4] == (84).to_bytes(4, "little") else ">"
    integer, real = np.dtype(f"{order}i4"), np.dtype(f"{order}f4")
    control = np.frombuffer(start, dtype=integer, count=20, offset=8)
    if np.frombuffer(start, dtype=integer, count=1, offset=88)[0] != 84:
        raise Damaged("the first record of the DCD header is corrupt")
    n_atoms = _number_of_atoms(file, integer)
    if control[8] != 0:
        raise Damaged(
            f"{control[8]} atoms are fixed and stored in the first frame only: write the "
            "trajectory again with all atoms in every frame"
        )
    if 12 * n_atoms > size:
        raise Damaged(f"the header says {n_atoms} atoms, for not one frame of which the file has room")
    charmm = control[19] != 0  # X-PLOR leaves a zero here and knows neither boxes nor a fourth dimension
    records = [("cell", np.dtype((f"{order}f8", 6)))] if charmm and control[10] else []
    axes = "xyzw" if charmm and control[11] else "xyz"
    records += [(axis, np.dtype((real, n_atoms))) for axis in axes]
    fields: list[tuple[str, np.dtype]] = []
    for name, content in records:
        fields += [(f"{name}_begin", integer), (name, content), (f"{name}_end", integer)]
    return int(control[0]), int(control[19]), np.dtype(fields)


def _number_of_atoms(file: BinaryIO, integer: np.dtype) -> int:
    """Read the records of the title and of the number of atoms.

    Some programs write a title of another length than its marker says; then its number of lines counts, as
    in other readers. The record that must follow tells which of the two is right.
    """
    start = file.tell()

    def integers(count: int) -> list[int]:
        found = np.fromfile(file, dtype=integer, count=count).tolist()
        return found + [-1] * (count - len(found))

    marker, lines = integers(2)
    for length in (marker, 4 + 80 * lines, 4):
        if 0 <= length <= 1 << 20:  # a title longer than a megabyte can only be a broken marker
            file.seek(start + 4 + length)
            _, before, count, after = integers(4)
            if before == after == 4 and count > 0:
                return count
    raise Damaged(
        "the DCD header is cut short or corrupt in its records of the title and the number of atoms, "
        "so the file holds no frames"
    )


def _cell(record: np.ndarray, version: int) -> np.ndarray:
    """Lengths (Å) and angles (degrees) of the boxes from the unit-cell records of a file.

    A record is (A, γ, B, β, α, C), where NAMD and others write the cosines of the angles; or, by CHARMM, the
    lower triangle (H₁₁ H₂₁ H₂₂ H₃₁ H₃₂ H₃₃) of a symmetric matrix whose columns are the edges. In a
    rectangular box both are the same. Where a record can be read in both ways, that is right of which all
    angles are as wide as in simulated boxes; where this holds for both, the program that wrote the file decides.
    """
    angles = record[:, [4, 3, 1]]
    with np.errstate(all="ignore"):
        cosines = (np.abs(angles) <= 1).all(axis=1, keepdims=True)
        angles = np.where(cosines, np.degrees(np.arccos(np.clip(angles, -1, 1))), angles)
        plain = np.concatenate([record[:, [0, 2, 5]], angles], axis=1)
        edges = record[:, [[0, 1, 3], [1, 2, 4], [3, 4, 5]]]
        lengths = np.linalg.norm(edges, axis=2)
        dots = np.stack([(edges[:, i] * edges[:, j]).sum(axis=1) / lengths[:, i] / lengths[:, j] for i, j in _PAIRS], 1)
        matrix = np.concatenate([lengths, np.degrees(np.arccos(np.clip(dots, -1, 1)))], axis=1)
        definite = np.isfinite(record).all(axis=1)
        definite[definite] = np.linalg.eigvalsh(edges[definite])[:, 0] > 0
        # No entry of a matrix is 90 to all its digits.
        exact = (record[:, [4, 3, 1]] == 90).any(axis=1)
        as_plain = is_box(plain) * (1 + 2.0 * _usual(plain) + 4.0 * exact + 0.5 * (version == OTHERS))
        as_matrix = definite * (1 + 2.0 * _usual(matrix) + 0.5 * (version != OTHERS))
    return np.where((as_matrix > as_plain)[:, None], matrix, plain)


_PAIRS = ((1, 2), (0, 2), (0, 1))


def _usual(cell: np.ndarray) -> np.ndarray:
    return (np.abs(cell[:, 3:] - 90) <= 45).all(axis=1)
