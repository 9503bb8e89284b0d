"""Records of measurements: numbers with the machine, versions and command they belong to."""

import json

from analysis.benchmarks.record import write


def test_record_holds_what_the_numbers_are_worth(tmp_path):
    rows = [
        {"system": "prinz", "seconds": 1.23456},
        {"system": "dimer", "seconds": None},
        {"system": 1, "seconds": "2 ± 1e-05 %"},
    ]
    write("speed", rows, folder=tmp_path / "new")
    stored = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert stored["rows"] == rows
    assert {"CPU", "cores", "threads used", "GPU", "system"} == stored["machine"].keys()
    assert {"python", "torch", "deeptime", "numpy", "spectraldyn", "commit"} == stored["versions"].keys()
    assert stored["command"].startswith("python ")
    page = (tmp_path / "new" / "speed.md").read_text()
    assert "| prinz | 1.235 |\n| dimer | – |\n| 1 | 2\u00a0±\u00a01e\u201105\u00a0% |" in page
    assert stored["versions"]["commit"] in page


def test_record_shows_the_tables_asked_for(tmp_path):
    rows = [{"a": k} for k in range(3)]
    write("study", rows, {"First": rows[:1], "Nothing": []}, "What came out.", tmp_path)
    page = (tmp_path / "study.md").read_text()
    assert page.startswith("What came out.\n\n## First\n\n| a |\n| --- |\n| 0 |\n\n")
    assert "Nothing" not in page
    assert len(json.loads((tmp_path / "study.json").read_text())["rows"]) == 3
