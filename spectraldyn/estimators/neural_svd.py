"""NeuralSVD: the estimator, where networks, operator, objective, training and spectra meet."""

import copy
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spectraldyn.data import Dataset, PairSamples, Rows, cut_blocks, held_out_rows, n_rows, pair_starts
from spectraldyn.data.samples import MAX_SCORED, in_batches
from spectraldyn.errors import InputError
from spectraldyn.estimators import base
from spectraldyn.estimators.model import NeuralSVDModel, TransferSettings, evaluate, evaluated
from spectraldyn.learning import cpu_settings, held_out_score
from spectraldyn.learning.ensemble import Member, average, relevant_coordinates
from spectraldyn.learning.warm_start import MIN_BATCH, RISE, TOLERANCE, slow_coordinates, warm_start
from spectraldyn.networks import Sides, Whitening, build_sides
from spectraldyn.operators import reversible_transfer, transfer
from spectraldyn.records import Operator
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.scores import HeldOut, held_out_modes, pair_averages, split_scores
from spectraldyn.spectra.timescales import N_BLOCKS

SETTLING_RATE, SETTLING_STEPS = 0.01, 200
"""Of the last part of the training after a warm start: learning rate as a share of the first, and steps at most. The
functions and their norms are there, and nesting has to hold them."""
DECAY, MOST_DECAY = 1000, 1.0
"""Weight decay for each input and root of a mode, divided by the number of training pairs; and at most."""
STEPS, STEPS_PER_MODE = 400, 20
"""Of the training of a network, at most, after a warm start: so many, and so many for every mode. The former are enough
to show whether inputs that are all alike do better."""
NONLINEAR, FEW_PAIRS = 0.25, 3000
"""Held-out VAMP-2 by which inputs that are all alike must do better than slow ones to be followed, a quarter of a slow
process, and up to how many held-out pairs: where events are few, less is chance. With more pairs it falls with their
square, down to where any difference counts."""
MATCHED_ROWS = 20_000
"""At which modes of one network are matched to those of another."""
N_LAGS = 12
"""Lag times for which moments are kept, besides that of the fit."""


@dataclass(frozen=True)
class _Pairs:
    """Which rows make pairs."""

    stretches: list[range]
    """Of left ends: no pair starts in one and ends in another."""
    distance: int
    """From the left to the right end of a pair, in rows."""
    lags: dict[int, int]
    """Lag time in rows → this distance, for all lag times of which moments are kept."""
    all: np.ndarray
    """(n_pairs,) of int64: rows of the left ends."""
    parts: list[tuple[np.ndarray, np.ndarray]]
    """Left ends that a network learns from, and those held out from it; for each network others."""


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
        Lagged pairs per step, at least 512 after a warm start; by default 512, or 16 for every mode.
    max_steps : int, optional
        Upper limit on the training steps of each network; early stopping may end before. By default 400 and 40 for
        every mode at batch sizes from 512 (3000 without the warm start), more for smaller ones.
    learning_rate : float, default=1e-2
        Of AdamW at the start; it falls to 0 by a cosine.
    weight_decay : float, optional
        Decoupled decay of the weights, in units of the learning rate. By default more where more inputs and modes can
        be fitted to fewer pairs: 1000 times the inputs and the root of the modes, divided by the training pairs, at
        most 1; none without the warm start.
    warm_start : bool, default=True
        Begin with some steps of at least 512 pairs in which the last layer is solved for (see
        `spectraldyn.learning.warm_start`), on inputs scaled by how slow they are. Where inputs that are all alike do
        better on held-out pairs, they are scaled by how much the learned functions depend on them, and training starts
        again. Without it there is one network, trained from random weights by the objective alone.
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
    learning_rate: float = 1e-2
    n_networks: int = 3
    weight_decay: float | None = None
    warm_start: bool = True

    def fit(self, X: ArrayLike | list | tuple, y: None = None) -> "NeuralSVD":
        """Learn the modes and read their spectrum off all data.

        Parameters
        ----------
        X : array_like (T, d), list of them, Dataset, or tuple (X, Y) of arrays
            One trajectory; several trajectories; or lagged pairs, Y being X one lag time later.
        y : None
            Ignored; for scikit-learn.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        layout = self._layout("gelu", bool(self.reversible), {"lagtime": self.lagtime, "n_networks": self.n_networks})
        device = base.pick_device(self.device)
        seed = self._seed()
        settings = TransferSettings(layout, self.objective, seed, int(self.lagtime), bool(self.warm_start))
        data, pairs = self._pairs(X, seed)
        operator = reversible_transfer if self.reversible else transfer

        rows = Rows.of(data, device)
        splits = [PairSamples.of(rows, pairs.distance, *part) for part in pairs.parts]
        everything = PairSamples.of(rows, pairs.distance, pairs.all)
        checkpoint = self._checkpoint(data, settings, pairs.distance, self.weight_decay, self.n_networks)
        members = self._members(base.whitening_of(data).to(device), operator, splits, settings, checkpoint)
        first, self.history_ = members[0].sides, members[0].history
        with cpu_settings(first):
            scores, held_out = _scores(first, splits[0])
            sides = average(members, operator, everything, layout) if self.warm_start else copy.deepcopy(first)
        last = self.history_, sides, operator, everything, seed, checkpoint.file("last")
        self._learn_last(*last, **self._settling())
        functions = evaluate(sides.double(), data)
        held_out = _in_terms_of(functions, held_out, first, data)
        settings = replace(settings, layout=replace(layout, n_trunks=len(members)))
        self.model_ = self._read_off(functions, sides, pairs, (scores, held_out), settings)
        self.functions_ = functions.astype(np.float32)
        checkpoint.remove()
        return self

    def fit_fetch(self, X: ArrayLike | list | tuple) -> NeuralSVDModel:
        """Fit, and return the fitted model."""
        return self.fit(X).fetch_model()

    def _pairs(self, X: ArrayLike | list | tuple, seed: int) -> tuple[Dataset, _Pairs]:
        """Checked data, all pairs in it, and for every network those within its training or its held-out blocks."""
        lag, random, n_parts = int(self.lagtime), np.random.default_rng(seed), int(self.n_networks)
        if isinstance(X, tuple):
            if len(X) != 2 or np.shape(X[0]) != np.shape(X[1]):
                raise InputError(
                    "a tuple must be two arrays (X, Y) of one shape, the lagged pairs, but its shapes are "
                    f"{[np.shape(part) for part in X]}; give several trajectories as a list"
                )
            data = self._dataset(list(X), at_least=2)
            distance = len(X[0])
            stretches, lags = [range(distance)], {lag: distance}
            starts = np.arange(distance)
            held_out = np.tile(held_out_rows(stretches, 1, self.test_fraction, random, n_parts), (1, 2))
        else:
            data = self._dataset(X, at_least=1 if base.is_trajectory_list(X) else 2)
            if data.weight is not None:
                raise InputError("the data have weights, which lagged pairs do not take: fit `data.weighted(None)`")
            distance, stretches = lag, data.stretches
            starts = pair_starts(stretches, lag)
            if len(starts) < 2:
                raise InputError(
                    f"no pairs at lagtime {lag}: the longest of the {len(stretches)} trajectories has "
                    f"{max(map(len, stretches))} frames"
                )
            lags = {tau: tau for tau in lag_scan(lag, max(map(len, stretches)))}
            held_out = held_out_rows(stretches, lag, self.test_fraction, random, n_parts)
        parts = []
        for part in held_out:
            left, right = part[starts], part[starts + distance]
            train, test = starts[~left & ~right], starts[left & right]
            parts.append((train, test) if len(train) else (starts, starts[:0]))
        return data, _Pairs(stretches, distance, lags, starts, parts)

    @property
    def _large_batch(self) -> int:
        return max(self._batch, MIN_BATCH)

    def _settling(self) -> dict[str, Any]:
        """The last part of the training, where it is not that of a cold start."""
        if not self.warm_start:
            return {}
        n_steps = max(1, min(SETTLING_STEPS, self.history_.kept_step // 2))
        rate = SETTLING_RATE * self.learning_rate
        return {"n_steps": n_steps, "learning_rate": rate, "batch_size": self._large_batch}

    def _members(
        self,
        whitening: Whitening,
        operator: Operator,
        splits: list[PairSamples],
        settings: TransferSettings,
        checkpoint: base.Checkpoint,
    ) -> list[Member]:
        """Networks on the same coordinates, one for each split, the first of which the scores are taken from."""

        def member(kind: str, number: int, coordinates: Tensor, share: float = 1.0) -> Member:
            inputs, file = whitening.followed_by(coordinates), checkpoint.file(f"{kind}-{number}")
            own = settings
            if number:  # other weights and batches than those of the first network, which has the seed itself
                stream = np.random.SeedSequence([settings.seed, number])
                own = replace(settings, seed=int(stream.generate_state(1)[0]))
            return self._member(inputs, operator, splits[number], own, file, share)

        rotation, scales = slow_coordinates(whitening, splits[0])
        if not self.warm_start:
            return [member("cold", 0, rotation)]
        alone = settings.layout.network == "separate"
        scaled = rotation * scales
        first = member("scaled", 0, scaled)
        if len(scales) > 1 and len(splits[0].test):
            as_they_are, share = torch.eye(len(scales)).to(rotation), STEPS / (STEPS + STEPS_PER_MODE * self.n_modes)
            alike = member("alike", 0, as_they_are, share)
            if alike.score > first.score + NONLINEAR * min(1.0, FEW_PAIRS / len(splits[0].test)) ** 2:
                if alone:
                    return [alike]
                relevant = relevant_coordinates([(first, scaled), (alike, as_they_are)], operator)
                return [member("relevant", number, relevant) for number in range(len(splits))]
        return [first] if alone else [first, *(member("scaled", number, scaled) for number in range(1, len(splits)))]

    def _member(
        self,
        inputs: Whitening,
        operator: Operator,
        split: PairSamples,
        settings: TransferSettings,
        file: Path | None,
        share: float,
    ) -> Member:
        """A network on these coordinates, trained with held-out pairs for this share of the steps."""
        layout, seed = settings.layout, settings.seed
        inputs = Whitening(inputs.mean, inputs.matrix.float())
        if self.warm_start:
            layout = replace(layout, network="common-trunk")
            sides = warm_start(operator, split, inputs, layout, seed)
            plan: dict[str, Any] = {"rise": RISE, "tolerance": TOLERANCE, "name": "vamp-2"}
            plan["batch_size"] = self._large_batch
            n_steps = STEPS + STEPS_PER_MODE * layout.n_modes
            decay = min(MOST_DECAY, DECAY * inputs.n_outputs * layout.n_modes**0.5 / len(split.train))
        else:
            sides, plan = build_sides(inputs, layout, seed).to(split.device), {}
            n_steps, decay = base.default_steps(self._batch), 0.0
        n_steps = max(1, round(share * (self.max_steps or n_steps)))
        plan |= {"n_steps": n_steps, "decay": decay if self.weight_decay is None else self.weight_decay}
        history = self._learn(sides, operator, split, seed, file, **plan)
        scored = split.scored()
        with cpu_settings(sides):
            score = 0.0 if scored is None else held_out_score(sides, operator, *scored)[0]
        return Member(sides, split, score, history)

    def _read_off(
        self,
        functions: np.ndarray,
        sides: Sides,
        pairs: _Pairs,
        scored: tuple[dict[str, float], HeldOut],
        settings: TransferSettings,
    ) -> NeuralSVDModel:
        """Moments and spectrum of the functions at all rows, with what `_scores` gives."""
        scores, held_out = scored
        lag = settings.lagtime
        blocks = cut_blocks(pairs.stretches, max(1, n_rows(pairs.stretches) // N_BLOCKS))
        # The right ends of ready-made pairs lie behind all left ones, in one stretch with them as far as sums go.
        ends = pairs.stretches if n_rows(pairs.stretches) == len(functions) else [range(len(functions))]
        moments = lagged_moments(functions, ends, blocks, pairs.lags, tied=sides.tied)
        spectrum = moments.spectrum(moments.at(lag))
        signs = self._signs(spectrum, functions)
        return NeuralSVDModel(spectrum, moments, scores, signs, settings, sides, held_out)


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


def _in_terms_of(functions: np.ndarray, held_out: HeldOut, sides: Sides, data: Dataset) -> HeldOut:
    """The same of modes of other networks, as combinations of the functions at all rows that come nearest to them."""
    rows = np.arange(0, data.n_rows, max(1, data.n_rows // MATCHED_ROWS))
    theirs = evaluated(copy.deepcopy(sides).double(), torch.from_numpy(data.rows(rows)))
    nearest = np.linalg.lstsq(functions[rows], theirs @ held_out.functions, rcond=None)[0]
    return replace(held_out, functions=nearest)


def lag_scan(lagtime: int, longest: int) -> list[int]:
    """Lag times in rows for the plot of timescales: from 1 to ten times the lag time, evenly in the logarithm."""
    last = max(lagtime, min(10 * lagtime, longest // 2))
    return sorted({lagtime, *np.geomspace(1, last, N_LAGS).round().astype(int).tolist()})
