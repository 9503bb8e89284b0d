"""How far the slowest timescale depends on lag time, modes and features: what `spectraldyn scan` does."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from sklearn.base import clone
from tqdm.auto import tqdm

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError
from spectraldyn.estimators import NeuralSVD
from spectraldyn.estimators.base import pick_device
from spectraldyn.features import load_features
from spectraldyn.pipeline.refit import fit_quietly, kept_fits_folder
from spectraldyn.pipeline.remarks import Findings
from spectraldyn.pipeline.run import Run
from spectraldyn.pipeline.sensitivity import (
    AXES,
    AxisVerdict,
    Scan,
    ScanFit,
    change_verdict,
    in_unit,
    lag_verdict,
    undecided,
)
from spectraldyn.spectra.plateau import Source, changes, plateau_of
from spectraldyn.spectra.timescales import SHORTER, in_time, read_off_timescales
from spectraldyn.units import Duration, TimeAxis, parse_duration

LAG_FACTORS = (Fraction(1, 2), 2, 4)
"""Lag times beside that of the reference where none are listed, as multiples of it."""
MORE_MODES = (-1, 2)
"""Numbers of modes beside that of the reference where none are listed, less its own."""

FeatureSet = str | tuple[str | Callable[..., Any], ...] | None
FeatureSets = str | Callable[..., Any] | Sequence[str | Callable[..., Any] | Sequence[str | Callable[..., Any]]] | None


class _Setting(NamedTuple):
    """Of one fit; `varied` is what differs from the reference."""

    varied: str | None
    lagtime: int
    n_modes: int
    features: FeatureSet


class _Fitted(NamedTuple):
    """A fit, and where its slowest timescale can be resampled; None where it must not be trusted."""

    fit: ScanFit
    source: Source | None
    seed: int


def scan_trajectories(
    files: str | Path | Sequence[str | Path],
    *,
    lag: str | float | Sequence[str | float],
    n_modes: int | Sequence[int] = 3,
    features: FeatureSets = None,
    top: str | Path | None = None,
    atoms: str | None = None,
    stride: int = 1,
    skip: str | float | None = None,
    timestep: str | float | None = None,
    progress: bool = False,
    run: Run | None = None,
    **estimator: Any,
) -> Scan:
    """Fit with several lag times, numbers of modes and features, one thing varied at a time, and compare.

    The first of each is the reference; what lists several values is varied, the rest kept at the reference. Where
    nothing does, the lag time is varied by factors of ½, 2 and 4, as far as the data go, and the modes by −1 and +2.
    Features of one set are computed once. With a checkpoint folder an interrupted scan goes on where it stopped.

    Parameters
    ----------
    files, top, atoms, stride, skip, timestep
        See `load_features`.
    lag : str, int, or sequence of them
        Lag times: stored frames (50) or times ("50ps"), multiples of `stride`; several also as "5ps,10ps".
    n_modes : int or sequence of int
        Relaxation processes, the constant one not counted.
    features : str or sequence, optional
        One set of features ("torsions,contacts"), or a sequence of sets; functions of one's own may be among them. See
        `load_features`.
    progress : bool
        Show progress bars on stderr.
    run : Run, optional
        See `fit_trajectories`.
    **estimator
        Further options of `NeuralSVD`, alike for all fits.

    Returns
    -------
    Scan

    Raises
    ------
    InputError
        One sentence on what in the input cannot be used.
    """
    durations, modes, sets = _lags(lag), _numbers_of_modes(n_modes), _feature_sets(features)
    learner = NeuralSVD(**estimator)
    reading: dict[str, Any] = {"atoms": atoms, "stride": stride, "skip": skip, "timestep": timestep}
    reading["device"] = pick_device(learner.device).type
    mine = Run() if run is None else run
    with mine.stage("reading"):
        data = load_features(files, top, sets[0], **reading, progress=progress)
    settings = _settings(durations, modes, sets, data)
    done: list[_Fitted] = []
    notes = list(data.warnings)
    with mine.stage("fits"), tqdm(settings, "scanning", unit="fit", leave=False, disable=not progress) as bar:
        for setting in bar:
            bar.set_postfix_str(f"lag {data.time.time(setting.lagtime):g}, {setting.n_modes} modes")
            if setting.varied == "features":
                data = load_features(files, top, setting.features, **reading)
                notes += data.warnings
            own = clone(learner).set_params(lagtime=setting.lagtime, n_modes=setting.n_modes)
            done.append(_fitted(setting, own, data, mine.keep(kept_fits_folder(own, data))))
            # A seed that was drawn is that of all fits: they differ in what is varied alone.
            learner.set_params(random_state=done[0].seed)
    if run is None:
        mine.remove_kept()
    fits, verdicts = [one.fit for one in done], _verdicts(done, data.time)
    about = done[0].seed, bool(learner.reversible), list(dict.fromkeys(notes)), data.files, data.n_rows
    return Scan(fits, verdicts, data.time, *about)


def _lags(lag: str | float | Sequence[str | float]) -> list[Duration]:
    """Lag times as the user gave them, the reference first."""
    values = lag.split(",") if isinstance(lag, str) else list(lag) if isinstance(lag, Iterable) else [lag]
    if not values:
        raise InputError("`lag` is empty: give at least one lag time")
    return [parse_duration(value, "`lag`") for value in values]


def _numbers_of_modes(n_modes: int | Sequence[int]) -> list[int]:
    """The numbers of modes asked for, the reference first."""
    numbers = list(n_modes) if isinstance(n_modes, Iterable) else [n_modes]
    if not numbers:
        raise InputError("`n_modes` is empty: give at least one number of modes")
    for number in numbers:
        if not (isinstance(number, Integral) and number >= 1):
            raise InputError(f"`n_modes` is {number!r}: it must be a whole number of at least 1")
    return list(dict.fromkeys(int(number) for number in numbers))


def _feature_sets(features: FeatureSets) -> list[FeatureSet]:
    """What `load_features` takes for every set, the reference first; None for those that suit the molecule."""
    if features is None or isinstance(features, str):
        return [features]
    if callable(features):
        return [(features,)]
    sets = [one if isinstance(one, str) else tuple([one] if callable(one) else one) for one in features]
    if not sets:
        raise InputError("`features` is empty: give at least one set of features, or leave it out")
    return list(dict.fromkeys(sets))


def _settings(durations: list[Duration], modes: list[int], sets: list[FeatureSet], data: Dataset) -> list[_Setting]:
    """The fits to make: the reference, then those that differ from it, features last."""
    longest = max(map(len, data))
    lags = list(dict.fromkeys(data.time.rows_of_lag(duration, longest) for duration in durations))
    lag, number, features = lags[0], modes[0], sets[0]
    if len(lags) == len(modes) == len(sets) == 1:
        multiples = (factor * lag for factor in LAG_FACTORS)
        lags += [int(rows) for rows in multiples if rows == int(rows) and rows <= longest // 2]
        modes = [number, *(number + more for more in MORE_MODES if number + more >= 1)]
    return [
        _Setting(None, lag, number, features),
        *(_Setting("lag", other, number, features) for other in lags[1:]),
        *(_Setting("modes", lag, other, features) for other in modes[1:]),
        *(_Setting("features", lag, number, other) for other in sets[1:]),
    ]


def _fitted(setting: _Setting, learner: NeuralSVD, data: Dataset, folder: Path | None) -> _Fitted:
    """The fit with one setting, read off as `analyze` does."""
    started = time.perf_counter()
    model, functions = fit_quietly(learner, data, folder)
    seconds = time.perf_counter() - started
    lag, seed = model.lagtime, model.settings.seed
    doubts = Findings.of(model, data, model.modes_from(functions)).doubts
    here = read_off_timescales(model.moments, functions, data.stretches, lag, seed, lagtimes=[lag], doubts=doubts)
    scales = here[lag]
    vamp2, vampe = (model.scores[name] for name in ("vamp2_test", "vampe_test"))
    fit = ScanFit(
        setting.varied,
        lag,
        setting.n_modes,
        tuple(data.options.get("features") or ()),
        len(data.columns),
        [in_time(scale, data.time.row_time) for scale in scales],
        vamp2 if math.isfinite(vamp2) else None,
        vampe if math.isfinite(vampe) else None,
        seconds,
    )
    # To be faster than the lag time is a finding too, and which lag times count is for the plateau test to say.
    trusted = fit.doubt in (None, SHORTER)
    source = Source(model.moments, model.moments.at(lag), model.eigenmodes, 0) if trusted else None
    return _Fitted(fit, source, seed)


def _verdicts(done: list[_Fitted], axis_of_time: TimeAxis) -> list[AxisVerdict]:
    """For everything that was varied."""
    verdicts = []
    reference = done[0]
    for axis in AXES:
        mine = [one for one in done if one.fit.varied == axis]
        if not mine:
            continue
        if reference.source is None or reference.fit.doubt:
            verdicts.append(undecided(axis, reference.fit))
        elif axis == "lag":
            known = sorted((one.source for one in [reference, *mine] if one.source), key=lambda source: source.lagtime)
            found = plateau_of(known, known[0].lagtime, reference.source.value, reference.seed)
            verdicts.append(lag_verdict(found, reference.fit.lagtime, axis_of_time))
        else:
            verdicts.append(_change_verdict(axis, reference.source, reference.seed, mine, axis_of_time))
    return verdicts


def _change_verdict(
    axis: str, reference: Source, seed: int, others: list[_Fitted], axis_of_time: TimeAxis
) -> AxisVerdict:
    """From the fits with other modes, or other features, beside the slowest process of the reference."""
    sources = {one.fit.setting(axis, axis_of_time): one.source for one in others}
    known = {name: source for name, source in sources.items() if source is not None}
    found = changes([reference, *known.values()], reference.value, seed) if known else None
    if found is None:
        return change_verdict(axis, {}, list(sources), axis_of_time.unit)
    changed = {name: in_unit(change, axis_of_time) for name, change in zip(known, found, strict=True)}
    return change_verdict(axis, changed, [name for name in sources if name not in known], axis_of_time.unit)
