"""Frames from which further runs would tell most of the slowest timescale: what `spectraldyn seeds` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectraldyn.data.stretches import Stretches
from spectraldyn.errors import InputError
from spectraldyn.estimators import GeneratorModel
from spectraldyn.pipeline.results import Results
from spectraldyn.pipeline.stored import FittedFrames, reading, relative_path, stored_contents, stored_stretches
from spectraldyn.pipeline.tables import with_error
from spectraldyn.spectra.seeding import NEVER_SEEN, Starts, best_starts
from spectraldyn.spectra.states import cluster_modes
from spectraldyn.units import TimeUnit, parse_duration

CLUSTERS_PER_MODE, MOST_CLUSTERS = 20, 100
"""So few that each has been left often: in a chain of clusters that were left once or twice, the rarest steps are
taken for rarer than they are."""
LAGS_OF_A_RUN = 10
"""Length of a run, in lag times, where none is said."""


@dataclass(frozen=True, repr=False)
class Seeds:
    """Frames to start further runs from, the most useful first, and what these runs are to bring."""

    frames: FittedFrames
    """Of the fit."""
    starts: Starts
    """`rows` of the frames, and the errors to expect; times in rows."""
    length: float
    """Of each run, in rows."""

    @property
    def unit(self) -> TimeUnit:
        """In which times are shown: readable for the slowest timescale."""
        return self.frames.time.unit_for(self.timescale)

    @property
    def timescale(self) -> float:
        """The slowest one, of the Markov state model in the space of the modes; in `frames.time.unit`."""
        return self.frames.time.time(self.starts.timescale)

    @property
    def title(self) -> str:
        """What is known of the slowest timescale, and what will be."""
        before, after = (
            with_error(self.timescale / self.unit.size, error * self.timescale / self.unit.size)
            for error in self.starts.errors[[0, -1]]
        )
        n, length = len(self.starts.rows), self.frames.time.length_text(self.length)
        return (
            f"Slowest timescale of the Markov state model: {before} {self.unit.name}; expected after these {n} runs of "
            f"{length}, if it stays there: {after} {self.unit.name}"
        )

    def reason(self, number: int) -> str:
        """Why a run is to start from the frame of this number, from 0."""
        before, after = self.starts.errors[number : number + 2]
        n = int(self.starts.exits[number])
        known = f"this region was left {n} time{'s' * (n != 1)}"
        if self.starts.bridged[number]:
            known = "no run has gone between this region and the rest in both directions"
        length = self.frames.time.length_text(self.length)
        return f"{known}; a run of {length} from here takes {100 * (1 - after / before):.2g} % off the error"

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every frame, as text."""
        heads = ("number", "file", "frame", f"time ({self.frames.time.unit})", "set", "error after", "reason")
        lines = [
            (
                *(str(one["number"]), Path(one["file"]).name, str(one["frame"]), f"{one['time']:.10g}"),
                *(str(one["set"]), f"{100 * one['relative_error']:.2g} %", one["reason"]),
            )
            for one in self.plain(Path.cwd())
        ]
        return [heads, *lines]

    def plain(self, home: Path) -> list[dict[str, Any]]:
        """Every frame as JSON holds it, with the path of its file as seen from a folder."""
        frames, time = self.frames, self.frames.time
        files = [frames.files[index] for index in frames.file_index[self.starts.rows]]
        return [
            {
                "number": number + 1,
                "file": relative_path(file.path, home) + ("" if file.array is None else f":{file.array}"),
                "frame": int(frames.frame[row]),
                "time": time.time(int(frames.frame[row]) / time.stride),
                "set": int(frames.memberships[row].argmax()) + 1,
                "membership": float(frames.memberships[row].max()),
                "modes": frames.modes[row].tolist(),
                "exits": int(self.starts.exits[number]),
                "relative_error": float(self.starts.errors[number + 1]),
                "reason": self.reason(number),
            }
            for number, (row, file) in enumerate(zip(self.starts.rows, files, strict=True))
        ]

    def notes(self) -> list[str]:
        """What must be known to use the frames: one sentence each."""
        told = [
            "fit the new runs together with the old ones, each in a file of its own, and quote the timescale that "
            "`spectraldyn seeds` gives for that fit: runs that start on a barrier are not in equilibrium, for which "
            "the Markov state model allows and the timescales of `spectraldyn fit` do not"
        ]
        if self.starts.bridged.any():
            told.append(
                "some frames are in regions between which no run has gone in both directions: the model assumes "
                f"{NEVER_SEEN:g} transitions each way, so that neither its timescale nor its errors are to be quoted"
            )
        if not self.has_structures:
            told.append("the input of the fit was ready-made features, which have no structures: see file and frame")
        return told

    @property
    def has_structures(self) -> bool:
        """Whether the input of the fit was trajectories."""
        return self.frames.files[0].path.suffix.lower() not in (".npy", ".npz")

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"{number}: {self.reason(number)}" for number in range(len(self.starts.rows)))])


def suggest_seeds(results: Results | str | Path, n: int = 10, length: str | float | None = None) -> Seeds:
    """Frames from which further runs would shrink the error of the slowest timescale most.

    Frames are clustered in the space of the modes, and a Markov state model of the clusters says how much of the
    variance of the slowest timescale is due to transitions out of each, and which transitions a run from each is to
    bring: see `spectraldyn.spectra.seeding`.

    Parameters
    ----------
    results : TransferResults, str or Path
        Of a fit, or the folder that they were written to.
    n : int
        Frames wanted.
    length : str or float, optional
        Of each run from them: stored frames (500) or a time ("500ps"). By default ten lag times.

    Returns
    -------
    Seeds
        `starts.rows` are the frames, as rows of `frames`.

    Raises
    ------
    InputError
        If the results are those of a generator, or incomplete, there are fewer frames than are wanted, or a run would
        be no longer than the lag time.
    """
    if n < 1:
        raise InputError(f"`n` is {n}: ask for one frame or more")
    fit = _Fit.load(Path(results)) if isinstance(results, str | Path) else _Fit.of(results)
    time, rows = fit.frames.time, float(LAGS_OF_A_RUN * fit.lagtime)
    if length is not None:
        rows = parse_duration(length, "`length`").to_frames(time.timestep_ps, "`length`") / time.stride
    if rows <= fit.lagtime:
        lag = time.lag_text(fit.lagtime)
        raise InputError(f"`length` is {length}: a run must be longer than the lag time of the fit, {lag}")
    modes = fit.frames.modes.astype("float32")  # as they are stored: a folder gives the same frames
    clusters = cluster_modes(modes, fit.frames.seed, min(CLUSTERS_PER_MODE * modes.shape[1], MOST_CLUSTERS))
    starts = best_starts(modes, clusters, fit.stretches, fit.lagtime, n, rows, reversible=fit.reversible)
    return Seeds(fit.frames, starts, rows)


@dataclass(frozen=True)
class _Fit:
    """What is needed of a fit."""

    frames: FittedFrames
    stretches: Stretches
    lagtime: int
    """In rows."""
    reversible: bool

    @classmethod
    def of(cls, results: Results) -> "_Fit":
        model = results.model
        if isinstance(model, GeneratorModel):
            raise InputError(NO_TIME)
        return cls(FittedFrames.of(results), results.data.stretches, model.lagtime, model.reversible)

    @classmethod
    def load(cls, folder: Path) -> "_Fit":
        contents = stored_contents(folder)
        if contents["operator"] == "generator":
            raise InputError(NO_TIME)
        frames, stretches = FittedFrames.load(folder), stored_stretches(folder)
        with reading(folder, "results.json"):
            settings = contents["model"]
            lagtime, tied = int(settings["lagtime"]), bool(settings["tied"])
        return cls(frames, stretches, lagtime, tied)


NO_TIME = (
    "these are results of a generator, whose frames have no order in time: from where runs would help is told for the "
    "results of `spectraldyn fit` alone"
)
