"""Folders of results (numbers as JSON, model, modes, structures, figures, the report), comparisons and scans."""

import base64
import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from functools import singledispatch
from itertools import combinations
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
    Scan,
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

GAS_CONSTANT = 0.00831446261815324
"""In kJ/(mol K), as the SI fixes it."""
LEADING = 20
"""Features and residues of every process that results.json ranks."""
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
        "attribution": plots.plot_attribution(results)[0],
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
            {"population": _number(value), "low": _number(low), "high": _number(high), "structure": structure}
            for value, low, high, structure in zip(*results.populations, structures.sets, strict=True)
        ],
        "processes": [
            {"structure": along, "transition_structure": transition}
            for along, transition in zip(structures.along, structures.transition, strict=True)
        ],
        "free_energies": _free_energies(results),
        "attribution": [
            {
                "n_features": len(found.features.names),
                "n_permuted": found.n_permuted,
                "features": found.features.rows(LEADING),
                "residues": found.residues.rows(LEADING),
            }
            for found in results.attribution
        ],
        "features": {"columns": data.column_names, "width": data.width, "options": data.options},
        "model": settings,
        "verdict": [asdict(judgement) for judgement in results.verdict],
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
        "mfpt_low": [_numbers(row) for row in results.kinetics.mfpt.low],
        "mfpt_high": [_numbers(row) for row in results.kinetics.mfpt.high],
        "chapman_kolmogorov": _chapman_kolmogorov(results),
        "fluxes": _fluxes(results),
        "committors": _committors(results),
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
    figures = {"timescales": plots.plot_timescales(results)}
    if results.chapman_kolmogorov is not None:
        figures["chapman_kolmogorov"] = plots.plot_chapman_kolmogorov(results)[0]
    return OwnPart(time.unit, figures, entries)


@own_part.register
def _of_generator(results: GeneratorResults) -> OwnPart:
    rates = [_estimate(rate, f"1/{results.unit}") for rate in results.rates]
    entries: dict[str, Any] = {
        "lag": None,
        "rates": rates,
        "timescales_by_lag": [],
        "mfpt": None,
        "mfpt_low": None,
        "mfpt_high": None,
        "fluxes": [],
        "committors": [],
    }
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


def _interval(estimate: Iterable[Any], factor: float = 1.0) -> dict[str, Any]:
    scaled = (None if part is None else factor * part for part in _numbers(estimate))
    return dict(zip(("value", "low", "high"), scaled, strict=True))


def _free_energies(results: Results) -> list[dict[str, Any]]:
    """Of every set less the first: in kT, and in kJ/mol where the temperature is known."""
    kelvin = results.temperature
    return [
        {"kT": _interval(estimate), "kJ/mol": None if kelvin is None else _interval(estimate, GAS_CONSTANT * kelvin)}
        for estimate in zip(*results.free_energies, strict=True)
    ]


def _chapman_kolmogorov(results: TransferResults) -> list[dict[str, Any]]:
    """For every multiple of the lag time and every set the chance to be there again."""
    test = results.chapman_kolmogorov
    if test is None:
        return []
    return [
        {
            "lag": _lag(results, int(lag)),
            "sets": [
                {
                    "predicted": _number(test.predicted.value[i, k]),
                    "predicted_low": _number(test.predicted.low[i, k]),
                    "predicted_high": _number(test.predicted.high[i, k]),
                    "estimated": _number(test.estimated.value[i, k]),
                    "low": _number(test.estimated.low[i, k]),
                    "high": _number(test.estimated.high[i, k]),
                }
                for k in range(test.predicted.value.shape[1])
            ],
        }
        for i, lag in enumerate(test.lagtimes)
    ]


def _fluxes(results: TransferResults) -> list[dict[str, Any]]:
    """Between the cores of any two sets, which are counted from 1, as often there as back."""
    fluxes = results.kinetics.fluxes
    return [
        {"sets": [a + 1, b + 1], **_interval(part[a, b] for part in fluxes), "unit": f"1/{results.unit}"}
        for a, b in combinations(range(len(results.sets.populations)), 2)
    ]


def _committors(results: TransferResults) -> list[dict[str, Any]]:
    """Between any two sets, which are counted from 1, at the frames that represent the sets."""
    rows = np.concatenate([np.asarray(shown, dtype=int) for shown in results.representatives])
    entries = []
    for (a, b), committor in results.kinetics.committors.items():
        learned, clusters = results.neural_committor(a, b), results.kinetics.clusters.assignment
        frames = []
        for row in rows:
            file, frame = results.data.frame(row)
            values = _interval(part[clusters[row]] for part in committor)
            frames.append({"file": file.path.name, "frame": int(frame), **values, "learned": float(learned[row])})
        entries.append({"from": a + 1, "to": b + 1, "frames": frames})
    return entries


def _lag(results: Results, rows: int) -> dict[str, Any]:
    time = results.data.time
    known = None if time.timestep_ps is None else time.time(rows)
    return {"frames": time.frames(rows), "time": known, "unit": time.unit}


def _estimate(estimate: Timescale | Rate, unit: str) -> dict[str, Any]:
    return {**asdict(estimate), "unit": unit}


def _numbers(values: Iterable[Any]) -> list[Any]:
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
    return _write_plain(out, comparison.rows(), "compare.json", plots.plot_comparison(comparison)[0], "comparison.png")


def check_comparison_folder(out: str | Path, force: bool) -> Path:
    """The folder to write, if it may be written; InputError otherwise."""
    return check_folder(out, force, _holds_comparison, "compare.json")


def _holds_comparison(folder: Path) -> bool:
    stored, known = _stored(folder / "compare.json"), {"method", "failed", "peak_mb"}
    return isinstance(stored, list) and all(isinstance(row, dict) and known <= row.keys() for row in stored)


def write_scan(scan: Scan, out: str | Path, force: bool = False) -> Path:
    """Write a scan into a folder; it appears complete or not at all.

    Parameters
    ----------
    scan : Scan
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds an earlier scan.
    force : bool
        Replace an earlier scan.

    Returns
    -------
    Path
        The folder, with scan.json (see `Scan.plain`) and scan.png.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    out = check_scan_folder(out, force)
    return _write_plain(out, scan.plain(), "scan.json", plots.plot_scan(scan)[0], "scan.png")


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


def _write_plain(out: Path, contents: Any, name: str, figure: Any, picture: str) -> Path:
    """A folder with plain values as JSON and one figure."""
    with complete_folder(out) as draft:
        plots.save_figure(figure, draft / picture)
        text = json.dumps(contents, indent=1, allow_nan=False) + "\n"
        (draft / name).write_text(text, encoding="utf-8")
    return out
