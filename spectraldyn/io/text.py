"""Trajectories written as text, plain or gzipped: a parser for each format, and what can be trusted of a cut frame.

mdtraj loads some of these whole, ends silently at the first incomplete frame of others, and does not say
which frame is at fault. They are read here line by line, so that a fault is found in its frame; the numbers
in a line are converted only where the frame is wanted.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mdtraj.formats.pdb.pdbstructure import PdbStructure

from spectraldyn.io.frames import NONE, Frames, absent, cell_of, frames_per_chunk, joined
from spectraldyn.io.lines import Cut, Lines
from spectraldyn.io.silence import Damaged, ask


class Record(NamedTuple):
    """One frame: `convert` gives its positions (nm) and its box, as three lengths and three angles, or NaN."""

    convert: Callable[[], tuple[np.ndarray, np.ndarray]]
    time: float = np.nan
    step: float = np.nan
    labels: Callable[[], list[str]] = list
    """What the rows say of their atoms, whose name or element is in the last five characters."""


class Text:
    """A text file, as `Indexed` is one of a binary format; its parser gives the frames in order, not yet converted.

    To take frames, the lines of those before them are walked over, and those after the last are not read.
    """

    def __init__(self, parse: Callable[[Lines, int], Iterator[Record]], path: Path, n_atoms: int) -> None:
        self.parse, self.path, self.n_atoms = parse, path, n_atoms
        self.shortfall: str | None = None
        self.labels: Sequence[str] = ()
        self._labelled = 0  # the frame that these are of

    def extent(self) -> tuple[int, np.ndarray | None]:
        times = np.array([record.time for record, _ in self._walk(lambda number: False)])
        return len(times), None if np.isnan(times).all() else times

    def chunks(self) -> Iterator[Frames]:
        pending: list[Frames] = []
        for frame in self._frames(lambda number: True):
            # A change in the number of atoms is found, and named, by the checks.
            full = len(pending) == frames_per_chunk(frame.xyz.shape[1])
            if pending and (full or pending[0].xyz.shape != frame.xyz.shape):
                yield joined(pending)
                pending = []
            pending.append(frame)
        if pending:
            yield joined(pending)

    def take(self, rows: np.ndarray) -> Frames:
        found = list(itertools.islice(self._frames(set(rows.tolist()).__contains__), len(rows)))
        if len(found) < len(rows):
            raise absent(rows[-1], self.extent()[0])
        return joined(found)

    def _frames(self, wanted: Callable[[int], bool]) -> Iterator[Frames]:
        return (frame for _, frame in self._walk(wanted) if frame is not None)

    def _walk(self, wanted: Callable[[int], bool]) -> Iterator[tuple[Record, Frames | None]]:
        """Every frame, converted where it is wanted, with every fault told by its frame."""
        with closing(Lines(self.path)) as lines:
            records = self.parse(lines, self.n_atoms)
            for count in itertools.count():
                record = frame = whole = None
                try:
                    record = next(records, None)
                    if record is not None and wanted(count):
                        frame = _converted(record)
                    whole = lines.whole()
                except Cut:
                    whole = False
                except (ValueError, IndexError, OverflowError) as error:
                    if not lines.last:
                        what = " ".join(str(error).split())[:120]
                        raise Damaged(f"frame {count} is corrupt near line {lines.number} ({what})") from error
                    whole = False
                if whole is False or (record is None and lines.cut):
                    record = None
                    self.shortfall = f"the file ends inside frame {count}, {count} complete frames are there"
                if record is None:
                    return
                if frame is not None:
                    self._compare_labels(record.labels(), count)
                yield record, frame
                if whole is None:
                    used = f"frame {count} is used, but its last number may have lost digits"
                    self.shortfall = f"its last line has no end: {used}"
                    return

    def _compare_labels(self, labels: Sequence[str], frame: int) -> None:
        """The rows of every frame must be of the same atoms, whatever it is that the file calls them."""
        if not self.labels:
            self.labels, self._labelled = labels, frame
        if len(labels) != len(self.labels) or labels == self.labels:  # another number of atoms is told by the checks
            return
        row = next(row for row, (here, first) in enumerate(zip(labels, self.labels, strict=True)) if here != first)
        here, first = (" ".join(found[row].split()) for found in (labels, self.labels))
        said = f"atom {row + 1} of frame {frame} is {here[:30]!r}, in frame {self._labelled} it is {first[:30]!r}"
        raise Damaged(f"{said}: the atoms are in another order, or the file is corrupt")


def _converted(record: Record) -> Frames:
    xyz, box = record.convert()
    return Frames(xyz[None], np.array(record.time), box, np.array(record.step))


def xyz(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """XYZ, in Å: a count, a comment and one line per atom; LAMMPS, CP2K and i-PI write the step in the comment."""
    while lines.skip_blank() is not None:
        count, comment = _count(lines), lines.take(1)[0]
        step = _found(r"(?:^Atoms\. Timestep: |^ *i = *|\bStep: +)(\d+)\b", comment)
        atoms = lines.take(count)
        yield Record(
            partial(_angstroms, (line.split()[1:4] for line in atoms)), np.nan, step, partial(_words, atoms, 0)
        )


def arc(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """Tinker arc, in Å: a count, perhaps a line with the box, and one line per atom."""
    while lines.skip_blank() is not None:
        count, words = _count(lines), (lines.peek() or "").split()
        has_box = len(words) == 6 and "." in words[0]  # the first word of an atom's line is its number
        atoms = lines.take(has_box + count)[has_box:]
        positions = partial(_angstroms, (line.split()[2:5] for line in atoms), words if has_box else ())
        yield Record(positions, labels=partial(_words, atoms, 1))


def gro(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """GROMACS GRO, in nm: a title (perhaps with time and step), a count, fixed columns and the box."""
    n_edges = 0
    while (title := lines.next()) is not None:
        if lines.peek() is None and not title.strip():
            return
        *atoms, last = lines.take(_count(lines) + 1)
        if lines.last and n_edges > len(last.split()):
            raise Cut  # three of the nine numbers of a triclinic box read as a rectangular one
        n_edges = len(last.split())
        time = _found(r"\bt=\s*([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)", title)
        labels = partial(_columns, atoms, slice(15))  # residue and name
        yield Record(partial(_gro, atoms, last), time, _found(r"\bstep=\s*(\d+)", title), labels)


def _gro(atoms: list[str], last: str) -> tuple[np.ndarray, np.ndarray]:
    # The number of decimals is free; the distance between the decimal points gives the width of a column.
    point = atoms[0].index(".", 20)
    width = atoms[0].index(".", point + 1) - point
    values = np.array(last.split(), dtype=np.float64)
    if len(values) not in (3, 9):
        raise ValueError(f"the box has {len(values)} numbers, not 3 or 9")
    box = np.append(values, np.zeros(9 - len(values)))
    cell = cell_of(box[[0, 3, 4]], box[[5, 1, 6]], box[[7, 8, 2]])
    return _numbers(_three(line, 20, width) for line in atoms), cell


def mdcrd(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """AMBER mdcrd, in Å: ten numbers of eight columns in a line; the number of atoms is not in the file."""
    full, rest = divmod(3 * n_atoms, 10)
    lines.take(1)  # title
    has_box = False if n_atoms == 1 else None  # one atom's line looks like a box: taken as none
    while lines.skip_blank() is not None:
        numbers = ""
        for width in [80] * full + [8 * rest] * (rest > 0):
            row = lines.take(1)[0].rstrip()
            if len(row) != width:
                raise ValueError(f"a line of {len(row)} characters where {n_atoms} atoms need {width}")
            numbers += row
        if has_box is None:
            has_box = len((lines.peek() or "").split()) == 3
        cell = [*lines.take(1)[0].split(), "90", "90", "90"] if has_box else ()
        atoms = map(partial(_three, numbers, width=8), range(0, len(numbers), 24))
        yield Record(partial(_angstroms, atoms, cell))


def lammpstrj(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """LAMMPS text dump, taken as Å, atoms sorted by their id."""
    while lines.skip_blank() is not None:
        count, bounds, step = 0, ["0 0"] * 3, np.nan
        while not (line := lines.take(1)[0]).startswith("ITEM: ATOMS"):
            if line.startswith("ITEM: NUMBER OF ATOMS"):
                count = _count(lines)
            elif line.startswith("ITEM: BOX BOUNDS"):
                bounds = lines.take(3)
            elif line.startswith("ITEM: TIMESTEP"):
                step = int(lines.take(1)[0])
            elif line.startswith("ITEM:"):
                lines.take(1)  # time or units, each in one line
            else:
                raise ValueError(f"{line[:30]!r} where an ITEM should start")
        if count == 0:
            raise ValueError("a dump needs the number of atoms")
        names, atoms = line.split()[2:], lines.take(count)
        labels = partial(_identifiers, names, atoms)
        yield Record(partial(_lammpstrj, names, atoms, bounds), step=step, labels=labels)


def _identifiers(names: list[str], atoms: list[str]) -> list[str]:
    column = names.index("id")
    return list(map(str, sorted(int(row.split(None, column + 1)[column]) for row in atoms)))


def _lammpstrj(names: list[str], atoms: list[str], bounds: list[str]) -> tuple[np.ndarray, np.ndarray]:
    axes = next((a for a in ("x y z", "xs ys zs", "xu yu zu", "xsu ysu zsu") if set(a.split()) <= set(names)), None)
    if axes is None or "id" not in names:
        raise ValueError("a dump needs the columns id, x, y, z (or xs, xu, xsu ...)")
    rows = [row.split() for row in atoms]
    if any(len(row) != len(names) for row in rows):
        raise ValueError("a line has another number of columns than the header")
    ids = [int(row[names.index("id")]) for row in rows]
    if len(set(ids)) != len(ids):
        raise ValueError("an atom id occurs twice")
    positions = _numbers([row[names.index(axis)] for axis in axes.split()] for row in rows)[np.argsort(ids)]
    box = np.array([row.split() for row in bounds], dtype=np.float64)
    xy, xz, yz = box[:, 2] if box.shape[1] == 3 else np.zeros(3)
    low = box[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    high = box[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
    edges = np.diag(high - low) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])
    if "s" in axes:
        positions = low + positions @ edges
    return positions / 10, cell_of(*(edges / 10))


def pdb(lines: Lines, n_atoms: int) -> Iterator[Record]:
    """PDB, in Å: the frames are its models."""
    order, expected = None, 0
    for atoms, box, number in _models(lines):
        if order is None:
            order, expected = _order(atoms), len(atoms)
        if len(atoms) != expected:
            raise ValueError(f"{len(atoms)} atoms, where the first model has {expected}")
        kept = [atoms[index] for index in order]
        labels = partial(_columns, kept, slice(16, 27), slice(12, 16))  # residue and name
        cell = () if box is None else _three(box, 6, 9) + _three(box, 33, 7)
        yield Record(partial(_angstroms, (_three(line, 30, 8) for line in kept), cell), step=number, labels=labels)


_RECORDS = ("ATOM", "HETATM", "TER", "END", "ENDMDL", "CONECT", "MASTER")  # with which a whole file may end


def _models(lines: Lines) -> Iterator[tuple[list[str], str | None, float]]:
    """Atom lines of every model, the CRYST1 line before them, and the number that a MODEL record gives."""
    atoms: list[str] = []
    box: str | None = None
    within, number, record = False, np.nan, ""
    while (line := lines.next()) is not None:
        record = line[:6].rstrip()
        if record in ("ATOM", "HETATM"):
            atoms.append(line)
        elif record == "CRYST1":
            box = line
        elif record == "MODEL":
            if within:
                raise ValueError("a MODEL record inside another model")
            within, number = True, int(line[6:]) if line[6:].strip().isdecimal() else np.nan
        elif record in ("ENDMDL", "END") and (atoms or within):  # VMD writes END alone after each frame
            yield atoms, box, number
            atoms, within, number = [], False, np.nan
    if within or (atoms and lines.cut) or (lines.last and record not in _RECORDS):
        raise Cut
    if atoms:  # one structure without END, or the last of several
        yield atoms, box, np.nan


def _order(atoms: list[str]) -> list[int]:
    """Which atom lines mdtraj keeps, and in which order: of alternate locations, for one, it keeps the first.

    Its parser is given the first model with line numbers in the place of coordinates.
    """
    numbered = [f"{line[:30]:30}{index:8d}{0:8d}{0:8d}{line[54:]}" for index, line in enumerate(atoms)]
    try:
        structure = ask("", lambda: PdbStructure(StringIO("\n".join([*numbered, "END", ""]))))
    except Damaged as damage:
        raise ValueError(f"the first model is not PDB: {damage}") from damage
    residues = [residue for chain in structure.iter_chains() for residue in chain.iter_residues()]
    return [round(float(atom.get_position()[0])) for residue in residues for atom in residue.atoms]


def _angstroms(rows: Iterable[list[str]], cell: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Positions in nm, and the box where there is one, from numbers in Å and degrees."""
    box = np.array(cell, dtype=np.float64) / [10, 10, 10, 1, 1, 1] if cell else NONE
    return _numbers(rows) / 10, box


def _numbers(lines: Iterable[list[str]]) -> np.ndarray:
    rows = list(lines)
    if any(len(row) != 3 for row in rows):
        raise ValueError("a line does not hold three coordinates")
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _three(line: str, start: int, width: int) -> list[str]:
    """Three columns of one width."""
    return [line[start + width * i : start + width * (i + 1)] for i in range(3)]


def _words(lines: list[str], number: int) -> list[str]:
    """The word of that number in each line."""
    return [line.split(None, number + 1)[number] for line in lines]


def _columns(lines: list[str], *parts: slice) -> list[str]:
    """These columns of each line."""
    return ["".join(line[part] for part in parts) for line in lines]


def _count(lines: Lines) -> int:
    count = int(lines.take(1)[0].split()[0])
    if count < 1:
        raise ValueError(f"{count} atoms")
    return count


def _found(pattern: str, line: str) -> float:
    found = re.findall(pattern, line)
    return float(found[-1]) if found else np.nan
