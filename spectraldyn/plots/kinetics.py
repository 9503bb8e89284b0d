"""Figures of how the system moves between its sets: the network of passages, and the modes in time."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from spectraldyn.pipeline import Results, TransferResults, format_number, trajectory_name
from spectraldyn.plots.figures import CENTRED, figure_axes, given_axes, look

PAIRS_PER_SET = 2
MAX_POINTS = 4000
MAX_MODES = 4
SMALLEST, LARGEST = 0.17, 0.42
"""Radius of the circle of an empty set, and of one that holds everything, where sets lie on a circle of radius 1."""


def plot_network(results: TransferResults, ax: Axes | None = None) -> Axes:
    """Metastable sets as circles, passages between them as arrows with their mean first passage times.

    Areas of circles grow with the populations, widths of arrows with the logarithm of the reactive flux. Of many sets
    the pairs with the largest fluxes are drawn, twice as many as there are sets.
    """
    if not isinstance(results, TransferResults):
        raise ValueError("these results have no passage times: they belong to a generator")
    populations, kinetics = results.populations.value, results.kinetics
    n_sets = len(populations)
    ax = ax or figure_axes(5.2, 2.2 if n_sets == 2 else 4.6)
    angles = (0.0 if n_sets == 2 else np.pi / 2) - 2 * np.pi * np.arange(n_sets) / n_sets + np.pi * (n_sets == 2)
    places = np.column_stack((np.cos(angles), np.sin(angles)))
    sizes = np.sqrt(SMALLEST**2 + (LARGEST**2 - SMALLEST**2) * populations)
    known = np.isfinite(kinetics.mfpt.value)
    unit = results.data.time.unit_for(kinetics.mfpt.value[known].max(initial=results.lag_time))
    flux = {pair: kinetics.fluxes.value[pair] for pair in combinations(range(n_sets), 2)}
    seen = sorted((pair for pair, value in flux.items() if value > 0), key=flux.__getitem__, reverse=True)
    shown = seen[: PAIRS_PER_SET * n_sets]
    for pair in shown:
        width = 1 + 4 * _share(flux[pair], [flux[other] for other in shown])
        for a, b in (pair, pair[::-1]):
            if known[a, b]:
                time = format_number(kinetics.mfpt.value[a, b] / unit.size, "")
                _arrow(ax, places[[a, b]], sizes[[a, b]], width, f"{time} {unit.name}")
    for number, (place, size) in enumerate(zip(places, sizes, strict=True)):
        ax.add_patch(Circle(tuple(place), size, facecolor="white", edgecolor=look(number)["color"], linewidth=3))
        ax.annotate(f"{number + 1}\n{100 * populations[number]:.2g} %", tuple(place), **CENTRED, fontsize="small")
    (left, bottom), (right, top) = places.min(axis=0) - 0.5, places.max(axis=0) + 0.5
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect=1)
    ax.set_axis_off()
    return ax


def _share(flux: float, all_fluxes: Sequence[float]) -> float:
    """Between 0 for the smallest and 1 for the largest, on the logarithm."""
    low, high = np.log(min(all_fluxes)), np.log(max(all_fluxes))
    return 1.0 if high == low else float((np.log(flux) - low) / (high - low))


def _arrow(ax: Axes, places: np.ndarray, sizes: np.ndarray, width: float, text: str) -> None:
    """A curved arrow from the rim of one circle to that of another, to the left of the straight line, and its text."""
    along = (places[1] - places[0]) / np.linalg.norm(places[1] - places[0])
    aside = np.array([-along[1], along[0]])
    start, end = (
        places[k] + (sizes[k] + 0.03) * (sign * along * np.cos(0.35) + aside * np.sin(0.35))
        for k, sign in ((0, 1), (1, -1))
    )
    bend = 0.12
    # matplotlib bends to the other side where the angle is positive.
    style = f"Simple,tail_width={width:.2f},head_width={4 + 2 * width:.2f},head_length={4 + 2 * width:.2f}"
    curve = f"arc3,rad={-bend}"
    ax.add_patch(FancyArrowPatch(tuple(start), tuple(end), arrowstyle=style, connectionstyle=curve, color="0.45", lw=0))
    middle = (start + end) / 2 + aside * (0.5 * bend * np.linalg.norm(end - start) + 0.06)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    ax.annotate(text, tuple(middle), **CENTRED, fontsize="small", bbox=box)


def plot_time_series(results: Results, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """The slow modes in the trajectory in which the slowest varies most, one panel each; colours are the sets.

    Parameters
    ----------
    results : Results
    axes : sequence of Axes, optional
        One for each of at most the four slowest modes.

    Returns
    -------
    list of Axes
    """
    data, n_modes = results.data, min(results.modes.shape[1], MAX_MODES)
    if axes is None:
        figure = Figure(figsize=(8.4, 0.9 + 1.15 * n_modes), layout="constrained")
        axes = list(figure.subplots(n_modes, 1, sharex=True, squeeze=False)[:, 0])
    axes = given_axes(axes, n_modes, "mode")
    slowest = results.modes[:, 0]
    chosen = int(np.argmax([len(s) * slowest[s.start : s.stop].var() for s in data.stretches]))
    stretch = data.stretches[chosen]
    rows = np.arange(stretch.start, stretch.stop, -(-len(stretch) // MAX_POINTS))
    unit = data.time.unit_for(data.time.time(len(stretch)))
    times = data.time.row_time * (rows - stretch.start) / unit.size
    own = results.sets.assignment[rows]
    for number, ax in enumerate(axes):
        values = results.modes[rows, number]
        ax.plot(times, values, color="0.8", linewidth=0.5, rasterized=True)
        for state in range(len(results.sets.populations)):
            mine = own == state
            ax.plot(
                times[mine], values[mine], **look(state), linestyle="none", markersize=2, markeredgewidth=0,
                rasterized=True, label=f"set {state + 1}",
            )  # fmt: skip
        ax.set_ylabel(f"mode {number + 1}")
        ax.margins(x=0.01)
    axes[0].legend(
        fontsize="x-small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=6, markerscale=3, frameon=False
    )
    axes[-1].set_xlabel(f"time from the first frame analysed of {trajectory_name(data, chosen)} ({unit.name})")
    return axes
