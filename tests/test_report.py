"""The page of a report: written from the numbers alone, for any reader, with structures that can be turned."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import compared
import numpy as np
import pytest
from problems import exchanging_frames

import spectraldyn
from spectraldyn.baselines import METHODS, Comparison
from spectraldyn.cli import main
from spectraldyn.errors import InputError
from spectraldyn.pipeline import with_interval
from spectraldyn.report import rebuild_report, viewer
from spectraldyn.report.citing import METHODS as CITED
from spectraldyn.report.citing import asset, methods, references
from spectraldyn.report.shown import judgements
from spectraldyn.report.viewer import shown_structures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of results of two exchanges."""
    path = tmp_path_factory.mktemp("data") / "chain.npy"
    np.save(path, exchanging_frames(10_000))
    options = {"n_modes": 2, "hidden": (8,), "max_steps": 100, "random_state": 0, "temperature": 300.0}
    results = spectraldyn.fit_trajectories(path, lag="4ps", timestep="1ps", **options)
    return spectraldyn.write_results(results, path.parent / "out")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Folders of a comparison and of a scan by the name of their numbers, the former with run.toml."""
    folder = tmp_path_factory.mktemp("others")
    comparison = spectraldyn.write_comparison(compared.comparison(), folder / "a", run_file='lag = "5ps"\n')
    return {"compare.json": comparison, "scan.json": spectraldyn.write_scan(compared.scan(), folder / "b")}


class Page(HTMLParser):
    """What a screen reader would go by."""

    VOID = ("meta", "img", "br", "input", "link", "hr")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_can_be_read_without_seeing_it(run):
    page = Page((run / "report.html").read_text())
    assert not page.open
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert max(np.diff(page.headings)) <= 1
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 9
    assert len({image["alt"] for image in images}) == 9
    assert all(len(image["alt"]) > 30 and int(image["width"]) > 200 for image in images)
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("numbers", "parts"),
    [("compare.json", ["failed", "best VAMP-2", "best VAMP-E"]), ("scan.json", ["depends", "steady"])],
)
def test_pages_of_comparisons_and_scans(others, numbers, parts, capsys):
    """Read without being seen, from the numbers alone, the worst of the verdict first, names escaped."""
    file = others[numbers] / "report.html"
    text = file.read_text()
    page = Page(text)
    assert not page.open
    assert (page.headings[0], page.headings.count(1), max(np.diff(page.headings))) == (1, 1, 1)
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(image["alt"]) > 30
    targets = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert {"#how-timescales", "#how-scores", numbers} <= targets <= ids | {numbers}
    assert not re.search(r'(src|href)="(https?:|/)', text)
    assert re.findall(r"<li class=\"\w+\"><strong>([^<]+)</strong>", text)[: len(parts)] == parts
    assert ("lag = &#34;5ps&#34;" in text) == (numbers == "compare.json")
    assert "a &lt;b&gt;.xtc and 1 more file" in text
    assert "<b>" not in text
    assert "feature &lt;2&gt;" in text
    assert "numpy" in text
    cited = re.findall(r"@\w+\{(\w+),", text)
    assert {"ryu2024operator" if numbers == "scan.json" else "perezhernandez2013identification", "wu2020variational",
            "hoffmann2022deeptime", "mcgibbon2015mdtraj"} <= set(cited)  # fmt: skip
    file.write_text("gone")
    assert main(["report", str(file.parent)]) == 0
    assert capsys.readouterr().out == f"report: {file}\n"
    assert file.read_text() == text


def test_comparisons_and_scans_come_back_from_their_numbers():
    for thing, kind in ((compared.comparison(), Comparison), (compared.scan(), spectraldyn.Scan)):
        stored = json.loads(json.dumps(thing.plain(), allow_nan=False))
        again = kind.of_plain(stored)
        assert json.loads(json.dumps(again.rows())) == stored["rows"]
        assert repr(again) == repr(thing)


def test_every_method_can_be_cited():
    keys = re.findall(r"@\w+\{(\w+),", asset("references.bib"))
    assert METHODS.keys() == CITED.keys()
    assert {key for _, key, _ in CITED.values()} <= set(keys)
    assert len(set(keys)) == len(keys)


def test_one_split_and_no_method_that_works():
    comparison = compared.comparison(n_splits=1)
    told = judgements(comparison)
    assert [(line.level, line.word) for line in told] == [
        ("problem", "failed"), ("caution", "caution"), ("good", "slowest timescale"),
    ]  # fmt: skip
    assert told[-1].message == "from 120 ps (msm) to 120 ps (tica)"
    nothing = dataclasses.replace(comparison, runs=comparison.runs[-1:])
    assert [line.word for line in judgements(nothing)] == ["failed", "caution"]


def test_links_lead_somewhere_and_nothing_is_fetched(run):
    text = (run / "report.html").read_text()
    page = Page(text)
    targets = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert {"#how-timescales", "#how-intervals", "#how-populations", "#how-passages"} <= set(targets) <= ids | {
        "results.json", "states/frames.csv",
    }  # fmt: skip
    assert not re.search(r'(src|href)="(https?:|/)', text)


def test_numbers_alone_give_the_page_once_more(run, capsys):
    page = run / "report.html"
    before = page.read_text()
    page.write_text("gone")
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"report: {page}\n"
    assert page.read_text() == before
    stored = json.loads((run / "results.json").read_text())
    energy = stored["free_energies"][1]
    assert energy["kJ/mol"]["value"] == pytest.approx(energy["kT"]["value"] * 8.314462618e-3 * 300)
    assert f"<td>{with_interval(*energy['kJ/mol'].values())}</td>" in before


def test_results_of_another_version_are_refused(run, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    stored = json.loads((run / "results.json").read_text())
    del stored["versions"]
    (folder / "results.json").write_text(json.dumps(stored))
    (folder / "report.html").write_text("as it was")
    with pytest.raises(InputError, match="was written by an earlier version"):
        rebuild_report(folder)
    assert (folder / "report.html").read_text() == "as it was"
    with pytest.raises(InputError, match="is not a folder of results"):
        rebuild_report(tmp_path)
    (tmp_path / "compare.json").write_text(json.dumps(compared.comparison().rows()))
    with pytest.raises(InputError, match="was written by an earlier version: run it again"):
        rebuild_report(tmp_path)


def test_the_methods_paragraph_cites_what_is_listed(run):
    stored = json.loads((run / "results.json").read_text())
    paragraph, entries = methods(stored, "4 ps"), references(stored)
    assert paragraph.startswith(
        "The leading 2 modes of the reversible transfer operator at a lag time of 4 ps were learned from 2 features of "
        "10,000 frames of 1 trajectory by NeuralSVD with joint nesting (Ryu et al. 2024)"
    )
    for name, year in re.findall(r"([A-ZÖ][\wö]+)(?: et al\.| and Weber)? (\d{4})", paragraph.replace("ö", "o")):
        assert re.search(rf"@\w+{{{name.lower()}{year}\w+,", entries)
    assert entries.count("@") == 7


def test_the_methods_paragraph_says_what_is_made_of_coordinates(run):
    stored = json.loads((run / "results.json").read_text())
    assert "learned from 2 features of 10,000 frames" in methods(stored, "4 ps")
    for encoder, inputs, key in (
        (None, "torsion angles and distances of 4 atoms of 10,000 frames", None),
        (
            "painn",
            "features that a PaiNN network (Schütt et al. 2021) trained beforehand makes of the coordinates of 4 "
            "atoms, beside torsion angles and distances, of 10,000 frames",
            "schutt2021equivariant",
        ),
    ):
        stored["coordinates"] = {"n_atoms": 4, "encoder": encoder, "plain": "torsion angles and distances"}
        assert f"were learned from {inputs}" in methods(stored, "4 ps")
        assert references(stored).count("@") == 7 + (key is not None)
        assert key is None or f"{{{key}," in references(stored)


def test_structures_of_caps_hang_together_and_large_ones_are_thinned(tmp_path, monkeypatch):
    atom = "ATOM      1  C   ALA A   2       4.090  -0.040  -1.220  1.00  0.00           C  \n"
    cap = atom.replace("C   ALA A   2", "N   NME A   3")
    ion = atom.replace("ATOM  ", "HETATM").replace("ALA", "NA ")
    models = "".join(f"MODEL        {k}\n{atom}{cap}{ion}ENDMDL\n" for k in range(5))
    (tmp_path / "one.pdb").write_text(models)
    contents = {
        "states": [{"population": 0.25, "structure": "one.pdb"}, {"population": 0.75, "structure": None}],
        "processes": [{"structure": "one.pdb", "transition_structure": None}],
    }
    shown = shown_structures(contents, tmp_path)
    assert [(one["name"], len(one["models"])) for one in shown] == [("set 1: 25 %", 5), ("along process 1", 5)]
    assert [line[17:20] for line in shown[0]["models"][0].splitlines()] == ["ALA", "ALA", "NA "]
    one = len(shown[0]["models"][0])
    monkeypatch.setattr(viewer, "MOST_CHARACTERS", 7 * one)
    assert [len(thinned["models"]) for thinned in shown_structures(contents, tmp_path)] == [3, 3]
    monkeypatch.setattr(viewer, "MOST_CHARACTERS", one)
    assert shown_structures(contents, tmp_path) == []
