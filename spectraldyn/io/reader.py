"""Opening of files: their topologies, and any frames, in any order, decoding as few others as the format allows."""

import operator
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property, lru_cache, partial
from pathlib import Path

import mdtraj
import numpy as np
from mdtraj.formats import GroTrajectoryFile, HDF5TrajectoryFile

from spectraldyn.errors import InputError
from spectraldyn.io.checks import FrameChecks, check_labels
from spectraldyn.io.containers import check_hdf5
from spectraldyn.io.formats import FORMATS, check_kind, check_readable, plain_extension, recognise
from spectraldyn.io.frames import Frames, Indexed
from spectraldyn.io.lines import Lines
from spectraldyn.io.silence import Damaged, ask, told


class Reader:
    """A trajectory file, open for reading frames; made by `open_trajectory`.

    Attributes
    ----------
    format : str
        The format as its usual extension without the dot ("dcd", "xtc", ...).
    n_atoms : int
        Of the topology; a file that has others is refused when it is read.
    """

    def __init__(self, path: str | Path, format: str, topology: mdtraj.Topology) -> None:
        self.path, self._name = Path(path), str(path)
        self.format, self.layout = format, FORMATS[format.removesuffix(".gz")]
        self.topology, self.n_atoms = topology, topology.n_atoms
        with told(self._name):
            self.source = self.layout.source(self.path, topology.n_atoms)

    @property
    def n_frames(self) -> int:
        """Number of complete frames; of a text file all lines are read to count them, once."""
        return self._extent[0]

    @property
    def times(self) -> np.ndarray | None:
        """Time stamps of the frames in ps, as the file holds them; None where it holds none."""
        return self._extent[1]

    @cached_property
    def periodic(self) -> bool:
        """Whether the first frame has a periodic box."""
        return self.read([0]).unitcell_lengths is not None

    def read(self, rows: Iterable[int]) -> mdtraj.Trajectory:
        """Frames by their numbers.

        Of DCD, XTC, TRR, NetCDF and HDF5 files only the frames asked for are decoded (of HDF5, the compressed
        chunks that hold them). Text files are read from their beginning to the last frame asked for, though the
        numbers of other frames are not converted.

        Parameters
        ----------
        rows : iterable of int
            0-based frame numbers; the frames come back in this order, as often as they are named.

        Returns
        -------
        mdtraj.Trajectory
            Without a unit cell where `scan` finds no valid periodic box; without time stamps, ``time`` is the
            frame number.

        Raises
        ------
        InputError
            If the file has no such frame, or that frame is damaged or has unusable positions.
        """
        wanted = np.array([operator.index(row) for row in rows], dtype=int)
        if not len(wanted):
            raise InputError(f"{self._name}: no frames are asked for")
        if wanted.min() < 0:
            raise InputError(f"{self._name}: frame {wanted.min()} is asked for: frames are counted from 0")
        found, place = np.unique(wanted, return_inverse=True)
        checks = FrameChecks(self.topology)
        with told(self._name):
            trajectory = checks.admit(self.source.take(found).pick(place), wanted)
            checks.complain()
            check_labels(self.source.labels, self.topology)
        return trajectory

    def chunks(self) -> Iterator[Frames]:
        """Every frame in order, before any check."""
        with told(self._name):
            for number, frames in enumerate(self.source.chunks()):
                if number == 0:
                    check_labels(self.source.labels, self.topology)
                yield frames

    @cached_property
    def _extent(self) -> tuple[int, np.ndarray | None]:
        with told(self._name):
            return self.source.extent()


def open_trajectory(path: str | Path, topology: mdtraj.Topology | None = None) -> Reader:
    """A trajectory file, to read any of its frames.

    The file is open only while frames are read from it; it must not change as long as the reader is in use.

    Parameters
    ----------
    path : path
    topology : mdtraj.Topology, optional
        None is allowed for files that carry their own (PDB, GRO, HDF5).

    Raises
    ------
    InputError
        One sentence: which file, what was received and what to do.
    """
    format = recognise(path)
    if topology is None:
        topology = load_topology(None, [path]).topology
    if topology.n_atoms == 0:
        raise InputError(f"{path}: the topology has no atoms: give that of these very atoms")
    return Reader(path, format, topology)


def frame_count(path: str | Path, topology: mdtraj.Topology) -> int | None:
    """Frames of a file of which they can be counted without reading it; None of text.

    Raises
    ------
    InputError
        As `open_trajectory` does.
    """
    state = Path(path).stat()
    return _frame_count(str(path), state.st_size, state.st_mtime_ns, topology.n_atoms)


@lru_cache(maxsize=1024)
def _frame_count(path: str, size: int, changed: int, n_atoms: int) -> int | None:
    with told(path):
        source = FORMATS[recognise(path).removesuffix(".gz")].source(Path(path), n_atoms)
    return source.n_frames if isinstance(source, Indexed) else None


def load_topology(top: str | Path | None, files: Sequence[str | Path]) -> mdtraj.Trajectory:
    """Topology, with coordinates where there are any.

    Parameters
    ----------
    top : path or None
        A PDB, GRO, HDF5, prmtop, PSF, mol2 file, ...; None takes that of the first trajectory that has one.
    files : sequence of paths
        The trajectories.

    Returns
    -------
    mdtraj.Trajectory
        One frame, or none where the topology file holds no coordinates (prmtop, PSF).

    Raises
    ------
    InputError
        If there is no topology, or it cannot be read. That the atoms are those of each file, `scan` checks.
    """
    for path in files:  # what can never be read is refused before any work
        check_kind(path)
    source = top if top is not None else next((path for path in files if carries_topology(path)), None)
    if source is None:
        given = f"{files[0]} carries" if len(files) == 1 else "the trajectories carry"
        raise InputError(f"{given} no topology: give one with `top` (a PDB file of the same atoms, for example)")
    check_readable(source)
    name = plain_extension(source)
    if name in FORMATS and name != "arc" and not carries_topology(source):
        raise InputError(f"{source}: a trajectory of this format carries no topology: give a PDB file, for example")
    try:
        structure = _structure(Path(source), name)
        if not structure.n_atoms:
            raise Damaged("no atoms")
    except (Damaged, OSError) as damage:
        found = f"{source}: no topology can be read from this file ({damage})"
        raise InputError(f"{found}: give a PDB file, for example") from damage
    return structure


def carries_topology(path: str | Path) -> bool:
    """Whether a trajectory's format, which is one that is read, names its atoms."""
    return plain_extension(path) in FORMATS and FORMATS[recognise(path).removesuffix(".gz")].topology


def _structure(path: Path, name: str) -> mdtraj.Trajectory:
    """Topology and first frame of a file, without reading a trajectory whole."""
    if name == "pdb":
        return _first_model(path)
    if name in ("gro", "h5"):
        topology = ask("its list of atoms cannot be read", partial(_own_topology, path, name))
        frames = FORMATS[name].source(path, topology.n_atoms).take(np.array([0]))
        if frames.xyz.shape[1] != topology.n_atoms:
            raise Damaged(f"the file has {frames.xyz.shape[1]} atoms, its topology {topology.n_atoms}")
        return mdtraj.Trajectory(frames.xyz, topology)
    if name in ("prmtop", "parm7", "prm7", "psf"):
        topology = ask("", partial(mdtraj.load_psf if name == "psf" else mdtraj.load_prmtop, str(path)))
        return mdtraj.Trajectory(np.zeros((0, topology.n_atoms, 3), dtype=np.float32), topology)
    return ask("", lambda: mdtraj.load(str(path))[:1])


def _own_topology(path: Path, name: str) -> mdtraj.Topology:
    if name == "h5":
        check_hdf5(path)
    with (GroTrajectoryFile if name == "gro" else HDF5TrajectoryFile)(str(path)) as file:
        if (topology := file.topology) is None:
            raise Damaged("it carries none")
    return topology


def _first_model(path: Path) -> mdtraj.Trajectory:
    """First model of a PDB file with the CONECT records, which follow the last one."""
    kept: list[str] = []
    first = True
    with closing(Lines(path)) as lines:
        for line in iter(lines.next, None):
            record = line[:6].rstrip()
            if (first and record in ("ATOM", "HETATM", "TER", "CRYST1")) or record == "CONECT":
                kept.append(line)
            first = first and record not in ("ENDMDL", "END")
    if not any(line.startswith(("ATOM", "HETATM")) for line in kept):
        raise Damaged("no atoms")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.pdb"
        copy.write_text("\n".join([*kept, "END", ""]), encoding="utf-8")
        return ask("", partial(mdtraj.load_pdb, str(copy)))
