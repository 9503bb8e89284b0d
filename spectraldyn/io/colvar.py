"""COLVAR files, as PLUMED prints collective variables and biases: named columns of numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.io.checks import read_times
from spectraldyn.io.formats import check_readable
from spectraldyn.io.lines import Lines
from spectraldyn.io.silence import Damaged, told

_AT_ONCE = 10_000  # lines that are turned into numbers together
_PI = re.compile(r"([-+]?)(?:([0-9.]+)\*)?pi")


@dataclass(frozen=True, eq=False)
class Colvar:
    """What a COLVAR file holds."""

    path: Path
    fields: tuple[str, ...]
    """Names of the columns."""
    values: np.ndarray
    """(n_rows, n_fields) float64."""
    line_numbers: np.ndarray
    """(n_rows,): 1-based lines of the rows."""
    domains: dict[str, tuple[float, float]]
    """Of columns that are periodic: where a period begins and ends."""
    timestep_ps: float | None
    """Time between rows; None where there is no usable `time`."""
    starts: tuple[int, ...]
    """First row of every uninterrupted stretch; begins with 0."""
    warnings: tuple[str, ...]
    """One sentence each, naming the file."""

    def column(self, name: str) -> np.ndarray:
        """One column, (n_rows,); InputError where there is none of that name, or it holds what is no number."""
        if name not in self.fields:
            raise InputError(
                f"{self.path} has no column {name}{did_you_mean(name, self.fields)}: choose of {listed(self.fields)}"
            )
        values = self.values[:, self.fields.index(name)]
        if len(bad := np.flatnonzero(~np.isfinite(values))):
            line = self.line_numbers[bad[0]]
            raise InputError(f"{self.path}, line {line}: {name} is {values[bad[0]]:g}, which is no finite number")
        return values


def is_colvar(path: str | Path) -> bool:
    """Whether a file begins as COLVAR files do; not so where it cannot be read."""
    try:
        lines = Lines(Path(path))
    except OSError:
        return False
    try:
        return (lines.peek() or "").split()[:2] == ["#!", "FIELDS"]
    except (OSError, Damaged):
        return False
    finally:
        lines.close()


def read_colvar(path: str | Path) -> Colvar:
    """Read a COLVAR file, plain or gzipped.

    A header that is repeated, as restarted runs do, must name the same columns. Times are in ps.

    Raises
    ------
    InputError
        If it cannot be read, or a line is damaged.
    """
    path = Path(path)
    check_readable(path)
    with told(path):
        lines = Lines(path)
        try:
            fields, domains, values, numbers = _read(lines)
        finally:
            lines.close()
        timestep: float | None = None
        starts: tuple[int, ...] = (0,)
        remarks: list[str] = []
        if "time" in fields:
            timestep, starts, remarks = read_times(values[:, fields.index("time")])
    warnings = tuple(f"{path}: {remark}" for remark in remarks)
    return Colvar(path, fields, values, numbers, domains, timestep, starts, warnings)


def _read(lines: Lines) -> tuple[tuple[str, ...], dict[str, tuple[float, float]], np.ndarray, np.ndarray]:
    """Fields, domains, values and the lines that these come from."""
    fields: tuple[str, ...] = ()
    ends: dict[str, float] = {}
    parts: list[np.ndarray] = []
    rows: list[list[str]] = []
    numbers: list[int] = []
    while (line := lines.next()) is not None:
        words = line.split()
        if words[:2] == ["#!", "FIELDS"]:
            fields = _same_fields(fields, tuple(words[2:]), lines.number)
        elif words[:2] == ["#!", "SET"] and len(words) == 4:
            if words[2].startswith(("min_", "max_")):
                ends[words[2]] = _number(words[3], lines.number)
        elif words and not words[0].startswith("#"):
            if not fields:
                raise Damaged(f"line {lines.number} comes before any #! FIELDS that would name its columns")
            if len(words) != len(fields):
                what = f"line {lines.number} has {len(words)} values for {len(fields)} columns"
                raise Damaged(f"{what}: it is damaged, or cut; take it out, or write the file anew")
            rows.append(words)
            numbers.append(lines.number)
            if len(rows) == _AT_ONCE:
                parts.append(_values(rows, numbers))
                rows = []
    if lines.cut or lines.whole() is False:
        raise Damaged(f"it ends inside line {lines.number + lines.cut}: it is cut, or still being written")
    if rows:
        parts.append(_values(rows, numbers))
    if not parts:
        raise Damaged("it holds no row of numbers")
    domains = {
        name: (ends[f"min_{name}"], ends[f"max_{name}"])
        for name in fields
        if f"min_{name}" in ends and f"max_{name}" in ends
    }
    for name, (low, high) in domains.items():
        if not low < high:
            raise Damaged(f"its header gives {name} a period from {low:g} to {high:g}")
    return fields, domains, np.concatenate(parts), np.array(numbers)


def _same_fields(before: Sequence[str], fields: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Names of the columns, which a repeated header must not change."""
    if before and fields != before:
        differ = next((name for name in (*fields, *before) if (name in fields) != (name in before)), "their order")
        raise Damaged(f"line {number} names other columns than before ({differ}): give the parts as files of their own")
    if twice := [name for name in fields if fields.count(name) > 1]:
        raise Damaged(f"line {number} names {twice[0]} twice: give every column a name of its own")
    if not fields:
        raise Damaged(f"line {number} names no columns")
    return fields


def _number(word: str, line: int) -> float:
    """A number as PLUMED writes the ends of a period."""
    if found := _PI.fullmatch(word):
        return float(found[1] + "1") * float(found[2] or 1) * math.pi
    try:
        return float(word)
    except ValueError:
        raise Damaged(f"line {line}: {word} is no number") from None


def _values(rows: list[list[str]], numbers: list[int]) -> np.ndarray:
    """The words of some rows, the last that have been numbered, as numbers."""
    try:
        return np.array(rows, dtype=float)
    except ValueError:
        for words, number in zip(rows, numbers[-len(rows) :], strict=True):
            for word in words:
                _number(word, number)
        raise


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first of them where they are many."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")
