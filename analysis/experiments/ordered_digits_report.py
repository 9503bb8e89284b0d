"""Tables, sentences and figure of `analysis.experiments.ordered_digits`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.benchmarks.study import Row
from analysis.experiments.experiment import mean_and_spread, write
from analysis.experiments.noisy_cycle import DIRECTIONS, N_CLASSES, NOISE, hit_rate

STYLES = (
    {"color": "black", "marker": "o", "linestyle": "-"},
    {"color": "tab:blue", "marker": "s", "linestyle": "--"},
    {"color": "tab:orange", "marker": "^", "linestyle": "-."},
    {"color": "tab:red", "marker": "v", "linestyle": ":"},
)
SHOWN = (1, 5, 15)


def write_report(name: str, options: Any, rows: Sequence[Row], steps: Mapping[int, int], where: str) -> None:
    """Write the experiment; `steps` says how many there were for every batch size."""
    chosen = with_best_rates(rows)
    tables = {
        "Share of predictions that are the most probable class": _agreements(chosen, steps),
        **{
            f"Share of predictions that are the class that comes, forward, batches of {batch}": _hits(chosen, batch)
            for batch in steps
        },
    }
    text = "\n\n".join((_what(steps, where), *(_outcome(chosen, batch) for batch in steps)))
    write(name, options, rows, tables, text, {"": _figure(chosen, list(steps))})


def with_best_rates(rows: Sequence[Row]) -> list[Row]:
    """Those rows of every objective and batch size that have the learning rate which is best after 15 steps."""
    chosen, last = [], _ahead(rows)[-1]
    for objective, batch in dict.fromkeys((row["objective"], row["batch"]) for row in rows):
        mine = [row for row in rows if (row["objective"], row["batch"]) == (objective, batch)]
        rates = dict.fromkeys(row["rate"] for row in mine)
        best = max(rates, key=lambda rate: np.mean(_values(mine, rate=rate, **{"steps ahead": last})))
        chosen += [row for row in mine if row["rate"] == best]
    return chosen


def _ahead(rows: Sequence[Row]) -> list[int]:
    return sorted({row["steps ahead"] for row in rows})


def _what(steps: Mapping[int, int], where: str) -> str:
    return (
        f"Images of five digits ({where}) in a cycle that is left with probability {NOISE:g} at every step. Every "
        "objective learns four functions on each side, besides the constant, from the same thousand pairs, "
        "of which the last fifth stops the training, with the same networks, batches and steps ("
        + ", ".join(f"{n} of {batch} pairs" for batch, n in steps.items())
        + "), each with that learning rate which does best after 15 steps. No test image is among the training images. "
        "A prediction is right where it names the most probable class, n places on; how often it then hits the class "
        f"that comes is limited by the noise: (1 − η)ⁿ + (1 − (1 − η)ⁿ)/5 at best, with η = {NOISE:g}. ± is the "
        "standard deviation over seeds; a seed is a new split of the images, a new trajectory and new networks."
    )


def _values(rows: Sequence[Row], **where: Any) -> list[float]:
    return [row["agreement"] for row in rows if all(row[key] == value for key, value in where.items())]


def _objectives(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["objective"] for row in rows))


def _at_the_end(rows: Sequence[Row], objective: str, batch: int) -> np.ndarray:
    """Mean of both directions after 15 steps, for every seed."""
    where = {"objective": objective, "batch": batch, "steps ahead": _ahead(rows)[-1]}
    return np.mean([_values(rows, direction=direction, **where) for direction in DIRECTIONS], axis=0)


def _outcome(rows: Sequence[Row], batch: int) -> str:
    ours, *others = _objectives(rows)
    own = _at_the_end(rows, ours, batch)
    parts = []
    for other in others:
        difference = own - _at_the_end(rows, other, batch)
        tie = len(difference) < 2 or abs(difference.mean()) < difference.std(ddof=1)
        verdict = "a tie" if tie else ("ahead" if difference.mean() > 0 else "behind")
        parts.append(f"{mean_and_spread(difference.tolist())} to {other} ({verdict})")
    return (
        f"Batches of {batch}, 15 steps away, mean of both directions: {ours} names the most probable class in "
        f"a share of {mean_and_spread(own.tolist(), 3)}; differences {', '.join(parts)}."
    )


def _agreements(rows: Sequence[Row], steps: Mapping[int, int]) -> list[Row]:
    return [
        {
            "batch": batch,
            "objective": objective,
            "learning rate": next(r["rate"] for r in rows if r["objective"] == objective and r["batch"] == batch),
            **{
                f"{direction}, {n}": mean_and_spread(
                    _values(rows, objective=objective, batch=batch, direction=direction, **{"steps ahead": n}), 3
                )
                for direction in DIRECTIONS
                for n in SHOWN
            },
        }
        for batch in steps
        for objective in _objectives(rows)
    ]


def _hits(rows: Sequence[Row], batch: int) -> list[Row]:
    table = []
    for n in _ahead(rows):
        where = {"batch": batch, "direction": "forward", "steps ahead": n}
        hits = {
            objective: hit_rate(float(np.mean(_values(rows, objective=objective, **where))), n)
            for objective in _objectives(rows)
        }
        table.append({"steps ahead": n, "best attainable": hit_rate(1, n), **hits})
    return table


def _figure(rows: Sequence[Row], batches: Sequence[int]) -> Figure:
    figure = Figure((4.2 * len(batches), 3.8), layout="constrained")
    for ax, batch in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches, strict=True):
        for objective, style in zip(_objectives(rows), STYLES, strict=True):
            for direction, sign in DIRECTIONS.items():
                where = {"objective": objective, "batch": batch, "direction": direction}
                ahead = np.array(_ahead(rows))
                values = np.array([_values(rows, **where, **{"steps ahead": n}) for n in ahead])
                spread = values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
                label = objective if sign > 0 else None
                ax.errorbar(sign * ahead, values.mean(axis=1), spread, label=label, markersize=3, capsize=2, **style)
        ax.axhline(1 / N_CLASSES, color="grey", linewidth=1)
        ax.annotate("chance", (0, 1 / N_CLASSES), (0, 3), textcoords="offset points", ha="center")
        ax.set(xlabel="steps ahead (negative: back)", ylim=(0, 1.03), title=f"batches of {batch}")
        ax.set_ylabel("share of predictions that are\nthe most probable class")
    ax.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.02, 0.25))
    return figure
