"""README and docs: links inside the repository lead somewhere."""

import re
from pathlib import Path

import pytest

from analysis.readme import benchmarks

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks.md", "docs/objectives.md", "data/README.md"])
def test_relative_links_exist(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in links), links


def test_benchmarks_are_shown_as_they_were_measured():
    assert (ROOT / "docs" / "benchmarks.md").read_text() == benchmarks()
