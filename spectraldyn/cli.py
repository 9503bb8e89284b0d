"""Command line: results on stdout, progress and remarks on stderr; a user error is one sentence and exit code 2."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from spectraldyn.commands.compare import add_compare
from spectraldyn.commands.options import (
    add_learning_options,
    add_trajectory_options,
    command,
    positive,
    stem,
)
from spectraldyn.commands.systems import add_simulate, add_systems
from spectraldyn.errors import InputError
from spectraldyn.version import __version__


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
    add_compare(commands)
    _add_transform(commands)
    _add_info(commands)
    _add_features(commands)
    add_systems(commands)
    add_simulate(commands)
    return parser


def _add_fit(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "fit",
        "learn the slow spectrum of trajectories and write a report",
        "spectraldyn fit run1.xtc run2.xtc --top protein.pdb --lag 1ns --modes 4",
        _fit,
    )
    add_trajectory_options(parser)
    parser.add_argument(
        "--operator",
        choices=["transfer", "generator"],
        default="transfer",
        help="transfer: the operator at a lag time, for any trajectories; generator: that of overdamped Langevin "
        "dynamics in a known potential, for states with or without an order in time",
    )
    parser.add_argument(
        "--potential",
        metavar="NAME",
        help="for the generator: gives force and diffusion; see `spectraldyn systems`. The first d Cartesian "
        "coordinates in nm are the state",
    )
    parser.add_argument(
        "--states",
        type=positive,
        metavar="N",
        help="metastable sets; by default one more than processes slower than the lag time, for the generator from the "
        "largest gap between the rates",
    )
    parser.add_argument(
        "--nesting",
        choices=["joint", "sequential"],
        help="how the modes are put in order: by default joint, for the generator sequential",
    )
    parser.add_argument(
        "--refit-lags",
        action="store_true",
        help="fit anew at each lag time of the timescale plot, to check its lines, which all come from one fit: takes "
        "ten times as long",
    )
    add_learning_options(parser)


def _add_transform(commands: argparse._SubParsersAction) -> None:
    parser = command(
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
    parser = command(
        commands,
        "info",
        "read every frame once and say what is in the files",
        "spectraldyn info run1.xtc run2.xtc --top protein.pdb",
        _info,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="trajectories, or .npy/.npz arrays")
    parser.add_argument("--top", metavar="FILE", help="topology where the trajectories carry none")


def _add_features(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "features",
        "list the features, with what each would give for a molecule",
        "spectraldyn features --top protein.pdb",
        _features,
    )
    parser.add_argument("--top", metavar="FILE", help="topology to count the columns for")
    parser.add_argument("--atoms", metavar="SELECTION", help="only these atoms, in mdtraj's selection language")


def _fit(options: argparse.Namespace) -> int:
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.generator_results import fit_generator
    from spectraldyn.report.folders import check_folder
    from spectraldyn.report.write import write_results
    from spectraldyn.results import fit_trajectories
    from spectraldyn.trajectories.store import cache_folder

    _check_operator(options)
    out = check_folder(options.out or f"{stem(options.files[0])}-results", options.force)
    common = {
        "top": options.top,
        "stride": options.stride,
        "skip": options.skip,
        "timestep": options.timestep,
        "n_modes": options.modes,
        "n_states": options.states,
        "random_state": options.seed,
        "device": options.device,
        "checkpoint_folder": cache_folder(),
        "progress": True,
    }
    if options.operator == "generator":
        results = fit_generator(options.files, options.potential, nesting=options.nesting or "sequential", **common)
    else:
        results = fit_trajectories(
            options.files,
            lag=options.lag,
            features=",".join(options.features) if options.features else None,
            atoms=options.atoms,
            nesting=options.nesting or "joint",
            reversible=not options.nonreversible,
            refit_lags=options.refit_lags,
            **common,
        )
    out = write_results(results, out, options.force)
    for warning in results.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(results)
    print(f"report: {out / 'report.html'}")
    return 0


def _check_operator(options: argparse.Namespace) -> None:
    """Options that are missing or mean nothing for the operator that was asked for."""
    if options.operator == "transfer":
        if options.lag is None:
            raise InputError("--lag is missing: give the lag time in stored frames (50) or as a time (50ps)")
        if options.potential is not None:
            raise InputError("--potential is for --operator generator: leave it out, or ask for the generator")
        return
    if options.potential is None:
        raise InputError("--operator generator needs --potential: see `spectraldyn systems` for the names")
    meaningless = {
        "--lag": options.lag,
        "--features": options.features,
        "--atoms": options.atoms,
        "--nonreversible": options.nonreversible,
        "--refit-lags": options.refit_lags,
    }
    for option, value in meaningless.items():
        if value:
            raise InputError(f"{option} means nothing with --operator generator: leave it out")


def _transform(options: argparse.Namespace) -> int:
    from spectraldyn.report.project import project_files

    out = options.out or f"{stem(options.files[0])}-modes.npz"
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
