"""Checks of positions, boxes and time stamps: what the readers deliver soundly may still be unusable."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.io.frames import Frames, named

FARTHEST = 1e5
"""Positions beyond this (nm) are those of an exploded simulation: diffusing for 1 s, an ion moves 1e5 nm."""

LONGEST_BOND = 0.4
"""No bond is longer (nm): I–I, the longest in organic matter, measures 0.27 nm."""

STRETCHED = 10.0
"""A bond that is normal in most frames and longer than this (nm) in some is that of an exploded frame."""

DENSEST = 1000.0
"""Atoms per nm³ above which a box is a dummy, as the CRYST1 of 1 Å in many PDB files: water has 100."""

_MOST_BONDS = 2000  # looked at, evenly picked: enough to see another order of atoms, cheap in any system
_MOST_NAMED = 1000  # frames remembered of one bond that is too long


@dataclass
class FrameChecks:
    """Checks of one file, fed chunk by chunk; `finish` gives the warnings or raises what was found.

    Parameters
    ----------
    path : str
        The file as its user named it.
    topology : mdtraj.Topology
    """

    path: str
    topology: mdtraj.Topology
    n_frames: int = 0
    periodic: bool | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        bonds = np.array([(a.index, b.index) for a, b in self.topology.bonds], dtype=int).reshape(-1, 2)
        self._bonds = bonds[:: -(-len(bonds) // _MOST_BONDS)] if len(bonds) else bonds
        self._long = np.zeros(len(self._bonds), dtype=int)
        self._typical = np.zeros(len(self._bonds))
        self._apart: dict[int, list[int]] = {}
        self._stretched: dict[int, list[int]] = {}
        self._first: np.ndarray | None = None
        self._moving = False
        self._faults: dict[str, list[int]] = {}
        self._n_boxed = 0

    @property
    def sound(self) -> bool:
        """Whether no frame seen so far is at fault."""
        return not self._faults

    def look(self, frames: Frames) -> mdtraj.Trajectory | None:
        """Check a chunk; the trajectory it makes, or None if a frame in it, or before it, is at fault."""
        xyz = frames.xyz
        first = self.n_frames
        if xyz.shape[1] != self.topology.n_atoms:
            raise InputError(
                f"{self.path}: frame {first} has {xyz.shape[1]} atoms, the topology has "
                f"{self.topology.n_atoms}: give the topology of these very atoms"
            )
        self.n_frames += len(xyz)
        with np.errstate(invalid="ignore"):
            farthest = np.abs(xyz).max(axis=(1, 2))
        self._blame("NaN or infinite positions", ~np.isfinite(farthest), first)
        self._blame(f"positions beyond {FARTHEST:g} nm (an exploded simulation?)", farthest > FARTHEST, first)
        if xyz.shape[1] > 1:
            self._blame("all atoms at one and the same point", (xyz == xyz[:, :1]).all(axis=(1, 2)), first)
        if self._first is None:
            self._first = xyz[0].copy()
        self._moving = self._moving or bool((xyz != self._first).any())
        lengths, angles = self._box(frames, first)
        if not self.sound:
            return None
        time = np.arange(first, self.n_frames) if frames.time is None else frames.time
        chunk = mdtraj.Trajectory(xyz, self.topology, time, lengths, angles)
        self._measure_bonds(chunk, first)
        return chunk

    def _blame(self, fault: str, bad: np.ndarray, first: int) -> None:
        if bad.any():
            self._faults.setdefault(fault, []).extend((first + np.flatnonzero(bad)).tolist())

    def _box(self, frames: Frames, first: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The chunk's box, or None: zeros and NaN are how several formats write that there is none."""
        boxed = np.zeros(len(frames.xyz), dtype=bool)
        if frames.lengths is not None and frames.angles is not None:
            with np.errstate(invalid="ignore"):
                boxed = (np.isfinite(frames.lengths) & (frames.lengths > 0)).all(axis=1)
                boxed &= (np.isfinite(frames.angles) & (frames.angles > 0) & (frames.angles < 180)).all(axis=1)
        if self.periodic is None:
            self.periodic = bool(boxed[0])
            if self.periodic and frames.lengths is not None and frames.angles is not None:
                self._judge_box(frames.lengths[0], frames.angles[0])
            self._n_boxed = int(boxed[0])
        if (boxed != bool(self._n_boxed)).any():
            odd = first + int(np.flatnonzero(boxed != bool(self._n_boxed))[0])
            has = "no valid periodic box" if self._n_boxed else "a periodic box"
            raise InputError(
                f"{self.path}: frame {odd} has {has}, unlike the frames before it: write the file with "
                "a box in every frame or in none"
            )
        return (frames.lengths, frames.angles) if self.periodic else (None, None)

    def _judge_box(self, lengths: np.ndarray, angles: np.ndarray) -> None:
        a, b, c = np.cos(np.radians(angles.astype(float)))
        volume = float(np.prod(lengths, dtype=float) * np.sqrt(max(1 - a * a - b * b - c * c + 2 * a * b * c, 0)))
        shown = " × ".join(f"{length:.3g}" for length in lengths)
        if volume * DENSEST < self.topology.n_atoms:
            self.periodic = False
            self.warnings.append(
                f"{self.path}: the periodic box ({shown} nm) is too small for "
                f"{self.topology.n_atoms} atoms and is taken as none"
            )
        elif np.allclose(lengths, 1, rtol=0, atol=1e-4):
            self.periodic = False
            self.warnings.append(
                f"{self.path}: the periodic box is exactly 1 × 1 × 1 nm, which programs write in the place "
                "of none, and is taken as none"
            )
        elif lengths.min() < 1.2:
            self.warnings.append(
                f"{self.path}: the periodic box ({shown} nm) is smaller than any simulated one, and "
                "distances longer than half of it will come out too short: remove it if it is not real"
            )

    def _measure_bonds(self, chunk: mdtraj.Trajectory, first: int) -> None:
        if not len(self._bonds):
            return
        # The nearest image: a molecule cut by its periodic box is whole.
        length = mdtraj.compute_distances(chunk, self._bonds, periodic=self.periodic)
        self._typical += np.median(length, axis=0) * len(chunk)
        self._long += (length > LONGEST_BOND).sum(axis=0)
        for where, limit in ((self._apart, 1.0), (self._stretched, STRETCHED)):
            for bond in np.flatnonzero((length > limit).any(axis=0)):
                frames = where.setdefault(int(bond), [])
                found = first + np.flatnonzero(length[:, bond] > limit)
                frames.extend(found[: _MOST_NAMED - len(frames)].tolist())

    def finish(self) -> None:
        """Judge the whole file; adds to `warnings`."""
        for fault, frames in self._faults.items():
            raise InputError(f"{self.path}: {fault} in {named(frames)}: remove these frames or repair the file")
        if self.n_frames == 1:
            raise InputError(f"{self.path}: the file holds one frame, which makes no pair at any lag time")
        if not self._moving:
            raise InputError(f"{self.path}: all {self.n_frames} frames are the same, so there are no dynamics in it")
        if len(self._bonds):
            self._judge_bonds()

    def _judge_bonds(self) -> None:
        broken = 2 * self._long > self.n_frames
        # Single long bonds come from topologies, across residues that a model lacks; another order of atoms
        # breaks many.
        if broken.any():
            worst = int(np.argmax(np.where(broken, self._typical, 0)))
            a, b = (self.topology.atom(int(index)) for index in self._bonds[worst])
            pair = f"{a} and {b} are typically {self._typical[worst] / self.n_frames:.2g} nm apart"
            share = f"{broken.sum()} of {len(self._bonds)} bonds are longer than {LONGEST_BOND} nm"
            if broken.mean() > 0.05:
                raise InputError(
                    f"{self.path}: {share} ({pair}): the order of the atoms differs from the topology's, or "
                    "the molecule is cut by a periodic box that the file does not carry"
                )
            self.warnings.append(f"{self.path}: {share} ({pair}): make sure that the topology fits")
        exploded = _frames_of(self._stretched, broken)
        if exploded:
            raise InputError(
                f"{self.path}: bonds are longer than {STRETCHED:g} nm in {named(exploded)}, though not in "
                "most frames: remove these frames"
            )
        apart = _frames_of(self._apart, broken)
        if apart:
            self.warnings.append(
                f"{self.path}: bonds are longer than 1 nm in {named(apart)}, though not in most frames: "
                "a molecule is cut by a periodic box that the file does not carry, or torn apart"
            )


def _frames_of(where: dict[int, list[int]], broken: np.ndarray) -> list[int]:
    return sorted({frame for bond, frames in where.items() if not broken[bond] for frame in frames})


def read_times(path: str, times: np.ndarray | None) -> tuple[float | None, tuple[int, ...], list[str]]:
    """Frame spacing and uninterrupted stretches from time stamps.

    Parameters
    ----------
    path : str
        The file as its user named it.
    times : (n,) float64 or None
        Time stamps in ps, as far as rounding to float32 leaves them exact.

    Returns
    -------
    timestep_ps : float or None
        None where there are no stamps, or the same one everywhere.
    segment_starts : tuple of int
    warnings : list of str

    Raises
    ------
    InputError
        If the stamps are so uneven that no spacing can be told.
    """
    if times is None or len(times) < 2 or (times == times[0]).all():
        return None, (0,), []
    if not np.isfinite(times).all():
        return None, (0,), [f"{path}: some time stamps are missing or not numbers, so all are ignored"]
    steps = np.diff(times)
    # Stamps are stored, or were once computed, in float32: near 1e6 ps they are off by up to 0.03 ps each.
    rounding = np.spacing(np.abs(times).astype(np.float32)).astype(float)
    even = (times[-1] - times[0]) / len(steps)
    line = times[0] + even * np.arange(len(times))
    if even > 0 and (np.abs(times - line) <= 2 * rounding + 1e-3 * even).all():
        return _neat(even, len(steps), rounding.max()), (0,), []
    forward = np.sort(steps[steps > rounding[1:]])
    if not len(forward):
        raise InputError(f"{path}: time stamps never increase (from {times[0]:g} ps on): write the file with its times")
    usual = forward[(len(forward) - 1) // 2]
    regular = np.abs(steps - usual) <= 2 * np.maximum(rounding[1:], rounding[:-1]) + 1e-3 * usual
    breaks = np.flatnonzero(~regular)
    if len(breaks) > max(1, 0.1 * len(steps)):
        raise InputError(
            f"{path}: time stamps are uneven: {len(breaks)} of {len(steps)} steps differ from the "
            f"usual {usual:.6g} ps (the first at frame {breaks[0] + 1}), so that no lag time is defined: write evenly "
            "spaced frames"
        )
    starts = (0, *(int(index) + 1 for index in breaks))
    ends = (*starts[1:], len(times))
    covered = sum(times[end - 1] - times[start] for start, end in zip(starts, ends, strict=True))
    n_regular = int(regular.sum())
    timestep = _neat(covered / n_regular, n_regular, rounding.max())
    return timestep, starts, list(_describe(path, times, starts[1:], rounding))


def _neat(spacing: float, n_steps: int, rounding: float) -> float:
    """The spacing without the digits that rounding of the stamps put there: 0.2 rather than 0.20000000149."""
    for digits in range(1, 7):
        short = float(f"{spacing:.{digits}g}")
        if abs(short - spacing) * n_steps <= 2 * rounding:
            return short
    return float(spacing)


def _describe(path: str, times: np.ndarray, starts: Iterable[int], rounding: np.ndarray) -> Iterable[str]:
    kinds: dict[str, list[int]] = {"occurs twice": [], "goes back": [], "jumps": []}
    for start in starts:
        step = times[start] - times[start - 1]
        kind = "occurs twice" if abs(step) <= rounding[start] else "goes back" if step < 0 else "jumps"
        kinds[kind].append(start)
    for kind, found in kinds.items():
        if not found:
            continue
        start = found[0]
        before, after = times[start - 1], times[start]
        what = (
            f"time stamp {after:g} ps occurs twice, at frames {start - 1} and {start}"
            if kind == "occurs twice"
            else f"time {kind} from {before:g} to {after:g} ps at frame {start}"
        )
        more = f" (and at {len(found) - 1} more places)" if len(found) > 1 else ""
        yield f"{path}: {what}{more}: lagged pairs do not cross it"
