"""`spectraldyn scan`: how far the slowest timescale depends on lag time, modes and features."""

import argparse

from spectraldyn.commands import options as shared


def add_scan(commands: shared.Commands) -> None:
    purpose = "fit with several lag times, numbers of modes and features, and say whether the timescales depend on them"
    example = "scan run1.xtc run2.xtc --top protein.pdb --lag 1ns,500ps,2ns,4ns"
    parser = shared.command(commands, example, purpose, scan)
    shared.add_trajectory_options(parser, several=True)
    shared.add_learning_options(parser, several=True)


def scan(options: argparse.Namespace) -> int:
    arguments = shared.lagged_arguments(options) | {"features": options.features}
    # torch and matplotlib take seconds to import, so that only a command that needs them pays.
    from spectraldyn.features import cache_folder
    from spectraldyn.pipeline import scan_trajectories
    from spectraldyn.report import check_scan_folder, write_scan

    out = check_scan_folder(shared.output_name(options, "-scan"), options.force)
    with shared.under_way(options, out) as run:
        result = scan_trajectories(options.files, checkpoint_folder=cache_folder(), run=run, **arguments)
        shared.log_notes(result.warnings)
        out = write_scan(result, out, options.force, options.parser.run_file(options, out), run)
    shared.print_notes(options, result.warnings)
    shared.print_results(options, f"{result}\nreport: {out / 'report.html'}", out / "scan.json")
    return 0
