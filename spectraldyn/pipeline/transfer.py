"""From trajectory files to the slow spectrum of a transfer operator: what `spectraldyn fit` does."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.data import Dataset, pair_starts
from spectraldyn.data.stretches import Stretches
from spectraldyn.errors import InputError
from spectraldyn.estimators import GeneratorModel, NeuralSVD, NeuralSVDModel, attribute
from spectraldyn.estimators.base import pick_device
from spectraldyn.features import Features, Weights, load_features
from spectraldyn.pipeline.forecast import foretell
from spectraldyn.pipeline.refit import fit_or_take_up, kept_fits_folder, refit_at_lags
from spectraldyn.pipeline.remarks import Findings, refit_remarks, set_remarks
from spectraldyn.pipeline.resampled import Anew, Refit, check_refits, default_refits, refit_resampled, resampled_blocks
from spectraldyn.pipeline.results import TransferResults
from spectraldyn.pipeline.run import Run
from spectraldyn.pipeline.sets import Gap, check_states, last_sure_gap, sets_of_modes
from spectraldyn.pipeline.verdict import (
    concluded,
    on_balance,
    on_data,
    on_events,
    on_markovianity,
    on_number_of_sets,
    on_plateau,
    on_weighted_pairs,
    on_weights,
)
from spectraldyn.processes import check_alike, in_turns, several
from spectraldyn.spectra.chapman_kolmogorov import chapman_kolmogorov
from spectraldyn.spectra.kinetics import exchange, membership_coefficients, propagated_memberships
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.populations import free_energies, population_estimates
from spectraldyn.spectra.states import CoherentSets, MetastableSets
from spectraldyn.spectra.timescales import MIN_TRANSITIONS, Timescale, in_time, read_off_timescales, slowest_rows
from spectraldyn.units import parse_duration


def analyze(
    model: NeuralSVDModel,
    data: Dataset,
    n_states: int | None = None,
    *,
    temperature: float | None = None,
    functions: np.ndarray | None = None,
    refits: Sequence[Refit] = (),
) -> TransferResults:
    """Read timescales with error bars, metastable sets and kinetics off a fitted model.

    Parameters
    ----------
    model : NeuralSVDModel
        Fitted on `data`.
    data : Dataset
        From `load_features`.
    n_states : int, optional
        Number of metastable sets; by default one more than the processes before the last sure gap in the timescales
        (see `last_sure_gap`), of those slower than the lag time that held-out data do not refute. Fewer where a set
        would hold no frame.
    temperature : float, optional
        Of the simulation in K, for free energies in kJ/mol.
    functions : ndarray (n_rows, M), optional
        ``model.functions(data)``, where they have been evaluated already: `NeuralSVD.functions_`.
    refits : sequence of Refit, optional
        From `refit_resampled`: with them all error bars hold the errors of learning, too.

    Raises
    ------
    InputError
        If `n_states` is not between 2 and one more than the number of modes, or the model is that of a generator.
    """
    if isinstance(model, GeneratorModel):
        raise InputError("this is the model of a generator: use analyze_generator")
    if not isinstance(model, NeuralSVDModel):
        raise InputError(f"`model` is a {type(model).__name__}: give a fitted model, as from fit(data).fetch_model()")
    check_states(n_states, model.n_modes)
    check_temperature(temperature)
    functions = model.functions(data) if functions is None else functions
    modes = model.modes_from(functions)
    eigenfunctions = modes if model.reversible else functions @ model.eigenmodes.functions
    seed, stretches, lag = model.settings.seed, data.stretches, model.lagtime
    found = Findings.of(model, data, modes)
    resampled = resampled_blocks(model, modes, data)
    anew = Anew.of(refits, functions, data, resampled[0])
    in_rows = read_off_timescales(
        model.moments, functions, stretches, lag, seed, doubts=found.doubts, refits=anew.relearned
    )
    by_lag = {tau: [in_time(scale, data.time.row_time) for scale in scales] for tau, scales in in_rows.items()}
    timescales = by_lag[lag]
    gap, often = None, False
    if n_states is None:
        n_states, gap = _number_of_sets(model, timescales, found, resampled)
        often = all((scale.n_transitions or 0) >= MIN_TRANSITIONS for scale in timescales[: n_states - 1])
    clusters, sets, shown = sets_of_modes(modes, n_states, seed, stretches if often else None, data.weight)
    again = anew.sets(sets, seed)
    kinetics = exchange(clusters, sets, stretches, lag, resampled, reversible=model.reversible, refits=again)
    populations = population_estimates(sets, resampled, again), free_energies(sets, resampled, again)
    operator, coefficients = model.moments.means(model.moments.at(lag))[1], model.spectrum.left * model.signs
    memberships = membership_coefficients(sets, coefficients)
    longest = slowest_rows(model.timescales(), lag)
    how: dict[str, Any] = {"tied": model.reversible, "slowest": longest, "random_state": seed, "weight": data.weight}
    test = chapman_kolmogorov(functions, stretches, lag, memberships, **how)
    told = [
        *(
            *found.remarks(timescales),
            *set_remarks(sets, None if often else n_states),
            *refit_remarks(sets, len(refits), len(again)),
        ),
        *(*on_data(data, modes), *on_weights(data), *on_weighted_pairs(data)),
        *(*on_balance(model, data, modes), *on_markovianity(test, data)),
        *(*on_plateau(model, timescales, data.time), *on_events(kinetics), *on_number_of_sets(sets, gap)),
    ]
    verdict = concluded(told, timescales, data.time)
    warnings = [*data.warnings, *(str(one) for one in told if one.level != "good")]
    return TransferResults(
        *(model, data, timescales, modes, sets, *populations, shown, verdict, warnings, 0.0, temperature),
        eigenfunctions=eigenfunctions,
        timescales_by_lag=by_lag,
        kinetics=kinetics.in_time(data.time.row_time),
        set_matrix=propagated_memberships(sets, coefficients, operator),
        chapman_kolmogorov=test,
        n_carried=found.n_carried,
        attribution=attribute([model, *(refit.model for refit in refits)], data),
        n_refits=len(refits),
        cross_validation=anew.cross_validation,
        coherent_sets=None if model.reversible else _coherent_sets(model, sets, functions, stretches),
    )


def _number_of_sets(
    model: NeuralSVDModel, timescales: list[Timescale], found: Findings, resampled: tuple[Moments, np.ndarray]
) -> tuple[int, Gap | None]:
    """One more than the processes before the last sure gap, at least two, and that gap."""
    slower = _slow_processes(model, timescales, found)
    gap = last_sure_gap(model, resampled, slower)
    return min(max(2, 1 + (slower if gap is None else gap.process)), 1 + model.n_modes), gap


def _slow_processes(model: NeuralSVDModel, timescales: list[Timescale], found: Findings) -> int:
    """How many processes may separate a metastable set.

    Also one seen too rarely for a timescale does; one faster than the lag time, or refuted by held-out data, does not.
    """
    return sum(
        value > model.lagtime and (scale.n_transitions or 0) > 0 and confirmed is not False
        for value, scale, confirmed in zip(model.timescales(), timescales, found.confirmed, strict=True)
    )


def _coherent_sets(
    model: NeuralSVDModel, sets: MetastableSets, functions: np.ndarray, stretches: Stretches
) -> CoherentSets:
    right = functions @ (model.spectrum.right * model.signs)
    return CoherentSets.of(sets, right, pair_starts(stretches, model.lagtime), model.lagtime)


def fit_trajectories(
    files: str | Path | Sequence[str | Path],
    *,
    lag: str | float,
    top: str | Path | None = None,
    features: Features = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    n_states: int | None = None,
    temperature: float | None = None,
    refits: int | None = None,
    refit_lags: bool = False,
    weights: Weights | None = None,
    progress: bool = False,
    cluster: str | None = None,
    run: Run | None = None,
    **estimator: Any,
) -> TransferResults:
    """From trajectory files to the slow spectrum: what `spectraldyn fit` does.

    Parameters
    ----------
    files, top, features, atoms, stride, skip, timestep
        See `load_features`.
    lag : str or int
        Lag time: stored frames (50) or a time ("50ps"), whose unit results are then shown in; a multiple of `stride`.
    n_states, temperature : optional
        See `analyze`.
    refits : int, optional
        How often to learn anew from resampled blocks, in parallel processes, for error bars that hold the errors of
        learning, too (see `refit_resampled`); by default 4 times where a fit takes seconds, else not.
    refit_lags : bool
        Also fit anew at each lag time; see `refit_at_lags`.
    weights : Weights, optional
        Of the frames of a biased simulation; see `load_features`.
    progress : bool
        Show progress bars on stderr.
    cluster : str, optional
        See `load_features`.
    run : Run, optional
        Takes note of the stages. With it the fits that are kept in the checkpoint folder stay there, for the caller to
        remove when results are written; else they are removed in the end.
    **estimator
        Options of `NeuralSVD`, except the lag time.

    Raises
    ------
    InputError
        One sentence on what in the input cannot be used.
    """
    started = time.perf_counter()
    learner = NeuralSVD(progress=progress, **estimator)
    check_states(n_states, learner.n_modes)
    check_temperature(temperature)
    check_refits(refits)
    reading: dict[str, Any] = {"features": features, "atoms": atoms, "stride": stride, "skip": skip}
    reading |= {"timestep": timestep, "device": pick_device(learner.device).type}
    foretell(progress, files, top, learner, **reading)
    mine = Run() if run is None else run
    with mine.stage("reading"):
        data, lagtime = load_for_lag(lag, files, top, **reading, weights=weights, progress=progress, cluster=cluster)
    learner.set_params(lagtime=lagtime)
    # What an interruption of anything that follows must not cost includes the fit that came before.
    folder = mine.keep(kept_fits_folder(learner, data))
    with mine.stage("training"):
        model, functions = fit_or_take_up(learner, data, folder)
    n_refits = default_refits(data, model) if refits is None else refits
    anew: list[Refit] = []
    if n_refits:
        with mine.stage("refits"):
            anew = refit_resampled(learner, model, data, n_refits, functions=functions, folder=folder)
    with mine.stage("analysis"):
        results = analyze(model, data, n_states, temperature=temperature, functions=functions, refits=anew)
    if refit_lags:
        with mine.stage("refits at each lag"):
            results = refit_at_lags(results, learner, run=mine)
    if run is None:
        mine.remove_kept()
    return dataclasses.replace(results, seconds=time.perf_counter() - started, stages=tuple(mine.stages))


def load_for_lag(
    lag: str | float, files: str | Path | Sequence[str | Path], top: str | Path | None, **reading: Any
) -> tuple[Dataset, int]:
    """Data as `load_features` gives them, and the lag time in their rows; it is checked before a file is read.

    The time axis of the data remembers the unit of the lag time.
    """
    wanted = parse_duration(lag, "`lag`")
    data = load_in_turns(files, top, **reading)
    data.time = dataclasses.replace(data.time, typed_unit=wanted.unit)
    return data, data.time.rows_of_lag(wanted, max(map(len, data)))


def load_in_turns(files: str | Path | Sequence[str | Path], top: str | Path | None, **reading: Any) -> Dataset:
    """As `load_features`; of several processes the first reads before the others, which find what it has stored."""
    with in_turns():
        data = load_features(files, top, **reading)
    if several():
        check_alike(data.digest(), "the features")
    return data


def check_temperature(temperature: float | None) -> None:
    """InputError where it is no temperature in K."""
    if temperature is not None and not 0 < temperature < 1e9:
        raise InputError(f"`temperature` is {temperature!r}: give that of the simulation in K, for instance 300")
