"""What a paper says of a fit: a paragraph on the methods, and the works that it cites."""

from collections.abc import Iterable
from importlib import resources
from typing import Any

from spectraldyn.baselines import Comparison
from spectraldyn.pipeline import Scan
from spectraldyn.report.shown import counted, listed

TRANSFER = ("ryu2024operator", "wu2020variational", "roblitz2013fuzzy", "prinz2011markov", "metzner2009transition")
GENERATOR = ("ryu2024operator", "zhang2016effective", "roblitz2013fuzzy")
SCAN = ("ryu2024operator", "wu2020variational")
METHODS = {
    "neural-svd": ("NeuralSVD", "ryu2024operator", "Ryu et al. 2024"),
    "tica": ("TICA", "perezhernandez2013identification", "Pérez-Hernández et al. 2013"),
    "vamp": ("VAMP", "wu2020variational", "Wu and Noé 2020"),
    "edmd": ("EDMD with a Gaussian basis", "williams2015data", "Williams et al. 2015"),
    "kernel-edmd": ("kernel EDMD", "williams2015kernel", "Williams et al. 2015b"),
    "msm": ("a Bayesian Markov state model", "trendelkampschroer2015estimation", "Trendelkamp-Schroer et al. 2015"),
    "vampnet": ("VAMPNet", "mardt2018vampnets", "Mardt et al. 2018"),
    "srv": ("state-free reversible VAMPNet", "chen2019nonlinear", "Chen et al. 2019"),
    "nystroem-rrr": ("Nyström reduced-rank regression", "meanti2023estimating", "Meanti et al. 2023"),
}
"""Name in a sentence, key among the references and citation of every method of a comparison."""
ENCODERS = {
    "schnet": ("SchNet", "schutt2018schnet", "Schütt et al. 2018"),
    "painn": ("PaiNN", "schutt2021equivariant", "Schütt et al. 2021"),
}
"""The same of the encoders."""
SOFTWARE = ("hoffmann2022deeptime", "mcgibbon2015mdtraj")


def asset(name: str) -> str:
    """The text of a file that comes with the report."""
    return resources.files("spectraldyn.report").joinpath("assets", name).read_text(encoding="utf-8")


def methods(contents: dict[str, Any], lag: str | None) -> str:
    """A paragraph for the section on methods, from what results.json holds; `lag` is the lag time in words."""
    model = contents["model"]
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
        f"The leading {n_modes} modes of {operator}{where} were learned from {_inputs(contents)} of {data} by "
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


def _inputs(contents: dict[str, Any]) -> str:
    """What the networks see."""
    if (given := contents["coordinates"]) is None:
        return f"{len(contents['features']['columns'])} features"
    if given["encoder"] is None:
        return f"{given['plain']} of {given['n_atoms']} atoms"
    name, _, cited = ENCODERS[given["encoder"]]
    beside = f", beside {given['plain']}," if given["plain"] else ""
    network = f"a {name} network ({cited}) trained beforehand"
    return f"features that {network} makes of the coordinates of {given['n_atoms']} atoms{beside}"


def references(contents: dict[str, Any]) -> str:
    """The works that the paragraph cites, and the software used, as BibTeX."""
    given = contents["coordinates"]
    encoder = () if given is None or given["encoder"] is None else (ENCODERS[given["encoder"]][1],)
    return _entries((GENERATOR if contents["lag"] is None else TRANSFER) + encoder + SOFTWARE)


def methods_of_comparison(comparison: Comparison, contents: dict[str, Any], lag: str) -> str:
    """A paragraph for the section on methods, from a comparison and what compare.json holds."""
    cited = [f"{METHODS[runs[0].method][0]} ({METHODS[runs[0].method][2]})" for runs in comparison.runs]
    names, splits = listed(cited), counted(comparison.n_splits, "split")
    features = f"{counted(comparison.n_columns, 'feature')} of {contents['n_frames']:,} frames"
    return (
        f"{names[0].upper()}{names[1:]} were fitted to {features} at a lag time of {lag} and judged alike, as "
        f"implemented in spectraldyn {contents['version']} with deeptime (Hoffmann et al. 2022): over {splits}, in "
        "each of which three tenths of the data were held out in contiguous blocks, by VAMP-2 and VAMP-E on the "
        "held-out pairs (Wu and Noé 2020), and by timescales from Rayleigh–Ritz over all pairs of frames, with 95 % "
        "intervals from a block bootstrap."
    )


def comparison_references(comparison: Comparison) -> str:
    """The works that the paragraph cites, and the software used, as BibTeX."""
    cited = [METHODS[runs[0].method][1] for runs in comparison.runs]
    return _entries(tuple(dict.fromkeys([*cited, "wu2020variational", *SOFTWARE])))


def methods_of_scan(scan: Scan, contents: dict[str, Any]) -> str:
    """A paragraph for the section on methods, from a scan and what scan.json holds."""
    reversible = "reversible " if scan.reversible else ""
    axes = listed([{"lag": "lag time", "modes": "number of modes"}.get(axis, axis) for axis in scan.axes])
    return (
        f"The leading modes of the {reversible}transfer operator were learned from {contents['n_frames']:,} frames by "
        f"NeuralSVD (Ryu et al. 2024), as implemented in spectraldyn {contents['version']}, in {len(scan.fits)} fits "
        f"that differ in {axes}, one varied at a time. Timescales were read off by Rayleigh–Ritz over all pairs of "
        "frames (Wu and Noé 2020); ratios between fits were judged on the same resampled blocks of the data."
    )


def scan_references() -> str:
    """The works that the paragraph cites, and the software used, as BibTeX."""
    return _entries(SCAN + SOFTWARE)


def _entries(wanted: Iterable[str]) -> str:
    entries = asset("references.bib").strip().split("\n\n")
    return "\n\n".join(entry for key in wanted for entry in entries if f"{{{key}," in entry)
