"""Every link in a page of the repository leads somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "data/**/*.md", "analysis/**/*.md")
    for path in ROOT.glob(pattern)
)
HOSTS = {"arxiv.org", "deeptime-ml.github.io", "distributed.dask.org", "github.com", "keepachangelog.com", "semver.org"}
"""Where pages may send a reader, each looked at by somebody: a test has no network to try."""


def parsed(page):
    """The page's blocks, as CommonMark with tables has them."""
    return MarkdownIt().enable("table").parse((ROOT / page).read_text())


def targets(page):
    """Where its links and pictures point to."""
    inline = [part for block in parsed(page) for part in block.children or []]
    return [
        str(part.attrs.get("href", part.attrs.get("src"))) for part in inline if part.type in ("link_open", "image")
    ]


def anchors(page):
    """What its headings are called in links, as GitHub and the site do it."""
    blocks = parsed(page)
    headings = [blocks[k + 1].children for k, block in enumerate(blocks) if block.type == "heading_open"]
    texts = ["".join(part.content for part in heading or []).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in targets(page):
        url = urlsplit(target)
        if url.scheme or url.netloc:
            assert url.scheme == "https", target
            assert url.netloc in HOSTS, target
            continue
        # Notebooks are copied to the pages when the site is built.
        home = ROOT / "analysis" if url.path.startswith("notebooks/") else (ROOT / page).parent
        file = (home / unquote(url.path)).resolve() if url.path else ROOT / page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not url.fragment or url.fragment in anchors(file.relative_to(ROOT)), target


def test_links_are_found():
    assert len([target for page in PAGES for target in targets(page)]) > 50
