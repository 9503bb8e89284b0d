"""`spectraldyn seeds`: frames of a fit from which to start further runs."""

import argparse
import sys
from pathlib import Path

from spectraldyn.commands import options as shared


def add_seeds(commands: shared.Commands) -> None:
    purpose = "suggest frames of an earlier fit from which further runs would tell most of the slowest timescale"
    parser = shared.command(commands, "seeds protein-results --n 10 --length 5ns", purpose, _seeds)
    add = parser.add_argument
    add("run", metavar="RUN", help="folder written by `spectraldyn fit`; its trajectories must be where they were")
    add("--n", type=shared.positive, default=10, metavar="N", help="frames wanted")
    add("--length", metavar="TIME", help="of each run from them: stored frames or a time. By default ten lag times")
    add("--out", metavar="DIR", help="folder to write; by default named after RUN")
    add("--force", action="store_true", help="replace earlier seeds in DIR")
    shared.add_quiet(add)
    add("--json", action="store_true", help="what is written as JSON also on stdout, in place of the table")


def _seeds(options: argparse.Namespace) -> int:
    from spectraldyn.pipeline import aligned
    from spectraldyn.report import write_seeds

    out = Path(options.out or Path(options.run).resolve().name + "-seeds")
    seeds = write_seeds(options.run, out, options.n, options.length, options.force)
    shared.print_results(options, "\n".join([seeds.title, *aligned(seeds.table())]), out / "seeds.json")
    if not options.quiet:
        for note in seeds.notes():
            print(f"note: {note}", file=sys.stderr)
    return 0
