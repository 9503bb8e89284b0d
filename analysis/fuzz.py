"""Damaged files, models, stores and result folders: what spectraldyn does with thousands of them.

    python -m analysis.fuzz --files 20000 --models 2000 --seed 0 --jobs 2

Small sound files are written in every format that is read, and damaged at random in one of `DAMAGE`. Each is read in a
worker process, which a crash ends and another one replaces. A damaged trajectory may be refused with one sentence, or
read with a note; or nothing that is read has changed; or something has, and nobody says so.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj
import numpy as np
import torch

import spectraldyn as sd
from analysis.benchmarks.record import ROOT, write
from spectraldyn.cli import main as command_line
from spectraldyn.errors import InputError
from spectraldyn.features import store
from spectraldyn.io import load_topology, scan

SLOWEST, LARGEST = 10.0, 2**30
"""Seconds and bytes that no damaged file may take more of."""
N_FRAMES = 40
FORMATS = ("xtc", "trr", "dcd", "nc", "h5", "pdb", "gro", "xyz", "mdcrd", "lammpstrj", "arc")
TEXTS = {"pdb", "gro", "xyz", "mdcrd", "lammpstrj", "arc"}
PARTS = ("model.pt", "results.json", "modes.npz", "store")
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

    xyz: np.ndarray
    cells: np.ndarray
    timestep: float | None
    starts: tuple[int, ...]
    warnings: tuple[str, ...]


def read(path: Path, topology: mdtraj.Topology) -> Read:
    """A trajectory as a fit reads it."""
    chunks: list[mdtraj.Trajectory] = []
    found = scan(path, topology, lambda chunk, first: chunks.append(chunk))
    cells = [
        np.hstack((chunk.unitcell_lengths, chunk.unitcell_angles)) for chunk in chunks if chunk.unitcell_lengths is not None
    ]
    xyz = np.concatenate([chunk.xyz for chunk in chunks])
    cell = np.concatenate(cells) if cells else np.empty(0)
    return Read(xyz, cell, found.timestep_ps, found.segment_starts, found.warnings)


def same(one: Read, other: Read) -> bool:
    """Whether all of it is the same."""
    arrays = (one.xyz, other.xyz), (one.cells, other.cells)
    plain = (one.timestep, one.starts) == (other.timestep, other.starts)
    return plain and all(a.shape == b.shape and np.array_equal(a, b) for a, b in arrays)


def sense_of(sound: Read, damaged: Read) -> str:
    """What a change is that is not told: one of `SENSES`."""
    if len(sound.xyz) == len(damaged.xyz):
        moved = float(np.abs(sound.xyz - damaged.xyz).max())
        step = float(np.median(np.abs(np.diff(sound.xyz, axis=0)).max(axis=(1, 2))))
        cells = sound.cells.shape == damaged.cells.shape and np.allclose(sound.cells, damaged.cells, rtol=0.05)
        if moved <= step and cells and sound.starts == damaged.starts:
            return SENSES[0]
    known = {frame.tobytes() for frame in sound.xyz}
    return SENSES[1] if all(frame.tobytes() in known for frame in damaged.xyz) else SENSES[2]


def mutants(kind: str, raw: bytes, number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged copies that differ from the original."""
    random = np.random.default_rng([seed, *kind.encode()])
    names = [name for name in DAMAGE if kind in TEXTS or kind == "results.json" or name not in OF_TEXTS]
    while number:
        name = names[random.integers(len(names))]
        changed = DAMAGE[name](raw, random)
        if changed != raw:
            number -= 1
            yield name, changed


def judge_file(folder: Path, kind: str, damage: str, content: bytes) -> Outcome:
    """Read one damaged trajectory."""
    path = folder / f"damaged-{multiprocessing.current_process().pid}.{kind}"
    path.write_bytes(content)
    topology = load_topology(folder / "top.pdb", []).topology
    sound = _sound(folder, kind)

    def call() -> tuple[str, str, str]:
        # h5, pdb and gro files name their atoms themselves: that is read too.
        own = load_topology(None, [path]).topology if kind in ("h5", "pdb", "gro") else topology
        found = read(path, own if kind == "h5" else topology)
        if found.warnings:
            return "note", found.warnings[0], ""
        return ("unchanged", "", "") if same(sound, found) else ("silent", "", sense_of(sound, found))

    return _judged(kind, damage, call)


_SOUND: dict[tuple[Path, str], Read] = {}


def _sound(folder: Path, kind: str) -> Read:
    if (folder, kind) not in _SOUND:
        _SOUND[folder, kind] = read(folder / f"sound.{kind}", load_topology(folder / "top.pdb", []).topology)
    return _SOUND[folder, kind]


def _judged(kind: str, damage: str, call: Callable[[], tuple[str, str, str]]) -> Outcome:
    started, before = time.perf_counter(), _resident()
    try:
        outcome, said, sense = call()
    except InputError as error:
        outcome, said, sense = "refused", str(error), ""
        if "\n" in said or not said:
            outcome = "traceback"
    except Exception:
        outcome, said, sense = "traceback", traceback.format_exc(limit=-3), ""
    seconds, memory = time.perf_counter() - started, max(0.0, _resident() - before) / 2**20
    if seconds > SLOWEST:
        outcome = "hang"
    return Outcome(kind, damage, outcome, said[:600], seconds, memory, sense)


def _resident() -> int:
    """Largest memory of this process so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
