"""From files to features: the one call that the rest of the package starts from."""

import math
import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
from tqdm import tqdm

from spectraldyn.errors import InputError
from spectraldyn.features.definitions import define_features
from spectraldyn.features.featurize import Featurizer
from spectraldyn.io import SUFFIXES, FileSummary, common_timestep, load_topology, open_trajectory, read_arrays
from spectraldyn.units import Duration, parse_duration


@dataclass(frozen=True)
class Stretch:
    """Where the rows of one array of `Features` come from.

    Attributes
    ----------
    path : Path
    file_index : int
        Index into `Features.files`.
    frames : (T,) int64
        0-based number, in its file, of the frame behind every row.
    """

    path: Path
    file_index: int
    frames: np.ndarray


@dataclass(frozen=True)
class InputFile:
    """One trajectory that was read.

    Attributes
    ----------
    path : Path
    n_frames : int
        All frames stored in it, also those that skip and stride leave out.
    array : str or None
        Name of the array inside an .npz file, each of which is a trajectory of its own; None otherwise.
    """

    path: Path
    n_frames: int
    array: str | None = None


class Features(list):
    """Feature trajectories: a list of (T_i, d) float32 arrays, one per uninterrupted stretch of a file.

    The arrays may be read-only views of files on disk.

    Attributes
    ----------
    columns : list of str
        Human name of every column, such as "phi ALA2 cos".
    sources : list of Stretch
        Where each array comes from.
    files : list of InputFile
        What was read, in the order given.
    timestep_ps : float or None
        Time between stored frames in ps, before `stride`; None if unknown.
    stride : int
        Number of stored frames from one row to the next.
    topology : mdtraj.Trajectory or None
        One reference frame with the topology; None for ready-made arrays.
    width : int
        Columns computed, or stored in the arrays, before constant ones were left out.
    options : dict
        JSON-able; ``load_features(new, top=self.topology, columns=self.columns, **self.options)`` computes
        the same columns from other files.
    warnings : list of str
        One sentence each.
    """

    def __init__(
        self,
        arrays: Iterable[np.ndarray],
        *,
        columns: list[str],
        sources: list[Stretch],
        files: list[InputFile],
        timestep_ps: float | None,
        width: int,
        stride: int = 1,
        topology: mdtraj.Trajectory | None = None,
        options: dict[str, Any] | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        super().__init__(arrays)
        self.columns = columns
        self.sources = sources
        self.files = files
        self.timestep_ps = timestep_ps
        self.width = width
        self.stride = stride
        self.topology = topology
        self.options = options or {}
        self.warnings = warnings or []

    @property
    def file_of_row(self) -> np.ndarray:
        """Index into `files` for every row of all arrays, one after the other."""
        return np.concatenate([np.full(len(s.frames), s.file_index) for s in self.sources])

    @property
    def frame_of_row(self) -> np.ndarray:
        """0-based number, in its file, of the frame of every row of all arrays."""
        return np.concatenate([s.frames for s in self.sources])

    def __repr__(self) -> str:
        rows = sum(len(array) for array in self)
        return f"Features({len(self)} stretches, {rows:,} rows, {len(self.columns)} columns)"


class _Table(NamedTuple):
    """Rows of one input file: row i is frame first + i·step."""

    file: InputFile
    rows: np.ndarray
    first: int
    step: int
    segment_starts: tuple[int, ...]


class _Sampling(NamedTuple):
    """Which frames the user asked for."""

    stride: int
    skip: Duration
    timestep_ps: float | None

    def stored(self) -> tuple[int, int]:
        """(first, step) of the frames to compute features of.

        All frames unless a stride saves work: then entries of the store serve any skip. A skip in time needs
        the spacing, which the file itself may first have to tell, so then all frames are computed as well.
        """
        known = self.skip.in_frames or self.skip.value == 0 or self.timestep_ps is not None
        if self.stride == 1 or not known:
            return 0, 1
        return self.skip.to_frames(self.timestep_ps, "--skip"), self.stride


def load_features(
    files: str | Path | Sequence[str | Path],
    top: str | Path | mdtraj.Trajectory | None = None,
    features: str | Sequence[str] | None = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    *,
    columns: Sequence[str] | int | None = None,
    cache: bool = True,
    progress: bool = False,
) -> Features:
    """Read trajectory files, or arrays of ready-made features, into feature trajectories.

    Parameters
    ----------
    files : path or sequence of paths
        Trajectory files, or .npy and .npz files with one trajectory per array, (T, d) or (T,).
    top : path or mdtraj.Trajectory, optional
        Topology, where the trajectory files carry none.
    features : str or sequence of str, optional
        Names from `spectraldyn.features.definitions.FEATURES`; chosen by the kind of molecule if None.
    atoms : str, optional
        Only these atoms enter, in mdtraj's selection language.
    stride : int
        Keep frames skip, skip + stride, ... of each file. Every frame is read and checked all the same.
    skip : str or number, optional
        What to leave out at the start of each file: frames (100) or a time ("1ns").
    timestep : str or float, optional
        Time between stored frames, as "0.2ps" or a number in ps, where the files do not tell.
    columns : sequence of str or int, optional
        Exactly these columns, in this order, or the first so many, also where one of them is constant.
    cache : bool
        Keep the features on disk and use them again when file, topology and options are the same.
    progress : bool
        Show a progress bar over the files on stderr.

    Returns
    -------
    Features

    Raises
    ------
    InputError
        If a file cannot be read or fails a check, or an option is wrong or does not fit the files.
    """
    paths = _as_paths(files)
    sampling = _Sampling(
        _as_stride(stride), parse_duration(0 if skip is None else skip, "--skip"), _as_picoseconds(timestep)
    )
    notes = [f"{path} is given more than once" for path in dict.fromkeys(paths) if paths.count(path) > 1]
    arrays = [path.suffix.lower() in SUFFIXES for path in paths]
    topology, names = None, None
    if any(arrays):
        if not all(arrays):
            ready, other = paths[arrays.index(True)], paths[arrays.index(False)]
            raise InputError(f"{ready} holds ready-made features and {other} does not: give files of one kind")
        for option, value in {"--features": features, "--atoms": atoms, "--top": top}.items():
            if value is not None:
                raise InputError(f"{option} means nothing for ready-made features such as {paths[0]}: leave it out")
        tables = _array_tables(paths, progress)
        timestep_ps = sampling.timestep_ps
        every_column = _array_columns(tables)
    else:
        topology, source = _reference(top, paths)
        chosen = define_features(topology, features, atoms)
        names, every_column = chosen.names, chosen.columns
        if source is not None and "aligned-positions" in names:
            notes.append(f"aligned-positions are superposed on the first frame of {source}: the topology has none")
        featurizer = Featurizer(chosen, topology, atoms, cache, notes)
        tables, summaries = _trajectory_tables(paths, featurizer, *sampling.stored(), progress)
        timestep_ps = common_timestep(summaries, sampling.timestep_ps)
        notes += chosen.notes + [warning for summary in summaries for warning in summary.warnings]
        if any(summary.periodic for summary in summaries):
            notes += chosen.periodic_notes
    options = {
        "features": names,
        "atoms": atoms,
        "stride": sampling.stride,
        "skip": None if skip is None else str(skip),
        "timestep": None if sampling.timestep_ps is None else f"{sampling.timestep_ps!r}ps",
    }
    skipped = sampling.skip.to_frames(timestep_ps, "--skip") if sampling.skip.value else 0
    stretches, sources = _cut(tables, skipped, sampling.stride)
    stretches, kept = _choose_columns(stretches, every_column, columns, notes)
    return Features(
        stretches,
        columns=kept,
        sources=sources,
        files=[table.file for table in tables],
        timestep_ps=timestep_ps,
        width=len(every_column),
        stride=sampling.stride,
        topology=topology,
        options=options,
        warnings=list(dict.fromkeys(notes)),
    )


def _as_paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(path) for path in files]
    if not paths:
        raise InputError("no files were given")
    return paths


def _as_stride(stride: int) -> int:
    try:
        number = operator.index(stride)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"--stride {stride!r} is not a whole number of frames from 1 on")
    return number


def _as_picoseconds(timestep: str | float | None) -> float | None:
    if timestep is None:
        return None
    if isinstance(timestep, str):
        duration = parse_duration(timestep, "--timestep")
        if duration.in_frames:
            raise InputError(f"--timestep {timestep} has no unit: write it as a time, such as {timestep.strip()}ps")
        timestep = duration.value
    if not (math.isfinite(timestep) and timestep > 0):
        raise InputError(f"--timestep {timestep!r} ps is not a time greater than 0")
    return float(timestep)


def _reference(top: str | Path | mdtraj.Trajectory | None, paths: list[Path]) -> tuple[mdtraj.Trajectory, Path | None]:
    """One frame with the topology, and the file it was taken from where the topology has no coordinates."""
    topology = top if isinstance(top, mdtraj.Trajectory) else load_topology(top, paths)
    if topology.n_frames:
        return topology[0], None
    return open_trajectory(paths[0], topology.topology).read([0]), paths[0]


def _array_tables(paths: list[Path], progress: bool) -> list[_Table]:
    return [
        _Table(InputFile(path, len(rows), name), rows, 0, 1, (0,))
        for path in tqdm(paths, "files", disable=not progress)
        for name, rows in read_arrays(path)
    ]


def _array_columns(tables: list[_Table]) -> list[str]:
    width = tables[0].rows.shape[1]
    for table in tables:
        if table.rows.shape[1] != width:
            raise InputError(
                f"{table.file.path} has {table.rows.shape[1]} columns and {tables[0].file.path} has {width}: "
                "all must have the same"
            )
    return [f"feature {i}" for i in range(width)]


def _trajectory_tables(
    paths: list[Path], featurizer: Featurizer, first: int, step: int, progress: bool
) -> tuple[list[_Table], list[FileSummary]]:
    tables, summaries = [], []
    for path in tqdm(paths, "files", disable=not progress):
        rows, summary = featurizer.rows(path, first, step)
        tables.append(_Table(InputFile(path, summary.n_frames), rows, first, step, summary.segment_starts))
        summaries.append(summary)
    return tables, summaries


def _cut(tables: list[_Table], skipped: int, stride: int) -> tuple[list[np.ndarray], list[Stretch]]:
    """The frames asked for, in arrays that never run across a break in a file."""
    arrays, sources = [], []
    for index, table in enumerate(tables):
        if skipped >= table.file.n_frames:
            raise InputError(
                f"{table.file.path} has {table.file.n_frames} frames and --skip leaves out {skipped}: nothing is left"
            )
        # rows computed with a stride already start at the skipped frame
        rows = table.rows if table.step > 1 else table.rows[skipped::stride]
        frames = skipped + stride * np.arange(len(rows), dtype=np.int64)
        breaks = [0, *np.searchsorted(frames, table.segment_starts[1:]), len(rows)]
        for start, end in pairwise(breaks):
            if end > start:
                arrays.append(rows[start:end])
                sources.append(Stretch(table.file.path, index, frames[start:end]))
    return arrays, sources


def _choose_columns(
    arrays: list[np.ndarray], names: list[str], wanted: Sequence[str] | int | None, notes: list[str]
) -> tuple[list[np.ndarray], list[str]]:
    """The columns asked for, else all that are not constant."""
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(names):
            raise InputError(f"{wanted} columns are needed, but these features have {len(names)}")
        wanted = names[:wanted]
    if wanted is not None:
        position = {name: i for i, name in enumerate(names)}
        missing = [name for name in wanted if name not in position]
        if missing or not wanted:
            raise InputError(
                f"there is no column {missing[0] if missing else ''!r} in these features; they have "
                + ", ".join(names[:10])
                + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            )
        keep = np.array([position[name] for name in wanted])
    else:
        low = np.min([array.min(axis=0) for array in arrays], axis=0).astype(np.float64)
        high = np.max([array.max(axis=0) for array in arrays], axis=0).astype(np.float64)
        # no further apart than rounding puts equal numbers
        rounding = 8 * np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
        keep = np.flatnonzero(high - low > rounding)
        constant = [name for i, name in enumerate(names) if i not in set(keep.tolist())]
        if len(keep) == 0:
            raise InputError(
                f"every feature column is constant over all frames ({', '.join(constant[:3])}"
                f"{', ...' if len(constant) > 3 else ''}): there is no dynamics in it"
            )
        if constant:
            plural = "s" if len(constant) > 1 else ""
            notes.append(f"{len(constant)} constant column{plural} left out: {', '.join(constant)}")
    if len(keep) == len(names) and np.array_equal(keep, np.arange(len(names))):
        return arrays, list(names)
    index: slice | np.ndarray = keep
    if np.array_equal(keep, np.arange(keep[0], keep[0] + len(keep))):
        index = slice(int(keep[0]), int(keep[-1]) + 1)  # a view: rows on disk stay there
    return [array[:, index] for array in arrays], [names[i] for i in keep]
