"""The figure of what drives the processes."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spectraldyn.pipeline import Results
from spectraldyn.plots.figures import COLOURS, OPEN, figure_of, given_axes

MAX_PROCESSES = 4
MAX_FEATURES = 8
LABEL_WIDTH = 34
"""Letters of one line; those of distances between groups may be long."""


def plot_attribution(results: Results, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Leading features of up to four processes: permutation importance with standard errors, and the other measures.

    Bars of features that belong to the leading residue of a process are dark, where there are others.

    Parameters
    ----------
    results : Results
    axes : sequence of Axes, optional
        One for each of at most the four slowest processes.

    Returns
    -------
    list of Axes
    """
    shown, own = results.attribution[:MAX_PROCESSES], axes is None
    if axes is None:
        axes = _panels(len(shown), max(min(len(found.features.names), MAX_FEATURES) for found in shown))
    axes = given_axes(axes, len(shown), "process")
    residues_of = {column.feature: column.residues for column in results.data.columns}
    for number, (ax, attribution) in enumerate(zip(axes, shown, strict=True), 1):
        features, leading = attribution.features, attribution.residues.names[:1]
        names = features.names[:MAX_FEATURES]
        place = np.arange(len(names))
        dark = [not leading or leading[0] in residues_of[name] for name in names]
        ax.barh(
            place, features.importance.value[: len(names)], 0.7, xerr=features.importance.error[: len(names)],
            color=[COLOURS[0] if d else "#A9CCE3" for d in dark], error_kw={"elinewidth": 1.2, "capsize": 3},
        )  # fmt: skip
        for measure, marker, label in (
            (features.correlation, "o", "correlation"),
            (features.integrated_gradients, "D", "integrated gradients"),
        ):
            ax.plot(
                measure.value[: len(names)], place, **OPEN | {"marker": marker, "markersize": 4.5, "color": "0.1"},
                label=label, clip_on=False,
            )  # fmt: skip
        labels = ["\n".join(textwrap.wrap(name, LABEL_WIDTH, max_lines=2, placeholder=" …")) for name in names]
        ax.set_yticks(place, labels, fontsize="small")
        ax.tick_params(axis="y", length=0)
        ax.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, None), axisbelow=True)
        ax.grid(axis="x", color="0.92")
        ax.set_title(f"process {number}" + ("" if all(dark) else f" (dark: {leading[0]})"), fontsize="medium")
    bar = Patch(color=COLOURS[0], label="permutation importance")
    handles = [bar, *axes[0].get_legend_handles_labels()[0]]
    if own:
        figure_of(axes[0]).legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    else:  # the figure is the caller's
        axes[-1].legend(handles=handles, loc="lower right", fontsize="x-small")
    return axes


def _panels(n: int, n_bars: int) -> list[Axes]:
    """Axes of a new figure, two in a line, for so many bars each."""
    n_lines, n_columns = -(-n // 2), min(n, 2)
    figure = Figure(figsize=(4.4 * n_columns, 0.5 + (0.7 + 0.24 * n_bars) * n_lines), layout="constrained")
    grid = figure.add_gridspec(n_lines, n_columns)
    return [figure.add_subplot(grid[divmod(k, 2)]) for k in range(n)]
