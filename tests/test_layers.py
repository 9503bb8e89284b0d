"""The layers of the package: each imports only from those above it in this list."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spectraldyn"
LAYERS = [
    {"errors", "version"},
    {"records"},
    {"units", "linalg", "derivatives"},
    {"data", "systems", "io", "operators", "objectives", "networks", "spectra"},
    {"features"},
    {"learning"},
    {"estimators"},
    {"pipeline"},
    {"baselines"},
    {"plots"},
    {"report"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}
HOMES = {"mdtraj": {"io", "features"}, "matplotlib": {"plots"}, "deeptime": {"spectra", "baselines"}}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up_the_list(path):
    part = part_of(path)
    if part == "__init__":
        return  # the package's face hands everything on
    for name in imported(path):
        inner = name.split(".")
        if inner[0] == "spectraldyn" and len(inner) > 1 and inner[1] in LEVEL and inner[1] != part:
            assert LEVEL[inner[1]] < LEVEL[part], f"{part} imports {name}"
        if inner[0] in HOMES:
            assert part in HOMES[inner[0]], f"{name} is imported outside {HOMES[inner[0]]}"


def test_every_part_has_a_layer():
    assert {part_of(p) for p in PACKAGE.rglob("*.py")} - {"__init__"} <= set(LEVEL)
