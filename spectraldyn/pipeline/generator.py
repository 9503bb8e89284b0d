"""From trajectory files and a potential to relaxation rates: what `spectraldyn fit --operator generator` does."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from spectraldyn.data import Dataset
from spectraldyn.data.weights import effective_sample_size
from spectraldyn.errors import InputError
from spectraldyn.estimators import GeneratorModel, GeneratorSVD, attribute
from spectraldyn.features import Features, Weights, kind_of
from spectraldyn.pipeline.forecast import foretell
from spectraldyn.pipeline.refit import fit_or_take_up, kept_fits_folder
from spectraldyn.pipeline.remarks import Judgement, in_order, mode_remarks, refit_remarks, set_remarks
from spectraldyn.pipeline.resampled import Anew, Refit, check_refits, default_refits, refit_resampled, resampled_blocks
from spectraldyn.pipeline.results import GeneratorResults
from spectraldyn.pipeline.run import Run
from spectraldyn.pipeline.sets import check_states, sets_of_modes
from spectraldyn.pipeline.transfer import check_temperature, load_in_turns
from spectraldyn.pipeline.verdict import on_weights
from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.populations import free_energies, population_estimates
from spectraldyn.spectra.rates import Rate, correlation_rows, rate_intervals
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import cell_weights


class Potential(Protocol):
    """What a fit needs to know of a potential; those of `spectraldyn.systems` are such."""

    @property
    def dimension(self) -> int: ...
    @property
    def domain(self) -> Sequence[tuple[float, float]]: ...
    @property
    def periodic(self) -> bool: ...
    @property
    def beta(self) -> float: ...
    @property
    def diffusion(self) -> float | Callable[[Tensor], Tensor]: ...
    def force(self, x: Tensor) -> Tensor: ...
    def energy(self, x: Tensor) -> Tensor: ...
    def rates(self, n: int) -> np.ndarray: ...


def fit_generator(
    files: str | Path | Sequence[str | Path],
    potential: Potential,
    *,
    name: str | None = None,
    top: str | Path | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    n_states: int | None = None,
    temperature: float | None = None,
    refits: int | None = None,
    features: Features = None,
    weights: Weights | str | None = None,
    progress: bool = False,
    cluster: str | None = None,
    run: Run | None = None,
    **estimator: Any,
) -> GeneratorResults:
    """Relaxation rates of overdamped Langevin dynamics in a known potential, from the states in trajectory files.

    Parameters
    ----------
    files, top, stride, skip, timestep
        See `load_features`. The first d Cartesian coordinates, in nm, are the state of a potential of d dimensions;
        of .npy and .npz arrays the first d columns. The time between frames is not needed.
    potential : Potential
        Gives the force and the diffusion, in nm²/ps: one of `spectraldyn.systems.SYSTEMS`, or your own
        `spectraldyn.systems.Overdamped`.
    name : str, optional
        Of the potential, for the report.
    n_states : int, optional
        Number of metastable sets; by default from the largest gap between the rates.
    temperature : float, optional
        See `analyze_generator`.
    refits : int, optional
        See `fit_trajectories`.
    features : str or sequence of str, optional
        Of COLVAR files the d columns that are the state; of other files it is fixed.
    weights : Weights or "cells", optional
        Of the frames of a biased simulation (see `load_features`). With "cells" every state counts by the equilibrium
        probability nearest to it, in one or two dimensions (see `spectraldyn.systems.cell_weights`).
    progress : bool
        Show progress bars on stderr.
    cluster : str, optional
        See `load_features`.
    run : Run, optional
        See `fit_trajectories`.
    **estimator
        Options of `GeneratorSVD`, except diffusion, force and beta.

    Raises
    ------
    InputError
        One sentence on what in the input cannot be used.
    """
    started = time.perf_counter()
    if potential.periodic:
        raise InputError(
            f"{name or '`potential`'} lives on a torus, where coordinates in nm mean nothing: use "
            "spectraldyn.learn_spectrum with periodic features"
        )
    learner = GeneratorSVD(
        diffusion=potential.diffusion, force=potential.force, beta=potential.beta, progress=progress, **estimator
    )
    check_states(n_states, learner.n_modes)
    check_temperature(temperature)
    check_refits(refits)
    features = _coordinates(files, features, potential.dimension)
    reading: dict[str, Any] = {"stride": stride, "skip": skip, "timestep": timestep}
    foretell(progress, files, top, learner, features, None, **reading)
    reading |= {"progress": progress, "cluster": cluster, "columns": potential.dimension}
    mine = Run() if run is None else run
    with mine.stage("reading"):
        biased = None if isinstance(weights, str) else weights
        data = load_in_turns(files, top, features=features, weights=biased, **reading)
        _check_domain(data, name or "the potential", potential.domain)
        if isinstance(weights, str):
            data = _by_cells(data, potential)
    folder = mine.keep(kept_fits_folder(learner, data))
    with mine.stage("training"):
        model, functions = fit_or_take_up(learner, data, folder)
    n_refits = default_refits(data, model) if refits is None else refits
    anew: list[Refit] = []
    if n_refits:
        with mine.stage("refits"):
            anew = refit_resampled(learner, model, data, n_refits, functions=functions, folder=folder)
    with mine.stage("analysis"):
        results = analyze_generator(model, data, n_states, temperature=temperature, functions=functions, refits=anew)
    if run is None:
        mine.remove_kept()
    exact_rates = None
    with contextlib.suppress(InputError):  # in many dimensions, where no closed form was stated
        exact_rates = potential.rates(model.n_modes)
    seconds, stages = time.perf_counter() - started, tuple(mine.stages)
    return dataclasses.replace(results, potential=name, exact_rates=exact_rates, seconds=seconds, stages=stages)


def analyze_generator(
    model: GeneratorModel,
    data: Dataset,
    n_states: int | None = None,
    *,
    temperature: float | None = None,
    functions: np.ndarray | None = None,
    refits: Sequence[Refit] = (),
) -> GeneratorResults:
    """Read rates with error bars and metastable sets off a fitted model of a generator.

    Parameters
    ----------
    model : GeneratorModel
        Fitted on `data`, with D in nm²/ps.
    data : Dataset
        From `load_features`, with the weights of the fit where it had any.
    n_states : int, optional
        Number of metastable sets; by default from the largest gap between the rates.
    temperature : float, optional
        Of the simulation in K, for free energies in kJ/mol.
    functions : ndarray (n_rows, M), optional
        ``model.functions(data)``, where they have been evaluated already: `GeneratorSVD.functions_`.
    refits : sequence of Refit, optional
        From `refit_resampled`: with them all error bars hold the errors of learning, too.

    Raises
    ------
    InputError
        If `n_states` is not between 2 and one more than the number of modes.
    """
    check_states(n_states, model.n_modes)
    check_temperature(temperature)
    functions = model.functions(data) if functions is None else functions
    modes, seed, asked = model.modes_from(functions), model.settings.seed, n_states
    resampled = resampled_blocks(model, modes, data)
    anew = Anew.of(refits, functions, data, resampled[0])
    memory = correlation_rows(modes, data.stretches)
    rates = rate_intervals(model.moments, model.spectrum, model.shift, memory, seed, anew.rates(model.spectrum))
    rates = model.untapped.doubted(rates)
    if n_states is None:
        values = np.maximum(model.rates, 1e-12 * model.rates[-1])
        n_states = 2 if len(values) == 1 else 2 + int(np.argmax(values[1:] / values[:-1]))
    _, sets, shown = sets_of_modes(modes, n_states, seed, weight=data.weight)
    timescales = [_timescale(rate) for rate in rates]
    again = anew.sets(sets, seed)
    populations = population_estimates(sets, resampled, again), free_energies(sets, resampled, again)
    told = [*_remarks(model, rates), *set_remarks(sets, asked), *refit_remarks(sets, len(refits), len(again))]
    told += on_weights(data)
    verdict = in_order([*told, *_on_rates(rates)])
    warnings = [*data.warnings, *(str(one) for one in told if one.level != "good")]
    common = model, data, timescales, modes, sets, *populations, shown, verdict, warnings, 0.0, temperature
    attribution = attribute([model, *(refit.model for refit in refits)], data)
    return GeneratorResults(*common, rates=rates, attribution=attribution, n_refits=len(refits))


def _coordinates(files: str | Path | Sequence[str | Path], features: Features, dimension: int) -> Features:
    """What is read of files of this kind as the coordinates of a state."""
    kind = kind_of([Path(file) for file in ([files] if isinstance(files, str | Path) else files)])
    if kind == "colvar":
        names = features.split(",") if isinstance(features, str) else features
        if isinstance(names, list | tuple) and len(names) != dimension:
            raise InputError(f"`features` names {len(names)} columns for a potential in {dimension} dimensions")
        return features
    if features is not None:
        raise InputError("`features` means nothing with --operator generator, except for COLVAR files: leave it out")
    return None if kind == "arrays" else "positions"


def _by_cells(data: Dataset, potential: Potential) -> Dataset:
    """The same states, each with the probability of its cell."""
    weight = cell_weights(potential, np.concatenate(data))
    effective = f"effective sample size {effective_sample_size(weight):,.0f} of {len(weight):,} rows"
    result = data.weighted(weight)
    result.warnings = [*data.warnings, f"weights from the potential, by cells: {effective}"]
    return result


def _check_domain(data: Dataset, name: str, domain: Sequence[tuple[float, float]]) -> None:
    """Frames far outside the region where the potential is defined come from another system or other units."""
    low, high = np.array(domain).T
    for rows, states in data.chunks():
        outside = np.argwhere((states < low) | (states > high))
        if len(outside):
            row, k = outside[0]
            file, frame = data.frame(rows.start + row)
            raise InputError(
                f"{file.path}: in frame {frame} {data.columns[k].name} is {states[row, k]:g}, outside the domain of "
                f"{name}, {low[k]:g} to {high[k]:g} nm: give the potential these files were made in"
            )


def _timescale(rate: Rate) -> Timescale:
    def inverse(bounds: Bounds) -> Bounds:
        return Bounds(*(None if bound is None or bound <= 0 else 1 / bound for bound in (bounds.high, bounds.low)))

    whole = inverse(Bounds(rate.low, rate.high))
    sampling, learning = (part and inverse(part) for part in (rate.sampling, rate.learning))
    value = 1 / rate.value if rate.value else None
    return Timescale(value, whole.low, whole.high, None, rate.unresolved, sampling, learning)


def _remarks(model: GeneratorModel, rates: list[Rate]) -> list[Judgement]:
    remarks = mode_remarks(model, rates, "rate")
    if not np.isfinite(model.scores["resolvent_test"]):
        unseen = "no part of the data was held out: no early stopping and no held-out scores"
        remarks.append(Judgement("caution", unseen, "give more states"))
    if all(rate.low is None for rate in rates):
        few = "no error bars: the data hold too few stretches that could be resampled independently"
        remarks.append(Judgement("problem", few))
    return remarks


def _on_rates(rates: list[Rate]) -> list[Judgement]:
    """Which rates may be quoted."""
    resolved = [str(number) for number, rate in enumerate(rates, 1) if rate.unresolved is None and rate.low is not None]
    if not resolved:
        return [Judgement("problem", "no rate may be quoted")]
    return [Judgement("good", f"process{'es' * (len(resolved) > 1)} {', '.join(resolved)} may be quoted")]
