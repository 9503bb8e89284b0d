"""Structures of metastable sets and processes, of a fit and of its stored results, and the table of their frames."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spectraldyn.files import check_folder, complete_folder
from spectraldyn.io import load_topology, write_structures, write_topology
from spectraldyn.pipeline import FittedFrames, Results, relative_path
from spectraldyn.spectra.representatives import committor_between_ends, frames_along, set_frames, transition_frames

TABLE = "frames.csv"
COLUMNS = (
    "set", "process", "kind", "structure", "model", "file", "frame", "time", "unit", "membership", "committor",
)  # fmt: skip
"""Of the table, before one column for every mode."""
ALONG = 15
"""Frames written along every process of a fit."""
AT_TRANSITION = 5
"""Frames written at every transition state of a fit."""


class Group(NamedTuple):
    """Frames that one structure file shows."""

    name: str
    """Of the file, without its ending."""
    rows: np.ndarray
    kinds: Sequence[str]
    """What each row is shown for."""
    process: int | None = None
    """Number of the process, from 1; None for a set."""
    committor: np.ndarray | None = None
    """(n_rows,) or None: between the sets at the ends of the process."""


class Structures(NamedTuple):
    """PDB files by their paths relative to the folder of results; None where there are none."""

    sets: list[str | None]
    along: list[str | None]
    transition: list[str | None]


def groups_of_sets(representatives: Sequence[np.ndarray]) -> list[Group]:
    """The rows that `set_frames` picks, set by set."""
    kinds = ("most probable", "medoid")
    return [
        Group(f"state_{number}", rows, [*kinds, *["spread"] * len(rows)][: len(rows)])
        for number, rows in enumerate(representatives, 1)
    ]


def groups_of_processes(frames: FittedFrames, n_along: int, n_transition: int) -> list[Group]:
    """Rows along every mode and then those at its transition state, mode by mode.

    The sets tell as many processes apart as they are more than one: the others have no transition state.
    """
    modes, memberships, groups = frames.modes, frames.memberships, []
    for k in range(modes.shape[1]):
        name, rows, near = f"process_{k + 1}", frames_along(modes, k, n_along), np.array([], dtype=int)
        committor = committor_between_ends(memberships, modes[:, k]) if k < memberships.shape[1] - 1 else None
        if committor is not None:
            near = transition_frames(committor, n_transition)
        groups.append(Group(name, rows, ["along"] * len(rows), k + 1, committor))
        groups.append(Group(f"{name}_transition", near, ["transition"] * len(near), k + 1, committor))
    return groups


def write_groups(
    frames: FittedFrames, groups: Sequence[Group], topology: Any, folder: Path, final: Path
) -> list[str | None]:
    """Write a folder of structures, each as PDB and XTC, and the table of their frames.

    Parameters
    ----------
    frames : FittedFrames
    groups : sequence of Group
    topology : mdtraj.Topology or None
        None for ready-made features, which have no structures: then the table is all there is.
    folder, final : Path
        The folder to fill, and where it will lie in the end: paths in the table are relative to it.

    Returns
    -------
    list of str or None
        For every group the name of its PDB file; None where it has no frame or there is no topology.
    """
    names = [f"{group.name}.pdb" if topology is not None and len(group.rows) else None for group in groups]
    picked = {
        folder / name: [(frames.files[frames.file_index[row]].path, int(frames.frame[row])) for row in group.rows]
        for name, group in zip(names, groups, strict=True)
        if name is not None
    }
    if picked:
        write_structures(picked, topology)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow([*COLUMNS, *(f"mode_{k + 1}" for k in range(frames.modes.shape[1]))])
        for name, group in zip(names, groups, strict=True):
            table.writerows(_lines(frames, group, name, final))
    return names


def _lines(frames: FittedFrames, group: Group, structure: str | None, home: Path) -> Iterator[list[Any]]:
    """Lines of the table: undetermined values are empty."""
    for model, (row, kind) in enumerate(zip(group.rows, group.kinds, strict=True)):
        file, number, time = frames.files[frames.file_index[row]], int(frames.frame[row]), frames.time
        best = int(frames.memberships[row].argmax())
        committor = np.nan if group.committor is None else group.committor[row]
        yield [
            best + 1,
            group.process,
            kind,
            structure,
            None if structure is None else model,
            relative_path(file.path, home) + ("" if file.array is None else f":{file.array}"),
            number,
            f"{time.time(number / time.stride):.10g}",
            time.unit,
            f"{frames.memberships[row, best]:.4f}",
            None if np.isnan(committor) else f"{committor:.4f}",
            *(f"{value:.6g}" for value in frames.modes[row]),
        ]


def fill_states(results: Results, folder: Path, final: Path) -> Structures:
    """Write the folder `states` and the topology into a folder of results, which will lie at `final`."""
    data, frames = results.data, FittedFrames.of(results)
    topology = None
    if data.topology is not None:
        write_topology(data.topology, folder / "topology.h5")
        topology = data.topology.topology
    home = folder / "states"
    home.mkdir()
    of_sets = groups_of_sets(results.representatives)
    groups = [*of_sets, *groups_of_processes(frames, ALONG, AT_TRANSITION)]
    names = write_groups(frames, groups, topology, home, final / home.name)
    paths = [None if name is None else f"{home.name}/{name}" for name in names]
    of_processes = paths[len(of_sets) :]
    return Structures(paths[: len(of_sets)], of_processes[::2], of_processes[1::2])


def write_states(folder: str | Path, out: str | Path, n_frames: int = 20, force: bool = False) -> Path:
    """Write structures of the metastable sets and processes of an earlier fit: what `spectraldyn states` does.

    Parameters
    ----------
    folder : str or Path
        Written by `write_results`. The trajectories have to be where they were when it was.
    out : str or Path
        Folder to write; it appears complete or not at all. Must not exist, unless `force` is given and it holds
        structures that this has written, which are then replaced.
    n_frames : int
        Frames of every set, along every process and at every transition state, where there are so many.
    force : bool
        Replace earlier structures.

    Returns
    -------
    Path
        The folder, with frames.csv and, where the input of the fit was trajectories, for every set state_1.pdb, for
        every process process_1.pdb and, where frames of committor ≈ ½ were seen, process_1_transition.pdb, each also
        as .xtc.

    Raises
    ------
    InputError
        If the folder holds no complete results, trajectories are gone or have changed, or `out` cannot be written.
    """
    folder = Path(folder)
    frames = FittedFrames.load(folder)
    out = check_folder(out, force, holds_states, TABLE)
    stored = frames.topology_file(folder)
    topology = None if stored is None else load_topology(stored, []).topology
    chosen = groups_of_sets(set_frames(frames.modes, frames.memberships, n_frames, frames.seed))
    chosen += groups_of_processes(frames, n_frames, n_frames)
    with complete_folder(out, force) as draft:
        write_groups(frames, chosen, topology, draft, out)
    return out


def holds_states(folder: Path) -> bool:
    """Whether a folder holds a table of frames that `write_groups` has written."""
    try:
        with (folder / TABLE).open(encoding="utf-8") as stream:
            return stream.readline().startswith(",".join(COLUMNS))
    except (OSError, ValueError):
        return False
