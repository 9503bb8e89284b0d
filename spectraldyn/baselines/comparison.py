"""Methods side by side: medians over the splits, as a table and as plain values."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from spectraldyn.data import TimeAxis, TimeUnit
from spectraldyn.pipeline import aligned, format_number, timescale_cell, unresolved_notes
from spectraldyn.spectra.timescales import Timescale, slowest
from spectraldyn.version import __version__

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
            "version": __version__,
        }

    def _values(self, result: MethodResult) -> dict[str, Any]:
        scales: list[Timescale | None] = [*result.timescales, *[None] * self.n_modes][: self.n_modes]
        return {
            **vars(result),
            "timescales": [scale and scale.value for scale in scales],
            **{name: [scale and getattr(scale, name) for scale in scales] for name in ("low", "high", "unresolved")},
        }

    def __repr__(self) -> str:
        unit = self.display_unit
        heads = [f"timescale {k + 1} ({unit.name})" for k in range(self.n_modes)]
        table = [("method", *heads, "VAMP-2 ", "VAMP-E ", "seconds", "with tuning", "peak MB", "")]
        marked: list[tuple[str | None, str]] = []
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
            marked += [(scale.unresolved, f"{result.method} {k}") for k, scale in enumerate(result.timescales, 1)]
        return "\n".join([self._heading(), *aligned(table), *unresolved_notes(marked), self._reading()])

    def _heading(self) -> str:
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
