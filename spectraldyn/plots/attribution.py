"""The figure of what drives the processes."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spectraldyn.pipeline import Results
from spectraldyn.plots.figures import COLOURS, OPEN, figure_of

MAX_PROCESSES = 4
MAX_FEATURES = 8
LABEL_WIDTH = 34
"""Letters of one line; those of distances between groups may be long."""


def plot_attribution(results: Results, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """Leading features of up to four processes: permutation importance with standard errors, and the other measures.

    Bars of features that belong to the leading residue of a process are dark, where there are others.
    """
    shown = results.attribution[:MAX_PROCESSES]
    longest = max(min(len(attribution.features.names), MAX_FEATURES) for attribution in shown)
    axes = _panels(len(shown), longest) if axes is None else axes
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
    figure_of(axes[0]).legend(
        handles=[bar, *axes[0].get_legend_handles_labels()[0]],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize="small",
    )
    return axes


def _panels(n: int, n_bars: int) -> Sequence[Axes]:
    """Axes of a new figure, two in a line, for so many bars each."""
    n_lines, n_columns = -(-n // 2), min(n, 2)
    figure = Figure(figsize=(4.4 * n_columns, 0.5 + (0.7 + 0.24 * n_bars) * n_lines), layout="constrained")
    grid = figure.add_gridspec(n_lines, n_columns)
    return [figure.add_subplot(grid[divmod(k, 2)]) for k in range(n)]
