"""What a paper says of a fit: a paragraph on the methods, and the works that it cites."""

from importlib import resources
from typing import Any

TRANSFER = ("ryu2024operator", "wu2020variational", "roblitz2013fuzzy", "prinz2011markov", "metzner2009transition")
GENERATOR = ("ryu2024operator", "zhang2016effective", "roblitz2013fuzzy")
SOFTWARE = ("hoffmann2022deeptime", "mcgibbon2015mdtraj")


def asset(name: str) -> str:
    """The text of a file that comes with the report."""
    return resources.files("spectraldyn.report").joinpath("assets", name).read_text(encoding="utf-8")


def methods(contents: dict[str, Any], lag: str | None) -> str:
    """A paragraph for the section on methods, from what results.json holds; `lag` is the lag time in words."""
    model, n_features = contents["model"], len(contents["features"]["columns"])
    n_modes, n_files = len(contents["timescales"]), len(contents["inputs"])
    data = f"{contents['n_frames']:,} frames of {n_files} trajector{'ies' if n_files > 1 else 'y'}"
    if lag is None:
        operator, where = "the generator of overdamped Langevin dynamics", ""
        pairs = "as Rayleigh quotients of the Dirichlet form"
    else:
        operator = f"the {'reversible ' if model['tied'] else ''}transfer operator"
        where, pairs = f" at a lag time of {lag}", "by Rayleigh–Ritz over all pairs of frames"
    values = "Timescales" if lag is not None else "Relaxation rates"
    errors = "a block bootstrap"
    if contents["n_refits"]:
        errors += f" and {contents['n_refits']} fits of resampled data with new random numbers"
    sentences = [
        f"The leading {n_modes} modes of {operator}{where} were learned from {n_features} features of {data} by "
        f"NeuralSVD with {model['objective']} nesting (Ryu et al. 2024), as implemented in spectraldyn "
        f"{contents['version']}.",
        f"{values} were read off {pairs}, with 95 % intervals from {errors}.",
        f"{len(contents['states'])} metastable sets were found by PCCA+ on the modes (Röblitz and Weber 2013).",
    ]
    if lag is not None:
        sentences.append(
            "Mean first passage times and fluxes are those between the cores of the sets, from a Markov state model "
            "(Prinz et al. 2011) of clusters in the space of the modes and transition-path theory (Metzner et al. "
            "2009), estimated with deeptime (Hoffmann et al. 2022)."
        )
    return " ".join(sentences)


def references(contents: dict[str, Any]) -> str:
    """The works that the paragraph cites, and the software used, as BibTeX."""
    wanted = (GENERATOR if contents["lag"] is None else TRANSFER) + SOFTWARE
    entries = asset("references.bib").strip().split("\n\n")
    return "\n\n".join(entry for key in wanted for entry in entries if f"{{{key}," in entry)
