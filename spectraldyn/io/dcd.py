"""DCD files, read from their Fortran records.

mdtraj's own reader is silent where record markers are broken, where the header promises more frames than are
there and where it promises none. The layout is simple enough to be read, every marker checked, with numpy.
"""

from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from spectraldyn.io.frames import Frames, Indexed, is_box
from spectraldyn.io.silence import Damaged

OTHERS = 24  # the version of CHARMM that NAMD, OpenMM, VMD and others claim to be; CHARMM itself writes its own


class Dcd(Indexed):
    """DCD of either byte order, with or without unit cells and a fourth dimension."""

    def __init__(self, path: Path, n_atoms: int) -> None:
        self.opened = partial(path.open, "rb")
        size = path.stat().st_size
        with path.open("rb") as file:
            promised, self._version, self._frame = _header(file, size)
            self._start = file.tell()
        self.n_atoms = self._frame["x"]["data"].shape[0]
        room = size - self._start
        there, rest = divmod(room, self._frame.itemsize)
        self.n_frames, header = there, f"the header promises {promised} frames"
        if there == 0:
            part = f" (the header promises {promised}, the {room} bytes after it are less than one)" if room else ""
            raise Damaged(f"the file holds no frames{part}")
        if promised == 0:
            self.shortfall = f"its header says 0 frames, as a run that was cut off leaves it, but {there} are there"
        elif rest and promised != there:
            self.shortfall = f"the file ends inside frame {there} ({header}), {there} complete frames are there"
        elif rest:
            self.shortfall = f"{rest} bytes that are no frame follow the last of its {there} frames"
        elif promised != there:
            self.shortfall = f"{header}, but {there} are there"

    def decoded(self, file: BinaryIO, first: int, count: int) -> Frames:
        file.seek(self._start + first * self._frame.itemsize)
        frames = np.fromfile(file, dtype=self._frame, count=count)
        sizes = {name: self._frame[name]["data"].itemsize for name in self._frame.names or ()}
        sound = np.all([frames[name][end] == sizes[name] for name in sizes for end in ("begin", "end")], axis=0)
        if not sound.all():
            broken = first + int(np.argmin(sound))
            raise Damaged(f"the record markers of frame {broken} are broken, so the file is corrupt from there on")
        xyz = np.empty((len(frames), self.n_atoms, 3), dtype=np.float32)
        for place, axis in enumerate("xyz"):
            np.divide(frames[axis]["data"], np.float32(10), out=xyz[:, :, place])
        if "cell" not in sizes:
            return Frames(xyz)
        return Frames(xyz, cell=_cell(frames["cell"]["data"].astype(np.float64), self._version))


def _header(file: BinaryIO, size: int) -> tuple[int, int, np.dtype]:
    """Number of frames promised, version of CHARMM, layout of a frame; leaves the file at the first of them."""
    start = file.read(92)
    if len(start) < 92 or start[4:8] != b"CORD":
        raise Damaged("the DCD header is cut short" if start[4:8] == b"CORD" else "this is not a DCD trajectory")
    order = "<" if start[:4] == (84).to_bytes(4, "little") else ">"
    *control, end = np.frombuffer(start, dtype=f"{order}i4", offset=8).tolist()
    if end != 84:
        raise Damaged("the first record of the DCD header is corrupt")
    n_atoms = _number_of_atoms(file, f"{order}i4")
    promised, fixed, has_cell, has_fourth, version = (control[i] for i in (0, 8, 10, 11, 19))
    if fixed != 0:
        stored = f"{fixed} atoms are fixed and stored in the first frame only"
        raise Damaged(f"{stored}: write the trajectory again with all atoms in every frame")
    if 12 * n_atoms > size:
        raise Damaged(f"the header says {n_atoms} atoms, for not one frame of which the file has room")
    # X-PLOR, whose version is 0, knows neither boxes nor a fourth dimension.
    contents = {"cell": (f"{order}f8", 6)} if version and has_cell else {}
    contents |= dict.fromkeys("xyzw" if version and has_fourth else "xyz", (f"{order}f4", n_atoms))
    marker = f"{order}i4"
    records = [(name, [("begin", marker), ("data", *data), ("end", marker)]) for name, data in contents.items()]
    return promised, version, np.dtype(records)


def _number_of_atoms(file: BinaryIO, integer: str) -> int:
    """Read the records of the title and of the number of atoms.

    Some programs write a title of another length than its marker says; then its number of lines counts, as
    in other readers. The record that must follow tells which of the two is right.
    """
    start = file.tell()
    marker, lines = [*np.fromfile(file, dtype=integer, count=2).tolist(), -1, -1][:2]
    for length in (marker, 4 + 80 * lines, 4):
        if 0 <= length <= 1 << 20:  # a title longer than a megabyte can only be a broken marker
            file.seek(start + 4 + length)
            match np.fromfile(file, dtype=integer, count=4).tolist():
                case [_, 4, count, 4] if count > 0:
                    return count
    raise Damaged("the DCD header is cut short or corrupt in its title or number of atoms, so the file holds no frames")


def _cell(record: np.ndarray, version: int) -> np.ndarray:
    """Lengths (nm) and angles (degrees) of the boxes from the unit-cell records of a file.

    A record is (A, γ, B, β, α, C), where NAMD and others write the cosines of the angles; or, by CHARMM, the lower
    triangle (H₁₁ H₂₁ H₂₂ H₃₁ H₃₂ H₃₃) of a symmetric matrix whose columns are the edges. In a rectangular box both are
    the same. Where a record can be read in both ways, that is right of which all angles are as wide as in simulated
    boxes; where this holds for both, the program that wrote the file decides.
    """
    angles = record[:, [4, 3, 1]]
    exact = (angles == 90).any(axis=1)  # no entry of a matrix is 90 to all its digits
    with np.errstate(all="ignore"):
        cosines = (np.abs(angles) <= 1).all(axis=1, keepdims=True)
        angles = np.where(cosines, np.degrees(np.arccos(np.clip(angles, -1, 1))), angles)
        plain = np.concatenate([record[:, [0, 2, 5]], angles], axis=1)
        edges = record[:, [[0, 1, 3], [1, 2, 4], [3, 4, 5]]]
        lengths = np.linalg.norm(edges, axis=2)
        directions = edges / lengths[:, :, None]
        dots = (directions[:, [1, 0, 0]] * directions[:, [2, 2, 1]]).sum(axis=2)
        matrix = np.concatenate([lengths, np.degrees(np.arccos(np.clip(dots, -1, 1)))], axis=1)
        definite = np.isfinite(record).all(axis=1)
        definite[definite] = np.linalg.eigvalsh(edges[definite])[:, 0] > 0
        as_plain = is_box(plain) * (1 + 2.0 * _usual(plain) + 4.0 * exact + 0.5 * (version == OTHERS))
        as_matrix = definite * (1 + 2.0 * _usual(matrix) + 0.5 * (version != OTHERS))
        cell = np.where((as_matrix > as_plain)[:, None], matrix, plain)
        return (cell / [10, 10, 10, 1, 1, 1]).astype(np.float32)


def _usual(cell: np.ndarray) -> np.ndarray:
    return (np.abs(cell[:, 3:] - 90) <= 45).all(axis=1)
