"""The figure of the features themselves."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from spectraldyn.data import Column, Dataset
from spectraldyn.plots.figures import COLOURS, figure_axes, some_rows

MAX_FEATURES = 12
N_BINS = 60


def plot_feature_histograms(data: Dataset, ax: Axes | None = None) -> Axes:
    """How often each feature takes which value: one histogram above the other, each over its own range.

    Cosine and sine of one angle are drawn as the angle. Of many features the first twelve are drawn, of many rows
    some, evenly spaced.

    Parameters
    ----------
    data : Dataset
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    features = [(name, list(group)) for name, group in groupby(enumerate(data.columns), lambda c: c[1].feature)]
    shown = features[:MAX_FEATURES]
    ax = ax or figure_axes(5.2, 0.8 + 0.32 * len(shown))
    rows = data.rows(some_rows(data.n_rows))
    names = []
    for place, (name, columns) in enumerate(shown):
        values, unit, low, high = _values(rows, columns)
        counts, edges = np.histogram(values, N_BINS, (low, high))
        across = (edges - low) / (high - low)
        height = -place + 0.85 * counts / counts.max()
        ax.stairs(height, across, baseline=-place, fill=True, color=COLOURS[0], alpha=0.75)
        for end, at, side in ((low, -0.01, "right"), (high, 1.01, "left")):
            ax.annotate(
                f"{end:.3g}", (at, -place), ha=side, va="bottom", fontsize="x-small", color="0.3", annotation_clip=False
            )
        names.append(name + (f" ({unit})" if unit else ""))
    ax.set_yticks(-np.arange(len(shown)), names, fontsize="small", va="bottom")
    ax.tick_params(axis="y", length=0, pad=30)
    ax.set(xticks=[], xlim=(0, 1), ylim=(-len(shown) + 0.9, 1))
    ax.spines[["left", "right", "top", "bottom"]].set_visible(False)
    if len(features) > len(shown):
        ax.set_title(f"the first {len(shown)} of {len(features):,} features", fontsize="small", loc="left")
    return ax


def _values(rows: np.ndarray, columns: Sequence[tuple[int, Column]]) -> tuple[np.ndarray, str, float, float]:
    """Values of a feature, their unit, and the range to draw."""
    parts = {column.part: rows[:, number] for number, column in columns}
    if {"cos", "sin"} <= parts.keys():
        return np.degrees(np.arctan2(parts["sin"], parts["cos"])), "degrees", -180.0, 180.0
    number, column = columns[0]
    values = rows[:, number]
    low, high = float(values.min()), float(values.max())
    return values, column.unit, low, high if high > low else low + 1.0
