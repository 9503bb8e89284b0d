"""Command line: results on stdout, progress and remarks on stderr; a user error is one sentence and exit code 2."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from spectraldyn.commands.cache import add_cache
from spectraldyn.commands.compare import add_compare
from spectraldyn.commands.doctor import add_doctor
from spectraldyn.commands.files import add_features, add_info
from spectraldyn.commands.fit import add_fit, add_transform, fit
from spectraldyn.commands.options import as_options
from spectraldyn.commands.parser import Parser, PrintCompletion
from spectraldyn.commands.report import add_report
from spectraldyn.commands.scan import add_scan, scan
from spectraldyn.commands.states import add_states
from spectraldyn.commands.systems import add_simulate, add_systems
from spectraldyn.errors import InputError
from spectraldyn.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = argparse.Namespace(handler=None)
    tell = _tell
    try:
        with warnings.catch_warnings():
            # What the user must know arrives in the results' own list of warnings.
            warnings.simplefilter("ignore")
            if together := _started_by_torchrun():
                from spectraldyn.processes import join, tell

                join()
            options = _parser().options(arguments)
            if together and options.handler is not fit:
                raise InputError("torchrun is for `spectraldyn fit`: start any other command without it")
            return options.handler(options)
    except InputError as error:
        tell(f"spectraldyn: error: {as_options(str(error))}")
        return 2
    except KeyboardInterrupt:
        again = "; run the same command again to go on from where it stopped" if options.handler in (fit, scan) else ""
        tell(f"spectraldyn: interrupted{again}")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python must not complain at exit about the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _started_by_torchrun() -> bool:
    """Whether this process is one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _parser() -> Parser:
    parser = Parser(
        prog="spectraldyn",
        description="The slow spectrum behind molecular-dynamics trajectories: implied timescales with error bars, "
        "metastable sets and kinetics.",
        epilog="example: spectraldyn fit traj.xtc --top protein.pdb --lag 1ns\n\n"
        "Times: a number of stored frames (50), or a time with its unit (50ps, 1.2ns).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spectraldyn {__version__}")
    how = "print a script for tab completion, for instance into ~/.local/share/bash-completion/completions/spectraldyn"
    parser.add_argument("--print-completion", action=PrintCompletion, choices=["bash", "zsh", "tcsh"], help=how)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        add_fit,
        add_scan,
        add_compare,
        add_transform,
        add_states,
        add_report,
        add_info,
        add_features,
        add_systems,
        add_simulate,
        add_cache,
        add_doctor,
    ):
        add(commands)
    return parser
