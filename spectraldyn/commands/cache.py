"""`spectraldyn cache`: what is kept between runs, and how to be rid of it."""

import argparse
import time

from spectraldyn.commands.options import Commands, command
from spectraldyn.units import size_text


def add_cache(commands: Commands) -> None:
    purpose = "list what is kept between runs (features of files, trainings under way), and remove what is old"
    add = command(commands, "cache --prune 30", purpose, _cache).add_argument
    pruning = "remove what has not been used for so many days; 0 removes everything"
    add("--prune", type=_days, metavar="DAYS", help=pruning)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of days")
    return days


def _cache(options: argparse.Namespace) -> int:
    from spectraldyn.features import cache_folder
    from spectraldyn.features.cache import kept, prune

    if options.prune is not None:
        gone = prune(options.prune)
        print(f"removed {len(gone)}, {size_text(sum(one.n_bytes for one in gone))}")
    there = kept()
    for one in there:
        days = (time.time() - one.used) / 86_400
        print(f"{size_text(one.n_bytes):>9}  used {days:.0f} days ago  {one.kind}: {one.what}")
    print(f"{size_text(sum(one.n_bytes for one in there))} in {cache_folder()}")
    return 0
