"""The folder of results (numbers as JSON, model, modes, structures, figures, the report) and that of a comparison."""

import base64
import json
import math
from dataclasses import asdict
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spectraldyn import plots
from spectraldyn.baselines import Comparison
from spectraldyn.files import check_folder, complete_folder
from spectraldyn.pipeline import (
    FittedFrames,
    GeneratorResults,
    Results,
    TransferResults,
    holds_results,
    relative_path,
    save_modes,
)
from spectraldyn.report.page import render
from spectraldyn.report.structures import groups_of_processes, groups_of_sets, write_groups
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.version import __version__

ALONG = 15
"""Frames written along every process."""
AT_TRANSITION = 5
"""Frames written at every transition state."""


def write_results(results: Results, out: str | Path, force: bool = False) -> Path:
    """Write everything into a folder; it appears complete or not at all.

    Parameters
    ----------
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds earlier results, which are then replaced.

    Returns
    -------
    Path
        The folder, with results.json, report.html, timescales.png and further figures, model.pt, modes.npz,
        states/frames.csv and, where the input was trajectories, structures in states/ (see `write_states`) and
        topology.h5.
    """
    out = check_results_folder(out, force)
    with complete_folder(out) as draft:
        _fill(results, draft, out)
    return out


def check_results_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, holds_results, "results.json")


def _fill(results: Results, folder: Path, final: Path) -> None:
    own, sets = own_part(results), results.sets
    structures = _write_structures(results, folder, final)
    results.model.save(folder / "model.pt")
    save_modes(folder / "modes.npz", results.data, results.modes, sets.memberships, sets.transformation, final)
    figures = {
        **own.figures,
        "singular_values": plots.plot_singular_values(results),
        "free_energy": plots.plot_free_energy(results),
        "states": plots.plot_states(results),
        "modes": plots.plot_modes(results)[0],
    }
    pictures = {name: plots.save_figure(ax, folder / f"{name}.png") for name, ax in figures.items()}
    embedded = {name: "data:image/png;base64," + base64.b64encode(png).decode() for name, png in pictures.items()}
    contents = results_dict(results, own, final, structures)
    (folder / "report.html").write_text(render(results, contents, embedded), encoding="utf-8")
    # Last of all: a folder with results.json is complete.
    (folder / "results.json").write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")


class OwnPart(NamedTuple):
    """What the results of one kind of operator alone have."""

    unit: str  # of every time
    figures: dict[str, Any]  # axes by the name of the picture
    entries: dict[str, Any]  # of results.json


class Structures(NamedTuple):
    """PDB files by their paths relative to the folder of results; None where there are none."""

    sets: list[str | None]
    along: list[str | None]
    transition: list[str | None]


def results_dict(results: Results, own: OwnPart, out: Path, structures: Structures) -> dict[str, Any]:
    """What results.json holds: undetermined values are None, complex ones [re, im], paths relative to `out`."""
    model, data = results.model, results.data
    settings = model.settings.plain()
    return {
        "version": __version__,
        "inputs": [
            {"path": relative_path(file.path, out), "n_frames": file.n_frames}
            | ({} if file.array is None else {"array": file.array})
            for file in data.files
        ],
        "operator": settings["operator"],
        "timestep_ps": data.time.timestep_ps,
        "stride": data.time.stride,
        "timescales": [_estimate(scale, own.unit) for scale in results.timescales],
        **own.entries,
        "eigenvalues": _numbers(model.eigenvalues),
        "singular_values": {
            "norms": _numbers(model.spectrum.norms),
            # null where the functions are linearly dependent and there are fewer singular values than functions
            "ritz": _numbers(model.singular_values) + [None] * (settings["n_modes"] - model.n_modes),
        },
        "scores": {name: _number(score) for name, score in model.scores.items()},
        "states": [
            {"population": float(population), "structure": structure}
            for population, structure in zip(results.sets.populations, structures.sets, strict=True)
        ],
        "processes": [
            {"structure": along, "transition_structure": transition}
            for along, transition in zip(structures.along, structures.transition, strict=True)
        ],
        "features": {"columns": data.column_names, "width": data.width, "options": data.options},
        "model": settings,
        "warnings": results.warnings,
        "seed": model.settings.seed,
        "seconds": round(results.seconds, 2),
    }


@singledispatch
def own_part(results: Results) -> OwnPart:
    """What these results have that those of another kind of operator do not."""
    raise TypeError(f"there is no report on {type(results).__name__}")


@own_part.register
def _of_transfer(results: TransferResults) -> OwnPart:
    time, refitted = results.data.time, results.refitted_timescales_by_lag
    entries: dict[str, Any] = {
        "lag": _lag(results, results.model.lagtime),
        "timescales_by_lag": [
            {"lag": _lag(results, lag), "timescales": [_estimate(scale, time.unit) for scale in scales]}
            for lag, scales in results.timescales_by_lag.items()
        ],
        "mfpt": [_numbers(row) for row in results.mfpt],
        "n_carried": results.n_carried,
    }
    if refitted is not None:
        agreement = results.refit_agreement
        entries["refitted_timescales_by_lag"] = [
            {
                "lag": _lag(results, lag),
                # Each with whether it agrees with the one fit: null where that cannot be said. More answers than
                # timescales where the refit found fewer processes than the fit.
                "timescales": [
                    {**_estimate(scale, time.unit), "agrees": agrees}
                    for scale, agrees in zip(scales, agreement.get(lag, [None] * len(scales)), strict=False)
                ],
            }
            for lag, scales in refitted.items()
        ]
    return OwnPart(time.unit, {"timescales": plots.plot_timescales(results)}, entries)


@own_part.register
def _of_generator(results: GeneratorResults) -> OwnPart:
    rates = [_estimate(rate, f"1/{results.unit}") for rate in results.rates]
    entries: dict[str, Any] = {"lag": None, "rates": rates, "timescales_by_lag": [], "mfpt": None}
    if results.potential is not None:
        entries["potential"] = results.potential
    return OwnPart(results.unit, {"rates": plots.plot_rates(results)}, entries)


def _write_structures(results: Results, folder: Path, final: Path) -> Structures:
    """The folder `states`, and the topology."""
    data, frames = results.data, FittedFrames.of(results)
    topology = None
    if data.topology is not None:
        data.topology.save_hdf5(str(folder / "topology.h5"))
        topology = data.topology.topology
    home = folder / "states"
    home.mkdir()
    of_sets = groups_of_sets(results.representatives)
    groups = [*of_sets, *groups_of_processes(frames, ALONG, AT_TRANSITION)]
    names = write_groups(frames, groups, topology, home, final / home.name)
    paths = [None if name is None else f"{home.name}/{name}" for name in names]
    of_processes = paths[len(of_sets) :]
    return Structures(paths[: len(of_sets)], of_processes[::2], of_processes[1::2])


def _lag(results: Results, rows: int) -> dict[str, Any]:
    time = results.data.time
    known = None if time.timestep_ps is None else time.time(rows)
    return {"frames": time.frames(rows), "time": known, "unit": time.unit}


def _estimate(estimate: Timescale | Rate, unit: str) -> dict[str, Any]:
    return {**asdict(estimate), "unit": unit}


def _numbers(values: np.ndarray) -> list[Any]:
    return [_number(value) for value in values]


def _number(value: Any) -> Any:
    if np.iscomplexobj(value):
        return [float(value.real), float(value.imag)]
    return float(value) if math.isfinite(value) else None


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
    out = check_comparison_folder(out, force)
    with complete_folder(out) as draft:
        plots.save_figure(plots.plot_comparison(comparison)[0], draft / "comparison.png")
        (draft / "compare.json").write_text(
            json.dumps(comparison.rows(), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    return out


def check_comparison_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, _holds_comparison, "compare.json")


def _holds_comparison(folder: Path) -> bool:
    try:
        stored = json.loads((folder / "compare.json").read_text())
    except (OSError, ValueError):
        return False
    known = {"method", "failed", "peak_mb"}
    return isinstance(stored, list) and all(isinstance(row, dict) and known <= row.keys() for row in stored)
