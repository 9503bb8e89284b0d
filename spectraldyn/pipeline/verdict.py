"""The verdict on a fit: what may be quoted, what not, and what to do next."""

from collections.abc import Sequence

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.data.weights import effective_sample_size
from spectraldyn.estimators import NeuralSVDModel
from spectraldyn.pipeline.remarks import MEND_FIRST, Judgement, in_order, trajectory_name
from spectraldyn.pipeline.sets import Gap
from spectraldyn.pipeline.tables import format_number, timescale_cells
from spectraldyn.spectra.chapman_kolmogorov import ChapmanKolmogorov
from spectraldyn.spectra.diagnostics import MIN_CURRENT, current, drifting, duplicates, frozen_ends
from spectraldyn.spectra.kinetics import Kinetics
from spectraldyn.spectra.plateau import plateau
from spectraldyn.spectra.states import MetastableSets
from spectraldyn.spectra.timescales import Timescale, slowest, slowest_rows
from spectraldyn.units import TimeAxis

SURE = 0.002
"""Chance of a false alarm: none in five hundred resampled data sets is as far off. With many fits, one in twenty of
which fails a test at 95 % by chance, an alarm would soon be ignored."""

LEAST_EFFECTIVE = 0.1
"""Share of the frames that weighted ones should at least be worth."""
MOST_TOLD = 1e6
"""Ratios of timescales beyond this are as good as infinite."""


def on_data(data: Dataset, modes: np.ndarray) -> list[Judgement]:
    """What is wrong with the trajectories themselves, whose slow modes are (n_rows, n_modes)."""
    said = []
    for group in duplicates(data):
        copies = ", ".join(trajectory_name(data, number) for number in group)
        said.append(
            Judgement(
                "problem",
                f"the same trajectory was given {len(group)} times ({copies}): what it shows is counted as if it were "
                "independent, and error bars are too small",
                "give it once",
            )
        )
    for number, n_frozen in enumerate(frozen_ends(data)):
        if n_frozen:
            said.append(
                Judgement(
                    "problem",
                    f"the last {n_frozen} frames of {trajectory_name(data, number)} do not differ: the simulation had "
                    "stopped moving",
                    "cut them off",
                )
            )
    one_way = [str(number) for number, drifts in enumerate(drifting(modes, data.stretches, data.weight), 1) if drifts]
    if one_way:
        said.append(
            Judgement(
                "problem",
                f"the trajectories drift: along mode{'s' * (len(one_way) > 1)} {', '.join(one_way)} they move one way "
                "in time, as while a simulation is still on its way to equilibrium",
                "leave the start out with `skip`, or simulate for longer",
            )
        )
    return said


def on_weights(data: Dataset) -> list[Judgement]:
    """How much is left of weighted data."""
    if data.weight is None:
        return []
    worth, n_rows = effective_sample_size(data.weight), data.n_rows
    left = f"the weights leave as much as {worth:,.0f} of {n_rows:,} frames without weights"
    if worth >= LEAST_EFFECTIVE * n_rows:
        return [Judgement("good", left)]
    return [Judgement("caution", left, "weights that differ less, as from a weaker bias, would leave more")]


def on_weighted_pairs(data: Dataset) -> list[Judgement]:
    """Of what the timescales are where pairs of frames have weights."""
    if data.weight is None:
        return []
    moved = "weights correct where the motion starts and not how it goes on: timescales and passage times of a biased "
    return [Judgement("caution", moved + "simulation are those of its biased dynamics")]


def on_balance(model: NeuralSVDModel, data: Dataset, modes: np.ndarray) -> list[Judgement]:
    """Whether dynamics that were taken as reversible are that."""
    if not model.reversible:
        return []
    longest = slowest_rows(model.timescales(), model.lagtime)
    found = current(modes, data.stretches, model.lagtime, longest, model.settings.seed, data.weight)
    if found is None or found[0] < MIN_CURRENT or found[1] > SURE:
        return []
    if data.weight is not None:
        return [
            Judgement(
                "problem",
                "the dynamics were taken as reversible, but weighted correlations between the slow modes run one way "
                f"in time ({found[0]:.2g} of their variance): the pairs go on under a bias, in detailed balance with "
                "the law that was sampled and not with the one that the weights lead to",
                "fit with `reversible` False, or without weights for the biased dynamics alone",
            )
        ]
    return [
        Judgement(
            "problem",
            "the dynamics were taken as reversible, but correlations between the slow modes run one way in time "
            f"({found[0]:.2g} of their variance): there is no detailed balance, as in driven systems",
            "fit with `reversible` False",
        )
    ]


def on_markovianity(test: ChapmanKolmogorov | None, data: Dataset) -> list[Judgement]:
    """What the Chapman–Kolmogorov test says."""
    if test is None or test.passes is None:
        few = "the trajectories are too short, or too few, for a Chapman–Kolmogorov test"
        return [Judgement("caution", few, "give more or longer ones, or a shorter `lag`")]
    reach = data.time.lag_text(int(test.lagtimes[-1]))
    if test.passes:
        return [Judgement("good", f"the Chapman–Kolmogorov test is passed, up to {reach}")]
    if test.p_value is not None and test.p_value > SURE:
        return []
    lag, state = np.unravel_index(test.differences.argmax(), test.differences.shape)
    predicted, estimated = test.predicted.value[lag, state], test.estimated.value[lag, state]
    return [
        Judgement(
            "problem",
            f"the Chapman–Kolmogorov test fails: after {data.time.lag_text(int(test.lagtimes[lag]))} the chance to be "
            f"in set {state + 1} again is {estimated:.3g}, where the model predicts {predicted:.3g}: at this lag time "
            "the modes do not describe Markovian dynamics, and timescales are too short",
            "give a longer `lag`, other or more `features`, or more `n_modes`",
        )
    ]


def on_plateau(model: NeuralSVDModel, timescales: Sequence[Timescale], time: TimeAxis) -> list[Judgement]:
    """Timescales that still climb with the lag time."""
    if not model.reversible:
        return []
    said, unit = [], time.unit_for(slowest(timescales) or time.time(model.lagtime))
    found = plateau(model.moments, model.lagtime, model.settings.seed, 1 - SURE)
    for number, (scale, level) in enumerate(zip(timescales, found, strict=False), 1):
        if scale.unresolved is not None:
            continue
        head = f"process {number}: its timescale still climbs with the lag time"
        if level.reached and level.from_lag is not None and level.from_lag > model.lagtime:
            at = time.lag_text(level.from_lag)
            said.append(
                Judgement(
                    "caution",
                    f"{head}, up to {at}: it is a lower bound",
                    f"take `lag` {time.typed_lag(level.from_lag)}",
                    number,
                )
            )
        elif level.reached is False and level.change is not None and level.change.climbs and level.to_lag is not None:
            ends = (time.time(end) / unit.size for end in (level.change.reference, level.change.value))
            shorter, longer = (format_number(end, "–") for end in ends)
            said.append(
                Judgement(
                    "caution",
                    f"{head}, from {shorter} to {longer} {unit.name} at {time.lag_text(level.to_lag)}: it is a lower "
                    "bound",
                    "give a longer `lag`, or `features` that see more of the process",
                    number,
                )
            )
    return said


def on_events(kinetics: Kinetics) -> list[Judgement]:
    """Sets that were entered once, or never."""
    entered = kinetics.n_passages.max(axis=0, initial=0)
    rare = [str(number) for number, count in enumerate(entered, 1) if count == 1]
    if not rare:
        return []
    return [
        Judgement(
            "caution",
            f"set{'s' * (len(rare) > 1)} {', '.join(rare)} {'were' if len(rare) > 1 else 'was'} entered once: "
            "populations and passage times rest on a single event",
            "simulate for longer, or start more trajectories there",
        )
    ]


def on_number_of_sets(sets: MetastableSets, gap: Gap | None) -> list[Judgement]:
    """Why there are so many metastable sets, where that was not asked for."""
    if gap is None or not gap.sure or len(sets.populations) != gap.process + 1:
        return []
    ratio, low, high = (format_number(x if x < MOST_TOLD else None, "∞") for x in (gap.ratio, gap.low, gap.high))
    return [
        Judgement(
            "good",
            f"{gap.process + 1} metastable sets: the last sure gap in the timescales is that after process "
            f"{gap.process}, a factor of {ratio} ({low} – {high})" + " to the lag time" * gap.to_lag,
        )
    ]


def concluded(told: Sequence[Judgement], timescales: Sequence[Timescale], time: TimeAxis) -> list[Judgement]:
    """The verdict: all that was told, and which timescales may be quoted; the worst first.

    Where something is wrong with the whole, none may, and nothing is good.
    """
    if any(one.level == "problem" and one.process is None for one in told):
        bad = [one for one in told if one.level != "good"]
        return in_order([*bad, Judgement("problem", MEND_FIRST)])
    said, unit = [], time.unit_for(slowest(timescales) or 0.0)
    for number, scale in enumerate(timescales, 1):
        if scale.unresolved is None and scale.low is not None:
            value, low, high, _ = timescale_cells(scale, unit)
            quoted = f"process {number}: {value} {unit.name} ({low} – {high}) may be quoted"
            said.append(Judgement("good", quoted, process=number))
    return in_order([*told, *(said or [Judgement("problem", "no timescale may be quoted")])])
