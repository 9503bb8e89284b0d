"""Options from a file: what it may say, what the command line says against it, and runs that repeat."""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest

from spectraldyn.cli import main

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Arrays of a particle that hops between two wells, in a folder of their own; the current folder is above it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for i in range(2):
        random = np.random.default_rng(i)
        well = np.cumsum(random.random(800) < 0.03) % 2
        x = np.column_stack((2 * well - 1 + 0.2 * random.normal(size=800), random.normal(size=800), np.ones(800)))
        np.save(f"data/run{i}.npy", x)
    return ["data/run0.npy", "data/run1.npy"]


def run(*arguments: str) -> int:
    """Exit code, whether returned or raised by argparse."""
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def stored(path: str) -> dict:
    with open(path) as stream:
        return json.load(stream)


def run_file(folder: str) -> dict:
    with open(f"{folder}/run.toml", "rb") as stream:
        return tomllib.load(stream)


def left_on_screen(text: str) -> list[str]:
    """Lines that a terminal shows in the end; each progress bar is written over the one before and then wiped out."""
    assert "\x1b[A" not in text  # which would be a second bar below the first
    lines = [line.rsplit("\r", 1)[-1] for line in text.split("\n")]
    return [line for line in lines if line.strip() and not re.fullmatch(r"log: .*-log\.txt", line)]


def timeless(results: dict) -> dict:
    return {key: value for key, value in results.items() if key not in ("seconds", "stages")}


@pytest.fixture
def in_this_process():
    """Refits, which then are quick as well."""
    with joblib.parallel_config("sequential"):
        yield


def test_a_run_is_repeated_to_the_digit_by_the_file_that_it_leaves(
    files, tmp_path, monkeypatch, capfd, in_this_process
):
    options = ["--timestep", "2ps", "--lag", "10ps", "--modes", "1", "--states", "2", "--temperature", "300"]
    assert run("fit", *files, *options, "--seed", "3", "--skip", "20ps", "--refits", "2", "--out", "one") == 0
    assert run_file("one") == {
        "files": ["../data/run0.npy", "../data/run1.npy"],
        "timestep": "2ps",
        "lag": "10ps",
        "modes": 1,
        "states": 2,
        "temperature": 300.0,
        "seed": 3,
        "skip": "20ps",
        "refits": 2,
        "stride": 1,
        "operator": "transfer",
        "refit-lags": False,
        "nonreversible": False,
        "device": "auto",
    }
    assert "# by default: top, features, atoms, potential, nesting" in (tmp_path / "one" / "run.toml").read_text()
    first = stored("one/results.json")
    # From another folder, where the same files have other paths.
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    printed = capfd.readouterr()
    assert printed.out.endswith("report: one/report.html\n")
    assert left_on_screen(printed.err) == ["note: 1 constant column left out: feature 2"]
    assert run("fit", "--config", "../../one/run.toml", "--out", "two", "--quiet", "--json") == 0
    assert capfd.readouterr() == (Path("two/results.json").read_text(), "")
    again, there = stored("two/results.json"), ["../../" + name for name in run_file("../../one")["files"]]
    assert [entry["path"] for entry in again["inputs"]] == run_file("two")["files"] == there
    assert timeless(again) | {"inputs": 0} == timeless(first) | {"inputs": 0}
    assert run_file("two") | {"files": 0} == run_file("../../one") | {"files": 0}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the library is asked to do, which is not done; the current folder is an empty one."""
    seen = {}

    def ask(files, **options):
        seen.clear()
        seen.update(options, files=files)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    for name in ("pipeline.fit_trajectories", "pipeline.scan_trajectories", "baselines.compare_trajectories"):
        monkeypatch.setattr(f"spectraldyn.{name}", ask)
    return seen


def test_the_command_line_goes_before_the_file(asked, tmp_path):
    (tmp_path / "data").mkdir()
    text = 'files = ["a.xtc", "b.xtc"]\ntop = "/c.pdb"\nlag = 5\nmodes = 1\nseed = 7\nnonreversible = true\n'
    (tmp_path / "data" / "my.toml").write_text(text)
    assert run("fit", "--config", "data/my.toml", "--lag", "6ps") == 130
    assert (asked["files"], asked["top"]) == (["data/a.xtc", "data/b.xtc"], "/c.pdb")
    assert (asked["lag"], asked["n_modes"], asked["random_state"], asked["reversible"]) == ("6ps", 1, 7, False)
    assert run("fit", "--config", "data/my.toml", "d.xtc", "--modes", "2") == 130
    assert (asked["files"], asked["lag"], asked["n_modes"]) == (["d.xtc"], "5", 2)


def test_what_may_be_given_again_takes_the_place_of_what_the_file_says(asked, tmp_path):
    (tmp_path / "my.toml").write_text('files = "a.xtc"\nlag = "1ns"\nmethods = ["tica", "msm"]\n')
    assert run("compare", "--config", "my.toml") == 130
    assert (asked["files"], asked["methods"]) == (["a.xtc"], "tica,msm")
    assert run("compare", "--config", "my.toml", "--methods", "vamp", "--methods", "edmd") == 130
    assert asked["methods"] == "vamp,edmd"


def test_a_scan_may_list_what_it_varies(asked, tmp_path):
    (tmp_path / "my.toml").write_text('files = "a.xtc"\nlag = ["1ns", 5]\nmodes = [3, 2]\nfeatures = ["x,y", "z"]\n')
    assert run("scan", "--config", "my.toml") == 130
    assert (asked["lag"], asked["n_modes"], asked["features"]) == ("1ns,5", [3, 2], ["x,y", "z"])


def test_scan_and_compare_leave_a_file_too(files, monkeypatch, capfd):
    texts = []

    def leave(_, out, __, run_file, ___):
        texts.append(run_file)
        Path("scan.json").write_text('{"rows": []}\n')
        return Path()

    monkeypatch.setattr("spectraldyn.report.write_scan", leave)
    monkeypatch.setattr("spectraldyn.pipeline.scan_trajectories", lambda *_, **__: SimpleNamespace(warnings=[]))
    assert run("scan", *files, "--lag", "5,10", "--modes", "1,2", "--out", "a", "--json") == 0
    assert capfd.readouterr().out == '{"rows": []}\n'
    written = tomllib.loads(texts[0])
    assert (written["files"], written["lag"], written["modes"]) == (["../" + name for name in files], "5,10", [1, 2])
    assert run("compare", *files, "--lag", "5", "--modes", "1", "--methods", "tica", "--splits", "1", "--out", "c") == 0
    assert left_on_screen(capfd.readouterr().err) == ["note: 1 constant column left out: feature 2"]
    assert run("compare", "--config", "c/run.toml", "--out", "d", "--json", "--quiet") == 0
    assert capfd.readouterr() == (Path("d/compare.json").read_text(), "")
    (one,), (two,) = (stored(f"{folder}/compare.json")["rows"] for folder in "cd")
    assert (one["timescales"], one["vamp2_test"]) == (two["timescales"], two["vamp2_test"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('lagg = "5ps"', "my.toml: lagg is no option of spectraldyn fit (did you mean lag?)"),
        ("refit_lags = true", "my.toml: refit_lags is no option of spectraldyn fit (did you mean refit-lags?)"),
        ("help = true", "my.toml: help is no option of spectraldyn fit"),
        ('config = "other.toml"', "my.toml: config is no option of spectraldyn fit"),
        ('modes = "many"', 'my.toml: modes is "many": give a number'),
        ("modes = 0", "my.toml: modes is 0: 0 is not a whole number of at least 1"),
        ("modes = 2.5", "my.toml: modes is 2.5: 2.5 is not a whole number"),
        ("modes = true", "my.toml: modes is true: give a number"),
        ("force = 1", "my.toml: force is 1: give true or false"),
        ("lag = true", "my.toml: lag is true: give a text or a number"),
        ("top = 3", "my.toml: top is 3: give a text"),
        ("files = []", "my.toml: files is []: give a text"),
        ("files = [1]", "my.toml: files is [1]: give a text"),
        ("[lag]\nvalue = 5", 'my.toml: lag is {"value": 5}: give a text or a number'),
        ("lag = 2026-01-01", 'my.toml: lag is "2026-01-01": give a text or a number'),
        (
            'device = "gpu"',
            'my.toml: device is "gpu": gpu is unknown (did you mean cpu?): choose one of auto, cpu, cuda',
        ),
        ("lag = ", "--config my.toml is not a TOML file: "),
        ("lag = 5", "no files are given: name trajectories, or a --config that does"),
        ('files = "x.npy"', "--lag is missing"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, monkeypatch, capfd, text, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(text)
    assert run("fit", "--config", "my.toml") == 2
    printed = capfd.readouterr()
    assert printed.err.startswith("spectraldyn: error: " + sentence)
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_missing_file_is_one_sentence(tmp_path, capfd):
    assert run("fit", "--config", str(tmp_path / "none.toml")) == 2
    expected = f"spectraldyn: error: --config {tmp_path}/none.toml cannot be read (No such file or directory)\n"
    assert capfd.readouterr().err == expected
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert run("fit", "--config", str(tmp_path / "binary.toml")) == 2
    assert "is not a TOML file" in capfd.readouterr().err
