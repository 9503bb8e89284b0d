"""Features of several files at once, each into the store: in processes of this machine, or of a Dask cluster."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import mdtraj

from spectraldyn.errors import InputError
from spectraldyn.features import store
from spectraldyn.features.definitions import define_features
from spectraldyn.features.featurize import Featurizer
from spectraldyn.io import open_trajectory

PROCESS_BYTES = 2**26
"""Of files from which on a second process, which takes seconds to start, is worth it."""
CONNECT_SECONDS = 20


@dataclass(frozen=True)
class StoreFile:
    """A task: the features of a file as an entry of the store."""

    path: Path
    first: int
    step: int
    key: str
    """Of the entry."""
    first_path: Path
    """File whose first frame says what the columns of the user's own functions are."""
    topology: mdtraj.Trajectory
    features: list[str]
    atoms: str | None
    store: Path
    device: str | None
    """As `define_features` takes it."""

    def __call__(self) -> Path:
        """Do it, in whatever process; the file."""
        os.environ["SPECTRALDYN_CACHE"] = str(self.store)  # of the process that asked
        topology = self.topology

        def first_frame() -> mdtraj.Trajectory:
            return open_trajectory(self.first_path, topology.topology).read([0])

        chosen = define_features(topology, self.features, self.atoms, first_frame, self.device)
        Featurizer(chosen, topology, self.atoms, cache=True).into_store(self.key, self.path, self.first, self.step)
        return self.path


def fill_store(tasks: list[StoreFile], cluster: str | None) -> Iterator[Path]:
    """Do tasks; the files, in the order in which they are done.

    Parameters
    ----------
    tasks : list of StoreFile
    cluster : str, optional
        Address of the scheduler of a Dask cluster whose workers see the same files and the same store; by default
        processes of this machine are started, as many as it has cores.

    Raises
    ------
    InputError
        If a file fails a check, or the cluster cannot be used.
    """
    if cluster is not None:
        yield from _on_cluster(tasks, cluster)
    elif (n := processes_for([task.path for task in tasks])) > 1:
        several = joblib.Parallel(n, return_as="generator_unordered")
        yield from several(joblib.delayed(task)() for task in tasks)


def processes_for(paths: list[Path]) -> int:
    """How many processes of this machine read these files at once."""
    large = sum(path.stat().st_size for path in paths) >= PROCESS_BYTES
    return min(len(paths), joblib.cpu_count()) if large else 1


def _on_cluster(tasks: list[StoreFile], address: str) -> Iterator[Path]:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "`cluster` needs Dask's distributed, which is not installed: pip install 'spectraldyn[cluster]'"
        ) from error
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask cluster answers at {address!r} ({error}): give the address of its scheduler"
        ) from error
    with client:
        futures = [client.submit(task, pure=False) for task in tasks]
        for future in distributed.as_completed(futures):
            try:
                path = future.result()
            except distributed.KilledWorker as error:
                raise InputError(f"workers of the cluster at {address} died again and again: {error}") from error
            yield path
    if not all(store.holds(task.key) for task in tasks):
        raise InputError(
            f"the workers of the cluster at {address} do not write to {store.cache_folder()}: set SPECTRALDYN_CACHE to "
            "a folder that is the same on all machines"
        )
