"""The notebooks: each runs as it is stored, and is stored small, in order, and without traces of this machine."""

import json
import re

import nbformat
import pytest

from analysis.notebooks.execution import NOTEBOOKS, executed, normalised

LARGEST = 300_000
"""Of a stored notebook, in bytes."""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    outputs = [output for cell in code(executed(path)) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []  # warnings, for instance


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
