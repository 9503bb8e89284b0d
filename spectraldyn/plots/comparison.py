"""The figure of methods side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.baselines import Comparison
from spectraldyn.plots.figures import CENTRED, COLOURS, OPEN, error_bars, legend_beside, log_ticks, look


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
        ax.set(ylim=(0.4, len(results) + 0.6), axisbelow=True)
        ax.grid(axis="y", color="0.92")
        for y, result in zip(place, results, strict=True):
            if result.failed is not None:
                ax.annotate("failed", (0.5, y), xycoords=("axes fraction", "data"), **CENTRED,
                            fontsize="small", style="italic", color="0.35")  # fmt: skip
    scores, times, memory = axes[1:]
    for ax, quantity, marker, face, label in (
        (scores, "vampe_test", "s", "white", "VAMP-E"),
        (scores, "vamp2_test", "o", COLOURS[0], "VAMP-2"),
        (times, "tuning_seconds", "D", "white", "with tuning"),
        (times, "seconds", "o", COLOURS[0], "one fit"),
        (memory, "peak_mb", "o", COLOURS[0], ""),
    ):
        values = np.array([getattr(result, quantity) for result in results], dtype=float)
        style = OPEN | {"marker": marker, "markerfacecolor": face, "markeredgecolor": COLOURS[0]}
        ax.plot(values, place, **style, label=label)
    scores.set(xlabel="held-out score")
    times.set(xlabel="wall time (s)", xscale="log")
    memory.set(xlabel="peak memory (MB)", xscale="log")
    for ax in (times, memory):
        log_ticks(ax.xaxis)
    for ax in (scores, times):
        ax.legend(
            fontsize="x-small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, reverse=True
        )
    return axes


def _plot_compared_timescales(comparison: Comparison, ax: Axes, exact: Sequence[float] | None) -> None:
    """Timescales with 95 % intervals, one group for every process; open markers where they are unresolved."""
    results = comparison.results
    offsets = np.linspace(-0.34, 0.34, len(results)) if len(results) > 1 else np.zeros(1)
    for number, (result, offset) in enumerate(zip(results, offsets, strict=True)):
        style = look(number) | {"markersize": 6}
        failed = "" if result.failed is None else " (failed)"
        ax.plot([], [], linestyle="none", **style, label=result.method + failed)
        for process, scale in enumerate(result.timescales, 1):
            if scale.value is None:
                continue
            bars = error_bars(scale.value, scale.low, scale.high)
            face = "white" if scale.unresolved else style["color"]
            ax.errorbar(process + offset, scale.value, bars, **style, capsize=3, linewidth=1.2, markerfacecolor=face)
            if scale.high is None and scale.low is not None:  # no upper bound
                ax.errorbar(process + offset, scale.value, 0.6 * scale.value, lolims=True, color=style["color"],
                            linewidth=1.2, zorder=0)  # fmt: skip
    if any(scale.unresolved for result in results for scale in result.timescales):
        ax.plot([], [], **OPEN, marker="o", color="0.35", label="unresolved")
    for process, value in enumerate([] if exact is None else list(exact)[: comparison.n_modes], 1):
        line = [process - 0.42, process + 0.42], [value, value]
        ax.plot(*line, color="0.35", linewidth=1, zorder=0, label="exact" if process == 1 else None)
    ax.set(yscale="log", ylabel=f"timescale ({comparison.unit})")
    values = [s.value for result in results for s in result.timescales if s.value is not None]
    bottom = 0.6 * min([comparison.lag_time, *values])
    ax.axhspan(bottom, comparison.lag_time, color="0.9", linewidth=0, zorder=-1, label="faster than the lag time")
    ax.set(xlim=(0.5, comparison.n_modes + 0.5), ylim=(bottom, None))
    ax.set_xticks(range(1, comparison.n_modes + 1), [f"process {k + 1}" for k in range(comparison.n_modes)])
    ax.tick_params(axis="x", length=0)
    for edge in range(1, comparison.n_modes):
        ax.axvline(edge + 0.5, color="0.8", linewidth=0.8)
    legend_beside(ax)
