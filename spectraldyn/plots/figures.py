"""What the figures share: colours and markers, error bars, legends, new axes, files."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8B6914", "#222222")
"""Okabe and Ito's palette: distinct in the common forms of colour blindness; markers tell them apart in grey."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}
OPEN: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "white", "markersize": 6}

MOST_COLOURS = 128
MAX_POINTS = 20_000
"""Rows that are drawn."""


def look(number: int) -> dict[str, Any]:
    """Colour and marker of a process, state or method."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def error_bars(value: Any, low: Any, high: Any) -> np.ndarray:
    """Lengths of error bars (2, n), 0 where there is no bound: an interval may also lie to one side of the value."""
    value, low, high = (np.atleast_1d(np.asarray(numbers, dtype=float)) for numbers in (value, low, high))
    return np.nan_to_num(np.clip([value - low, high - value], 0, None))


def legend_beside(ax: Axes, **options: Any) -> None:
    """A small legend to the right of the axes."""
    ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, **options)


def log_ticks(axis: Axis) -> None:
    """A logarithmic axis with plain numbers, few enough not to run into each other."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def figure_axes(width: float = 5.2, height: float = 3.9) -> Axes:
    """Axes of a new figure that belongs to no window system."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def given_axes(axes: Axes | Sequence[Axes] | np.ndarray, n: int, what: str) -> list[Axes]:
    """The first so many of axes as `plt.subplots` gives them, in lines and columns too; ValueError for too few."""
    flat = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(flat) < n:
        raise ValueError(f"`axes` holds {len(flat)}: give {n}, one for each {what}")
    return flat[:n]


def some_rows(n_rows: int) -> np.ndarray:
    """At most MAX_POINTS rows, evenly spaced."""
    return np.arange(0, n_rows, -(-n_rows // MAX_POINTS))


def figure_png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as a small PNG, for notebooks: of few colours, which lines and markers need no more of."""
    figure.draw_without_rendering()
    figure.savefig(buffer := BytesIO(), dpi=dpi, format="png")
    with Image.open(buffer) as picture:
        picture.convert("RGB").quantize(MOST_COLOURS, dither=Image.Dither.NONE).save(
            small := BytesIO(), "PNG", optimize=True
        )
    return small.getvalue()


def save_figure(ax: Axes, path: Path, dpi: int = 160) -> None:
    """Write the figure of some axes as PNG."""
    # Axes of fixed aspect get their final size while drawing, and only the next layout makes room for their labels.
    figure_of(ax).draw_without_rendering()
    figure_of(ax).savefig(path, dpi=dpi)


def figure_of(ax: Axes) -> Figure:
    """The figure that axes belong to, also where they lie in a part of it."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure")
    return figure
