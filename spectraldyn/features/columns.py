"""Columns of COLVAR files as features."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from spectraldyn.data import Column
from spectraldyn.errors import InputError
from spectraldyn.features.definitions import Features
from spectraldyn.io import Colvar, FileSummary, listed, read_colvar

_PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"cos": np.cos, "sin": np.sin}


def colvar_columns(
    paths: list[Path], features: Features
) -> tuple[list[str], tuple[Column, ...], list[tuple[np.ndarray, FileSummary]]]:
    """Names that were asked for, the columns that they give, and of every file rows (T, d) float32 and what it is.

    Raises
    ------
    InputError
        If a file cannot be read or has not such columns, they are periodic in one and not in another, or `features`
        names none.
    """
    files = [read_colvar(path) for path in paths]
    if features is None:
        raise InputError(f"{paths[0]} is a COLVAR file: name its columns as `features`, of {listed(files[0].fields)}")
    names = _names(features, paths[0])
    columns: list[Column] = []
    found = []
    for file in files:
        parts = [part for name in names for part in _parts(name, file)]
        if columns and [column for column, _ in parts] != columns:
            raise InputError(
                f"{file.path} says of other columns than {paths[0]} that they are periodic: make them alike"
            )
        columns = [column for column, _ in parts]
        rows = _single(np.stack([values for _, values in parts], axis=1), file, columns)
        summary = (file.path, "colvar", len(rows), 0, file.timestep_ps, file.starts, False, file.warnings)
        found.append((rows, FileSummary(*summary)))
    return names, tuple(columns), found


def _names(features: Features, path: Path) -> list[str]:
    """Columns asked for, as one text, several or a list of them."""
    given: Iterable = [features] if isinstance(features, str) or callable(features) else features or ()
    words: list[str] = []
    for part in given:
        if not isinstance(part, str):
            raise InputError(f"`features` of COLVAR files such as {path} are names of columns, no functions")
        words += [name.strip() for name in part.split(",") if name.strip()]
    if not words or len(set(words)) < len(words):
        raise InputError(f"`features` is {','.join(words)!r}: name columns of {path}, each once")
    return words


def _parts(name: str, file: Colvar) -> list[tuple[Column, np.ndarray]]:
    """A column of a COLVAR file; of a periodic one cosine and sine."""
    values = file.column(name)
    if name not in file.domains:
        return [(Column(name, "", of_residues=False), values)]
    low, high = file.domains[name]
    angle = 2 * np.pi * values / (high - low)
    return [(Column(name, "", part, of_residues=False), of(angle)) for part, of in _PARTS.items()]


def _single(rows: np.ndarray, file: Colvar, columns: list[Column]) -> np.ndarray:
    """In single precision, as all features are."""
    with np.errstate(over="ignore"):  # beyond the range of float32 is infinite
        single = rows.astype(np.float32)
    if len(bad := np.argwhere(~np.isfinite(single))):
        row, column = bad[0]
        raise InputError(f"{file.path}, line {file.line_numbers[row]}: {columns[column].name} is too large for float32")
    return single
