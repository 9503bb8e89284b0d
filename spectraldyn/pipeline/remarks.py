"""What a reader of the numbers must know: where they disagree, what the data do not carry, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spectraldyn.data import Dataset
from spectraldyn.estimators import GeneratorModel, NeuralSVDModel
from spectraldyn.spectra.doubts import MIN_HELD_OUT, STANDARD_ERRORS, confirmed, separate_groups
from spectraldyn.spectra.intervals import MIN_BLOCKS
from spectraldyn.spectra.rates import UNTRAINED, Rate
from spectraldyn.spectra.states import MetastableSets
from spectraldyn.spectra.timescales import Timescale, matched

NORM_TOLERANCE = 0.1
"""Norms further than this share from the Ritz values, and outside their intervals, are remarked upon."""
LEAST_SCORE = 0.5
"""Share of the training VAMP-2, less the constant's 1, below which the held-out one is far from it."""
ROWS_PER_FEATURE = 10
"""Frames for each feature below which linear coordinates are fitted to the sample."""
NAMES_SHOWN = 3
CLEARLY_SLOWER = 2
"""A process is, if its timescale is at least so many lag times."""
MEND_FIRST = "no timescale should be quoted before this is mended"
"""Said where a problem is one of the whole."""
LEVELS = ("problem", "caution", "good")
"""Of judgements, the worst first."""


@dataclass(frozen=True)
class Judgement:
    """One thing that a reader of the numbers must know."""

    level: str
    """{"good", "caution", "problem"}: may be quoted; may be, with this in mind; must not be."""
    message: str
    advice: str | None = None
    """What to do about it; None where nothing is to be done."""
    process: int | None = None
    """Which process it is about, from 1; None for all of them together."""

    def __str__(self) -> str:
        return self.message if self.advice is None else f"{self.message}; {self.advice}"


@dataclass(frozen=True)
class Findings:
    """What speaks against the timescales of a transfer operator."""

    model: NeuralSVDModel
    data: Dataset
    confirmed: list[bool | None]
    """Of every eigenfunction of the model, whether held-out data confirm it; None where they cannot say."""
    groups: np.ndarray
    """(n_stretches,): see `separate_groups`."""

    @classmethod
    def of(cls, model: NeuralSVDModel, data: Dataset, modes: np.ndarray) -> "Findings":
        """From the modes (n_rows, n_modes) of a model fitted on `data`."""
        gram = model.moments.means(model.moments.at(model.lagtime))[0]
        held_out, old = model.held_out, model.held_out.functions
        # The last part of the training has moved the functions, and these combinations of them no longer have norm 1.
        norms = np.einsum("ik,ij,jk->k", old.conj(), gram, old).real
        old = old / np.sqrt(np.maximum(norms, np.finfo(float).tiny))
        verdicts = matched(gram, old, model.eigenmodes.functions, confirmed(held_out), None)
        return cls(model, data, verdicts, separate_groups(modes, data.stretches))

    @property
    def n_carried(self) -> int:
        """Modes that the data carry: all that held-out data do not refute, and none where these are too few to say."""
        return 0 if self._too_short else sum(verdict is not False for verdict in self.confirmed)

    @property
    def doubts(self) -> list[str | None]:
        """Why the timescale of each eigenfunction must not be trusted; None where nothing here speaks against it."""
        n_pairs, n_modes = self.model.held_out.n_pairs, len(self.confirmed)
        if self.groups.any():
            return ["the trajectories fall into groups that never meet"] * n_modes
        if self._too_short:
            few = f"only {n_pairs} held-out pairs to confirm it" if n_pairs else "no held-out data to confirm it"
            return [few] * n_modes
        return ["not confirmed on held-out data" if verdict is False else None for verdict in self.confirmed]

    @property
    def _too_short(self) -> bool:
        return self.model.held_out.n_pairs < MIN_HELD_OUT

    def remarks(self, timescales: list[Timescale]) -> list[Judgement]:
        """One sentence each, on the whole before single processes."""
        said = [
            self._on_groups(),
            self._on_features(),
            # How many modes to ask for is no question before the trajectories are connected.
            None if self.groups.any() else self._on_held_out(),
            self._on_scores(timescales),
            self._on_norms(timescales),
            self._on_speed(),
        ]
        if self.data.time.timestep_ps is None:
            said.append(
                Judgement(
                    "caution", "the frame spacing is unknown: all times are in stored frames (give `timestep` for ps)"
                )
            )
        if all(scale.low is None and scale.high is None for scale in timescales):
            few = f"no error bars: the data hold fewer than {MIN_BLOCKS} blocks that could be resampled independently"
            said.append(Judgement("problem", few))
        return [*filter(None, said), *mode_remarks(self.model, timescales, "timescale")]

    def _on_groups(self) -> Judgement | None:
        if not self.groups.any():
            return None
        data, named = self.data, []
        for group in np.unique(self.groups):
            members = np.flatnonzero(self.groups == group)
            names = list(dict.fromkeys(trajectory_name(data, int(number)) for number in members))
            more = len(names) - NAMES_SHOWN
            named.append(", ".join(names[:NAMES_SHOWN]) + f" and {more} more" * (more > 0))
        return Judgement(
            "problem",
            f"the trajectories fall into {len(named)} groups that never visit the same states ({' | '.join(named)}): "
            "how fast these exchange, and how populated they are, cannot be known",
            "fit each group alone, or add trajectories that connect them",
        )

    def _on_features(self) -> Judgement | None:
        n_rows, n_features = self.data.n_rows, len(self.data.columns)
        if n_rows >= ROWS_PER_FEATURE * n_features:
            return None
        return Judgement(
            "caution",
            f"there are {n_features} features and only {n_rows} frames: so many are easily fitted to so few",
            "give more frames or fewer `features`",
        )

    def _on_held_out(self) -> Judgement | None:
        n_pairs, scores, wanted = self.model.held_out.n_pairs, self.model.scores, len(self.confirmed)
        if n_pairs < 2:
            return Judgement(
                "problem",
                "no part of the data was held out, for which they may be too short: no early stopping, no held-out "
                "scores, and nothing that confirms a timescale",
                "give more frames or a shorter `lag`",
            )
        if self._too_short:
            return Judgement(
                "problem",
                f"the data are too short: only {n_pairs} lagged pairs could be held out, and fewer than {MIN_HELD_OUT} "
                "confirm no timescale",
                "give more frames or a shorter `lag`",
            )
        if self.n_carried == wanted:
            return None
        others = "the others" if self.n_carried else "them"
        ask = f"ask for `n_modes` {self.n_carried}, or give" if self.n_carried else "give"
        return Judgement(
            "caution" if self.n_carried else "problem",
            f"the data carry {self.n_carried or 'none'} of {wanted} modes: held-out data do not confirm {others} "
            f"(VAMP-2 {scores['vamp2_train']:.3g} in training, {scores['vamp2_test']:.3g} held out; VAMP-E held out "
            f"{scores['vampe_test']:.3g})",
            f"{ask} more data or fewer `features`",
        )

    def _on_scores(self, timescales: list[Timescale]) -> Judgement | None:
        """Where no single mode is to blame."""
        train, vamp2, vampe = (self.model.scores[name] for name in ("vamp2_train", "vamp2_test", "vampe_test"))
        if self._too_short or self.n_carried < len(self.confirmed):
            return None
        advice = "give more or longer trajectories, or ask for fewer `n_modes`"
        error = self.model.held_out.vampe_error
        if vampe + STANDARD_ERRORS * error < 1:
            return Judgement(
                "caution",
                f"the held-out VAMP-E is {vampe:.3g} ± {error:.2g}, below the 1 of no mode at all, where "
                f"the training VAMP-2 is {train:.3g}: the held-out stretches visit the states in other proportions, so "
                "that populations and slow timescales are uncertain",
                advice,
            )
        pairs = enumerate(zip(self.confirmed, timescales, strict=True), 1)
        rare = [str(number) for number, (verdict, scale) in pairs if verdict is None and scale.unresolved]
        if not rare or vamp2 - 1 >= LEAST_SCORE * (train - 1):
            return None
        return Judgement(
            "caution",
            f"the held-out VAMP-2 is {vamp2:.3g}, where that of training is {train:.3g}: process"
            f"{'es' * (len(rare) > 1)} {', '.join(rare)} hardly occur{'s' * (len(rare) == 1)} in the held-out "
            "stretches",
            advice,
        )

    def _on_speed(self) -> Judgement | None:
        times = zip(self.model.timescales(), self.confirmed, strict=True)
        if self._too_short or any(time > self.model.lagtime and verdict is not False for time, verdict in times):
            return None
        found, time = "no process slower than the lag time was found", self.data.time
        for lag in sorted(self.model.moments.lagtimes[self.model.moments.lagtimes < self.model.lagtime], reverse=True):
            slow = self.model.at_lagtime(int(lag)).timescales()[0]
            if CLEARLY_SLOWER * lag <= slow < np.inf:
                seen, at = time.lag_text(round(slow)), time.lag_text(int(lag))
                return Judgement(
                    "problem",
                    f"{found}: with a lag time of {at} there is one of about {seen}",
                    f"take `lag` {time.typed_lag(int(lag))}",
                )
        return Judgement(
            "problem",
            f"{found}: the trajectories stay in one state, their frames are out of order or too far apart, or the "
            "features hold noise alone",
            "check their order, or give a shorter `lag` or other `features`; a single state has nothing to quote",
        )

    def _on_norms(self, timescales: list[Timescale]) -> Judgement | None:
        """Norms are singular values only where nested objectives make them so."""
        model = self.model
        if model.settings.objective not in ("joint", "sequential"):
            return None
        values, norms = model.singular_values, -np.sort(-model.spectrum.norms)
        off = []
        for number, (norm, value, scale) in enumerate(zip(norms, values, timescales, strict=False), 1):
            low, high = scale.low or np.inf, scale.high or np.inf
            lag = self.data.time.time(model.lagtime)
            within = model.reversible and np.exp(-lag / low) <= norm <= np.exp(-lag / high)
            if value > np.exp(-1) and abs(norm - value) > NORM_TOLERANCE * value and not within:
                off.append(f"{norm:.3g} against {value:.3g} (process {number})")
        if not off:
            return None
        return Judgement(
            "caution",
            f"norms of the learned functions stand far from the Ritz values, {', '.join(off)}: training has not "
            "settled on these modes",
            "ask for fewer `n_modes`, or give more data or fewer `features`",
        )


def mode_remarks(
    model: NeuralSVDModel | GeneratorModel, found: Sequence[Timescale | Rate], what: str
) -> list[Judgement]:
    """What a reader of the numbers must know of modes that are unresolved or missing."""
    wanted = model.settings.layout.n_modes
    remarks = [
        Judgement("problem", f"process {i}: {what} unresolved, {one.unresolved}", _way_out(one.unresolved), process=i)
        for i, one in enumerate(found, 1)
        if one.unresolved
    ]
    if model.n_modes < wanted:
        few = f"only {model.n_modes} of {wanted} modes are linearly independent on these data"
        remarks.append(Judgement("caution", few))
    return remarks


def _way_out(unresolved: str) -> str | None:
    """What to do about a single process that is unresolved for this reason, where others need not be."""
    if "transition" in unresolved:
        faster = "faster processes (more `n_modes`) or for what follows an early event (`skip`)"
        return f"simulate for longer, or ask for {faster}"
    if unresolved.startswith(UNTRAINED):
        return "ask for more modes than you want to quote (`n_modes`), or from Python for more steps of training"
    return "give a shorter `lag`" if unresolved.startswith("shorter than the lag") else None


def set_remarks(sets: MetastableSets, asked: int | None) -> list[Judgement]:
    """That there are fewer metastable sets than were asked for, or than the timescales ask for."""
    n_found = len(sets.populations)
    if asked is None or n_found == asked:
        return []
    fewer = f"{n_found} metastable sets in place of {asked}: a further one would hold no frame"
    return [Judgement("caution", fewer)]


def refit_remarks(sets: MetastableSets, n_refits: int, n_found: int) -> list[Judgement]:
    """That refits do not find the sets again."""
    if not n_refits or n_found:
        return []
    return [
        Judgement(
            "caution",
            f"most of the {n_refits} refits do not find {len(sets.populations)} metastable sets: the error bars of "
            "populations and passage times hold those of sampling alone",
            "give fewer `n_states`, or more data",
        )
    ]


def in_order(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The worst first, else in the order given."""
    return sorted(judgements, key=lambda one: LEVELS.index(one.level))


def verdict_lines(verdict: Iterable[Judgement]) -> list[str]:
    """One line each, under a heading."""
    return ["Verdict", *(f"  {one.level:<8} {one}" for one in verdict)]


def trajectory_name(data: Dataset, number: int) -> str:
    """By its file, where there is one; counted from 1 otherwise."""
    if not data.sources:
        return f"trajectory {number + 1}"
    file = data.files[data.sources[number].file_index]
    return file.path.name + (f" ({file.array})" if file.array else "")
