"""The figure of methods side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.baselines import Comparison
from spectraldyn.plots.figures import COLOURS, MARKERS


def plot_comparison(
    comparison: Comparison, axes: Sequence[Axes] | None = None, exact: Sequence[float] | None = None
) -> Sequence[Axes]:
    """Methods side by side: timescales by process, held-out scores, wall time and memory.

    Parameters
    ----------
    comparison : Comparison
    axes : sequence of four Axes, optional
        For timescales, scores, time and memory.
    exact : sequence of float, optional
        Known timescales in the unit of the comparison, slowest first; drawn as lines.

    Returns
    -------
    sequence of Axes
    """
    if axes is None:
        figure = Figure(figsize=(8.2, 6.6), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1))
        axes = [figure.add_subplot(grid[0, :]), *(figure.add_subplot(grid[1, k]) for k in range(3))]
    _plot_compared_timescales(comparison, axes[0], exact)
    results = comparison.results
    place = np.arange(len(results), 0, -1)
    for ax in axes[1:]:
        ax.set_yticks(place, [result.method for result in results] if ax is axes[1] else [])
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(0.4, len(results) + 0.6)
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
        for y, result in zip(place, results, strict=True):
            if result.failed is not None:
                ax.annotate("failed", (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center",
                            fontsize="small", style="italic", color="0.35")  # fmt: skip
    scores, times, memory = axes[1:]
    shown: list[tuple[Axes, list[float | None], str, str, str]] = [
        (scores, [result.vampe_test for result in results], "s", "white", "VAMP-E"),
        (scores, [result.vamp2_test for result in results], "o", COLOURS[0], "VAMP-2"),
        (times, [result.tuning_seconds for result in results], "D", "white", "with tuning"),
        (times, [result.seconds for result in results], "o", COLOURS[0], "one fit"),
        (memory, [result.peak_mb for result in results], "o", COLOURS[0], ""),
    ]
    for ax, values, marker, face, label in shown:
        ax.plot(
            [np.nan if value is None else value for value in values], place, linestyle="none", marker=marker,
            markersize=6, markerfacecolor=face, markeredgecolor=COLOURS[0], label=label,
        )  # fmt: skip
    scores.set(xlabel="held-out score")
    times.set(xlabel="wall time (s)", xscale="log")
    memory.set(xlabel="peak memory (MB)", xscale="log")
    for ax in (scores, times):
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(
            handles[::-1], labels[::-1], fontsize="x-small", frameon=False, loc="lower center",
            bbox_to_anchor=(0.5, 1.0), ncols=2,
        )  # fmt: skip
    return axes


def _plot_compared_timescales(comparison: Comparison, ax: Axes, exact: Sequence[float] | None) -> None:
    """Timescales with 95 % intervals, one group for every process; open markers where they are unresolved."""
    results = comparison.results
    offsets = np.linspace(-0.34, 0.34, len(results)) if len(results) > 1 else np.zeros(1)
    for number, (result, offset) in enumerate(zip(results, offsets, strict=True)):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        failed = "" if result.failed is None else " (failed)"
        ax.plot([], [], linestyle="none", color=colour, marker=marker, markersize=6, label=result.method + failed)
        for process, scale in enumerate(result.timescales, 1):
            if scale.value is None:
                continue
            low = scale.value if scale.low is None else min(scale.low, scale.value)
            high = scale.value if scale.high is None else max(scale.high, scale.value)
            ax.errorbar(
                process + offset, scale.value, [[scale.value - low], [high - scale.value]], color=colour, marker=marker,
                markersize=6, capsize=3, linewidth=1.2, markerfacecolor="white" if scale.unresolved else colour,
            )  # fmt: skip
            if scale.high is None and scale.low is not None:  # no upper bound
                ax.errorbar(process + offset, scale.value, 0.6 * scale.value, lolims=True, color=colour, linewidth=1.2,
                            zorder=0)  # fmt: skip
    if any(scale.unresolved for result in results for scale in result.timescales):
        ax.plot([], [], linestyle="none", marker="o", markersize=6, color="0.35", markerfacecolor="white",
                label="unresolved")  # fmt: skip
    for process, value in enumerate([] if exact is None else list(exact)[: comparison.n_modes], 1):
        ax.plot([process - 0.42, process + 0.42], [value, value], color="0.35", linewidth=1, zorder=0,
                label="exact" if process == 1 else None)  # fmt: skip
    ax.set(yscale="log", ylabel=f"timescale ({comparison.unit})")
    values = [s.value for result in results for s in result.timescales if s.value is not None]
    bottom = 0.6 * min([comparison.lag_time, *values])
    ax.axhspan(bottom, comparison.lag_time, color="0.9", linewidth=0, zorder=-1, label="faster than the lag time")
    ax.set_ylim(bottom=bottom)
    ax.set_xlim(0.5, comparison.n_modes + 0.5)
    ax.set_xticks(range(1, comparison.n_modes + 1), [f"process {k + 1}" for k in range(comparison.n_modes)])
    ax.tick_params(axis="x", length=0)
    for edge in range(1, comparison.n_modes):
        ax.axvline(edge + 0.5, color="0.8", linewidth=0.8)
    ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
