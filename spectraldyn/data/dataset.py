"""The data of every fit: stretches of rows with typed columns, a time axis, and the file and frame behind each row."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.data.atoms import Atoms
from spectraldyn.data.mapped import RESIDENT_BYTES, TOUCHED_BYTES, release
from spectraldyn.data.stretches import stretches_of
from spectraldyn.units import TimeAxis, TimeUnit

JOINED_BYTES = 2**26
"""Several arrays that take no more than this together are laid end to end once: gathering rows from one array is
quicker, and the copy is small. Larger ones stay where they are, in memory or on disk."""
CHUNK_VALUES = 2**18
"""Values of one chunk (2 MB in double precision), so that a pass over all rows needs no memory to speak of."""

AT_ONCE = 128
"""Rows gathered from a large file before its pages are given back: with each, Linux may map up to 2 MB."""

NAMES_SHOWN = 3
"""Files, and features of one kind, that are named where the data are shown."""

MAX_COLUMNS = 10_000
"""Whitening takes the covariance of all columns, here 0.8 GB in double precision, and diagonalises it."""


@dataclass(frozen=True)
class Column:
    """One feature."""

    kind: str
    """"phi", "psi", "chi1", ..., "distance", "contact", "x", "y", "z", "vx", "vy", "vz", "atom", "box", "dssp", "sasa",
    "closest-distance", "centre-distance", "rmsd"; the name of a function of the user's own; "feature" for ready-made
    arrays."""
    site: str
    """Residue, atom, pair of them, or what else tells it from others: "ALA2", "ALA2-CA GLY5-CA", "0"; or nothing."""
    part: str = ""
    """{"cos", "sin"} of an angle, {"helix", "strand", "coil"} of a residue's secondary structure, {"x", "y", "z"} of an
    atom, {"ax", ..., "cz"} of a box; otherwise ""."""
    unit: str = ""
    """{"nm", "nm²", "nm/ps", ""}."""
    of_residues: bool = True
    """Whether the site names residues, or atoms or particles."""

    @property
    def name(self) -> str:
        """Such as "phi ALA2 cos"."""
        return " ".join(filter(None, (self.feature, self.part)))

    @property
    def feature(self) -> str:
        """Such as "phi ALA2": what cosine and sine of one angle have in common."""
        return f"{self.kind} {self.site}".rstrip()

    @property
    def residues(self) -> tuple[str, ...]:
        """Residues that it belongs to, each once, or particles without any; none where nothing is known of them."""
        if self.kind == "feature" or not self.of_residues:
            return ()
        of_atoms = self.kind in ("distance", "x", "y", "z", "vx", "vy", "vz", "atom")
        names = (label.rpartition("-")[0] or label if of_atoms else label for label in self.site.split())
        return tuple(dict.fromkeys(names))


def plain_columns(n_columns: int) -> tuple[Column, ...]:
    """Columns of which nothing is known but their number: "feature 0", "feature 1", ..."""
    return tuple(Column("feature", str(number)) for number in range(n_columns))


@dataclass(frozen=True)
class InputFile:
    """One trajectory that was read."""

    path: Path
    n_frames: int
    """All frames stored in it, also those that skip and stride leave out."""
    array: str | None = None
    """Name of the array inside an .npz file, each of which is a trajectory of its own; None otherwise."""


@dataclass(frozen=True)
class Source:
    """Where the rows of one stretch come from."""

    file_index: int
    """Index into `Dataset.files`."""
    first_frame: int
    """0-based number, in its file, of the frame behind the first row; the next ones follow at the stride."""


class Dataset(list):
    """Rows of features: a list of (T_i, d) arrays, one for every stretch, which deeptime takes as it is.

    Rows are counted over all stretches laid end to end. The arrays may be views of files on disk, and nothing here
    copies them.

    Parameters
    ----------
    arrays : iterable of ndarray (T, d)
        Of one dtype, float32 or float64.
    columns, time, files
        What is known of the columns, the time axis and the files.
    weight : ndarray (n_rows,), optional
        Importance weight of every row.
    sources : sequence of Source
        One for every stretch; none where the rows come from no file.
    topology : mdtraj.Trajectory, optional
        One reference frame with the topology; None for ready-made arrays.
    width : int, optional
        Columns computed, or stored in the files, before constant ones were left out.
    options : dict
        Plain values; ``load_features(new, top=self.topology, columns=self.column_names, **self.options)`` computes the
        same columns from other files.
    warnings : list of str
        One sentence each.
    digests : sequence of str
        For every feature of `options` a hash of what it rests on beside the topology, such as the file of a function;
        empty where there is no such thing.
    atoms : Atoms, optional
        Whose coordinates the columns are, for a network on them; None for any other features.
    """

    def __init__(
        self,
        arrays: Iterable[np.ndarray],
        *,
        columns: Sequence[Column] | None = None,
        time: TimeAxis | None = None,
        weight: np.ndarray | None = None,
        files: Sequence[InputFile] = (),
        sources: Sequence[Source] = (),
        topology: Any = None,
        width: int | None = None,
        options: dict[str, Any] | None = None,
        warnings: list[str] | None = None,
        digests: Sequence[str] = (),
        atoms: Atoms | None = None,
    ) -> None:
        super().__init__(_joined(list(arrays)))
        self.columns = plain_columns(self[0].shape[1]) if columns is None else tuple(columns)
        self.time = time or TimeAxis()
        self.weight = weight
        self.files, self.sources = tuple(files), tuple(sources)
        self.topology = topology
        self.width = len(self.columns) if width is None else width
        self.options, self.warnings = options or {}, warnings or []
        self.digests = list(digests)
        self.atoms = atoms

    def __repr__(self) -> str:
        return f"Dataset({self._size})"

    @property
    def _size(self) -> str:
        stretches = f"{len(self)} stretch{'es' * (len(self) != 1)}"
        spacing = (
            ""
            if self.time.timestep_ps is None
            else f" of {TimeUnit.for_time(self.time.row_time).text(self.time.row_time)}"
        )
        return f"{stretches}, {self.n_rows:,} rows{spacing}, {len(self.columns)} column{'s' * (len(self.columns) != 1)}"

    @property
    def title(self) -> str:
        """What the data are, in a line."""
        return f"Features: {self._size}"

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every kind of feature, as text."""
        kinds: dict[str, list[Column]] = {}
        for column in self.columns:
            kinds.setdefault(column.kind, []).append(column)
        rows = []
        for kind, columns in kinds.items():
            features = list(dict.fromkeys(column.feature for column in columns))
            shown = ", ".join(features[:NAMES_SHOWN]) + ", …" * (len(features) > NAMES_SHOWN)
            unit = columns[0].unit or ("cosine and sine" if columns[0].part else "")
            rows.append((kind, f"{len(features):,}", f"{len(columns):,}", unit, shown))
        return [("kind", "features", "columns", "unit", "such as"), *rows]

    def notes(self) -> list[str]:
        """Where the rows come from, and what reading them had to say: one line each."""
        names = [file.path.name + ("" if file.array is None else f":{file.array}") for file in self.files]
        shown = ", ".join(names[:NAMES_SHOWN]) + ", …" * (len(names) > NAMES_SHOWN)
        length = "" if self.time.timestep_ps is None else f", {self.time.length_text(self.n_rows)} in all"
        files = [f"{len(names)} file{'s' * (len(names) > 1)}{length}: {shown}"] if names else []
        return [*files, *self.warnings]

    @property
    def column_names(self) -> list[str]:
        """Name of every column."""
        return [column.name for column in self.columns]

    @cached_property
    def stretches(self) -> list[range]:
        """The rows of every stretch."""
        return stretches_of([len(array) for array in self])

    @property
    def n_rows(self) -> int:
        """Rows of all stretches."""
        return self.stretches[-1].stop if self.stretches else 0

    @cached_property
    def parts(self) -> list[np.ndarray]:
        """The same rows in as few arrays as they lie in: stretches that follow each other in memory are one part."""
        runs: list[list[np.ndarray]] = []
        for array in self:
            if not (runs and _follows(runs[-1][-1], array)):
                runs.append([])
            runs[-1].append(array)
        return [_as_one(run) for run in runs]

    def weighted(self, weight: np.ndarray | None) -> "Dataset":
        """The same rows with these weights (n_rows,), or without any."""
        result = copy.copy(self)
        result.weight = weight
        return result

    @property
    def resident(self) -> bool:
        """Whether the rows may stay in memory: not where they take too much of it (see `RESIDENT_BYTES`)."""
        return sum(array.nbytes for array in self) <= RESIDENT_BYTES

    def chunks(self) -> Iterator[tuple[range, np.ndarray]]:
        """All rows in order, some thousand at once: their numbers and a view of them."""
        step, resident, touched = max(1024, CHUNK_VALUES // max(self[0].shape[1], 64)), self.resident, 0
        for stretch, array in zip(stretches_of([len(part) for part in self.parts]), self.parts, strict=True):
            for start in range(0, len(array), step):
                view = array[start : start + step]
                yield range(stretch.start + start, stretch.start + start + len(view)), view
                touched += view.nbytes
                if not resident and (touched > TOUCHED_BYTES or start + step >= len(array)):
                    release(array)
                    touched = 0

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Rows by their numbers, (len(index), d): read from where they lie."""
        result = np.empty((len(index), self[0].shape[1]), self[0].dtype)
        starts = np.array([0, *accumulate(len(part) for part in self.parts)])
        home, resident = np.searchsorted(starts, index, side="right") - 1, self.resident
        for number in np.unique(home):
            mine, part = np.flatnonzero(home == number), self.parts[number]
            places = np.asarray(index)[mine] - starts[number]
            if resident:
                result[mine] = part[places]
                continue
            for start in range(0, len(mine), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                result[mine[some]] = part[places[some]]
                release(part)
        return result

    def column(self, number: int) -> np.ndarray:
        """One column of all rows, (n_rows,)."""
        result = np.empty(self.n_rows, self[0].dtype)
        for rows, view in self.chunks():
            result[rows.start : rows.stop] = view[:, number]
        return result

    def frame(self, row: int) -> tuple[InputFile, int]:
        """The file that a row comes from, and the 0-based number of its frame there."""
        stretch = np.searchsorted([stretch.stop for stretch in self.stretches], row, side="right")
        source = self.sources[stretch]
        return self.files[source.file_index], source.first_frame + self.time.frames(row - self.stretches[stretch].start)

    @property
    def file_of_row(self) -> np.ndarray:
        """Index into `files` of every row, (n_rows,) int32."""
        lengths = [len(array) for array in self]
        return np.repeat(np.array([source.file_index for source in self.sources], dtype=np.int32), lengths)

    @property
    def frame_of_row(self) -> np.ndarray:
        """0-based number, in its file, of the frame of every row, (n_rows,) int64."""
        stride = self.time.stride
        return np.concatenate(
            [source.first_frame + stride * np.arange(len(a)) for source, a in zip(self.sources, self, strict=True)]
        )

    def digest(self) -> str:
        """Hash of all rows, of where the stretches end, of whose coordinates they are, and of weights where there are
        any."""
        about = repr([len(array) for array in self]) + ("" if self.atoms is None else repr(self.atoms))
        state = hashlib.blake2b(about.encode(), digest_size=16)
        if self.weight is not None:
            state.update(np.ascontiguousarray(self.weight, dtype=np.float64).data)
        for _, rows in self.chunks():
            state.update(np.ascontiguousarray(rows).data)
        return state.hexdigest()


def _joined(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The same arrays, as views of one where they are several and small."""
    bases = {id(array.base if array.base is not None else array) for array in arrays}
    if len(bases) < 2 or sum(array.nbytes for array in arrays) > JOINED_BYTES:
        return arrays
    return np.split(np.concatenate(arrays), np.cumsum([len(array) for array in arrays])[:-1])


def _follows(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the rows of `second` come right after those of `first` in memory, as evenly spaced as these."""
    if first.dtype != second.dtype or first.strides != second.strides or first.shape[1:] != second.shape[1:]:
        return False
    there = first.__array_interface__["data"][0] + len(first) * first.strides[0]
    return second.__array_interface__["data"][0] == there and first.base is not None and first.base is second.base


def _as_one(run: list[np.ndarray]) -> np.ndarray:
    """One view of arrays that follow each other in memory."""
    shape = (sum(map(len, run)), run[0].shape[1])
    return run[0] if len(run) == 1 else np.lib.stride_tricks.as_strided(run[0], shape, run[0].strides)
