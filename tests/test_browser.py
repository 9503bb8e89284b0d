"""The page of a report in a real browser, offline: nothing complains, structures turn, axe-core finds no fault."""

import importlib.util
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from test_report import others, run  # noqa: F401

from spectraldyn.report import rebuild_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = importlib.util.find_spec("axe_core_python")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path"),
    pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed"),
]
PEPTIDE = """\
ATOM      1  CH3 ACE A   1       0.030  -2.190  -0.620  1.00  0.00           C
ATOM      2  C   ACE A   1       1.510  -1.650  -0.530  1.00  0.00           C
ATOM      3  O   ACE A   1       1.940  -1.110   0.500  1.00  0.00           O
ATOM      4  N   ALA A   2       2.220  -1.760  -1.630  1.00  0.00           N
ATOM      5  CA  ALA A   2       3.710  -1.490  -1.700  1.00  0.00           C
ATOM      6  C   ALA A   2       4.090  -0.040  -1.220  1.00  0.00           C
ATOM      7  N   NME A   3       5.250   0.080  -0.590  1.00  0.00           N
"""
LISTEN = """
window.told = {complaints: []};
window.addEventListener("error", (event) => told.complaints.push(event.message));
for (const kind of ["error", "warn"]) console[kind] = (...words) => told.complaints.push(words.join(" "));
"""
JUDGE = """
const judge = async () => {
  told.wide = document.documentElement.scrollWidth > window.innerWidth;
  const found = await axe.run();
  told.faults = found.violations.map((fault) => fault.id + " " + fault.nodes.map((node) => node.html).join(" "));
  const result = document.createElement("pre");
  result.id = "result"; result.textContent = JSON.stringify(told); document.body.append(result);
};
"""
DRIVE = """
window.addEventListener("load", async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  await wait(1000);
  const viewer = window.spectraldynViewer, canvas = document.querySelector("#viewer canvas");
  const view = () => JSON.stringify(viewer.getView());
  const mouse = (kind, x, y) => {
    const box = canvas.getBoundingClientRect();
    const at = {clientX: box.left + x, clientY: box.top + y, button: 0, buttons: 1, bubbles: true};
    canvas.dispatchEvent(new MouseEvent(kind, at));
  };
  told.bonds = viewer.getModel().selectedAtoms({}).map((atom) => atom.bonds.length);
  const before = view();
  mouse("mousedown", 100, 100); mouse("mousemove", 160, 130); mouse("mouseup", 160, 130);
  told.turned = view() !== before;
  const choice = document.getElementById("structure");
  choice.selectedIndex = 1; choice.dispatchEvent(new Event("change"));
  told.first = document.getElementById("told").textContent;
  document.getElementById("play").click(); await wait(500); document.getElementById("play").click();
  told.later = document.getElementById("told").textContent;
  await judge();
});
"""


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):  # noqa: F811
    """A report with structures, and beside them a script that uses it as a reader would."""
    folder = tmp_path_factory.mktemp("run") / "out"
    shutil.copytree(run, folder)
    models = "".join(f"MODEL        {number}\n{PEPTIDE}ENDMDL\n" for number in range(3))
    (folder / "peptide.pdb").write_text(models)
    stored = json.loads((folder / "results.json").read_text())
    stored["states"][0]["structure"] = stored["processes"][0]["structure"] = "peptide.pdb"
    (folder / "results.json").write_text(json.dumps(stored))
    return driven(rebuild_report(folder), DRIVE)


def driven(report, script):
    """A copy of a page, beside it, that runs a script and leaves what that tells."""
    axe = (Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")
    scripts = f"<script>{axe}</script><script>{JUDGE}{script}</script>"
    text = report.read_text().replace("<head>", f"<head><script>{LISTEN}</script>")
    report.with_name("driven.html").write_text(text.replace("</body>", f"{scripts}</body>"))
    return report.with_name("driven.html")


def told_in_browser(page, width, profile):
    """What the script of a page says of it in a window so wide."""
    options = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    options += [f"--user-data-dir={profile}", f"--window-size={width},900", "--virtual-time-budget=20000"]
    command = [BROWSER, *options, "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(unescape(re.search(r'<pre id="result">(.*?)</pre>', shown, re.DOTALL)[1]))


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(page, width, tmp_path):
    told = told_in_browser(page, width, tmp_path)
    assert told["complaints"] == []
    assert told["faults"] == []
    assert told["turned"]
    assert told["bonds"] == [1, 3, 1, 2, 2, 2, 1]
    assert (told["first"], told["later"]) == ("frame 1 of 3", "frame 2 of 3")
    assert not told["wide"]
    assert page.with_name("report.html").stat().st_size < 5e6


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("numbers", ["compare.json", "scan.json"])
def test_pages_of_comparisons_and_scans_in_a_browser(others, numbers, width, tmp_path):  # noqa: F811
    page = driven(others[numbers] / "report.html", 'window.addEventListener("load", judge);')
    told = told_in_browser(page, width, tmp_path)
    assert told == {"complaints": [], "faults": [], "wide": False}
