"""Results as text: tables of timescales and rates, and numbers in them."""

from collections.abc import Iterable, Sequence

import numpy as np

from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale


def timescale_table(timescales: Sequence[Timescale], unit: str) -> list[str]:
    """One line for every process, and one above them."""
    rows = [("process", f"timescale ({unit})", "95 % interval", "transitions", "")]
    for i, t in enumerate(timescales, 1):
        interval = f"{format_number(t.low, '0')} – {format_number(t.high, '∞')}"
        transitions = "–" if t.n_transitions is None else str(t.n_transitions)
        rows.append((str(i), format_number(t.value, "–"), interval, transitions, _note(t.unresolved)))
    return aligned(rows)


def rate_table(rates: Sequence[Rate], exact_rates: np.ndarray | None, unit: str) -> list[str]:
    """One line for every process, and one above them."""
    rows = [("process", f"rate (1/{unit})", "95 % interval", "exact", f"timescale ({unit})", "")]
    for i, rate in enumerate(rates):
        exact = None if exact_rates is None else float(exact_rates[i])
        interval = f"{format_number(rate.low, '–')} – {format_number(rate.high, '–')}"
        timescale = 1 / rate.value if rate.value else None
        value, known, time = (format_number(x, "–") for x in (rate.value, exact, timescale))
        rows.append((str(i + 1), value, interval, known, time, _note(rate.unresolved)))
    return aligned(rows)


def _note(unresolved: str | None) -> str:
    return "" if unresolved is None else f"unresolved: {unresolved}"


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned to the right, and the last one as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*(f"{cell:>{w}}" for cell, w in zip(row[:-1], widths[:-1], strict=True)), row[-1]]).rstrip()
        for row in rows
    ]


def format_number(value: float | None, missing: str) -> str:
    """Three significant digits, plainly."""
    return missing if value is None else np.format_float_positional(float(f"{value:.3g}"), trim="-")


def timescale_cell(scale: Timescale | None, spread: str = "") -> str:
    """A timescale with its spread and interval, starred where it is unresolved."""
    if scale is None:
        return "–"
    value = format_number(scale.value, "–") + "*" * (scale.unresolved is not None) + spread
    if scale.low is None and scale.high is None:
        return value
    return f"{value} ({format_number(scale.low, '0')}–{format_number(scale.high, '∞')})"


def unresolved_notes(marked: Iterable[tuple[str | None, str]]) -> list[str]:
    """What the stars mean: for every reason why a timescale is unresolved one line, with where it is."""
    places: dict[str, list[str]] = {}
    for reason, place in marked:
        if reason is not None:
            places.setdefault(reason, []).append(place)
    return [f"* unresolved, {reason}: {', '.join(where)}" for reason, where in places.items()]
