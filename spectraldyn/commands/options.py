"""What the commands share: their frame, and options for reading and learning from trajectories."""

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spectraldyn.commands.parser import Collected, HelpFormatter, Parser
from spectraldyn.errors import InputError

_log = logging.getLogger("spectraldyn")

Commands = argparse._SubParsersAction
Handler = Callable[[argparse.Namespace], int]
"""Carries a command out and returns the exit code."""


def command(commands: Commands, example: str, purpose: str, handler: Handler) -> Parser:
    """Add the command that the example begins with."""
    parser: Parser = commands.add_parser(
        example.split()[0],
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"example: spectraldyn {example}",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(handler=handler, parser=parser)
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


MOST = 2**31 - 1
"""The largest number that an option takes: more frames than that are in no file."""


def whole(text: str) -> int:
    """A whole number, of either sign."""
    if not re.fullmatch(r"[-+]?[0-9]{1,30}", text):
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is not a whole number")
    return int(text)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or (len(text) < 20 and int(text) < least):
        raise argparse.ArgumentTypeError(f"{text[:30] or repr(text)} is not a whole number of at least {least}")
    if len(text) >= 20 or int(text) > MOST:  # Python itself reads no number of thousands of digits
        raise argparse.ArgumentTypeError(f"{text[:30]} is more than {MOST}, the largest number that is taken")
    return int(text)


def numbers(text: str) -> list[int]:
    """Whole numbers from 1 on, separated by commas."""
    return [positive(part) for part in text.split(",")]


def add_trajectory_options(parser: Parser, several: bool = False) -> None:
    """Files, how to read and featurise them, and the lag time; several lag times and sets of features where taken."""
    add = parser.group("input").add_argument
    held = "trajectories, or ready-made features: .npy/.npz arrays, or PLUMED's COLVAR files with --features "
    held += "COLUMN[,COLUMN]"
    add("files", nargs="*", metavar="FILE", help=held)
    further = 'TOML file of options: files, and the names below without dashes, such as lag = "1ns"; paths in it are '
    further += "relative to its folder. The command line goes first. A run leaves its own in its results, as run.toml"
    add("--config", metavar="FILE", help=further)
    add("--top", metavar="FILE", help="topology (PDB, GRO, ...) where the trajectories carry none")
    add("--timestep", metavar="TIME", help="time between stored frames, for files that do not carry it (DCD): 1ps")
    add("--stride", type=positive, default=1, metavar="N", help="use every N-th stored frame")
    add("--skip", metavar="TIME", help="leave out this much at the start of each file")
    add = parser.group("features").add_argument
    chosen = "features by name, and functions of your own as FILE.py:FUNCTION; see `spectraldyn features`. By default "
    chosen += "chosen for the molecule"
    if several:
        chosen += ". Given again for another set; the first is the reference"
    add("--features", action=Collected, metavar="NAME[,NAME]", help=chosen)
    add("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")
    lag, one = "lag time: stored frames (50) or a time (50ps)", "TIME"
    if several:
        lag, one = "lag times: stored frames (50) or times (50ps); the first is the reference. ", "TIME[,TIME]"
        lag += "Where no option lists several, also 1/2, 2 and 4 times as long, and one mode less and two more"
    parser.group("learning").add_argument("--lag", metavar=one, help=lag)


def add_learning_options(parser: Parser, several: bool = False) -> None:
    """What to learn, with which random numbers, and where to put it; several numbers of modes where they are taken."""
    add = parser.group("learning").add_argument
    modes = "relaxation processes, the constant one not counted"
    if several:
        add("--modes", type=numbers, default=3, metavar="K[,K]", help=f"{modes}; the first is the reference")
    else:
        add("--modes", type=positive, default=3, metavar="K", help=modes)
    add("--nonreversible", action="store_true", help="driven or relaxing dynamics: no detailed balance, two networks")
    add("--seed", type=whole, default=0, metavar="N", help="of initial weights, batches and resampling")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to train")
    add = parser.group("output").add_argument
    add("--out", metavar="DIR", help="folder for the results; by default named after the first file")
    add("--force", action="store_true", help="replace earlier results in DIR")
    add_quiet(add)
    add("--json", action="store_true", help="what is written as JSON also on stdout, in place of the table")


def add_quiet(add: Callable[..., Any]) -> None:
    """For a command that shows progress."""
    add("--quiet", action="store_true", help="no progress and no notes: results and errors alone")


def common_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What every kind of fit takes of the options above; InputError without files."""
    if not options.files:
        raise InputError("no files are given: name trajectories, or a --config that does")
    if not 0 <= options.seed < 2**32:  # said before a file is read
        raise InputError(f"`random_state` is {options.seed}: it must lie between 0 and 2^32 - 1")
    alike = {name: getattr(options, name) for name in ("top", "stride", "skip", "timestep", "device")}
    return {**alike, "n_modes": options.modes, "random_state": options.seed, "progress": not options.quiet}


def lagged_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The same for what is learned from pairs of frames one lag time apart."""
    if options.lag is None:
        raise InputError("--lag is missing: give the lag time in stored frames (50) or as a time (50ps)")
    return {
        **common_arguments(options),
        "lag": options.lag,
        "features": joined(options.features),
        "atoms": options.atoms,
        "reversible": not options.nonreversible,
    }


def add_weight_options(parser: Parser) -> None:
    """Where the weights of a biased simulation, or one at another temperature, come from."""
    add = parser.group("weights").add_argument
    what = "weights of the frames: the columns of a COLVAR file that together are the bias. Given again for every "
    what += "further trajectory, in their order. A temperature goes with it: --temperature K for biases in kJ/mol, or "
    what += "--kt"
    add("--weights", action=Collected, metavar="COLVAR:COLUMN[,COLUMN]", help=what)
    add("--kt", type=float, metavar="ENERGY", help="k_B T in the unit of the biases, in place of --temperature")
    energy = "column of the potential energy in kJ/mol, for a --temperature that is not that of the simulation"
    add("--energy", metavar="COLUMN", help=energy)
    add("--simulation-temperature", type=float, metavar="K", help="of the thermostat, with --energy")


def weights_of(options: argparse.Namespace, cells: bool = False) -> Any:
    """`spectraldyn.Weights` as the options have it, None without; InputError where one is missing or means nothing."""
    by_cells = cells and options.weights == ["cells"]
    if options.weights is None or by_cells:
        for option in ("kt", "energy", "simulation_temperature"):
            if getattr(options, option) is not None:
                raise InputError(f"`{option}` means nothing without biases as `weights`: leave it out, or give both")
        return "cells" if by_cells else None
    from spectraldyn.features import Weights

    names = ("kt", "temperature", "energy", "simulation_temperature")
    return Weights(options.weights, **{name: getattr(options, name) for name in names})


def joined(names: list[str] | None) -> str | None:
    """Names given in several options as one list; None where there are none."""
    return ",".join(names) if names else None


LONGEST_NAME = 200
"""In bytes: file systems take 255, of which drafts beside the results need some."""


def output_name(options: argparse.Namespace, ending: str) -> str:
    """What --out says; without it, in the current folder, the first file's name with this in place of its endings."""
    if options.out:
        return options.out
    name = Path(options.files[0]).name
    with contextlib.suppress(ValueError):
        name = name[: name.index(".", 1)]
    if len(os.fsencode(name + ending)) > LONGEST_NAME:
        raise InputError(f"the name {name[:30]}... is too long to name the results after it: give --out")
    return name + ending


@contextlib.contextmanager
def under_way(options: argparse.Namespace, out: Path) -> Iterator[Any]:
    """The run towards a folder; see `spectraldyn.pipeline.under_way`."""
    from spectraldyn.features import cache_folder
    from spectraldyn.pipeline import under_way

    with under_way(out, options.force, cache_folder(), options.device) as run:
        if not options.quiet:
            print(f"log: {run.log}", file=sys.stderr)
        yield run


def log_notes(warnings: list[str]) -> None:
    """What the user should know, in the log."""
    for warning in warnings:
        _log.info("note: %s", warning)


def print_notes(options: argparse.Namespace, warnings: list[str]) -> None:
    """What the user should know, on stderr, unless --quiet."""
    for warning in [] if options.quiet else warnings:
        print(f"note: {as_options(warning)}", file=sys.stderr)


def print_results(options: argparse.Namespace, table: str, stored: Path) -> None:
    """The table on stdout; with --json instead what is stored."""
    print(stored.read_text(encoding="utf-8").rstrip() if options.json else table)


_OPTIONS = {"n_states": "--states", "n_modes": "--modes", "random_state": "--seed"}
"""Parameters of the library that the command line calls by another name."""


def as_options(text: str) -> str:
    """A sentence of the library, in which `timestep` is a parameter, as one in which it is the option --timestep."""
    return re.sub(r"`(\w+)`", lambda name: _OPTIONS.get(name[1], "--" + name[1].replace("_", "-")), text)
