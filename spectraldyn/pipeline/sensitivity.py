"""What a scan has found: fits that differ from a reference in one setting, and what that does to the timescales."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spectraldyn.data import InputFile
from spectraldyn.pipeline.stored import software, stored_axis
from spectraldyn.pipeline.tables import aligned, format_number, timescale_cell, unresolved_notes
from spectraldyn.spectra.plateau import Change, Plateau
from spectraldyn.spectra.timescales import Timescale, slowest
from spectraldyn.units import TimeAxis

AXES = ("lag", "modes", "features")
N_SHOWN = 3
"""Timescales in table and plot, the slowest."""
ADVICE = {
    "lag": "the timescale is a lower bound: take a longer lag, or features that see more of the process",
    "modes": "more modes describe faster processes, which the slowest must not depend on: look at the held-out scores",
    "features": "those that miss part of a slow process make it look fast: take those that give the longest timescale "
    "and the best held-out scores",
}


@dataclass(frozen=True)
class ScanFit:
    """One fit, and the timescales that `fit` with its settings would give."""

    varied: str | None
    """Which of "lag", "modes" and "features" differs from the reference; None for the reference itself."""
    lagtime: int
    """In rows."""
    n_modes: int
    """As asked for."""
    features: tuple[str, ...]
    """Names; none for ready-made features."""
    n_columns: int
    """Of the features."""
    timescales: list[Timescale]
    """Slowest first, with 95 % intervals, in the unit of the scan."""
    vamp2_test: float | None
    vampe_test: float | None
    """vamp2_test and vampe_test: held-out scores, the constant's 1 counted; None where nothing was held out. They grow
    with the number of modes and fall with the lag time: compare them between features."""
    seconds: float
    """Wall time of the fit; where an interrupted scan had made it, of taking it up."""

    @property
    def doubt(self) -> str | None:
        """Why its slowest timescale must not be trusted; None where it may be."""
        return self.timescales[0].unresolved if self.timescales else "no process was found"

    def setting(self, axis: str, time: TimeAxis) -> str:
        """What it has on one axis, in words."""
        features = ",".join(self.features) or "ready-made"
        words = {"lag": f"{time.time(self.lagtime):g}", "modes": str(self.n_modes), "features": features}
        return words[axis]


@dataclass(frozen=True)
class AxisVerdict:
    """Whether the slowest timescale depends on one setting."""

    axis: str
    steady: bool | None
    """It is the same as with the reference, within what matters; None where the data are too few to tell. Along the lag
    time: level from that of the reference, or a shorter one, on."""
    message: str
    plateau: Plateau | None = None
    """For the lag time; asked about is the shortest. None where it was not varied."""
    changes: dict[str, Change] = field(default_factory=dict)
    """For other axes: setting → the slowest timescale, in the unit of the scan, beside that of the reference; without
    those whose slowest timescale is unresolved for another reason than being shorter than the lag time."""


@dataclass(frozen=True, repr=False)
class Scan:
    """Fits that differ from a reference in one setting each."""

    fits: list[ScanFit]
    """The reference first."""
    verdicts: list[AxisVerdict]
    """One for every axis that was varied."""
    time: TimeAxis
    seed: int
    reversible: bool
    warnings: list[str] = field(default_factory=list)  # on the data
    files: tuple[InputFile, ...] = ()
    n_rows: int = 0
    """Of the data, whatever the features."""

    @property
    def unit(self) -> str:
        """Of every time: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return self.time.unit

    @property
    def axes(self) -> tuple[str, ...]:
        """What was varied."""
        return tuple(axis for axis in AXES if any(fit.varied == axis for fit in self.fits))

    def along(self, axis: str) -> list[ScanFit]:
        """The reference and the fits that differ from it on this axis, by size where it has one."""
        fits = [self.fits[0], *(fit for fit in self.fits if fit.varied == axis)]
        sizes = {"lag": lambda fit: fit.lagtime, "modes": lambda fit: fit.n_modes}
        return sorted(fits, key=sizes[axis]) if axis in sizes else fits

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain values for every fit, as scan.json holds them; what is undetermined is None."""
        return [
            {
                "varied": fit.varied,
                "lag": self.time.time(fit.lagtime),
                "lag_frames": self.time.frames(fit.lagtime),
                "unit": self.unit,
                "n_modes": fit.n_modes,
                "features": list(fit.features),
                "n_columns": fit.n_columns,
                "timescales": [scale.value for scale in fit.timescales],
                **{
                    name: [getattr(scale, name) for scale in fit.timescales]
                    for name in ("low", "high", "n_transitions", "unresolved")
                },
                "vamp2_test": fit.vamp2_test,
                "vampe_test": fit.vampe_test,
                "seconds": round(fit.seconds, 2),
            }
            for fit in self.fits
        ]

    def plain(self) -> dict[str, Any]:
        """All that scan.json holds: rows, verdicts and what is common to all fits, in plain values."""
        return {
            **software(),
            "timestep_ps": self.time.timestep_ps,
            "stride": self.time.stride,
            "typed_unit": self.time.typed_unit,
            "n_frames": self.n_rows,
            "seed": self.seed,
            "reversible": self.reversible,
            "rows": self.rows(),
            "verdicts": [self._plain_verdict(verdict) for verdict in self.verdicts],
            "warnings": self.warnings,
        }

    @classmethod
    def of_plain(cls, stored: dict[str, Any]) -> "Scan":
        """The scan again from what scan.json holds, less its files and how each verdict was reached."""
        time = stored_axis(stored)
        verdicts = [AxisVerdict(one["axis"], one["steady"], one["message"]) for one in stored["verdicts"]]
        fits = [_fit_of(row, time) for row in stored["rows"]]
        more = stored["seed"], stored["reversible"], stored["warnings"]
        return cls(fits, verdicts, time, *more, n_rows=stored["n_frames"])

    def _plain_verdict(self, verdict: AxisVerdict) -> dict[str, Any]:
        result: dict[str, Any] = {"axis": verdict.axis, "steady": verdict.steady, "message": verdict.message}
        if (found := verdict.plateau) is not None:
            ends = {name: getattr(found, name) for name in ("from_lag", "to_lag")}
            result |= {name: None if lag is None else self.time.time(lag) for name, lag in ends.items()}
            result["climb"] = found.change and _plain_change(in_unit(found.change, self.time))
        else:
            result["changes"] = {setting: _plain_change(change) for setting, change in verdict.changes.items()}
        return result

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"How the timescales depend on {', '.join(self.axes)}"

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every fit, as text."""
        n_shown = min(N_SHOWN, max(len(fit.timescales) for fit in self.fits))
        unit = self.time.unit_for(slowest([scale for fit in self.fits for scale in fit.timescales]) or 0.0)
        heads = [f"timescale {k + 1} ({unit.name})" for k in range(n_shown)]
        table = [("varied", f"lag ({self.unit})", "modes", *heads, "VAMP-2", "VAMP-E", "seconds", "features")]
        for fit in self.fits:
            shown: list[Timescale | None] = [*fit.timescales, *[None] * n_shown][:n_shown]
            scores = ["–" if score is None else f"{score:.3f}" for score in (fit.vamp2_test, fit.vampe_test)]
            lag, modes, features = (fit.setting(axis, self.time) for axis in AXES)
            cells = [
                *(timescale_cell(scale, unit) for scale in shown),
                *scores,
                format_number(fit.seconds, "–"),
                features,
            ]
            table.append((fit.varied or "reference", lag, modes, *cells))
        return table

    def notes(self) -> list[str]:
        """What the stars in the table mean: one line each."""
        marked = [
            (scale.unresolved, f"{self._name(fit)} process {k}")
            for fit in self.fits
            for k, scale in enumerate(fit.timescales[:N_SHOWN], 1)
        ]
        return unresolved_notes(marked)

    def __repr__(self) -> str:
        return "\n".join([*aligned(self.table()), *self.notes(), *(verdict.message for verdict in self.verdicts)])

    def _name(self, fit: ScanFit) -> str:
        if fit.varied is None:
            return "reference"
        setting = fit.setting(fit.varied, self.time)
        return setting if fit.varied == "features" else f"{fit.varied} {setting}"


def _fit_of(row: dict[str, Any], time: TimeAxis) -> ScanFit:
    """A fit from its row in scan.json."""
    parts = zip(*(row[name] for name in ("timescales", "low", "high", "n_transitions", "unresolved")), strict=True)
    scales = [Timescale(*scale) for scale in parts]
    lagtime, features = row["lag_frames"] // time.stride, tuple(row["features"])
    numbers = (row[name] for name in ("vamp2_test", "vampe_test", "seconds"))
    return ScanFit(row["varied"], lagtime, row["n_modes"], features, row["n_columns"], scales, *numbers)


def _plain_change(change: Change) -> dict[str, Any]:
    high = change.high if math.isfinite(change.high) else None
    return {
        "reference": change.reference, "value": change.value, "ratio": change.ratio, "low": change.low, "high": high,
    }  # fmt: skip


def lag_verdict(found: Plateau, reference: int, time: TimeAxis) -> AxisVerdict:
    """Whether the slowest timescale is level from the lag time of the reference on, from its `Plateau` (in rows)."""
    head, unit = "lag: the slowest timescale", time.unit
    change = found.change and in_unit(found.change, time)
    from_lag, to_lag = (None if lag is None else f"{time.time(lag):g}" for lag in (found.from_lag, found.to_lag))
    if found.reached is False and change is not None:  # which there is where it climbs
        message = f"{head} still climbs at the longest lag that can tell, {to_lag} {unit}: {_told(change, unit)}"
        return AxisVerdict("lag", False, f"{message}; {ADVICE['lag']}", found)
    if found.reached is None or found.from_lag is None:
        why = "the data are too few, or the lags at which it is resolved too close together"
        return AxisVerdict("lag", None, f"{head}: undecided whether it is level, {why}", found)
    message = f"{head} is level from lag {from_lag} to {to_lag} {unit}"
    if found.from_lag <= reference:
        return AxisVerdict("lag", True, message, found)
    message += f", but not yet at the reference: take lag {from_lag} {unit}"
    return AxisVerdict("lag", False, message, found)


def undecided(axis: str, reference: ScanFit) -> AxisVerdict:
    """Where the slowest timescale of the reference is not to be trusted."""
    message = f"{axis}: undecided, as the slowest timescale of the reference is unresolved ({reference.doubt})"
    return AxisVerdict(axis, None, message)


def change_verdict(axis: str, changes: dict[str, Change], left_out: Sequence[str], unit: str) -> AxisVerdict:
    """Whether the slowest timescale is the same with other modes or features.

    Parameters
    ----------
    axis : {"modes", "features"}
    changes : dict
        Setting → change from the reference.
    left_out : sequence of str
        Settings that cannot be compared, or all of them.
    unit : str
        Of the timescales.
    """
    head, what = f"{axis}: the slowest timescale", " modes" if axis == "modes" else ""
    differ = [f"{setting}{what}: {_told(change, unit)}" for setting, change in changes.items() if change.same is False]
    open_ones = [*(setting for setting, change in changes.items() if change.same is None), *left_out]
    also = f"; undecided with {', '.join(open_ones)}{what}" if open_ones else ""
    if differ:
        message = f"{head} depends on them ({'; '.join(differ)}){also}; {ADVICE[axis]}"
        return AxisVerdict(axis, False, message, changes=changes)
    same = [setting for setting, change in changes.items() if change.same]
    if not same:
        message = f"{head}: undecided whether it is the same with {', '.join(open_ones)}{what}, the data are too few"
        return AxisVerdict(axis, None, message, changes=changes)
    message = f"{head} is the same with {', '.join(same)}{what}{also}"
    return AxisVerdict(axis, None if open_ones else True, message, changes=changes)


def in_unit(change: Change, time: TimeAxis) -> Change:
    """A change of timescales in rows as one in the unit of `time`."""
    return Change(time.time(change.reference), time.time(change.value), change.low, change.high)


def _told(change: Change, unit: str) -> str:
    bounds = f"{change.low:.3g} – " + (f"{change.high:.3g}" if math.isfinite(change.high) else "∞")
    ends = f"{format_number(change.reference, '–')} → {format_number(change.value, '–')} {unit}"
    return f"{ends}, by a factor of {change.ratio:.3g} ({bounds})"
