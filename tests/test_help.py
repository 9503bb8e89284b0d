"""What the command line says of itself: help in groups, completion with the tab key, commands that do not exist."""

import re
import subprocess

import pytest

from spectraldyn.cli import main


def run(*arguments: str) -> int:
    """Exit code, whether returned or raised by argparse."""
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("command", ["fit", "transform", "states", "seeds", "info", "features"])
def test_every_command_has_help_with_an_example(command, capfd):
    assert run(command, "--help") == 0
    assert f"example: spectraldyn {command}" in capfd.readouterr().out


@pytest.mark.parametrize("command", ["fit", "scan", "compare"])
def test_help_is_in_groups_with_defaults(command, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(command, "--help") == 0
    text = re.sub(" +", " ", capfd.readouterr().out)
    weights = ["weights:"] * (command == "fit")
    titles = ["options:", "input:", "features:", "learning:", *weights, "output:"]
    assert re.findall("^[a-z]+:$", text, re.MULTILINE) == titles
    for group, option, default in (("input", "stride", 1), ("learning", "modes", 3), ("learning", "seed", 0)):
        within = text.split(f"\n{group}:\n")[1].split("\n\n")[0]
        assert re.search(rf"--{option} .* \(default: {default}\)", within)
    assert "(default: False)" not in text
    assert "(default: None)" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(shell, capfd):
    assert run("--print-completion", shell) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    for word in ("spectraldyn", "transform", "refit-lags", "print-completion"):
        assert word in printed.out


def test_the_shell_completes_what_was_typed(tmp_path, monkeypatch, capfd):
    """bash itself, asked what could follow."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "top.pdb").touch()
    assert run("--print-completion", "bash") == 0
    script = capfd.readouterr().out

    def follow(*words: str) -> set[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        typed = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}"
        call = f"{typed}\n_shtab_spectraldyn\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", f"{script}\n{call}"], capture_output=True, text=True)
        return set(done.stdout.split())

    assert follow("spectraldyn", "s") == {"scan", "seeds", "states", "systems", "simulate"}
    assert follow("spectraldyn", "fit", "--re") == {"--refits", "--refit-lags"}
    assert follow("spectraldyn", "fit", "--device", "c") == {"cpu", "cuda"}
    assert follow("spectraldyn", "fit", "--top", "to") == {"top.pdb"}


def test_an_option_of_a_command_comes_behind_it(capfd):
    assert run("--quiet", "fit", "x.dcd") == 2
    sentence = "--quiet comes too early: give it behind the command; see spectraldyn fit --help"
    assert capfd.readouterr().err == f"spectraldyn: error: {sentence}\n"


def test_an_unknown_command_is_one_sentence(capfd):
    assert run("scna", "x.dcd") == 2
    (sentence,) = capfd.readouterr().err.splitlines()
    assert sentence.startswith(
        "spectraldyn: error: argument COMMAND: scna is unknown (did you mean scan?): choose one of"
    )
