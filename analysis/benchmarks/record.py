"""Where measurements are written, and what they are worth without: the machine, the versions, the command."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import spectraldyn as sd

Rows = Sequence[Mapping[str, Any]]
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "analysis" / "results"


def write(
    name: str, rows: Rows, tables: Mapping[str, Rows] | None = None, text: str = "", folder: Path = RESULTS
) -> None:
    """Write a study as NAME.json {machine, versions, command, rows} and NAME.md.

    Parameters
    ----------
    name : str
    rows : sequence of mapping
        Every single measurement.
    tables : mapping, optional
        Heading → rows to show in NAME.md; by default all rows in one table. An empty table is left out.
    text : str
        Markdown: what was measured and what came out, before the tables.
    folder : Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"machine": machine(), "versions": versions(), "command": command()}
    (folder / f"{name}.json").write_text(json.dumps({**about, "rows": list(rows)}, indent=1) + "\n")
    parts = [text] if text else []
    for heading, shown in ({"": rows} if tables is None else tables).items():
        if shown:
            parts += [f"## {heading}"] * bool(heading) + [markdown(shown).rstrip()]
    parts += ["`" + about["command"] + "`", "; ".join(f"{key}: {value}" for key, value in about["machine"].items())]
    parts += [", ".join(f"{key} {value}" for key, value in about["versions"].items())]
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def markdown(rows: Rows) -> str:
    """A table, in whose narrow columns no number is parted from its exponent, error or unit."""

    def cell(value: Any) -> str:
        if value is None:
            return "–"
        text = f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
        text = re.sub(r"(?<=\d)e-(?=\d)", "e\u2011", text)
        return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")

    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(cell(v) for v in row.values()) + " |" for row in rows)]) + "\n"


def machine() -> dict[str, Any]:
    """Processor, cores, threads in use, and GPU."""
    return {
        "CPU": _processor(),
        "cores": os.cpu_count(),
        "threads used": torch.get_num_threads(),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of Python, the packages that do the arithmetic, and this repository."""
    packages = {name: version(name) for name in ("torch", "deeptime", "numpy")}
    return {"python": platform.python_version(), **packages, "spectraldyn": sd.__version__, "commit": _commit()}


def command() -> str:
    """As typed, with the interpreter's path left out."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit, marked where tracked files differ from it."""
    try:
        commit, changes = (
            subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + (" with uncommitted changes" if changes else "")
