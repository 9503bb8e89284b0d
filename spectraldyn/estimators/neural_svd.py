"""NeuralSVD: the estimator, where networks, operator, objective, training and spectra meet."""

import dataclasses
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data

from spectraldyn.data.samples import PairData
from spectraldyn.data.stretches import cut_blocks, held_out_frames, pair_starts
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.estimators import base
from spectraldyn.estimators.model import NeuralSVDModel, evaluate, is_trajectory_list
from spectraldyn.learning.loop import History, held_out_score
from spectraldyn.learning.warm_start import RISE, TOLERANCE, slow_coordinates, solve_last_layer, warm_start
from spectraldyn.networks.mlp import Whitening
from spectraldyn.networks.sides import Sides, build_sides
from spectraldyn.operators.transfer import reversible_transfer, transfer
from spectraldyn.records import Operator
from spectraldyn.spectra.decomposition import decompose
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.validation import split_scores

N_LAGS = 12
"""Lag times for which moments are kept, besides that of the fit."""


@dataclasses.dataclass(frozen=True)
class _Data:
    """Validated input: concatenated frames, the stretches they come from, and how far apart a pair's ends lie."""

    frames: np.ndarray
    lengths: tuple[int, ...]
    distance: int
    ready_made_pairs: bool


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Rows of the left ends of pairs, each an ndarray (n_pairs,) of int64."""

    all: np.ndarray
    train: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Trained:
    """Networks on linear coordinates of the whitened inputs, how their training went, and their held-out score."""

    coordinates: torch.Tensor
    sides: Sides
    history: History
    score: float


class NeuralSVD(base.NeuralEstimator):
    """Slow modes of a transfer (Koopman) operator, learned by nested low-rank approximation.

    Parameters
    ----------
    n_modes : int, default=3
        Relaxation processes to learn; the constant function, known exactly, is not counted.
    lagtime : int, default=1
        In frames.
    nesting : {"joint", "sequential"}, default="joint"
        How the modes are ordered: one weighted sum over all leading groups of modes, or every mode against those
        before it. Sequential nesting needs separate networks.
    network : {"common-trunk", "separate"}, optional
        One network with an output per mode, or one network per mode. By default a common trunk for joint nesting,
        separate networks for sequential nesting.
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
        `spectraldyn.learning.warm_start`), and train twice: with all inputs scaled by how slow they are, and with all alike. Kept is what does better on
        the held-out pairs.
    test_fraction : float, default=0.2
        Share of the data, in contiguous blocks, that is held out for early stopping and scores. With 0 there is but one
        training, after a warm start that with scaled inputs.
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
    history_ : spectraldyn.learning.loop.History
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

    def __init__(
        self,
        n_modes: int = 3,
        lagtime: int = 1,
        *,
        nesting: str = "joint",
        network: str | None = None,
        reversible: bool = True,
        hidden: Sequence[int] = (64, 64),
        batch_size: int = 512,
        max_steps: int | None = None,
        learning_rate: float = 5e-3,
        warm_start: bool = True,
        test_fraction: float = 0.2,
        device: str = "auto",
        random_state: Any = None,
        checkpoint_folder: str | Path | None = None,
        progress: bool = False,
    ):
        self.n_modes = n_modes
        self.lagtime = lagtime
        self.nesting = nesting
        self.network = network
        self.reversible = reversible
        self.hidden = hidden
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.warm_start = warm_start
        self.test_fraction = test_fraction
        self.device = device
        self.random_state = random_state
        self.checkpoint_folder = checkpoint_folder
        self.progress = progress

    def fit(self, X: ArrayLike | list | tuple, y: None = None) -> "NeuralSVD":
        """Learn the modes and read their spectrum off all data.

        Parameters
        ----------
        X : array_like (T, d), list of them, or tuple (X, Y) of them
            One trajectory; several trajectories; or lagged pairs, Y being X one lag time later.
        y : None
            Ignored; for scikit-learn.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        data = self._validate(X)
        config = {
            **self._network_config({"lagtime": self.lagtime}),
            "operator": "transfer",
            "lagtime": int(self.lagtime),
            "activation": "gelu",
            "tied": bool(self.reversible),
            "warm_start": bool(self.warm_start),
        }
        device = base.pick_device(self.device)
        seed = config["seed"]
        operator = reversible_transfer if self.reversible else transfer

        whitening = base.whitening_of(data.frames)
        frames = torch.cat([whitening(part).float() for part in base.float64_chunks(data.frames)]).to(device)
        pairs = self._split(data, np.random.default_rng(seed))
        checkpoint = self._checkpoint([config, data.lengths, data.distance], [frames.cpu().numpy()])
        whitened = _pair_data(frames, data.distance, pairs.train, pairs.test)
        trained = [
            self._begin(coordinates, operator, whitened, config, checkpoint and checkpoint / f"{number}")
            for number, coordinates in enumerate(self._coordinates(whitened))
        ]
        best = max(trained, key=lambda result: result.score)
        sides, self.history_ = best.sides, best.history
        whitening, frames = whitening.followed_by(best.coordinates), frames @ best.coordinates
        functions = evaluate(whitening, sides, data.frames)
        scores = split_scores(functions, data.distance, pairs.train, pairs.test, self.reversible)
        # The held-out pairs have done their service: a last, gentler part of the training uses all pairs.
        n_last = max(1, round(base.LAST_STEPS * self.history_.kept_step))
        everything = _pair_data(frames, data.distance, pairs.all, pairs.all[:0])
        self._train(sides, operator, everything, n_last, seed, checkpoint, last=True)
        self.model_ = self._read_off(whitening, sides, data, scores, config)
        if checkpoint is not None:
            shutil.rmtree(checkpoint, ignore_errors=True)
        return self

    def _coordinates(self, data: PairData) -> list[torch.Tensor]:
        """Matrices (k, k) that whitened inputs are multiplied by, one for each beginning."""
        rotation, scales = slow_coordinates(data.frames, data.train.cpu().numpy(), data.distance)
        if not self.warm_start:
            return [rotation]
        if len(scales) == 1 or not len(data.test):
            return [rotation * scales]
        return [rotation * scales, torch.eye(len(scales)).to(rotation)]

    def _begin(
        self,
        coordinates: torch.Tensor,
        operator: Operator,
        data: PairData,
        config: dict[str, Any],
        checkpoint: Path | None,
    ) -> _Trained:
        """Train with held-out pairs in these coordinates."""
        data = dataclasses.replace(data, frames=data.frames @ coordinates)
        seed = config["seed"]
        if self.warm_start:
            sides = warm_start(operator, data, config, seed)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                sides = build_sides(len(coordinates), config).to(data.device)
        n_steps = self.max_steps or base.default_steps(self.batch_size, self.warm_start)
        after = {"rise": RISE, "tolerance": TOLERANCE} if self.warm_start else {}
        history = self._train(sides, operator, data, n_steps, seed, checkpoint, last=False, **after)
        if self.warm_start and config["network"] == "common-trunk":
            solve_last_layer(sides, operator, data, config["n_modes"])
        scored = data.scored()
        score = 0.0 if scored is None else held_out_score(sides, operator, *scored)[0]
        return _Trained(coordinates, sides, history, score)

    def fit_fetch(self, X: ArrayLike | list | tuple) -> NeuralSVDModel:
        """Fit, and return the fitted model."""
        return self.fit(X).fetch_model()

    def _validate(self, X: ArrayLike | list | tuple) -> _Data:
        """Check the data and lay all frames end to end."""

        def check(frames: ArrayLike, reset: bool, at_least: int = 2) -> np.ndarray:
            return validate_data(self, frames, reset=reset, dtype=[np.float64, np.float32], ensure_min_samples=at_least)

        lag = int(self.lagtime)
        if isinstance(X, tuple):
            if len(X) != 2 or np.shape(X[0]) != np.shape(X[1]):
                raise InputError(
                    "a tuple must be two arrays (X, Y) of one shape, the lagged pairs, but its shapes are "
                    f"{[np.shape(part) for part in X]}; give several trajectories as a list"
                )
            left, right = check(X[0], True), check(X[1], False)
            return _Data(np.concatenate((left, right)), (2 * len(left),), len(left), ready_made_pairs=True)
        if isinstance(X, list) and any(isinstance(part, np.ndarray) and part.ndim == 1 for part in X):
            raise InputError("trajectories must be 2-D, (frames, features): write x.reshape(-1, 1) for one feature")
        if is_trajectory_list(X):
            trajectories = [check(part, i == 0, at_least=1) for i, part in enumerate(X)]
        else:
            trajectories = [check(X, True)]
        lengths = tuple(len(t) for t in trajectories)
        if sum(max(n - lag, 0) for n in lengths) < 2:
            raise InputError(
                f"no pairs at lagtime {lag}: the longest of the {len(lengths)} trajectories has {max(lengths)} frames"
            )
        return _Data(np.concatenate(trajectories), lengths, lag, ready_made_pairs=False)

    def _split(self, data: _Data, random: np.random.Generator) -> _Pairs:
        """All pairs, and those that lie wholly within the training or the held-out blocks."""
        starts = pair_starts(data.lengths, data.distance)
        if data.ready_made_pairs:
            left_ends = held_out_frames((data.distance,), 1, self.test_fraction, random)
            held_out = np.concatenate((left_ends, left_ends))
        else:
            held_out = held_out_frames(data.lengths, data.distance, self.test_fraction, random)
        left, right = held_out[starts], held_out[starts + data.distance]
        if not (~left & ~right).any():
            return _Pairs(starts, starts, starts[:0])
        return _Pairs(starts, starts[~left & ~right], starts[left & right])

    def _read_off(
        self, whitening: Whitening, sides: Sides, data: _Data, scores: dict[str, float], config: dict[str, Any]
    ) -> NeuralSVDModel:
        """Moments and spectrum from one float64 pass over all frames."""
        lag = int(self.lagtime)
        functions = evaluate(whitening, sides, data.frames)
        ends = np.cumsum(data.lengths).tolist()
        stretches = [range(stop - n, stop) for stop, n in zip(ends, data.lengths, strict=True)]
        if data.ready_made_pairs:
            lags = {lag: data.distance}
            blocks = cut_blocks((data.distance,), max(1, data.distance // base.N_BLOCKS))
        else:
            lags = {tau: tau for tau in lag_scan(lag, max(data.lengths))}
            blocks = cut_blocks(data.lengths, max(1, len(data.frames) // base.N_BLOCKS))
        moments = lagged_moments(functions, stretches, blocks, lags)
        decomposition = decompose(*moments.means(list(lags).index(lag)), reversible=self.reversible)
        if decomposition.left.shape[1] < self.n_modes:
            warnings.warn(
                f"only {decomposition.left.shape[1]} of {self.n_modes} modes are linearly independent on these data",
                InputWarning,
                stacklevel=3,
            )
        modes = functions @ decomposition.left
        return NeuralSVDModel(
            decomposition=decomposition,
            moments=moments,
            scores=scores,
            signs=np.where((modes**3).mean(axis=0) < 0, -1.0, 1.0),
            config=config,
            _whitening=whitening.cpu(),
            _sides=sides.cpu().double(),
        )


def _pair_data(frames: torch.Tensor, distance: int, train_on: np.ndarray, test_on: np.ndarray) -> PairData:
    return PairData(frames, distance, *(torch.tensor(part, device=frames.device) for part in (train_on, test_on)))


def lag_scan(lagtime: int, longest: int) -> list[int]:
    """Lag times in frames for the plot of timescales: from 1 to ten times the lag time, evenly in the logarithm."""
    last = max(lagtime, min(10 * lagtime, longest // 2))
    return sorted({lagtime, *np.geomspace(1, last, N_LAGS).round().astype(int).tolist()})
