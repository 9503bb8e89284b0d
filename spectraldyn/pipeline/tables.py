"""Results as text: tables of timescales and rates, and numbers in them."""

from collections.abc import Iterable, Sequence

import numpy as np

from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale, in_time
from spectraldyn.units import TimeUnit


def timescale_rows(timescales: Sequence[Timescale], unit: TimeUnit) -> list[tuple[str, ...]]:
    """Cells of the heads, and of one row for every process; in that unit."""
    rows: list[tuple[str, ...]] = [("process", f"timescale ({unit.name})", "95 % interval", "transitions", "")]
    for i, scale in enumerate(timescales, 1):
        value, low, high, _ = timescale_cells(scale, unit)
        transitions = "–" if scale.n_transitions is None else str(scale.n_transitions)
        rows.append((str(i), value, f"{low} – {high}", transitions, _note(scale.unresolved)))
    return rows


def rate_rows(
    rates: Sequence[Rate], timescales: Sequence[Timescale], exact_rates: np.ndarray | None, unit: TimeUnit
) -> list[tuple[str, ...]]:
    """Cells of the heads, and of one row for every process; in that unit. The timescales are those of the rates."""
    rows: list[tuple[str, ...]] = [
        ("process", f"rate (1/{unit.name})", "95 % interval", "exact", f"timescale ({unit.name})", "")
    ]
    for i, (rate, scale) in enumerate(zip(rates, timescales, strict=True)):
        value, low, high, exact = rate_cells(rate, None if exact_rates is None else float(exact_rates[i]), unit)
        time = timescale_cells(scale, unit)[0]
        rows.append((str(i + 1), value, f"{low} – {high}", exact, time, _note(rate.unresolved)))
    return rows


def timescale_cells(scale: Timescale, unit: TimeUnit, error: float | None = None) -> list[str]:
    """Value, lower and upper bound of a timescale as text in that unit, and its standard error ("" where None).

    All to the same digit (see `rounded`), which a standard error may make finer, up to three digits of the value.
    """
    shown = in_time(scale, 1 / unit.size)
    error = None if error is None else error / unit.size
    width = half_width(shown.value, shown.low, shown.high)
    if error is not None and shown.value is not None:
        finest = max(error, shown.value / 10)
        width = finest if width is None else min(width, finest)
    return rounded(shown.value, shown.low, shown.high, error, missing=("–", "0", "∞", ""), width=width)


def part_cell(scale: Timescale, part: Bounds | None, unit: TimeUnit) -> str:
    """One part of the interval of a timescale in that unit, to the digit of the whole; "–" where it is unknown."""
    if part is None or (part.low is None and part.high is None):
        return "–"
    width, shown = half_width(scale.value, scale.low, scale.high), part.times(1 / unit.size)
    low, high = rounded(shown.low, shown.high, missing="0∞", width=None if width is None else width / unit.size)
    return f"{low} – {high}"


def rate_cells(rate: Rate, exact: float | None, unit: TimeUnit) -> list[str]:
    """Value, lower and upper bound of a rate and the exact one as text, per that unit (see `rounded`)."""
    value, low, high, known = (None if x is None else x * unit.size for x in (rate.value, rate.low, rate.high, exact))
    return rounded(value, low, high, known, missing="––––", width=half_width(value, low, high))


def intervals_line(n_refits: int) -> str:
    """Which errors intervals hold."""
    if n_refits:
        return f"Intervals: errors of sampling and, from {n_refits} refits, of learning"
    return "Intervals: errors of sampling alone; `refits` adds those of learning"


def _note(unresolved: str | None) -> str:
    return "" if unresolved is None else f"unresolved: {unresolved}"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned to the right, and the last one as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*(f"{cell:>{w}}" for cell, w in zip(row[:-1], widths[:-1], strict=True)), row[-1]]).rstrip()
        for row in rows
    ]


def rounded(*numbers: float | None, missing: Sequence[str], width: float | None) -> list[str]:
    """Numbers as text, all to the second significant digit of an uncertainty, such as the `half_width` of an interval.

    Each with three significant digits where there is none. For every number, what stands in its place where it is None.
    """
    if width is None:
        return [format_number(number, absent) for number, absent in zip(numbers, missing, strict=True)]
    # The exponent of what is written with two digits: 0.0996 is 0.10.
    places = 1 - int(f"{width:.1e}".partition("e")[2])
    return [
        absent if number is None else _to_places(number, places)
        for number, absent in zip(numbers, missing, strict=True)
    ]


def _to_places(number: float, places: int) -> str:
    """So many places behind the point, before it where negative; what this would make 0 keeps two digits."""
    text = f"{round(number, places):.{max(0, places)}f}"
    return text if float(text) or not number else format_number(float(f"{number:.2g}"), "")


def with_interval(value: float, low: float, high: float, factor: float = 1.0) -> str:
    """A number times a factor and its interval in brackets; "–" where it is NaN, no bracket where both bounds are."""
    numbers = [None if np.isnan(part) else factor * float(part) for part in (value, low, high)]
    text, *bounds = rounded(*numbers, missing="–0∞", width=half_width(*numbers))
    return text if numbers[0] is None or numbers[1:] == [None, None] else f"{text} ({bounds[0]} – {bounds[1]})"


def with_error(value: float | None, error: float | None) -> str:
    """A number and its standard error to two digits of it; "–" without a number."""
    if value is None:
        return "–"
    text, spread = rounded(value, error, missing="––", width=error)
    return text if error is None else f"{text} ± {spread}"


def half_width(value: float | None, low: float | None, high: float | None) -> float | None:
    """Of an interval, as seen from the value: how far away the nearer bound is; None without a bound.

    Half the distance between the bounds where the value is unknown, outside, or almost at one of them.
    """
    if low is not None and high is not None:
        half = (high - low) / 2
        nearer = half if value is None else min(value - low, high - value)
        return (nearer if nearer > half / 10 else half) or None
    bound = high if low is None else low
    return None if value is None or bound is None else abs(bound - value) or None


def format_number(value: float | None, missing: str) -> str:
    """Three significant digits, plainly."""
    return missing if value is None else np.format_float_positional(float(f"{value:.3g}"), trim="-")


def timescale_cell(scale: Timescale | None, unit: TimeUnit, error: float | None = None) -> str:
    """A timescale with its standard error and interval in that unit, starred where it is unresolved."""
    if scale is None:
        return "–"
    value, low, high, spread = timescale_cells(scale, unit, error)
    spread = f" ± {spread}" if spread and scale.value is not None else ""
    interval = "" if scale.low is None and scale.high is None else f" ({low}–{high})"
    return value + "*" * (scale.unresolved is not None) + spread + interval


def unresolved_notes(marked: Iterable[tuple[str | None, str]]) -> list[str]:
    """What the stars mean: for every reason why a timescale is unresolved one line, with where it is."""
    places: dict[str, list[str]] = {}
    for reason, place in marked:
        if reason is not None:
            places.setdefault(reason, []).append(place)
    return [f"* unresolved, {reason}: {', '.join(where)}" for reason, where in places.items()]
