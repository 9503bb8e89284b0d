"""Structures of the metastable sets, and along a process, turned in a notebook by py3Dmol or nglview."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

from spectraldyn.errors import InputError
from spectraldyn.io import write_structures
from spectraldyn.pipeline import FittedFrames, Results
from spectraldyn.report.structures import ALONG, Group, groups_of_processes, groups_of_sets
from spectraldyn.report.viewer import models_of, thinned

MOST_CHARACTERS = 1_000_000
"""Of all structures in one output, which is kept in the notebook."""
MANY_ATOMS = 300
"""From which on a cartoon shows more than sticks."""
WIDTH, HEIGHT = 300, 280
"""Of one panel, in pixels."""


class _Panel(NamedTuple):
    name: str
    models: list[str]
    """As PDB, superposed."""

    @property
    def text(self) -> str:
        return "".join(f"MODEL {number}\n{model}\nENDMDL\n" for number, model in enumerate(self.models, 1))


def view_states(results: Results, process: int | None = None) -> Any:
    """Turn structures in a notebook: those that represent each metastable set, or the frames along a process.

    With py3Dmol, which fetches 3Dmol.js from the net, or with nglview, whichever is installed (py3Dmol if both are).
    The report of `write_results` shows the same without either, and offline.

    Parameters
    ----------
    results : TransferResults or GeneratorResults
        Of trajectories, which have to be where they were.
    process : int, optional
        Number of a process, from 1: shown are frames along its mode, from its lower end to its upper, rarer one. By
        default the sets: one panel each, with the most probable frame, the medoid, then a spread over its core.

    Returns
    -------
    py3Dmol.view or ipywidgets.HBox
        Which a notebook shows.

    Raises
    ------
    InputError
        If neither viewer is installed, the results are of ready-made arrays, which have no structures, there is no
        such process, or a trajectory is gone.
    """
    viewer = _installed()
    if results.data.topology is None:
        raise InputError("these results are of arrays, which have no structures to view: fit trajectory files")
    n_processes = results.modes.shape[1]
    if process is not None and not 1 <= process <= n_processes:
        raise InputError(f"`process` is {process!r}: these results have processes 1 to {n_processes}")
    if process is None:
        groups = groups_of_sets(results.representatives)
        names = [f"set {number}: {100 * share:.2g} %" for number, share in enumerate(results.populations.value, 1)]
    else:
        groups = groups_of_processes(FittedFrames.of(results), ALONG, 0)[2 * process - 2 : 2 * process - 1]
        names = [f"along process {process}"]
    panels = _panels(results, groups, names)
    return _in_nglview(viewer, panels) if viewer.__name__ == "nglview" else _in_py3dmol(viewer, panels)


def _installed() -> ModuleType:
    """The viewer to use; InputError without one."""
    for name in ("py3Dmol", "nglview"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise InputError("no viewer is installed: run pip install py3Dmol (or nglview), and call this again")


def _panels(results: Results, groups: Sequence[Group], names: Sequence[str]) -> list[_Panel]:
    """What to show, of large molecules fewer frames of each; groups without frames are left out."""
    data = results.data
    with TemporaryDirectory(prefix="spectraldyn-") as folder:
        wanted = {}
        for group in groups:
            frames = [data.frame(int(row)) for row in group.rows]
            if frames:
                wanted[Path(folder) / f"{group.name}.pdb"] = [(file.path, int(number)) for file, number in frames]
        write_structures(wanted, data.topology.topology)
        found = [
            _Panel(name, models_of(path.read_text()))
            for name, group in zip(names, groups, strict=True)
            if (path := Path(folder) / f"{group.name}.pdb") in wanted
        ]
    most = max(1, MOST_CHARACTERS // sum(len(panel.models[0]) for panel in found))
    return [_Panel(panel.name, thinned(panel.models, most)) for panel in found]


def _in_py3dmol(py3dmol: ModuleType, panels: Sequence[_Panel]) -> Any:
    """A grid of up to three panels in a line, each of which plays its frames; they turn together."""
    n_columns = min(len(panels), 3)
    n_lines = -(-len(panels) // n_columns)
    size = {"width": WIDTH * n_columns, "height": HEIGHT * n_lines}
    view = py3dmol.view(viewergrid=(n_lines, n_columns), linked=True, **size)
    for number, panel in enumerate(panels):
        at = {"viewer": divmod(number, n_columns)}
        view.addModelsAsFrames(panel.text, "pdb", **at)
        if panel.models[0].count("\n") > MANY_ATOMS:
            view.setStyle({}, {"cartoon": {"color": "spectrum"}}, **at)
            view.setStyle({"hetflag": True}, {"stick": {"radius": 0.15}}, **at)
        else:
            view.setStyle({}, {"stick": {"radius": 0.15}, "cartoon": {"color": "spectrum", "opacity": 0.8}}, **at)
        place = {"position": {"x": 8, "y": 8, "z": 0}, "useScreen": True}
        view.addLabel(panel.name, {**place, "fontColor": "black", "backgroundOpacity": 0.0}, **at)
        view.zoomTo(**at)
        if len(panel.models) > 1:
            view.animate({"loop": "backAndForth", "interval": 600}, **at)
    return view


def _in_nglview(nglview: ModuleType, panels: Sequence[_Panel]) -> Any:
    """Widgets side by side, in each of which all frames of a panel lie on top of each other."""
    import ipywidgets  # which nglview rests on

    boxes = []
    for panel in panels:
        widget = nglview.show_text(panel.text)
        widget.layout.width, widget.layout.height = f"{WIDTH}px", f"{HEIGHT}px"
        boxes.append(ipywidgets.VBox([ipywidgets.Label(panel.name), widget]))
    return ipywidgets.HBox(boxes)
