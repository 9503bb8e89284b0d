"""What README and docs show of results is what was measured."""

from pathlib import Path

from analysis.readme import benchmarks

ROOT = Path(__file__).parents[1]


def test_benchmarks_are_shown_as_they_were_measured():
    assert (ROOT / "docs" / "benchmarks.md").read_text() == benchmarks()
