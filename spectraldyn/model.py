"""The fitted model: learned singular functions and the spectrum read off them; saved and loaded without pickle."""

import copy
import dataclasses
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike

from spectraldyn.errors import InputError
from spectraldyn.networks.mlp import NETWORKS, Whitening
from spectraldyn.spectra.decomposition import Decomposition, decompose
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.timescales import timescales_from_eigenvalues
from spectraldyn.training import Sides

CHUNK = 65_536
"""Frames evaluated at once in the float64 pass."""


@dataclasses.dataclass(frozen=True)
class NeuralSVDModel:
    """Learned singular functions of a transfer operator and the spectrum read off them.

    Attributes
    ----------
    lagtime : int
        In frames.
    decomposition : Decomposition
        Rayleigh–Ritz (reversible) or CCA over all data, at this lag time.
    moments : Moments
        Of the functions as trained, for a range of lag times and blocks.
    scores : dict
        "vamp2_train", "vamp2_test", "vampe_test": from the training and the held-out pairs; NaN without any. Taken
        before the last part of the training, which uses all pairs; the held-out pairs also served to stop the first
        part, so these are scores of validation and not of an untouched test set.
    signs : ndarray (n_modes,)
        Orientation of the modes: the rarer end of each is positive.
    config : dict
        The networks' layout and the options of the fit.
    """

    lagtime: int
    decomposition: Decomposition
    moments: Moments
    scores: dict[str, float]
    signs: np.ndarray
    config: dict[str, Any]
    _whitening: Whitening = dataclasses.field(repr=False)
    _sides: Sides = dataclasses.field(repr=False)

    @property
    def reversible(self) -> bool:
        """Whether the dynamics were taken as reversible (tied sides, moments symmetrised in time)."""
        return bool(self.config["tied"])

    @property
    def n_modes(self) -> int:
        """Number of modes found; the constant one is not counted."""
        return self.decomposition.left.shape[1]

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of the transfer operator without the constant's 1, largest magnitude first."""
        return self.decomposition.eigenvalues

    @property
    def singular_values(self) -> np.ndarray:
        """Singular values from Rayleigh–Ritz (CCA), without the constant's 1, largest first."""
        return self.decomposition.singular_values

    def timescales(self, k: int | None = None) -> np.ndarray:
        """Implied timescales −τ / ln |λ_i| in frames, slowest first, shape (k,)."""
        return timescales_from_eigenvalues(self.eigenvalues, self.lagtime)[:k]

    def functions(self, frames: ArrayLike) -> np.ndarray:
        """The functions as trained, with the constant first, evaluated in float64.

        Parameters
        ----------
        frames : array_like (T, d)

        Returns
        -------
        ndarray (T, 1 + n_modes), or (T, 1 + 2 n_modes) with the right functions after the left ones where the
        dynamics are not taken as reversible.
        """
        frames = np.asarray(frames)
        width = len(self._whitening.mean)
        if frames.ndim != 2 or frames.shape[1] != width:
            raise InputError(f"frames have shape {frames.shape}: this model takes (T, {width})")
        return evaluate(self._whitening, self._sides, frames)

    def transform(self, data: ArrayLike | list) -> Any:
        """Slow modes of every frame, with mean 0 and variance 1 over the training data.

        Reversible: the eigenfunctions; otherwise the left singular functions.

        Parameters
        ----------
        data : array_like (T, d) or list of them

        Returns
        -------
        ndarray (T, n_modes), or a list of them
        """
        if is_trajectory_list(data):
            return [self.transform(frames) for frames in data]
        return self.functions(data) @ self.decomposition.left * self.signs

    def at_lagtime(self, lagtime: int) -> "NeuralSVDModel":
        """The spectrum of the same functions at another lag time, from the stored moments.

        Raises
        ------
        InputError
            If no moments are stored for this lag time.
        """
        stored = self.moments.lagtimes.tolist()
        if lagtime not in stored:
            raise InputError(f"lagtime {lagtime} is not among the lag times of this model: {stored}")
        means = self.moments.means(stored.index(lagtime))
        decomposition = decompose(*means, reversible=self.reversible)
        # Every mode takes the orientation of the one at the old lag time that it resembles most.
        overlaps = decomposition.left.T @ means[0] @ (self.decomposition.left * self.signs)
        nearest = np.take_along_axis(overlaps, np.abs(overlaps).argmax(axis=1)[:, None], axis=1)[:, 0]
        return dataclasses.replace(
            self, lagtime=lagtime, decomposition=decomposition, signs=np.where(nearest < 0, -1.0, 1.0)
        )

    def save(self, path: str | Path) -> None:
        """Write the model to one file of tensors and plain values; nothing in it is executable."""
        torch.save(
            {
                "spectraldyn_model": 1,
                "config": {**self.config, "lagtime": self.lagtime},
                "scores": self.scores,
                "signs": torch.from_numpy(self.signs),
                "whitening": self._whitening.state_dict(),
                "sides": self._sides.state_dict(),
                **{
                    part: {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in vars(record).items()}
                    for part, record in (("moments", self.moments), ("decomposition", self.decomposition))
                },
            },
            path,
        )

    @classmethod
    def load(cls, path: str | Path) -> "NeuralSVDModel":
        """Read a model written by `save`.

        Raises
        ------
        InputError
            If the file is not such a model.
        """
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            version = stored["spectraldyn_model"]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise InputError(f"{path} is not a model saved by spectraldyn ({type(error).__name__})") from error
        if version != 1:
            raise InputError(f"{path} was saved by a newer spectraldyn (model format {version}, this one reads 1)")
        config = dict(stored["config"])
        matrix = stored["whitening"]["matrix"]
        whitening = Whitening.empty(*matrix.shape)
        sides = build_sides(matrix.shape[1], config)
        whitening.double().load_state_dict(stored["whitening"])
        sides.double().load_state_dict(stored["sides"])
        return cls(
            lagtime=config.pop("lagtime"),
            decomposition=Decomposition(**{k: v.numpy() for k, v in stored["decomposition"].items()}),
            moments=Moments(**{k: v.numpy() for k, v in stored["moments"].items()}),
            scores=stored["scores"],
            signs=stored["signs"].numpy(),
            config=config,
            _whitening=whitening,
            _sides=sides,
        )


def is_trajectory_list(data: object) -> TypeGuard[list[np.ndarray]]:
    """Whether data is a list of 2-D arrays (trajectories) and not one array written as nested lists."""
    return isinstance(data, list) and bool(data) and all(np.ndim(item) == 2 for item in data)


def build_sides(n_inputs: int, config: dict[str, Any]) -> Sides:
    """Fresh networks for `n_inputs` whitened inputs, as the configuration describes them."""

    def network() -> torch.nn.Module:
        return NETWORKS[config["network"]](n_inputs, config["n_modes"], tuple(config["hidden"]))

    left = network()
    return Sides(left, left if config["tied"] else network())


@torch.no_grad()
def evaluate(whitening: Whitening, sides: Sides, frames: np.ndarray) -> np.ndarray:
    """[1, f] or, where the sides differ, [1, f, g] at every frame, in float64, chunk by chunk."""
    tied = sides.left is sides.right
    device = next(sides.parameters()).device
    if next(sides.parameters()).dtype != torch.float64:
        sides = copy.deepcopy(sides).double()
    whitening = copy.deepcopy(whitening).to(device)
    result = []
    for start in range(0, max(len(frames), 1), CHUNK):
        x = whitening(torch.tensor(frames[start : start + CHUNK], dtype=torch.float64, device=device))
        parts = [x.new_ones(len(x), 1), sides.left(x)] + ([] if tied else [sides.right(x)])
        result.append(torch.cat(parts, dim=1).cpu().numpy())
    return np.concatenate(result)
