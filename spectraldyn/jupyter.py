"""Jupyter: results, comparisons, scans, models and features show themselves as a table and a figure."""

from typing import Any

HOMES = {
    "spectraldyn.data.dataset": ("Dataset",),
    "spectraldyn.estimators.model": ("NeuralSVDModel", "GeneratorModel"),
    "spectraldyn.pipeline.results": ("TransferResults", "GeneratorResults"),
    "spectraldyn.pipeline.sensitivity": ("Scan",),
    "spectraldyn.baselines.comparison": ("Comparison",),
}
"""By names, as importing the classes takes seconds."""


def register(shell: Any) -> None:
    """Tell an IPython shell how to show them, and figures that belong to no window."""
    formatters = shell.display_formatter.formatters
    for module, names in HOMES.items():
        for name in names:
            formatters["text/html"].for_type_by_name(module, name, _html)
    # Until pyplot is imported, which brings its own way.
    formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _png)


def _html(thing: Any) -> str:
    from spectraldyn.report import as_html

    return as_html(thing)


def _png(figure: Any) -> bytes:
    from spectraldyn.report import as_png

    return as_png(figure)
