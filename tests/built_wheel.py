"""What `make wheel` has built in dist/, used by someone who has nothing else: no source tree and no compiler.

    python tests/built_wheel.py           # half a minute: what pip would install beside it is linked from here
    python tests/built_wheel.py --full    # a minute and a download: pip installs all of it

Linked are the packages that the wheel declares, with all that these declare, and no others: an undeclared one is
missing, as it would be in an environment that pip has filled.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SHIPPED = ("analysis", "data", "docs", "tests")
"""Folders that the source distribution holds beside the package."""
BUILT_HERE = ("docs/_build/", "docs/reference/")
IN_THE_REPORT = ("3Dmol", "viewer.addModel", "@inproceedings{ryu2024operator", "<style>")
DATA = ROOT / "data" / "alanine_dipeptide"


def only(pattern: str) -> Path:
    """The one file of dist/ that matches."""
    (found,) = (ROOT / "dist").glob(pattern)
    return found


def check_contents(wheel: Path, source: Path) -> None:
    """The wheel holds the package and nothing else, the source distribution all that builds and tests it."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {PurePosixPath(name) for name in archive.namelist()}
        (described,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(described), validate=True)
    assert metadata.description == (ROOT / "README.md").read_text()
    assert metadata.description_content_type == "text/markdown"
    package = {path.relative_to(ROOT) for path in (ROOT / "spectraldyn").rglob("*") if path.is_file()}
    package = {PurePosixPath(path) for path in package if "__pycache__" not in path.parts}
    assert {path for path in packed if path.parts[0] == "spectraldyn"} == package
    assert len({path.parts[0] for path in packed}) == 2, "beside the package there is its description alone"
    with tarfile.open(source) as archive:
        unpacked = {name.partition("/")[2] for name in archive.getnames()}
    tree = {path for name in SHIPPED for path in (ROOT / name).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in tree}
    names = {name for name in names if not name.startswith(BUILT_HERE) and not name.endswith((".pyc", ".jsonl"))}
    wanted = names | {path.as_posix() for path in package} | {"Makefile", "constraints.txt", "pyproject.toml"}
    assert wanted <= unpacked, sorted(wanted - unpacked)


def declared(site: Path) -> dict[str, Distribution]:
    """What pip would install for the packages of an environment, by name, from what is installed here."""
    found: dict[str, Distribution] = {}
    (package,) = distributions(name="spectraldyn", path=[str(site)])
    wanted = [(Requirement(line), "") for line in package.requires or []]
    while wanted:
        requirement, extra = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (requirement.marker is None or requirement.marker.evaluate({"extra": extra})) and name not in found:
            found[name] = distribution(name)
            for asked in ("", *requirement.extras):
                wanted += [(Requirement(line), asked) for line in found[name].requires or []]
    return found


def link(site: Path) -> None:
    """Put what is declared into an environment, without a copy."""
    for package in declared(site).values():
        for name in {path.parts[0] for path in package.files or []} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(package.locate_file(name))).resolve())


def run(folder: Path, *command: str | Path) -> str:
    """What a command prints in a folder, with nothing on the path but the environment in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PATH": str(folder / "env" / "bin"), "SPECTRALDYN_CACHE": str(folder / "store")}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_use(folder: Path) -> None:
    """A short fit and its report, from the installed package."""
    home = run(folder, folder / "env/bin/python", "-c", "import spectraldyn; print(spectraldyn.__file__)").strip()
    assert Path(home).is_relative_to(folder), home
    version = run(folder, folder / "env/bin/spectraldyn", "--version").split()[-1]
    assert version == only("*.whl").name.split("-")[1]
    fit = ["fit", DATA / "a2.xtc", "--top", DATA / "top.pdb", "--stride", "10", "--lag", "20ps", "--modes", "1"]
    print(run(folder, folder / "env/bin/spectraldyn", *fit, "--refits", "0", "--out", "ala", "--quiet"))
    page = (folder / "ala" / "report.html").read_text()
    assert [text for text in IN_THE_REPORT if text not in page] == []
    run(folder, folder / "env/bin/spectraldyn", "report", "ala")


def main() -> None:
    wheel, source = only("*.whl"), only("*.tar.gz")
    assert wheel.name.endswith("-py3-none-any.whl"), "a wheel that fits every machine needs no compiler"
    check_contents(wheel, source)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        python, pip = folder / "env/bin/python", ("-m", "pip", "--disable-pip-version-check")
        install = (python, *pip, "install", "--quiet", wheel)
        if "--full" in sys.argv[1:]:
            run(folder, *install, "--only-binary", ":all:", "--constraint", ROOT / "constraints.txt")
        else:
            run(folder, *install, "--no-deps")
            link(Path(run(folder, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()))
        run(folder, python, *pip, "check")
        check_use(folder)
    print(f"{wheel.relative_to(ROOT)} and {source.relative_to(ROOT)} are as they should be.")


if __name__ == "__main__":
    main()
