"""The parts of a folder of results that are read again: which folder is one, and the modes of every frame."""

import json
import os
import platform
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.data import Dataset, InputFile
from spectraldyn.errors import InputError
from spectraldyn.features import kind_of, move_paths
from spectraldyn.files import writing
from spectraldyn.pipeline.results import Results
from spectraldyn.units import TimeAxis, TimeUnit
from spectraldyn.version import __version__


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Whatever part of a folder of results being missing or damaged leads to becomes one sentence: an InputError."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{folder} is not complete ({error}): fit again") from error
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        if isinstance(error, LookupError | TypeError | AttributeError):  # which name a key alone, or Python's terms
            said = f"{type(error).__name__}: {said}"
        raise InputError(f"{folder} is not complete, or its {what} is damaged ({said}): fit again") from error


def holds_results(folder: Path) -> bool:
    """Whether a folder holds the results.json of a fit."""
    try:
        stored = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and {"version", "timescales", "eigenvalues"} <= stored.keys()


def save_modes(
    path: Path,
    data: Dataset,
    modes: np.ndarray,
    memberships: np.ndarray,
    transformation: np.ndarray,
    final: Path | None = None,
    force: bool = True,
) -> None:
    """Write the modes and state of every frame, with its file and its number there, as .npz.

    Paths of files are relative to the folder `final`, by default that of `path`. Without `force` a file that is there
    already is not replaced.

    Arrays: modes (n_frames, n_modes), memberships (n_frames, n_states), state (n_frames,) counted from 1 as in
    states/state_1.pdb, file_index (n_frames,) into files, frame (n_frames,) counted from 0 in its file, stretch
    (n_frames,), the number of the uninterrupted run that it is in, and transformation (see `MetastableSets`).
    """
    home = path.parent if final is None else final
    files = [relative_path(f.path, home) + ("" if f.array is None else f":{f.array}") for f in data.files]
    arrays = {
        "modes": modes.astype(np.float32),
        "memberships": memberships.astype(np.float32),
        "state": (1 + memberships.argmax(axis=1)).astype(np.int16),
        "file_index": data.file_of_row,
        "frame": data.frame_of_row,
        "stretch": np.repeat(np.arange(len(data), dtype=np.int32), [len(stretch) for stretch in data.stretches]),
        "files": np.array(files),
        "transformation": transformation,
    }
    # As np.savez_compressed, which at its level of compression takes longer than a fit where frames are many.
    with writing(path, force) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


@dataclass(frozen=True)
class FittedFrames:
    """Every frame of a fit: modes, memberships in the metastable sets, and where it is stored."""

    modes: np.ndarray
    """(n_rows, n_modes)."""
    memberships: np.ndarray
    """(n_rows, n_sets)."""
    files: tuple[InputFile, ...]
    file_index: np.ndarray
    """(n_rows,) of int: into `files`."""
    frame: np.ndarray
    """(n_rows,) of int: 0-based number in its file."""
    time: TimeAxis
    seed: int

    @classmethod
    def of(cls, results: Results) -> "FittedFrames":
        """Those of results."""
        data = results.data
        return cls(
            results.modes, results.sets.memberships, data.files, data.file_of_row, data.frame_of_row, data.time,
            results.model.settings.seed,
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> "FittedFrames":
        """Those of a folder of results; InputError where it is none, or parts of it are missing or damaged."""
        check_results(folder)
        home = folder.resolve()
        with reading(folder, "results.json"):
            stored = json.loads((folder / "results.json").read_text())
            inputs = [(home / f["path"], int(f["n_frames"]), f.get("array")) for f in stored["inputs"]]
            files = tuple(InputFile(path.resolve(), n_frames, array) for path, n_frames, array in inputs)
            spacing = stored["timestep_ps"]
            time = TimeAxis(None if spacing is None else float(spacing), int(stored["stride"]))
            seed = int(stored["seed"])
        names = ("modes", "memberships", "file_index", "frame")
        arrays = read_modes(folder, *names)
        modes, memberships, file_index, frame = (arrays[name] for name in names)
        frames = cls(modes, memberships, files, file_index, frame, time, seed)
        with reading(folder, "modes.npz"):
            frames._check()
        return frames

    def _check(self) -> None:
        """ValueError where the arrays do not fit each other, or name frames that no file has."""
        n_rows = len(self.modes)
        tables = self.modes.ndim == self.memberships.ndim == 2
        tables = tables and self.file_index.shape == self.frame.shape == (n_rows,)
        if not tables or not n_rows or len(self.memberships) != n_rows:
            raise ValueError("its arrays do not fit each other")
        counts = np.array([file.n_frames for file in self.files])
        if self.file_index.min() < 0 or self.file_index.max() >= len(counts) or self.frame.min() < 0:
            raise ValueError("it names files that are not in results.json")
        if (self.frame >= counts[self.file_index]).any():
            raise ValueError("it names frames that are in no file")

    def topology_file(self, folder: Path) -> Path | None:
        """Topology in this folder of results, to read structures with; None where the fit had ready-made features.

        An InputError where it, or a trajectory of the fit, is gone.
        """
        if kind_of([self.files[0].path]) != "trajectories":
            return None
        topology = folder / "topology.h5"
        if not topology.exists():
            raise InputError(f"{folder} is not complete ({topology.name} is missing): fit again")
        for file in self.files:
            if not file.path.exists():
                raise InputError(
                    f"{file.path}, a trajectory of the fit in {folder}, is not there: structures are read from it, so "
                    "put it back, or fit again where it is now"
                )
        return topology


def read_modes(folder: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of modes.npz by name, all of real and finite numbers; InputError where it is missing or damaged."""
    with (
        reading(folder, "modes.npz"),
        # Opened here: of a damaged file NumPy leaves what it opens itself open.
        (folder / "modes.npz").open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        arrays = {name: np.asarray(archive[name]) for name in names}
        for name, array in arrays.items():
            if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
                raise ValueError(f"{name} does not hold finite numbers")
        return arrays


def stored_stretches(folder: Path) -> list[range]:
    """Uninterrupted runs of frames of a fit, whose other arrays have been read; InputError where none are kept."""
    try:
        stretch = read_modes(folder, "stretch")["stretch"]
    except InputError as error:
        raise InputError(f"{folder} does not say where uninterrupted runs of frames end: fit again") from error
    edges = np.flatnonzero(np.diff(stretch, prepend=-1, append=-1))
    return [range(start, stop) for start, stop in pairwise(edges.tolist())]


def check_results(folder: Path) -> None:
    """InputError where a folder holds no results."""
    if not holds_results(folder):
        raise InputError(f"{folder} is not a folder of results: give one that `spectraldyn fit` has written")


def stored_contents(folder: Path) -> dict[str, Any]:
    """What results.json of a folder holds; InputError where there is none, or one of an earlier version."""
    check_results(folder)
    stored: dict[str, Any] = json.loads((folder / "results.json").read_text())
    if "versions" not in stored:
        raise InputError(f"{folder} was written by an earlier version, {stored['version']}: fit again")
    return stored


def stored_axis(contents: dict[str, Any]) -> TimeAxis:
    """The time axis of what results.json, compare.json or scan.json holds."""
    return TimeAxis(contents["timestep_ps"], contents["stride"], contents["typed_unit"])


def stored_time(contents: dict[str, Any]) -> tuple[TimeAxis, TimeUnit]:
    """The time axis of what results.json holds, and the unit in which its timescales are shown."""
    return stored_axis(contents), TimeUnit(contents["display_unit"])


def software() -> dict[str, Any]:
    """What numbers depend on: "version" of spectraldyn, and "versions" of Python and the libraries."""
    packages = ("torch", "numpy", "scipy", "mdtraj", "deeptime", "scikit-learn")
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    return {"version": __version__, "versions": versions}


def stored_inputs(files: Iterable[InputFile], home: Path) -> list[dict[str, Any]]:
    """Files as JSON holds them, with paths relative to a folder."""
    return [
        {"path": relative_path(file.path, home), "n_frames": file.n_frames}
        | ({} if file.array is None else {"array": file.array})
        for file in files
    ]


def relative_path(path: Path, home: Path) -> str:
    """Of a file, as seen from a folder."""
    return Path(os.path.relpath(path.resolve(), home.resolve())).as_posix()


def feature_seen_from(names: str, home: Path) -> str:
    """Comma-separated names of features, with the files in them as seen from a folder."""
    return move_paths(names, lambda path: relative_path(Path(path), home))
