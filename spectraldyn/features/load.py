"""From files to features: the one call that the rest of the package starts from."""

import contextlib
import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import mdtraj
import numpy as np
from tqdm.auto import tqdm

from spectraldyn.data import Atoms, Column, Dataset, InputFile, Source, plain_columns
from spectraldyn.data.mapped import RESIDENT_BYTES
from spectraldyn.data.weights import effective_sample_size, weights_from_logs
from spectraldyn.errors import InputError
from spectraldyn.features import store
from spectraldyn.features.columns import colvar_columns
from spectraldyn.features.definitions import Features, define_features
from spectraldyn.features.featurize import Featurizer, check_left
from spectraldyn.features.sampling import Sampling
from spectraldyn.features.several import StoreFile, fill_store
from spectraldyn.features.weighting import FrameWeights, Weights
from spectraldyn.io import common_timestep, file_key, frame_count, kind_of, load_topology, open_trajectory, read_arrays
from spectraldyn.units import TimeAxis

Files = str | Path | Sequence[str | Path]
Top: TypeAlias = str | Path | mdtraj.Trajectory | None


class _Table(NamedTuple):
    """Rows of one input file: row i is frame first + i·step."""

    file: InputFile
    rows: np.ndarray
    first: int
    step: int
    segment_starts: tuple[int, ...]
    key: str | None = None
    """Of the entry of the store that the rows are, if they are one."""
    timestep_ps: float | None = None
    """Between stored frames, as the file itself says."""


class _Loaded(NamedTuple):
    """What the input files hold."""

    tables: list[_Table]
    columns: tuple[Column, ...]
    timestep_ps: float | None
    features: list[str] | None = None
    topology: mdtraj.Trajectory | None = None
    notes: Sequence[str] = ()
    digests: Sequence[str] = ()
    atoms: Atoms | None = None


def load_features(
    files: Files,
    top: Top = None,
    features: Features = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    *,
    columns: Sequence[str] | int | None = None,
    weights: Weights | None = None,
    cache: bool = True,
    progress: bool = False,
    cluster: str | None = None,
    device: str = "cpu",
) -> Dataset:
    """Read trajectory files, or ready-made features, into rows of features.

    Parameters
    ----------
    files : path or sequence of paths
        Trajectory files; or .npy and .npz files with one trajectory per array, (T, d) or (T,); or PLUMED's COLVAR
        files, which are known by their first line.
    top : path or mdtraj.Trajectory, optional
        Topology, where the trajectory files carry none.
    features : str, function, or sequence of them, optional
        Names from `spectraldyn.features.FEATURES`, and functions of the user's own or "FILE.py:FUNCTION" for one (see
        `spectraldyn.features.own`); chosen by the kind of molecule if None. Rows of a function that is given as it is
        are not kept on disk. Of COLVAR files the columns that are features, of which the periodic ones become cosine
        and sine.
    atoms : str, optional
        Only these atoms enter, in mdtraj's selection language.
    stride : int
        Keep frames skip, skip + stride, ... of each file. Every frame is read and checked all the same.
    skip : str or number, optional
        What to leave out at the start of each file: frames (100) or a time ("1ns").
    timestep : str or float, optional
        Time between stored frames, as "0.2ps" or a number in ps, where the files do not tell.
    columns : sequence of str or int, optional
        Exactly these columns, in this order, or the first so many, also where one of them is constant. Default: all
        that are not constant.
    weights : Weights, optional
        Of the frames of a biased simulation, or one at another temperature. `skip` and `stride` leave out the same
        rows there.
    cache : bool
        Keep the features on disk and use them again when file, topology and options are the same.
    progress : bool
        Show a progress bar over the files on stderr.
    cluster : str, optional
        Address of the scheduler of a Dask cluster whose workers compute the features, file by file; they must see the
        files and the cache folder where this process does. By default processes of this machine do, where there are
        several files.
    device : {"cpu", "cuda"}
        With "cuda", a GPU computes torsions, distances and contacts, unless a cluster does. Not to be found out here:
        `spectraldyn.estimators.base.pick_device` knows.

    Returns
    -------
    Dataset
        Of float32 arrays, one for every uninterrupted stretch of a file. They may be views of files on disk.

    Raises
    ------
    InputError
        If a file cannot be read or fails a check, or an option is wrong or does not fit the files.
    """
    paths = [Path(files)] if isinstance(files, str | os.PathLike) else [Path(path) for path in files]
    if not paths:
        raise InputError("`files` is empty: give at least one file")
    sampling = Sampling.of(stride, skip, timestep)
    notes = [f"{path} is given more than once" for path in dict.fromkeys(paths) if paths.count(path) > 1]
    weighting = None if weights is None else weights.read(len(paths))
    kind = kind_of(paths)
    if kind != "trajectories":
        for option, value in {"features": features if kind == "arrays" else None, "atoms": atoms, "top": top}.items():
            if value is not None:
                raise InputError(f"`{option}` means nothing for ready-made features such as {paths[0]}: leave it out")
    if kind == "arrays":
        loaded = _from_arrays(paths, sampling, progress)
    elif kind == "colvar":
        loaded = _from_colvar(paths, features, sampling)
    else:
        loaded = _from_trajectories(paths, top, features, atoms, sampling, cache, progress, cluster, device)
    notes += loaded.notes
    logs = None if weighting is None else _log_weights(weighting, loaded)
    skipped = sampling.skipped(loaded.timestep_ps)
    tables = [_asked_for(table, skipped, sampling.stride) for table in loaded.tables]
    whole = Dataset([table.rows for table in tables], columns=loaded.columns)
    if loaded.atoms is not None:
        keep: slice | np.ndarray = _all_coordinates(whole, columns)
    else:
        keep = _varying(whole, notes) if columns is None else _named(whole, columns)
    tables = _selected(tables, whole, keep)
    pieces = [(index, *piece) for index, table in enumerate(tables) for piece in _stretches(table)]
    weight = None
    if logs is not None and weights is not None:
        some = [logs[i][first :: sampling.stride][: len(rows)] for i, first, rows in pieces]
        weight = weights_from_logs(np.concatenate(some))
        effective = f"effective sample size {effective_sample_size(weight):,.0f} of {len(weight):,} rows"
        notes.append(f"weights from {weights.bias}: {effective}")
    return Dataset(
        [rows for _, _, rows in pieces],
        columns=[whole.columns[i] for i in np.arange(whole.width)[keep]],
        time=TimeAxis(loaded.timestep_ps, sampling.stride),
        weight=weight,
        files=[table.file for table in tables],
        sources=[Source(index, first_frame) for index, first_frame, _ in pieces],
        topology=loaded.topology,
        width=whole.width,
        options={
            "features": loaded.features,
            "atoms": atoms,
            "stride": sampling.stride,
            "skip": None if skip is None else str(skip),
            "timestep": None if sampling.timestep_ps is None else f"{sampling.timestep_ps!r}ps",
        },
        warnings=list(dict.fromkeys(notes)),
        digests=loaded.digests,
        atoms=loaded.atoms,
    )


def _from_colvar(paths: list[Path], features: Features, sampling: Sampling) -> _Loaded:
    names, columns, found = colvar_columns(paths, features)
    tables = [
        _Table(InputFile(path, len(rows)), rows, 0, 1, summary.segment_starts, timestep_ps=summary.timestep_ps)
        for path, (rows, summary) in zip(paths, found, strict=True)
    ]
    summaries = [summary for _, summary in found]
    notes = [warning for summary in summaries for warning in summary.warnings]
    return _Loaded(tables, columns, common_timestep(summaries, sampling.timestep_ps), names, None, notes)


def _log_weights(weighting: list[FrameWeights], loaded: _Loaded) -> list[np.ndarray]:
    """Of every frame of every file, checked against what is known of these; InputError where they do not fit."""
    if len(weighting) != len(loaded.tables):
        raise InputError(
            f"`weights` names {len(weighting)} COLVAR files for {len(loaded.tables)} arrays: give one for each, and "
            "each array in a file of its own"
        )
    for weights, table in zip(weighting, loaded.tables, strict=True):
        path, own = table.file.path, table.timestep_ps
        first_time = None
        if own is not None and loaded.topology is not None:
            first_time = float(open_trajectory(path, loaded.topology.topology).read([0]).time[0])
        spacing = loaded.timestep_ps if own is None else own
        weights.check(path, table.file.n_frames, spacing, table.segment_starts, first_time)
    return [weights.logs for weights in weighting]


def _from_arrays(paths: list[Path], sampling: Sampling, progress: bool) -> _Loaded:
    tables = [
        _array_table(path, name, rows)
        for path in tqdm(paths, "files", leave=False, disable=not progress)
        for name, rows in read_arrays(path)
    ]
    width, first = tables[0].rows.shape[1], tables[0].file.path
    for table in tables:
        if (other := table.rows.shape[1]) != width:
            raise InputError(f"{table.file.path} has {other} columns and {first} has {width}: all must have the same")
    return _Loaded(tables, plain_columns(width), sampling.timestep_ps)


def _array_table(path: Path, name: str | None, rows: np.ndarray) -> _Table:
    """Rows of an array in single precision: where it is large and has another one, an entry of the store."""
    file = InputFile(path, len(rows), name)
    if rows.nbytes <= RESIDENT_BYTES:
        return _Table(file, rows.astype(np.float32, copy=False), 0, 1, (0,))
    key = store.entry_key({"file": file_key(path), "array": name})
    if rows.dtype != np.float32:

        def fill(append: store.Append, done: int) -> dict[str, Any]:
            for numbers, some in Dataset([rows]).chunks():
                append(some[max(0, done - numbers.start) :])
            return {}

        try:
            rows = store.kept(key, rows.shape[1], fill)
        except OSError as error:
            raise InputError(
                f"{path} holds {rows.dtype}, of which a copy in single precision cannot be written to "
                f"{store.cache_folder()} ({error.strerror}): make room there, or save the array as float32"
            ) from error
    return _Table(file, rows, 0, 1, (0,), key)


def _from_trajectories(
    paths: list[Path],
    top: Top,
    features: Features,
    atoms: str | None,
    sampling: Sampling,
    cache: bool,
    progress: bool,
    cluster: str | None,
    device: str,
) -> _Loaded:
    topology = top if isinstance(top, mdtraj.Trajectory) else load_topology(top, paths)
    bare = topology.n_frames == 0

    def first_frame() -> mdtraj.Trajectory:
        return open_trajectory(paths[0], topology.topology).read([0])

    topology = first_frame() if bare else topology[0]
    on_device = None if device == "cpu" or cluster is not None else device
    chosen = define_features(topology, features, atoms, first_frame, on_device)
    on_first = f"aligned-positions are superposed on the first frame of {paths[0]}: the topology has none"
    notes = [on_first] if bare and "aligned-positions" in chosen.names else []
    featurizer = Featurizer(chosen, topology, atoms, cache, notes)
    first, step = sampling.computed()
    keys = [featurizer.key(path, first, step) for path in paths]
    missing = {key: path for key, path in zip(keys, paths, strict=True) if key is not None and not store.holds(key)}
    place = topology, chosen.names, atoms, store.cache_folder().absolute(), on_device
    tasks = [StoreFile(path.absolute(), first, step, key, paths[0].absolute(), *place) for key, path in missing.items()]
    tables, summaries = [], []
    with _Progress(paths, topology.topology, progress) as bar:
        for path in fill_store(tasks, cluster):
            bar.done(path)
        featurizer.seen = bar.seen
        for path, key in zip(paths, keys, strict=True):
            rows, summary = featurizer.rows(path, first, step)
            of_file = InputFile(path, summary.n_frames)
            tables.append(_Table(of_file, rows, first, step, summary.segment_starts, key, summary.timestep_ps))
            summaries.append(summary)
            bar.done(path)
    timestep_ps = common_timestep(summaries, sampling.timestep_ps)
    notes += chosen.notes + [warning for summary in summaries for warning in summary.warnings]
    notes += chosen.periodic_notes if any(summary.periodic for summary in summaries) else []
    return _Loaded(tables, chosen.columns, timestep_ps, chosen.names, topology, notes, chosen.digests, chosen.atoms)


class _Progress(tqdm):
    """A bar over the bytes of files, with their rate and the time that the rest will take."""

    def __init__(self, paths: list[Path], topology: mdtraj.Topology, shown: bool) -> None:
        self._sizes = {path.absolute(): path.stat().st_size if path.exists() else 0 for path in paths}
        self._read: dict[Path, float] = {}
        self._topology = topology
        total = sum(self._sizes.values())
        super().__init__(total=total, desc="reading", unit="B", unit_scale=True, leave=False, disable=not shown)

    def seen(self, path: Path, n_frames: int) -> None:
        """So many frames more have been read of a file."""
        if not self.disable and (count := frame_count(path, self._topology)) is not None:
            path = path.absolute()
            self._count(path, self._read.get(path, 0.0) + n_frames / count * self._sizes[path])

    def done(self, path: Path) -> None:
        """All of a file has been read."""
        self._count(path.absolute(), self._sizes[path.absolute()])

    def _count(self, path: Path, n_bytes: float) -> None:
        self.update(n_bytes - self._read.get(path, 0.0))
        self._read[path] = n_bytes


def _asked_for(table: _Table, skipped: int, stride: int) -> _Table:
    check_left(table.file.path, table.file.n_frames, skipped)
    if table.step > 1:
        return table  # computed from the skipped frame on, with the stride
    return table._replace(rows=table.rows[skipped::stride], first=skipped, step=stride)


def _stretches(table: _Table) -> list[tuple[int, np.ndarray]]:
    """First frame and rows of every piece that no break in the file runs through."""
    cuts = [max(0, math.ceil((start - table.first) / table.step)) for start in table.segment_starts]
    edges = [*(min(cut, len(table.rows)) for cut in cuts), len(table.rows)]
    return [(table.first + table.step * a, table.rows[a:b]) for a, b in pairwise(edges) if b > a]


def _named(data: Dataset, wanted: Sequence[str] | int) -> slice | np.ndarray:
    """Places of the columns asked for."""
    names = data.column_names
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(names):
            raise InputError(f"{wanted} columns are needed, but these features have {len(names)}")
        return slice(0, wanted)
    place = {name: i for i, name in enumerate(names)}
    if missing := [name for name in wanted if name not in place]:
        raise InputError(f"`columns` names {missing[0]!r}, but these features have {_listed(names)}")
    if not len(wanted):
        raise InputError(f"`columns` is empty: name some of {_listed(names)}, or leave it out")
    return _as_slice(np.array([place[name] for name in wanted]))


def _varying(data: Dataset, notes: list[str]) -> slice | np.ndarray:
    """Places of the columns that are not constant."""
    low, high = np.full(data.width, np.inf), np.full(data.width, -np.inf)
    for _, rows in data.chunks():
        np.minimum(low, rows.min(axis=0), out=low)
        np.maximum(high, rows.max(axis=0), out=high)
    # no further apart than rounding puts equal numbers
    varies = high - low > 8 * np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))
    constant = [column.name for column, moves in zip(data.columns, varies, strict=True) if not moves]
    if len(constant) == data.width:
        listed = _listed(constant)
        raise InputError(f"every feature column is constant over all frames ({listed}): there is no dynamics in it")
    if constant:
        notes.append(f"{len(constant)} constant column{'s' * (len(constant) > 1)} left out: {_listed(constant)}")
    return _as_slice(np.flatnonzero(varies))


def _all_coordinates(data: Dataset, wanted: Sequence[str] | int | None) -> slice:
    """All columns, also those that are constant; InputError where others are asked for, or where none varies."""
    places = _varying(data, []) if wanted is None else _named(data, wanted)
    if wanted is not None and not np.array_equal(np.arange(data.width)[places], np.arange(data.width)):
        raise InputError(f"`columns` are not the {data.width} coordinates in their order, of which a network takes all")
    return slice(0, data.width)


def _selected(tables: list[_Table], whole: Dataset, keep: slice | np.ndarray) -> list[_Table]:
    """These columns of every table: views where they follow each other, else one copy, on disk where it is large."""
    if isinstance(keep, slice):
        return [table._replace(rows=table.rows[:, keep]) for table in tables]
    if not whole.resident and all(table.key for table in tables):
        with contextlib.suppress(OSError):  # of a disk that has no room; perhaps the memory has
            return [table._replace(rows=_stored_selection(table, keep)) for table in tables]
    copy = np.empty((whole.n_rows, len(keep)), whole[0].dtype)
    for numbers, rows in whole.chunks():
        copy[numbers.start : numbers.stop] = rows[:, keep]
    return [table._replace(rows=copy[s.start : s.stop]) for table, s in zip(tables, whole.stretches, strict=True)]


def _stored_selection(table: _Table, keep: np.ndarray) -> np.ndarray:
    """Columns of a table as an entry of the store."""
    frames = {"first": table.first, "step": table.step, "rows": len(table.rows)}
    key = store.entry_key({"of": table.key, "columns": keep.tolist(), **frames})

    def fill(append: store.Append, done: int) -> dict[str, Any]:
        for numbers, rows in Dataset([table.rows]).chunks():
            append(rows[max(0, done - numbers.start) :, keep])
        return {}

    return store.kept(key, len(keep), fill)


def _as_slice(places: np.ndarray) -> slice | np.ndarray:
    """A slice where the places follow each other: rows on disk stay there."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if np.array_equal(places, np.arange(first, last + 1)) else places


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
