"""How notebooks are executed and stored, so that two runs differ in what they found alone."""

import base64
import io
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
TIME_LIMIT = 120
"""In seconds, for one cell."""
COLOURS = 96
"""Of a stored picture: a colour map still looks smooth."""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def executed(path: Path) -> NotebookNode:
    """The notebook with the outputs of a new kernel with one thread.

    It runs in a copy of the two folders that it sees, its own and the data, so that what it writes is gone afterwards.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        With the traceback of the first cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="spectraldyn-") as place:
        folder = Path(place, path.parent.relative_to(ROOT))
        folder.mkdir(parents=True)
        Path(place, "data").symlink_to(ROOT / "data")
        shutil.copy(path, folder)
        # What a user starts every kernel with does not belong here.
        environment = {**os.environ, **THREADS, "IPYTHONDIR": str(Path(place, "ipython"))}
        client = NotebookClient(
            notebook,
            timeout=TIME_LIMIT,
            kernel_name=KERNEL["name"],
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,
            # Otherwise each kernel warns that others on this machine could listen.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
        return client.execute(env=environment)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """The same with cells that are counted, small pictures, and without what depends on who ran it, and when."""
    cells = []
    for number, cell in enumerate(notebook.cells, 1):
        kept = {name: value for name, value in cell.metadata.items() if name == "mystnb"}
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _in_few_colours(output.data["image/png"])
        cells.append(NotebookNode({**cell, "id": f"cell-{number:02}", "metadata": NotebookNode(kept)}))
    metadata = NotebookNode({"kernelspec": NotebookNode(KERNEL), "language_info": NotebookNode({"name": "python"})})
    return NotebookNode({**notebook, "cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _in_few_colours(png: str) -> str:
    """A picture in base64 with a palette, a third of the size."""
    picture, small = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
