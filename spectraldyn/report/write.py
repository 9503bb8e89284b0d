"""The folder of results: numbers as JSON, model, modes, structures, figures and the report."""

import base64
import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn import plots
from spectraldyn.features.load import Features
from spectraldyn.io import write_structures
from spectraldyn.pipeline.transfer import Results
from spectraldyn.report.folders import check_folder, complete_folder
from spectraldyn.report.page import render
from spectraldyn.spectra.generator import Rate
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.version import __version__


def write_results(results: Results, out: str | Path, force: bool = False) -> Path:
    """Write everything into a folder; it appears complete or not at all.

    Parameters
    ----------
    results : Results
    out : str or Path
        Folder; must not exist, unless `force` is given and it holds earlier results.
    force : bool
        Replace earlier results.

    Returns
    -------
    Path
        The folder, with results.json, report.html, timescales.png and further figures, model.pt, modes.npz and,
        where the input was trajectories, states/*.pdb and topology.h5.
    """
    out = check_folder(out, force)
    with complete_folder(out) as draft:
        _fill(results, draft, out)
    return out


def _fill(results: Results, folder: Path, final: Path) -> None:
    structures = _write_structures(results, folder)
    results.model.save(folder / "model.pt")
    save_modes(
        folder / "modes.npz",
        results.features,
        results.modes,
        results.sets.memberships,
        results.sets.transformation,
        final,
    )
    figures = {
        **({"timescales": plots.plot_timescales(results)} if results.rates is None else {}),
        **({"rates": plots.plot_rates(results)} if results.rates is not None else {}),
        "singular_values": plots.plot_singular_values(results),
        "free_energy": plots.plot_free_energy(results),
        "states": plots.plot_states(results),
        "modes": plots.plot_modes(results)[0],
    }
    embedded = {
        name: "data:image/png;base64," + base64.b64encode(plots.save_figure(ax, folder / f"{name}.png")).decode()
        for name, ax in figures.items()
    }
    contents = results_dict(results, final, structures)
    (folder / "report.html").write_text(render(results, contents, embedded), encoding="utf-8")
    # Last of all: a folder with results.json is complete.
    (folder / "results.json").write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def save_modes(
    path: Path,
    features: Features,
    modes: np.ndarray,
    memberships: np.ndarray,
    transformation: np.ndarray,
    final: Path | None = None,
) -> None:
    """Write the modes and state of every frame, with its file and its number there, as .npz.

    Paths of files are relative to the folder `final`, by default that of `path`.

    Arrays: modes (n_frames, n_modes), memberships (n_frames, n_states), state (n_frames,) counted from 1 as in
    states/state_1.pdb, file_index (n_frames,) into files, frame (n_frames,) counted from 0 in its file, and
    transformation (see `MetastableSets`).
    """
    home = path.parent if final is None else final
    files = [_relative(f.path, home) + ("" if f.array is None else f":{f.array}") for f in features.files]
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as stream:
        np.savez_compressed(
            stream,
            modes=modes.astype(np.float32),
            memberships=memberships.astype(np.float32),
            state=(1 + memberships.argmax(axis=1)).astype(np.int16),
            file_index=features.file_of_row.astype(np.int32),
            frame=features.frame_of_row,
            files=np.array(files),
            transformation=transformation,
        )
    draft.replace(path)


def results_dict(results: Results, out: Path, structures: list[str | None]) -> dict[str, Any]:
    """What results.json holds: undetermined values are None, complex ones [re, im], paths relative to `out`."""
    model, features = results.model, results.features
    rates = {} if results.rates is None else {"rates": [_rate(rate, results.unit) for rate in results.rates]}
    return {
        "version": __version__,
        "inputs": [
            {"path": _relative(file.path, out), "n_frames": file.n_frames}
            | ({} if file.array is None else {"array": file.array})
            for file in features.files
        ],
        "operator": model.config["operator"],
        "lag": None if results.lag_frames is None else _lag(results, results.lag_frames),
        "timestep_ps": features.timestep_ps,
        "stride": features.stride,
        "timescales": [_timescale(t, results.unit) for t in results.timescales],
        **rates,
        "timescales_by_lag": [
            {"lag": _lag(results, lag), "timescales": [_timescale(t, results.unit) for t in scales]}
            for lag, scales in results.timescales_by_lag.items()
        ],
        **_refits(results),
        "eigenvalues": _numbers(model.eigenvalues),
        "singular_values": {
            "norms": _numbers(model.decomposition.norms),
            # null where the functions are linearly dependent and there are fewer singular values than functions
            "ritz": _numbers(model.singular_values) + [None] * (model.config["n_modes"] - model.n_modes),
        },
        "scores": {name: _number(score) for name, score in model.scores.items()},
        "states": [
            {"population": float(population), "structure": structure}
            for population, structure in zip(results.sets.populations, structures, strict=True)
        ],
        "mfpt": None if results.mfpt is None else [_numbers(row) for row in results.mfpt],
        "features": {"columns": features.columns, "width": features.width, "options": features.options},
        "model": model.config,
        "warnings": results.warnings,
        "seed": model.config["seed"],
        "seconds": round(results.seconds, 2),
        **({} if results.potential is None else {"potential": results.potential}),
    }


def _write_structures(results: Results, folder: Path) -> list[str | None]:
    """Paths, relative to the folder, of the PDB file of every state; None without a topology."""
    reference = results.features.topology
    n_states = len(results.representatives)
    if reference is None:
        return [None] * n_states
    reference.save_hdf5(str(folder / "topology.h5"))
    (folder / "states").mkdir()
    file_of_row, frame_of_row = results.features.file_of_row, results.features.frame_of_row
    written: list[str | None] = []
    wanted: dict[Path, list[tuple[Path, int]]] = {}
    for state, rows in enumerate(results.representatives, 1):
        name = f"states/state_{state}.pdb"
        picked = [(results.features.files[file_of_row[row]].path, int(frame_of_row[row])) for row in rows]
        if picked:
            wanted[folder / name] = picked
        written.append(name if picked else None)
    write_structures(wanted, reference.topology)
    return written


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()


def _lag(results: Results, frames: int) -> dict[str, Any]:
    time = frames * results.frame_time if results.unit == "ps" else None
    return {"frames": frames, "time": time, "unit": results.unit}


def _refits(results: Results) -> dict[str, Any]:
    """Timescales of the refits, each with whether it agrees with the one fit: null where that cannot be said."""
    if results.refitted_timescales_by_lag is None:
        return {}
    agreement = results.refit_agreement
    return {
        "refitted_timescales_by_lag": [
            {
                "lag": _lag(results, lag),
                "timescales": [
                    {**_timescale(scale, results.unit), "agrees": agrees}
                    # More answers than timescales where the refit found fewer processes than the fit.
                    for scale, agrees in zip(scales, agreement.get(lag, [None] * len(scales)), strict=False)
                ],
            }
            for lag, scales in results.refitted_timescales_by_lag.items()
        ]
    }


def _timescale(scale: Timescale, unit: str) -> dict[str, Any]:
    return {
        "value": scale.value,
        "low": scale.low,
        "high": scale.high,
        "unit": unit,
        "n_transitions": scale.n_transitions,
        "unresolved": scale.unresolved,
    }


def _rate(rate: Rate, unit: str) -> dict[str, Any]:
    return {**dataclasses.asdict(rate), "unit": f"1/{unit}"}


def _numbers(values: np.ndarray) -> list[Any]:
    return [_number(value) for value in values]


def _number(value: Any) -> Any:
    if np.iscomplexobj(value):
        return [float(value.real), float(value.imag)]
    return float(value) if math.isfinite(value) else None
