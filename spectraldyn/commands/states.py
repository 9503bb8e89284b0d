"""`spectraldyn states`: more structures of the metastable sets and processes of a fit."""

import argparse
from pathlib import Path

from spectraldyn.commands import options as shared


def add_states(commands: shared.Commands) -> None:
    purpose = "write more structures of the metastable sets and processes of an earlier fit"
    add = shared.command(commands, "states protein-results --n-frames 50", purpose, _states).add_argument
    add("run", metavar="RUN", help="folder written by `spectraldyn fit`; its trajectories must be where they were")
    count = "frames of every set, along every process and at every transition state"
    add("--n-frames", type=shared.positive, default=20, metavar="N", help=count)
    add("--out", metavar="DIR", help="folder to write; by default named after RUN")
    add("--force", action="store_true", help="replace earlier structures in DIR")


def _states(options: argparse.Namespace) -> int:
    from spectraldyn.report import write_states

    out = options.out or Path(options.run).resolve().name + "-states"
    out = write_states(options.run, out, options.n_frames, options.force)
    print(f"frames: {out / 'frames.csv'}")
    return 0
