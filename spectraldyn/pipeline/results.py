"""What a fit has found: the record of a transfer operator, and that of a generator."""

from dataclasses import dataclass, field
from itertools import starmap

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.estimators import Attribution, GeneratorModel, NeuralSVDModel
from spectraldyn.pipeline.agreement import agreement_summary, agreements
from spectraldyn.pipeline.remarks import MEND_FIRST, Judgement, verdict_lines
from spectraldyn.pipeline.run import Stage
from spectraldyn.pipeline.tables import aligned, intervals_line, rate_rows, timescale_rows, with_error, with_interval
from spectraldyn.spectra.chapman_kolmogorov import ChapmanKolmogorov
from spectraldyn.spectra.intervals import Estimates
from spectraldyn.spectra.kinetics import Kinetics, MarkovStateModel, learned_committor
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.relearned import CrossValidation
from spectraldyn.spectra.states import CoherentSets, MetastableSets
from spectraldyn.spectra.timescales import ByLag, Timescale, slowest
from spectraldyn.units import TimeUnit


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
    populations: Estimates
    """(n_states,): of the sets, with 95 % intervals."""
    free_energies: Estimates
    """(n_states,): of the sets less that of the first, in kT, with 95 % intervals."""
    representatives: list[np.ndarray]
    """For every state, rows of `modes` that show it: the most probable frame, the medoid, then a spread over its core;
    see `spectraldyn.spectra.representatives.set_frames`."""
    verdict: list[Judgement]
    """What may be quoted, what not, and what to do next; the worst first."""
    warnings: list[str]
    """What reading the data and fitting them has to say; the verdict in sentences, less what is good."""
    seconds: float
    """Wall time of the fit, 0 where not measured."""
    temperature: float | None
    """In K, for free energies in kJ/mol; None where it was not told."""
    attribution: list[Attribution] = field(kw_only=True)
    """What drives each process: features and residues that its eigenfunction depends on, ranked."""
    n_refits: int = field(default=0, kw_only=True)
    """Refits whose errors of learning the intervals hold beside those of sampling; without any sampling alone."""
    stages: tuple[Stage, ...] = field(default=(), kw_only=True)
    """What took how long, with how much memory; empty where not measured."""

    @property
    def unit(self) -> str:
        """Of every time here: "ps", or "frames" (stored ones) where their spacing is unknown."""
        return self.data.time.unit

    @property
    def intervals_line(self) -> str:
        """Which errors the intervals hold."""
        return intervals_line(self.n_refits)

    @property
    def title(self) -> str:
        """What the table shows."""
        raise NotImplementedError

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every process, as text."""
        raise NotImplementedError

    def notes(self) -> list[str]:
        """What must be known to read the table, and the metastable sets: one line each."""
        return [self.intervals_line, self._sets_line()]

    def __repr__(self) -> str:
        return "\n".join([self.title, *aligned(self.table()), *self.notes(), *verdict_lines(self.verdict)])

    def _sets_line(self) -> str:
        populations = ", ".join(starmap(with_interval, zip(*self.populations, strict=True)))
        line = f"Metastable sets: {len(self.populations.value)}, populations {populations}"
        return line if self.quotable else f"{line}; not to be quoted, see the verdict"

    @property
    def quotable(self) -> bool:
        """Whether nothing is wrong with the whole."""
        return all(one.message != MEND_FIRST for one in self.verdict)


@dataclass(frozen=True, repr=False)
class TransferResults(Results):
    """The slow spectrum of a transfer operator."""

    model: NeuralSVDModel
    eigenfunctions: np.ndarray
    """(n_rows, n_modes): the eigenfunctions that belong to the timescales. The same functions as `modes` where the
    dynamics are taken as reversible; otherwise possibly complex, while `modes` are the left singular functions."""
    timescales_by_lag: ByLag
    """Lag time in rows → timescales of the same functions at that lag time, in `unit`."""
    kinetics: Kinetics
    """How the sets exchange; times in `unit`."""
    set_matrix: np.ndarray
    """(n_states, n_states): how memberships propagate over the lag time; see `propagated_memberships`."""
    chapman_kolmogorov: ChapmanKolmogorov | None
    """Whether the model predicts what the data show at longer times; None where no trajectory is long enough."""
    n_carried: int
    """Modes that the data carry: all that held-out data do not refute, and none where these are too few to say."""
    coherent_sets: CoherentSets | None = None
    """Where the sets have moved a lag time later; None where the dynamics are taken as reversible."""
    cross_validation: CrossValidation | None = None
    """Scores of the refits on what each has not drawn; None without any."""
    refitted_timescales_by_lag: ByLag | None = None
    """As `timescales_by_lag`, but at every lag time of a new fit; None where none was asked for."""

    @property
    def msm(self) -> MarkovStateModel | None:
        """deeptime's Markov state model of clusters in the space of the modes, for its functions and plots."""
        return self.kinetics.msm

    @property
    def mfpt(self) -> np.ndarray:
        """Mean first passage times in `unit`, (n_states, n_states), from row to column; NaN where undetermined."""
        return self.kinetics.mfpt.value

    def committor(self, source: int, target: int) -> np.ndarray:
        """Probability of every row (n_rows,) to reach the core of the target before that of the source.

        Sets are counted from 0. From the Markov state model; NaN for rows of clusters that it does not hold.
        """
        return self.kinetics.committor(source, target).value[self.kinetics.clusters.assignment]

    def neural_committor(self, source: int, target: int) -> np.ndarray:
        """The same, read off the learned functions alone; see `learned_committor`."""
        return learned_committor(self.sets, self.set_matrix, source, target)

    @property
    def display_unit(self) -> TimeUnit:
        """In which tables and figures show times: readable for the slowest process."""
        return self.data.time.unit_for(slowest(self.timescales) or self.lag_time)

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

    def _encoder_line(self) -> str | None:
        """What of coordinates the modes are learned from."""
        encoding = self.model.settings.layout.encoding
        if encoding is None:
            return None
        if not encoding.trained:
            return f"Of the coordinates: {encoding.plain_in_words}, without an encoder"
        beside = f", beside {encoding.plain_in_words}" if encoding.plain_in_words else ""
        return f"Of the coordinates: features learned by {encoding.encoder}{beside}"

    def _scores_line(self) -> str | None:
        found = self.cross_validation
        if found is None:
            return None
        shown = []
        for name, (mean, error) in (("VAMP-2", found.mean("vamp2")), ("VAMP-E", found.mean("vampe"))):
            shown.append(f"{name} " + (with_error(mean, error) if np.isfinite(error) else "–"))
        return "Cross-validated: " + ", ".join(shown)

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"Implied timescales at lag {self.data.time.lag_text(self.model.lagtime)}"

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every process, as text."""
        return timescale_rows(self.timescales, self.display_unit)

    def notes(self) -> list[str]:
        """What must be known to read the table, scores, and the metastable sets: one line each."""
        told = [self._encoder_line(), self.intervals_line, self._scores_line(), self.refit_summary, self._sets_line()]
        return [line for line in told if line]


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

    @property
    def unit(self) -> str:
        """Of every time: that of D."""
        return "ps"

    @property
    def display_unit(self) -> TimeUnit:
        """In which tables and figures show times and, inverted, rates: readable for the slowest process."""
        return TimeUnit.for_time(slowest(self.timescales) or 1.0)

    @property
    def title(self) -> str:
        """What the table shows."""
        return "Relaxation rates of the generator" + (f" in {self.potential}" if self.potential else "")

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every process, as text."""
        return rate_rows(self.rates, self.timescales, self.exact_rates, self.display_unit)
