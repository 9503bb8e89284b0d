"""Atoms chosen in mdtraj's selection language."""

import re

import mdtraj
import numpy as np
from mdtraj.core.selection import SelectionKeyword

from spectraldyn.errors import InputError, did_you_mean


def select(topology: mdtraj.Topology, selection: str, what: str) -> np.ndarray:
    """Indices of the atoms, ascending; InputError, in which it is called `what`, if it cannot be read or is empty."""
    try:
        indices = np.asarray(topology.select(selection), dtype=int)
    except (ValueError, TypeError, AttributeError, SyntaxError, NameError, LookupError, re.error) as error:
        reason = _unknown_keyword(selection) or "write for example 'protein', 'name CA', 'resSeq 1 to 20'"
        raise InputError(f"{what} is {selection!r}, which is not a selection mdtraj understands: {reason}") from error
    if len(indices) == 0:
        raise InputError(f"{what} is {selection!r}, which selects none of the {topology.n_atoms} atoms of the topology")
    return np.unique(indices)


def _unknown_keyword(selection: str) -> str | None:
    """What to say of the first word that stands where a keyword should and is none; None where there is no such."""
    keywords = SelectionKeyword.keyword_aliases
    for word in re.findall(r"(?:^|\(|!|&&|\|\||\b(?:and|or|not)\b)\s*(?!(?:and|or|not)\b)([A-Za-z_]\w*)", selection):
        if word not in keywords:
            return f"{word!r} is none of its keywords{did_you_mean(word.lower(), keywords)}"
    return None
