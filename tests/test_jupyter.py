"""In a notebook: what shows itself, how it looks without being seen, structures that turn, progress bars."""

import re
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from unittest import mock

import compared
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from problems import REPOSITORY_DATA, exchanging_frames
from test_report import Page

import spectraldyn
from spectraldyn import Dataset, InputError, plots
from spectraldyn.data import Column
from spectraldyn.jupyter import register
from spectraldyn.pipeline.remarks import Judgement
from spectraldyn.report import as_html, viewing
from spectraldyn.units import TimeAxis

QUICK = {"hidden": (8,), "max_steps": 30, "random_state": 0}
PEPTIDE = REPOSITORY_DATA / "alanine_dipeptide"


@pytest.fixture(scope="module")
def display():
    """How IPython shows things, after the import of spectraldyn."""
    formatter = DisplayFormatter()
    register(SimpleNamespace(display_formatter=formatter))
    return formatter


@pytest.fixture(scope="module")
def transfer():
    data = Dataset([exchanging_frames(3000)], columns=[Column("x", "<i>A</i>", unit="nm"), Column("y", "A", unit="nm")])
    model = spectraldyn.NeuralSVD(2, lagtime=4, n_networks=1, **QUICK).fit_fetch(data)
    results = spectraldyn.analyze(model, data)
    return replace(results, verdict=[Judgement("problem", "no `lag` < 3", "give more"), *results.verdict])


@pytest.fixture(scope="module")
def generator():
    data = Dataset([np.random.default_rng(0).normal(size=(500, 1))])
    model = spectraldyn.GeneratorSVD(1, **QUICK).fit_fetch(data)
    return spectraldyn.analyze_generator(model, data)


@pytest.fixture(params=["features", "transfer", "transfer model", "generator", "generator model", "comparison", "scan"])
def thing(request, transfer, generator):
    return {
        "features": transfer.data, "transfer": transfer, "transfer model": transfer.model, "generator": generator,
        "generator model": generator.model, "comparison": compared.comparison(), "scan": compared.scan(),
    }[request.param]  # fmt: skip


def test_a_small_table_and_a_figure(thing, display):
    shown, _ = display.format(thing)
    text = shown["text/html"]
    assert len(text) < 60_000
    page = Page(text)
    assert not page.open
    assert [tag for tag, _ in page.tags].count("caption") == 1
    assert {attributes["scope"] for tag, attributes in page.tags if tag == "th"} == {"col", "row"}
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,")
    assert len(image["alt"]) > 30
    heads, *rows = thing.table()
    n_columns = sum(any(row[k].strip() for row in rows) for k in range(len(heads)))
    failures = isinstance(thing, spectraldyn.Comparison)  # whose column is left out, as they stand in the verdict
    assert text.count("<th ") == n_columns - failures + len(rows)
    assert not re.search("<(i|b|contacts|matrix)>", text)
    assert "color:" not in text.replace("background:", "")  # that of the notebook, dark or light
    plain = shown["text/plain"]
    assert len(plain.splitlines()) < 20
    assert "array(" not in plain


def test_the_verdict_has_the_worst_first(transfer):
    text = as_html(transfer)
    words = re.findall("<strong>(.*?)</strong>", text)
    assert words == [one.level for one in transfer.verdict]
    assert words[0] == "problem"
    assert "no <code>lag</code> &lt; 3. <em>What to do:</em> give more." in text


def test_parts_of_results_are_short_as_text(transfer):
    first = transfer.attribution[0]
    shown = [f"{name} {first.features.importance.value[k]:.2f}" for k, name in enumerate(first.features.names)]
    assert repr(first) == f"Attribution(permutation importance of {', '.join(shown)})"
    assert repr(spectraldyn.Refit(np.zeros(100), transfer.model)) == f"Refit({transfer.model!r})"


def test_features_say_what_they_are():
    torsions = [Column(kind, "ALA2", part) for kind in ("phi", "psi") for part in ("cos", "sin")]
    columns = [*torsions, *(Column("distance", f"A B{k}", unit="nm") for k in range(4))]
    data = Dataset([np.zeros((10, 8)), np.zeros((5, 8))], columns=columns, time=TimeAxis(200.0, 5))
    assert repr(data) == "Dataset(2 stretches, 15 rows of 1 ns, 8 columns)"
    assert data.table()[1:] == [
        ("phi", "1", "2", "cosine and sine", "phi ALA2"),
        ("psi", "1", "2", "cosine and sine", "psi ALA2"),
        ("distance", "4", "4", "nm", "distance A B0, distance A B1, distance A B2, …"),
    ]
    assert data.notes() == []


def test_figures_without_a_window_are_shown(display):
    figure = plots.figure_axes().figure
    assert display.format(figure)[0]["image/png"].startswith(b"\x89PNG")


CODE = """
import os, sys, types
import spectraldyn
assert not {"IPython", "torch", "matplotlib", "tqdm"} & sys.modules.keys()
for name in [name for name in sys.modules if name.startswith("spectraldyn")]:
    del sys.modules[name]
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
sys.modules["ipykernel.zmqshell"] = types.ModuleType("ipykernel.zmqshell")  # a notebook
sys.modules["ipywidgets"] = None  # which is not installed
import spectraldyn
assert not {"torch", "matplotlib", "tqdm"} & sys.modules.keys()
from spectraldyn.data.dataset import Dataset
assert shell.display_formatter.formatters["text/html"].lookup_by_type(Dataset).__module__ == "spectraldyn.jupyter"
from spectraldyn.features.load import tqdm
assert list(tqdm([1, 2])) == [1, 2]
"""


def test_importing_registers_in_ipython_alone_and_progress_needs_no_widgets(tmp_path):
    """With warnings as errors, as one that ipywidgets are missing would be."""
    code = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", CODE]
    with mock.patch.dict("os.environ", IPYTHONDIR=str(tmp_path), HOME=str(tmp_path)):
        done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def peptide():
    """As far as a viewer looks at results: two sets of a peptide, of which one has no frames, and one mode."""
    data = spectraldyn.load_features(PEPTIDE / "a2.xtc", top=PEPTIDE / "top.pdb", stride=100)
    modes = np.linspace(-1, 1, data.n_rows)[:, None]
    return SimpleNamespace(
        data=data,
        modes=modes,
        sets=SimpleNamespace(memberships=np.repeat([[0.75, 0.25]], data.n_rows, axis=0)),
        model=SimpleNamespace(settings=SimpleNamespace(seed=0)),
        populations=SimpleNamespace(value=np.array([0.75, 0.25])),
        representatives=[np.array([3, 5, 8]), np.array([], dtype=int)],
    )


def recorder(name, *functions):
    """A library whose functions record how they are called."""
    module = ModuleType(name)
    for function in functions:
        setattr(module, function, mock.MagicMock())
    return module


def test_structures_in_py3dmol(peptide, monkeypatch):
    module = recorder("py3Dmol", "view")
    monkeypatch.setitem(sys.modules, "py3Dmol", module)
    view = spectraldyn.view_states(peptide)
    assert view is module.view.return_value
    assert module.view.call_args.kwargs["viewergrid"] == (1, 1)
    (added,) = view.addModelsAsFrames.call_args_list
    text, kind = added.args
    assert (text.count("MODEL"), text.count("ENDMDL"), kind, added.kwargs) == (3, 3, "pdb", {"viewer": (0, 0)})
    assert view.addLabel.call_args.args[0] == "set 1: 75 %"
    view.animate.assert_called_once()
    spectraldyn.view_states(peptide, process=1)
    assert view.addModelsAsFrames.call_args.args[0].count("ENDMDL") == 15
    assert view.addLabel.call_args.args[0] == "along process 1"


def test_large_molecules_are_cartoons_of_fewer_frames(peptide, monkeypatch):
    module = recorder("py3Dmol", "view")
    monkeypatch.setitem(sys.modules, "py3Dmol", module)
    monkeypatch.setattr(viewing, "MANY_ATOMS", 5)
    monkeypatch.setattr(viewing, "MOST_CHARACTERS", 2500)  # ten atoms, some 80 letters each
    view = spectraldyn.view_states(peptide, process=1)
    assert view.addModelsAsFrames.call_args.args[0].count("ENDMDL") == 3
    assert [call.args[1].keys() for call in view.setStyle.call_args_list] == [{"cartoon"}, {"stick"}]


def test_structures_in_nglview(peptide, monkeypatch):
    nglview, widgets = recorder("nglview", "show_text"), recorder("ipywidgets", "HBox", "VBox", "Label")
    for name, module in {"py3Dmol": None, "nglview": nglview, "ipywidgets": widgets}.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert spectraldyn.view_states(peptide) is widgets.HBox.return_value
    assert nglview.show_text.call_args.args[0].count("ENDMDL") == 3
    widgets.Label.assert_called_once_with("set 1: 75 %")


def test_what_cannot_be_viewed_is_said(peptide, monkeypatch):
    for name in ("py3Dmol", "nglview"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="no viewer is installed: run pip install py3Dmol"):
        spectraldyn.view_states(peptide)
    monkeypatch.setitem(sys.modules, "py3Dmol", recorder("py3Dmol", "view"))
    with pytest.raises(InputError, match="`process` is 2: these results have processes 1 to 1"):
        spectraldyn.view_states(peptide, process=2)
    with pytest.raises(InputError, match="of arrays, which have no structures"):
        spectraldyn.view_states(SimpleNamespace(data=Dataset([np.zeros((3, 1))])))
