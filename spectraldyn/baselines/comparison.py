"""Methods side by side: medians over the splits, as a table and as plain values."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from spectraldyn.baselines.process import THREADS
from spectraldyn.baselines.records import MethodResult, Question
from spectraldyn.baselines.summary import (
    best_or_tied,
    median_result,
    reasons,
    split_seeds,
    standard_error,
    timescale_values,
)
from spectraldyn.data import InputFile, TimeAxis, TimeUnit
from spectraldyn.pipeline import aligned, format_number, software, stored_axis, timescale_cell, unresolved_notes
from spectraldyn.spectra.timescales import Timescale, slowest

SCORES = ("vamp2_test", "vampe_test")


@dataclass(frozen=True, repr=False)
class Comparison(Question):
    """The question, and methods side by side."""

    runs: list[list[MethodResult]]
    """For every method, its results on every split."""
    time: TimeAxis
    n_train_pairs: int
    n_test_pairs: int
    """n_train_pairs and n_test_pairs: Medians over the splits, which differ by a few."""
    warnings: list[str] = field(default_factory=list)  # on the data
    files: tuple[InputFile, ...] = ()
    n_rows: int = 0
    n_columns: int = 0
    """n_rows and n_columns: Of the data."""

    @property
    def unit(self) -> str:
        """Of every time here: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return self.time.unit

    @property
    def display_unit(self) -> TimeUnit:
        """In which the table and the figure show times: readable for what most methods find slowest."""
        found = [time for time in (slowest(result.timescales) for result in self.results) if time is not None]
        return self.time.unit_for(statistics.median_high(found) if found else self.lag_time)

    @property
    def lag_time(self) -> float:
        """Lag time in `unit`."""
        return self.time.time(self.lagtime)

    @property
    def n_splits(self) -> int:
        """Splits that every method was judged on."""
        return len(self.runs[0])

    @cached_property
    def results(self) -> list[MethodResult]:
        """One for every method: medians over the splits on which it has not failed (see `median_result`)."""
        return [median_result(runs) for runs in self.runs]

    @cached_property
    def marks(self) -> dict[str, list[bool]]:
        """Score → which methods are best or tie with the best (see `best_or_tied`)."""
        return {score: best_or_tied(self.runs, score) for score in SCORES}

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain values for every method, as compare.json holds them; what is undetermined is None.

        Medians as in `results`; under "standard_error" those of the means over the splits, under "best_or_tied" the
        marks, and under "splits" the same of every split.
        """
        return [self._row(number) for number in range(len(self.runs))]

    def _row(self, number: int) -> dict[str, Any]:
        runs, seeds = self.runs[number], split_seeds(self.seed, self.n_splits)
        return {
            **self._values(self.results[number]),
            "unit": self.unit,
            "lag": self.lag_time,
            "threads": THREADS,
            "train_pairs": self.n_train_pairs,
            "test_pairs": self.n_test_pairs,
            "reversible": self.reversible,
            "seed": self.seed,
            "n_splits": self.n_splits,
            "n_failed": sum(run.failed is not None for run in runs),
            "standard_error": {
                "timescales": [standard_error(timescale_values(runs, process)) for process in range(self.n_modes)],
                **{score: standard_error([getattr(run, score) for run in runs]) for score in SCORES},
            },
            "best_or_tied": {score: marked[number] for score, marked in self.marks.items()},
            "splits": [{"seed": seed, **self._values(run)} for seed, run in zip(seeds, runs, strict=True)],
        }

    def plain(self) -> dict[str, Any]:
        """All that compare.json holds: rows, and what is common to all methods, in plain values."""
        return {
            **software(),
            "timestep_ps": self.time.timestep_ps,
            "stride": self.time.stride,
            "typed_unit": self.time.typed_unit,
            "n_frames": self.n_rows,
            "n_columns": self.n_columns,
            **self.asked,
            "n_train_pairs": self.n_train_pairs,
            "n_test_pairs": self.n_test_pairs,
            "rows": self.rows(),
            "warnings": self.warnings,
        }

    @classmethod
    def of_plain(cls, stored: dict[str, Any]) -> "Comparison":
        """The comparison again from what compare.json holds, less its files."""
        asked = {part.name: stored[part.name] for part in fields(Question)}
        time = stored_axis(stored)
        runs = [[_result_of(split) for split in row["splits"]] for row in stored["rows"]]
        about = {name: stored[name] for name in ("n_train_pairs", "n_test_pairs", "warnings", "n_columns")}
        return cls(runs, time, **about, n_rows=stored["n_frames"], **asked)

    def _values(self, result: MethodResult) -> dict[str, Any]:
        scales: list[Timescale | None] = [*result.timescales, *[None] * self.n_modes][: self.n_modes]
        return {
            **vars(result),
            "timescales": [scale and scale.value for scale in scales],
            **{name: [scale and getattr(scale, name) for scale in scales] for name in ("low", "high", "unresolved")},
        }

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every method, as text."""
        unit = self.display_unit
        heads = [f"timescale {k + 1} ({unit.name})" for k in range(self.n_modes)]
        table = [("method", *heads, "VAMP-2 ", "VAMP-E ", "seconds", "with tuning", "peak MB", "")]
        for number, (result, runs) in enumerate(zip(self.results, self.runs, strict=True)):
            if result.failed is not None:
                table.append((result.method, *["–"] * (len(table[0]) - 2), f"failed: {result.failed}"))
                continue
            scales: list[Timescale | None] = [*result.timescales, *[None] * self.n_modes][: self.n_modes]
            times = [
                timescale_cell(scale, unit, standard_error(timescale_values(runs, k))) for k, scale in enumerate(scales)
            ]
            scores = [_score_cell(runs, getattr(result, name), name, self.marks[name][number]) for name in SCORES]
            price = (result.seconds, result.tuning_seconds or result.seconds, result.peak_mb)
            prices = [format_number(value, "–") for value in price]
            table.append((result.method, *times, *scores, *prices, failure_note(runs)))
        return table

    def notes(self) -> list[str]:
        """What the marks in the table mean: one line each."""
        marked = [
            (scale.unresolved, f"{result.method} {k}")
            for result in self.results
            for k, scale in enumerate(result.timescales, 1)
        ]
        return [*unresolved_notes(marked), *self._reading().splitlines()]

    def __repr__(self) -> str:
        return "\n".join([self.title, *aligned(self.table()), *self.notes()])

    @property
    def title(self) -> str:
        """What the table shows."""
        if self.n_splits == 1:
            how = f"scores on {self.n_test_pairs} held-out pairs"
        else:
            how = f"medians over {self.n_splits} splits, each with some {self.n_test_pairs} held-out pairs"
        return f"At lag {self.time.lag_text(self.lagtime)}; {how}, {THREADS} thread for every method"

    def _reading(self) -> str:
        """How to read the differences between the scores."""
        if self.n_splits == 1:
            return "One split decides nothing: take several to see which differences count"
        return (
            "± standard error of the mean over the splits, each with another seed for the methods too\n"
            "† best median, or a tie with it: the mean difference over the splits is within its standard error"
        )


def _result_of(row: dict[str, Any]) -> MethodResult:
    """A result from its entry in compare.json, less processes that were not found at all."""
    parts = list(zip(*(row[name] for name in ("timescales", "low", "high", "unresolved")), strict=True))
    while parts and parts[-1] == (None, None, None, None):
        parts.pop()
    scales = [Timescale(value, low, high, None, why) for value, low, high, why in parts]
    return MethodResult(**{part.name: row[part.name] for part in fields(MethodResult)} | {"timescales": scales})


def failure_note(runs: Sequence[MethodResult]) -> str:
    """On how many splits a method has failed and why; empty if on none."""
    n_failed = sum(run.failed is not None for run in runs)
    return f"failed on {n_failed} of {len(runs)}: {reasons(runs)}" if n_failed else ""


def _score_cell(runs: Sequence[MethodResult], value: float | None, name: str, marked: bool) -> str:
    """A score with its spread and its mark."""
    if value is None:
        return "– "
    error = standard_error([getattr(run, name) for run in runs])
    return f"{value:.3f}" + ("" if error is None else f" ± {error:.3f}") + ("†" if marked else " ")
