"""Files and folders that appear complete or not at all, and are replaced only where they are ours.

What is being written lies beside its place under a hidden name, a draft: `.STEM-HOST-PROCESS-START-RANDOM.SUFFIX`. The
name says whose it is, so that what a killed process has left behind can be told from what another one is writing now.
"""

import errno
import hashlib
import os
import random
import re
import secrets
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from spectraldyn.errors import InputError, OutputError, disk_error

SILENT = 24 * 3600.0
"""Seconds without a change after which a draft of another computer, whose processes cannot be seen, counts as left."""
BEAT = 60.0
"""Seconds between two signs of life of a run, of which ten may fail to come before others believe it dead."""
TRIES = 5
"""Of two runs that begin at the same moment each sees the other: so often both try again, at times of their own."""
LONGEST_STEM = 100
"""Bytes of a name that its drafts repeat: most file systems take 255 for all of it."""


@contextmanager
def replacing(path: Path, force: bool = True) -> Iterator[Path]:
    """A draft beside `path` to write, which takes its place at the end; where writing fails, nothing has changed.

    The draft has the ending of `path`, by which many writers choose a format. Without `force` a file that has appeared
    at `path` meanwhile is not replaced: an InputError.
    """
    draft = _draft(path, path.stem, path.suffix or ".draft")
    try:
        yield draft
        _sync(draft)
        if force:
            draft.replace(path)
        else:
            _move_to_new(draft, path)
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def writing(out: Path, force: bool = True) -> Iterator[Path]:
    """As `replacing`, for what users asked for: a link stays and what it points to is replaced.

    OutputError where the disk refuses, also where the writer used hides why.
    """
    place = _place(out)
    with _told(out), replacing(place, force) as draft, _told(out, draft):
        yield draft


@contextmanager
def complete_folder(out: Path, force: bool = True) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `out` at the end; where filling it fails, nothing has changed.

    A link stays, and the folder that it points to is replaced. Without `force` one that has appeared meanwhile is not:
    an InputError. OutputError where the disk refuses.
    """
    place = _place(out)
    draft = _draft(place, place.name, ".draft")
    try:
        with _told(out, draft):
            draft.mkdir()
            yield draft
            for path in (*draft.rglob("*"), draft):
                _sync(path)
            _move_folder(draft, place, out, force)
            _sync(place.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_file(out: str | Path, force: bool) -> Path:
    """The file to write.

    An InputError if its folder does not exist or cannot be written, or it exists and `force` is not given.
    """
    out = Path(out)
    with _told(out):
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise InputError(f"{out} cannot be written: give the name of a file in an existing folder")
        place = _place(out)
        if place.exists() and not place.is_file():
            raise InputError(f"{out} is a device or a pipe, no file: give the name of a file")
        if place.exists() and not force:
            raise InputError(f"{out} exists: give another `out`, or `force` to replace it")
        _try(place)  # an unwritable place is named before any work is done
        clear_drafts(place.parent, place.stem)
    return out


def check_folder(out: str | Path, force: bool, ours: Callable[[Path], bool], what: str) -> Path:
    """The folder to write; `force` replaces an earlier one of the kind that `ours` tells and `what` marks in messages.

    An InputError if it exists and `force` is not given, or it holds anything else or the current folder, or it cannot
    be written.
    """
    out = Path(out)
    with _told(out):
        place = _place(out)
        if not place.exists() and not out.absolute().parent.is_dir():
            raise InputError(f"{out} cannot be written: {out.absolute().parent} does not exist or is no folder")
        clear_drafts(place.parent, place.name)
        if place.exists():
            if not force:
                raise InputError(f"{out} exists: give another `out`, or `force` to replace earlier results")
            if not ours(place):
                raise InputError(
                    f"{out} exists and holds no {what} of spectraldyn: it is not replaced, give another `out`"
                )
            if Path.cwd().resolve().is_relative_to(place):
                raise InputError(
                    f"{out} is the current folder or holds it, and cannot be replaced from within: change to another "
                    "folder, or give another `out`"
                )
        _try(place)  # tried now, not after the training
    return out


@contextmanager
def claimed(out: Path, force: bool) -> Iterator[None]:
    """Marks that this process is at work on `out`; without `force` an InputError where another one is."""
    place = _place(out)
    for last in (*[False] * (TRIES - 1), True):
        mark = _draft(place, place.name, ".running")
        with _told(out):
            mark.touch(exist_ok=False)
        others = [] if force else [owner for path, owner in _runs(place) if path != mark]
        if not others:
            break
        mark.unlink()
        if last:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(others[0].start))
            raise InputError(
                f"another run (process {others[0].process} on {others[0].host.rpartition('_')[0]}, since {since}) is "
                f"to write {out}: wait for it, or give another `out`"
            )
        time.sleep(random.uniform(0, 0.2))
    ended = threading.Event()
    threading.Thread(target=_beat, args=(mark, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        mark.unlink(missing_ok=True)


def clear_drafts(folder: Path, stem: str | None = None) -> None:
    """Remove what dead processes have left of drafts in a folder; without a stem whatever they were to become.

    An earlier folder that one had moved aside to replace it, and did not, is put back.
    """
    for path, owner in _drafts(folder, stem):
        if owner.alive(path, SILENT):
            continue
        if owner.suffix == ".old" and stem is not None and not (folder / stem).exists():
            path.rename(folder / stem)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def reserve(path: Path, n_bytes: int) -> None:
    """An OSError where so much cannot be written beside a path: for writers that do not tell, or crash, where it ends.

    Only where the platform can set room aside without writing.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    draft = _draft(path, path.stem, ".draft")
    try:
        with draft.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(1, n_bytes))
    finally:
        draft.unlink(missing_ok=True)


class _Owner(NamedTuple):
    """Whose a draft is, and of what kind."""

    host: str
    process: int
    start: int
    """In seconds of the epoch: a number of a process may be given again."""
    suffix: str

    def alive(self, path: Path, silent: float) -> bool:
        """Whether its process runs; on another computer whether it has changed within so many seconds."""
        try:
            if self.host != _host():
                return time.time() - path.stat().st_mtime < silent
            # The start of a process is that of the machine plus ticks, and may come out a second apart.
            return abs(psutil.Process(self.process).create_time() - self.start) < 3
        except (OSError, psutil.NoSuchProcess):
            return False
        except psutil.Error:
            return True


_NAME = re.compile(r"\.(?P<stem>.*)-([A-Za-z0-9._]+)-([0-9]+)-([0-9a-f]+)-[0-9a-f]{12}(\.[^.]*)", re.DOTALL)


def _drafts(folder: Path, stem: str | None) -> Iterator[tuple[Path, _Owner]]:
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            found = _NAME.fullmatch(name)
            if found and (stem is None or found["stem"] == _shortened(stem)):
                host, process, start, suffix = found.groups()[1:]
                yield folder / name, _Owner(host, int(process), int(start, 16), suffix)


def _runs(place: Path) -> list[tuple[Path, _Owner]]:
    """Marks of runs that are at work on a place."""
    marks = [(path, owner) for path, owner in _drafts(place.parent, place.name) if owner.suffix == ".running"]
    return [(path, owner) for path, owner in marks if owner.alive(path, 10 * BEAT)]


def _beat(mark: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(mark)


def _draft(path: Path, stem: str, suffix: str) -> Path:
    """A name beside `path` that nobody else has."""
    started = int(psutil.Process().create_time())
    owner = f"{_host()}-{os.getpid()}-{started:x}-{secrets.token_hex(6)}"
    return path.with_name(f".{_shortened(stem)}-{owner}{suffix}")


def _host() -> str:
    """This computer, and what sees the same processes on it: containers may have the name in common."""
    name, seen = socket.gethostname(), ""
    with suppress(OSError):
        seen = os.readlink("/proc/self/ns/pid")
    return f"{re.sub('[^A-Za-z0-9.]', '.', name)[:30]}_{zlib.crc32(f'{name} {seen}'.encode()):08x}"


def _shortened(stem: str) -> str:
    encoded = os.fsencode(stem)
    if len(encoded) <= LONGEST_STEM:
        return stem
    digest = hashlib.blake2b(encoded, digest_size=6).hexdigest()
    return encoded[: LONGEST_STEM - 12].decode(errors="ignore") + digest


def _place(out: Path) -> Path:
    """Where `out` lies, links followed; InputError for a link to nothing."""
    if out.is_symlink() and not out.exists():
        raise InputError(f"{out} is a link to {os.readlink(out)}, which is not there: remove it, or give another `out`")
    return Path(os.path.realpath(out))


def _try(place: Path) -> None:
    draft = _draft(place, place.name, ".draft")
    draft.mkdir()
    draft.rmdir()


def _sync(path: Path) -> None:
    """Onto the disk: without it a power cut can leave a file of the right name and size, full of zeros."""
    if path.is_dir():
        if os.name == "nt":
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system can do this to a folder
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    elif path.is_file():
        with path.open("r+b") as stream:
            os.fsync(stream.fileno())


def _move_to_new(draft: Path, path: Path) -> None:
    """Where no file is yet."""
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError:  # a file system without links
        if path.exists():
            raise _appeared(path) from None
        draft.rename(path)


def _move_folder(draft: Path, place: Path, out: Path, force: bool) -> None:
    """A folder never takes the place of one that holds anything: that one is moved aside before."""
    old = None
    try:
        while True:
            try:
                draft.rename(place)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not place.is_dir():
                    raise
            if not force:
                raise _appeared(out)
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
            old = _draft(place, place.name, ".old")
            with suppress(FileNotFoundError):  # another run has just moved it
                place.rename(old)
    finally:
        if old is not None and old.exists():
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(place)


def _appeared(out: Path) -> InputError:
    return InputError(
        f"{out} was written by another run while this one was under way, and is not replaced: give another `out`, or "
        "`force` to replace it"
    )


@contextmanager
def _told(out: Path, draft: Path | None = None) -> Iterator[None]:
    """What stands in the way of writing `out`, in one sentence; where its writer hid it, the draft is tried again."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        refused = error if isinstance(error, OSError) and error.errno else disk_error(error)
        if refused is None and draft is not None:
            refused = _tried_again(draft)
        if refused is None:
            raise
        raise OutputError.of(refused, str(out)) from error


def _tried_again(draft: Path) -> OSError | None:
    """What the disk has against a file beside a draft that is a little longer than the longest there."""
    files = [path for path in (draft, *draft.rglob("*")) if path.is_file()]
    longest = max((path.stat().st_size for path in files), default=0)
    trial = _draft(draft, "trial", ".draft")
    try:
        with trial.open("wb") as stream:
            stream.seek(longest)
            stream.write(bytes(2**20))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error
    finally:
        trial.unlink(missing_ok=True)
    return None
