"""The command that runs all experiments, on experiments that do nothing."""

import json

import pytest

from analysis.benchmarks import record
from analysis.experiments import __main__ as runner
from analysis.experiments import experiment


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """A package of three experiments, one of which fails, and the folder that results go to."""
    package = tmp_path / "fakes"
    package.mkdir()
    (package / "__init__.py").touch()
    note = "import pathlib, sys; pathlib.Path('{0}.txt').write_text(' '.join(sys.argv[1:]))"
    (package / "first.py").write_text(note.format("first"))
    (package / "second.py").write_text("raise SystemExit(3)")
    (package / "third.py").write_text(note.format("third"))
    monkeypatch.setattr(runner, "PACKAGE", "fakes")
    monkeypatch.setattr(runner, "NAMES", ("first", "second", "third"))
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(experiment, "EXPERIMENTS", tmp_path / "results")
    return tmp_path


def test_one_that_fails_does_not_stop_the_others(fakes, capfd):
    assert runner.main(["--quick"]) == 1
    assert [(fakes / f"{name}.txt").read_text() for name in ("first", "third")] == ["--quick --jobs 1"] * 2
    said = capfd.readouterr().out
    assert "second: 0 s, failed with 3" in said
    assert said.endswith("failed: second\n")
    rows = json.loads((fakes / "results" / "quick" / "seconds.json").read_text())["rows"]
    assert [(row["experiment"], row["exit code"]) for row in rows] == [("first", 0), ("second", 3), ("third", 0)]
    assert (fakes / "results" / "quick" / "seconds.md").read_text().startswith("Together 0.0 minutes")


def test_some_alone(fakes, capfd):
    """Seconds of the others stay, and those of the same experiment are replaced."""
    assert runner.main(["third"]) == 0
    (fakes / "fakes" / "third.py").write_text("raise SystemExit(1)")
    assert runner.main(["first"]) == 0
    assert (fakes / "first.txt").read_text() == "--jobs 1"
    assert runner.main(["third"]) == 1
    rows = json.loads((fakes / "results" / "standard" / "seconds.json").read_text())["rows"]
    assert [(row["experiment"], row["exit code"]) for row in rows] == [("first", 0), ("third", 1)]
    with pytest.raises(SystemExit, match="2"):
        runner.main(["fourth"])
    assert "there is no experiment fourth: choose from first, second, third" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.3, 0.5], "0.4 ± 0.1"),
        ([102.0, 130.0, 75.0], "102 ± 30"),
        ([4.0069, 4.0067, 4.0071], "4.0069 ± 0.0002"),
        ([2.2e-4, 2.3e-4], "0.00022 ± 7e-06"),
        ([0.123], "0.12"),
        ([0.0, 0.0], "0 ± 0"),
    ],
)
def test_a_mean_is_told_as_far_as_its_spread(values, text):
    assert experiment.mean_and_spread(values) == text
