"""The folder of a comparison: compare.json and the figure."""

import json
from pathlib import Path

from spectraldyn import plots
from spectraldyn.baselines.compare import Comparison
from spectraldyn.report.folders import check_folder, complete_folder

MARK = "compare.json"


def write_comparison(comparison: Comparison, out: str | Path, force: bool = False) -> Path:
    """Write a comparison into a folder; it appears complete or not at all.

    Parameters
    ----------
    comparison : Comparison
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds an earlier comparison.
    force : bool
        Replace an earlier comparison.

    Returns
    -------
    Path
        The folder, with compare.json (see `Comparison.rows`) and comparison.png.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    out = check_folder(out, force, MARK)
    with complete_folder(out) as draft:
        plots.save_figure(plots.plot_comparison(comparison)[0], draft / "comparison.png")
        (draft / MARK).write_text(json.dumps(comparison.rows(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return out
