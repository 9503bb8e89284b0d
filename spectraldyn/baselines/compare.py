"""NeuralSVD beside the field's own estimators: the same features, the same split, the same scores."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_array
from tqdm.auto import tqdm

from spectraldyn.baselines.judge import judge_outcome
from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.process import THREADS, Job, Runner, in_new_interpreter, run_job, store_rows
from spectraldyn.baselines.records import MethodResult, Question, Split
from spectraldyn.data import Dataset, TimeAxis
from spectraldyn.errors import InputError
from spectraldyn.pipeline import aligned, format_number, load_for_lag
from spectraldyn.spectra.timescales import Timescale, in_time
from spectraldyn.version import __version__

Methods = str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None


@dataclass(frozen=True, repr=False)
class Comparison(Question):
    """The question, and methods side by side."""

    results: list[MethodResult]
    time: TimeAxis
    n_train_pairs: int
    n_test_pairs: int
    warnings: list[str] = field(default_factory=list)  # on the data

    @property
    def unit(self) -> str:
        """Of every time: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return self.time.unit

    @property
    def lag_time(self) -> float:
        """Lag time in `unit`."""
        return self.time.time(self.lagtime)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain values for every method, as compare.json holds them; what is undetermined is None."""
        return [self._row(result) for result in self.results]

    def _row(self, result: MethodResult) -> dict[str, Any]:
        scales: list[Timescale | None] = [*result.timescales, *[None] * self.n_modes][: self.n_modes]
        return {
            **vars(result),
            "unit": self.unit,
            "lag": self.lag_time,
            "timescales": [scale and scale.value for scale in scales],
            **{name: [scale and getattr(scale, name) for scale in scales] for name in ("low", "high", "unresolved")},
            "threads": THREADS,
            "train_pairs": self.n_train_pairs,
            "test_pairs": self.n_test_pairs,
            "reversible": self.reversible,
            "seed": self.seed,
            "version": __version__,
        }

    def __repr__(self) -> str:
        heads = [f"timescale {k + 1} ({self.unit})" for k in range(self.n_modes)]
        table = [("method", *heads, "VAMP-2", "VAMP-E", "seconds", "with tuning", "peak MB", "")]
        notes: dict[str, list[str]] = {}
        for result in self.results:
            if result.failed is not None:
                table.append((result.method, *["–"] * (len(table[0]) - 2), f"failed: {result.failed}"))
                continue
            scales = [_cell(scale) for scale in result.timescales] + ["–"] * (self.n_modes - len(result.timescales))
            scores = ["–" if s is None else f"{s:.3f}" for s in (result.vamp2_test, result.vampe_test)]
            price = (result.seconds, result.tuning_seconds or result.seconds, result.peak_mb)
            table.append((result.method, *scales, *scores, *(format_number(number, "–") for number in price), ""))
            for number, scale in enumerate(result.timescales, 1):
                if scale.unresolved is not None:
                    notes.setdefault(scale.unresolved, []).append(f"{result.method} {number}")
        how = f"scores on {self.n_test_pairs} held-out pairs, {THREADS} thread for every method"
        remarks = (f"* unresolved, {why}: {', '.join(where)}" for why, where in notes.items())
        return "\n".join([f"At lag {self.lag_time:g} {self.unit}; {how}", *aligned(table), *remarks])


def compare_methods(
    trajectories: Sequence[np.ndarray],
    lagtime: int,
    n_modes: int = 3,
    methods: Methods = None,
    *,
    reversible: bool = True,
    random_state: int = 0,
    device: str = "auto",
    time_limit: float | None = None,
    runner: Runner = in_new_interpreter,
    progress: bool = False,
) -> Comparison:
    """Fit every method to the same part of the data and judge all on the rest by the same code.

    Contiguous blocks, three tenths of the data, are held out; no pair crosses a cut, and no method sees them. What a
    method holds out for itself it takes from the training blocks. Held-out scores: moments of [1, f] over the training
    pairs give, by Rayleigh–Ritz (canonical correlation analysis where the dynamics are not taken as reversible),
    `n_modes` functions with their values, which are scored on the held-out pairs (see
    `spectraldyn.spectra.scores`). Timescales come from the same step over all pairs, with block-bootstrap
    intervals; those of the Markov state model are its own, with Bayesian intervals. Every method runs alone in a new
    process with one thread.

    Parameters
    ----------
    trajectories : list of ndarray (T, d)
        Or a Dataset.
    lagtime : int
        In frames (rows of the data).
    n_modes : int
        Processes, the constant one not counted.
    methods : sequence of str, or mapping of str to dict, optional
        Names in `spectraldyn.baselines.METHODS`, or these with further arguments of each method, such as
        ``{"tica": {}, "neural-svd": {"max_steps": 500}}``; by default all.
    reversible : bool
        Take the dynamics as reversible, in every method that can do either and in the scores.
    random_state : int
        Seed of the split and of every method.
    device : {"auto", "cpu", "cuda"}
        Where networks are trained.
    time_limit : float, optional
        Seconds after which a method counts as failed.
    runner : Runner
        What does a method's job; see `spectraldyn.baselines.process`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Comparison
        With times in frames, or in those of the data set. A method that fails is among the results, with the reason.

    Raises
    ------
    InputError
        If the data or an option cannot be used.
    """
    chosen = check_methods(methods)
    for name, value in (("lagtime", lagtime), ("n_modes", n_modes)):
        if value != int(value) or value < 1:
            raise InputError(f"{name} is {value!r}: it must be a whole number of at least 1")
    if not 0 <= random_state < 2**32:
        raise InputError(f"`random_state` is {random_state}: it must lie between 0 and 2^32 - 1")
    data = _checked(trajectories)
    numbers = {"lagtime": int(lagtime), "n_modes": int(n_modes), "seed": int(random_state)}
    question = Question(**numbers, reversible=bool(reversible), device=device)
    split = Split.of(data.stretches, question)
    n_train, n_test = map(len, split.starts)
    if min(n_train, n_test) < 2:
        size = f"{data.n_rows} frames in {len(data)} uninterrupted stretches at a lag of {lagtime} frames"
        raise InputError(f"the data are too short to hold part of them out: {size}")
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="spectraldyn-") as folder,
        tqdm(chosen.items(), desc="comparing", unit="method", disable=not progress) as bar,
    ):
        store_rows(Path(folder), data)
        for method, options in bar:
            bar.set_postfix_str(method)
            outcome = run_job(Path(folder), Job(method, dict(options), split), time_limit, runner)
            result = judge_outcome(outcome, split)
            scales = [in_time(scale, data.time.row_time) for scale in result.timescales]
            results.append(replace(result, timescales=scales))
    return Comparison(results, data.time, n_train, n_test, list(data.warnings), **question.asked)


def compare_trajectories(
    files: str | Path | Sequence[str | Path],
    *,
    lag: str | float,
    top: str | Path | None = None,
    features: str | Sequence[str] | None = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    progress: bool = False,
    **options: Any,
) -> Comparison:
    """From trajectory files to methods side by side: what `spectraldyn compare` does.

    Parameters
    ----------
    files, top, features, atoms, stride, skip, timestep
        See `load_features`.
    lag : str or int
        Lag time: stored frames (50) or a time ("50ps"); a multiple of `stride`.
    progress : bool
        Show progress bars on stderr.
    **options
        Of `compare_methods`, except the lag time.

    Raises
    ------
    InputError
        One sentence on what in the input cannot be used.
    """
    check_methods(options.get("methods"))
    data, lagtime = load_for_lag(
        lag, files, top, features=features, atoms=atoms, stride=stride, skip=skip, timestep=timestep, progress=progress
    )
    return compare_methods(data, lagtime, progress=progress, **options)


def check_methods(methods: Methods) -> dict[str, Mapping[str, Any]]:
    """Names of methods with their options; InputError for an unknown name, or for none at all."""
    names = methods.split(",") if isinstance(methods, str) else list(METHODS if methods is None else methods)
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"method {unknown[0]!r} is unknown: choose among {', '.join(METHODS)}")
    if not names:
        raise InputError(f"there is no method to compare: choose among {', '.join(METHODS)}")
    return {name: methods[name] if isinstance(methods, Mapping) else {} for name in names}


def _checked(trajectories: Sequence[np.ndarray]) -> Dataset:
    """As one data set; InputError where they are no numbers of one width."""
    if isinstance(trajectories, np.ndarray) and trajectories.ndim == 2:
        trajectories = [trajectories]
    try:
        parts = [check_array(part, dtype=[np.float64, np.float32]) for part in trajectories]
    except ValueError as error:
        raise InputError(f"the trajectories cannot be used: {str(error).splitlines()[0]}") from error
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) != 1:
        raise InputError(f"the trajectories cannot be used: they have {' and '.join(map(str, widths))} columns")
    if isinstance(trajectories, Dataset):
        return trajectories
    return Dataset([part.astype(np.result_type(*parts), copy=False) for part in parts])


def _cell(scale: Timescale) -> str:
    """A timescale with its interval, starred where it is unresolved."""
    value = format_number(scale.value, "–") + "*" * (scale.unresolved is not None)
    if scale.low is None and scale.high is None:
        return value
    return f"{value} ({format_number(scale.low, '0')}–{format_number(scale.high, '∞')})"
