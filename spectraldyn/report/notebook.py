"""How results, comparisons, scans, models and features show themselves in a notebook: a small table and one figure."""

from collections.abc import Callable
from typing import Any

from spectraldyn import plots
from spectraldyn.report.page import embedded, environment
from spectraldyn.report.shown import Table, Tabular, judgements

FIGURES: dict[str, tuple[Callable[..., Any], str]] = {
    "Dataset": (plots.plot_feature_histograms, "Histograms of the features, one above the other"),
    "NeuralSVDModel": (
        plots.plot_singular_values,
        "Singular values of all modes as bars, as trained and by Rayleigh–Ritz",
    ),
    "GeneratorModel": (
        plots.plot_singular_values,
        "Singular values of all modes as bars, as trained and by Rayleigh–Ritz",
    ),
    "TransferResults": (plots.plot_timescales, "Implied timescales of all processes against the lag time, with bands"),
    "GeneratorResults": (plots.plot_rates, "Relaxation rates of all processes with error bars"),
    "Comparison": (plots.plot_comparison, "Timescales, held-out scores, wall time and memory by method"),
    "Scan": (plots.plot_scan, "The slowest timescales against what was varied"),
}
"""By name of the class: the figure, and what it is for who does not see it."""
LOOKS = {"good": "solid #009e73", "caution": "dashed #e69f00", "problem": "double #d55e00"}
DPI = 144


def as_html(thing: Tabular) -> str:
    """Self-contained HTML of results, a comparison, a scan, a model or features; some ten to forty kB."""
    draw, alt = FIGURES[type(thing).__name__]
    drawn = draw(thing)
    png = plots.figure_png(plots.figure_of(drawn[0] if isinstance(drawn, list) else drawn), DPI)
    picture = embedded(png, DPI / 80)
    return (
        environment()
        .get_template("notebook.html")
        .render(
            shown=Table.of(thing),
            notes=thing.notes(),
            judgements=judgements(thing),
            looks=LOOKS,
            alt=alt,
            picture=picture,
        )
    )


def as_png(figure: Any) -> bytes:
    """A matplotlib figure as a small PNG."""
    return plots.figure_png(figure)
