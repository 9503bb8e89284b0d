"""Folders of results (numbers as JSON, model, modes, structures, figures, the report), comparisons and scans."""

import dataclasses
import json
from functools import singledispatch
from pathlib import Path
from typing import Any

from spectraldyn import plots
from spectraldyn.baselines import Comparison
from spectraldyn.errors import InputError
from spectraldyn.files import check_folder, complete_folder, writing
from spectraldyn.pipeline import (
    GeneratorResults,
    Results,
    Run,
    Scan,
    TransferResults,
    holds_results,
    save_modes,
    stored_contents,
    stored_inputs,
)
from spectraldyn.pipeline.stored import reading
from spectraldyn.report.compared import render_comparison, render_scan
from spectraldyn.report.contents import results_dict
from spectraldyn.report.page import render
from spectraldyn.report.structures import Structures, fill_states


def write_results(
    results: Results, out: str | Path, force: bool = False, run_file: str | None = None, run: Run | None = None
) -> Path:
    """Write everything into a folder; it appears complete or not at all.

    Parameters
    ----------
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds earlier results, which are then replaced.
    run_file : str, optional
        Text of run.toml, the options that repeat the run on the command line.
    run : Run, optional
        The run under way, whose log goes into the folder.

    Returns
    -------
    Path
        The folder, with results.json, report.html, timescales.png and further figures, model.pt, modes.npz,
        states/frames.csv and, where the input was trajectories, structures in states/ (see `write_states`) and
        topology.h5.
    """
    out = check_results_folder(out, force)
    run = Run() if run is None else run
    with complete_folder(out, force) as draft:
        _write_run_file(draft, run_file)
        _fill(results, draft, out, run)
        run.save_log(draft)
    return out


def check_results_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, holds_results, "results.json")


def _fill(results: Results, folder: Path, final: Path, run: Run) -> None:
    with run.stage("writing"):
        structures = _fill_with_parts(results, folder, final)
    # As far as it is known here: the page and the numbers say how long the rest took.
    results = dataclasses.replace(results, stages=(*results.stages, run.stages[-1]))
    contents = results_dict(results, final, structures)
    (folder / "report.html").write_text(render(contents, folder), encoding="utf-8")
    # Last of all: a folder with results.json is complete.
    _write_json(folder / "results.json", contents)


def _fill_with_parts(results: Results, folder: Path, final: Path) -> Structures:
    """Structures, model, modes and figures."""
    sets, structures = results.sets, fill_states(results, folder, final)
    results.model.save(folder / "model.pt")
    save_modes(folder / "modes.npz", results.data, results.modes, sets.memberships, sets.transformation, final)
    figures = {
        **_own_figures(results),
        "attribution": plots.plot_attribution(results)[0],
        "singular_values": plots.plot_singular_values(results),
        "free_energy": plots.plot_free_energy(results),
        "states": plots.plot_states(results),
        "modes": plots.plot_modes(results)[0],
        "time_series": plots.plot_time_series(results)[0],
    }
    for name, ax in figures.items():
        plots.save_figure(ax, folder / f"{name}.png")
    return structures


def rebuild_report(folder: str | Path) -> Path:
    """Write the page of a fit, comparison or scan anew, from its numbers, figures and structures: nothing is fitted.

    Returns
    -------
    Path
        Of report.html in the folder.

    Raises
    ------
    InputError
        If the folder holds no results, or damaged ones, or those of an earlier version, which lack what the page says.
    """
    folder = Path(folder)
    with reading(folder, "JSON, a figure or a structure"):
        if _holds_comparison(folder):
            page = render_comparison(_stored_plain(folder / "compare.json"), folder)
        elif _holds_scan(folder):
            page = render_scan(_stored_plain(folder / "scan.json"), folder)
        else:
            page = render(stored_contents(folder), folder)
    with writing(folder / "report.html") as draft:
        draft.write_text(page, encoding="utf-8")
    return folder / "report.html"


@singledispatch
def _own_figures(results: Results) -> dict[str, Any]:
    """Axes, by the name of the picture, that results of one kind of operator alone have."""
    raise TypeError(f"there is no report on {type(results).__name__}")


@_own_figures.register
def _of_transfer(results: TransferResults) -> dict[str, Any]:
    figures = {"timescales": plots.plot_timescales(results), "network": plots.plot_network(results)}
    if results.chapman_kolmogorov is not None:
        figures["chapman_kolmogorov"] = plots.plot_chapman_kolmogorov(results)[0]
    return figures


@_own_figures.register
def _of_generator(results: GeneratorResults) -> dict[str, Any]:
    return {"rates": plots.plot_rates(results)}


def write_comparison(
    comparison: Comparison, out: str | Path, force: bool = False, run_file: str | None = None, run: Run | None = None
) -> Path:
    """Write a comparison into a folder; it appears complete or not at all.

    Parameters
    ----------
    comparison : Comparison
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds an earlier comparison.
    force : bool
        Replace an earlier comparison.
    run_file : str, optional
        Text of run.toml; see `write_results`.
    run : Run, optional
        See `write_results`.

    Returns
    -------
    Path
        The folder, with report.html, compare.json (see `Comparison.plain`) and comparison.png.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    out = check_comparison_folder(out, force)
    contents = _as_read_again(comparison.plain() | {"inputs": stored_inputs(comparison.files, out)})
    with complete_folder(out, force) as draft:
        _write_run_file(draft, run_file)
        plots.save_figure(plots.plot_comparison(comparison)[0], draft / "comparison.png")
        (draft / "report.html").write_text(render_comparison(contents, draft), encoding="utf-8")
        _write_json(draft / "compare.json", contents)
        if run is not None:
            run.save_log(draft)
    return out


def check_comparison_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, _holds_comparison, "compare.json")


def _holds_comparison(folder: Path) -> bool:
    stored = _stored(folder / "compare.json")
    rows = stored.get("rows") if isinstance(stored, dict) else stored  # alone in files of earlier versions
    known = {"method", "failed", "peak_mb"}
    return isinstance(rows, list) and all(isinstance(row, dict) and known <= row.keys() for row in rows)


def write_scan(
    scan: Scan, out: str | Path, force: bool = False, run_file: str | None = None, run: Run | None = None
) -> Path:
    """Write a scan into a folder; it appears complete or not at all.

    Parameters
    ----------
    scan : Scan
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds an earlier scan.
    force : bool
        Replace an earlier scan.
    run_file : str, optional
        Text of run.toml; see `write_results`.
    run : Run, optional
        See `write_results`.

    Returns
    -------
    Path
        The folder, with report.html, scan.json (see `Scan.plain`) and scan.png.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    out = check_scan_folder(out, force)
    contents = _as_read_again(scan.plain() | {"inputs": stored_inputs(scan.files, out)})
    with complete_folder(out, force) as draft:
        _write_run_file(draft, run_file)
        plots.save_figure(plots.plot_scan(scan)[0], draft / "scan.png")
        (draft / "report.html").write_text(render_scan(contents, draft), encoding="utf-8")
        _write_json(draft / "scan.json", contents)
        if run is not None:
            run.save_log(draft)
    return out


def check_scan_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, _holds_scan, "scan.json")


def _holds_scan(folder: Path) -> bool:
    stored = _stored(folder / "scan.json")
    return isinstance(stored, dict) and {"version", "rows", "verdicts"} <= stored.keys()


def _stored(path: Path) -> Any:
    """What a JSON file holds; None where there is none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_run_file(folder: Path, text: str | None) -> None:
    if text is not None:
        # A name that is no Unicode, which TOML cannot hold, must not cost the results.
        (folder / "run.toml").write_text(text, encoding="utf-8", errors="replace")


def _as_read_again(contents: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that the page is the same when it is written anew."""
    return json.loads(json.dumps(contents, allow_nan=False))


def _write_json(path: Path, contents: dict[str, Any]) -> None:
    path.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _stored_plain(path: Path) -> dict[str, Any]:
    """What compare.json or scan.json holds; InputError where an earlier version has written it."""
    stored = json.loads(path.read_text())
    if "versions" not in stored:
        raise InputError(f"{path.parent} was written by an earlier version: run it again")
    return stored
