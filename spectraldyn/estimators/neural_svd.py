"""NeuralSVD: the estimator, where networks, operator, objective, training and spectra meet."""

import copy
from dataclasses import KW_ONLY, dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from spectraldyn.data import Dataset, PairSamples, Rows, cut_blocks, held_out_rows, n_rows, pair_starts
from spectraldyn.data.samples import MAX_SCORED_PAIRS, in_batches
from spectraldyn.errors import InputError
from spectraldyn.estimators import base
from spectraldyn.estimators.model import NeuralSVDModel, TransferSettings, evaluate, evaluated
from spectraldyn.learning import History, cpu_settings, held_out_score
from spectraldyn.learning.warm_start import RISE, TOLERANCE, slow_coordinates, solve_last_layer, warm_start
from spectraldyn.networks import Sides, Whitening, build_sides
from spectraldyn.operators import reversible_transfer, transfer
from spectraldyn.records import Operator
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.scores import HeldOut, held_out_modes, pair_averages, split_scores
from spectraldyn.spectra.timescales import N_BLOCKS

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
    train: np.ndarray
    test: np.ndarray
    """all, train, test: (n_pairs,) of int64: rows of the left ends."""


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
    hidden : tuple of int, default=(64, 64)
        Widths of the hidden layers.
    batch_size : int, default=512
        Lagged pairs per step. The metric term is estimated without bias at any size.
    max_steps : int, optional
        Upper limit on training steps; early stopping may end before. By default 1000 at batch sizes from 512 (3000
        without the warm start), more for smaller ones.
    learning_rate : float, default=5e-3
        Of Adam at the start; it falls to 0 by a cosine.
    warm_start : bool, default=True
        Begin with some steps of at least 512 pairs in which the last layer is solved for (see
        `spectraldyn.learning.warm_start`), and train twice: with all inputs scaled by how slow they are, and with all
        alike. Kept is what does better on the held-out pairs.
    test_fraction : float, default=0.2
        Share of the data, in contiguous blocks, that is held out for early stopping and scores. With 0 there is but one
        training, after a warm start that with scaled inputs, and nothing confirms a timescale: all count as unresolved.
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
        layout = self._layout("gelu", bool(self.reversible), {"lagtime": self.lagtime})
        device = base.pick_device(self.device)
        seed = self._seed()
        settings = TransferSettings(layout, self.objective, seed, int(self.lagtime), bool(self.warm_start))
        data, pairs = self._pairs(X, seed)
        operator = reversible_transfer if self.reversible else transfer

        rows = Rows.of(data, device)
        split = PairSamples.of(rows, pairs.distance, pairs.train, pairs.test)
        checkpoint = self._checkpoint(data, settings, pairs.distance)
        trained = [
            self._begin(whitening, operator, split, settings, checkpoint.file(f"{number}"))
            for number, whitening in enumerate(self._inputs(base.whitening_of(data).to(device), split))
        ]
        sides, self.history_, _ = max(trained, key=itemgetter(2))  # the held-out score
        with cpu_settings(sides):
            scored = _scores(sides, split)
        everything = PairSamples.of(rows, pairs.distance, pairs.all)
        self._learn_last(self.history_, sides, operator, everything, seed, checkpoint.file("last"))
        functions = evaluate(sides.double(), data)
        self.model_ = self._read_off(functions, sides, pairs, scored, settings)
        self.functions_ = functions.astype(np.float32)
        checkpoint.remove()
        return self

    def fit_fetch(self, X: ArrayLike | list | tuple) -> NeuralSVDModel:
        """Fit, and return the fitted model."""
        return self.fit(X).fetch_model()

    def _pairs(self, X: ArrayLike | list | tuple, seed: int) -> tuple[Dataset, _Pairs]:
        """Checked data, all pairs in it, and those that lie wholly within the training or the held-out blocks."""
        lag, random = int(self.lagtime), np.random.default_rng(seed)
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
            held_out = np.tile(held_out_rows(stretches, 1, self.test_fraction, random), 2)
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
            held_out = held_out_rows(stretches, lag, self.test_fraction, random)
        left, right = held_out[starts], held_out[starts + distance]
        train, test = starts[~left & ~right], starts[left & right]
        if not len(train):
            train, test = starts, starts[:0]
        return data, _Pairs(stretches, distance, lags, starts, train, test)

    def _inputs(self, whitening: Whitening, split: PairSamples) -> list[Whitening]:
        """Coordinates that the networks look at, one kind for each beginning."""
        rotation, scales = slow_coordinates(whitening, split)
        if not self.warm_start:
            return [whitening.followed_by(rotation)]
        if len(scales) == 1 or not len(split.test):
            return [whitening.followed_by(rotation * scales)]
        return [whitening.followed_by(rotation * scales), whitening]

    def _begin(
        self, inputs: Whitening, operator: Operator, split: PairSamples, settings: TransferSettings, file: Path | None
    ) -> tuple[Sides, History, float]:
        """Networks on these coordinates, how their training with held-out pairs went, and their held-out score."""
        layout, seed = settings.layout, settings.seed
        inputs = Whitening(inputs.mean, inputs.matrix.float())
        if self.warm_start:
            sides = warm_start(operator, split, inputs, layout, seed)
        else:
            sides = build_sides(inputs, layout, seed).to(split.device)
        n_steps = self.max_steps or base.default_steps(self.batch_size, self.warm_start)
        after = {"rise": RISE, "tolerance": TOLERANCE} if self.warm_start else {}
        history = self._learn(sides, operator, split, seed, file, n_steps=n_steps, **after)
        scored = split.scored()
        with cpu_settings(sides):
            if self.warm_start and layout.network == "common-trunk":
                solve_last_layer(sides, operator, split, layout.n_modes)
            score = 0.0 if scored is None else held_out_score(sides, operator, *scored)[0]
        return sides, history, score

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
    for batches in scored or (in_batches(split, split.train, MAX_SCORED_PAIRS),):
        left, right = zip(*(batch.pair for batch in batches), strict=True)
        x, y = (np.concatenate([evaluated(double, end) for end in ends]) for ends in (left, right))
        ends_of.append((x, y))
        averages.append(pair_averages(x, y, tied=sides.tied))
    scores = split_scores(averages[0], averages[1] if scored else None, tied=sides.tied)
    held_out = held_out_modes(averages[0], ends_of[1] if scored else None, len(split.test), tied=sides.tied)
    return scores, held_out


def lag_scan(lagtime: int, longest: int) -> list[int]:
    """Lag times in rows for the plot of timescales: from 1 to ten times the lag time, evenly in the logarithm."""
    last = max(lagtime, min(10 * lagtime, longest // 2))
    return sorted({lagtime, *np.geomspace(1, last, N_LAGS).round().astype(int).tolist()})
