"""`spectraldyn compare`: NeuralSVD beside the field's own estimators."""

import argparse

from spectraldyn.commands.options import (
    add_learning_options,
    add_trajectory_options,
    command,
    lagged_arguments,
    output_name,
    print_notes,
)


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
    arguments = lagged_arguments(options)
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.baselines import compare_trajectories
    from spectraldyn.report import check_comparison_folder, write_comparison

    out = check_comparison_folder(output_name(options, "-comparison"), options.force)
    methods = ",".join(options.methods) if options.methods else None
    comparison = compare_trajectories(options.files, methods=methods, **arguments)
    out = write_comparison(comparison, out, options.force)
    print_notes(comparison.warnings)
    print(comparison)
    print(f"figure: {out / 'comparison.png'}")
    return 0
