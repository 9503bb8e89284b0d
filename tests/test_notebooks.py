"""The notebooks: each runs as it is stored, and is stored small, in order, and without traces of this machine."""

import json
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from analysis.notebooks import execution
from analysis.notebooks.execution import NOTEBOOKS, ROOT, executed, normalised

LARGEST = 300_000
"""Of a stored notebook, in bytes."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


class Shell(InteractiveShell):
    """IPython in this process, which has imported already what takes each kernel seconds."""

    def enable_gui(self, gui=None):
        pass


@pytest.fixture
def quick(monkeypatch):
    """A third of the training: what the notebooks assert holds all the same."""
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 1000)
    for name, value in {"STEPS": 150, "STEPS_PER_MODE": 8, "PROBE_STEPS": 100, "SETTLING_STEPS": 100}.items():
        monkeypatch.setattr(f"spectraldyn.estimators.neural_svd.{name}", value)


def test_runs(path, quick, tmp_path, monkeypatch, capsys):
    """From the first cell to the last, in a folder as `executed` makes it."""
    folder = tmp_path / path.parent.relative_to(ROOT)
    folder.mkdir(parents=True)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = Shell()
    try:
        for cell in code(nbformat.read(path, as_version=4)):
            shell.run_cell(cell.source).raise_error()
    finally:
        shell.restore_sys_module_state()
        plt.close("all")
    assert capsys.readouterr().err == ""  # warnings, for instance


def test_a_kernel_runs_and_keeps_what_comes_out(tmp_path, monkeypatch):
    """As the command does, with a notebook of two cells in the place of those that take longer."""
    path = tmp_path / "analysis" / "notebooks" / "small.ipynb"
    path.parent.mkdir(parents=True)
    cells = [
        "import os\nfrom pathlib import Path\nPath('left').touch()",
        "print(os.environ['OMP_NUM_THREADS'], Path('../../data').is_dir())",
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    first, second = code(executed(path))
    assert first.outputs == []
    assert [output.text for output in second.outputs] == ["1 True\n"]
    assert [cell.execution_count for cell in (first, second)] == [1, 2]
    assert not (path.parent / "left").exists()


def test_is_stored_as_the_command_stores_it(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert path.stat().st_size < LARGEST
    assert {**normalised(stored), "cells": None} == {**stored, "cells": None}
    assert [(cell.id, cell.metadata) for cell in normalised(stored).cells] == [
        (cell.id, cell.metadata) for cell in stored.cells
    ]
    assert [cell.execution_count for cell in code(stored)] == list(range(1, 1 + len(code(stored))))
    outputs = [output for cell in code(stored) for output in cell.outputs if "image/png" not in output.get("data", {})]
    text = json.dumps(outputs)
    assert "stderr" not in text
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|usr|work|Users)/", text) == []


def test_figures_are_described(path):
    for cell in code(nbformat.read(path, as_version=4)):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            assert len(cell.metadata.mystnb.image.alt) > 20


def test_asserts_what_it_says(path):
    assert sum("assert " in cell.source for cell in code(nbformat.read(path, as_version=4))) >= 2
