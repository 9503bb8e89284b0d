"""The parts of a folder of results that are read again: which folder is one, and the modes of every frame."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.files import replacing


def holds_results(folder: Path) -> bool:
    """Whether a folder holds the results.json of a fit."""
    try:
        stored = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and {"version", "timescales", "eigenvalues"} <= stored.keys()


def save_modes(
    path: Path,
    data: Dataset,
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
    files = [relative_path(f.path, home) + ("" if f.array is None else f":{f.array}") for f in data.files]
    arrays = {
        "modes": modes.astype(np.float32),
        "memberships": memberships.astype(np.float32),
        "state": (1 + memberships.argmax(axis=1)).astype(np.int16),
        "file_index": data.file_of_row,
        "frame": data.frame_of_row,
        "files": np.array(files),
        "transformation": transformation,
    }
    # As np.savez_compressed, which at its level of compression takes longer than a fit where frames are many.
    with replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def relative_path(path: Path, home: Path) -> str:
    """Of a file, as seen from a folder."""
    return Path(os.path.relpath(path.resolve(), home.resolve())).as_posix()
