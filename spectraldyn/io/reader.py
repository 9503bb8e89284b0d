"""Random access to trajectory files: any frames, in any order, decoding as few others as the format allows."""

import contextlib
import operator
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import mdtraj
import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.io.checks import FrameChecks
from spectraldyn.io.formats import FORMATS, Format, recognise
from spectraldyn.io.frames import Damaged, Frames
from spectraldyn.io.topologies import carries_topology, load_topology


class Reader:
    """A trajectory file, open for reading frames; made by `open_trajectory`.

    Attributes
    ----------
    path : Path
    format : str
        The format as its usual extension without the dot ("dcd", "xtc", ...).
    topology : mdtraj.Topology
    """

    def __init__(self, path: str | Path, format: str, topology: mdtraj.Topology) -> None:
        self.path = Path(path)
        self.format = format
        self.topology = topology
        self._name = str(path)
        with self._told():
            self._source = self.layout.source(self.path, topology.n_atoms)

    @property
    def layout(self) -> Format:
        """What is known of the format."""
        return FORMATS[self.format.removesuffix(".gz")]

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the topology; a file that has others is refused when it is read."""
        return self.topology.n_atoms

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
        with self._told():
            frames = self._source.take(found)
        checks = FrameChecks(self._name, self.topology)
        trajectory = checks.admit(frames.pick(place), wanted)
        if trajectory is None:
            checks.complain()
        return trajectory

    def chunks(self) -> Iterator[Frames]:
        """Every frame in order, before any check; raises Incomplete after the last where there should be more."""
        with self._told():
            yield from self._source.chunks()

    @cached_property
    def _extent(self) -> tuple[int, np.ndarray | None]:
        with self._told():
            return self._source.extent()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A format's complaint becomes the user's, with the file's name as the user gave it."""
        try:
            yield
        except Damaged as damage:
            raise InputError(f"{self._name}: {damage}") from damage
        except OSError as error:  # a disk or network that fails while the file is read
            raise InputError(f"{self._name}: reading failed ({error.strerror or error})") from error


def open_trajectory(path: str | Path, topology: mdtraj.Topology | None = None) -> Reader:
    """A trajectory file, to read any of its frames.

    The file is open only while frames are read from it; it must not change as long as the reader is in use.

    Parameters
    ----------
    path : path
    topology : mdtraj.Topology, optional
        None is allowed for files that carry their own (PDB, GRO, HDF5).

    Returns
    -------
    Reader

    Raises
    ------
    InputError
        One sentence: which file, what was received and what to do.
    """
    format = recognise(path)
    if topology is None:
        if not carries_topology(path):
            raise InputError(f"{path}: the file carries no topology: give one with --top")
        topology = load_topology(path, []).topology
    if topology.n_atoms == 0:
        raise InputError(f"{path}: the topology has no atoms: give that of these very atoms")
    return Reader(path, format, topology)
