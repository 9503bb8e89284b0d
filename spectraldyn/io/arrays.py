"""Ready-made features in .npy and .npz files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.io.formats import check_readable

SUFFIXES = (".npy", ".npz")
_SCAN_VALUES = 2**22  # values checked at once


def read_arrays(path: Path) -> list[tuple[str | None, np.ndarray]]:
    """Every array in a .npy or .npz file, with its name in the latter; each is a trajectory of its own, (T, d) float32.

    Raises
    ------
    InputError
        If the file cannot be read, or an array is not a finite, non-empty table of real numbers.
    """
    check_readable(path)
    try:
        # numpy leaves a damaged .npz open when it is given the path
        with path.open("rb") as stream:
            if stream.read(2) == b"PK":
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as archive:
                    arrays: list[tuple[str | None, np.ndarray]] = [(name, archive[name]) for name in archive.files]
            else:
                arrays = [(None, np.load(path, mmap_mode="r", allow_pickle=False))]
    except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        what = "it is damaged, or no NumPy file of plain numbers (pickled objects are not read)"
        raise InputError(f"{path} cannot be read: {what}") from error
    if not arrays:
        raise InputError(f"{path} holds no array")
    return [(name, _rows(array, f"{path}" if name is None else f"{path}, array {name!r}")) for name, array in arrays]


def _rows(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where} holds {array.dtype}, not real numbers")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{where} has shape {array.shape}: features are (frames, columns), neither of them 0")
    with np.errstate(over="ignore"):  # beyond the range of float32 is infinite, and found below
        rows = array.view(np.ndarray).astype(np.float32, copy=False)
    step = max(1, _SCAN_VALUES // rows.shape[1])
    for start in range(0, len(rows), step):
        bad = np.flatnonzero(~np.isfinite(rows[start : start + step]).all(axis=1))
        if len(bad):
            where = f"{where} holds NaN or a number too large for float32"
            raise InputError(f"{where} in row {start + bad[0]} (counted from 0)")
    return rows
