"""Files and folders that appear complete or not at all, whoever else writes there and whatever the disk says."""

import errno
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from spectraldyn import files
from spectraldyn.errors import InputError, OutputError, disk_error
from spectraldyn.files import check_file, check_folder, claimed, clear_drafts, complete_folder, replacing, writing


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dead():
    """Number of a process that has ended, as drafts name it."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def fill(out, text="new", force=True):
    with complete_folder(out, force) as draft:
        (draft / "a").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def ours(folder):
    return (folder / "a").exists()


def check(out, force=True):
    return check_folder(out, force, ours, "a")


def left_by(process, stem, suffix, host=None, start=1):
    return f".{stem}-{host or files._host()}-{process}-{start:x}-0123456789ab{suffix}"


def test_a_link_stays_and_what_it_points_to_is_replaced(here):
    (here / "target").mkdir()
    (here / "target" / "a").write_text("old")
    (here / "link").symlink_to("target")
    fill(check(here / "link"))
    assert (here / "link").is_symlink()
    assert (here / "target" / "a").read_text() == "new"
    (here / "file").write_text("old")
    (here / "other").symlink_to("file")
    with writing(check_file("other", True)) as draft:
        draft.write_text("new")
    assert (here / "other").is_symlink()
    assert (here / "file").read_text() == "new"
    assert names(here) == ["file", "link", "other", "target"]


def test_a_link_to_nothing_is_one_sentence(here):
    (here / "link").symlink_to("nowhere")
    for checked in (lambda: check("link"), lambda: check_file("link", True)):
        with pytest.raises(InputError, match=r"^link is a link to nowhere, which is not there: remove it"):
            checked()
    assert names(here) == ["link"]


def test_the_current_folder_is_not_replaced_and_ways_round_lead_to_the_folder_itself(here, monkeypatch):
    fill(here / "ala", "old")
    (here / "base").mkdir()
    (here / "link").symlink_to("ala")
    fill(check("base/../ala"))
    assert (here / "ala" / "a").read_text() == "new"
    monkeypatch.chdir("ala")
    for out in ("../ala", ".", "../link", "../base/../ala"):
        with pytest.raises(InputError, match=f"^{re.escape(out)} is the current folder or holds it"):
            check(out)
    (here / "ala" / "inner").mkdir()
    monkeypatch.chdir("inner")
    with pytest.raises(InputError, match=r"^\.\. is the current folder or holds it"):
        check("..")
    monkeypatch.chdir(here)
    assert names(here) == ["ala", "base", "link"]


def test_a_device_and_a_name_that_is_too_long_are_one_sentence(here):
    with pytest.raises(InputError, match=r"^/dev/null is a device or a pipe"):
        check_file("/dev/null", True)
    with pytest.raises(InputError, match=r"cannot be written .*: give a shorter `out`"):
        check_file("x" * 300, True)
    with pytest.raises(InputError, match=r"cannot be written .*: give a shorter `out`"):
        check("x" * 300)
    fill(check("x" * 250, False))
    assert names(here) == ["x" * 250]


def test_what_has_appeared_meanwhile_is_replaced_by_force_alone(here):
    def too_late():
        with complete_folder(check("out", False), False) as draft:
            (draft / "a").write_text("mine")
            fill(here / "out", "theirs")

    def too_late_for_a_file():
        with writing(check_file("x", False), False) as draft:
            draft.write_text("mine")
            (here / "x").write_text("theirs")

    with pytest.raises(InputError, match=r"^out was written by another run while this one was under way"):
        too_late()
    assert (here / "out" / "a").read_text() == "theirs"
    with complete_folder(check("out"), True) as draft:
        (draft / "a").write_text("mine")
        fill(here / "out", "theirs again")
    assert (here / "out" / "a").read_text() == "mine"
    with pytest.raises(InputError, match="was written by another run"):
        too_late_for_a_file()
    assert (here / "x").read_text() == "theirs"
    assert names(here) == ["out", "x"]


def test_where_the_file_system_has_no_links_nothing_is_replaced_either(here, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with replacing(here / "x", force=False) as draft:
        draft.write_text("mine")
    with pytest.raises(InputError, match="was written by another run"), replacing(here / "x", force=False) as draft:
        draft.write_text("again")
    assert (here / "x").read_text() == "mine"


def test_an_interruption_between_two_moves_leaves_the_earlier_folder(here, monkeypatch):
    fill(here / "out", "old")
    rename, moves = type(here).rename, []

    def interrupted(path, target):
        moves.append(path)
        if len(moves) == 3:  # refused, moved aside, and now into its place
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(type(here), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(here / "out")
    assert (here / "out" / "a").read_text() == "old"
    assert names(here) == ["out"]


def test_drafts_of_dead_processes_are_cleared_and_no_others(here, dead):
    stays = [
        left_by(os.getpid(), "out", ".draft", start=int(psutil.Process().create_time())),
        left_by(dead, "other", ".draft"),
        left_by(dead, "out", ".draft", host="elsewhere_00000000"),
        f".out-{dead}.draft",
        left_by(dead, "out", ""),
        "out.draft",
    ]
    goes = [left_by(dead, "out", ".npz"), left_by(os.getpid(), "out", ".draft")]  # this number was given again
    for name in [*stays, *goes]:
        (here / name).write_text("half")
    folder = here / left_by(dead, "out", ".draft").replace("0123", "4567")
    folder.mkdir()
    (folder / "a").touch()
    clear_drafts(here, "out")
    assert names(here) == sorted(stays)
    os.utime(here / stays[2], (time.time() - 2 * files.SILENT,) * 2)
    clear_drafts(here)
    assert names(here) == sorted([stays[0], *stays[3:]])


def test_a_folder_that_a_killed_process_had_moved_aside_is_put_back(here, dead):
    old = here / left_by(dead, "out", ".old")
    fill(old, "old")
    with pytest.raises(InputError, match=r"^out exists"):
        check("out", False)
    assert (here / "out" / "a").read_text() == "old"
    fill(old, "older")
    check("out")
    assert names(here) == ["out"]


def test_two_runs_are_not_at_work_on_one_folder_unless_forced(here, dead):
    (here / left_by(dead, "out", ".running")).touch()
    mark = here / left_by(1, "out", ".running", host="elsewhere_00000000")
    mark.touch()
    os.utime(mark, (time.time() - 11 * files.BEAT,) * 2)  # long without a sign of life
    with claimed(here / "out", False):
        sentence = rf"^another run \(process {os.getpid()} on [A-Za-z0-9.]+, since 20.*\) is to write .*: wait"
        with pytest.raises(InputError, match=sentence), claimed(here / "out", False):
            pass
        with claimed(here / "out", True):
            pass
        with claimed(here / "other", False):
            pass
    with claimed(here / "out", False):
        pass
    os.utime(mark)
    with pytest.raises(InputError, match="process 1 on elsewhere"), claimed(here / "out", False):
        pass


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("hidden")])
def test_what_the_disk_says_is_told_also_where_a_writer_hides_it(here, error, monkeypatch):
    fill(here / "out", "old")
    monkeypatch.setattr(files, "_tried_again", lambda draft: OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OutputError, match=r"^out cannot be written \(No space left on device\): make room"):  # noqa: SIM117
        with complete_folder(check("out")):
            raise error
    monkeypatch.setattr(files, "_tried_again", lambda draft: None)
    with pytest.raises(type(error)), complete_folder(check("out")):
        raise error
    assert (here / "out" / "a").read_text() == "old"
    assert names(here) == ["out"]
    assert disk_error(TypeError()) is None


def limited(size, code, before=""):
    """Run code with a limit on the size of files, after some without; what it prints."""
    limit = f"{before}\nimport resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    done = subprocess.run([sys.executable, "-c", limit + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no such limit here")
def test_a_limit_on_the_size_of_files_is_one_sentence_for_every_writer(here):
    code = """
import numpy as np
from pathlib import Path
from spectraldyn.errors import OutputError
from spectraldyn.io import write_particles
states = np.random.default_rng(0).normal(size=(2000, 6))
for ending in ("xtc", "trr", "nc", "h5", "gro", "dcd", "pdb", "xyz"):
    try:
        write_particles(Path(f"x.{ending}"), Path("x.pdb"), states, 1.0)
        print(ending, "written")
    except OutputError as error:
        print(error)
"""
    said = limited(9000, code).splitlines()
    endings = ("xtc", "trr", "nc", "h5", "gro", "dcd", "pdb", "xyz")
    advice = "cannot be written (File too large): raise the limit on the size of files (ulimit -f)"
    assert [line.partition(",")[0] for line in said] == [f"x.{ending} {advice}" for ending in endings]
    assert names(here) == []


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no such limit here")
def test_a_limit_on_the_size_of_files_is_one_sentence_in_every_command(here):
    data = Path(__file__).parents[1] / "data" / "alanine_dipeptide"
    np.save("x.npy", np.random.default_rng(0).normal(size=(400, 2)))
    before = f"""
import contextlib, io, os, sys
import pytest
answers = os.fdopen(os.dup(1), "w")
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import make_quick
make_quick(pytest.MonkeyPatch())
from spectraldyn.cli import main
learn = ["--modes", "1", "--quiet", "--out"]
def run(*arguments):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main([*arguments])
    print(code, *[line for line in said.getvalue().splitlines() if "error: " in line], file=answers)
top = ["--top", {str(data / "top.pdb")!r}, "--lag", "5ps", "--refits", "0"]
run("fit", {str(data / "a2.xtc")!r}, *top, *learn, "fit")
"""
    code = f"""
run("fit", {str(data / "a2.xtc")!r}, *top, "--force", *learn, "fit")
run("scan", "x.npy", "--lag", "2", *learn, "scan")
run("compare", "x.npy", "--lag", "2", "--methods", "tica", "--splits", "1", *learn, "compare")
run("transform", "fit", {str(data / "a2.xtc")!r}, "--out", "modes.npy")
run("states", "fit")
run("report", "fit")
"""
    said = [line for line in limited(2000, code, before).splitlines() if line[:2] in ("0", "2 ")]
    files = "fit", "scan", "what is computed on the way", "frames are copied into", "fit-states", "fit/report.html"
    assert len(said) == 1 + len(files)
    assert said[0] == "0"
    for line, file in zip(said[1:], files, strict=True):
        assert line.startswith(f"2 spectraldyn: error: {file}")
        assert " written (File too large): " in line
    assert names(here) == ["fit", "fit-log.txt", "scan-log.txt", "x.npy"]
    assert {"model.pt", "report.html", "results.json"} < set(names(here / "fit"))


def test_both_halves_of_an_output_error(here):
    error = OutputError.of(OSError(errno.EROFS, "Read-only file system"), "out")
    assert isinstance(error, InputError)
    assert isinstance(error, OSError)
