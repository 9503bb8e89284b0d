"""Checks of positions, boxes and time stamps: what the readers deliver soundly may still be unusable."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import mdtraj
import numpy as np

from spectraldyn.io.frames import Frames, Moving, is_box, volume
from spectraldyn.io.outliers import Outliers, held_pairs
from spectraldyn.io.silence import Damaged, named

FARTHEST = 1e5  # positions beyond this (nm) are of an exploded simulation: diffusing for 1 s, an ion moves 1e5 nm
LONGEST_BOND = 0.4  # no bond is longer (nm): I–I, the longest in organic matter, measures 0.27 nm
STRETCHED = 10.0  # a bond that is normal in most frames and longer than this (nm) in some is of an exploded frame
DENSEST = 1000.0  # atoms per nm³ above which a box is a dummy, as the CRYST1 of 1 Å in many PDB files: water has 100
_CUT = "a molecule is cut by a periodic box that the file does not carry"
_MOST_BONDS = 2000  # looked at, evenly picked: enough to see another order of atoms, cheap in any system
_MOST_TYPICAL = 50  # frames of a chunk, evenly picked, of which a bond's typical length is taken
_MOST_NAMED = 1000  # frames remembered of one bond that is too long


class FrameChecks:
    """Checks of one file, fed chunk by chunk; `finish` raises Damaged with what was found, or adds to the warnings."""

    def __init__(self, topology: mdtraj.Topology) -> None:
        self.topology, self.n_frames = topology, 0
        self.periodic: bool | None = None
        self.warnings: list[str] = []
        bonds = np.array([(a.index, b.index) for a, b in topology.bonds], dtype=int).reshape(-1, 2)
        self._bonds = bonds[:: -(-len(bonds) // _MOST_BONDS)] if len(bonds) else bonds
        self._long = np.zeros(len(self._bonds), dtype=int)
        self._typical = np.zeros(len(self._bonds))
        self._apart: dict[int, list[int]] = {}
        self._stretched: dict[int, list[int]] = {}
        self._first: np.ndarray | None = None
        self._faults: dict[str, list[int]] = {}
        self._moving = self._boxed = False
        self._impossible: list[int] = []
        self._pairs, self._outliers = held_pairs(self._bonds), Outliers()

    def look(self, frames: Frames) -> mdtraj.Trajectory | None:
        """Check the next chunk; the trajectory it makes, or None if a frame in it, or before it, is at fault."""
        first = self.n_frames
        self.n_frames += len(frames.xyz)
        chunk = self.admit(frames, np.arange(first, self.n_frames))
        if self._first is None:
            self._first = frames.xyz[0].copy()
        self._moving = self._moving or bool((frames.xyz != self._first).any())
        if chunk is not None:
            # The nearest image: a molecule cut by its periodic box is whole.
            lengths = mdtraj.compute_distances(chunk, self._pairs, periodic=self.periodic)
            self._measure_bonds(lengths[:, : len(self._bonds)], first)
            self._outliers.look(chunk, lengths, first)
        return chunk

    def admit(self, frames: Frames, rows: np.ndarray) -> mdtraj.Trajectory | None:
        """Check each frame for itself, of these numbers; the trajectory, or None where a frame so far is at fault."""
        xyz, n_atoms = frames.xyz, self.topology.n_atoms
        if xyz.shape[1] != n_atoms:
            found = f"frame {rows[0]} has {xyz.shape[1]} atoms, the topology has {n_atoms}"
            raise Damaged(f"{found}: give the topology of these very atoms")
        numbers = xyz.reshape(len(xyz), -1)  # along one axis, which is several times as fast
        with np.errstate(invalid="ignore"):
            farthest = np.maximum(numbers.max(axis=1), -numbers.min(axis=1))
        at_one_point = (xyz[:, 0] == xyz[:, -1]).all(axis=1) & (n_atoms > 1)
        at_one_point[at_one_point] = (xyz[at_one_point] == xyz[at_one_point, :1]).all(axis=(1, 2))
        for fault, found in (
            ("NaN or infinite positions", ~np.isfinite(farthest)),
            (f"positions beyond {FARTHEST:g} nm (an exploded simulation?)", farthest > FARTHEST),
            ("all atoms at one and the same point", at_one_point),
        ):
            if found.any():
                self._faults.setdefault(fault, []).extend(rows[found].tolist())
        self._judge_boxes(frames.cell, rows)
        if self._faults:
            return None
        time = rows if np.isnan(frames.time).all() else frames.time
        box = (frames.cell[:, :3], frames.cell[:, 3:]) if self.periodic else (None, None)
        if frames.velocities.shape[1] != n_atoms:
            return mdtraj.Trajectory(xyz, self.topology, time, *box)
        moving = Moving(xyz, self.topology, time, *box)
        moving.velocities = frames.velocities
        return moving

    def _judge_boxes(self, cells: np.ndarray, rows: np.ndarray) -> None:
        """Whether there is a box: zeros and NaN are how several formats write that there is none."""
        boxed = is_box(cells)
        written = (np.isfinite(cells[:, :3]) & (cells[:, :3] != 0)).any(axis=1)
        self._impossible.extend(rows[written & ~boxed][: _MOST_NAMED - len(self._impossible)].tolist())
        if self.periodic is None:
            self._boxed = bool(boxed[0])
            self.periodic = self._boxed and self._real(cells[:1])
        if (boxed != self._boxed).any():
            odd = rows[np.argmax(boxed != self._boxed)]
            found = f"frame {odd} has {'no valid' if self._boxed else 'a'} periodic box, unlike the frames before it"
            raise Damaged(f"{found}: write the file with a box in every frame or in none")

    def _real(self, cell: np.ndarray) -> bool:
        """Whether a box is not one that stands for none."""
        lengths, n_atoms = cell[0, :3], self.topology.n_atoms
        shown = "the periodic box (" + " × ".join(f"{length:.3g}" for length in lengths) + " nm)"
        dense, dummy = bool(volume(cell)[0] * DENSEST < n_atoms), np.allclose(lengths, 1, rtol=0, atol=1e-4)
        if dense:
            self.warnings.append(f"{shown} is too small for {n_atoms} atoms and is taken as none")
        elif dummy:
            shown = "the periodic box is exactly 1 × 1 × 1 nm, which programs write in the place of none"
            self.warnings.append(f"{shown}, and is taken as none")
        elif lengths.min() < 1.2:
            shown += " is smaller than any simulated one, and distances longer than half of it will come out too short"
            self.warnings.append(f"{shown}: remove it if it is not real")
        return not (dense or dummy)

    def _measure_bonds(self, length: np.ndarray, first: int) -> None:
        self._typical += np.median(length[:: -(-len(length) // _MOST_TYPICAL)], axis=0) * len(length)
        longest = length.max(axis=0)
        long = np.flatnonzero(longest > LONGEST_BOND)
        self._long[long] += (length[:, long] > LONGEST_BOND).sum(axis=0)
        for where, limit in ((self._apart, 1.0), (self._stretched, STRETCHED)):
            for bond in np.flatnonzero(longest > limit):
                frames = where.setdefault(int(bond), [])
                found = first + np.flatnonzero(length[:, bond] > limit)
                frames.extend(found[: _MOST_NAMED - len(frames)].tolist())

    def complain(self) -> None:
        """Raise the first fault of single frames, if there is one."""
        for fault, frames in self._faults.items():
            raise Damaged(f"{fault} in {named(frames)}: remove these frames or repair the file")

    def finish(self) -> None:
        """Judge the whole file."""
        self.complain()
        if self.n_frames == 1:
            raise Damaged("the file holds one frame, which makes no pair at any lag time")
        if not self._moving:
            raise Damaged(f"all {self.n_frames} frames are the same, so there are no dynamics in it")
        if self._impossible:
            cells = f"the unit cell of {named(self._impossible)}"
            self.warnings.append(f"{cells} is no periodic box, however it is read, and is taken as none")
        broken = 2 * self._long > self.n_frames
        # Single long bonds come from topologies, across residues that a model lacks; another order of atoms
        # breaks many.
        if broken.any():
            worst = int(np.argmax(np.where(broken, self._typical, 0)))
            a, b = (self.topology.atom(int(index)) for index in self._bonds[worst])
            found = (
                f"{broken.sum()} of {len(self._bonds)} bonds are longer than {LONGEST_BOND} nm "
                f"({a} and {b} are typically {self._typical[worst] / self.n_frames:.2g} nm apart)"
            )
            if broken.mean() > 0.05:
                raise Damaged(f"{found}: the order of the atoms differs from the topology's, or {_CUT}")
            self.warnings.append(f"{found}: make sure that the topology fits")
        exploded, apart = (
            sorted({frame for bond, frames in where.items() if not broken[bond] for frame in frames})
            for where in (self._stretched, self._apart)
        )
        if exploded:
            where = f"bonds are longer than {STRETCHED:g} nm in {named(exploded)}"
            raise Damaged(f"{where}, though not in most frames: remove these frames")
        if apart:
            where = f"bonds are longer than 1 nm in {named(apart)}, though not in most frames"
            self.warnings.append(f"{where}: {_CUT}, or it is torn apart")
        self.warnings += self._outliers.remarks(apart)


def check_labels(labels: Sequence[str], topology: mdtraj.Topology) -> None:
    """Raise Damaged where the rows of a file are the atoms of the topology in another order.

    Said is nothing of other names than those of the topology: many programs have names, or numbers of types, of their
    own. Those that are the same names, or the same elements, in another order leave no doubt.
    """
    given = [label[-5:].strip() for label in labels]
    names = [atom.name for atom in topology.atoms]
    elements = [getattr(atom.element, "symbol", "") for atom in topology.atoms]
    if given in (names, elements):
        return
    for known in (names, elements):
        if sorted(given) == sorted(known):
            row = next(row for row, (here, there) in enumerate(zip(given, known, strict=True)) if here != there)
            said = f"atom {row + 1} is {given[row]}, in the topology it is {known[row]}"
            raise Damaged(f"{said}: the atoms are in another order than the topology's")


class Stamps(NamedTuple):
    """What the stamps of the frames are, for messages."""

    name: str
    measure: str
    unit: str = ""
    layout: str = ".15g"


TIMES = Stamps("time stamp", "time", " ps", "g")
STEPS = Stamps("step number", "the step number")
MODELS = Stamps("MODEL number", "the MODEL number")


def read_times(times: np.ndarray, stamps: Stamps = TIMES) -> tuple[float | None, tuple[int, ...], list[str]]:
    """Frame spacing in ps, starts of uninterrupted stretches, and warnings; raises Damaged where there is no telling.

    There is no spacing where there are no stamps, or the same one everywhere. The stamps are in ps, as far as rounding
    to float32 leaves them exact, or other numbers of the frames.
    """
    if len(times) < 2 or (times == times[0]).all() or np.isnan(times).all():
        return None, (0,), []
    if not np.isfinite(times).all():
        return None, (0,), [f"some {stamps.name}s are missing or not numbers, so all are ignored"]
    steps = np.diff(times)
    # Stamps are stored, or were once computed, in float32: near 1e6 ps they are off by up to 0.03 ps each.
    rounding = np.spacing(np.abs(times).astype(np.float32)).astype(float) * (stamps is TIMES)
    even = (times[-1] - times[0]) / len(steps)
    line = times[0] + even * np.arange(len(times))
    if even > 0 and (np.abs(times - line) <= 2 * rounding + 1e-3 * even).all():
        return _neat(even, len(steps), rounding.max()), (0,), []
    forward = np.sort(steps[steps > rounding[1:]])
    if not len(forward):
        since = f"{times[0]:{stamps.layout}}{stamps.unit}"
        raise Damaged(f"{stamps.name}s never increase (from {since} on): write the file with its {stamps.name}s")
    usual = forward[(len(forward) - 1) // 2]
    regular = np.abs(steps - usual) <= 2 * np.maximum(rounding[1:], rounding[:-1]) + 1e-3 * usual
    starts = [int(index) + 1 for index in np.flatnonzero(~regular)]
    if len(starts) > max(1, 0.1 * len(steps)):
        differ = f"{len(starts)} of {len(steps)} steps differ from the usual {usual:.6g}{stamps.unit}"
        where = f"(the first at frame {starts[0]}), so that no lag time is defined: write evenly spaced frames"
        raise Damaged(f"{stamps.name}s are uneven: {differ} {where}")
    covered = sum(times[end - 1] - times[start] for start, end in pairwise([0, *starts, len(times)]))
    timestep = _neat(covered / regular.sum(), int(regular.sum()), rounding.max())
    return timestep, (0, *starts), list(_breaks(times, starts, rounding, stamps))


def _neat(spacing: float, n_steps: int, rounding: float) -> float:
    """The spacing without the digits that rounding of the stamps put there: 0.2 rather than 0.20000000149."""
    shorter = (float(f"{spacing:.{digits}g}") for digits in range(1, 7))
    return next((short for short in shorter if abs(short - spacing) * n_steps <= 2 * rounding), float(spacing))


def _breaks(times: np.ndarray, starts: list[int], rounding: np.ndarray, stamps: Stamps) -> Iterator[str]:
    """One sentence for each kind of break."""
    kinds: dict[str, list[int]] = {"occurs twice": [], "goes back": [], "jumps": []}
    for start in starts:
        step = times[start] - times[start - 1]
        kind = "occurs twice" if abs(step) <= rounding[start] else "goes back" if step < 0 else "jumps"
        kinds[kind].append(start)
    for kind, (start, *others) in ((kind, found) for kind, found in kinds.items() if found):
        before, after = (f"{times[frame]:{stamps.layout}}" for frame in (start - 1, start))
        what = f"{stamps.measure} {kind} from {before} to {after}{stamps.unit} at frame {start}"
        if kind == "occurs twice":
            what = f"{stamps.name} {after}{stamps.unit} occurs twice, at frames {start - 1} and {start}"
        yield what + f" (and at {len(others)} more places)" * bool(others) + ": lagged pairs do not cross it"
