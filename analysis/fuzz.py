"""Damaged files, models, stores and result folders: what spectraldyn does with thousands of them.

    python -m analysis.fuzz --files 20000 --models 2000 --seed 0 --jobs 2

Small sound files are written in every format that is read, and damaged at random in one of `DAMAGE`. Each is read in a
worker process, which a crash ends and another one replaces. A damaged trajectory may be refused with one sentence, or
read with a note; or nothing that is read has changed; or something has, and nobody says so.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
import torch

import spectraldyn as sd
from analysis.benchmarks.record import ROOT, write

SLOWEST, LARGEST = 10, 1024
"""Seconds and MiB that no damaged file may take more of."""
N_FRAMES = 40
SELDOM = 4
"""So many files of another format for each HDF5 file, which is opened by another process first."""
FORMATS = ("xtc", "trr", "dcd", "nc", "h5", "pdb", "gro", "xyz", "mdcrd", "lammpstrj", "arc")
TEXTS = {"pdb", "gro", "xyz", "mdcrd", "lammpstrj", "arc", "results.json", "store.json"}
PARTS = ("model.pt", "results.json", "modes.npz", "store.npy", "store.json")
OUTCOMES = ("refused", "note", "unchanged", "silent", "traceback", "crash", "hang", "memory")
SENSES = ("within thermal motion", "order of sound frames", "other")


def truncated(raw: bytes, random: np.random.Generator) -> bytes:
    """Cut anywhere."""
    return raw[: random.integers(1, len(raw))]


def flipped_bits(raw: bytes, random: np.random.Generator) -> bytes:
    """One to eight single bits."""
    changed = bytearray(raw)
    for place in random.integers(0, len(raw), random.integers(1, 9)):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def other_bytes(raw: bytes, random: np.random.Generator) -> bytes:
    """Up to 64 bytes in a row become others."""
    start, count = _range(raw, random, 64)
    return raw[:start] + random.bytes(count) + raw[start + count :]


def zeroed(raw: bytes, random: np.random.Generator) -> bytes:
    """A range becomes zeros, as on a disk that lost a block."""
    start, count = _range(raw, random, 4096)
    return raw[:start] + bytes(count) + raw[start + count :]


def removed(raw: bytes, random: np.random.Generator) -> bytes:
    """A range is missing."""
    start, count = _range(raw, random, 512)
    return raw[:start] + raw[start + count :]


def doubled(raw: bytes, random: np.random.Generator) -> bytes:
    """A range is there twice."""
    start, count = _range(raw, random, 4096)
    return raw[: start + count] + raw[start:]


def swapped(raw: bytes, random: np.random.Generator) -> bytes:
    """Two ranges of one length have changed places."""
    start, count = _range(raw, random, 512)
    other = int(random.integers(0, max(1, len(raw) - count)))
    first, second = sorted((start, other))
    count = min(count, second - first) if second > first else 0
    a, b = raw[first : first + count], raw[second : second + count]
    return raw[:first] + b + raw[first + count : second] + a + raw[second + count :]


def edited_header(raw: bytes, random: np.random.Generator) -> bytes:
    """One to four bytes of the first 256 become others."""
    changed = bytearray(raw)
    for place in random.integers(0, min(256, len(raw)), random.integers(1, 5)):
        changed[place] = int(random.integers(256))
    return bytes(changed)


def other_byte_order(raw: bytes, random: np.random.Generator) -> bytes:
    """Words of four bytes from some place on, or in a range, turned round."""
    start, count = _range(raw, random, len(raw))
    start -= start % 4
    count -= count % 4
    words = np.frombuffer(raw[start : start + count], dtype="<u4").byteswap().tobytes()
    return raw[:start] + words + raw[start + len(words) :]


def other_digits(raw: bytes, random: np.random.Generator) -> bytes:
    """One to eight digits become others."""
    changed = bytearray(raw)
    digits = np.flatnonzero((np.frombuffer(raw, np.uint8) >= 48) & (np.frombuffer(raw, np.uint8) <= 57))
    for place in random.choice(digits, random.integers(1, 9)) if len(digits) else []:
        changed[place] = 48 + int(random.integers(10))
    return bytes(changed)


def swapped_lines(raw: bytes, random: np.random.Generator) -> bytes:
    """Two lines of a text have changed places."""
    lines = raw.splitlines(keepends=True)
    if len(lines) > 1:
        first, second = random.choice(len(lines), 2, replace=False)
        lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


def _range(raw: bytes, random: np.random.Generator, longest: int) -> tuple[int, int]:
    """Start and length of a range, short ones as likely as long ones."""
    count = round(float(np.exp(random.uniform(0, np.log(max(2, min(longest, len(raw))))))))
    return int(random.integers(0, max(1, len(raw) - count))), count


JUNK: tuple[Any, ...] = (None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x", [], {}, [[1.0]], "../../x")


def other_value_in_json(raw: bytes, random: np.random.Generator) -> bytes:
    """One value somewhere in it is missing, or is something else."""
    contents = json.loads(raw)
    holder: Any = contents
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = keys[random.integers(len(keys))]
        inside = holder[key]
        if not isinstance(inside, dict | list) or not inside or random.random() < 0.2:
            break
        holder = inside
    if random.random() < 0.3:
        del holder[key]
    else:
        holder[key] = JUNK[random.integers(len(JUNK))]
    return json.dumps(contents).encode()


def other_value_in_model(raw: bytes, random: np.random.Generator) -> bytes:
    """One value or array somewhere in it is missing, or is something else."""
    contents = torch.load(io.BytesIO(raw), weights_only=True)
    holder: Any = contents
    while isinstance(holder[(key := list(holder)[random.integers(len(holder))])], dict):
        holder = holder[key]
    if random.random() < 0.2:
        del holder[key]
    elif isinstance(holder[key], torch.Tensor) and holder[key].is_floating_point() and random.random() < 0.7:
        array = holder[key].clone()
        others = [array[..., :-1], array[None], array.reshape(-1), array.int()] if array.ndim else [array[None]]
        array.reshape(-1)[random.integers(array.numel())] = (float("nan"), float("inf"))[random.integers(2)]
        holder[key] = [array, *others][random.integers(1 + len(others))]
    else:
        holder[key] = JUNK[random.integers(len(JUNK))]
    stream = io.BytesIO()
    torch.save(contents, stream)
    return stream.getvalue()


def other_array_in_archive(raw: bytes, random: np.random.Generator) -> bytes:
    """One array is missing, or another one."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = list(arrays)[random.integers(len(arrays))]
    array = arrays.pop(name)
    others = [array[:-1], array[None], array.astype(str), np.zeros(0), array[:0], np.full(array.shape, np.nan)]
    if random.random() < 0.8:
        arrays[name] = others[random.integers(len(others))]
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


Damage = Callable[[bytes, np.random.Generator], bytes]
DAMAGE: dict[str, Damage] = {
    "truncated": truncated,
    "bits flipped": flipped_bits,
    "other bytes": other_bytes,
    "range zeroed": zeroed,
    "range removed": removed,
    "range doubled": doubled,
    "ranges swapped": swapped,
    "header edited": edited_header,
    "byte order": other_byte_order,
    "digits changed": other_digits,
    "lines swapped": swapped_lines,
}
REPLACED: dict[str, Damage] = {
    "results.json": other_value_in_json,
    "store.json": other_value_in_json,
    "model.pt": other_value_in_model,
    "modes.npz": other_array_in_archive,
}
OF_TEXTS = ("digits changed", "lines swapped")


class Outcome(NamedTuple):
    """What became of one damaged thing."""

    kind: str
    """Format, or part of a folder."""
    damage: str
    outcome: str
    """One of `OUTCOMES`."""
    said: str
    seconds: float = 0.0
    megabytes: float = 0.0
    sense: str = ""
    """What a silent change is, one of `SENSES`."""


def write_sound_files(folder: Path) -> None:
    """One trajectory of a peptide in every format, and its topology."""
    source = ROOT / "data" / "alanine_dipeptide"
    sound = mdtraj.load(str(source / "a2.xtc"), top=str(source / "top.pdb"))[:N_FRAMES]
    sound.time = np.arange(float(N_FRAMES))
    sound[0].save_pdb(str(folder / "top.pdb"))
    for name in ("xtc", "trr", "dcd", "nc", "h5", "pdb", "gro", "xyz", "lammpstrj", "mdcrd"):
        copy = sound[:]
        if name in ("dcd", "pdb", "gro", "lammpstrj"):
            copy.unitcell_vectors = np.tile(3.0 * np.eye(3, dtype=np.float32), (N_FRAMES, 1, 1))
            copy.xyz = copy.xyz - copy.xyz.min(axis=(0, 1)) + 0.2
        else:
            copy.unitcell_vectors = None
        copy.save(str(folder / f"sound.{name}"))
    elements = [atom.element.symbol for atom in sound.topology.atoms]
    with (folder / "sound.arc").open("w") as file:
        for frame in 10 * sound.xyz:
            file.write(f"{len(elements)} peptide\n")
            for number, (element, place) in enumerate(zip(elements, frame, strict=True), 1):
                x, y, z = place
                file.write(f"{number:6d} {element:3} {x:11.6f} {y:11.6f} {z:11.6f} {1:5d}\n")


class Read(NamedTuple):
    """All that is read of a trajectory."""

    rows: np.ndarray
    """(frames, 3 atoms): positions."""
    timestep: float | None
    starts: tuple[int, ...]
    """First frame of each uninterrupted stretch."""
    warnings: tuple[str, ...]


def read(path: Path, topology: Path | None) -> Read:
    """A trajectory as a fit reads it."""
    data = sd.load_features(path, topology, "positions", cache=False)
    starts = tuple(source.first_frame for source in data.sources)
    return Read(np.concatenate(list(data)), data.time.timestep_ps, starts, tuple(data.warnings))


def same(one: Read, other: Read) -> bool:
    """Whether all of it is the same."""
    return one[1:3] == other[1:3] and one.rows.shape == other.rows.shape and np.array_equal(one.rows, other.rows)


def sense_of(sound: Read, damaged: Read) -> str:
    """What a change is that is not told: one of `SENSES`."""
    if sound.rows.shape == damaged.rows.shape and sound.starts == damaged.starts:
        moved = float(np.abs(sound.rows - damaged.rows).max())
        if moved <= float(np.median(np.abs(np.diff(sound.rows, axis=0)).max(axis=1))):
            return SENSES[0]
    known = {frame.tobytes() for frame in sound.rows}
    return SENSES[1] if all(frame.tobytes() in known for frame in damaged.rows) else SENSES[2]


def mutant(raw: bytes, kind: str, number: int, seed: int) -> tuple[str, bytes]:
    """A damaged copy, which differs from the original, and how it was damaged."""
    random = np.random.default_rng([seed, number, *kind.encode()])
    names = [name for name in DAMAGE if kind in TEXTS or name not in OF_TEXTS]
    names += ["value replaced"] * 4 * (kind in REPLACED)
    while True:
        name = names[random.integers(len(names))]
        changed = REPLACED[kind](raw, random) if name == "value replaced" else DAMAGE[name](raw, random)
        if changed != raw:
            return name, changed


def judge_file(folder: Path, kind: str, number: int, seed: int) -> Outcome:
    """Read one damaged trajectory."""
    damage, content = mutant((folder / f"sound.{kind}").read_bytes(), kind, number, seed)
    path = folder / f"damaged-{os.getpid()}.{kind}"
    path.write_bytes(content)

    def call() -> tuple[str, str, str]:
        own = kind in ("h5", "pdb", "gro") and number % 2  # which are given without a topology, too
        found = read(path, None if own else folder / "top.pdb")
        sound = _sound(folder, kind)
        if same(sound, found):
            return "unchanged", "", ""
        return ("note", found.warnings[0], "") if found.warnings else ("silent", "", sense_of(sound, found))

    return _judged(kind, damage, call)


@cache
def _sound(folder: Path, kind: str) -> Read:
    return read(folder / f"sound.{kind}", folder / "top.pdb")


def fit_once(folder: Path) -> None:
    """Results of a short fit, the features in a store beside them, and a trajectory to project."""
    os.environ["SPECTRALDYN_CACHE"] = str(folder / "cache")
    source = ROOT / "data" / "alanine_dipeptide"
    run = mdtraj.load(str(source / "a2.xtc"), top=str(source / "top.pdb"))[:400]
    run.save(str(folder / "run.xtc"))
    results = sd.fit_trajectories(
        folder / "run.xtc", lag=2, top=source / "top.pdb", n_modes=2, refits=0, max_steps=20, random_state=0
    )
    sd.write_results(results, folder / "fit")


def judge_part(folder: Path, kind: str, number: int, seed: int) -> Outcome:
    """Use one folder of results, or one store, in which one file is damaged."""
    own = folder / f"own-{os.getpid()}"
    if not own.exists():
        shutil.copytree(folder / "fit", own / "fit")
        shutil.copytree(folder / "cache", own / "cache")
        shutil.copy(folder / "run.xtc", own / "run.xtc")
    store, ending = kind.startswith("store"), kind.rpartition(".")[2]
    path = next((own / "cache").glob(f"*.{ending}")) if store else own / "fit" / kind
    raw = path.read_bytes()
    damage, content = mutant(raw, kind, number, seed)
    use = "features" if store else ("transform", "states", "report")[number % 3 if kind != "model.pt" else 0]
    try:
        sound = _used_sound(own, use)[0]
        path.write_bytes(content)

        def call() -> tuple[str, str, str]:
            found, notes = _used(own, use)
            if found == sound:
                return "unchanged", "", ""
            return ("note", notes, "") if notes else ("silent", "", SENSES[2])

        return _judged(kind, damage, call)
    finally:
        path.write_bytes(raw)


@cache
def _used_sound(own: Path, use: str) -> tuple[object, str]:
    """The same before anything is damaged."""
    return _used(own, use)


def _used(own: Path, use: str) -> tuple[object, str]:
    """What comes out of a folder, to be compared, and what is said beside it; InputError for errors."""
    os.environ["SPECTRALDYN_CACHE"] = str(own / "cache")
    top = ROOT / "data" / "alanine_dipeptide" / "top.pdb"
    if use == "features":
        data = sd.load_features(own / "run.xtc", top=top)
        return [data.column_names, *(rows.tobytes() for rows in data)], "; ".join(data.warnings)
    out = own / "out"
    commands = {
        "transform": ["transform", str(own / "fit"), str(own / "run.xtc"), "--out", f"{out}.npz", "--force"],
        "states": ["states", str(own / "fit"), "--n-frames", "3", "--out", str(out), "--force"],
        "report": ["report", str(own / "fit")],
    }
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = _command_line(commands[use])
    if code:
        errors = [line for line in said.getvalue().splitlines() if line.startswith("spectraldyn: error: ")]
        raise sd.InputError(errors[0]) if code == 2 and len(errors) == 1 else RuntimeError(said.getvalue())
    notes = "; ".join(line for line in said.getvalue().splitlines() if line.startswith("note: "))  # no progress bars
    if use == "transform":
        with np.load(f"{out}.npz") as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}, notes
    written = out / "frames.csv" if use == "states" else own / "fit" / "report.html"
    return written.read_bytes(), notes


def _command_line(arguments: list[str]) -> object:
    """Exit code of `python -m spectraldyn`, in this process."""
    typed, sys.argv = sys.argv, ["spectraldyn", *arguments]
    try:
        runpy.run_module("spectraldyn", run_name="__main__")
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = typed
    return None


class Slow(BaseException):
    """Took longer than `SLOWEST`; no handler of errors may take it for one."""


def _too_slow(*_: object) -> None:
    raise Slow


def _judged(kind: str, damage: str, call: Callable[[], tuple[str, str, str]]) -> Outcome:
    started, before = time.perf_counter(), _resident()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SLOWEST)
    sense = ""
    try:
        outcome, said, sense = call()
    except sd.InputError as error:
        outcome, said = ("refused" if str(error) and "\n" not in str(error) else "traceback"), str(error)
    except Slow:
        outcome, said = "hang", traceback.format_exc(limit=-3)
    except Exception:
        outcome, said = "traceback", traceback.format_exc(limit=-4)
    signal.alarm(0)
    seconds, grown = time.perf_counter() - started, _resident() - before
    outcome = "memory" if grown > LARGEST else outcome
    return Outcome(kind, damage, outcome, said[-600:], round(seconds, 3), round(grown), sense)


def _resident() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Job = tuple[Callable[..., Outcome], Path, str, int, int]


def _done(job: Job) -> Outcome:
    judge, *arguments = job
    return judge(*arguments)


def _confine() -> None:
    """What reads a damaged file in a worker gets no more than twice the memory that it may take."""
    torch.set_num_threads(1)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = now + 2 * LARGEST * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def judged(jobs: list[Job], n_workers: int) -> list[Outcome]:
    """Outcomes of all jobs. Where a worker crashes, each of those that were running is tried again alone."""
    outcomes: dict[int, Outcome] = {}

    def go(numbers: list[int], n_workers: int) -> bool:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_confine) as pool:
            futures = {pool.submit(_done, jobs[number]): number for number in numbers}
            try:
                for future in as_completed(futures):
                    outcomes[futures[future]] = future.result()
            except BrokenProcessPool:
                return False
        return True

    while left := [number for number in range(len(jobs)) if number not in outcomes]:
        if go(left, n_workers):
            break
        for number in [number for number in left if number not in outcomes][: 2 * n_workers]:
            if not go([number], 1):
                _, _, kind, count, _ = jobs[number]
                outcomes[number] = Outcome(kind, "?", "crash", f"number {count}")
    return [outcomes[number] for number in range(len(jobs))]


def counted(outcomes: list[Outcome], by: str) -> list[dict[str, Any]]:
    """A row for each format, or class of damage: how many had which outcome."""
    groups = dict.fromkeys(getattr(outcome, by) for outcome in outcomes)
    rows = []
    for group in [*groups, "all"]:
        own = [one for one in outcomes if group in (getattr(one, by), "all")]
        found = Counter(one.outcome for one in own)
        changed = len(own) - found["unchanged"]
        rows.append(
            {
                by: group,
                "number": len(own),
                **{outcome: found[outcome] for outcome in OUTCOMES},
                "silent of changed": f"{100 * found['silent'] / max(1, changed):.0f} %",
                "slowest (s)": round(max(one.seconds for one in own), 2),
                "most memory (MiB)": max(one.megabytes for one in own),
            }
        )
    return rows


def main() -> None:
    """Damage, read, count, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--folder", type=Path, default=None, help="for the table, by default analysis/results")
    options = parser.parse_args()
    formats = options.formats.split(",")
    formats = [name for turn in range(SELDOM) for name in formats if name != "h5" or turn == 0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_sound_files(folder)
        jobs: list[Job] = [
            (judge_file, folder, formats[number % len(formats)], number, options.seed)
            for number in range(options.files)
        ]
        files = judged(jobs, options.jobs)
        parts: list[Outcome] = []
        if options.models:
            fit_once(folder)
            jobs = [
                (judge_part, folder, PARTS[number % len(PARTS)], number, options.seed)
                for number in range(options.models)
            ]
            parts = judged(jobs, options.jobs)
    tables = {"Trajectories, by format": counted(files, "kind"), "Trajectories, by damage": counted(files, "damage")}
    if parts:
        tables["Models, results and stores"] = counted(parts, "kind")
    senses = Counter(one.sense for one in files if one.outcome == "silent")
    tables["Silent changes of trajectories"] = [{"what": sense, "number": senses[sense]} for sense in SENSES]
    bad = [one for one in [*files, *parts] if one.outcome in ("traceback", "crash", "hang", "memory")]
    for one in bad[:40]:
        print(one)
    rows = [one._asdict() for one in [*bad, *(one for one in files if one.outcome == "silent")]]
    where = {} if options.folder is None else {"folder": options.folder}
    write("fuzz", rows, tables, TEXT, **where)
    print({heading: table[-1] for heading, table in tables.items()})


TEXT = """# Damaged files

Small sound files in every format that is read, and the parts of a folder of results and of a store, each damaged at
random and read again by a worker process (`analysis/fuzz.py`). Columns: *refused* with one sentence; read with a
*note*; *unchanged*, as what was damaged is not read, or is read as before; *silent*, where positions, spacing or
stretches are others and nothing is said; and what must not be: a traceback, a crash, more than 10 s, more than
1 GiB.

A silent change is *within thermal motion* where no atom is further from its place than atoms move from one frame to the
next: last digits and bits of numbers, of which nothing in the file tells that they are others. *Order of sound frames*
are frames that are missing, or there twice, in formats that number none. The rows of the JSON file are the silent
changes and the faults."""


if __name__ == "__main__":
    main()
