"""What pages and notebooks show of results alike: tables with captions, and judgements with the worst first."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from spectraldyn.baselines import Comparison, standard_error
from spectraldyn.pipeline import Results, Scan, format_number

SCORES = {"vamp2_test": "VAMP-2", "vampe_test": "VAMP-E"}
LONG = 30
"""Letters from which on words are given room in a narrow page, so as not to stand one below the other."""


class Tabular(Protocol):
    """Whatever has a table: results, comparisons, scans, models and features."""

    @property
    def title(self) -> str: ...
    def table(self) -> list[tuple[str, ...]]: ...
    def notes(self) -> list[str]: ...


class Table(NamedTuple):
    """A table as text, without columns that are empty."""

    caption: str
    heads: list[str]
    rows: list[list[str]]
    texts: dict[int, str]
    """Columns of words, which stand to the left, with the class that they have in a page."""

    @classmethod
    def of(cls, thing: Tabular) -> "Table":
        """That of results and the like; the last column, where it has no head, is for remarks."""
        heads, *rows = [[cell.strip() for cell in row] for row in thing.table()]
        heads[-1] = heads[-1] or "remark"
        kept = [k for k in range(len(heads)) if not rows or any(row[k] for row in rows)]
        if isinstance(thing, Comparison) and kept[-1] == len(heads) - 1:
            kept.pop()  # why a method failed stands in the verdict
        columns = {place: [row[k] for row in rows] for place, k in enumerate(kept)}
        texts = {
            place: "text long" if max(map(len, cells)) > LONG else "text"
            for place, cells in columns.items()
            if place and any(cell[:1].isalpha() for cell in cells)
        }
        return cls(thing.title, [heads[k] for k in kept], [[row[k] for k in kept] for row in rows], texts)


class Line(NamedTuple):
    """One line of a verdict."""

    level: str
    """{"good", "caution", "problem"}: how it looks."""
    word: str
    """It begins with."""
    message: str
    advice: str | None = None


def judgements(thing: object) -> list[Line]:
    """The verdict on results, a scan or a comparison, the worst first; none on anything else."""
    if isinstance(thing, Results):
        return [Line(one.level, one.level, one.message, one.advice) for one in thing.verdict]
    if isinstance(thing, Scan):
        return _on_scan(thing)
    return _on_comparison(thing) if isinstance(thing, Comparison) else []


def _on_scan(scan: Scan) -> list[Line]:
    looks = {False: ("problem", "depends"), None: ("caution", "undecided"), True: ("good", "steady")}
    ordered = [verdict for steady in looks for verdict in scan.verdicts if verdict.steady is steady]
    return [Line(*looks[verdict.steady], verdict.message) for verdict in ordered]


def _on_comparison(comparison: Comparison) -> list[Line]:
    """Failures, then the best of either score and what ties with it, and how far apart the slowest timescales are."""
    said = []
    for runs in comparison.runs:
        failed = [run.failed for run in runs if run.failed is not None]
        if failed:
            level = "problem" if len(failed) == len(runs) else "caution"
            message = f"{runs[0].method}, on {len(failed)} of {len(runs)} splits: {'; '.join(dict.fromkeys(failed))}"
            said.append(Line(level, "failed", message))
    if comparison.n_splits == 1:
        message = "one split decides nothing: which score is best may be chance"
        said.append(Line("caution", "caution", message, "take several `splits`"))
    said.sort(key=lambda line: line.level != "problem")
    return [*said, *_best(comparison), *_slowest(comparison)]


def _best(comparison: Comparison) -> list[Line]:
    lines = []
    for score, name in SCORES.items():
        marked = [result for result, mark in zip(comparison.results, comparison.marks[score], strict=True) if mark]
        if not marked:
            continue
        best = max(marked, key=lambda result: getattr(result, score))
        runs = comparison.runs[comparison.results.index(best)]
        error = standard_error([getattr(run, score) for run in runs])
        value = f"{getattr(best, score):.3f}" + ("" if error is None else f" ± {error:.3f}")
        others = [result.method for result in marked if result is not best]
        tied = f"; {listed(others)} tie{'s' * (len(others) == 1)} with it" if others else ""
        lines.append(Line("good", f"best {name}", f"{best.method}, {value} on held-out pairs{tied}"))
    return lines


def _slowest(comparison: Comparison) -> list[Line]:
    """The range of the slowest timescale over all methods that found one."""
    unit = comparison.display_unit
    firsts = [(result.timescales[0].value, result.method) for result in comparison.results if result.timescales]
    found = sorted((value, method) for value, method in firsts if value is not None)
    if len(found) < 2:
        return []
    (low, shortest), (high, longest) = found[0], found[-1]
    start, end = (f"{format_number(value / unit.size, '–')} {unit.name}" for value in (low, high))
    return [Line("good", "slowest timescale", f"from {start} ({shortest}) to {end} ({longest})")]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def counted(number: int, name: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {name}" + "s" * (number != 1)
