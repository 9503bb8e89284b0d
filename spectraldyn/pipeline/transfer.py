"""From a fitted model and its trajectories to all a user asks of a slow spectrum; and the whole way in one call."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.data.stretches import lag_in_rows
from spectraldyn.errors import InputError
from spectraldyn.estimators.model import GeneratorModel, NeuralSVDModel
from spectraldyn.estimators.neural_svd import NeuralSVD
from spectraldyn.features.load import Features, load_features
from spectraldyn.pipeline.refit import (
    agreement_summary,
    agreements,
    disagreement_remarks,
    fit_or_take_up,
    kept_fits_folder,
    refitted_timescales,
    stretches_of,
    timescales_by_lag,
)
from spectraldyn.spectra import timescales as its
from spectraldyn.spectra.generator import Rate
from spectraldyn.spectra.kinetics import mean_first_passage_times
from spectraldyn.spectra.states import MetastableSets, cluster_modes, metastable_sets, representative_frames
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.units import parse_duration

REPRESENTATIVES = 5
"""Frames written for every metastable set."""


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """The slow spectrum of a set of trajectories and what follows from it.

    Attributes
    ----------
    model : NeuralSVDModel or GeneratorModel
    features : Features
        The trajectories as features; knows files, frames and columns.
    lag_frames : int or None
        Lag time in stored frames; None for a generator, which has none.
    unit : {"ps", "frames"}
        Of every time below; "frames" (stored frames) where the frame spacing is unknown.
    frame_time : float
        Time between stored frames in this unit; NaN for a generator where it is unknown.
    timescales : list of Timescale
        Slowest first, with 95 % intervals.
    timescales_by_lag : dict
        Lag time in stored frames → timescales of the same functions at that lag time; empty for a generator.
    modes : ndarray (n_frames, n_modes)
        Of all frames, stretch after stretch.
    eigenfunctions : ndarray (n_frames, n_modes)
        The eigenfunctions that belong to the timescales. The same functions as `modes` where the dynamics are taken
        as reversible; otherwise possibly complex, while `modes` are the left singular functions.
    sets : MetastableSets
    mfpt : ndarray (n_states, n_states) or None
        Mean first passage times, from row to column; NaN where undetermined. None for a generator, whose states need
        not be a time series.
    representatives : list of ndarray
        For every state, rows of `modes` that show it, the most typical first.
    warnings : list of str
    seconds : float
        Wall time of the fit, 0 where not measured.
    rates : list of Rate or None
        Of a generator, per `unit`, with 95 % intervals.
    potential : str or None
        Name of the potential of a generator.
    exact_rates : ndarray (n_modes,) or None
        Known rates of that potential.
    refitted_timescales_by_lag : dict or None
        As `timescales_by_lag`, but at every lag time of a new fit; None where none was asked for.
    """

    model: NeuralSVDModel | GeneratorModel
    features: Features
    lag_frames: int | None
    unit: str
    frame_time: float
    timescales: list[Timescale]
    timescales_by_lag: dict[int, list[Timescale]]
    modes: np.ndarray
    eigenfunctions: np.ndarray
    sets: MetastableSets
    mfpt: np.ndarray | None
    representatives: list[np.ndarray]
    warnings: list[str]
    seconds: float = 0.0
    rates: list[Rate] | None = None
    potential: str | None = None
    exact_rates: np.ndarray | None = None
    refitted_timescales_by_lag: dict[int, list[Timescale]] | None = None

    @property
    def lag_time(self) -> float:
        """Lag time in `unit`; NaN for a generator."""
        return float("nan") if self.lag_frames is None else self.lag_frames * self.frame_time

    @property
    def refit_agreement(self) -> dict[int, list[bool | None]]:
        """Lag time in stored frames → for every process whether the refit gives its timescale within the error bars.

        None where there is nothing to compare (see `spectraldyn.pipeline.refit.agreement`). Empty without refits; the
        lag time of the fit, where a refit is the fit itself, is left out.
        """
        if self.refitted_timescales_by_lag is None:
            return {}
        refits = {lag: scales for lag, scales in self.refitted_timescales_by_lag.items() if lag != self.lag_frames}
        return agreements(self.timescales_by_lag, refits, self.frame_time)

    @property
    def refit_summary(self) -> str | None:
        """One sentence on how far refits at other lag times agree; None without refits."""
        return None if self.refitted_timescales_by_lag is None else agreement_summary(self.refit_agreement)

    def __repr__(self) -> str:
        populations = ", ".join(f"{p:.3g}" for p in self.sets.populations)
        return "\n".join(
            [
                *(self._timescale_lines() if self.rates is None else self._rate_lines(self.rates)),
                *([] if self.refit_summary is None else [self.refit_summary]),
                f"Metastable sets: {len(self.sets.populations)}, populations {populations}",
            ]
        )

    def _rate_lines(self, rates: list[Rate]) -> list[str]:
        rows = [("process", f"rate (1/{self.unit})", "95 % interval", "exact", f"timescale ({self.unit})", "")]
        for i, rate in enumerate(rates, 1):
            exact = None if self.exact_rates is None else float(self.exact_rates[i - 1])
            interval = f"{format_number(rate.low, '–')} – {format_number(rate.high, '–')}"
            note = "" if rate.unresolved is None else f"unresolved: {rate.unresolved}"
            timescale = 1 / rate.value if rate.value else None
            numbers = (format_number(x, "–") for x in (rate.value, exact, timescale))
            value, known, time = numbers
            rows.append((str(i), value, interval, known, time, note))
        return ["Relaxation rates of the generator" + f" in {self.potential}" * bool(self.potential), *aligned(rows)]

    def _timescale_lines(self) -> list[str]:
        rows = [("process", f"timescale ({self.unit})", "95 % interval", "transitions", "")]
        for i, t in enumerate(self.timescales, 1):
            interval = f"{format_number(t.low, '0')} – {format_number(t.high, '∞')}"
            transitions = "–" if t.n_transitions is None else str(t.n_transitions)
            note = "" if t.unresolved is None else f"unresolved: {t.unresolved}"
            rows.append((str(i), format_number(t.value, "–"), interval, transitions, note))
        return [f"Implied timescales at lag {self.lag_time:g} {self.unit}", *aligned(rows)]


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned to the right, and the last one as it is."""
    last = len(rows[0]) - 1
    widths = [max(len(row[c]) for row in rows) for c in range(last)]
    lines = [
        "  ".join([*(f"{cell:>{w}}" for cell, w in zip(row[:last], widths, strict=True)), row[last]]) for row in rows
    ]
    return [line.rstrip() for line in lines]


def analyze(model: NeuralSVDModel, features: Features, n_states: int | None = None) -> Results:
    """Read timescales with error bars, metastable sets and kinetics off a fitted model.

    Parameters
    ----------
    model : NeuralSVDModel
        Fitted on `features`.
    features : Features
        From `load_features`.
    n_states : int, optional
        Number of metastable sets; by default one more than there are processes slower than the lag time.

    Raises
    ------
    InputError
        If `n_states` is not between 2 and one more than the number of modes.
    """
    if isinstance(model, GeneratorModel):
        raise InputError("this is the model of a generator: use analyze_generator")
    check_states(n_states, model.n_modes)
    unit, frame_time = ("frames", 1.0) if features.timestep_ps is None else ("ps", features.timestep_ps)
    step_time = features.stride * frame_time
    stretches = stretches_of(features)

    functions = model.functions(np.concatenate(features))
    modes = functions @ model.decomposition.left * model.signs
    eigenfunctions = functions @ model.decomposition.eigenfunctions
    by_lag = timescales_by_lag(model, functions, stretches, step_time)
    timescales = by_lag[model.lagtime]

    seed = model.config["seed"]
    if n_states is None:
        # Also a process seen too rarely for a timescale separates a set of its own; one faster than the lag does not.
        slower = sum(
            value > model.lagtime and (scale.n_transitions or 0) > 0
            for value, scale in zip(model.timescales(), timescales, strict=True)
        )
        n_states = min(max(2, 1 + slower), 1 + modes.shape[1])
    clusters = cluster_modes(modes, seed)
    sets = metastable_sets(modes, clusters, n_states)
    return Results(
        model=model,
        features=features,
        lag_frames=model.lagtime * features.stride,
        unit=unit,
        frame_time=frame_time,
        timescales=timescales,
        timescales_by_lag={lag * features.stride: scales for lag, scales in by_lag.items()},
        modes=modes,
        eigenfunctions=eigenfunctions,
        sets=sets,
        mfpt=step_time * mean_first_passage_times(clusters, sets, stretches, model.lagtime, model.reversible),
        representatives=representative_frames(modes, sets, REPRESENTATIVES, seed),
        warnings=[*features.warnings, *_remarks(model, timescales, unit)],
    )


def fit_trajectories(
    files: str | Path | Sequence[str | Path],
    *,
    lag: str | float,
    top: str | Path | None = None,
    features: str | Sequence[str] | None = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    n_states: int | None = None,
    refit_lags: bool = False,
    progress: bool = False,
    **estimator: Any,
) -> Results:
    """From trajectory files to the slow spectrum: what `spectraldyn fit` does.

    Parameters
    ----------
    files, top, features, atoms, stride, skip, timestep
        See `load_features`.
    lag : str or int
        Lag time: stored frames (50) or a time ("50ps"); a multiple of `stride`.
    n_states : int, optional
        See `analyze`.
    refit_lags : bool
        Also fit anew at each lag time; see `refit_at_lags`.
    progress : bool
        Show progress bars on stderr.
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
    loaded, lagtime = load_for_lag(
        lag, files, top, features=features, atoms=atoms, stride=stride, skip=skip, timestep=timestep, progress=progress
    )
    learner.set_params(lagtime=lagtime)
    # What an interruption between two refits must not cost includes the fit that came before them.
    model = fit_or_take_up(learner, loaded, kept_fits_folder(learner, loaded) if refit_lags else None)
    results = analyze(model, loaded, n_states)
    if refit_lags:
        results = refit_at_lags(results, learner)
    return dataclasses.replace(results, seconds=time.perf_counter() - started)


def load_for_lag(
    lag: str | float, files: str | Path | Sequence[str | Path], top: str | Path | None, **reading: Any
) -> tuple[Features, int]:
    """Features as `load_features` gives them, and the lag time in their rows; it is checked before a file is read."""
    wanted = parse_duration(lag, "--lag")
    loaded = load_features(files, top, **reading)
    return loaded, lag_in_rows(wanted, [len(part) for part in loaded], loaded.timestep_ps, loaded.stride)


def refit_at_lags(results: Results, estimator: NeuralSVD) -> Results:
    """Fit anew at each lag time of the timescale plot, to check the lines that all come from one fit.

    Parameters
    ----------
    results : Results
        Of a transfer operator.
    estimator : NeuralSVD
        The one that was fitted: the refits have its options, and the seed of its fit. With a checkpoint folder an
        interrupted run goes on where it stopped.

    Returns
    -------
    Results
        The same with `refitted_timescales_by_lag`, and a remark on every process that does not agree.

    Raises
    ------
    InputError
        If the results are those of a generator, or of an estimator with other options.
    """
    model = results.model
    if not isinstance(model, NeuralSVDModel):
        raise InputError("a generator has no lag times: there is nothing to refit")
    stride = results.features.stride
    wanted = {"lagtime": estimator.lagtime, "n_modes": estimator.n_modes, "nesting": estimator.nesting}
    for name, value in {**wanted, "tied": bool(estimator.reversible)}.items():
        if model.config[name] != value:
            name, fitted = ("reversible", model.reversible) if name == "tied" else (name, model.config[name])
            raise InputError(
                f"{name} of the estimator is {value!r}, but these results are of a fit with {fitted!r}: give the "
                "estimator that was fitted"
            )
    refitted = refitted_timescales(
        estimator,
        model,
        results.features,
        stride * results.frame_time,
        {lag // stride: scales for lag, scales in results.timescales_by_lag.items()},
    )
    results = dataclasses.replace(
        results, refitted_timescales_by_lag={lag * stride: scales for lag, scales in refitted.items()}
    )
    remarks = disagreement_remarks(results.refit_agreement, results.frame_time, results.unit)
    return dataclasses.replace(results, warnings=[*results.warnings, *remarks])


def check_states(n_states: int | None, n_modes: int) -> None:
    """InputError where so many modes cannot tell so many metastable sets apart."""
    if n_states is not None and not 2 <= n_states <= n_modes + 1:
        raise InputError(
            f"--states is {n_states}: with {n_modes} modes there can be 2 to {n_modes + 1} metastable sets"
        )


def _remarks(model: NeuralSVDModel, timescales: list[Timescale], unit: str) -> list[str]:
    """What a reader of the numbers must know."""
    remarks = [
        f"process {i}: timescale unresolved, {t.unresolved}" for i, t in enumerate(timescales, 1) if t.unresolved
    ]
    if model.n_modes < model.config["n_modes"]:
        remarks.append(
            f"only {model.n_modes} of {model.config['n_modes']} modes are linearly independent on these data"
        )
    if not np.isfinite(model.scores["vamp2_test"]):
        remarks.append("the data are too short to hold part of them out: no early stopping and no held-out scores")
    if unit == "frames":
        remarks.append("the frame spacing is unknown: all times are in stored frames (give --timestep for ps)")
    if all(t.low is None and t.high is None for t in timescales):
        remarks.append(
            f"no error bars: the data hold fewer than {its.MIN_BLOCKS} blocks that could be resampled independently"
        )
    return remarks


def format_number(value: float | None, missing: str) -> str:
    """Three significant digits, plainly."""
    return missing if value is None else np.format_float_positional(float(f"{value:.3g}"), trim="-")
