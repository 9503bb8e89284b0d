"""pyproject.toml declares what the package imports, no more and no less; the citation is of this version."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spectraldyn import __version__
from spectraldyn.report.citing import asset

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ELSEWHERE = {"tables"}
"""Imported by mdtraj, which does not declare it, and by the process that tries HDF5 files."""
OPTIONAL = {
    "kooplearn": "rivals",
    "ipywidgets": "notebooks",
    "distributed": "cluster",
    "pymbar": "biased",
    "onnx": "export",
}
"""Imported where it is asked for by name, with an error that says how to install it: the extra that brings it."""


def names(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_imports_are_declared_and_declared_packages_are_imported():
    trees = [ast.parse(path.read_text()) for path in (ROOT / "spectraldyn").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    foreign = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"spectraldyn"}
    homes = packages_distributions()
    needed = {canonicalize_name(homes[name][0]) for name in foreign - OPTIONAL.keys()}
    assert needed | ELSEWHERE == names(PROJECT["dependencies"])
    for name, extra in OPTIONAL.items():
        assert name in names(PROJECT["optional-dependencies"][extra])


def test_the_citation_is_of_this_version_and_of_the_paper_that_reports_cite():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in citation
    (paper,) = re.findall(r"(?<=@inproceedings{ryu2024operator,\n).*?(?=\n})", asset("references.bib"), re.DOTALL)
    fields = dict(re.findall(r"(\w+) = {(.*)}", paper.replace("{SVD}", "SVD")))
    assert fields.keys() == {"author", "title", "booktitle", "year"}
    assert f"    title: {fields['title']}\n" in citation
    assert f"    collection-title: {fields['booktitle']}\n    " in citation
    assert f"    year: {fields['year']}\n" in citation
    cited = re.findall(r"family-names: (.*)\n +given-names: (.*)\n", citation)
    assert " and ".join(map(", ".join, cited)) == fields["author"]
