"""Figures of one slow spectrum."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.data import Column
from spectraldyn.pipeline import GeneratorResults, Results, TransferResults
from spectraldyn.plots.figures import COLOURS, MARKERS, figure_axes, figure_of
from spectraldyn.spectra.timescales import Timescale

MAX_POINTS = 20_000


def plot_timescales(results: TransferResults, ax: Axes | None = None) -> Axes:
    """Implied timescales of all processes against the lag time, with 95 % bands and the lag time of the fit.

    Refits at each lag time, where there are any, are open markers with error bars over the lines.
    """
    if not isinstance(results, TransferResults):
        raise ValueError("these results have no lag times: they belong to a generator; see plot_rates")
    ax = ax or figure_axes()
    lags = np.array(sorted(results.timescales_by_lag))
    times = lags * results.data.time.row_time
    n_modes = max(len(scales) for scales in results.timescales_by_lag.values())
    resolved_values = []
    for k in range(n_modes):
        value, low, high = _process(results.timescales_by_lag, lags, k)
        # A process is drawn only where it is slower than the lag time: below, the estimate is all noise.
        seen = value > times
        if not seen.any():
            continue
        resolved_values.append(value[seen])
        fitted = results.timescales[k] if k < len(results.timescales) else None
        unresolved = fitted is None or fitted.unresolved is not None
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(
            times[seen],
            value[seen],
            color=colour,
            marker=MARKERS[k % len(MARKERS)],
            markersize=4.5 if results.refitted_timescales_by_lag is None else 3,
            markerfacecolor="white" if unresolved else colour,
            linestyle="--" if unresolved else "-",
            label=f"process {k + 1}" + (" (unresolved)" if unresolved else ""),
        )
        bounded = seen & (np.isfinite(low) | np.isfinite(high))
        if bounded.any():
            top = np.where(np.isfinite(high), high, 1e3 * np.nanmax(value))
            bottom = np.where(np.isfinite(low), low, times)
            ax.fill_between(times[bounded], bottom[bounded], top[bounded], color=colour, alpha=0.2, linewidth=0)
    resolved_values += _draw_refits(results, ax)
    room = 1.1 if len(times) > 1 else 11.0  # for the first and the last markers
    reach = times[[0, -1]] * [1 / room, room]
    ax.fill_between(reach, reach, 1e-12, color="0.88", linewidth=0, label="faster than the lag time")
    ax.axvline(results.lag_time, color="0.35", linestyle=":", linewidth=1, label="lag time of the fit")
    ax.set(xscale="log", yscale="log", xlabel=f"lag time ({results.unit})", ylabel=f"timescale ({results.unit})")
    ax.set_xlim(*reach)
    if resolved_values:
        ax.set_ylim(times[0], 3 * max(v.max() for v in resolved_values))
    ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return ax


def _process(by_lag: dict[int, list[Timescale]], lags: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, lower and upper bounds of process k at the lag times, NaN where there is none."""
    rows = [by_lag[lag][k] if k < len(by_lag[lag]) else None for lag in lags]
    value, low, high = (
        np.array([np.nan if row is None or getattr(row, part) is None else getattr(row, part) for row in rows])
        for part in ("value", "low", "high")
    )
    return value, low, high


def _draw_refits(results: TransferResults, ax: Axes) -> list[np.ndarray]:
    """Timescales of the refits over the lines of the one fit; returns the values drawn."""
    refits = results.refitted_timescales_by_lag
    if refits is None:
        return []
    lags = np.array(sorted(refits))
    times = lags * results.data.time.row_time
    drawn = []
    # Larger than the markers on the lines, which stay visible inside.
    style: dict[str, Any] = {
        "linestyle": "none", "markersize": 7, "markeredgewidth": 0.9, "markerfacecolor": "none", "capsize": 4,
        "linewidth": 1, "zorder": 3,
    }  # fmt: skip
    for k in range(max(len(scales) for scales in refits.values())):
        value, low, high = _process(refits, lags, k)
        seen = value > times
        if not seen.any():
            continue
        # An open end reaches out of the picture; an interval may lie to one side of the value.
        low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 1e3 * np.nanmax(value))
        bars = np.clip([value - low, high - value], 0, None)[:, seen]
        ax.errorbar(times[seen], value[seen], bars, color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)],
                    **style)  # fmt: skip
        drawn.append(value[seen])
    ax.errorbar([], [], [], color="0.35", marker="o", label="refitted at each lag", **style)
    return drawn


def plot_rates(results: GeneratorResults, ax: Axes | None = None) -> Axes:
    """Relaxation rates of a generator with 95 % intervals, beside the exact ones where the potential is known."""
    if not isinstance(results, GeneratorResults):
        raise ValueError("these results have no rates: they belong to a transfer operator; see plot_timescales")
    ax = ax or figure_axes()
    number = np.arange(1, len(results.rates) + 1)
    if results.exact_rates is not None:
        ax.plot(
            number, results.exact_rates, linestyle="none", marker="_", markersize=22, markeredgewidth=2, color="0.55",
            label="exact",
        )  # fmt: skip
    value = np.array([rate.value for rate in results.rates])
    low, high = (
        np.array([rate.value if getattr(rate, end) is None else getattr(rate, end) for rate in results.rates])
        for end in ("low", "high")
    )
    # A bootstrap interval may lie to one side of the value.
    bars = np.clip([value - low, high - value], 0, None)
    ax.errorbar(number, value, bars, color=COLOURS[0], marker="o", markersize=5, linestyle="none", capsize=3,
                label="learned, 95 % interval")  # fmt: skip
    ax.set(yscale="log", xlabel="process", ylabel=f"rate (1/{results.unit})", xticks=number)
    ax.set_xlim(0.4, len(number) + 0.6)
    ax.legend(fontsize="small", frameon=False)
    return ax


def plot_singular_values(results: Results, ax: Axes | None = None) -> Axes:
    """Singular values from the norms of the functions as trained, beside those from Rayleigh–Ritz."""
    ax = ax or figure_axes(4.2, 3.2)
    ritz, norms = results.model.singular_values, results.model.spectrum.norms
    trained, read_off = np.arange(1, len(norms) + 1), np.arange(1, len(ritz) + 1)
    ax.bar(trained - 0.2, norms, 0.38, color=COLOURS[4], label="norms, as trained")
    ax.bar(read_off + 0.2, ritz, 0.38, color=COLOURS[0], hatch="//", edgecolor="white", label="Rayleigh–Ritz")
    ax.set(xlabel="mode", ylabel="singular value", xticks=trained, ylim=(0, 1.2 * max(norms.max(), ritz.max())))
    ax.legend(fontsize="small", loc="upper center", ncols=2, frameon=False)
    return ax


def plot_free_energy(results: Results, ax: Axes | None = None) -> Axes:
    """Free energy −ln p in kT along the slowest mode, or in the plane of the two slowest."""
    ax = ax or figure_axes()
    modes = results.modes
    if modes.shape[1] == 1:
        counts, edges = np.histogram(modes[:, 0], bins=80)
        with np.errstate(divide="ignore"):
            energy = -np.log(counts / counts.max())
        ax.stairs(np.where(np.isfinite(energy), energy, np.nan), edges, baseline=None, color=COLOURS[0])
        ax.set(xlabel="mode 1", ylabel="free energy (kT)")
        return ax
    counts, x, y = np.histogram2d(modes[:, 0], modes[:, 1], bins=90)
    with np.errstate(divide="ignore"):
        energy = -np.log(counts / counts.max())
    mesh = ax.pcolormesh(x, y, np.where(counts > 0, energy, np.nan).T, cmap=colormaps["viridis"], rasterized=True)
    for state, rows in enumerate(results.representatives):
        if len(rows):
            ax.plot(*modes[rows[0], :2], marker="o", color="white", markeredgecolor="black", markersize=13)
            ax.annotate(
                str(state + 1), (modes[rows[0], 0], modes[rows[0], 1]), ha="center", va="center", fontsize="small"
            )
    ax.use_sticky_edges = False  # room for the numbers of states at the edge
    ax.margins(0.07)
    ax.set(xlabel="mode 1 (standard deviations)", ylabel="mode 2 (standard deviations)")
    figure_of(ax).colorbar(mesh, ax=ax, label="free energy (kT)")
    return ax


def plot_states(results: Results, ax: Axes | None = None) -> Axes:
    """Frames coloured by metastable set, in the plane that shows the molecule best (see `coordinates`)."""
    ax = ax or figure_axes(4.9, 4.1)
    x, y, labels = coordinates(results)
    rows = _some_rows(len(x))
    assignment = results.sets.assignment
    for state, population in enumerate(results.sets.populations):
        mine = rows[assignment[rows] == state]
        ax.plot(
            x[mine],
            y[mine],
            linestyle="none",
            marker=MARKERS[state % len(MARKERS)],
            markersize=2.5,
            markeredgewidth=0,
            alpha=0.6,
            color=COLOURS[state % len(COLOURS)],
            rasterized=True,
            label=f"{state + 1}: {100 * population:.2g} %",
        )
    for state, frames in enumerate(results.representatives):
        if len(frames):
            ax.annotate(
                str(state + 1),
                (x[frames[0]], y[frames[0]]),
                ha="center",
                va="center",
                bbox={"boxstyle": "circle", "facecolor": "white", "edgecolor": COLOURS[state % len(COLOURS)]},
            )
    ax.set(xlabel=labels[0], ylabel=labels[1])
    _angle_limits(ax, labels)
    ax.legend(
        title="state: population", fontsize="x-small", title_fontsize="x-small", markerscale=3, frameon=False,
        loc="upper left", bbox_to_anchor=(1.0, 1.0),
    )  # fmt: skip
    return ax


def plot_modes(results: Results, axes: np.ndarray | None = None) -> np.ndarray:
    """The slow modes, one panel each: as colour in the plane of `plot_states`; of a single coordinate, as curves."""
    n_modes = min(results.modes.shape[1], 4)
    if axes is None:
        axes = Figure(figsize=(3.6 * n_modes, 3.0), layout="constrained").subplots(1, n_modes, squeeze=False)[0]
    x, y, labels = coordinates(results)
    rows = _some_rows(len(x))
    for k, ax in enumerate(axes):
        mode = results.modes[rows, k]
        if len(results.data.columns) == 1:
            ax.plot(x[rows], mode, ".", markersize=2, color=COLOURS[0], rasterized=True)
            ax.set(xlabel=labels[0], ylabel="standard deviations" if k == 0 else "", title=f"mode {k + 1}")
            continue
        limit = np.quantile(np.abs(mode), 0.99)
        points = ax.scatter(
            x[rows], y[rows], c=mode, s=2, cmap="coolwarm", vmin=-limit, vmax=limit, linewidths=0, rasterized=True
        )
        ax.set(xlabel=labels[0], ylabel=labels[1] if k == 0 else "", title=f"mode {k + 1}")
        _angle_limits(ax, labels)
        figure_of(ax).colorbar(points, ax=ax, label="standard deviations" if k == n_modes - 1 else "", shrink=0.8)
    return axes


def coordinates(results: Results) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Two coordinates of every row in which to draw it, and their labels.

    The backbone torsions φ and ψ in degrees of the residue whose torsions follow the slow modes most closely, where
    they are among the features; the features themselves where there are at most two; else the two slowest modes.
    """
    data, modes = results.data, results.modes
    torsions = _torsions(data.columns)
    if torsions:
        rows = _some_rows(data.n_rows)

        def strength(residue: str) -> float:
            picked = data.rows(rows)[:, torsions[residue]]
            return float(np.nansum(np.corrcoef(picked.T, modes[rows].T)[:4, 4:] ** 2))

        best = max(torsions, key=strength)
        values = [data.column(number) for number in torsions[best]]
        phi, psi = (np.degrees(np.arctan2(values[k + 1], values[k])) for k in (0, 2))
        return phi, psi, (f"φ of {best} (degrees)", f"ψ of {best} (degrees)")
    labels = [column.name + (f" ({column.unit})" if column.unit else "") for column in data.columns[:2]]
    if len(data.columns) == 2:
        return data.column(0), data.column(1), (labels[0], labels[1])
    if len(data.columns) == 1:
        return data.column(0), modes[:, 0], (labels[0], "mode 1 (standard deviations)")
    return (
        modes[:, 0],
        modes[:, min(1, modes.shape[1] - 1)],
        (
            "mode 1 (standard deviations)",
            "mode 2 (standard deviations)",
        ),
    )


def _torsions(columns: tuple[Column, ...]) -> dict[str, list[int]]:
    """Residue → numbers of cos φ, sin φ, cos ψ and sin ψ, where all four are among the columns."""
    place = {(column.kind, column.site, column.part): number for number, column in enumerate(columns)}
    wanted = {
        column.site: [(kind, column.site, part) for kind in ("phi", "psi") for part in ("cos", "sin")]
        for column in columns
        if column.kind == "phi"
    }
    return {site: [place[key] for key in keys] for site, keys in wanted.items() if all(key in place for key in keys)}


def _some_rows(n_rows: int) -> np.ndarray:
    """At most MAX_POINTS rows, evenly spaced."""
    return np.arange(0, n_rows, -(-n_rows // MAX_POINTS))


def _angle_limits(ax: Axes, labels: tuple[str, str]) -> None:
    if labels[0].endswith("(degrees)"):
        ax.set(xlim=(-180, 180), ylim=(-180, 180), xticks=range(-180, 181, 90), yticks=range(-180, 181, 90), aspect=1)
