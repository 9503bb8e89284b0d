"""Trajectories written as text: PDB, GRO, XYZ, AMBER mdcrd, LAMMPS dumps, Tinker arc; plain or gzipped.

mdtraj loads some of these whole, ends silently at the first incomplete frame of others, and does not say
which frame is at fault. They are read here line by line, so that a fault is found in its frame; the numbers
in a line are converted only where the frame is wanted.
"""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from io import StringIO

import numpy as np
from mdtraj.formats.pdb.pdbstructure import PdbStructure

from spectraldyn.io.frames import Damaged, cell_of
from spectraldyn.io.lines import Cut, Lines, Record, Text
from spectraldyn.io.silence import attempt


def _numbers(lines: Iterable[list[str]]) -> np.ndarray:
    rows = list(lines)
    if any(len(row) != 3 for row in rows):
        raise ValueError("a line does not hold three coordinates")
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _count(line: str) -> int:
    count = int(line.split()[0])
    if count < 1:
        raise ValueError(f"{count} atoms")
    return count


def _found(pattern: str, line: str) -> float | None:
    found = re.findall(pattern, line)
    return float(found[-1]) if found else None


class Xyz(Text):
    """XYZ, in Å: a count, a comment and one line per atom; LAMMPS, CP2K and i-PI write the step in the comment."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        while (head := lines.first()) is not None:
            comment, *atoms = lines.take(_count(head) + 1)
            step = _found(r"(?:^Atoms\. Timestep: |^ *i = *|\bStep: +)(\d+)\b", comment)
            yield Record(partial(self._atoms, atoms), step=step)

    @staticmethod
    def _atoms(atoms: list[str]) -> tuple[np.ndarray, None]:
        return _numbers(line.split()[1:4] for line in atoms) / 10, None


class Arc(Text):
    """Tinker arc, in Å: a count, perhaps a line with the box, and one line per atom."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        while (head := lines.first()) is not None:
            box: str | None = lines.take(1)[0]
            words = str(box).split()
            if len(words) != 6 or "." not in words[0]:  # the first word of an atom's line is its number
                lines.back(str(box))
                box = None
            yield Record(partial(self._atoms, lines.take(_count(head)), box))

    @staticmethod
    def _atoms(atoms: list[str], box: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        cell = None if box is None else np.array(box.split(), dtype=np.float64) / [10, 10, 10, 1, 1, 1]
        return _numbers(atom.split()[2:5] for atom in atoms) / 10, cell


class Gro(Text):
    """GROMACS GRO, in nm: a title (perhaps with time and step), a count, fixed columns and the box."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        n_edges = 0
        while (title := lines.next()) is not None:
            head = lines.next()
            if head is None and not title.strip():
                return
            if head is None:
                raise Cut
            *atoms, last = lines.take(_count(head) + 1)
            if lines.last and n_edges > len(last.split()):
                raise Cut  # three of the nine numbers of a triclinic box read as a rectangular one
            n_edges = len(last.split())
            time = _found(r"\bt=\s*([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)", title)
            yield Record(partial(self._atoms, atoms, last), time, _found(r"\bstep=\s*(\d+)", title))

    @staticmethod
    def _atoms(atoms: list[str], last: str) -> tuple[np.ndarray, np.ndarray]:
        # The number of decimals is free; the distance between the decimal points gives the width of a column.
        point = atoms[0].index(".", 20)
        width = atoms[0].index(".", point + 1) - point
        columns = [slice(20 + width * axis, 20 + width * (axis + 1)) for axis in range(3)]
        values = np.array(last.split(), dtype=np.float64)
        if len(values) not in (3, 9):
            raise ValueError(f"the box has {len(values)} numbers, not 3 or 9")
        box = np.zeros(9)
        box[: len(values)] = values
        xyz = _numbers([line[column] for column in columns] for line in atoms)
        return xyz, cell_of(box[[0, 3, 4]], box[[5, 1, 6]], box[[7, 8, 2]])


class Mdcrd(Text):
    """AMBER mdcrd, in Å: ten numbers of eight columns in a line; the number of atoms is not in the file."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        if self.n_atoms is None:
            raise Damaged("an mdcrd file does not say how many atoms it has, so it needs a topology")
        full, rest = divmod(3 * self.n_atoms, 10)
        lines.take(1)  # title
        has_box = False if self.n_atoms == 1 else None  # one atom's line looks like a box: taken as none
        while (line := lines.first()) is not None:
            lines.back(line)
            rows = []
            for wanted in [10] * full + [rest] * (rest > 0):
                rows.append(lines.take(1)[0].rstrip())
                if len(rows[-1]) != 8 * wanted:
                    what = f"a line of {len(rows[-1])} characters where {self.n_atoms} atoms need {8 * wanted}"
                    raise ValueError(what)
            if has_box is None:
                peek = lines.next()
                has_box = peek is not None and len(peek.split()) == 3
                if peek is not None:
                    lines.back(peek)
            yield Record(partial(self._atoms, rows, lines.take(1)[0] if has_box else None))

    @staticmethod
    def _atoms(rows: list[str], box: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        values = [row[column : column + 8] for row in rows for column in range(0, len(row), 8)]
        cell = None if box is None else np.append(_numbers([box.split()])[0] / 10, [90.0, 90.0, 90.0])
        return np.array(values, dtype=np.float64).reshape(-1, 3) / 10, cell


class Lammps(Text):
    """LAMMPS text dump, taken as Å, atoms sorted by their id."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        while (line := lines.first()) is not None:
            count, bounds, step = 0, ["0 0"] * 3, None
            while not line.startswith("ITEM: ATOMS"):
                if line.startswith("ITEM: NUMBER OF ATOMS"):
                    count = _count(lines.take(1)[0])
                elif line.startswith("ITEM: BOX BOUNDS"):
                    bounds = lines.take(3)
                elif line.startswith("ITEM: TIMESTEP"):
                    step = int(lines.take(1)[0])
                elif line.startswith("ITEM:"):
                    lines.take(1)  # time or units, each in one line
                else:
                    raise ValueError(f"{line[:30]!r} where an ITEM should start")
                (line,) = lines.take(1)
            if count == 0:
                raise ValueError("a dump needs the number of atoms")
            yield Record(partial(self._atoms, line.split()[2:], lines.take(count), bounds), step=step)

    @staticmethod
    def _atoms(names: list[str], atoms: list[str], bounds: list[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [row.split() for row in atoms]
        axes = next(
            (a for a in ("x y z", "xs ys zs", "xu yu zu", "xsu ysu zsu") if set(a.split()) <= set(names)),
            None,
        )
        if axes is None or "id" not in names:
            raise ValueError("a dump needs the columns id, x, y, z (or xs, xu, xsu ...)")
        if any(len(row) != len(names) for row in rows):
            raise ValueError("a line has another number of columns than the header")
        ids = np.array([int(row[names.index("id")]) for row in rows])
        if len(np.unique(ids)) != len(ids):
            raise ValueError("an atom id occurs twice")
        xyz = _numbers([row[names.index(axis)] for axis in axes.split()] for row in rows)[np.argsort(ids)]
        box = np.array([row.split() for row in bounds], dtype=np.float64)
        xy, xz, yz = box[:, 2] if box.shape[1] == 3 else np.zeros(3)
        low = box[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
        high = box[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
        edges = np.diag(high - low) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])
        if "s" in axes:
            xyz = low + xyz @ edges
        return xyz / 10, cell_of(*(edges / 10))


class Pdb(Text):
    """PDB, in Å: the frames are its models."""

    def parse(self, lines: Lines) -> Iterator[Record]:
        order: np.ndarray | None = None
        for atoms, box, number in _models(lines):
            if order is None:
                order, expected = _order(atoms), len(atoms)
            if len(atoms) != expected:
                raise ValueError(f"{len(atoms)} atoms, where the first model has {expected}")
            yield Record(partial(self._atoms, atoms, order, box), step=number)

    @staticmethod
    def _atoms(atoms: list[str], order: np.ndarray, box: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        cell = None
        if box is not None:
            edges = [float(box[start : start + 9]) / 10 for start in (6, 15, 24)]
            cell = np.array(edges + [float(box[start : start + 7]) for start in (33, 40, 47)])
        return _numbers([line[30:38], line[38:46], line[46:54]] for line in atoms)[order] / 10, cell


_RECORDS = ("ATOM", "HETATM", "TER", "END", "ENDMDL", "CONECT", "MASTER")  # with which a whole file may end


def _models(lines: Lines) -> Iterator[tuple[list[str], str | None, int | None]]:
    """Atom lines of every model, the CRYST1 line before them, and the number that a MODEL record gives."""
    atoms: list[str] = []
    box: str | None = None
    within, number, record = False, None, ""
    while (line := lines.next()) is not None:
        record = line[:6].rstrip()
        if record in ("ATOM", "HETATM"):
            atoms.append(line)
        elif record == "CRYST1":
            box = line
        elif record == "MODEL":
            if within:
                raise ValueError("a MODEL record inside another model")
            within, number = True, int(line[6:]) if line[6:].strip().isdecimal() else None
        elif record in ("ENDMDL", "END") and (atoms or within):  # VMD writes END alone after each frame
            yield atoms, box, number
            atoms, within, number = [], False, None
    if within or (atoms and lines.cut) or (lines.last and record not in _RECORDS):
        raise Cut
    if atoms:  # one structure without END, or the last of several
        yield atoms, box, None


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
