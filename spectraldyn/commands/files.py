"""`spectraldyn info` and `spectraldyn features`: what files hold, and what can be computed from them."""

import argparse
import sys

from spectraldyn.commands.options import Commands, as_options, command
from spectraldyn.errors import InputError


def add_info(commands: Commands) -> None:
    purpose = "read every frame once and say what is in the files"
    add = command(commands, "info run1.xtc run2.xtc --top protein.pdb", purpose, _info).add_argument
    add("files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays")
    add("--top", metavar="FILE", help="topology where the trajectories carry none")


def add_features(commands: Commands) -> None:
    purpose = "list the features, with what each would give for a molecule"
    add = command(commands, "features --top protein.pdb", purpose, _features).add_argument
    add("--top", metavar="FILE", help="topology to count the columns for")
    add("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")


def _info(options: argparse.Namespace) -> int:
    from spectraldyn.io import describe_files

    failed = False
    for line, error in describe_files(options.files, options.top):
        failed = failed or error
        line = as_options(line)
        print(f"spectraldyn: error: {line}" if error else line, file=sys.stderr if error else sys.stdout, flush=True)
    return 2 if failed else 0


def _features(options: argparse.Namespace) -> int:
    from spectraldyn.features import FEATURES, OWN, OWN_DESCRIPTION, available_features
    from spectraldyn.io import load_topology

    if options.top is None:
        if options.atoms is not None:
            raise InputError("--atoms needs --top: without a topology there are no atoms to select")
        for name, feature in FEATURES.items():
            print(f"{name:20} {feature.description}" + (f"; write {name}:{feature.argument}" * bool(feature.argument)))
        print(f"{OWN:20} {OWN_DESCRIPTION}")
        print("Give --top to see what each would give for a molecule.", file=sys.stderr)
        return 0
    for name, description, n_columns, reason in available_features(load_topology(options.top, []), options.atoms):
        none = reason if FEATURES[name].argument else f"none: {reason}"
        given = f"{n_columns:>6} columns" if n_columns else f"     {none}"
        print(f"{name:20} {description}\n{'':20} {given}")
    print(f"{OWN:20} {OWN_DESCRIPTION}")
    return 0
