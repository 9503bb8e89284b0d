"""`spectraldyn report`: the page of a fit, a comparison or a scan once more."""

import argparse

from spectraldyn.commands import options as shared


def add_report(commands: shared.Commands) -> None:
    purpose = "write the report of an earlier fit, comparison or scan anew, from its numbers, figures and structures"
    add = shared.command(commands, "report protein-results", purpose, _report).add_argument
    add(
        "run",
        metavar="RUN",
        help="folder written by `spectraldyn fit`, `compare` or `scan`, whose report.html is replaced",
    )


def _report(options: argparse.Namespace) -> int:
    from spectraldyn.report import rebuild_report

    print(f"report: {rebuild_report(options.run)}")
    return 0
