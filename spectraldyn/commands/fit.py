"""`spectraldyn fit` and `spectraldyn transform`: the slow spectrum, and new trajectories on its modes."""

import argparse
from typing import Any

from spectraldyn.commands.options import (
    add_learning_options,
    add_trajectory_options,
    command,
    common_arguments,
    lagged_arguments,
    output_name,
    positive,
    print_notes,
)
from spectraldyn.errors import InputError


def add_fit(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "fit",
        "learn the slow spectrum of trajectories and write a report",
        "spectraldyn fit run1.xtc run2.xtc --top protein.pdb --lag 1ns --modes 4",
        fit,
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


def add_transform(commands: argparse._SubParsersAction) -> None:
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


def fit(options: argparse.Namespace) -> int:
    arguments = _fit_arguments(options)
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.features.store import cache_folder
    from spectraldyn.pipeline.generator import fit_generator
    from spectraldyn.pipeline.transfer import fit_trajectories
    from spectraldyn.report.folders import check_folder
    from spectraldyn.report.write import write_results

    out = check_folder(output_name(options, "-results"), options.force)
    arguments |= {"n_states": options.states, "checkpoint_folder": cache_folder()}
    if options.operator == "generator":
        results = fit_generator(options.files, options.potential, **arguments)
    else:
        results = fit_trajectories(options.files, **arguments)
    out = write_results(results, out, options.force)
    print_notes(results.warnings)
    print(results)
    print(f"report: {out / 'report.html'}")
    return 0


def _fit_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the fit takes; InputError for options that are missing or mean nothing for the operator asked for."""
    if options.operator == "transfer":
        arguments = lagged_arguments(options)
        if options.potential is not None:
            raise InputError("--potential is for --operator generator: leave it out, or ask for the generator")
        return {**arguments, "nesting": options.nesting or "joint", "refit_lags": options.refit_lags}
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
    return {**common_arguments(options), "nesting": options.nesting or "sequential"}


def _transform(options: argparse.Namespace) -> int:
    from spectraldyn.pipeline.project import project_files

    out = output_name(options, "-modes.npz")
    features = project_files(options.run, options.files, out, options.force, progress=True)
    print_notes(features.warnings)
    print(f"{sum(map(len, features))} frames: {out}")
    return 0
