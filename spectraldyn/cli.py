"""Command line: results on stdout, progress and remarks on stderr; a user error is one sentence and exit code 2."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from spectraldyn.errors import InputError
from spectraldyn.version import __version__


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the options' help, examples as typed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # What the user must know arrives in the results' own list of warnings.
            warnings.simplefilter("ignore")
            return options.handler(options)
    except InputError as error:
        print(f"spectraldyn: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "; run the same command again to go on from where it stopped" if options.handler is _fit else ""
        print(f"spectraldyn: interrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain at exit about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectraldyn",
        description="The slow spectrum behind molecular-dynamics trajectories: implied timescales with error bars, "
        "metastable sets and kinetics.",
        epilog="example: spectraldyn fit traj.xtc --top protein.pdb --lag 1ns\n\n"
        "Times: a number of stored frames (50), or a time with its unit (50ps, 1.2ns).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spectraldyn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_transform(commands)
    _add_info(commands)
    _add_features(commands)
    return parser


def _add_fit(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "fit",
        "learn the slow spectrum of trajectories and write a report",
        "spectraldyn fit run1.xtc run2.xtc --top protein.pdb --lag 1ns --modes 4",
        _fit,
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays of ready-made features"
    )
    parser.add_argument("--top", metavar="FILE", help="topology (PDB, GRO, ...) where the trajectories carry none")
    parser.add_argument("--lag", required=True, metavar="TIME", help="lag time: stored frames (50) or a time (50ps)")
    parser.add_argument(
        "--timestep",
        "--frame-spacing",
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
    parser.add_argument("--stride", type=_positive, default=1, metavar="N", help="use every N-th stored frame")
    parser.add_argument("--skip", metavar="TIME", help="leave out this much at the start of each file")
    parser.add_argument(
        "--modes", type=_positive, default=3, metavar="K", help="relaxation processes, the constant one not counted"
    )
    parser.add_argument(
        "--states",
        type=_positive,
        metavar="N",
        help="metastable sets; by default one more than processes slower than the lag time",
    )
    parser.add_argument(
        "--nesting", choices=["joint", "sequential"], default="joint", help="how the modes are put in order"
    )
    parser.add_argument(
        "--nonreversible", action="store_true", help="driven or relaxing dynamics: no detailed balance, two networks"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results; by default named after the first file")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of initial weights, batches and resampling")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to train")
    parser.add_argument("--force", action="store_true", help="replace earlier results in DIR")


def _add_transform(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "transform",
        "project new trajectories on the modes of an earlier fit",
        "spectraldyn transform protein-results new.xtc --out new-modes.npz",
        _transform,
    )
    parser.add_argument("run", metavar="RUN", help="folder written by `spectraldyn fit`")
    parser.add_argument("files", nargs="+", metavar="FILE", help="new files of the same molecule")
    parser.add_argument("--out", metavar="NPZ", help="file to write; by default named after the first file")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "info",
        "read every frame once and say what is in the files",
        "spectraldyn info run1.xtc run2.xtc --top protein.pdb",
        _info,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays")
    parser.add_argument("--top", metavar="FILE", help="topology where the trajectories carry none")


def _add_features(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands,
        "features",
        "list the features, with what each would give for a molecule",
        "spectraldyn features --top protein.pdb",
        _features,
    )
    parser.add_argument("--top", metavar="FILE", help="topology to count the columns for")
    parser.add_argument("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")


def _command(
    commands: argparse._SubParsersAction, name: str, purpose: str, example: str, handler: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"example: {example}",
        formatter_class=_HelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return number


def _fit(options: argparse.Namespace) -> int:
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.report.write import check_folder, write_results
    from spectraldyn.results import fit_trajectories
    from spectraldyn.trajectories.store import cache_folder

    out = check_folder(options.out or f"{_stem(options.files[0])}-results", options.force)
    results = fit_trajectories(
        options.files,
        lag=options.lag,
        top=options.top,
        features=",".join(options.features) if options.features else None,
        atoms=options.atoms,
        stride=options.stride,
        skip=options.skip,
        timestep=options.timestep,
        n_modes=options.modes,
        n_states=options.states,
        nesting=options.nesting,
        reversible=not options.nonreversible,
        random_state=options.seed,
        device=options.device,
        checkpoint_folder=cache_folder(),
        progress=True,
    )
    out = write_results(results, out, options.force)
    for warning in results.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(results)
    print(f"report: {out / 'report.html'}")
    return 0


def _transform(options: argparse.Namespace) -> int:
    from spectraldyn.report.project import project_files

    out = options.out or f"{_stem(options.files[0])}-modes.npz"
    features = project_files(options.run, options.files, out, options.force, progress=True)
    for warning in features.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(f"{sum(map(len, features))} frames: {out}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from spectraldyn.trajectories.info import describe_files

    failed = False
    for line, error in describe_files(options.files, options.top):
        failed = failed or error
        print(f"spectraldyn: error: {line}" if error else line, file=sys.stderr if error else sys.stdout, flush=True)
    return 2 if failed else 0


def _features(options: argparse.Namespace) -> int:
    from spectraldyn.trajectories.features import FEATURES, available_features
    from spectraldyn.trajectories.files import load_topology

    if options.top is None:
        if options.atoms is not None:
            raise InputError("--atoms needs --top: without a topology there are no atoms to select")
        for name, feature in FEATURES.items():
            print(f"{name:20} {feature.description}")
        print("Give --top to see what each would give for a molecule.", file=sys.stderr)
        return 0
    for name, description, n_columns, reason in available_features(load_topology(options.top, []), options.atoms):
        given = f"{n_columns:>6} columns" if n_columns else f"     none: {reason}"
        print(f"{name:20} {description}\n{'':20} {given}")
    return 0


def _stem(file: str) -> str:
    """File name without its endings, for the names of outputs in the current folder."""
    name = Path(file).name
    with contextlib.suppress(ValueError):
        return name[: name.index(".", 1)]
    return name
