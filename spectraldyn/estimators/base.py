"""What the estimators share: options, seeds, checkpoints and the two parts of the training."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from spectraldyn.data.samples import Samples
from spectraldyn.errors import InputError
from spectraldyn.estimators.model import CHUNK, is_trajectory_list
from spectraldyn.learning.loop import History, train
from spectraldyn.networks.mlp import NETWORKS, Whitening
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives import stateless
from spectraldyn.objectives.nested import NESTINGS
from spectraldyn.records import Operator

N_BLOCKS = 200
"""Finest division of the data for which moments are kept."""
LAST_STEPS, LAST_RATE = 0.5, 0.03
"""Length and learning rate of the training on all data, as shares of those of the training that held some out."""
FIRST_AVERAGE, LAST_AVERAGE = 0.01, 0.5
"""Reach of the moving average of the parameters in either part, as a share of its steps. The functions have settled by
the last part: a long average there takes out what the noise of small batches leaves in their norms."""


class NeuralEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Estimators that train networks by nested low-rank approximation; see `NeuralSVD` for the options."""

    n_modes: int
    nesting: str
    network: str | None
    hidden: Any
    batch_size: int
    max_steps: int | None
    learning_rate: float
    test_fraction: float
    random_state: Any
    checkpoint_folder: str | Path | None
    progress: bool
    model_: Any

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

    def _network_config(self, counts: dict[str, Any]) -> dict[str, Any]:
        """Layout of the networks and the seed, checked; `counts` are further options that must be at least 1."""
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
        wanted: dict[str, Any] = {"n_modes": self.n_modes, **counts}
        if self.max_steps is not None:
            wanted["max_steps"] = self.max_steps
        named: list[tuple[str, Any]] = [*wanted.items(), *(("each width in hidden", width) for width in hidden)]
        for name, value in named:
            if not (isinstance(value, Integral) and int(value) >= 1):
                raise InputError(f"{name} is {value!r}: it must be a whole number of at least 1")
        if self.batch_size < 2:
            raise InputError(f"batch_size is {self.batch_size!r}: the metric term needs at least 2 samples in a batch")
        if not 0 <= self.test_fraction < 1:
            raise InputError(f"test_fraction is {self.test_fraction!r}: it must lie in [0, 1)")
        return {
            "network": network,
            "n_modes": int(self.n_modes),
            "hidden": [int(width) for width in hidden],
            "nesting": self.nesting,
            "seed": self._seed(),
        }

    def _seed(self) -> int:
        """The seed itself, or one drawn from a random state: given as `random_state` it leads to the same fit."""
        if not isinstance(self.random_state, Integral):
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        seed = int(self.random_state)
        if not 0 <= seed < 2**32:
            raise InputError(f"the seed is {seed}: it must lie between 0 and 2^32 - 1")
        return seed

    def _train(
        self,
        sides: Sides,
        operator: Operator,
        samples: Samples,
        n_steps: int,
        seed: int,
        checkpoint: Path | None,
        *,
        last: bool,
        **options: Any,
    ) -> History:
        """Train in place with this estimator's options and some of `train`; gently in the last part."""
        return train(
            sides,
            operator,
            stateless(NESTINGS[self.nesting]),
            samples,
            batch_size=self.batch_size,
            n_steps=n_steps,
            learning_rate=self.learning_rate * (LAST_RATE if last else 1),
            average_share=LAST_AVERAGE if last else FIRST_AVERAGE,
            seed=seed,
            checkpoint=None if checkpoint is None else checkpoint / ("last.pt" if last else "first.pt"),
            progress=self.progress,
            **options,
        )

    def _checkpoint(self, settings: list[Any], arrays: list[np.ndarray]) -> Path | None:
        """Folder for the state of this very training: the same data, options and seed lead to the same one."""
        if self.checkpoint_folder is None:
            return None
        options = [self.batch_size, self.max_steps, self.learning_rate, self.test_fraction, torch.__version__]
        digest = hashlib.blake2b(json.dumps([settings, options], default=str).encode(), digest_size=16)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return Path(self.checkpoint_folder) / f"training-{digest.hexdigest()}"


def whitening_of(frames: np.ndarray) -> Whitening:
    """Whitening of all frames, in float64."""
    n, n_inputs = frames.shape
    mean, covariance = torch.zeros(n_inputs, dtype=torch.float64), torch.zeros(n_inputs, n_inputs, dtype=torch.float64)
    for part in float64_chunks(frames):
        mean += part.sum(dim=0) / n
    for part in float64_chunks(frames):
        covariance += (part - mean).T @ (part - mean) / n
    return Whitening(mean, covariance)


def float64_chunks(frames: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(frames), CHUNK):
        yield torch.tensor(frames[start : start + CHUNK], dtype=torch.float64)


def default_steps(batch_size: int, warm: bool = False) -> int:
    """Training steps: 3000 from batch size 512 on, a third after a warm start, more for noisier, smaller batches."""
    return round((1000 if warm else 3000) * max(1.0, (512 / batch_size) ** 0.5))


def pick_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for here."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is unknown: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but no GPU can be used here: choose auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
