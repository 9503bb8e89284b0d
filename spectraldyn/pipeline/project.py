"""New trajectories on the modes of an earlier fit, from its folder of results."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.estimators.model import load_model
from spectraldyn.features.load import Features, load_features
from spectraldyn.io import load_topology
from spectraldyn.report.folders import draft_folder, holds_results
from spectraldyn.report.write import save_modes
from spectraldyn.spectra.states import memberships_of


def project_files(
    folder: str | Path, files: Sequence[str | Path], out: str | Path, force: bool = False, progress: bool = False
) -> Features:
    """Project every frame of new files on the modes and metastable sets of a fit; write them as .npz.

    Parameters
    ----------
    folder : str or Path
        Written by `write_results`.
    files : sequence of paths
        New files of the same molecule, or arrays with the same columns. All of their frames are used: the --skip and
        --stride of the fit do not apply.
    out : str or Path
        The .npz file to write; see `save_modes` for its arrays.
    force : bool
        Replace an existing file.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Features
        Of the new files.

    Raises
    ------
    InputError
        If the folder holds no results, the files do not suit them, or `out` cannot be written.
    """
    folder, out = Path(folder), Path(out)
    if not holds_results(folder):
        raise InputError(f"{folder} is not a folder of results: give one that `spectraldyn fit` has written")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: give the name of a file in an existing folder")
    if out.exists() and not force:
        raise InputError(f"{out} exists: give another --out, or --force to replace it")
    draft_folder(out).rmdir()  # an unwritable place is named before the files are read
    stored = json.loads((folder / "results.json").read_text())["features"]
    model = load_model(folder / "model.pt")
    topology = folder / "topology.h5"
    features = load_features(
        files,
        top=load_topology(topology, []) if topology.exists() else None,
        features=stored["options"]["features"],
        atoms=stored["options"]["atoms"],
        columns=stored["columns"],
        progress=progress,
    )
    if features.width != stored["width"]:
        raise InputError(f"{files[0]} has {features.width} columns, but the fit in {folder} had {stored['width']}")
    modes = model.transform(np.concatenate(features))
    with np.load(folder / "modes.npz", allow_pickle=False) as fitted:
        transformation = fitted["transformation"]
    save_modes(out, features, modes, memberships_of(modes, transformation), transformation)
    return features
