"""What the commands share: their frame, and options for reading and learning from trajectories."""

import argparse
import contextlib
import re
import sys
from pathlib import Path
from typing import Any

from spectraldyn.errors import InputError


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the options' help where there is one to tell, examples as typed."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def command(
    commands: argparse._SubParsersAction, name: str, purpose: str, example: str, handler: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"example: {example}",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return number


def seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


def add_trajectory_options(parser: argparse.ArgumentParser) -> None:
    """Files, and how to read and featurise them."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays of ready-made features"
    )
    parser.add_argument("--top", metavar="FILE", help="topology (PDB, GRO, ...) where the trajectories carry none")
    parser.add_argument("--lag", metavar="TIME", help="lag time: stored frames (50) or a time (50ps)")
    parser.add_argument(
        "--timestep",
        metavar="TIME",
        help="time between stored frames, for files that do not carry it (DCD): 1ps",
    )
    parser.add_argument(
        "--features",
        action="append",
        metavar="NAME[,NAME]",
        help="features by name; see `spectraldyn features`. By default chosen for the molecule",
    )
    parser.add_argument("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")
    parser.add_argument("--stride", type=positive, default=1, metavar="N", help="use every N-th stored frame")
    parser.add_argument("--skip", metavar="TIME", help="leave out this much at the start of each file")


def add_learning_options(parser: argparse.ArgumentParser) -> None:
    """What to learn, with which random numbers, and where to put it."""
    parser.add_argument(
        "--modes", type=positive, default=3, metavar="K", help="relaxation processes, the constant one not counted"
    )
    parser.add_argument(
        "--nonreversible", action="store_true", help="driven or relaxing dynamics: no detailed balance, two networks"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results; by default named after the first file")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of initial weights, batches and resampling")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to train")
    parser.add_argument("--force", action="store_true", help="replace earlier results in DIR")


def common_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What every kind of fit takes of the options above."""
    return {
        "top": options.top,
        "stride": options.stride,
        "skip": options.skip,
        "timestep": options.timestep,
        "n_modes": options.modes,
        "random_state": options.seed,
        "device": options.device,
        "progress": True,
    }


def lagged_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The same for what is learned from pairs of frames one lag time apart."""
    if options.lag is None:
        raise InputError("--lag is missing: give the lag time in stored frames (50) or as a time (50ps)")
    return {
        **common_arguments(options),
        "lag": options.lag,
        "features": ",".join(options.features) if options.features else None,
        "atoms": options.atoms,
        "reversible": not options.nonreversible,
    }


def output_name(options: argparse.Namespace, ending: str) -> str:
    """What --out says; without it, in the current folder, the first file's name with this in place of its endings."""
    if options.out:
        return options.out
    name = Path(options.files[0]).name
    with contextlib.suppress(ValueError):
        name = name[: name.index(".", 1)]
    return name + ending


def print_notes(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"note: {as_options(warning)}", file=sys.stderr)


_OPTIONS = {"n_states": "--states", "n_modes": "--modes", "random_state": "--seed"}
"""Parameters of the library that the command line calls by another name."""


def as_options(text: str) -> str:
    """A sentence of the library, in which `timestep` is a parameter, as one in which it is the option --timestep."""
    return re.sub(r"`(\w+)`", lambda name: _OPTIONS.get(name[1], "--" + name[1].replace("_", "-")), text)
