"""Figures of one slow spectrum."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectraldyn.data import Column
from spectraldyn.pipeline import GeneratorResults, Results, TransferResults
from spectraldyn.plots.figures import (
    CENTRED,
    COLOURS,
    error_bars,
    figure_axes,
    figure_of,
    given_axes,
    legend_beside,
    log_ticks,
    look,
    some_rows,
)
from spectraldyn.spectra.timescales import ByLag, in_time

MODE_LABELS = ("mode 1 (standard deviations)", "mode 2 (standard deviations)")


def plot_timescales(results: TransferResults, ax: Axes | None = None) -> Axes:
    """Implied timescales of all processes against the lag time, with 95 % bands and the lag time of the fit.

    Refits at each lag time, where there are any, are open markers with error bars over the lines.
    """
    if not isinstance(results, TransferResults):
        raise ValueError("these results have no lag times: they belong to a generator; see plot_rates")
    ax = ax or figure_axes()
    unit, refits = results.display_unit, results.refitted_timescales_by_lag
    row_time, by_lag = results.data.time.row_time / unit.size, _shown(results.timescales_by_lag, unit.size)
    tops = []
    for k, times, value, low, high in _slow_processes(by_lag, row_time):
        fitted = results.timescales[k] if k < len(results.timescales) else None
        unresolved = fitted is None or fitted.unresolved is not None
        style = look(k)
        ax.plot(
            times, value, **style, markersize=4.5 if refits is None else 3, linestyle="--" if unresolved else "-",
            markerfacecolor="white" if unresolved else style["color"],
            label=f"process {k + 1}" + (" (unresolved)" if unresolved else ""),
        )  # fmt: skip
        bounded = np.isfinite(low) | np.isfinite(high)
        if bounded.any():
            bottom, top = np.where(np.isfinite(low), low, times), _up_to(high, value)
            ax.fill_between(times[bounded], bottom[bounded], top[bounded], color=style["color"], alpha=0.2, linewidth=0)
        tops.append(value.max())
    if refits is not None:
        tops += _draw_refits(_shown(refits, unit.size), row_time, ax)
    times = row_time * np.array(sorted(by_lag))
    room = 1.1 if len(times) > 1 else 11.0  # for the first and the last markers
    reach = times[[0, -1]] * [1 / room, room]
    ax.fill_between(reach, reach, 1e-12, color="0.88", linewidth=0, label="faster than the lag time")
    ax.axvline(results.lag_time / unit.size, color="0.35", linestyle=":", linewidth=1, label="lag time of the fit")
    ax.set(xscale="log", yscale="log", xlabel=f"lag time ({unit.name})", ylabel=f"timescale ({unit.name})")
    ax.set_xlim(*reach)
    if tops:
        ax.set_ylim(times[0], 3 * max(tops))
    log_ticks(ax.xaxis)
    log_ticks(ax.yaxis)
    legend_beside(ax)
    return ax


def _shown(by_lag: ByLag, unit_size: float) -> ByLag:
    """The same timescales in a unit of this size."""
    return {lag: [in_time(scale, 1 / unit_size) for scale in scales] for lag, scales in by_lag.items()}


def _slow_processes(
    by_lag: ByLag, row_time: float
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Number, lag times, values, lower and upper bounds (NaN: none) of every process where it is slower than the lag.

    Below, the estimate is all noise.
    """
    times = row_time * np.array(sorted(by_lag))
    for k in range(max(map(len, by_lag.values()))):
        scales = [by_lag[lag][k] if k < len(by_lag[lag]) else None for lag in sorted(by_lag)]
        parts = [[getattr(scale, part, None) for scale in scales] for part in ("value", "low", "high")]
        value, low, high = np.array(parts, dtype=float)
        seen = value > times
        if seen.any():
            yield k, times[seen], value[seen], low[seen], high[seen]


def _up_to(high: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Upper bounds; an open end reaches out of the picture."""
    return np.where(np.isfinite(high), high, 1e3 * value.max())


def _draw_refits(refits: ByLag, row_time: float, ax: Axes) -> list[float]:
    """Timescales of the refits over the lines of the one fit; returns the largest of every process."""
    # Larger than the markers on the lines, which stay visible inside.
    style: dict[str, Any] = {"linestyle": "none", "markersize": 7, "markeredgewidth": 0.9, "markerfacecolor": "none"}
    style |= {"capsize": 4, "linewidth": 1, "zorder": 3}
    tops = []
    for k, times, value, low, high in _slow_processes(refits, row_time):
        bars = error_bars(value, np.where(np.isfinite(low), low, 0.0), _up_to(high, value))
        ax.errorbar(times, value, bars, **look(k), **style)
        tops.append(value.max())
    ax.errorbar([], [], [], color="0.35", marker="o", label="refitted at each lag", **style)
    return tops


def plot_rates(results: GeneratorResults, ax: Axes | None = None) -> Axes:
    """Relaxation rates of a generator with 95 % intervals, beside the exact ones where the potential is known."""
    if not isinstance(results, GeneratorResults):
        raise ValueError("these results have no rates: they belong to a transfer operator; see plot_timescales")
    ax = ax or figure_axes()
    unit, number = results.display_unit, np.arange(1, len(results.rates) + 1)
    if results.exact_rates is not None:
        ax.plot(
            number, unit.size * results.exact_rates, "_", markersize=22, markeredgewidth=2, color="0.55", label="exact"
        )
    parts = [[getattr(rate, part) for rate in results.rates] for part in ("value", "low", "high")]
    value, low, high = unit.size * np.array(parts, dtype=float)
    style = look(0) | {"markersize": 5, "linestyle": "none", "capsize": 3}
    ax.errorbar(number, value, error_bars(value, low, high), **style, label="learned, 95 % interval")
    ax.set(yscale="log", xlabel="process", ylabel=f"rate (1/{unit.name})", xticks=number, xlim=(0.4, len(number) + 0.6))
    log_ticks(ax.yaxis)
    ax.legend(fontsize="small", frameon=False)
    return ax


def plot_singular_values(results: Any, ax: Axes | None = None) -> Axes:
    """Singular values from the norms of the functions as trained, beside those from Rayleigh–Ritz.

    Parameters
    ----------
    results : Results, NeuralSVDModel or GeneratorModel
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = ax or figure_axes(4.2, 3.2)
    model = getattr(results, "model", results)
    ritz, norms = model.singular_values, model.spectrum.norms
    trained, read_off = np.arange(1, len(norms) + 1), np.arange(1, len(ritz) + 1)
    ax.bar(trained - 0.2, norms, 0.38, color=COLOURS[4], label="norms, as trained")
    ax.bar(read_off + 0.2, ritz, 0.38, color=COLOURS[0], hatch="//", edgecolor="white", label="Rayleigh–Ritz")
    ax.set(xlabel="mode", ylabel="singular value", xticks=trained, ylim=(0, 1.2 * max(norms.max(), ritz.max())))
    ax.legend(fontsize="small", loc="upper center", ncols=2, frameon=False)
    return ax


def plot_free_energy(results: Results, ax: Axes | None = None) -> Axes:
    """Free energy −ln p in kT along a single slow mode, else in the plane of `plot_states`, sets by their numbers."""
    ax = ax or figure_axes()
    modes = results.modes
    if modes.shape[1] == 1:
        counts, edges = np.histogram(modes[:, 0], bins=80)
        ax.stairs(_energy(counts), edges, baseline=None, color=COLOURS[0])
        ax.set(xlabel=MODE_LABELS[0], ylabel="free energy (kT)")
        return ax
    across, up, labels = coordinates(results)
    counts, x, y = np.histogram2d(across, up, bins=90)
    mesh = ax.pcolormesh(x, y, _energy(counts).T, cmap=colormaps["viridis"], rasterized=True)
    _number_states(results, across, up, ax)
    ax.use_sticky_edges = False  # room for the numbers of states at the edge
    ax.margins(0.07)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    _angle_limits(ax, labels)
    figure_of(ax).colorbar(mesh, ax=ax, label="free energy (kT)")
    return ax


def _energy(counts: np.ndarray) -> np.ndarray:
    """−ln p relative to its minimum, NaN where nothing was counted."""
    return -np.log(np.where(counts > 0, counts, np.nan) / counts.max())


def _number_states(results: Results, x: np.ndarray, y: np.ndarray, ax: Axes) -> None:
    """The number of every state that has representatives, at the frame that is most typical of it."""
    for state, rows in enumerate(results.representatives):
        if len(rows):
            box = {"boxstyle": "circle", "facecolor": "white", "edgecolor": look(state)["color"], "linewidth": 2}
            ax.annotate(str(state + 1), (x[rows[0]], y[rows[0]]), **CENTRED, bbox=box, fontsize="small")


def plot_states(results: Results, ax: Axes | None = None) -> Axes:
    """Frames coloured by metastable set, in the plane that shows the molecule best (see `coordinates`)."""
    ax = ax or figure_axes(4.9, 4.1)
    x, y, labels = coordinates(results)
    rows = some_rows(len(x))
    assignment = results.sets.assignment
    for state, population in enumerate(results.sets.populations):
        mine = rows[assignment[rows] == state]
        ax.plot(
            x[mine], y[mine], **look(state), linestyle="none", markersize=2.5, markeredgewidth=0, alpha=0.6,
            rasterized=True, label=f"{state + 1}: {100 * population:.2g} %",
        )  # fmt: skip
    _number_states(results, x, y, ax)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    _angle_limits(ax, labels)
    legend_beside(ax, title="state: population", title_fontsize="x-small", markerscale=3)
    return ax


def plot_modes(results: Results, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """The slow modes, one panel each: as colour in the plane of `plot_states`; of a single coordinate, as curves.

    Parameters
    ----------
    results : Results
    axes : sequence of Axes, optional
        One for each of at most the four slowest modes.

    Returns
    -------
    list of Axes
    """
    n_modes = min(results.modes.shape[1], 4)
    if axes is None:
        axes = Figure(figsize=(3.6 * n_modes, 3.0), layout="constrained").subplots(1, n_modes, squeeze=False)[0]
    axes = given_axes(axes, n_modes, "mode")
    x, y, labels = coordinates(results)
    rows = some_rows(len(x))
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
        rows = some_rows(data.n_rows)
        features, followed = data.rows(rows), modes[rows].T

        def strength(residue: str) -> float:
            return float(np.nansum(np.corrcoef(features[:, torsions[residue]].T, followed)[:4, 4:] ** 2))

        best = max(torsions, key=strength)
        values = [data.column(number) for number in torsions[best]]
        phi, psi = (np.degrees(np.arctan2(values[k + 1], values[k])) for k in (0, 2))
        return phi, psi, (f"φ of {best} (degrees)", f"ψ of {best} (degrees)")
    labels = [column.name + (f" ({column.unit})" if column.unit else "") for column in data.columns[:2]]
    if len(data.columns) == 2:
        return data.column(0), data.column(1), (labels[0], labels[1])
    if len(data.columns) == 1:
        return data.column(0), modes[:, 0], (labels[0], MODE_LABELS[0])
    return modes[:, 0], modes[:, min(1, modes.shape[1] - 1)], MODE_LABELS


def _torsions(columns: tuple[Column, ...]) -> dict[str, list[int]]:
    """Residue → numbers of cos φ, sin φ, cos ψ and sin ψ, where all four are among the columns."""
    place = {(column.kind, column.site, column.part): number for number, column in enumerate(columns)}
    sites = [column.site for column in columns if column.kind == "phi"]
    wanted = {site: [(kind, site, part) for kind in ("phi", "psi") for part in ("cos", "sin")] for site in sites}
    return {site: [place[key] for key in keys] for site, keys in wanted.items() if all(key in place for key in keys)}


def _angle_limits(ax: Axes, labels: tuple[str, str]) -> None:
    if labels[0].endswith("(degrees)"):
        ax.set(xlim=(-180, 180), ylim=(-180, 180), xticks=range(-180, 181, 90), yticks=range(-180, 181, 90), aspect=1)
