"""What a fit has found: the record of a transfer operator, and that of a generator."""

from dataclasses import dataclass

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.estimators import GeneratorModel, NeuralSVDModel
from spectraldyn.pipeline.agreement import agreement_summary, agreements
from spectraldyn.pipeline.tables import rate_table, timescale_table
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.states import MetastableSets
from spectraldyn.spectra.timescales import ByLag, Timescale


@dataclass(frozen=True, repr=False)
class Results:
    """The slow spectrum of a data set and what follows from it, whatever the operator."""

    model: NeuralSVDModel | GeneratorModel
    data: Dataset
    """Knows files, frames, columns and times."""
    timescales: list[Timescale]
    """Slowest first, with 95 % intervals, in `unit`."""
    modes: np.ndarray
    """(n_rows, n_modes): of all rows, stretch after stretch."""
    sets: MetastableSets
    representatives: list[np.ndarray]
    """For every state, rows of `modes` that show it: the most probable frame, the medoid, then a spread over its core;
    see `spectraldyn.spectra.representatives.set_frames`."""
    warnings: list[str]
    seconds: float
    """Wall time of the fit, 0 where not measured."""

    def _sets_line(self) -> str:
        populations = ", ".join(f"{p:.3g}" for p in self.sets.populations)
        return f"Metastable sets: {len(self.sets.populations)}, populations {populations}"


@dataclass(frozen=True, repr=False)
class TransferResults(Results):
    """The slow spectrum of a transfer operator."""

    model: NeuralSVDModel
    eigenfunctions: np.ndarray
    """(n_rows, n_modes): the eigenfunctions that belong to the timescales. The same functions as `modes` where the
    dynamics are taken as reversible; otherwise possibly complex, while `modes` are the left singular functions."""
    timescales_by_lag: ByLag
    """Lag time in rows → timescales of the same functions at that lag time, in `unit`."""
    mfpt: np.ndarray
    """(n_states, n_states): mean first passage times in `unit`, from row to column; NaN where undetermined."""
    n_carried: int
    """Modes that the data carry: all that held-out data do not refute, and none where these are too few to say."""
    refitted_timescales_by_lag: ByLag | None = None
    """As `timescales_by_lag`, but at every lag time of a new fit; None where none was asked for."""

    @property
    def unit(self) -> str:
        """Of every time: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return self.data.time.unit

    @property
    def lag_time(self) -> float:
        """Lag time in `unit`."""
        return self.data.time.time(self.model.lagtime)

    @property
    def refit_agreement(self) -> dict[int, list[bool | None]]:
        """Lag time in rows → for every process whether the refit gives its timescale within the error bars.

        None where there is nothing to compare (see `spectraldyn.pipeline.agreement`). Empty without refits; the lag
        time of the fit, where a refit is the fit itself, is left out.
        """
        if self.refitted_timescales_by_lag is None:
            return {}
        refits = {lag: scales for lag, scales in self.refitted_timescales_by_lag.items() if lag != self.model.lagtime}
        return agreements(self.timescales_by_lag, refits, self.data.time)

    @property
    def refit_summary(self) -> str | None:
        """One sentence on how far refits at other lag times agree; None without refits."""
        return None if self.refitted_timescales_by_lag is None else agreement_summary(self.refit_agreement)

    def __repr__(self) -> str:
        title = f"Implied timescales at lag {self.lag_time:g} {self.unit}"
        table, refits = timescale_table(self.timescales, self.unit), filter(None, [self.refit_summary])
        return "\n".join([title, *table, *refits, self._sets_line()])


@dataclass(frozen=True, repr=False)
class GeneratorResults(Results):
    """The slow spectrum of a generator; times are in ps where D is in nm²/ps."""

    model: GeneratorModel
    rates: list[Rate]
    """Relaxation rates per `unit`, with 95 % intervals."""
    potential: str | None = None
    """Name of the potential."""
    exact_rates: np.ndarray | None = None
    """(n_modes,) or None: known rates of that potential."""

    unit = "ps"

    def __repr__(self) -> str:
        title = "Relaxation rates of the generator" + (f" in {self.potential}" if self.potential else "")
        return "\n".join([title, *rate_table(self.rates, self.exact_rates, self.unit), self._sets_line()])
