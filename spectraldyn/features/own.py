"""Features of the user's own: a function in a Python file, or one that is given as it is.

The function gets an `mdtraj.Trajectory` of some frames (nm, ps; the chosen atoms alone, molecules made whole along
their bonds, with the box where the frames have one) and returns an array (n_frames, n_columns) or (n_frames,), or a
pair of it and the names of its columns. It is called with chunks of any length: a row must depend on its frame alone.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import mdtraj
import numpy as np

from spectraldyn.data import Column
from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.features.blocks import Block, Molecule, too_many
from spectraldyn.features.periodic import frames_with_box

Function = Callable[[mdtraj.Trajectory], Any]


@dataclass(frozen=True)
class OwnFeature:
    """A function, under the name that finds it again."""

    name: str
    """FILE.py:FUNCTION; without the file where it lies in none."""
    function: Function
    digest: str = ""
    """Hash of the file's content; empty where the function was given as it is, and nobody knows what it depends on."""

    def block(self, molecule: Molecule, frame: mdtraj.Trajectory) -> Block:
        """Its columns, those that it gives for one frame of all atoms."""
        atoms = np.flatnonzero(molecule.selected)
        topology = molecule.topology if molecule.selected.all() else molecule.topology.subset(atoms)

        def call(chunk: mdtraj.Trajectory, periodic: bool) -> tuple[np.ndarray, list[str] | None]:
            box = (chunk.unitcell_lengths, chunk.unitcell_angles) if periodic else (None, None)
            return self._call(mdtraj.Trajectory(chunk.xyz[:, atoms], topology, chunk.time, *box))

        values, names = call(frame, bool(frames_with_box(frame).all()))
        n_columns = values.shape[1]
        if refused := too_many(n_columns):
            return refused
        columns = self._columns(n_columns, names)

        def compute(chunk: mdtraj.Trajectory, periodic: bool) -> np.ndarray:
            rows, _ = call(chunk, periodic)
            if rows.shape[1] != n_columns:
                raise InputError(
                    f"feature {self.name} gives {rows.shape[1]} columns, and gave {n_columns} for the first frame: "
                    "let their number not depend on the frames"
                )
            return rows

        return Block(
            columns,
            compute,
            needs_whole_molecules=True,
            depends_on_images=True,
            digest=self.digest,
            kept=bool(self.digest),
        )

    def _call(self, frames: mdtraj.Trajectory) -> tuple[np.ndarray, list[str] | None]:
        """Rows (n_frames, n_columns) and the names of the columns, if the function gives any."""
        try:
            given = self.function(frames)
        except Exception as error:
            what = f"{type(error).__name__}: {error}".strip(": ")
            raise InputError(f"feature {self.name} failed with {what}") from error
        names = None
        if isinstance(given, tuple):
            if len(given) != 2 or not _are_names(given[1]):
                raise InputError(
                    f"feature {self.name} returns a tuple of {len(given)}, which is not an array and a list of its "
                    "column names: return these two, or an array alone"
                )
            given, names = given[0], list(given[1])
        return self._checked(given, frames.n_frames), names

    def _checked(self, given: Any, n_frames: int) -> np.ndarray:
        try:
            rows = np.asarray(given)
        except ValueError:  # rows of different lengths
            rows = np.asarray(None)
        if rows.dtype.kind not in "biuf":
            found = type(given).__name__ if rows.ndim == 0 else f"an array of {rows.dtype}"
            raise InputError(f"feature {self.name} returns {found}: return an array of real numbers")
        if rows.ndim not in (1, 2) or len(rows) != n_frames or rows.size == 0:
            raise InputError(
                f"feature {self.name} returns an array of shape {rows.shape} for {n_frames} "
                f"frame{'s' * (n_frames > 1)}: return (n_frames, n_columns), or (n_frames,) for one column"
            )
        return rows.reshape(n_frames, -1)

    def _columns(self, n_columns: int, names: list[str] | None) -> tuple[Column, ...]:
        kind = self.name.rpartition(":")[2]
        if names is None:
            names = [""] if n_columns == 1 else [str(number) for number in range(n_columns)]
        names = [" ".join(name.split()) for name in names]
        if len(names) != n_columns:
            raise InputError(f"feature {self.name} gives {len(names)} names for {n_columns} columns: give one for each")
        if len(set(names)) < n_columns:
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"feature {self.name} gives the name {twice!r} to two columns: name each differently")
        return tuple(Column(kind, name, of_residues=False) for name in names)


def _are_names(given: Any) -> bool:
    return not isinstance(given, str) and np.iterable(given) and all(isinstance(name, str) for name in given)


def is_own(name: str) -> bool:
    """Whether this is how a feature of the user's own is written."""
    return name.startswith(":") or name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def from_file(name: str) -> OwnFeature:
    """The function that FILE.py:FUNCTION names; the file is run for it, by itself and anew each time.

    Raises
    ------
    InputError
        If the name has no file or no function, or the file cannot be read, fails, or does not define the function.
    """
    if name.startswith(":"):
        raise InputError(
            f"feature {name[1:]} was a function given in Python that lies in no file, and cannot be found again: give "
            "it to load_features once more and the rows to model.transform, or keep it in a file (FILE.py:FUNCTION)"
        )
    if name.endswith(".py"):
        raise InputError(f"`features` names {name} without a function in it: write {name}:FUNCTION")
    file, _, wanted = name.rpartition(":")
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        there = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise InputError(f"{file}, the file of feature {wanted}, {there}: put it there") from error
    digest = hashlib.blake2b(source, digest_size=16).hexdigest()
    # not by the import system, which may run a stale compiled copy of a file that has just been edited
    module = ModuleType(f"spectraldyn_own_{digest}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where dataclasses look for their module
    try:
        exec(compile(source, file, "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"{file} cannot be run for its features: {type(error).__name__}: {error}") from error
    function = getattr(module, wanted, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        choose = f"choose from {', '.join(own)}" if own else "it defines none"
        raise InputError(f"{file} has no function {wanted!r}{did_you_mean(wanted, own)}: {choose}")
    return OwnFeature(name, function, digest)


def as_given(function: Function) -> OwnFeature:
    """A function under the name that would find it in its file; in no file where it is no plain function of one."""
    name = getattr(function, "__name__", type(function).__name__)
    plain = getattr(function, "__qualname__", "") == name and name.isidentifier()  # no method, and not inside another
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        file = None
    found = plain and file is not None and file.endswith(".py") and Path(file).exists()
    return OwnFeature(f"{Path(file).resolve() if found and file else ''}:{name}", function)
