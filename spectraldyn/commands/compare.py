"""`spectraldyn compare`: NeuralSVD beside the field's own estimators."""

import argparse

from spectraldyn.commands import options as shared
from spectraldyn.errors import InputError


def add_compare(commands: shared.Commands) -> None:
    purpose = "fit NeuralSVD and other estimators of the field to the same data and judge them alike"
    parser = shared.command(commands, "compare run1.xtc run2.xtc --top protein.pdb --lag 1ns", purpose, _compare)
    shared.add_trajectory_options(parser)
    add = parser.group("learning").add_argument
    methods = "only these: neural-svd, tica, vamp, edmd, kernel-edmd, msm, vampnet, srv, nystroem-rrr (which needs "
    methods += "kooplearn). By default all that are installed"
    add("--methods", action=shared.Collected, metavar="NAME[,NAME]", help=methods)
    splits = "splits into training and held-out blocks to judge over; every method is fitted once for each"
    add("--splits", type=shared.positive, default=3, metavar="N", help=splits)
    shared.add_learning_options(parser)


def _compare(options: argparse.Namespace) -> int:
    arguments = shared.lagged_arguments(options)
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.baselines import compare_trajectories
    from spectraldyn.report import check_comparison_folder, write_comparison

    out = check_comparison_folder(shared.output_name(options, "-comparison"), options.force)
    chosen = {"methods": shared.joined(options.methods), "n_splits": options.splits}
    with shared.under_way(options, out) as run:
        with run.stage("reading and comparing"):
            comparison = compare_trajectories(options.files, **chosen, **arguments)
        shared.log_notes(comparison.warnings)
        try:
            out = write_comparison(comparison, out, options.force, options.parser.run_file(options, out), run)
        except InputError:
            print(comparison)  # which took long, and of which nothing else would be left
            raise
    shared.print_notes(options, comparison.warnings)
    shared.print_results(options, f"{comparison}\nreport: {out / 'report.html'}", out / "compare.json")
    return 0
