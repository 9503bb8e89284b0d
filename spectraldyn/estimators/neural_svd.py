"""NeuralSVD: the estimator, where networks, operator, objective, training and spectra meet."""

import copy
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spectraldyn.data import Dataset, PairSamples, cut_blocks, n_rows, rows_of
from spectraldyn.data.samples import MAX_SCORED, in_batches
from spectraldyn.data.weights import effective_sample_size
from spectraldyn.errors import InputError
from spectraldyn.estimators import base
from spectraldyn.estimators.coordinates import ENCODED, SCALED, encoded, encoding_of
from spectraldyn.estimators.evaluation import evaluate, evaluated
from spectraldyn.estimators.model import NeuralSVDModel
from spectraldyn.estimators.pairs import LaggedPairs
from spectraldyn.estimators.settings import TransferSettings
from spectraldyn.learning import cpu_settings, held_out_score
from spectraldyn.learning.ensemble import Member, average, relevant_coordinates
from spectraldyn.learning.warm_start import (
    MIN_BATCH,
    MOST_INPUTS,
    RISE,
    TOLERANCE,
    slow_coordinates,
    total_variance,
    warm_start,
)
from spectraldyn.networks import Sides, Whitening, build_sides
from spectraldyn.operators import reversible_transfer, transfer
from spectraldyn.processes import agree_on
from spectraldyn.records import Operator
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.scores import HeldOut, held_out_modes, pair_averages, split_scores
from spectraldyn.spectra.timescales import N_BLOCKS

WARM_RATE, COLD_RATE = 0.02, 0.01
"""Learning rates, with and without the warm start."""
AVERAGE = 0.06
"""Reach of the moving average of the parameters after a warm start, as a share of the steps."""
RISK = 1700
"""Training pairs for each input below which a network can fit the sample better than the dynamics."""
MOST_DECAY = 1.0
"""Weight decay is the risk, but at most this."""
SETTLING_RATE, SETTLING_STEPS = 0.03, 200
"""Of the last part of the training after a warm start: learning rate as a share of the first, less where pairs are
few, and steps at most. The functions are there, and nesting has to bring them into order."""
STEPS, STEPS_PER_MODE = 400, 25
"""Of the training of a network, at most, after a warm start: so many, and so many for every mode."""
LONGER = 2.5
"""Times the former where the risk is low: with the inverse root of it, at most so many times."""
PROBE, RELEVANT = "alike", "relevant"
"""Names of trainings on inputs that are all alike, on those scaled by how much the functions depend on them, and on
coordinates."""
PROBE_STEPS, PROBE_DECAY = 300, 0.2
"""Steps of the former, with batches twice as large, and its decay at most: more would keep what is hidden among many
inputs from being found."""
ENCODED_STEPS, ENCODED_RATE = 150, 0.01
"""Steps of the training of an encoder, and its learning rate."""
ENCODED_EPOCHS, FEWEST_ENCODED_STEPS = 5, 30
"""How often every pair is drawn at most, on average, unless the pairs are very few: an encoder soon knows them."""
NONLINEAR, FEW_PAIRS = 0.25, 3000
"""Held-out VAMP-2 by which inputs that are all alike must do better than slow ones to be followed, a quarter of a slow
process, and up to how many held-out pairs: where events are few, less is chance. With more pairs it falls with their
square, down to where any difference counts."""
ALIKE = 0.5
"""Least scale from which on slow inputs are alike as they are."""
MATCHED_ROWS = 20_000
"""At which modes of one network are matched to those of another."""
MOST_REPEATED = 10
"""Copies of a pair, on average, up to which weights that are whole numbers repeat it."""
MIN_EFFECTIVE = 50
"""Pairs without weights as which weighted ones must count at least; see `effective_sample_size`."""


@dataclass(eq=False, repr=False)
class NeuralSVD(base.NeuralEstimator):
    """Slow modes of a transfer (Koopman) operator, learned by nested low-rank approximation.

    Parameters
    ----------
    n_modes : int, default=3
        Relaxation processes to learn; the constant function, known exactly, is not counted.
    lagtime : int, default=1
        In frames (rows of the data).
    objective : str, default="joint"
        What is learned by: "joint" nesting (one weighted sum over all leading groups of modes), "sequential" nesting
        (every mode against those before it), or any other of `spectraldyn.objectives.OBJECTIVES` that makes sense for
        lagged pairs.
    network : {"common-trunk", "separate"}, optional
        One network with an output per mode, or one network per mode, which sequential nesting needs. By default a
        common trunk where the objective allows it.
    reversible : bool, default=True
        Equilibrium dynamics with detailed balance: one network for both sides and moments symmetrised in time.
        Otherwise the singular value decomposition is learned with two networks.
    n_networks : int, default=3
        Networks, each with another part of the data held out, whose learned operators are averaged (see
        `spectraldyn.learning.ensemble`). Networks with a trunk for each mode are trained alone.
    hidden : tuple of int, optional
        Widths of the hidden layers; by default two of 64 units, or of twice the number of modes.
    batch_size : int, optional
        Lagged pairs per step, at least 512 after a warm start; by default 512, or 8 for every mode.
    max_steps : int, optional
        Upper limit on the training steps of each network; early stopping may end before. By default 400, or
        up to 1000 where pairs are many, and 25 for every mode; without the warm start 3000, more for batch sizes below
        512.
    learning_rate : float, optional
        Of AdamW at the start; it falls to 0 by a cosine. By default 0.02, or 0.01 without the warm start.
    weight_decay : float, optional
        Decoupled decay of the weights, in units of the learning rate. By default more where more inputs can be
        fitted to fewer pairs (see `risk`), at most 1; none without the warm start.
    warm_start : bool, default=True
        Begin with some steps of at least 512 pairs in which the last layer is solved for (see
        `spectraldyn.learning.warm_start`), on inputs scaled by how slow they are. Where inputs that are all alike do
        better on held-out pairs, they are scaled by how much the learned functions depend on them, and training starts
        again. Without it there is one network, trained from random weights by the objective alone.
    encoder : {"schnet", "painn", "plain"}, optional
        What makes features of coordinates of atoms: a graph network beside torsion angles along bonds (of few atoms
        without any: their distances), or these plain ones alone. By default SchNet, or the plain ones where a network
        on them does as well on held-out pairs. Only for coordinates (see `spectraldyn.load_features`).
    test_fraction : float, default=0.2
        Share of the data, in contiguous blocks, that each network holds out for early stopping and scores. With 0
        nothing confirms a timescale: all count as unresolved.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to train; "auto" takes a GPU if there is one.
    random_state : int, RandomState or None, default=None
        Seed of initial weights, batches and held-out blocks.
    checkpoint_folder : path, optional
        Folder in which the state of training is kept as it goes. An interrupted fit with the same data and options
        goes on from there and ends with the same numbers; a completed one leaves nothing behind.
    progress : bool, default=False
        Show a progress bar on stderr.

    Attributes
    ----------
    model_ : NeuralSVDModel
        The fitted model; also from `fetch_model()`.
    functions_ : ndarray (n_rows, M)
        Its functions at every row of the data, as `model_.functions` gives them, in single precision: enough for states
        and pictures. Spectra come from moments that were taken in double precision.
    history_ : spectraldyn.learning.History
        Held-out VAMP-2 and loss during the training that was kept.
    n_features_in_ : int

    Examples
    --------
    >>> model = NeuralSVD(n_modes=2, lagtime=5, random_state=0).fit(trajectories).fetch_model()
    >>> model.timescales()  # in frames

    References
    ----------
    Ryu, Xu, Erol, Bu, Zheng, Wornell, "Operator SVD with neural networks via nested low-rank approximation",
    ICML 2024 (arXiv:2402.03655).
    """

    n_modes: int = 3
    lagtime: int = 1
    _: KW_ONLY
    objective: str = "joint"
    reversible: bool = True
    learning_rate: float | None = None
    n_networks: int = 3
    weight_decay: float | None = None
    warm_start: bool = True
    encoder: str | None = None

    def fit(
        self, X: ArrayLike | list | tuple, y: None = None, sample_weight: ArrayLike | list | None = None
    ) -> "NeuralSVD":
        """Learn the modes and read their spectrum off all data.

        Parameters
        ----------
        X : array_like (T, d), list of them, Dataset, or tuple (X, Y) of arrays
            One trajectory; several trajectories; or lagged pairs, Y being X one lag time later.
        y : None
            Ignored; for scikit-learn.
        sample_weight : array_like (T,) or list of them, optional
            How much the pair that starts in each frame counts: whole numbers say how often, as in a bootstrap; others
            are importance weights, π/p of a frame that was drawn from a law p other than the equilibrium π, up to a
            factor. By default the weights of the data set, if it has any. Not for ready-made pairs.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        layout = self._layout("gelu", bool(self.reversible), {"lagtime": self.lagtime, "n_networks": self.n_networks})
        device = base.pick_device(self.device)
        seed = self._seed()
        data, pairs, weight = self._pairs(X, seed, sample_weight)
        layout = replace(layout, encoding=encoding_of(data, self.encoder))
        settings = TransferSettings(layout, self.objective, seed, int(self.lagtime), bool(self.warm_start))
        base.check_modes(layout.n_modes, len(pairs.all))
        operator = reversible_transfer if self.reversible else transfer

        rows = rows_of(data, device)
        splits = [PairSamples.of(rows, pairs.distance, *part) for part in pairs.parts]
        everything = PairSamples.of(rows, pairs.distance, pairs.all)
        drawn = None if weight is None else weight.tolist()
        checkpoint = self._checkpoint(data, settings, pairs.distance, self.weight_decay, self.n_networks, drawn)
        chosen: Member | None = None
        before: Whitening
        if layout.encoding is not None:

            def train(inputs: Whitening, samples: PairSamples, name: str) -> Member:
                kind = name.partition("-")[0]
                return self._member(inputs, operator, samples, settings, kind, checkpoint.file(name))

            found = encoded(layout.encoding, seed, splits[0], train, choose=self.warm_start and self.encoder is None)
            before, scales, rows, chosen = found.before, found.scales, found.samples.rows, found.member
            layout = replace(layout, encoding=found.encoding)
        else:
            before, scales = slow_coordinates(base.whitening_of(data, weight).to(device), splits[0])
            agree_on([*before.buffers(), scales])
            rows = rows.mapped(before) if before.n_inputs > MOST_INPUTS else rows
        inputs = before
        if rows is not everything.rows:
            # All columns are read once here, and not at every step. Which coordinates are left is for the pairs of the
            # first network to say; the others turn and scale these by their own.
            inputs = Whitening.none(before)
            *splits, everything = (replace(samples, rows=rows) for samples in (*splits, everything))
        members = self._members(inputs, scales, operator, splits, settings, checkpoint, chosen)
        first, self.history_ = members[0].sides, members[0].history
        matched = torch.arange(0, len(rows), max(1, len(rows) // MATCHED_ROWS), device=device)
        with cpu_settings(first):
            scores, held_out = _scores(first, splits[0])
            modes = evaluated(copy.deepcopy(first).double(), rows.gather(matched)) @ held_out.functions
            sides = average(members, operator, everything, layout) if self.warm_start else copy.deepcopy(first)
        last = self.history_, sides, operator, everything, seed, checkpoint.file("last")
        self._learn_last(*last, **self._settling(inputs, everything))
        if layout.encoding is not None:
            sides = sides.behind(before)
        elif inputs is not before:
            sides.look_through(before)
        functions = evaluate(sides.double(), data)
        # As combinations of the functions that are kept, those that come nearest to the modes of the first network.
        nearest = np.linalg.lstsq(functions[matched.cpu()], modes, rcond=None)[0]
        held_out = replace(held_out, functions=nearest)
        settings = replace(settings, layout=replace(layout, n_trunks=len(members)))
        self.model_ = self._read_off(functions, sides, pairs, weight, (scores, held_out), settings)
        self.functions_ = functions.astype(np.float32)
        checkpoint.remove()
        return self

    def fit_fetch(
        self, X: ArrayLike | list | tuple, y: None = None, sample_weight: ArrayLike | list | None = None
    ) -> NeuralSVDModel:
        """Fit, and return the fitted model."""
        return self.fit(X, sample_weight=sample_weight).fetch_model()

    def _pairs(
        self, X: ArrayLike | list | tuple, seed: int, sample_weight: ArrayLike | list | None
    ) -> tuple[Dataset, LaggedPairs, np.ndarray | None]:
        """Checked data, the pairs in them, for every network others held out, and what each counts (n_rows,).

        Networks learn from pairs that are repeated as the weights say.
        """
        lag, split = int(self.lagtime), (self.test_fraction, np.random.default_rng(seed), int(self.n_networks))
        if isinstance(X, tuple):
            if len(X) != 2 or np.shape(X[0]) != np.shape(X[1]):
                raise InputError(
                    "a tuple must be two arrays (X, Y) of one shape, the lagged pairs, but its shapes are "
                    f"{[np.shape(part) for part in X]}; give several trajectories as a list"
                )
            if sample_weight is not None:
                raise InputError("ready-made pairs take no `sample_weight`: repeat those that are to count more")
            return self._dataset(list(X), at_least=2), LaggedPairs.ready_made(len(X[0]), lag, *split), None
        data = self._dataset(X, at_least=1 if base.is_trajectory_list(X) else 2)
        pairs = LaggedPairs.within(data.stretches, lag, *split)
        if len(pairs.all) < 2:
            raise InputError(
                f"no pairs at lagtime {lag}: the longest of the {len(data.stretches)} trajectories has "
                f"{max(map(len, data.stretches))} frames"
            )
        weight = base.checked_weights(data.weight if sample_weight is None else sample_weight, data)
        if weight is None:
            return data, pairs, None
        counts = np.round(weight)
        # How often each pair was drawn; numbers that are whole by chance may be any large ones.
        if (counts == weight).all() and counts.sum() <= MOST_REPEATED * data.n_rows:
            pairs, worth, least = pairs.repeated(counts.astype(np.int64)), float(counts[pairs.all].sum()), 2
        else:
            worth, least = effective_sample_size(weight[pairs.all]), MIN_EFFECTIVE
            pairs = pairs.weighted(weight) if worth else pairs
        if worth < least:
            raise InputError(
                f"the weights leave as much as {worth:.3g} lagged pairs, fewer than {least}: give weights that differ "
                "less, or more frames"
            )
        return data, pairs, weight

    @property
    def _large_batch(self) -> int:
        return max(self._batch, MIN_BATCH)

    @property
    def _rate(self) -> float:
        given, default = self.learning_rate, WARM_RATE if self.warm_start else COLD_RATE
        return default if given is None else given

    def _settling(self, inputs: Whitening, samples: PairSamples) -> dict[str, Any]:
        """The last part of the training, where it is not that of a cold start."""
        if not self.warm_start:
            return {}
        rate = SETTLING_RATE * self._rate / max(1.0, risk(inputs.n_outputs, len(samples.train)))
        n_steps = min(SETTLING_STEPS, self.max_steps or SETTLING_STEPS)
        return {"n_steps": n_steps, "learning_rate": rate, "batch_size": self._large_batch, "rise": n_steps // 4}

    def _members(
        self,
        inputs: Whitening,
        scales: Tensor,
        operator: Operator,
        splits: list[PairSamples],
        settings: TransferSettings,
        checkpoint: base.Checkpoint,
        chosen: Member | None,
    ) -> list[Member]:
        """A network for each split, the first of which the scores are taken from, and may be there already."""

        def member(kind: str, number: int, coordinates: Whitening) -> Member:
            # other weights and batches than those of the first network, which has the seed itself
            own = replace(settings, seed=_derived(settings.seed, number)) if number else settings
            return self._member(coordinates, operator, splits[number], own, kind, checkpoint.file(f"{kind}-{number}"))

        def slow(number: int) -> Member:
            # From training pairs alone: coordinates that know the held-out ones would have training end too early.
            own, own_scales = slow_coordinates(inputs, splits[number])
            return member(SCALED, number, own.followed_by(torch.diag(own_scales)))

        if not self.warm_start:
            return [member("cold", 0, inputs)]
        others = range(1, 1 if settings.layout.network == "separate" else len(splits))
        scaled = torch.diag(scales)
        first = chosen or member(SCALED, 0, inputs.followed_by(scaled))
        if scales.min() < ALIKE and len(splits[0].test):
            alike = member(PROBE, 0, inputs)
            if alike.score > first.score + NONLINEAR * min(1.0, FEW_PAIRS / len(splits[0].test)) ** 2:
                as_they_are = torch.eye(len(scales)).to(scales)
                relevant = inputs.followed_by(relevant_coordinates([(first, scaled), (alike, as_they_are)], operator))
                return [member(RELEVANT, number, relevant) for number in (0, *others)]
        return [first, *map(slow, others)]

    def _member(
        self,
        inputs: Whitening,
        operator: Operator,
        split: PairSamples,
        settings: TransferSettings,
        kind: str,
        file: Path | None,
    ) -> Member:
        """A network on these coordinates, trained with held-out pairs."""
        layout, seed = settings.layout, settings.seed
        plan = self._plan(inputs, split, kind)
        inputs = inputs.single()
        if self.warm_start or kind == ENCODED:
            inputs.requires_grad_(False)  # an encoder waits until there is something above it
            sides = warm_start(operator, split, inputs, replace(layout, network="common-trunk"), seed)
            sides.requires_grad_(True)
        else:
            sides = build_sides(inputs, layout, seed).to(split.device)
        history = self._learn(sides, operator, split, seed, file, **plan)
        scored = split.scored()
        with cpu_settings(sides):
            score = 0.0 if scored is None else held_out_score(sides, operator, *scored)[0]
        return Member(sides, split, score, history)

    def _plan(self, inputs: Whitening, split: PairSamples, kind: str) -> dict[str, Any]:
        """Objective and schedule of the training of a network: the greater the risk, the shorter and the tamer."""
        if not self.warm_start and kind != ENCODED:
            return {"n_steps": self.max_steps or base.default_steps(self._batch), "decay": self.weight_decay or 0.0}
        # Inputs count by their scale, of which the largest is 1. Where it tells how slow they are, their number counts
        # as well: those on a small scale are learned late, but not never.
        n_inputs = total_variance(inputs, split)
        if kind != RELEVANT:
            n_inputs = (n_inputs * inputs.n_outputs) ** 0.5
        danger = risk(n_inputs, len(split.train))
        longer = min(LONGER, max(1.0, danger**-0.5))
        batch_size, decay = self._large_batch, min(MOST_DECAY, danger)
        n_steps = self.max_steps or round(longer * STEPS) + STEPS_PER_MODE * int(self.n_modes)
        extra = {}
        if kind == PROBE:
            batch_size, decay, n_steps = 2 * batch_size, min(PROBE_DECAY, decay), min(PROBE_STEPS, n_steps)
        if kind == ENCODED:
            few = max(FEWEST_ENCODED_STEPS, ENCODED_EPOCHS * len(split.train) // batch_size)
            n_steps, extra = min(ENCODED_STEPS, n_steps, few), {"learning_rate": min(ENCODED_RATE, self._rate)}
        if self.weight_decay is not None:
            decay = self.weight_decay
        own = {"n_steps": n_steps, "batch_size": batch_size, "decay": decay, **extra}
        return {"name": "vamp-2", "rise": RISE, "tolerance": TOLERANCE, "average_share": AVERAGE, **own}

    def _read_off(
        self,
        functions: np.ndarray,
        sides: Sides,
        pairs: LaggedPairs,
        weight: np.ndarray | None,
        scored: tuple[dict[str, float], HeldOut],
        settings: TransferSettings,
    ) -> NeuralSVDModel:
        """Moments and spectrum of the functions at all rows, with what `_scores` gives."""
        scores, held_out = scored
        lag = settings.lagtime
        blocks = cut_blocks(pairs.stretches, max(1, n_rows(pairs.stretches) // N_BLOCKS))
        # The right ends of ready-made pairs lie behind all left ones, in one stretch with them as far as sums go.
        ends = pairs.stretches if n_rows(pairs.stretches) == len(functions) else [range(len(functions))]
        moments = lagged_moments(functions, ends, blocks, pairs.lags, tied=sides.tied, weight=weight)
        spectrum = moments.spectrum(moments.at(lag))
        signs = self._signs(spectrum, functions, weight)
        return NeuralSVDModel(spectrum, moments, scores, signs, settings, sides, held_out)


def _derived(seed: int, number: int) -> int:
    """Seed of a further network."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def risk(n_inputs: float, n_pairs: int) -> float:
    """Of fitting so many training pairs better than the dynamics; from 1 on it is high."""
    return RISK * n_inputs / n_pairs


@torch.no_grad()
def _scores(sides: Sides, split: PairSamples) -> tuple[dict[str, float], HeldOut]:
    """Scores of the functions, and of each mode, on some ten thousand training and held-out pairs, in float64."""
    scored = split.scored()
    double = copy.deepcopy(sides).double()
    ends_of, averages = [], []
    for batches in scored or (in_batches(split, split.train, MAX_SCORED),):
        left, right = zip(*(batch.pair for batch in batches), strict=True)
        x, y = (np.concatenate([evaluated(double, end) for end in ends]) for ends in (left, right))
        ends_of.append((x, y))
        averages.append(pair_averages(x, y, tied=sides.tied))
    scores = split_scores(averages[0], averages[1] if scored else None, tied=sides.tied)
    held_out = held_out_modes(averages[0], ends_of[1] if scored else None, len(split.test), tied=sides.tied)
    return scores, held_out
