"""The figure of methods side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.baselines import Comparison, standard_error, timescale_values
from spectraldyn.plots.figures import CENTRED, COLOURS, OPEN, error_bars, given_axes, legend_beside, log_ticks, look
from spectraldyn.spectra.timescales import in_time


def plot_comparison(
    comparison: Comparison, axes: Sequence[Axes] | None = None, exact: Sequence[float] | None = None
) -> list[Axes]:
    """Methods side by side: timescales by process, held-out scores, wall time and memory.

    Parameters
    ----------
    comparison : Comparison
    axes : sequence of four Axes, optional
        For timescales, scores, time and memory.
    exact : sequence of float, optional
        Known timescales in `comparison.unit`, slowest first; drawn as lines.

    Returns
    -------
    list of Axes
    """
    if axes is None:
        figure = Figure(figsize=(8.2, 6.6), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1), width_ratios=(1.4, 1, 1))
        axes = [figure.add_subplot(grid[0, :]), *(figure.add_subplot(grid[1, k]) for k in range(3))]
    axes = given_axes(axes, 4, "part")
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
    _plot_scores(comparison, scores, place)
    for ax, quantity, marker, face, label in (
        (times, "tuning_seconds", "D", "white", "with tuning"),
        (times, "seconds", "o", COLOURS[0], "one fit"),
        (memory, "peak_mb", "o", COLOURS[0], ""),
    ):
        values = np.array([getattr(result, quantity) for result in results], dtype=float)
        style = OPEN | {"marker": marker, "markerfacecolor": face, "markeredgecolor": COLOURS[0]}
        ax.plot(values, place, **style, label=label)
    times.set(xlabel="wall time (s)", xscale="log")
    memory.set(xlabel="peak memory (MB)", xscale="log")
    for ax in (times, memory):
        log_ticks(ax.xaxis)
    for ax in (scores, times):
        ax.legend(
            fontsize="x-small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, reverse=True
        )
    return axes


def _plot_scores(comparison: Comparison, ax: Axes, place: np.ndarray) -> None:
    """Medians with standard errors; a score below 0 is an arrow at the edge, as it would squeeze all others."""
    for score, shift, marker, face, label in (
        ("vampe_test", -0.17, "s", "white", "VAMP-E"),
        ("vamp2_test", 0.17, "o", None, "VAMP-2"),
    ):
        ax.plot(
            [], [], **OPEN | {"marker": marker, "markerfacecolor": face or COLOURS[0]}, color=COLOURS[0], label=label
        )
        for y, result, runs, marked in zip(
            place, comparison.results, comparison.runs, comparison.marks[score], strict=True
        ):
            value, colour = getattr(result, score), COLOURS[5 if marked else 0]
            if value is None:
                continue
            if value < 0:
                ax.annotate(f"◂ {value:.3g}", (0.01, y + shift), xycoords=("axes fraction", "data"), va="center",
                            fontsize="x-small", color=colour)  # fmt: skip
                continue
            error = standard_error([getattr(run, score) for run in runs])
            ax.errorbar(value, y + shift, xerr=error, marker=marker, markersize=5, color=colour, linewidth=1.2,
                        markerfacecolor=face or colour)  # fmt: skip
    if any(any(marked) for marked in comparison.marks.values()):
        ax.plot([], [], linestyle="none", marker="o", markersize=6, color=COLOURS[5], label="best or tied")
    # A wide error bar would squeeze all others too: scores end at one for every function and one for the constant.
    low, high = ax.get_xlim()
    ax.set(xlabel="held-out score", xlim=(max(low, -0.1), min(high, comparison.n_modes + 1.2)))


def _plot_compared_timescales(comparison: Comparison, ax: Axes, exact: Sequence[float] | None) -> None:
    """Timescales with 95 % intervals, one group for every process; open markers where they are unresolved.

    Small points beside a marker are the values of the single splits.
    """
    results, unit = comparison.results, comparison.display_unit
    offsets = np.linspace(-0.34, 0.34, len(results)) if len(results) > 1 else np.zeros(1)
    beside = min(0.04, 0.17 / len(results))  # at most a quarter of the way to the next method
    for number, (result, runs, offset) in enumerate(zip(results, comparison.runs, offsets, strict=True)):
        style = look(number) | {"markersize": 6}
        n_failed = sum(run.failed is not None for run in runs)
        some = f" (failed on {n_failed} of {len(runs)})" if n_failed else ""
        failed = some if result.failed is None else " (failed)"
        ax.plot([], [], linestyle="none", **style, label=result.method + failed)
        for process, scale in enumerate((in_time(scale, 1 / unit.size) for scale in result.timescales), 1):
            if scale.value is None:
                continue
            if comparison.n_splits > 1:
                single = np.array(timescale_values(runs, process - 1), dtype=float) / unit.size
                ax.plot(np.full(len(single), process + offset + beside), single, linestyle="none", marker=".",
                        markersize=3, color=style["color"])  # fmt: skip
            bars = error_bars(scale.value, scale.low, scale.high)
            face = "white" if scale.unresolved else style["color"]
            ax.errorbar(process + offset, scale.value, bars, **style, capsize=3, linewidth=1.2, markerfacecolor=face)
            if scale.high is None and scale.low is not None:  # no upper bound
                ax.errorbar(process + offset, scale.value, 0.6 * scale.value, lolims=True, color=style["color"],
                            linewidth=1.2, zorder=0)  # fmt: skip
    if any(scale.unresolved for result in results for scale in result.timescales):
        ax.plot([], [], **OPEN, marker="o", color="0.35", label="unresolved")
    if comparison.n_splits > 1:
        ax.plot([], [], linestyle="none", marker=".", markersize=3, color="0.35", label="single splits")
    for process, value in enumerate([] if exact is None else list(exact)[: comparison.n_modes], 1):
        line = [process - 0.42, process + 0.42], [value / unit.size] * 2
        ax.plot(*line, color="0.35", linewidth=1, zorder=0, label="exact" if process == 1 else None)
    ax.set(yscale="log", ylabel=f"timescale ({unit.name})")
    every = (run for runs in comparison.runs for run in runs)
    values = [scale.value / unit.size for run in every for scale in run.timescales if scale.value is not None]
    lag_time = comparison.lag_time / unit.size
    bottom = 0.6 * min([lag_time, *values])
    ax.axhspan(bottom, lag_time, color="0.9", linewidth=0, zorder=-1, label="faster than the lag time")
    ax.set(xlim=(0.5, comparison.n_modes + 0.5), ylim=(bottom, None))
    log_ticks(ax.yaxis)
    ax.set_xticks(range(1, comparison.n_modes + 1), [f"process {k + 1}" for k in range(comparison.n_modes)])
    ax.tick_params(axis="x", length=0)
    for edge in range(1, comparison.n_modes):
        ax.axvline(edge + 0.5, color="0.8", linewidth=0.8)
    legend_beside(ax)
