"""`spectraldyn compare`: NeuralSVD beside the field's own estimators."""

import argparse
import sys

from spectraldyn.commands.options import (
    add_learning_options,
    add_trajectory_options,
    command,
    stem,
)
from spectraldyn.errors import InputError


def add_compare(commands: argparse._SubParsersAction) -> None:
    parser = command(
        commands,
        "compare",
        "fit NeuralSVD and deeptime's estimators to the same data and judge them alike",
        "spectraldyn compare run1.xtc run2.xtc --top protein.pdb --lag 1ns",
        _compare,
    )
    add_trajectory_options(parser)
    parser.add_argument(
        "--methods",
        action="append",
        metavar="NAME[,NAME]",
        help="only these: neural-svd, tica, vamp, edmd, kernel-edmd, msm, vampnet. By default all",
    )
    add_learning_options(parser)


def _compare(options: argparse.Namespace) -> int:
    if options.lag is None:
        raise InputError("--lag is missing: give the lag time in stored frames (50) or as a time (50ps)")
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.compare import compare_trajectories
    from spectraldyn.report.comparison import MARK, write_comparison
    from spectraldyn.report.folders import check_folder

    out = check_folder(options.out or f"{stem(options.files[0])}-comparison", options.force, MARK)
    comparison = compare_trajectories(
        options.files,
        lag=options.lag,
        top=options.top,
        features=",".join(options.features) if options.features else None,
        atoms=options.atoms,
        stride=options.stride,
        skip=options.skip,
        timestep=options.timestep,
        methods=",".join(options.methods).split(",") if options.methods else None,
        n_modes=options.modes,
        reversible=not options.nonreversible,
        random_state=options.seed,
        device=options.device,
        progress=True,
    )
    out = write_comparison(comparison, out, options.force)
    for warning in comparison.warnings:
        print(f"note: {warning}", file=sys.stderr)
    print(comparison)
    print(f"figure: {out / 'comparison.png'}")
    return 0
