"""`spectraldyn export`: the modes of a fit for PLUMED, OpenMM, plain torch and ONNX."""

import argparse
from pathlib import Path

from spectraldyn.commands import options as shared


def add_export(commands: shared.Commands) -> None:
    purpose = "write the modes of an earlier fit as a module for a simulation"
    add = shared.command(commands, "export protein-results --to plumed", purpose, _export).add_argument
    add("run", metavar="RUN", help="folder written by `spectraldyn fit`")
    formats = "plumed: a module of PLUMED's arguments and the input file that defines them; torchscript: a module of "
    formats += "positions, for OpenMM and PyTorch; onnx: the same with gradients, for ONNX Runtime"
    add("--to", choices=["plumed", "torchscript", "onnx"], required=True, help=formats)
    top = "topology of the simulation, where the trajectories of the fit hold part of its atoms alone"
    add("--top", metavar="FILE", help=top)
    add("--out", metavar="DIR", help="folder to write; by default named after RUN and the format")
    add("--force", action="store_true", help="replace an earlier export in DIR")


def _export(options: argparse.Namespace) -> int:
    from spectraldyn.export import export_modes

    out = options.out or f"{Path(options.run).resolve().name}-{options.to}"
    out = export_modes(options.run, options.to, out, options.top, options.force)
    print(f"export: {out}")
    return 0
