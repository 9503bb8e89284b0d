"""From trajectory files and a known potential to relaxation rates: what `spectraldyn fit --operator generator` does."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spectraldyn.errors import InputError
from spectraldyn.estimators.generator_svd import GeneratorSVD
from spectraldyn.estimators.model import GeneratorModel
from spectraldyn.features.load import Features, load_features
from spectraldyn.pipeline.transfer import REPRESENTATIVES, Results, check_states
from spectraldyn.spectra.generator import Rate, correlation_frames, rate_intervals
from spectraldyn.spectra.states import cluster_modes, metastable_sets, representative_frames
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.systems import SYSTEMS


def fit_generator(
    files: str | Path | Sequence[str | Path],
    potential: str,
    *,
    top: str | Path | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    n_states: int | None = None,
    progress: bool = False,
    **estimator: Any,
) -> Results:
    """Relaxation rates of overdamped Langevin dynamics in a known potential, from the states in trajectory files.

    Parameters
    ----------
    files, top, stride, skip, timestep
        See `load_features`. The first d Cartesian coordinates, in nm, are the state of a potential of d dimensions;
        of .npy and .npz arrays the first d columns. The time between frames is not needed.
    potential : str
        Name in `spectraldyn.systems.SYSTEMS`; it gives the force and the diffusion, in nm²/ps.
    n_states : int, optional
        Number of metastable sets; by default from the largest gap between the rates.
    progress : bool
        Show progress bars on stderr.
    **estimator
        Options of `GeneratorSVD`, except diffusion, force and beta.

    Raises
    ------
    InputError
        One sentence on what in the input cannot be used.
    """
    started = time.perf_counter()
    if potential not in SYSTEMS:
        names = [name for name, system in SYSTEMS.items() if not getattr(system, "periodic", False)]
        raise InputError(f"--potential {potential} is unknown: choose one of {', '.join(names)}")
    system = SYSTEMS[potential]
    if getattr(system, "periodic", False):
        raise InputError(
            f"--potential {potential} lives on a torus, where coordinates in nm mean nothing: use "
            "spectraldyn.learn_spectrum with periodic features"
        )
    learner = GeneratorSVD(
        diffusion=system.diffusion, force=system.force, beta=system.beta, progress=progress, **estimator
    )
    check_states(n_states, learner.n_modes)
    loaded = load_features(
        files,
        top=top,
        features=None if _ready_made(files) else "positions",
        stride=stride,
        skip=skip,
        timestep=timestep,
        columns=system.dimension,
        progress=progress,
    )
    _check_domain(loaded, potential, system.domain)
    model = learner.fit_fetch([np.asarray(part, dtype=np.float64) for part in loaded])
    results = analyze_generator(model, loaded, n_states)
    return dataclasses.replace(
        results,
        potential=potential,
        exact_rates=system.rates(model.n_modes),
        seconds=time.perf_counter() - started,
    )


def analyze_generator(model: GeneratorModel, features: Features, n_states: int | None = None) -> Results:
    """Read rates with error bars and metastable sets off a fitted model of a generator.

    Parameters
    ----------
    model : GeneratorModel
        Fitted on `features`, with D in nm²/ps.
    features : Features
        From `load_features`. Every frame counts the same in the populations: of a model fitted with weights, these
        are populations of the law that was sampled.
    n_states : int, optional
        Number of metastable sets; by default from the largest gap between the rates.

    Raises
    ------
    InputError
        If `n_states` is not between 2 and one more than the number of modes.
    """
    check_states(n_states, model.n_modes)
    ends = np.cumsum([len(part) for part in features]).tolist()
    stretches = [range(stop - len(part), stop) for stop, part in zip(ends, features, strict=True)]
    modes = model.transform(np.concatenate(features))
    seed = model.config["seed"]
    rates = rate_intervals(model.decomposition, model.moments, correlation_frames(modes, stretches), seed)
    if n_states is None:
        values = np.maximum(model.rates, 1e-12 * model.rates[-1])
        n_states = 2 if len(values) == 1 else 2 + int(np.argmax(values[1:] / values[:-1]))
    sets = metastable_sets(modes, cluster_modes(modes, seed), n_states)
    return Results(
        model=model,
        features=features,
        lag_frames=None,
        unit="ps",
        frame_time=float("nan") if features.timestep_ps is None else features.timestep_ps,
        timescales=[_timescale(rate) for rate in rates],
        timescales_by_lag={},
        modes=modes,
        eigenfunctions=modes,
        sets=sets,
        mfpt=None,
        representatives=representative_frames(modes, sets, REPRESENTATIVES, seed),
        warnings=[*features.warnings, *_remarks(model, rates)],
        rates=rates,
    )


def _ready_made(files: str | Path | Sequence[str | Path]) -> bool:
    first = files if isinstance(files, str | Path) else files[0]
    return Path(first).suffix.lower() in (".npy", ".npz")


def _check_domain(features: Features, potential: str, domain: Sequence[tuple[float, float]]) -> None:
    """Frames far outside the region where the potential is defined come from another system or other units."""
    for part, source in zip(features, features.sources, strict=True):
        for k, (low, high) in enumerate(domain):
            outside = np.flatnonzero((part[:, k] < low) | (part[:, k] > high))
            if len(outside):
                row = outside[0]
                raise InputError(
                    f"{source.path}: in frame {source.frames[row]} {features.columns[k]} is {part[row, k]:g}, outside "
                    f"the domain of {potential}, {low:g} to {high:g} nm: give the potential these files were made in"
                )


def _timescale(rate: Rate) -> Timescale:
    low, high = (None if bound is None or bound <= 0 else 1 / bound for bound in (rate.high, rate.low))
    return Timescale(1 / rate.value if rate.value else None, low, high, None, rate.unresolved)


def _remarks(model: GeneratorModel, rates: list[Rate]) -> list[str]:
    remarks = [f"process {i}: rate unresolved, {rate.unresolved}" for i, rate in enumerate(rates, 1) if rate.unresolved]
    if model.n_modes < model.config["n_modes"]:
        remarks.append(
            f"only {model.n_modes} of {model.config['n_modes']} modes are linearly independent on these data"
        )
    if not np.isfinite(model.scores["resolvent_test"]):
        remarks.append("no part of the data was held out: no early stopping and no held-out scores")
    if all(rate.low is None for rate in rates):
        remarks.append("no error bars: the data hold too few stretches that could be resampled independently")
    return remarks
