"""The pictures of concepts.md, from exact answers: `python docs/pictures.py` writes them beside this file."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import special_ortho_group

from spectraldyn.plots import COLOURS
from spectraldyn.systems import SYSTEMS, double_well

FOLDER = Path(__file__).parent
WELL = double_well(5.0)
LINES = ("-", "--", ":")


def two_axes() -> tuple[Figure, np.ndarray]:
    """Two panels side by side."""
    figure = Figure(figsize=(8.4, 3.1), layout="constrained")
    return figure, figure.subplots(1, 2)


def slow_mode() -> Figure:
    """A double well and its slowest mode, and a simulation seen through it."""
    figure, (left, right) = two_axes()
    x = np.linspace(-1.55, 1.55, 400)
    energy = WELL.energy(torch.from_numpy(x[:, None])).numpy()
    left.plot(x, energy, color="0.6", label="energy (kT)")
    left.plot(x, WELL.eigenfunctions(x[:, None], 1), color=COLOURS[0], label=f"mode 1, {1 / WELL.rates(1)[0]:.2g} ps")
    left.set(xlabel="x (nm)", ylim=(-2, 8), title="potential and slow mode")
    left.legend(fontsize="small", loc="upper center")
    path = WELL.simulate(1500, 0.1, seed=4)[0]
    time = 0.1 * np.arange(len(path))
    right.plot(time, path[:, 0], color="0.7", linewidth=0.7, label="x (nm)")
    right.plot(time, WELL.eigenfunctions(path, 1)[:, 0], color=COLOURS[0], linewidth=1.2, label="mode 1")
    right.set(xlabel="time (ps)", ylim=(-1.9, 2.6), title="one simulation")
    right.legend(fontsize="small", ncols=2, loc="upper center", framealpha=1)
    return figure


def lag_time() -> Figure:
    """Timescales from x, from the sign of x, and from the exact mode, against the lag time."""
    figure, (left, right) = two_axes()
    n_modes, lags = 40, np.geomspace(0.02, 40, 120)
    edges = np.linspace(*WELL.domain[0], 4001)
    x = (edges[1:] + edges[:-1]) / 2
    weight = np.exp(-WELL.energy(torch.from_numpy(x[:, None])).numpy())
    modes, rates = WELL.eigenfunctions(x[:, None], n_modes), WELL.rates(n_modes)
    features = {"x in place of the mode": x, "which side of 0": np.sign(x), "the exact mode": modes[:, 0]}
    for number, (name, values) in enumerate(features.items()):
        share = (weight / weight.sum() * values) @ modes
        correlation = (share**2 / (share**2).sum()) @ np.exp(-np.outer(rates, lags))
        style = {"linestyle": LINES[2 - number], "color": COLOURS[number], "label": name}
        left.semilogy(lags, correlation, **style)
        right.semilogx(lags, -lags / np.log(correlation), **style)
    right.fill_between(lags, 0, lags, color="0.88", linewidth=0)
    right.text(9, 2.5, "shorter than\nthe lag time", ha="center", fontsize="small")
    left.set(xlabel="lag time (ps)", title="correlation after the lag time", xlim=(0, 5), ylim=(0.68, 1.03))
    left.set_yticks([0.7, 0.8, 0.9, 1.0], ["0.7", "0.8", "0.9", "1"])
    left.minorticks_off()
    left.legend(fontsize="small")
    right.set(xlabel="lag time (ps)", ylabel="implied timescale (ps)", title="what it implies", ylim=(0, 21))
    right.set(xlim=(lags[0], lags[-1]), xticks=[0.1, 1, 10], xticklabels=["0.1", "1", "10"])
    return figure


def nested() -> Figure:
    """Three functions with the right span, and the same span in order."""
    figure, (left, right) = two_axes()
    prinz = SYSTEMS["prinz"]
    x = np.linspace(-1.15, 1.15, 400)
    modes = prinz.eigenfunctions(x[:, None], 3)
    modes = modes * np.sign(modes[-1])
    mixed = modes @ special_ortho_group.rvs(3, random_state=1)
    times = 1 / prinz.rates(3)
    panels: list[tuple[Axes, np.ndarray, list[str]]] = [
        (left, mixed, ["f", "g", "h"]),
        (right, modes, [f"{k}: {time:.2g} ps" for k, time in enumerate(times, 1)]),
    ]
    for ax, functions, names in panels:
        for number, (values, name) in enumerate(zip(functions.T, names, strict=True)):
            ax.plot(x, values, LINES[number], color=COLOURS[number], label=name)
        ax.set(xlabel="x (nm)", ylim=(-3.4, 4.6))
        ax.legend(fontsize="small", ncols=3, loc="upper center", columnspacing=1.2)
    left.set_title("the right span, in no order")
    right.set_title("nested: each the slowest that is left")
    return figure


if __name__ == "__main__":
    for picture in (slow_mode, lag_time, nested):
        picture().savefig(FOLDER / f"{picture.__name__}.png", dpi=130)
