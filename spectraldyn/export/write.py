"""The modes of a fit as files for other programs: what `spectraldyn export` does."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.estimators import load_model
from spectraldyn.export.modules import (
    ColumnsOfArguments,
    ColumnsOfPositions,
    Modes,
    ModesOf,
    ModesOfPositions,
    in_double_precision,
    n_arguments,
)
from spectraldyn.export.parts import Inputs, atom_key, inputs_of
from spectraldyn.export.plumed import plumed_input
from spectraldyn.files import check_folder, complete_folder
from spectraldyn.io import load_topology
from spectraldyn.pipeline import FittedFeatures, stored_contents
from spectraldyn.version import __version__

MARK = "export.json"
"""In every folder that is written here: what the module takes, and gives."""
ROOM_TEMPERATURE = 300.0
"""In kelvin, for the example of a bias where the fit was told none."""


@dataclass(frozen=True)
class _Export:
    """What is to be exported."""

    modes: Modes
    columns: list[str]
    inputs: Inputs | None
    serials: np.ndarray
    """(n_atoms,): numbers of the atoms of the inputs in the simulation, counted from 1."""
    timescales: list[str]
    """Of every mode, with unit; empty where a mode belongs to no single one."""
    kelvin: float


def export_modes(
    folder: str | Path, to: str, out: str | Path, top: str | Path | None = None, force: bool = False
) -> Path:
    """Write the modes of a fit as a module from coordinates, or from PLUMED's arguments, to their values.

    Parameters
    ----------
    folder : str or Path
        Written by `write_results`.
    to : {"torchscript", "plumed", "onnx"}
        "torchscript": modes.pt, from positions (nm) of the atoms that export.json lists, and a box where there is one,
        to the modes, in the precision of the positions. "plumed": modes.ptc, from the values that plumed.dat defines,
        for PLUMED's PYTORCH_MODEL. "onnx": as "torchscript", with a file for each precision, modes_float64.onnx and
        modes_float32.onnx, and modes_box_float64.onnx and modes_box_float32.onnx to be given a box; ONNX has no
        derivatives. All take columns where the features of the fit were ready-made, and all calculate in double
        precision.
    out : str or Path
        Folder to write; it appears complete or not at all. Must not exist, unless `force` is given and it holds an
        earlier export, which is then replaced.
    top : str or Path, optional
        Topology of the simulation, where the trajectories of the fit hold part of its atoms alone. Atoms are found in
        it by chain, residue number and name. Default: the atoms are numbered as in the trajectories of the fit.
    force : bool
        Replace an earlier export.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds no complete results, a feature has no form in torch, `top` does not hold every atom once,
        `out` cannot be written, or a package is missing.
    """
    folder = Path(folder)
    if to not in FORMATS:
        raise InputError(f"`to` is {to!r}{did_you_mean(to, FORMATS)}: choose one of {', '.join(FORMATS)}")
    contents = stored_contents(folder)
    out = check_folder(out, force, lambda path: (path / MARK).exists(), "export")
    fitted, model = FittedFeatures.load(folder), load_model(folder / "model.pt")
    if model.n_columns != len(fitted.columns):
        raise InputError(
            f"model.pt in {folder} takes {model.n_columns} columns, results.json names {len(fitted.columns)}: fit again"
        )
    inputs = inputs_of(folder, fitted)
    export = _Export(
        Modes(model),
        fitted.columns,
        inputs,
        np.zeros(0, dtype=int) if inputs is None else 1 + _in_simulation(inputs, top),
        [_written(one) if model.reversible else "" for one in contents["timescales"]],
        contents.get("temperature") or ROOM_TEMPERATURE,
    )
    with complete_folder(out, force) as draft:
        taken = FORMATS[to](export, draft)
        (draft / MARK).write_text(json.dumps(_described(export, to, taken), indent=1, ensure_ascii=False) + "\n")
    return out


def _written(timescale: dict[str, Any]) -> str:
    """Such as "259.5 ps"; empty where it is undetermined."""
    return f"{timescale['value']:.4g} {timescale['unit']}" if timescale["value"] else ""


def _in_simulation(inputs: Inputs, top: str | Path | None) -> np.ndarray:
    """(n_atoms,): where the atoms of the inputs are in the topology of the simulation."""
    if top is None:
        return inputs.atoms
    places: dict[tuple[int, int, str], list[int]] = {}
    for atom in load_topology(top, []).topology.atoms:
        places.setdefault(atom_key(atom), []).append(atom.index)
    found = [places.get(key, []) for key in inputs.keys]
    for label, indices in zip(inputs.labels, found, strict=True):
        if len(indices) != 1:
            times = "not there" if not indices else f"there {len(indices)} times"
            raise InputError(f"{label}, an atom of the fit, is {times} in {top}, by chain, residue number and name")
    return np.array([indices[0] for indices in found])


def _described(export: _Export, to: str, taken: dict[str, str]) -> dict[str, Any]:
    """What export.json holds."""
    atoms = [] if export.inputs is None else zip(export.serials.tolist(), export.inputs.labels, strict=True)
    return {
        "version": __version__,
        "to": to,
        "takes": taken,
        "gives": "modes (n_frames, n_modes): mean 0 and variance 1 over the data of the fit, the slowest first",
        "timescales": export.timescales,
        "columns": export.columns,
        "atoms": [{"index": serial - 1, "serial": serial, "name": name} for serial, name in atoms],
    }


def _to_torchscript(export: _Export, folder: Path) -> dict[str, str]:
    with _without_warnings_of_torch():
        if export.inputs is None:
            example = torch.zeros(2, len(export.columns))
            torch.jit.trace(ModesOf(nn.Identity(), export.modes), (example,)).save(folder / "modes.pt")
            return {"columns": COLUMNS}
        positions, box = _example(export.inputs)
        unbounded, rectangular, skewed = (
            torch.jit.trace(ColumnsOfPositions(export.inputs, right), given)
            for right, given in ((True, (positions,)), (True, (positions, box)), (False, (positions, box)))
        )
        modes = torch.jit.trace(export.modes, (unbounded(positions),))
        module = ModesOfPositions(unbounded, rectangular, skewed, modes)
        torch.jit.script(module.eval()).save(folder / "modes.pt")
    return {"positions": POSITIONS, "box": f"{BOX}; None for none"}


def _to_plumed(export: _Export, folder: Path) -> dict[str, str]:
    columns: nn.Module = nn.Identity()
    width = len(export.columns)
    if export.inputs is not None:
        columns, width = ColumnsOfArguments(export.inputs), sum(map(n_arguments, export.inputs.parts))
    with _without_warnings_of_torch():
        torch.jit.trace(ModesOf(columns, export.modes), (torch.ones(1, width),)).save(folder / "modes.ptc")
    text = plumed_input(export.inputs, export.columns, export.serials, "modes.ptc", export.timescales, export.kelvin)
    (folder / "plumed.dat").write_text(text, encoding="utf-8")
    return {"arguments": "(n_frames, n_arguments): the values that plumed.dat defines, in its order"}


def _to_onnx(export: _Export, folder: Path) -> dict[str, str]:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise InputError("`to` onnx needs the package onnx: pip install 'spectraldyn[export]'") from error
    modes = in_double_precision(export.modes)
    if export.inputs is None:
        graphs = {"modes": (ModesOf(nn.Identity(), modes), {"columns": torch.zeros(2, len(export.columns))})}
        taken = {"columns": COLUMNS}
    else:
        positions, box = _example(export.inputs)
        unbounded, skewed = (ModesOf(ColumnsOfPositions(export.inputs, right), modes) for right in (True, False))
        graphs = {
            "modes": (unbounded, {"positions": positions}),
            "modes_box": (skewed, {"positions": positions, "box": box}),
        }
        taken = {"positions": POSITIONS.partition(";")[0], "box": f"{BOX}, for the files named modes_box"}
    for name, (module, examples) in graphs.items():
        for precision, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            path = folder / f"{name}_{precision}.onnx"
            _write_onnx(module, {key: example.to(dtype) for key, example in examples.items()}, path)
    return taken


def _write_onnx(module: nn.Module, examples: dict[str, Tensor], path: Path) -> None:
    """Any number of frames, all with a box of their own."""
    frames = {name: {0: "n_frames"} for name in (*examples, "modes")}
    with _without_warnings_of_torch():
        torch.onnx.export(
            module,
            tuple(examples.values()),
            str(path),
            input_names=list(examples),
            output_names=["modes"],
            dynamic_axes=frames,
            opset_version=OPSET,
            # through TorchScript: ten times as fast, and without onnxscript
            dynamo=False,
        )


OPSET = 18
"""Of ONNX: the first that has the smallest of several values at once."""
POSITIONS = "(n_frames, n_atoms, 3): nm, of the atoms below, in that order; or of one frame, (n_atoms, 3)"
BOX = "(n_frames, 3, 3) or (3, 3): nm, box vectors, one a row"
COLUMNS = "(n_frames, n_columns): the columns below"
FORMATS: dict[str, Callable[[_Export, Path], dict[str, str]]] = {
    "plumed": _to_plumed,
    "torchscript": _to_torchscript,
    "onnx": _to_onnx,
}


def _example(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Positions of two frames, and a box, to trace with."""
    positions = torch.from_numpy(inputs.example).expand(2, -1, -1)
    return positions, 10 * torch.eye(3).expand(2, -1, -1)


@contextmanager
def _without_warnings_of_torch() -> Iterator[None]:
    with warnings.catch_warnings():
        # PLUMED and OpenMM-Torch load TorchScript and nothing else; PyTorch 2.13 calls it deprecated, as it does the
        # export to ONNX by way of it, and parts of its own that this uses
        for begins in (
            r"`torch\.jit\.",
            "You are using the legacy TorchScript-based ONNX export",
            "The feature will be",
        ):
            warnings.filterwarnings("ignore", begins, DeprecationWarning)
        # over box vectors and the 27 images, whatever the frames
        warnings.filterwarnings("ignore", "Iterating over a tensor", torch.jit.TracerWarning)
        yield
