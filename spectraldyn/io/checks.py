"""Checks of positions and boxes: what the readers deliver soundly may still be unusable."""

from dataclasses import dataclass, field

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.io.frames import Frames, is_box, named

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
        self._boxed = False
        self._impossible: list[int] = []

    def look(self, frames: Frames) -> mdtraj.Trajectory | None:
        """Check the next chunk; the trajectory it makes, or None if a frame in it, or before it, is at fault."""
        first = self.n_frames
        self.n_frames += len(frames.xyz)
        chunk = self.admit(frames, np.arange(first, self.n_frames))
        if self._first is None:
            self._first = frames.xyz[0].copy()
        self._moving = self._moving or bool((frames.xyz != self._first).any())
        if chunk is not None:
            self._measure_bonds(chunk, first)
        return chunk

    def admit(self, frames: Frames, rows: np.ndarray) -> mdtraj.Trajectory | None:
        """Check each frame for itself; the trajectory they make, or None where a frame so far is at fault.

        Parameters
        ----------
        frames : Frames
        rows : (n,) int
            Their numbers in the file.
        """
        xyz = frames.xyz
        if xyz.shape[1] != self.topology.n_atoms:
            raise InputError(
                f"{self.path}: frame {rows[0]} has {xyz.shape[1]} atoms, the topology has "
                f"{self.topology.n_atoms}: give the topology of these very atoms"
            )
        with np.errstate(invalid="ignore"):
            farthest = np.abs(xyz).max(axis=(1, 2))
        self._blame("NaN or infinite positions", rows[~np.isfinite(farthest)])
        self._blame(f"positions beyond {FARTHEST:g} nm (an exploded simulation?)", rows[farthest > FARTHEST])
        if xyz.shape[1] > 1:
            self._blame("all atoms at one and the same point", rows[(xyz == xyz[:, :1]).all(axis=(1, 2))])
        lengths, angles = self._box(frames, rows)
        if self._faults:
            return None
        return mdtraj.Trajectory(xyz, self.topology, rows if frames.time is None else frames.time, lengths, angles)

    def _blame(self, fault: str, rows: np.ndarray) -> None:
        if len(rows):
            self._faults.setdefault(fault, []).extend(rows.tolist())

    def _box(self, frames: Frames, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The chunk's box, or None: zeros and NaN are how several formats write that there is none."""
        cells = np.full((len(rows), 6), np.nan, dtype=np.float32)
        if frames.lengths is not None and frames.angles is not None:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is no box
                cells = np.concatenate([frames.lengths, frames.angles], axis=1).astype(np.float32)
        boxed = is_box(cells)
        written = (np.isfinite(cells[:, :3]) & (cells[:, :3] != 0)).any(axis=1)
        self._impossible.extend(rows[written & ~boxed][: _MOST_NAMED - len(self._impossible)].tolist())
        if self.periodic is None:
            self.periodic = self._boxed = bool(boxed[0])
            if self.periodic:
                self._judge_box(cells[0, :3], cells[0, 3:])
        if (boxed != self._boxed).any():
            odd = rows[np.argmax(boxed != self._boxed)]
            has = "no valid periodic box" if self._boxed else "a periodic box"
            raise InputError(
                f"{self.path}: frame {odd} has {has}, unlike the frames before it: write the file with "
                "a box in every frame or in none"
            )
        return (cells[:, :3], cells[:, 3:]) if self.periodic else (None, None)

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

    def complain(self) -> None:
        """Raise the first fault of single frames, if there is one."""
        for fault, frames in self._faults.items():
            raise InputError(f"{self.path}: {fault} in {named(frames)}: remove these frames or repair the file")

    def finish(self) -> None:
        """Judge the whole file; adds to `warnings`."""
        self.complain()
        if self.n_frames == 1:
            raise InputError(f"{self.path}: the file holds one frame, which makes no pair at any lag time")
        if not self._moving:
            raise InputError(f"{self.path}: all {self.n_frames} frames are the same, so there are no dynamics in it")
        if self._impossible:
            self.warnings.append(
                f"{self.path}: the unit cell of {named(self._impossible)} is no periodic box, however it is read, and "
                "is taken as none"
            )
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
