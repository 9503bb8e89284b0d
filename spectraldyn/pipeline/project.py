"""New trajectories on the modes of an earlier fit, from its folder of results: what `spectraldyn transform` does."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError
from spectraldyn.estimators import load_model
from spectraldyn.features import load_features, move_paths
from spectraldyn.files import check_file
from spectraldyn.pipeline.stored import check_results, save_modes
from spectraldyn.spectra.states import memberships_of


def transform_trajectories(
    folder: str | Path, files: Sequence[str | Path], out: str | Path, force: bool = False, progress: bool = False
) -> Dataset:
    """Project every frame of new files on the modes and metastable sets of a fit; write them as .npz.

    Parameters
    ----------
    folder : str or Path
        Written by `write_results`.
    files : sequence of paths
        New files of the same molecule, or arrays with the same columns. All of their frames are used: the skip and
        stride of the fit do not apply.
    out : str or Path
        The .npz file to write; see `save_modes` for its arrays.
    force : bool
        Replace an existing file.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Dataset
        Of the new files.

    Raises
    ------
    InputError
        If the folder holds no results, the files do not suit them, or `out` cannot be written.
    """
    folder = Path(folder)
    check_results(folder)
    out = check_file(out, force)
    stored = json.loads((folder / "results.json").read_text())["features"]
    model = load_model(folder / "model.pt")
    topology = folder / "topology.h5"
    data = load_features(
        files,
        top=topology if topology.exists() else None,
        features=_found_from(folder, stored["options"]["features"]),
        atoms=stored["options"]["atoms"],
        columns=stored["columns"],
        progress=progress,
    )
    if data.width != stored["width"]:
        raise InputError(f"{files[0]} has {data.width} columns, but the fit in {folder} had {stored['width']}")
    data.warnings += _changed(folder, data, stored.get("digests", []))
    modes = model.modes_from(model.functions(data))
    with np.load(folder / "modes.npz", allow_pickle=False) as fitted:
        transformation = fitted["transformation"]
    save_modes(out, data, modes, memberships_of(modes, transformation), transformation, force=force)
    return data


def _found_from(folder: Path, features: list[str] | None) -> list[str] | None:
    """Features of a fit, with the files that they are named by, which results.json holds as seen from its folder."""
    if features is None:
        return None
    return [move_paths(name, lambda path: os.path.normpath(folder.resolve() / path)) for name in features]


def _changed(folder: Path, data: Dataset, digests: list[str]) -> list[str]:
    """What to say of features whose file is no longer that of the fit."""
    now = zip(data.options["features"] or [], data.digests, digests, strict=False)
    return [
        f"{name} has changed since the fit in {folder}, whose modes were learned from what it gave then: fit again"
        for name, here, then in now
        if ":" in name and then and here != then
    ]
