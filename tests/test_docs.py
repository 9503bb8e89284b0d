"""The pages of docs/: their Python runs, their commands parse, and nothing is left out."""

import ast
import operator
import re
import shlex
import warnings
from pathlib import Path

import mdtraj
import pytest

import spectraldyn
from spectraldyn.cli import _parser
from spectraldyn.features import FEATURES
from spectraldyn.io import FORMATS
from spectraldyn.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
N_FRAMES = 1500
"""Of each simulation that the pages read here: enough to fit, quickly."""


def blocks(page, language):
    """Contents of the fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A folder with the beginning of the data that the pages name, little training, and registers left as they were."""
    folder = tmp_path / "data" / "alanine_dipeptide"
    folder.mkdir(parents=True)
    shipped = ROOT / "data" / "alanine_dipeptide"
    structure = mdtraj.load(shipped / "top.pdb")
    structure.save(folder / "top.pdb")
    for name in ("a2.xtc", "a3.xtc", "a4.xtc"):
        mdtraj.load(shipped / name, top=structure)[:N_FRAMES].save(folder / name)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "STEPS": 20,
        "STEPS_PER_MODE": 1,
        "SETTLING_STEPS": 10,
        "PROBE_STEPS": 20,
        "ENCODED_STEPS": 10,
    }.items():
        monkeypatch.setattr(f"spectraldyn.estimators.neural_svd.{name}", value)
    for register in (FEATURES, FORMATS, OBJECTIVES):
        for name in list(register):
            monkeypatch.setitem(register, name, register[name])
    before = [(register, set(register)) for register in (FEATURES, FORMATS, OBJECTIVES)]
    yield tmp_path
    for register, names in before:
        for name in set(register) - names:
            del register[name]


def run(page):
    """The names that the Python of a page leaves, block after block."""
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", spectraldyn.InputWarning)
        for number, code in enumerate(blocks(page, "python"), 1):
            exec(compile(code, f"{page}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page != "from_pyemma.md"])
def test_python_runs(page, quick):
    run(page)


def test_attributes_exist(quick):
    """Those of results, models and data that the pages name in passing."""
    names = run("from_pyemma.md")
    named = {
        name for page in PAGES for name in re.findall(r"`((?:results|model|data)\.[\w.]+)", (DOCS / page).read_text())
    }
    assert len(named) > 30
    for name in named - {"results.json", "model.pt"}:
        operator.attrgetter(name.partition(".")[2])(names[name.partition(".")[0]])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_commands_parse(page):
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("spectraldyn ")]
    for command in commands:
        _parser().parse_args(command)  # exits where an option does not exist


def test_every_page_is_in_the_table_of_contents():
    listed = " ".join(re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)).split()
    assert {f"{name}.md" for name in listed} >= set(PAGES) - {"index.md"}


def test_the_reference_names_everything_public():
    page = (DOCS / "api.md").read_text()
    assert [name for name in spectraldyn.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_the_verdict_is_quoted_as_the_code_says_it():
    folders = ("pipeline", "spectra")
    trees = [ast.parse(file.read_text()) for name in folders for file in (ROOT / "spectraldyn" / name).glob("*.py")]
    said = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    said = [text for text in said if isinstance(text, str)]
    quoted = re.findall(r"^\| ((?!it says|reason)[^|`]+?) \|", (DOCS / "verdict.md").read_text(), re.MULTILINE)
    parts = [part.strip() for sentence in quoted for part in sentence.split("…") if part.strip(" :")]
    assert len(parts) > 40
    assert [part for part in parts if not any(part in text for text in said)] == []
