"""Frames to start further runs from, of the stored results of a fit: structures, and the table of them."""

import json
from pathlib import Path

from spectraldyn.files import check_folder, complete_folder
from spectraldyn.io import load_topology, write_frames
from spectraldyn.pipeline import FittedFrames, Seeds, software, suggest_seeds

TABLE = "seeds.json"


def write_seeds(
    folder: str | Path, out: str | Path, n: int = 10, length: str | float | None = None, force: bool = False
) -> Seeds:
    """Write the frames of an earlier fit to start further runs from: what `spectraldyn seeds` does.

    Parameters
    ----------
    folder : str or Path
        Written by `write_results`. The trajectories have to be where they were when it was.
    out : str or Path
        Folder to write; it appears complete or not at all. Must not exist, unless `force` is given and it holds
        frames that this has written, which are then replaced. In it seeds.json and, where the input of the fit was
        trajectories, seed_01.pdb, seed_02.pdb, ...: frames as they are stored, with their box.
    n, length
        See `suggest_seeds`.
    force : bool
        Replace earlier frames.

    Raises
    ------
    InputError
        See `suggest_seeds`; and if trajectories are gone or have changed, or `out` cannot be written.
    """
    folder = Path(folder)
    stored = FittedFrames.load(folder).topology_file(folder)
    out = check_folder(out, force, holds_seeds, TABLE)
    seeds = suggest_seeds(folder, n, length)
    frames, starts, time = seeds.frames, seeds.starts, seeds.frames.time
    digits = max(2, len(str(n)))
    names = [None if stored is None else f"seed_{number:0{digits}}.pdb" for number in range(1, n + 1)]
    errors = starts.errors[[0, -1]] * seeds.timescale
    contents = {
        **software(),
        "timescale": {"value": seeds.timescale, "error": errors[0], "expected_error": errors[1], "unit": time.unit},
        "length": {"value": time.time(seeds.length), "unit": time.unit},
        "seeds": [{"structure": name, **one} for name, one in zip(names, seeds.plain(out), strict=True)],
    }
    with complete_folder(out, force) as draft:
        if stored is not None:
            places = zip(names, frames.file_index[starts.rows], frames.frame[starts.rows], strict=True)
            wanted = {draft / str(name): (frames.files[file].path, int(frame)) for name, file, frame in places}
            write_frames(wanted, load_topology(stored, []).topology)
        (draft / TABLE).write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    return seeds


def holds_seeds(folder: Path) -> bool:
    """Whether a folder holds what `write_seeds` has written."""
    try:
        contents = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(contents, dict) and {"version", "timescale", "seeds"} <= contents.keys()
