"""The figure of a scan."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.pipeline import N_SHOWN, Scan
from spectraldyn.plots.figures import error_bars, given_axes, legend_beside, log_ticks, look

TITLES = {"lag": "lag time", "modes": "number of modes", "features": "features"}


def plot_scan(scan: Scan, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """The slowest timescales with 95 % intervals against lag time, number of modes and features.

    Parameters
    ----------
    scan : Scan
    axes : sequence of Axes, optional
        One for each of ``scan.axes``.

    Returns
    -------
    list of Axes
    """
    if axes is None:
        size = 2.9 * len(scan.axes) + 1.9, 3.7
        panels = Figure(figsize=size, layout="constrained").subplots(1, len(scan.axes), squeeze=False, sharey=True)
        axes = list(panels[0])
    axes = given_axes(axes, len(scan.axes), "setting that was varied")
    for axis, ax in zip(scan.axes, axes, strict=True):
        _plot_axis(scan, axis, ax)
    seen = [x for fit in scan.fits for scale in fit.timescales[:N_SHOWN] for x in (scale.value, scale.high) if x]
    shortest = min(scan.time.time(fit.lagtime) for fit in scan.fits)
    for ax in axes:
        ax.set_ylim(0.7 * shortest, 1.5 * max([shortest, *seen]))
        log_ticks(ax.yaxis)
    axes[0].set_ylabel(f"timescale ({scan.unit})")
    legend_beside(axes[-1])
    return axes


def _plot_axis(scan: Scan, axis: str, ax: Axes) -> None:
    """One panel; what is faster than the lag time lies in the grey."""
    fits, is_lag = scan.along(axis), axis == "lag"
    lags = np.array([scan.time.time(fit.lagtime) for fit in fits])
    place = lags if is_lag else np.arange(len(fits), dtype=float)
    for k in range(min(N_SHOWN, max(len(fit.timescales) for fit in fits))):
        scales = [fit.timescales[k] if k < len(fit.timescales) else None for fit in fits]
        parts = [[getattr(scale, part, None) for scale in scales] for part in ("value", "low", "high")]
        value, low, high = np.array(parts, dtype=float)
        # Side by side where intervals overlap.
        x = place * 1.04 ** (k - 1) if is_lag else place + 0.1 * (k - 1)
        if axis != "features":  # these have no order
            ax.plot(x, value, color=look(k)["color"], linewidth=0.8)
        for at, scale, bars in zip(x, scales, error_bars(value, low, high).T, strict=True):
            if scale is None or scale.value is None:
                continue
            face = "white" if scale.unresolved else look(k)["color"]
            ax.errorbar(at, scale.value, bars[:, None], **look(k), markerfacecolor=face, markersize=5.5, capsize=3,
                        linewidth=1.2)  # fmt: skip
        ax.plot([], [], **look(k), markersize=5.5, linewidth=1.2, label=f"process {k + 1}")
    if any(scale.unresolved for fit in scan.fits for scale in fit.timescales[:N_SHOWN]):
        ax.plot([], [], linestyle="none", marker="o", markerfacecolor="white", color="0.35", label="unresolved")
    reach = lags[[0, -1]] * [1 / 1.3, 1.3] if is_lag else np.array([-0.5, len(fits) - 0.5])
    ends = reach if is_lag else lags[[0, 0]]
    ax.fill_between(reach, ends, 1e-12, color="0.88", linewidth=0, zorder=0, label="faster than the lag time")
    ax.axvline(place[fits.index(scan.fits[0])], color="0.35", linestyle=":", linewidth=1, zorder=0, label="reference")
    ax.set(yscale="log", xlim=reach, xlabel=TITLES[axis] + (f" ({scan.unit})" if is_lag else ""))
    if is_lag:
        ax.set(xscale="log")
        ax.set_xticks(lags, [fit.setting(axis, scan.time) for fit in fits], minor=False)
        ax.set_xticks([], minor=True)
    else:
        ax.set_xticks(place, [fit.setting(axis, scan.time).replace(",", ",\n") for fit in fits])
