"""Tables and figures of the experiments with bound states: the published distances, by objective."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.benchmarks.study import Row, numbers
from analysis.experiments.bound_states import EIGENVALUE, LARGEST, METRICS, NORMS, RITZ
from analysis.experiments.experiment import mean_and_spread

Published = Mapping[tuple[str, int], Sequence[float]]
MARKERS = {"ours": "o", "reduced": "s", "published": "D"}


def tables(rows: Sequence[Row], ways: Mapping[str, str], known: Published) -> tuple[dict[str, list[Row]], str]:
    """Heading → table of every way and number of states, the published one last; and what came out, in sentences."""
    result, sentences = {}, []
    for way, states in dict.fromkeys((row["way"], row["states"]) for row in rows):
        mine = [row for row in rows if (row["way"], row["states"]) == (way, states)]
        heading = f"{states} states, {ways[way]}"
        result[heading] = [_line(group) for group in _by(mine, "objective", "batch")]
        ranked = sorted(_by(mine, "objective"), key=lambda group: np.mean(numbers(group, EIGENVALUE)))
        best = ranked[0]
        error, first = mean_and_spread(numbers(best, EIGENVALUE)), best[0]
        order = f"; from smallest to largest: {_order(ranked)}" if len(ranked) > 1 else ""
        unknown = " (one seed: ties are not known)" if order and len(best) == 1 else ""
        sentences.append(
            f"{heading}: {first['objective']} has {'the smallest' if order else 'a'} mean relative error of the "
            f"eigenvalues{',' if order else ' of'} {error} after {first['steps']} steps of {first['batch']} points"
            f"{order}{unknown}."
        )
    result["As published (figure 3, read off the bars, ± 5 %)"] = [
        {"objective": objective, "batch": batch, "steps": 500_000, **dict(zip(METRICS, values, strict=True))}
        for (objective, batch), values in known.items()
    ]
    return result, "\n\n".join([WHAT, *sentences])


WHAT = (
    "Errors and distances are those of the paper, of the functions as they come from training (SpIN's after "
    "Gram–Schmidt, which it leaves to be done): relative error of the Rayleigh quotients, mean over the modes; "
    "(2/π) × angle to the exact functions after the best rotation within every level; 1 − tr(P P̂)/k of the spans of "
    "every level, and of all; mean square of the off-diagonal entries of the normalised Gram matrix, which after "
    "Gram–Schmidt is 0. Beside them the errors of the values from Rayleigh–Ritz and from the norms of the functions. "
    "All by quadrature. Mean ± standard deviation over seeds. SpIN's steps, each with as many backward passes "
    "as there are pairs of states, are fewer where so many take longer than those of the others."
)


def _order(ranked: Sequence[Sequence[Row]]) -> str:
    """Objectives by rising error; "≈" where the means differ by less than the spreads of the two."""
    text = ""
    for number, group in enumerate(ranked):
        if number:
            pair = [numbers(part, EIGENVALUE) for part in (ranked[number - 1], group)]
            spread = sum(np.std(values) for values in pair)
            text += " < " if np.mean(pair[1]) - np.mean(pair[0]) > spread else " ≈ "
        text += group[0]["objective"]
    return text


def _by(rows: Sequence[Row], *names: str) -> list[list[Row]]:
    keys = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    return [[row for row in rows if tuple(row[name] for name in names) == key] for key in keys]


def _line(group: Sequence[Row]) -> Row:
    columns = (*METRICS, RITZ, LARGEST, NORMS)
    values: dict[str, Any] = {name: group[0][name] for name in ("objective", "batch", "steps")}
    values["seeds"] = len(group)
    values |= {name: mean_and_spread(numbers(group, name)) if numbers(group, name) else None for name in columns}
    return {**values, "seconds": f"{np.mean(numbers(group, 'seconds')):.0f}"}


def distances(rows: Sequence[Row], ways: Mapping[str, str], known: Published) -> Figure:
    """A panel for each of the published errors: objectives side by side, ours beside the published ones."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    objectives = list(dict.fromkeys([*(row["objective"] for row in rows), *(name for name, _ in known)]))
    place = {objective: k for k, objective in enumerate(objectives)}
    series = list(dict.fromkeys((row["way"], row["states"]) for row in rows))
    batches = sorted({batch for _, batch in known})
    width = 0.8 / (len(series) + len(batches))
    panels = figure.subplots(1, len(METRICS))
    for k, (panel, metric) in enumerate(zip(panels, METRICS, strict=True)):
        for number, (way, states) in enumerate(series):
            for objective in objectives:
                values = numbers(rows, metric, way=way, states=states, objective=objective)
                shade = 0.25 + 0.5 * number / len(series)
                panel.plot(
                    [place[objective] - 0.4 + width * (number + 0.5)] * len(values), values, MARKERS[way], alpha=0.8,
                    color=str(shade), label=f"{ways[way]}, {states} states" if objective == objectives[0] else None,
                )  # fmt: skip
        for number, batch in enumerate(batches, len(series)):
            of_batch = {name: value[k] for (name, size), value in known.items() if size == batch}
            panel.plot(
                [place[name] - 0.4 + width * (number + 0.5) for name in of_batch], list(of_batch.values()),
                "x+"[number - len(series)], color="C3", markersize=9, label=f"published, batch {batch}",
            )  # fmt: skip
        panel.set_yscale("log")
        panel.set_xticks(range(len(objectives)), objectives, rotation=30, ha="right")
        panel.set_title(metric, fontsize=10)
    panels[0].set_ylabel("error or distance")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
