"""Structures that the page of a report shows in three dimensions."""

from pathlib import Path
from typing import Any

MOST_CHARACTERS = 2_500_000
"""Of all structures in a page, which keeps below 5 MB with its pictures and the viewer."""

KNOWN_RESIDUES = frozenset((
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE", "LEU", "LYS", "MET", "PHE", "PRO", "SER",
    "THR", "TRP", "TYR", "VAL", "ACE",
))  # fmt: skip
"""That 3Dmol.js takes for parts of a protein, whatever the force field."""


def shown_structures(contents: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Structures of a folder of results by name, as PDB models: states, and frames along every process.

    Of a large molecule fewer frames are shown, evenly spaced, the first of every state among them; none at all where
    one frame of each is too much for a page.
    """
    named = [
        (f"set {number}: {100 * state['population']:.2g} %", state["structure"])
        for number, state in enumerate(contents["states"], 1)
    ]
    for number, process in enumerate(contents["processes"], 1):
        named.append((f"along process {number}", process["structure"]))
        named.append((f"transition state of process {number}", process["transition_structure"]))
    found = [(name, models_of((folder / path).read_text())) for name, path in named if path is not None]
    longest = max((len(models) for _, models in found), default=0)
    for most in range(longest, 0, -1):
        shown = [(name, thinned(models, most)) for name, models in found]
        if sum(len(model) for _, models in shown for model in models) <= MOST_CHARACTERS:
            return [{"name": name, "models": models} for name, models in shown]
    return []


def models_of(text: str) -> list[str]:
    """The atoms of every model of a PDB file, in residues between which the viewer draws bonds.

    It finds them by distance, but none from a residue that it knows to one that it does not: a cap or a histidine with
    a name of its force field would stand apart from its chain. Names of residues are not shown.
    """
    models: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("MODEL"):
            models.append([])
        elif line.startswith(("ATOM", "HETATM", "TER")):
            if not models:
                models.append([])
            known = not line.startswith("ATOM") or line[17:20] in KNOWN_RESIDUES
            models[-1].append((line if known else f"{line[:17]}ALA{line[20:]}").rstrip())
    return ["\n".join(lines) for lines in models]


def thinned(models: list[str], most: int) -> list[str]:
    """At most so many, evenly spaced, the first among them."""
    if len(models) <= most:
        return models
    return [models[round(place * (len(models) - 1) / max(most - 1, 1))] for place in range(most)]
