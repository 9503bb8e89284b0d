"""A new fit at each lag time of the timescale plot, to check the lines that all come from one fit."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import warnings
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from tqdm.auto import tqdm

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError, InputWarning, StateWarning
from spectraldyn.estimators import GeneratorModel, GeneratorSVD, NeuralSVD, NeuralSVDModel
from spectraldyn.files import replacing
from spectraldyn.pipeline.agreement import disagreement_remarks
from spectraldyn.pipeline.remarks import in_order
from spectraldyn.pipeline.results import TransferResults
from spectraldyn.pipeline.run import Run
from spectraldyn.processes import agreed, first_goes_on
from spectraldyn.spectra.timescales import ByLag, in_time, read_off_timescales
from spectraldyn.version import __version__

_log = logging.getLogger("spectraldyn")


def refit_at_lags(results: TransferResults, estimator: NeuralSVD, run: Run | None = None) -> TransferResults:
    """Fit anew at each lag time of the timescale plot, to check the lines that all come from one fit.

    A refit has the options and the seed of the model, so that at the lag time of the model it would be the same fit
    once more: there its timescales are taken as they are.

    Parameters
    ----------
    results : TransferResults
    estimator : NeuralSVD
        The one that was fitted: the refits have its options, and the seed of its fit. With a checkpoint folder an
        interrupted run goes on where it stopped.
    run : Run, optional
        See `fit_trajectories`.

    Returns
    -------
    TransferResults
        The same with `refitted_timescales_by_lag`, and a remark on every process that does not agree.

    Raises
    ------
    InputError
        If the results are those of a generator, or of an estimator with other options.
    """
    if not isinstance(results, TransferResults):
        raise InputError("a generator has no lag times: there is nothing to refit")
    _check_estimator(estimator, results.model)
    mine = Run() if run is None else run
    refitted = _refitted_timescales(results, estimator, mine.keep(kept_fits_folder(estimator, results.data)))
    if run is None:
        mine.remove_kept()
    results = dataclasses.replace(results, refitted_timescales_by_lag=refitted)
    remarks = disagreement_remarks(results.refit_agreement, results.data.time)
    verdict, warnings = in_order([*results.verdict, *remarks]), [*results.warnings, *map(str, remarks)]
    return dataclasses.replace(results, verdict=verdict, warnings=warnings)


def _check_estimator(estimator: NeuralSVD, model: NeuralSVDModel) -> None:
    fitted = {
        "lagtime": model.lagtime,
        "n_modes": model.settings.layout.n_modes,
        "objective": model.settings.objective,
        "reversible": model.reversible,
    }
    for name, value in fitted.items():
        if (given := getattr(estimator, name)) != value:
            raise InputError(
                f"{name} of the estimator is {given!r}, but these results are of a fit with {value!r}: give the "
                "estimator that was fitted"
            )


def _refitted_timescales(results: TransferResults, estimator: NeuralSVD, folder: Path | None) -> ByLag:
    """Timescales of a new fit at every lag time of the results, each with intervals of its own.

    What an interrupted run has finished is kept in the folder.
    """
    model, data = results.model, results.data
    refitted: ByLag = {}
    shown = {"unit": "fit", "leave": False, "disable": not estimator.progress}
    with tqdm(results.timescales_by_lag, "refitting at each lag", **shown) as bar:
        for lag in bar:
            bar.set_postfix_str(f"lag {data.time.lag_text(lag)}")
            if lag == model.lagtime:
                refitted[lag] = results.timescales_by_lag[lag]
                continue
            # One bar for all refits: twelve pairs of them would bury it.
            again = once_more(estimator, model, lagtime=lag, random_state=model.settings.seed)
            new, functions = fit_quietly(again, data, folder)
            seed, here = new.settings.seed, [lag]
            scales = read_off_timescales(new.moments, functions, data.stretches, lag, seed, lagtimes=here)[lag]
            refitted[lag] = [in_time(scale, data.time.row_time) for scale in scales]
    return refitted


def once_more(learner: Any, model: NeuralSVDModel | GeneratorModel, **options: Any) -> Any:
    """The learner of a model, with other options, for one of many fits: without a bar, and with the encoder that was
    taken, so that none is trained where it was left out."""
    encoding = model.settings.layout.encoding
    taken = {} if encoding is None else {"encoder": encoding.encoder}
    return clone(learner).set_params(**taken, **options, progress=False)


def fit_quietly(learner: NeuralSVD, data: Dataset, folder: Path | None) -> tuple[NeuralSVDModel, np.ndarray]:
    """As `fit_or_take_up`, for one of many fits."""
    with warnings.catch_warnings():
        # Processes faster than a long lag time leave nothing to learn: the fit finds fewer, and that shows.
        warnings.filterwarnings("ignore", "only .* modes are linearly independent", InputWarning)
        return fit_or_take_up(learner, data, folder)


def fit_or_take_up(learner: NeuralSVD | GeneratorSVD, data: Dataset, folder: Path | None) -> tuple[Any, np.ndarray]:
    """The fit that an interrupted run left in the `kept_fits_folder`, else a new one, left there; and its functions."""
    path = None if folder is None else folder / f"{_name(learner)}.pt"
    model = None
    if path is not None:
        with contextlib.suppress(InputError):
            model = (NeuralSVDModel if isinstance(learner, NeuralSVD) else GeneratorModel).load(path)
    if agreed(model is not None):
        first_goes_on()
    if model is not None:
        _log.info("the fit is taken up from %s", path)
        return model, model.functions(data).astype(np.float32)
    learner.fit(data)
    first_goes_on()
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                learner.model_.save(draft)
        except (OSError, RuntimeError) as error:
            warnings.warn(f"the fit cannot be kept in {path}: {error}", StateWarning, stacklevel=2)
    return learner.model_, learner.functions_


def _name(learner: NeuralSVD | GeneratorSVD) -> str:
    return f"lag-{learner.lagtime}" if isinstance(learner, NeuralSVD) else "generator"


def kept_fits_folder(learner: NeuralSVD | GeneratorSVD, data: Dataset) -> Path | None:
    """Where the fits of this very run are kept until the last is done: the same data, options and seed, the same place.

    None without a checkpoint folder, or without a seed that the next run would have too.
    """
    if learner.checkpoint_folder is None or not isinstance(learner.random_state, Integral):
        return None
    options = {
        name: _told_apart(value, data)
        for name, value in learner.get_params().items()
        # Where a fit runs and what it shows are no part of it; every lag time has a file of its own.
        if name not in ("lagtime", "device", "checkpoint_folder", "progress")
    }
    key = json.dumps([type(learner).__name__, options, data.digest(), torch.__version__, __version__], default=str)
    return Path(learner.checkpoint_folder) / f"fits-{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def _told_apart(value: Any, data: Dataset) -> Any:
    """A force or diffusion by what it gives for some rows: a function has another name in every process."""
    if not callable(value):
        return value
    some = data.rows(np.arange(0, data.n_rows, max(1, data.n_rows // 200)))
    return torch.as_tensor(value(torch.tensor(some, dtype=torch.float64))).detach().tolist()
