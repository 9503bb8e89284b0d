"""The pages of a comparison and of a scan, from what compare.json or scan.json holds and the figure beside it."""

from pathlib import Path

from spectraldyn.baselines import Comparison
from spectraldyn.pipeline import Scan
from spectraldyn.report.citing import comparison_references, methods_of_comparison, methods_of_scan, scan_references
from spectraldyn.report.page import Contents, length, page_from
from spectraldyn.report.shown import Table, counted, judgements, listed

AXES = {"lag": "lag time", "modes": "number of modes", "features": "features"}


def render_comparison(contents: Contents, folder: Path) -> str:
    """The page of a folder with a comparison, in which the figure has been written."""
    comparison = Comparison.of_plain(contents)
    table, lag = Table.of(comparison), comparison.time.lag_text(comparison.lagtime)
    anchors = {"VAMP-2": "scores", "VAMP-E": "scores", "seconds": "price", "with tuning": "price", "peak MB": "price"}
    anchors |= {head: "timescales" for head in table.heads if head.startswith("timescale")}
    modes, splits = counted(comparison.n_modes, "slow mode"), counted(comparison.n_splits, "split")
    asked = f"{counted(comparison.n_columns, 'feature')}; {modes} at lag time {lag}, judged over {splits}"
    return page_from(
        "comparison.html",
        contents,
        folder,
        what="methods side by side",
        numbers="compare.json",
        summary=f"{length(contents)}; {asked}.",
        comparison=comparison,
        judgements=judgements(comparison),
        shown=table,
        anchors=anchors,
        notes=comparison.notes(),
        lag=lag,
        methods=methods_of_comparison(comparison, contents, lag),
        references=comparison_references(comparison),
    )


def render_scan(contents: Contents, folder: Path) -> str:
    """The page of a folder with a scan, in which the figure has been written."""
    scan = Scan.of_plain(contents)
    table, first = Table.of(scan), scan.fits[0]
    anchors = {"VAMP-2": "scores", "VAMP-E": "scores"}
    anchors |= {head: "timescales" for head in table.heads if head.startswith("timescale")}
    lag = scan.time.lag_text(first.lagtime)
    return page_from(
        "scan.html",
        contents,
        folder,
        what="what the timescales depend on",
        numbers="scan.json",
        summary=f"{length(contents)}; {counted(len(scan.fits), 'fit')}. Reference: lag time {lag}, "
        f"{counted(first.n_modes, 'mode')}, {counted(first.n_columns, 'feature')}.",
        judgements=judgements(scan),
        shown=table,
        anchors=anchors,
        notes=scan.notes(),
        axes=listed([AXES[axis] for axis in scan.axes]),
        methods=methods_of_scan(scan, contents),
        references=scan_references(),
    )
