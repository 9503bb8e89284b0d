"""Stand-ins for the trajectories of chignolin, in their layout: protein.gro and C0.xtc to C33.xtc.

Simulated: ten Cα beads of a β hairpin that folds and unfolds, half of the runs from the folded and half from the
stretched chain, as in the published data (Marshall, Raddi, Voelz, doi:10.5281/zenodo.10681926). Or cut from longer
runs.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mdtraj
import numpy as np
import torch
from torch import Tensor

from spectraldyn import InputError, open_trajectory
from spectraldyn.systems import Overdamped

N_TRAJECTORIES, N_FRAMES = 34, 1200
SEQUENCE = ["TYR", "TYR", "ASP", "PRO", "GLU", "THR", "GLY", "THR", "TRP", "TYR"]
SPACING_PS, TIMESTEP_PS, DIFFUSION = 0.4, 0.02, 0.01  # nm²/ps
BOND_NM, STRAND_NM, NEXT_NM = 0.38, 0.5, 0.6
"""Between neighbours along the chain, between the strands, and to the neighbour but one or across a diagonal."""
CONTACT_KT, CONTACT_WIDTH_NM = 1.7, 0.1
"""Deep enough for some three quarters of the frames to be folded, shallow enough for each run to unfold and fold."""
TOUCH_NM = 0.45

FIRST, SECOND = torch.triu_indices(len(SEQUENCE), len(SEQUENCE), 1)
APART = SECOND - FIRST
ACROSS = FIRST + SECOND - (len(SEQUENCE) - 1)
"""0 for beads that face each other in the hairpin, ±1 for diagonals."""
NATIVE = (APART > 2) & (ACROSS.abs() <= 1)
NATIVE_NM = torch.where(ACROSS == 0, STRAND_NM, NEXT_NM)


def energy(x: Tensor) -> Tensor:
    """Of chains (..., 30) in kT: springs along the chain, soft cores, and wells of the native contacts."""
    beads = x.unflatten(-1, (len(SEQUENCE), 3))
    distance = (beads[..., FIRST, :] - beads[..., SECOND, :]).norm(dim=-1)
    springs = 300 * (distance - BOND_NM) ** 2 * (APART == 1) + 30 * (distance - NEXT_NM) ** 2 * (APART == 2)
    cores = 300 * (TOUCH_NM - distance).clamp_min(0) ** 2 * (APART > 1)
    wells = torch.exp(-(((distance - NATIVE_NM) / CONTACT_WIDTH_NM) ** 2) / 2) * NATIVE
    return (springs + cores - CONTACT_KT * wells).sum(dim=-1)


def starts() -> np.ndarray:
    """The folded and the stretched chain, (2, 30), in nm."""
    along = np.minimum(np.arange(10), 9 - np.arange(10))
    folded = np.stack((-0.35 * along, STRAND_NM * (np.arange(10) > 4), np.zeros(10)), axis=1)
    stretched = np.stack((0.36 * np.arange(10), 0.12 * (np.arange(10) % 2), np.zeros(10)), axis=1)
    return np.stack((folded.ravel(), stretched.ravel()))


def simulated(n_frames: int = N_FRAMES, n_trajectories: int = N_TRAJECTORIES, seed: int = 0) -> list[mdtraj.Trajectory]:
    """Runs of the hairpin, every other one from the folded chain."""
    chain = Overdamped(energy, domain=[(-20.0, 20.0)] * 30, diffusion=DIFFUSION)
    start = np.resize(starts(), (n_trajectories, 30))
    walks = chain.simulate(n_frames, SPACING_PS, seed=seed, timestep=TIMESTEP_PS, start=start)
    topology = mdtraj.Topology()
    peptide = topology.add_chain()
    for name in SEQUENCE:
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue(name, peptide))
    times = SPACING_PS * np.arange(n_frames)
    return [mdtraj.Trajectory(walk.reshape(n_frames, -1, 3).astype(np.float32), topology, times) for walk in walks]


def cut(folder: Path) -> Iterator[mdtraj.Trajectory]:
    """As many equally long pieces of the trajectories in a folder, which also holds their topology as PDB or GRO file.

    Raises
    ------
    InputError
        If there is no trajectory or not one topology, or too few frames for so many pieces.
    """
    files = sorted(file for ending in ("xtc", "dcd") for file in folder.glob(f"*.{ending}"))
    topologies = [*folder.glob("*.pdb"), *folder.glob("*.gro")]
    if not files or len(topologies) != 1:
        found = f"{len(files)} XTC or DCD files and {len(topologies)} PDB or GRO files"
        raise InputError(f"{folder} holds {found}: to be cut, trajectories and one topology are needed")
    topology = mdtraj.load_topology(str(topologies[0]))
    readers = [open_trajectory(file, topology) for file in files]
    length = sum(reader.n_frames for reader in readers) // N_TRAJECTORIES
    while length and sum(reader.n_frames // length for reader in readers) < N_TRAJECTORIES:
        length -= 1
    if length < 2:
        raise InputError(f"{folder} holds too few frames for {N_TRAJECTORIES} pieces: give longer trajectories")
    places = [(reader, at) for reader in readers for at in range(0, reader.n_frames - length + 1, length)]
    for reader, at in places[:N_TRAJECTORIES]:
        yield reader.read(range(at, at + length))


def pieces_of(folder: Path) -> str:
    """What tells the pieces of these trajectories from others, to name a folder by."""
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.glob("*.*"))]
    return "pieces-" + hashlib.blake2b(json.dumps(files).encode(), digest_size=8).hexdigest()


def write(out: Path, make: Callable[[], Iterable[mdtraj.Trajectory]]) -> Path:
    """The folder with trajectories in the published layout, made where it does not exist."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent) as scratch:
            draft = Path(scratch) / out.name
            draft.mkdir()
            for number, trajectory in enumerate(make()):
                trajectory.save_xtc(str(draft / f"C{number}.xtc"))
                if number == 0:
                    trajectory[0].save_gro(str(draft / "protein.gro"))
            draft.replace(out)
    return out
