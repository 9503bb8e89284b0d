"""The input file for PLUMED: a line for every argument of the exported module, the module, and an example of a bias.

The module is loaded by PYTORCH_MODEL of PLUMED's module `pytorch`, which gives it the arguments in single precision, as
(1, n_arguments), and takes its outputs as components node-0, node-1, ... with derivatives. PLUMED's own units, nm and
radians, are those of the features here.
"""

from collections.abc import Iterator

import numpy as np

from spectraldyn.export.parts import Inputs, Part
from spectraldyn.version import __version__

PACE = 500
"""Steps between two lines of COLVAR, and between two kernels of the bias."""
_ACTIONS = {"torsions": "TORSION", "positions": "POSITION"}


def plumed_input(
    inputs: Inputs | None, columns: list[str], serials: np.ndarray, module: str, timescales: list[str], kelvin: float
) -> str:
    """Contents of plumed.dat.

    Parameters
    ----------
    inputs : Inputs or None
        None for ready-made features, whose columns are the arguments, to be defined by the user.
    columns : list of str
        Of the model.
    serials : (n_atoms,) int
        Numbers in the simulation, counted from 1, of the atoms of the inputs.
    module : str
        Name of the file with the module.
    timescales : list of str
        Of every mode, with unit; empty where it has none.
    kelvin : float
        For the example.
    """
    lines = [f"# Modes learned by spectraldyn {__version__}, for PLUMED with its module pytorch. Lengths in nm."]
    if inputs is None:
        arguments = [f"c{i}" for i in range(1, 1 + len(columns))]
        lines.append("# The features of the fit were ready-made: define a value for each column here, by these labels.")
        lines += [f"# {label}: ...  # column {name}" for label, name in zip(arguments, columns, strict=True)]
    else:
        lines.append("# Atoms are counted from 1 in the order of the simulation.")
        defined = [one for part in inputs.parts for one in _defined(part, inputs, serials)]
        lines += [f"{label}: {action}  # {what}" for label, action, what in _labelled(defined)]
        arguments = [name for label, action, _ in _labelled(defined) for name in _values(label, action)]
    nodes = [f"modes.node-{i}" for i in range(len(timescales))]
    return "\n".join(
        [
            *lines,
            f"modes: PYTORCH_MODEL FILE={module} ARG={','.join(arguments)}",
            *(f"# {node}: timescale {time}" for node, time in zip(nodes, timescales, strict=True) if time),
            f"PRINT FILE=COLVAR STRIDE={PACE} ARG={','.join(nodes)}",
            "# A bias along the slowest mode: BARRIER (kJ/mol) is the highest that it is to fill.",
            f"# opes: OPES_METAD ARG={nodes[0]} PACE={PACE} BARRIER=30 TEMP={kelvin:g}",
            f"# PRINT FILE=BIAS STRIDE={PACE} ARG=opes.bias",
            "",
        ]
    )


def _defined(part: Part, inputs: Inputs, serials: np.ndarray) -> Iterator[tuple[str, str]]:
    """Of every argument, in the order in which the module takes them: the action, and what it is of."""
    action = _ACTIONS.get(part.kind, "DISTANCE")
    places = np.searchsorted(inputs.atoms, part.atoms)
    for atoms in places:
        numbers = ",".join(map(str, serials[atoms]))
        what = " ".join(inputs.labels[i] for i in atoms)
        one = f"ATOM={numbers} NOPBC" if action == "POSITION" else f"ATOMS={numbers}"
        yield f"{action} {one}", what


def _labelled(defined: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """With labels t1, t2, ... for torsions, d1, ... for distances, p1, ... for positions."""
    counts: dict[str, int] = {}
    for action, what in defined:
        letter = action[0].lower()
        counts[letter] = counts.get(letter, 0) + 1
        yield f"{letter}{counts[letter]}", action, what


def _values(label: str, action: str) -> list[str]:
    return [f"{label}.{axis}" for axis in "xyz"] if action.startswith("POSITION") else [label]
