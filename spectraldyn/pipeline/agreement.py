"""Whether refits at other lag times agree with the one fit, and how that is said."""

from itertools import zip_longest

import numpy as np

from spectraldyn.pipeline.remarks import Judgement
from spectraldyn.spectra.timescales import TOO_LONG, ByLag, Timescale
from spectraldyn.units import TimeAxis


def agreement(fitted: Timescale | None, refitted: Timescale | None, lag_time: float) -> bool | None:
    """Whether a refit gives the timescale of the one fit, within the 95 % interval of the latter.

    None where there is nothing to compare: a plot draws only what is slower than the lag time, and where neither is,
    or there are no error bars, it says nothing. Where only one of the two is slower, they agree if its interval
    reaches down to the lag time. Both are of the same process at the same lag time, which is in their unit; None where
    a fit found fewer processes.
    """
    slower = []
    for scale in (fitted, refitted):
        if scale is not None and scale.unresolved == TOO_LONG:
            return None
        if scale is not None and scale.value is not None and scale.value > lag_time:
            slower.append(scale)
    if not slower or (slower[0].low is None and slower[0].high is None):
        return None
    low, high = slower[0].low or 0.0, np.inf if slower[0].high is None else slower[0].high
    return low <= lag_time if len(slower) == 1 else bool(low <= (slower[1].value or 0.0) <= high)


def agreements(fitted: ByLag, refitted: ByLag, time: TimeAxis) -> dict[int, list[bool | None]]:
    """The `agreement` of every process at every lag time of the refits, whose timescales are in the unit of `time`."""
    return {
        lag: [agreement(*pair, time.time(lag)) for pair in zip_longest(fitted[lag], scales)]
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


def disagreement_remarks(agreement_by_lag: dict[int, list[bool | None]], time: TimeAxis) -> list[Judgement]:
    """A remark on every process whose refits do not agree, with the lag times at which they do not."""
    off: dict[int, list[float]] = {}
    for lag, row in agreement_by_lag.items():
        for process, agrees in enumerate(row, 1):
            if agrees is False:
                off.setdefault(process, []).append(time.time(lag))
    return [
        Judgement(
            "caution",
            f"process {process}: refitted at lag {time.unit_for(max(lags)).text(*lags)} its timescale lies outside the "
            "error bars of the one fit",
            process=process,
        )
        for process, lags in sorted(off.items())
    ]
