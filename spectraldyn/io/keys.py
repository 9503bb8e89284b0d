"""What identifies a file cheaply."""

import hashlib
from pathlib import Path

_PIECE = 64 * 1024


def file_key(path: str | Path) -> dict[str, int | str]:
    """Identity of a file for caches, without reading it whole.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        JSON-able: ``size`` in bytes, ``mtime_ns``, and ``blake2b`` of the first, middle and last 64 KiB. A
        file of which any of these changes is another; one that is changed elsewhere, with its size kept and its
        time of change set back, is not told apart.

    Raises
    ------
    OSError
        If the file cannot be read, or is no regular file.
    """
    if Path(path).exists() and not Path(path).is_file():  # to open a pipe may wait forever
        raise OSError(f"{path} is no regular file")
    digest = hashlib.blake2b(digest_size=20)
    with Path(path).open("rb") as file:
        state = Path(path).stat()
        for start in (0, (state.st_size - _PIECE) // 2, state.st_size - _PIECE):
            file.seek(max(start, 0))
            digest.update(file.read(_PIECE))
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "blake2b": digest.hexdigest()}
