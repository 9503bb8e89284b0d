"""Trajectories written as text: PDB, GRO, XYZ, AMBER mdcrd, LAMMPS dumps, Tinker arc; plain or gzipped.

mdtraj loads some of these whole, ends silently at the first incomplete frame of others, and does not say
which frame is at fault. They are read here line by line, so that a fault is found in its frame.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from io import StringIO, TextIOWrapper
from pathlib import Path

import numpy as np
from mdtraj.formats.pdb.pdbstructure import PdbStructure

from spectraldyn.io.binary import attempt
from spectraldyn.io.frames import Damaged, Frames, Incomplete, cell_of, chunked

Frame = tuple[np.ndarray, float | None, np.ndarray | None]


class _Cut(Exception):
    """The file ends where more lines must follow."""


class Lines:
    """Lines of a text file; an end inside a line, or inside the compressed stream, is an end all the same."""

    def __init__(self, path: Path) -> None:
        compressed = path.name.lower().endswith(".gz")
        raw = gzip.GzipFile(path) if compressed else path.open("rb")
        self.file = TextIOWrapper(raw, encoding="utf-8", errors="replace")
        self.number = 0
        self.cut = False
        self.tail = ""  # an unfinished line at the end of the file
        self._back: list[str] = []

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def next(self) -> str | None:
        """The next line without its end; None at the end of the file."""
        if self._back:
            self.number += 1
            return self._back.pop()
        try:
            line = self.file.readline()
        except EOFError:
            self.cut = True
            return None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise Damaged(f"the compressed data are corrupt after line {self.number} ({error})") from error
        # A number that lost its last digits still reads as a number: a line without its end is not trusted.
        if not line.endswith("\n"):
            self.tail = self.tail or line.strip()
            self.cut = bool(self.tail)
            return None
        self.number += 1
        return line.rstrip("\r\n")

    def back(self, line: str) -> None:
        """Hand a line back, to be read again."""
        self.number -= 1
        self._back.append(line)

    def take(self, count: int) -> list[str]:
        """The next `count` lines."""
        taken = []
        for _ in range(count):
            line = self.next()
            if line is None:
                raise _Cut
            taken.append(line)
        return taken

    def first(self) -> str | None:
        """The next line that is not blank; None at the end of the file."""
        line = self.next()
        while line is not None and not line.strip():
            line = self.next()
        return line


def _read(lines: Lines, frame: Iterator[Frame]) -> Iterator[Frame]:
    """Frames of one of the formats, with every fault told by its frame."""
    count = 0
    while True:
        try:
            item = next(frame, None)
        except _Cut:
            lines.cut, item = True, None
        except (ValueError, IndexError, OverflowError) as error:
            raise Damaged(f"frame {count} is corrupt near line {lines.number} ({_sentence(error)})") from error
        if item is None:
            if lines.cut:
                raise Incomplete(f"the file ends inside frame {count}, {count} complete frames are there")
            return
        yield item
        count += 1


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _numbers(rows: list[list[str]]) -> np.ndarray:
    if any(len(row) != 3 for row in rows):
        raise ValueError("a line does not hold three coordinates")
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _count(line: str) -> int:
    count = int(line.split()[0])
    if count < 1:
        raise ValueError(f"{count} atoms")
    return count


def read_xyz(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """XYZ, in Å: a count, a comment and one line per atom."""
    with Lines(path) as lines:
        yield from chunked(_read(lines, _xyz(lines)))


def _xyz(lines: Lines) -> Iterator[Frame]:
    while (head := lines.first()) is not None:
        atoms = lines.take(_count(head) + 1)[1:]
        yield _numbers([line.split()[1:4] for line in atoms]) / 10, None, None


def read_arc(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """Tinker arc, in Å: a count, perhaps a line with the box, and one line per atom."""
    with Lines(path) as lines:
        yield from chunked(_read(lines, _arc(lines)))


def _arc(lines: Lines) -> Iterator[Frame]:
    while (head := lines.first()) is not None:
        (line,) = lines.take(1)
        box = None
        if len(line.split()) == 6 and "." in line.split()[0]:  # the first word of an atom's line is its number
            box = np.array(line.split(), dtype=np.float64) / [10, 10, 10, 1, 1, 1]
        else:
            lines.back(line)
        yield _numbers([atom.split()[2:5] for atom in lines.take(_count(head))]) / 10, None, box


def read_gro(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """GROMACS GRO, in nm: a title (perhaps with the time), a count, fixed columns and the box."""
    with Lines(path) as lines:
        yield from chunked(_read(lines, _gro(lines)))


def _gro(lines: Lines) -> Iterator[Frame]:
    while (title := lines.next()) is not None:
        head = lines.next()
        if head is None and not title.strip():
            return
        if head is None:
            raise _Cut
        atoms = lines.take(_count(head))
        (last,) = lines.take(1)
        # The number of decimals is free; the distance between the decimal points gives the width of a column.
        point = atoms[0].index(".", 20)
        width = atoms[0].index(".", point + 1) - point
        columns = [slice(20 + width * axis, 20 + width * (axis + 1)) for axis in range(3)]
        stamp = re.findall(r"\bt=\s*([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)", title)
        xyz = _numbers([[line[column] for column in columns] for line in atoms])
        yield xyz, float(stamp[-1]) if stamp else None, _gro_box(np.array(last.split(), dtype=np.float64))


def _gro_box(values: np.ndarray) -> np.ndarray:
    if len(values) not in (3, 9):
        raise ValueError(f"the box has {len(values)} numbers, not 3 or 9")
    box = np.zeros(9)
    box[: len(values)] = values
    return cell_of(box[[0, 3, 4]], box[[5, 1, 6]], box[[7, 8, 2]])


def read_mdcrd(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """AMBER mdcrd, in Å: ten numbers of eight columns in a line; the number of atoms is not in the file."""
    if n_atoms is None:
        raise Damaged("an mdcrd file does not say how many atoms it has, so it needs a topology")
    with Lines(path) as lines:
        yield from chunked(_read(lines, _mdcrd(lines, n_atoms)))


def _mdcrd(lines: Lines, n_atoms: int) -> Iterator[Frame]:
    lines.take(1)  # title
    has_box: bool | None = False if n_atoms == 1 else None  # one atom's line looks like a box: taken as none
    while (line := lines.first()) is not None:
        lines.back(line)
        values: list[str] = []
        for wanted in [10] * (3 * n_atoms // 10) + [3 * n_atoms % 10] * (3 * n_atoms % 10 > 0):
            (line,) = lines.take(1)
            line = line.rstrip()
            if len(line) != 8 * wanted:
                raise ValueError(f"a line of {len(line)} characters where {n_atoms} atoms need {8 * wanted}")
            values += [line[column : column + 8] for column in range(0, len(line), 8)]
        box = None
        if has_box is None:
            peek = lines.next()
            has_box = peek is not None and len(peek.split()) == 3
            if peek is not None:
                lines.back(peek)
        if has_box:
            (line,) = lines.take(1)
            box = np.append(_numbers([line.split()])[0] / 10, [90.0, 90.0, 90.0])
        yield np.array(values, dtype=np.float64).reshape(-1, 3) / 10, None, box


def read_lammps(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """LAMMPS text dump, taken as Å, atoms sorted by their id."""
    with Lines(path) as lines:
        yield from chunked(_read(lines, _lammps(lines)))


def _lammps(lines: Lines) -> Iterator[Frame]:
    while (line := lines.first()) is not None:
        count, bounds, tilted = 0, np.zeros((3, 2)), np.zeros(3)
        while not line.startswith("ITEM: ATOMS"):
            if line.startswith("ITEM: NUMBER OF ATOMS"):
                count = _count(lines.take(1)[0])
            elif line.startswith("ITEM: BOX BOUNDS"):
                rows = np.array([row.split() for row in lines.take(3)], dtype=np.float64)
                bounds, tilted = rows[:, :2], rows[:, 2] if rows.shape[1] == 3 else tilted
            elif line.startswith("ITEM:"):
                lines.take(1)  # time step, time or units, each in one line
            else:
                raise ValueError(f"{line[:30]!r} where an ITEM should start")
            (line,) = lines.take(1)
        names = line.split()[2:]
        rows_of_atoms = [row.split() for row in lines.take(count)]
        axes = next(
            (a for a in ("x y z", "xs ys zs", "xu yu zu", "xsu ysu zsu") if set(a.split()) <= set(names)),
            None,
        )
        if count == 0 or axes is None or "id" not in names:
            raise ValueError("a dump needs the number of atoms and the columns id, x, y, z (or xs, xu, xsu ...)")
        if any(len(row) != len(names) for row in rows_of_atoms):
            raise ValueError("a line has another number of columns than the header")
        ids = np.array([int(row[names.index("id")]) for row in rows_of_atoms])
        if len(np.unique(ids)) != count:
            raise ValueError("an atom id occurs twice")
        xyz = _numbers([[row[names.index(axis)] for axis in axes.split()] for row in rows_of_atoms])[np.argsort(ids)]
        xy, xz, yz = tilted
        low = bounds[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
        high = bounds[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
        edges = np.diag(high - low) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])
        if "s" in axes:
            xyz = low + xyz @ edges
        yield xyz / 10, None, cell_of(*(edges / 10))


def read_pdb(path: Path, n_atoms: int | None = None) -> Iterator[Frames]:
    """PDB, in Å: the frames are its models."""
    with Lines(path) as lines:
        yield from chunked(_read(lines, _pdb(lines)))


def _pdb(lines: Lines) -> Iterator[Frame]:
    order: np.ndarray | None = None
    for atoms, box, _ in models(lines):
        if order is None:
            order = _order(atoms)
            expected = len(atoms)
        if len(atoms) != expected:
            raise ValueError(f"{len(atoms)} atoms, where the first model has {expected}")
        xyz = _numbers([[line[30:38], line[38:46], line[46:54]] for line in atoms])
        yield xyz[order] / 10, None, box


def models(lines: Lines) -> Iterator[tuple[list[str], np.ndarray | None, bool]]:
    """Atom lines and box of every model, and whether MODEL records set the models apart."""
    atoms: list[str] = []
    box, within = None, False
    while (line := lines.next()) is not None:
        record = line[:6].rstrip()
        if record in ("ATOM", "HETATM"):
            atoms.append(line)
        elif record == "CRYST1":
            edges = [float(line[start : start + 9]) / 10 for start in (6, 15, 24)]
            box = np.array(edges + [float(line[start : start + 7]) for start in (33, 40, 47)])
        elif record == "MODEL":
            if within:
                raise ValueError("a MODEL record inside another model")
            within = True
        elif record in ("ENDMDL", "END") and (atoms or within):  # VMD writes END alone after each frame
            yield atoms, box, within
            atoms, within = [], False
    if lines.tail == ("ENDMDL" if within else "END"):  # complete, though the line is not ended
        lines.cut = within = False
    if within or (atoms and lines.cut):
        raise _Cut
    if atoms:  # one structure without END, or the last of several
        yield atoms, box, False


def _order(atoms: list[str]) -> np.ndarray:
    """Which atom lines mdtraj keeps, and in which order: of alternate locations, for one, it keeps the first.

    Its parser is given the first model with line numbers in the place of coordinates.
    """
    numbered = [f"{line[:30]:30}{index:8d}{0:8d}{0:8d}{line[54:]}" for index, line in enumerate(atoms)]
    structure, complaint = attempt(lambda: PdbStructure(StringIO("\n".join([*numbered, "END", ""]))))
    if structure is None:
        raise ValueError(f"the first model is not PDB: {complaint}")
    return np.array(
        [
            round(float(atom.get_position()[0]))
            for chain in structure.iter_chains()
            for residue in chain.iter_residues()
            for atom in residue.atoms
        ]
    )
