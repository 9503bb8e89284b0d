"""What the chignolin experiment shows of its measurements: tables, text and figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.benchmarks.study import Row
from analysis.experiments.experiment import mean_and_spread
from analysis.experiments.published import CHIGNOLIN, CHIGNOLIN_CENTRED, CHIGNOLIN_SECOND

LOW_RANK = ("sequential", "joint", "low-rank")
OBJECTIVES = (*LOW_RANK, "vamp-1", "vamp-2", "dpnet-relaxed")
LINEAR = "linear"
"""VAMP of the features themselves: what there is to be gained by networks."""


def modes_of(rows: Sequence[Row]) -> list[int]:
    """Numbers of modes that were learned."""
    return list(dict.fromkeys(row["modes"] for row in rows))


def values(rows: Sequence[Row], objective: str, modes: int, key: str = "VAMP-E") -> list[float]:
    """Of all seeds that did not diverge."""
    mine = (row for row in rows if (row["objective"], row["modes"]) == (objective, modes))
    return [row[key] for row in mine if row["failed"] is None]


def by_objective(rows: Sequence[Row], key: str, digits: int = 4) -> list[Row]:
    """A line for every objective, a column for every number of modes; mean ± spread over seeds."""
    lines = []
    for objective in dict.fromkeys(row["objective"] for row in rows):
        line: Row = {"objective": objective}
        for modes in modes_of(rows):
            found = values(rows, objective, modes, key)
            line[f"{modes} modes"] = mean_and_spread(found, digits) if found else "diverged"
        lines.append(line)
    return lines


def published() -> list[Row]:
    """Both readings of the published scores."""
    lines = []
    for objective in dict.fromkeys(objective for objective, _ in CHIGNOLIN_SECOND):
        line: Row = {"objective": objective}
        for modes in (16, 64):
            line[f"{modes} modes, first reading"] = CHIGNOLIN.get((objective, modes))
            line[f"{modes} modes, second reading"] = CHIGNOLIN_SECOND[objective, modes]
        lines.append(line)
    centred = {f"{modes} modes, first reading": score for modes, score in CHIGNOLIN_CENTRED.items()}
    return [*lines, dict.fromkeys(lines[0]) | {"objective": "dpnet-relaxed, centred"} | centred]


def verdict(rows: Sequence[Row], modes: int) -> str:
    """The best low-rank objective beside the best other one, for one number of modes."""
    found = {objective: np.array(values(rows, objective, modes)) for objective in OBJECTIVES}
    found = {objective: scores for objective, scores in found.items() if len(scores)}
    ours, rivals = ([o for o in found if (o in LOW_RANK) == own] for own in (True, False))
    if not ours or not rivals:
        return f"{modes} modes: no training of one kind came to an end."
    first, second = (max(group, key=lambda name: float(found[name].mean())) for group in (ours, rivals))
    shown = [f"{name} {mean_and_spread(found[name].tolist(), 4)}" for name in (first, second)]
    difference = float(found[first].mean() - found[second].mean())
    spread = float(np.hypot(*(found[name].std(ddof=1) if len(found[name]) > 1 else np.nan for name in (first, second))))
    what = "one seed, which decides nothing" if np.isnan(spread) else "a tie"
    if abs(difference) > spread:
        what = "the low-rank objective is ahead" if difference > 0 else "the other objective is ahead"
    return f"{modes} modes: {shown[0]}, best of the low-rank objectives, beside {shown[1]}, best of the others: {what}."


def figure(rows: Sequence[Row]) -> Figure:
    """Held-out VAMP-E against the number of modes; objectives side by side at each."""
    drawn = Figure(figsize=(7, 4.6), layout="constrained")
    axes = drawn.subplots()
    everything = modes_of(rows)
    for number, objective in enumerate((*OBJECTIVES, LINEAR)):
        found = {place: values(rows, objective, modes) for place, modes in enumerate(everything)}
        found = {place: scores for place, scores in found.items() if scores}
        x = np.array([*found]) + 0.05 * (number - len(OBJECTIVES) / 2)
        mean = np.array([np.mean(scores) for scores in found.values()])
        spread = np.array([np.std(scores, ddof=1) if len(scores) > 1 else 0.0 for scores in found.values()])
        line = "-" if objective in LOW_RANK else ":" if objective == LINEAR else "--"
        look = {"marker": "osD^vXP"[number], "linestyle": line, "color": str(0.1 * number)}
        axes.errorbar(x, mean, spread, capsize=3, label=objective, **look)
    axes.set_xticks(range(len(everything)), [str(modes) for modes in everything])
    axes.set_xlabel("modes (objectives side by side)")
    axes.set_ylabel("held-out VAMP-E")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False)
    return drawn
