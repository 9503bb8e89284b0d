"""Timescales at every lag time of a plot: from the moments of one fit and, to check them, from a new fit at each."""

import contextlib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable
from itertools import zip_longest
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from tqdm.auto import tqdm

from spectraldyn.errors import InputError, InputWarning
from spectraldyn.estimators.model import NeuralSVDModel
from spectraldyn.estimators.neural_svd import NeuralSVD
from spectraldyn.features.load import Features
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.version import __version__

ByLag = dict[int, list[Timescale]]
"""Lag time in frames → timescales, slowest first."""


def stretches_of(features: Features) -> list[range]:
    """The uninterrupted stretches, as indices into all rows laid end to end."""
    ends = np.cumsum([len(part) for part in features]).tolist()
    return [range(stop - len(part), stop) for stop, part in zip(ends, features, strict=True)]


def timescales_by_lag(
    model: NeuralSVDModel,
    functions: np.ndarray,
    stretches: list[range],
    step_time: float,
    lagtimes: Iterable[int] | None = None,
) -> ByLag:
    """Timescales with intervals at every stored lag time, or at some of them, from the moments of one fit.

    The same bootstrap blocks serve all lag times at which they hold pairs; the transitions are those of the modes at
    the lag time of the fit.

    Parameters
    ----------
    model : NeuralSVDModel
    functions : ndarray (n_frames, M)
        Its functions at every frame.
    stretches : list of range
        Uninterrupted frames.
    step_time : float
        Time between frames, in the unit of the timescales that are returned.
    lagtimes : iterable of int, optional
        In frames, each among those of the model's moments.
    """
    eigenfunctions = functions @ model.decomposition.eigenfunctions
    transitions = [its.count_transitions(mode.real, stretches) for mode in eigenfunctions.T]
    timescales = model.timescales()
    slowest = float(timescales[np.isfinite(timescales)].max(initial=model.lagtime))
    stored = model.moments.lagtimes.tolist()
    result: ByLag = {}
    for lag in stored if lagtimes is None else lagtimes:
        index, at_lag = stored.index(lag), model.at_lagtime(lag)
        scales = its.timescales_at_lag(
            model.moments, index, at_lag.decomposition, model.reversible, transitions, slowest, model.config["seed"]
        )
        result[lag] = [its.in_time(scale, step_time) for scale in scales]
    return result


def refitted_timescales(
    learner: NeuralSVD, model: NeuralSVDModel, features: Features, step_time: float, fitted: ByLag
) -> ByLag:
    """Timescales of a new fit at every lag time of a model's moments, each with intervals of its own.

    A refit has the options and the seed of the model, so that at the lag time of the model it would be the same fit
    once more: there its timescales are taken as they are. What an interrupted run has finished is kept in the
    learner's checkpoint folder, and gone once all is done.

    Parameters
    ----------
    learner : NeuralSVD
        With the options of the model.
    model : NeuralSVDModel
        Fitted on `features`.
    features : Features
    step_time : float
        Time between rows of the features, in the unit of the timescales.
    fitted : dict
        Timescales of the model by lag time in frames.
    """
    frames, stretches = np.concatenate(features), stretches_of(features)
    folder = kept_fits_folder(learner, features)
    result: ByLag = {}
    with tqdm(fitted, desc="refitting at each lag", unit="fit", disable=not learner.progress) as bar:
        for lag in bar:
            bar.set_postfix_str(f"lag {lag * step_time:g}")
            if lag == model.lagtime:
                result[lag] = fitted[lag]
                continue
            # One bar for all refits: twelve pairs of them would bury it.
            again = clone(learner).set_params(lagtime=lag, random_state=model.config["seed"], progress=False)
            with warnings.catch_warnings():
                # Processes faster than a long lag time leave nothing to learn: the fit finds fewer, and that shows.
                warnings.filterwarnings("ignore", "only .* modes are linearly independent", InputWarning)
                new = fit_or_take_up(again, features, folder)
            result[lag] = timescales_by_lag(new, new.functions(frames), stretches, step_time, [lag])[lag]
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def fit_or_take_up(learner: NeuralSVD, features: Features, folder: Path | None) -> NeuralSVDModel:
    """The fit that an interrupted run left in `folder`; else a new one, which is left there.

    Parameters
    ----------
    learner : NeuralSVD
    features : Features
    folder : Path or None
        From `kept_fits_folder`.
    """
    path = None if folder is None else folder / f"lag-{learner.lagtime}.pt"
    if path is not None:
        with contextlib.suppress(InputError):
            return NeuralSVDModel.load(path)
    model = learner.fit_fetch(features)
    if path is not None:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(draft)
            draft.replace(path)
        except (OSError, RuntimeError) as error:
            warnings.warn(f"the fit cannot be kept in {path}: {error}", InputWarning, stacklevel=2)
    return model


def kept_fits_folder(learner: NeuralSVD, features: Features) -> Path | None:
    """Where the fits of this very run are kept until the last is done: the same data, options and seed, the same place.

    None without a checkpoint folder, or without a seed that the next run would have too.
    """
    if learner.checkpoint_folder is None or not isinstance(learner.random_state, Integral):
        return None
    options = {
        name: value
        for name, value in learner.get_params().items()
        # Where a fit runs and what it shows are no part of it; every lag time has a file of its own.
        if name not in ("lagtime", "device", "checkpoint_folder", "progress")
    }
    settings = [options, [part.shape for part in features], torch.__version__, __version__]
    digest = hashlib.blake2b(json.dumps(settings, default=str).encode(), digest_size=16)
    for part in features:
        digest.update(np.ascontiguousarray(part).data)
    return Path(learner.checkpoint_folder) / f"refits-{digest.hexdigest()}"


def agreement(fitted: Timescale | None, refitted: Timescale | None, lag_time: float) -> bool | None:
    """Whether a refit gives the timescale of the one fit, within the 95 % interval of the latter.

    None where there is nothing to compare: a plot draws only what is slower than the lag time, and where neither is,
    or there are no error bars, it says nothing. Where only one of the two is slower, they agree if its interval
    reaches down to the lag time.

    Parameters
    ----------
    fitted, refitted : Timescale or None
        Of the same process at the same lag time; None where a fit found fewer processes.
    lag_time : float
        In their unit.
    """
    slower = []
    for scale in (fitted, refitted):
        if scale is not None and scale.unresolved == its.TOO_LONG:
            return None
        if scale is not None and scale.value is not None and scale.value > lag_time:
            slower.append(scale)
    if not slower or (slower[0].low is None and slower[0].high is None):
        return None
    low = slower[0].low or 0.0
    if len(slower) == 1:
        return low <= lag_time
    high = np.inf if slower[0].high is None else slower[0].high
    return bool(low <= (slower[1].value or 0.0) <= high)


def agreements(fitted: ByLag, refitted: ByLag, frame_time: float) -> dict[int, list[bool | None]]:
    """The `agreement` of every process at every lag time of the refits; `frame_time` is what one frame lasts."""
    return {
        lag: [agreement(*pair, lag * frame_time) for pair in zip_longest(fitted[lag], scales)]
        for lag, scales in refitted.items()
    }


def agreement_summary(agreement_by_lag: dict[int, list[bool | None]]) -> str:
    """How far the refits agree, in a sentence."""
    told = [agrees for row in agreement_by_lag.values() for agrees in row if agrees is not None]
    found = (
        f"{sum(told)} of {len(told)} timescales lie within the error bars of the one fit"
        if told
        else "nothing to compare, without error bars or timescales above the lag time"
    )
    n_lags = len(agreement_by_lag)
    return f"Refitted at {n_lags} other lag time{'s' * (n_lags != 1)}: {found}"


def disagreement_remarks(agreement_by_lag: dict[int, list[bool | None]], frame_time: float, unit: str) -> list[str]:
    """A remark on every process whose refits do not agree, with the lag times at which they do not."""
    off: dict[int, list[str]] = {}
    for lag, row in agreement_by_lag.items():
        for process, agrees in enumerate(row, 1):
            if agrees is False:
                off.setdefault(process, []).append(f"{lag * frame_time:g}")
    return [
        f"process {process}: refitted at lag {', '.join(lags)} {unit} its timescale lies outside the error bars of the "
        "one fit"
        for process, lags in sorted(off.items())
    ]
