"""New trajectories on the modes of an earlier fit, from its folder of results: what `spectraldyn transform` does."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError
from spectraldyn.estimators import load_model
from spectraldyn.features import load_features, move_paths
from spectraldyn.files import check_file
from spectraldyn.pipeline.stored import check_results, read_modes, reading, save_modes
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
    fitted = FittedFeatures.load(folder)
    model, transformation = load_model(folder / "model.pt"), read_modes(folder, "transformation")["transformation"]
    _check_parts(folder, model.n_columns, len(fitted.columns), model.n_modes, transformation.shape)
    topology = folder / "topology.h5"
    data = load_features(
        files,
        top=topology if topology.exists() else None,
        features=fitted.features,
        atoms=fitted.atoms,
        columns=fitted.columns,
        progress=progress,
    )
    if data.width != fitted.width:
        raise InputError(f"{files[0]} has {data.width} columns, but the fit in {folder} had {fitted.width}")
    data.warnings += _changed(folder, data, fitted.digests)
    modes = model.modes_from(model.functions(data))
    save_modes(out, data, modes, memberships_of(modes, transformation), transformation, force=force)
    return data


@dataclass(frozen=True)
class FittedFeatures:
    """What results.json says of the features of a fit."""

    features: list[str] | None
    """None for ready-made ones. The files that they are named by are where this process finds them."""
    atoms: str | None
    columns: list[str]
    width: int
    digests: list[str]

    @classmethod
    def load(cls, folder: Path) -> "FittedFeatures":
        """Of a folder of results; InputError where a part is missing or of another kind."""
        with reading(folder, "results.json"):
            stored = json.loads((folder / "results.json").read_text())["features"]
            options, columns, width = stored["options"], stored["columns"], stored["width"]
            features, atoms, digests = options["features"], options["atoms"], stored.get("digests", [])
            texts = [*([] if features is None else [features]), columns, digests]
            if not all(isinstance(text, list) and all(isinstance(one, str) for one in text) for text in texts):
                raise ValueError("features, columns and digests are not lists of texts")
            if type(width) is not int or not isinstance(atoms, str | None):
                raise ValueError("the width is no number, or the selection of atoms no text")
            return cls(_found_from(folder, features), atoms, columns, width, digests)


def _check_parts(folder: Path, takes: int, given: int, n_modes: int, sets: tuple[int, ...]) -> None:
    """InputError where the parts of a folder are of different fits."""
    if takes != given:
        raise InputError(f"model.pt in {folder} takes {takes} columns, results.json names {given}: fit again")
    if len(sets) != 2 or sets[0] != sets[1] or not 1 < sets[0] <= n_modes + 1:
        raise InputError(f"modes.npz in {folder} does not belong to the {n_modes} modes of model.pt: fit again")


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
