"""NeuralSVD: the estimator, where networks, operator, objective, training and spectra meet."""

import dataclasses
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from spectraldyn.errors import InputError, InputWarning
from spectraldyn.model import CHUNK, NeuralSVDModel, build_sides, evaluate, is_trajectory_list
from spectraldyn.networks.mlp import NETWORKS, Whitening
from spectraldyn.objectives.nested import NESTINGS
from spectraldyn.operators.transfer import reversible_transfer, transfer
from spectraldyn.samples import PairData
from spectraldyn.spectra.decomposition import decompose
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.validation import split_scores
from spectraldyn.training import History, Sides, train
from spectraldyn.trajectories.pairs import cut_blocks, held_out_frames, pair_starts

N_BLOCKS = 200
"""Finest division of the data for which moments are kept."""
N_LAGS = 12
"""Lag times for which moments are kept, besides that of the fit."""
LAST_STEPS, LAST_RATE = 0.5, 0.03
"""Length and learning rate of the training on all pairs, as shares of those of the training that held some out."""
FIRST_AVERAGE, LAST_AVERAGE = 0.01, 0.5
"""Reach of the moving average of the parameters in either part, as a share of its steps. The functions have settled by
the last part: a long average there takes out what the noise of small batches leaves in their norms."""


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


class NeuralSVD(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
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
        Upper limit on training steps; early stopping may end before. By default 3000 at batch sizes from 512,
        more for smaller ones.
    learning_rate : float, default=5e-3
        Of Adam at the start; it falls to 0 by a cosine.
    test_fraction : float, default=0.2
        Share of the data, in contiguous blocks, that is held out for early stopping and scores.
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
    history_ : spectraldyn.training.History
        Held-out VAMP-2 and loss during training.
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
        config = self._config()
        device = _pick_device(self.device)
        seed = self._seed()
        config["seed"] = seed

        whitening = _whitening_of(data.frames)
        frames = torch.cat([whitening(part).float() for part in _float64_chunks(data.frames)]).to(device)
        pairs = self._split(data, np.random.default_rng(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sides = build_sides(frames.shape[1], config).to(device)
        n_steps = self.max_steps or default_steps(self.batch_size)
        checkpoint = self._checkpoint(frames, data, config)
        split = _pair_data(frames, data.distance, pairs.train, pairs.test)
        self.history_ = self._train(sides, split, n_steps, seed, checkpoint, last=False)
        functions = evaluate(whitening, sides, data.frames)
        scores = split_scores(functions, data.distance, pairs.train, pairs.test, self.reversible)
        # The held-out pairs have done their service: a last, gentler part of the training uses all pairs.
        n_last = max(1, round(LAST_STEPS * self.history_.kept_step))
        everything = _pair_data(frames, data.distance, pairs.all, pairs.all[:0])
        self._train(sides, everything, n_last, seed, checkpoint, last=True)
        self.model_ = self._read_off(whitening, sides, data, scores, config)
        if checkpoint is not None:
            shutil.rmtree(checkpoint, ignore_errors=True)
        return self

    def fetch_model(self) -> NeuralSVDModel:
        """The fitted model."""
        check_is_fitted(self)
        return self.model_

    def fit_fetch(self, X: ArrayLike | list | tuple) -> NeuralSVDModel:
        """Fit, and return the fitted model."""
        return self.fit(X).fetch_model()

    def transform(self, X: ArrayLike | list) -> Any:
        """Slow modes of every frame; see `NeuralSVDModel.transform`."""
        check_is_fitted(self)
        if is_trajectory_list(X):
            return [self.transform(frames) for frames in X]
        return self.model_.transform(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))

    @property
    def _n_features_out(self) -> int:
        return self.model_.n_modes

    def _config(self) -> dict[str, Any]:
        """Layout of the networks, checked."""
        if self.nesting not in NESTINGS:
            raise InputError(f"nesting {self.nesting!r} is unknown: choose one of {', '.join(NESTINGS)}")
        network = self.network or ("separate" if self.nesting == "sequential" else "common-trunk")
        if network not in NETWORKS:
            raise InputError(f"network {network!r} is unknown: choose one of {', '.join(NETWORKS)}")
        if self.nesting == "sequential" and network != "separate":
            raise InputError(
                "sequential nesting needs network='separate': with a common trunk the gradient of one mode would "
                "change the modes before it"
            )
        hidden = list(self.hidden) if isinstance(self.hidden, Iterable) else [self.hidden]
        counts = {"n_modes": self.n_modes, "lagtime": self.lagtime, "max_steps": self.max_steps}
        for name, value in [*counts.items(), *(("each width in hidden", width) for width in hidden)]:
            if not (isinstance(value, Integral) and value >= 1) and not (name == "max_steps" and value is None):
                raise InputError(f"{name} is {value!r}: it must be a whole number of at least 1")
        if self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size!r}: the metric term needs at least 2 pairs in a batch")
        if not 0 <= self.test_fraction < 1:
            raise InputError(f"test_fraction is {self.test_fraction!r}: it must lie in [0, 1)")
        return {
            "network": network,
            "n_modes": int(self.n_modes),
            "hidden": [int(width) for width in hidden],
            "tied": bool(self.reversible),
            "nesting": self.nesting,
        }

    def _seed(self) -> int:
        """The seed itself, or one drawn from a random state: given as `random_state` it leads to the same fit."""
        if not isinstance(self.random_state, Integral):
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        seed = int(self.random_state)
        if not 0 <= seed < 2**32:
            raise InputError(f"the seed is {seed}: it must lie between 0 and 2^32 - 1")
        return seed

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

    def _train(
        self, sides: Sides, pairs: PairData, n_steps: int, seed: int, checkpoint: Path | None, *, last: bool
    ) -> History:
        """Train in place with this estimator's options; gently in the last part."""
        return train(
            sides,
            reversible_transfer if self.reversible else transfer,
            NESTINGS[self.nesting],
            pairs,
            batch_size=self.batch_size,
            n_steps=n_steps,
            learning_rate=self.learning_rate * (LAST_RATE if last else 1),
            average_share=LAST_AVERAGE if last else FIRST_AVERAGE,
            seed=seed,
            checkpoint=None if checkpoint is None else checkpoint / ("last.pt" if last else "first.pt"),
            progress=self.progress,
        )

    def _checkpoint(self, frames: torch.Tensor, data: _Data, config: dict[str, Any]) -> Path | None:
        """Folder for the state of this very training: the same data, options and seed lead to the same one."""
        if self.checkpoint_folder is None:
            return None
        options = [self.batch_size, self.max_steps, self.learning_rate, self.test_fraction, torch.__version__]
        settings = json.dumps([config, data.lengths, data.distance, *options], default=str)
        digest = hashlib.blake2b(settings.encode(), digest_size=16)
        digest.update(frames.cpu().numpy().tobytes())
        return Path(self.checkpoint_folder) / f"training-{digest.hexdigest()}"

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
            blocks = cut_blocks((data.distance,), max(1, data.distance // N_BLOCKS))
        else:
            lags = {tau: tau for tau in lag_scan(lag, max(data.lengths))}
            blocks = cut_blocks(data.lengths, max(1, len(data.frames) // N_BLOCKS))
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
            lagtime=lag,
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


def default_steps(batch_size: int) -> int:
    """Training steps: 3000 from batch size 512 on, more for smaller batches, whose gradients are noisier."""
    return round(3000 * max(1.0, (512 / batch_size) ** 0.5))


def lag_scan(lagtime: int, longest: int) -> list[int]:
    """Lag times in frames for the plot of timescales: from 1 to ten times the lag time, evenly in the logarithm."""
    last = max(lagtime, min(10 * lagtime, longest // 2))
    return sorted({lagtime, *np.geomspace(1, last, N_LAGS).round().astype(int).tolist()})


def _whitening_of(frames: np.ndarray) -> Whitening:
    """Whitening of all frames, in float64."""
    n, n_inputs = frames.shape
    mean, covariance = torch.zeros(n_inputs, dtype=torch.float64), torch.zeros(n_inputs, n_inputs, dtype=torch.float64)
    for part in _float64_chunks(frames):
        mean += part.sum(dim=0) / n
    for part in _float64_chunks(frames):
        covariance += (part - mean).T @ (part - mean) / n
    return Whitening(mean, covariance)


def _float64_chunks(frames: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(frames), CHUNK):
        yield torch.tensor(frames[start : start + CHUNK], dtype=torch.float64)


def _pick_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but no GPU can be used here: choose auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
