"""What the estimators share: their data, options, seeds, checkpoints and the two parts of the training."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from spectraldyn.data import MAX_COLUMNS, Dataset, Samples
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.learning import History, Schedule, learn
from spectraldyn.networks import NETWORKS, Layout, Sides, Whitening
from spectraldyn.objectives import OBJECTIVES, build_objective, check_combination
from spectraldyn.processes import local_rank
from spectraldyn.records import Operator
from spectraldyn.spectra.rayleigh_ritz import Spectrum
from spectraldyn.version import __version__

LAST_STEPS, LAST_RATE = 0.5, 0.03
"""Length and learning rate of the training on all data, as shares of those of the training that held some out."""
FIRST_AVERAGE, LAST_AVERAGE = 0.01, 0.5
"""Reach of the moving average of the parameters in either part, as a share of its steps. The functions have settled by
the last part: a long average there takes out what the noise of small batches leaves in their norms."""


@dataclass(eq=False, repr=False)
class NeuralEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Estimators that train networks by nested low-rank approximation; see `NeuralSVD` for the options."""

    n_modes: int = 3
    _: KW_ONLY
    objective: str = "joint"
    network: str | None = None
    hidden: Any = None
    batch_size: int | None = None
    max_steps: int | None = None
    learning_rate: float | None = 5e-3
    test_fraction: float = 0.2
    device: str = "auto"
    random_state: Any = None
    checkpoint_folder: str | Path | None = None
    progress: bool = False

    def fetch_model(self) -> Any:
        """The fitted model."""
        check_is_fitted(self)
        return self.model_

    def transform(self, X: ArrayLike | list) -> Any:
        """Slow modes of every frame; see the `transform` of the model."""
        check_is_fitted(self)
        if is_trajectory_list(X):
            return [self.transform(frames) for frames in X]
        return self.model_.transform(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))

    @property
    def _n_features_out(self) -> int:
        return self.model_.n_modes

    def _dataset(self, X: ArrayLike | list, *, at_least: int = 1, what: str = "trajectories") -> Dataset:
        """Checked data as one data set; that of `load_features` as it is."""
        if isinstance(X, list) and any(isinstance(part, np.ndarray) and part.ndim == 1 for part in X):
            raise InputError(f"{what} must be 2-D, (frames, features): write x.reshape(-1, 1) for one feature")
        if isinstance(X, Dataset):
            for numbers, rows in X.chunks():
                validate_data(self, rows, reset=numbers.start == 0, dtype=[np.float64, np.float32])
            return X
        parts = X if is_trajectory_list(X) else [X]
        checked = [
            validate_data(self, part, reset=i == 0, dtype=[np.float64, np.float32], ensure_min_samples=at_least)
            for i, part in enumerate(parts)
        ]
        precision = np.result_type(*checked)
        return Dataset([part.astype(precision, copy=False) for part in checked])

    def _layout(self, activation: str, tied: bool, counts: dict[str, Any]) -> Layout:
        """How the networks are laid out; all options are checked, `counts` being further ones of at least 1."""
        asks_for_separate = self.objective in OBJECTIVES and OBJECTIVES[self.objective].separate_networks
        network = self.network or ("separate" if asks_for_separate else "common-trunk")
        if network not in NETWORKS:
            raise InputError(f"network {network!r} is unknown: choose one of {', '.join(NETWORKS)}")
        check_combination(self.objective, tied=tied, separate_networks=network == "separate")
        chosen = (default_width(self.n_modes),) * 2 if self.hidden is None else self.hidden
        hidden = list(chosen) if isinstance(chosen, Iterable) else [chosen]
        counts = {"n_modes": self.n_modes, **counts}
        if self.max_steps is not None:
            counts["max_steps"] = self.max_steps
        for name, value in [*counts.items(), *(("each width in hidden", width) for width in hidden)]:
            if not (isinstance(value, Integral) and int(value) >= 1):
                raise InputError(f"{name} is {value!r}: it must be a whole number of at least 1")
        if self.batch_size is not None and self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size!r}: the metric term needs at least 2 samples in a batch")
        if not 0 <= self.test_fraction < 1:
            raise InputError(f"test_fraction is {self.test_fraction!r}: it must lie in [0, 1)")
        return Layout(int(self.n_modes), network, tuple(int(width) for width in hidden), activation, tied)

    def _seed(self) -> int:
        """The seed itself, or one drawn from a random state: given as `random_state` it leads to the same fit."""
        if not isinstance(self.random_state, Integral):
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        seed = int(self.random_state)
        if not 0 <= seed < 2**32:
            raise InputError(f"`random_state` is {seed}: it must lie between 0 and 2^32 - 1")
        return seed

    @property
    def _batch(self) -> int:
        """Rows per step: a few for every entry of a row of the Gram matrices."""
        return max(512, 8 * int(self.n_modes)) if self.batch_size is None else self.batch_size

    @property
    def _rate(self) -> float:
        """Learning rate at the start."""
        return 5e-3 if self.learning_rate is None else self.learning_rate

    def _learn(
        self,
        sides: Sides,
        operator: Operator,
        samples: Samples,
        seed: int,
        checkpoint: Path | None,
        name: str | None = None,
        **schedule: Any,
    ) -> History:
        """Train in place with this estimator's options, by the objective of that name in place of its own."""
        given = {"batch_size": self._batch, "learning_rate": self._rate, "average_share": FIRST_AVERAGE}
        objective = build_objective(name or self.objective, list(sides.parameters()))
        plan, progress = Schedule(**{**given, **schedule}), self.progress
        return learn(operator, samples, sides, objective, plan, seed=seed, checkpoint=checkpoint, progress=progress)

    def _learn_last(self, before: History, *training: Any, **schedule: Any) -> None:
        """A last, gentler part of the training uses all rows: those held out have done their service."""
        n_steps = max(1, round(LAST_STEPS * before.kept_step))
        plan: dict[str, Any] = {"n_steps": n_steps, "learning_rate": LAST_RATE * self._rate}
        self._learn(*training, **{**plan, "average_share": LAST_AVERAGE, **schedule})

    def _signs(self, spectrum: Spectrum, functions: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Signs that make the rarer end of every mode positive; warns of modes that were not found."""
        if (n_found := spectrum.left.shape[1]) < self.n_modes:
            sentence = f"only {n_found} of {self.n_modes} modes are linearly independent on these data"
            warnings.warn(sentence, InputWarning, stacklevel=4)
        modes = (functions @ mode for mode in spectrum.left.T)
        skew = np.array([np.average(mode * mode * mode, weights=weight) for mode in modes])
        return np.where(skew < 0, -1.0, 1.0)

    def _checkpoint(self, data: Dataset, *settings: Any) -> "Checkpoint":
        """Where the state of this very training is kept: the same data, options and seed lead to the same place."""
        if self.checkpoint_folder is None:
            return Checkpoint(None)
        device = pick_device(self.device).type  # whose random numbers are its own
        options = [self.objective, self.batch_size, self.max_steps, self.learning_rate, self.test_fraction, device]
        versions = torch.__version__, __version__
        key = json.dumps([*map(str, settings), options, versions, data.digest()], default=str)
        digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return Checkpoint(Path(self.checkpoint_folder) / f"training-{digest}")


@dataclass(frozen=True)
class Checkpoint:
    """Folder that holds the state of a training while it runs; None to keep nothing."""

    folder: Path | None

    def file(self, part: str) -> Path | None:
        """Of one part of the training."""
        return None if self.folder is None else self.folder / f"{part}.pt"

    def remove(self) -> None:
        """The training is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def is_trajectory_list(data: object) -> TypeGuard[list[np.ndarray]]:
    """Whether data is a list of 2-D arrays (trajectories) and not one array written as nested lists."""
    return isinstance(data, list) and bool(data) and all(np.ndim(item) == 2 for item in data)


def checked_weights(weights: ArrayLike | list | None, data: Dataset) -> np.ndarray | None:
    """Weights of all rows, (n_rows,), given as such or trajectory by trajectory."""
    if weights is None:
        return None
    parts = weights if len(data) > 1 and isinstance(weights, list) else [weights]
    weight = np.concatenate([np.asarray(part, dtype=float).ravel() for part in parts])
    if len(weight) != data.n_rows:
        raise InputError(f"sample_weight has {len(weight)} entries for {data.n_rows} frames")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError("sample_weight must be finite and not negative, and not all of it zero")
    return weight


def whitening_of(data: Dataset, weight: np.ndarray | None = None) -> Whitening:
    """Whitening of all rows, which count by their weight (n_rows,) where there is one, in float64."""
    return Whitening.of(*mean_and_covariance(data, weight))


def mean_and_covariance(data: Dataset, weight: np.ndarray | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all rows, (d,) and (d, d), in float64; see `whitening_of`."""
    width = data[0].shape[1]
    if width > MAX_COLUMNS:
        raise InputError(
            f"the data have {width:,} columns, more than {MAX_COLUMNS:,}: the covariance of so many takes too much "
            "memory and time, choose fewer features"
        )
    mean, covariance = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    total = data.n_rows if weight is None else float(weight.sum())

    def share(numbers: range) -> torch.Tensor | float:
        if weight is None:
            return 1 / total
        return torch.tensor(weight[numbers.start : numbers.stop, None] / total, dtype=torch.float64)

    for numbers, rows in data.chunks():
        mean += (share(numbers) * torch.tensor(rows, dtype=torch.float64)).sum(dim=0)
    for numbers, rows in data.chunks():
        part = torch.tensor(rows, dtype=torch.float64) - mean
        covariance += part.T @ (share(numbers) * part)
    return mean, covariance


MOST_MODES, ROWS_PER_MODE, FEW_MODES = 1000, 4, 10
"""Most modes at all, and rows (or lagged pairs) that each needs beyond the first few: with fewer, functions that are
as many tell the rows apart one by one, and every timescale is as long as can be."""


def check_modes(n_modes: int, n_rows: int, rows: str = "lagged pairs") -> None:
    """InputError where so many rows, of that name, do not carry so many modes."""
    most = min(MOST_MODES, max(FEW_MODES, n_rows // ROWS_PER_MODE))
    if n_modes > most:
        limit = f"at most {most}, one for every {ROWS_PER_MODE}" if most < MOST_MODES else f"and no more than {most}"
        raise InputError(f"`n_modes` is {n_modes}: {n_rows} {rows} carry {limit}")


def default_width(n_modes: int) -> int:
    """Units of a hidden layer: at least two for every mode."""
    return max(64, 2 * n_modes)


def default_steps(batch_size: int) -> int:
    """Training steps from a cold start: 3000 from batch size 512 on, more for noisier, smaller batches."""
    return round(3000 * max(1.0, (512 / batch_size) ** 0.5))


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for here."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but no GPU can be used here: choose auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank() >= (n_gpus := torch.cuda.device_count()):
        raise InputError(
            f"{n_gpus} GPUs are fewer than processes on this machine: start {n_gpus}, or use `device` 'cpu'"
        )
    return torch.device("cuda")
