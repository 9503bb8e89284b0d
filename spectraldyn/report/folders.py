"""Folders of results that appear complete or not at all, and are replaced only where they are ours."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectraldyn.errors import InputError


def check_folder(out: str | Path, force: bool, mark: str = "results.json") -> Path:
    """The folder to write, if it may be written.

    Parameters
    ----------
    out : str or Path
    force : bool
        Replace earlier results.
    mark : {"results.json", "compare.json"}
        The file that makes a folder one of earlier results of the same kind.

    Raises
    ------
    InputError
        If it exists and `force` is not given, or it holds anything but such results.
    """
    out = Path(out)
    if out.exists():
        if not force:
            raise InputError(f"{out} exists: give another --out, or --force to replace earlier results")
        if not holds_results(out, mark):
            raise InputError(f"{out} exists and holds no {mark} of spectraldyn: it is not replaced, give another --out")
    elif not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: {out.absolute().parent} does not exist or is no folder")
    # Tried now, not after the training.
    draft_folder(out).rmdir()
    return out


def draft_folder(out: Path) -> Path:
    """A new folder beside `out`, or an InputError where none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): give --out in a folder of yours") from error


def holds_results(folder: Path, mark: str = "results.json") -> bool:
    """Whether a folder holds a file of this name that spectraldyn wrote."""
    try:
        stored = json.loads((folder / mark).read_text())
    except (OSError, ValueError):
        return False
    if mark == "compare.json":
        return isinstance(stored, list) and all(
            isinstance(row, dict) and {"method", "failed", "peak_mb"} <= row.keys() for row in stored
        )
    return isinstance(stored, dict) and {"version", "timescales", "eigenvalues"} <= stored.keys()


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `out` at the end; where filling it fails, nothing has changed."""
    draft = draft_folder(out)
    try:
        yield draft
        # mkdtemp makes private folders; the results are as readable as any other new folder.
        umask = os.umask(0)
        os.umask(umask)
        draft.chmod(0o777 & ~umask)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.absolute().parent))
            out.rename(old / "results")
            draft.rename(out)
            shutil.rmtree(old)
        else:
            draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
