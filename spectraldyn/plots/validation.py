"""The figure of the Chapman–Kolmogorov test."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.pipeline import TransferResults
from spectraldyn.plots.figures import COLOURS, error_bars, given_axes

MOST_SETS = 4


def plot_chapman_kolmogorov(results: TransferResults, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Chance to be in a metastable set some time after having been there, predicted and estimated, with 95 % intervals.

    Parameters
    ----------
    results : TransferResults
    axes : sequence of Axes, optional
        One for each set, of which at most the four most populated are drawn; without a test the first says so.

    Returns
    -------
    list of Axes
    """
    test = results.chapman_kolmogorov
    n_sets = 1 if test is None else min(test.predicted.value.shape[1], MOST_SETS)
    if axes is None:
        axes = list(Figure(figsize=(2.6 * n_sets, 2.9), layout="constrained").subplots(1, n_sets, squeeze=False)[0])
    axes = given_axes(axes, n_sets, "set")
    if test is None:
        axes[0].text(0.5, 0.5, "no test: no trajectory\nis long enough", ha="center", va="center")
        axes[0].set_axis_off()
        return axes
    unit = results.data.time.unit_for(results.data.time.time(int(test.lagtimes[-1])))
    times = results.data.time.row_time * test.lagtimes / unit.size
    for number, ax in enumerate(axes):
        predicted, low, high = (part[:, number] for part in test.predicted)
        ax.plot(times, predicted, color=COLOURS[0], label="predicted")
        ax.fill_between(times, low, high, color=COLOURS[0], alpha=0.25, linewidth=0)
        estimated = [part[:, number] for part in test.estimated]
        bars = error_bars(*estimated)
        ax.errorbar(
            times, estimated[0], yerr=bars, fmt="o", color="black", markersize=4, capsize=2, label="from the data"
        )
        ax.set(xlabel=f"time ({unit.name})", title=f"set {number + 1}", ylim=(min(0, np.nanmin(low)), None))
    axes[0].set_ylabel("chance to be there again")
    axes[0].legend(frameon=False, fontsize="x-small", loc="lower left")
    return axes
