"""The folder of a comparison: compare.json and the figure."""

import json
from pathlib import Path

from spectraldyn import plots
from spectraldyn.baselines import Comparison
from spectraldyn.files import check_folder, complete_folder

MARK = "compare.json"


def write_comparison(comparison: Comparison, out: str | Path, force: bool = False) -> Path:
    """Write a comparison into a folder; it appears complete or not at all, with an InputError where it cannot.

    Parameters
    ----------
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds an earlier comparison, which is then replaced.

    Returns
    -------
    Path
        The folder, with compare.json (see `Comparison.rows`) and comparison.png.
    """
    out = check_comparison_folder(out, force)
    with complete_folder(out) as draft:
        plots.save_figure(plots.plot_comparison(comparison)[0], draft / "comparison.png")
        (draft / MARK).write_text(json.dumps(comparison.rows(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return out


def check_comparison_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, _holds_comparison, MARK)


def _holds_comparison(folder: Path) -> bool:
    try:
        stored = json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(stored, list) and all(
        isinstance(row, dict) and {"method", "failed", "peak_mb"} <= row.keys() for row in stored
    )
