"""The layers of the package: each room imports only from those above it in this list, and from few."""

import ast
import re
from pathlib import Path

import pytest

import spectraldyn

PACKAGE = Path(__file__).parents[1] / "spectraldyn"
LAYERS = [
    {"errors", "version"},
    {"units", "files", "records"},
    {"processes"},
    {"linalg"},
    {"data", "networks"},
    {"io", "systems", "operators", "objectives", "spectra"},
    {"features", "learning"},
    {"estimators"},
    {"pipeline"},
    {"baselines", "export"},
    {"plots"},
    {"report"},
    {"commands", "jupyter"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}
HOMES = {
    "mdtraj": {"io", "features"},
    "matplotlib": {"plots"},
    "deeptime": {"spectra", "baselines"},
    "captum": {"estimators"},
}
MOST_ARROWS = 135
"""Pairs of rooms of which one imports from the other, the studies under analysis/ counted as one room."""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def rooms_imported(path: Path) -> set[str]:
    """Rooms of the package that a file imports from, also inside functions."""
    inner = (name.split(".") for name in imported(path))
    return {parts[1] for parts in inner if parts[0] == "spectraldyn" and len(parts) > 1 and parts[1] in LEVEL}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up_the_list(path):
    part = part_of(path)
    if part == "__init__":
        return  # the package's face hands everything on
    for room in rooms_imported(path) - {part}:
        assert LEVEL[room] < LEVEL[part], f"{part} imports {room}"
    for name in imported(path):
        if (library := name.split(".")[0]) in HOMES:
            assert part in HOMES[library], f"{name} is imported outside {HOMES[library]}"


def test_every_part_has_a_layer():
    assert {part_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__"} <= set(LEVEL)


def test_no_circle_and_few_arrows_between_rooms():
    arrows = {
        (part_of(path), room)
        for path in PACKAGE.rglob("*.py")
        for room in rooms_imported(path)
        if room != part_of(path)
    }
    assert not {(a, b) for a, b in arrows if (b, a) in arrows}
    arrows |= {
        ("analysis", room) for path in (PACKAGE.parent / "analysis").rglob("*.py") for room in rooms_imported(path)
    }
    assert len(arrows) <= MOST_ARROWS, sorted(arrows)


def test_studies_take_from_the_package_what_it_hands_out():
    """A room that another import has loaded before is found too, until nothing has."""
    for path in (PACKAGE.parent / "analysis").rglob("*.py"):
        text = path.read_text()
        if "import spectraldyn as sd\n" in text:
            assert set(re.findall(r"\bsd\.(\w+)", text)) <= set(spectraldyn.__all__), path
