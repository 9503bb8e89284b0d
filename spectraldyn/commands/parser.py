"""The parser of every command: options from a configuration file too, and the file that repeats a run."""

import argparse
import json
import os
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from spectraldyn.errors import InputError, did_you_mean

PATHS = {"files", "top", "out"}
"""In a configuration file relative to its folder."""
TIMES = {"lag", "skip", "timestep"}
"""Texts that may be plain numbers in a configuration file: stored frames."""
NO_PART_OF_A_RUN = {"help", "config", "out", "force", "quiet", "json"}
"""Options that say where and how a run is written down, not what it is."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the options' help where there is one to tell, examples as typed."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False  # 0 is a default to tell
        return action.help if nothing else super()._get_help_string(action)


class Collected(argparse.Action):
    """What an option says each time that it is given; on the command line in place of what a file says."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        so_far = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [values] if so_far is self.default else [*so_far, values])


class PrintCompletion(argparse.Action):
    """Print what a shell has to read to complete commands, options and file names with the tab key, and end."""

    def __call__(self, parser: argparse.ArgumentParser, _: argparse.Namespace, shell: Any, __: Any = None) -> None:
        import shtab

        completed = {"FILE": shtab.FILE, "NPZ": shtab.FILE, "DIR": shtab.DIRECTORY, "RUN": shtab.DIRECTORY}
        commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        for command in commands.choices.values():
            for action in command._actions:
                if action.metavar in completed:
                    action.complete = completed[action.metavar]  # where shtab looks for it
        print(shtab.complete(parser, shell))
        parser.exit()


class Parser(argparse.ArgumentParser):
    """As argparse has it, with the options of a file named by --config below those of the command line."""

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The options under that title of the help, which is made where there is none."""
        there = (group for group in self._action_groups if group.title == title)
        return next(there, None) or self.add_argument_group(title)

    def options(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """What was typed, over what the file says; InputError where the file cannot be used."""
        options = self._known_options(arguments)
        if getattr(options, "config", None) is None:
            return options
        options.parser.set_defaults(**options.parser.read_config(options.config))
        return self._known_options(arguments)

    def _known_options(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """What was typed; where the command does not know a word of it, this ends the program."""
        options, unknown = self.parse_known_args(arguments)
        for name in (word.split("=")[0] for word in unknown if word.startswith("-")):
            known = options.parser._option_string_actions
            if name in known:
                options.parser.error(f"{name} comes too early: give it behind the command")
            options.parser.error(f"{name} is no option{did_you_mean(name, known)}")
        if unknown:
            options.parser.error(f"{unknown[0]} is not expected there: give files one after the other")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"spectraldyn: error: {message}; see {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            close, names = did_you_mean(str(value), action.choices), ", ".join(action.choices)
            raise argparse.ArgumentError(action, f"{value} is unknown{close}: choose one of {names}")

    def read_config(self, name: str) -> dict[str, Any]:
        """Options from a TOML file, by their names in the namespace.

        Raises
        ------
        InputError
            If the file cannot be read, a key is no option of this command, or a value does not suit it.
        """
        try:
            with open(name, "rb") as stream:
                contents = tomllib.load(stream)
        except OSError as error:
            raise InputError(f"--config {name} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise InputError(f"--config {name} is not a TOML file: {error}") from error
        known = {key: action for action in self._actions if (key := _key(action)) not in ("help", "config")}
        values = {}
        for key, given in contents.items():
            if key not in known:
                raise InputError(f"{name}: {key} is no option of {self.prog}{did_you_mean(key, known)}")
            try:
                values[known[key].dest] = self._from_file(known[key], given, Path(name).resolve().parent)
            except argparse.ArgumentError as error:
                raise InputError(f"{name}: {key} is {json.dumps(given, default=str)}: {error.message}") from error
        return values

    def _from_file(self, action: argparse.Action, given: Any, home: Path) -> Any:
        """What a value in a file means for an option; ArgumentError where it means nothing."""
        if action.nargs == 0:
            if not isinstance(given, bool):
                raise argparse.ArgumentError(action, "give true or false")
            return given
        parts = given if isinstance(given, list) else [given]
        kinds = [int, float] if action.type else [str, int, float] if action.dest in TIMES else [str]
        if not parts or not all(type(part) in kinds for part in parts):
            what = " or ".join({str: "a text", int: "a number"}[kind] for kind in kinds if kind is not float)
            raise argparse.ArgumentError(action, f"give {what}")
        if action.dest in PATHS:
            parts = [_from_here(home / part) for part in parts]
        if action.dest == "features":
            from spectraldyn.features import move_paths

            parts = [move_paths(part, lambda path: _from_here(home / path)) for part in parts]
        if action.dest == "weights":
            parts = [_moved(part, lambda path: _from_here(home / path)) for part in parts]
        if isinstance(action, Collected) or action.nargs == "*":
            return parts
        value = self._get_value(action, ",".join(map(str, parts)))
        self._check_value(action, value)
        return value

    def run_file(self, options: argparse.Namespace, out: Path) -> str:
        """The configuration file that repeats a run from the folder `out`: every option that has a value.

        Texts, numbers, truth values and lists of them are written alike in JSON and TOML.
        """
        from spectraldyn.pipeline import feature_seen_from, relative_path

        lines = [f"# {self.prog} --config run.toml --out FOLDER repeats this run; paths are relative to this folder."]
        unset = []
        for action in self._actions:
            value = getattr(options, action.dest, None)
            if action.dest in NO_PART_OF_A_RUN:
                continue
            if value is None:
                unset.append(_key(action))
                continue
            if action.dest in PATHS:
                several = isinstance(value, list)
                paths = [relative_path(Path(path), out) for path in (value if several else [value])]
                value = paths if several else paths[0]
            if action.dest == "features":
                value = [feature_seen_from(names, out) for names in value]
            if action.dest == "weights":
                value = [_moved(given, lambda path: relative_path(Path(path), out)) for given in value]
            lines.append(f"{_key(action)} = {json.dumps(value, ensure_ascii=False)}")
        return "\n".join([*lines, *([f"# by default: {', '.join(unset)}"] if unset else [])]) + "\n"


def _key(action: argparse.Action) -> str:
    """The name of an option without dashes."""
    return action.option_strings[-1].lstrip("-") if action.option_strings else action.dest


def _moved(given: str, move: Callable[[str], str]) -> str:
    """FILE:COLUMN with the file as seen from elsewhere; what names no file stays as it is."""
    file, mark, columns = given.rpartition(":")
    return f"{move(file)}{mark}{columns}" if file else given


def _from_here(path: Path) -> str:
    """As the user would type it: relative to the current folder where it lies in there."""
    path, here = Path(os.path.normpath(path)), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
