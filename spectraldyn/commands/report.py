"""`spectraldyn report`: the page of a fit once more."""

import argparse

from spectraldyn.commands import options as shared


def add_report(commands: shared.Commands) -> None:
    purpose = "write the report of an earlier fit anew, from its numbers, figures and structures"
    add = shared.command(commands, "report protein-results", purpose, _report).add_argument
    add("run", metavar="RUN", help="folder written by `spectraldyn fit`, whose report.html is replaced")


def _report(options: argparse.Namespace) -> int:
    from spectraldyn.report import rebuild_report

    print(f"report: {rebuild_report(options.run)}")
    return 0
