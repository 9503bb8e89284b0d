"""NeuralSVD beside the field's own estimators: the same features, the same splits, the same scores."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_array
from tqdm.auto import tqdm

from spectraldyn.baselines.comparison import Comparison
from spectraldyn.baselines.judge import judge_outcome
from spectraldyn.baselines.methods import LIBRARIES, METHODS, is_installed
from spectraldyn.baselines.process import ON_COORDINATES, Job, Runner, in_new_interpreter, run_job, store_rows
from spectraldyn.baselines.records import MethodResult, Question, Split
from spectraldyn.baselines.summary import split_seeds
from spectraldyn.data import Dataset
from spectraldyn.errors import InputError, did_you_mean
from spectraldyn.pipeline import check_modes, load_for_lag
from spectraldyn.spectra.timescales import in_time

ON_DISTANCES = f"all methods but {' and '.join(ON_COORDINATES)} are given the distances between the same atoms: "
ON_DISTANCES += "coordinates turn with the molecule"

Methods = str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None


def compare_methods(
    trajectories: Sequence[np.ndarray],
    lagtime: int,
    n_modes: int = 3,
    methods: Methods = None,
    *,
    n_splits: int = 3,
    reversible: bool = True,
    random_state: int = 0,
    device: str = "auto",
    time_limit: float | None = None,
    runner: Runner = in_new_interpreter,
    progress: bool = False,
) -> Comparison:
    """Fit every method to the same part of the data and judge all on the rest by the same code.

    In every split contiguous blocks, three tenths of the data, are held out; no pair crosses a cut, and no method sees
    them. What a method holds out for itself it takes from the training blocks. Held-out scores: moments of [1, f] over
    the training pairs give, by Rayleigh–Ritz (canonical correlation analysis where the dynamics are not taken as
    reversible), `n_modes` functions with their values, which are scored on the held-out pairs (see
    `spectraldyn.spectra.scores`). Timescales come from the same step over all pairs, with block-bootstrap intervals;
    those of the Markov state model are its own, with Bayesian intervals. Every method runs alone in a new process with
    one thread.

    One split decides nothing, as scores depend on where a rare state was held out. Every split has a seed of its own,
    from which its methods start too (initial weights, batches, clusters), so that the spread holds that of learning.

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
        ``{"tica": {}, "neural-svd": {"max_steps": 500}}``; by default all whose library is installed.
    n_splits : int
        Splits to judge over.
    reversible : bool
        Take the dynamics as reversible, in every method that can do either and in the scores.
    random_state : int
        Seed of the first split and of every method on it; those of the other splits are derived from it.
    device : {"auto", "cpu", "cuda"}
        Where networks are trained.
    time_limit : float, optional
        Seconds after which a method counts as failed on a split.
    runner : Runner
        What does a method's job; see `spectraldyn.baselines.process`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Comparison
        With times in frames, or in those of the data set. A method that fails is among the results, with the reason;
        where it fails on some splits, its numbers are those of the others.

    Raises
    ------
    InputError
        If the data or an option cannot be used.
    """
    chosen = check_methods(methods)
    for name, value in (("lagtime", lagtime), ("n_modes", n_modes), ("n_splits", n_splits)):
        if value != int(value) or value < 1:
            raise InputError(f"{name} is {value!r}: it must be a whole number of at least 1")
    if not 0 <= random_state < 2**32:
        raise InputError(f"`random_state` is {random_state}: it must lie between 0 and 2^32 - 1")
    data = _checked(trajectories)
    if data.weight is not None:
        raise InputError("the data have weights, which only some methods know of: compare `data.weighted(None)`")
    check_modes(int(n_modes), sum(map(len, data)))
    numbers = {"lagtime": int(lagtime), "n_modes": int(n_modes), "seed": int(random_state)}
    question = Question(**numbers, reversible=bool(reversible), device=device)
    seeds = split_seeds(question.seed, int(n_splits))
    splits = [Split.of(data.stretches, replace(question, seed=seed)) for seed in seeds]
    n_pairs = np.array([list(map(len, split.starts)) for split in splits])
    if n_pairs.min() < 2:
        size = f"{data.n_rows} frames in {len(data)} uninterrupted stretches at a lag of {lagtime} frames"
        raise InputError(f"the data are too short to hold part of them out: {size}")
    runs: dict[str, list[MethodResult]] = {method: [] for method in chosen}
    with (
        tempfile.TemporaryDirectory(prefix="spectraldyn-") as folder,
        # Split by split, so that the time that is left is soon known.
        tqdm(list(product(splits, chosen)), desc="comparing", unit="fit", leave=False, disable=not progress) as bar,
    ):
        store_rows(Path(folder), data)
        for split, method in bar:
            bar.set_postfix_str(f"{method}, split {len(runs[method]) + 1} of {n_splits}")
            outcome = run_job(Path(folder), Job(method, dict(chosen[method]), split, data.atoms), time_limit, runner)
            result = judge_outcome(outcome, split)
            scales = [in_time(scale, data.time.row_time) for scale in result.timescales]
            runs[method].append(replace(result, timescales=scales))
    n_train, n_test = np.median(n_pairs, axis=0).astype(int).tolist()
    told = [] if data.atoms is None or set(chosen) <= set(ON_COORDINATES) else [ON_DISTANCES]
    about = data.warnings + told, data.files, data.n_rows, len(data.columns)
    return Comparison(list(runs.values()), data.time, n_train, n_test, *about, **question.asked)


def compare_trajectories(
    files: str | Path | Sequence[str | Path],
    *,
    lag: str | float,
    top: str | Path | None = None,
    features: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] | None = None,
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
    """Names of methods with their options; InputError for an unknown name, one that cannot be used, or none at all."""
    known = [name for name in METHODS if is_installed(name)] if methods is None else methods
    names = known.split(",") if isinstance(known, str) else list(known)
    if unknown := [name for name in names if name not in METHODS]:
        close = did_you_mean(unknown[0], METHODS)
        raise InputError(f"method {unknown[0]!r} is unknown{close}: choose among {', '.join(METHODS)}")
    if missing := [name for name in names if not is_installed(name)]:
        library = LIBRARIES[missing[0]]
        raise InputError(f"method {missing[0]!r} needs {library}, which is not installed: run pip install {library}")
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
