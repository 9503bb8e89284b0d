"""Files and folders that appear complete or not at all, and are replaced only where they are ours."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spectraldyn.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft beside `path` to write, which takes its place at the end; where writing fails, nothing has changed.

    The draft has the ending of `path`, by which many writers choose a format.
    """
    draft = path.with_name(f".{path.stem}-{secrets.token_hex(6)}{path.suffix or '.draft'}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_file(out: str | Path, force: bool) -> Path:
    """The file to write.

    An InputError if its folder does not exist or cannot be written, or it exists and `force` is not given.
    """
    out = Path(out)
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: give the name of a file in an existing folder")
    if out.exists() and not force:
        raise InputError(f"{out} exists: give another `out`, or `force` to replace it")
    _draft_folder(out).rmdir()  # an unwritable place is named before any work is done
    return out


def check_folder(out: str | Path, force: bool, ours: Callable[[Path], bool], what: str) -> Path:
    """The folder to write; `force` replaces an earlier one of the kind that `ours` tells and `what` marks in messages.

    An InputError if it exists and `force` is not given, or it holds anything else, or it cannot be written.
    """
    out = Path(out)
    if out.exists():
        if not force:
            raise InputError(f"{out} exists: give another `out`, or `force` to replace earlier results")
        if not ours(out):
            raise InputError(f"{out} exists and holds no {what} of spectraldyn: it is not replaced, give another `out`")
    elif not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: {out.absolute().parent} does not exist or is no folder")
    _draft_folder(out).rmdir()  # tried now, not after the training
    return out


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `out` at the end; where filling it fails, nothing has changed."""
    draft = _draft_folder(out)
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


def _draft_folder(out: Path) -> Path:
    """A new folder beside `out`, or an InputError where none can be made."""
    try:
        return Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): give `out` in a folder of yours") from error
