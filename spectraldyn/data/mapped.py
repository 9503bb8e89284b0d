"""Arrays that lie in files and are mapped into memory: what stays there, and what is given back after a look."""

import mmap
from typing import Any

import numpy as np

RESIDENT_BYTES = 2**29
"""Rows that take no more than this may stay in memory, and training draws from all of them at once. Larger ones are
read piece by piece. A constant: with the memory of the machine, numbers would depend on where they were computed."""
TOUCHED_BYTES = 2**26
"""Of large files, read before their pages are given back."""


def release(rows: Any) -> None:
    """Give back the pages of a mapped file that reading it has brought into memory; they are read again when needed.

    Does nothing to arrays in memory, nor to private mappings, whose pages may hold what the user has written.
    """
    while rows is not None and not (isinstance(rows, np.memmap) and isinstance(rows.base, mmap.mmap)):
        rows = getattr(rows, "base", None)
    if rows is not None and rows.mode == "r":
        rows.base.madvise(mmap.MADV_DONTNEED)
