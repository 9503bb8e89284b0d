"""The fitted models: learned functions and the spectrum read off them; saved and loaded without pickle."""

import copy
import dataclasses
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike

from spectraldyn.errors import InputError
from spectraldyn.networks.mlp import Whitening
from spectraldyn.networks.sides import Sides, build_sides
from spectraldyn.spectra.decomposition import Decomposition, decompose
from spectraldyn.spectra.generator import GeneratorDecomposition, GeneratorMoments
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.timescales import timescales_from_eigenvalues

FORMAT = 2
"""Of the files that `save` writes."""
CHUNK = 65_536
"""Frames evaluated at once in the float64 pass."""


@dataclasses.dataclass(frozen=True, repr=False)
class _Model:
    """Learned functions of the state, and what they have in common whatever the operator.

    Attributes
    ----------
    scores : dict
        From the training and the held-out rows; NaN without any. Taken before the last part of the training, which
        uses all rows; the held-out rows also served to stop the first part, so these are scores of validation and not
        of an untouched test set.
    signs : ndarray (n_modes,)
        Orientation of the modes: the rarer end of each is positive.
    config : dict
        The networks' layout and the options of the fit.
    """

    decomposition: Decomposition | GeneratorDecomposition
    moments: Moments | GeneratorMoments
    scores: dict[str, float]
    signs: np.ndarray
    config: dict[str, Any]
    _whitening: Whitening
    _sides: Sides

    @property
    def n_modes(self) -> int:
        """Number of modes found; the constant one is not counted."""
        return self.decomposition.left.shape[1]

    def functions(self, frames: ArrayLike) -> np.ndarray:
        """The functions as trained, with the constant first, evaluated in float64.

        Parameters
        ----------
        frames : array_like (T, d)

        Returns
        -------
        ndarray (T, 1 + n_modes), or (T, 1 + 2 n_modes) with the right functions after the left ones where the sides
        are not tied.
        """
        frames = np.asarray(frames)
        width = len(self._whitening.mean)
        if frames.ndim != 2 or frames.shape[1] != width:
            raise InputError(f"frames have shape {frames.shape}: this model takes (T, {width})")
        return evaluate(self._whitening, self._sides, frames)

    def transform(self, data: ArrayLike | list) -> Any:
        """Slow modes of every frame, with mean 0 and variance 1 over the training data.

        Eigenfunctions; for dynamics that are not reversible the left singular functions.

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

    def save(self, path: str | Path) -> None:
        """Write the model to one file of tensors and plain values; nothing in it is executable."""
        torch.save(
            {
                "spectraldyn_model": FORMAT,
                "config": self.config,
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


@dataclasses.dataclass(frozen=True, repr=False)
class NeuralSVDModel(_Model):
    """Learned singular functions of a transfer operator and the spectrum read off them.

    Attributes
    ----------
    decomposition : Decomposition
        Rayleigh–Ritz (reversible) or CCA over all data, at this lag time.
    moments : Moments
        Of the functions as trained, for a range of lag times and blocks.
    scores : dict
        "vamp2_train", "vamp2_test", "vampe_test"; see `spectraldyn.spectra.validation`.
    """

    decomposition: Decomposition
    moments: Moments

    @property
    def lagtime(self) -> int:
        """In frames."""
        return self.config["lagtime"]

    @property
    def reversible(self) -> bool:
        """Whether the dynamics were taken as reversible (tied sides, moments symmetrised in time)."""
        return bool(self.config["tied"])

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of the transfer operator without the constant's 1, largest magnitude first."""
        return self.decomposition.eigenvalues

    @property
    def singular_values(self) -> np.ndarray:
        """Singular values from Rayleigh–Ritz (CCA), without the constant's 1, largest first."""
        return self.decomposition.singular_values

    def __repr__(self) -> str:
        values = ", ".join(f"{t:.4g}" for t in self.timescales())
        return f"NeuralSVDModel({self.n_modes} modes at lagtime {self.lagtime}, timescales {values} frames)"

    def timescales(self, k: int | None = None) -> np.ndarray:
        """Implied timescales −τ / ln |λ_i| in frames, slowest first, shape (k,)."""
        return timescales_from_eigenvalues(self.eigenvalues, self.lagtime)[:k]

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
            self,
            config={**self.config, "lagtime": lagtime},
            decomposition=decomposition,
            signs=np.where(nearest < 0, -1.0, 1.0),
        )

    @classmethod
    def load(cls, path: str | Path) -> "NeuralSVDModel":
        """Read a model written by `save`.

        Raises
        ------
        InputError
            If the file is not such a model.
        """
        model = load_model(path)
        if not isinstance(model, cls):
            raise InputError(f"{path} holds a model of a generator: load it with GeneratorModel.load")
        return model


@dataclasses.dataclass(frozen=True, repr=False)
class GeneratorModel(_Model):
    """Learned eigenfunctions of an infinitesimal generator and the relaxation rates read off them.

    Attributes
    ----------
    decomposition : GeneratorDecomposition
    moments : GeneratorMoments
        Of the functions as trained, for blocks of the states.
    scores : dict
        "resolvent_train", "resolvent_test": squared singular values of the operator on the learned span, summed, the
        constant's 1 included.
    """

    decomposition: GeneratorDecomposition
    moments: GeneratorMoments

    @property
    def shift(self) -> float:
        """η of the resolvent η (η − L)⁻¹, or c of the shifted generator 1 + L/c."""
        return self.config["shift"]

    @property
    def reversible(self) -> bool:
        """True: the generator is self-adjoint."""
        return True

    @property
    def rates(self) -> np.ndarray:
        """Relaxation rates −λ, ascending, without the constant's 0: inverse of the unit of time of D."""
        return self.decomposition.rates

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues λ of the generator, without the constant's 0, the slowest first."""
        return -self.rates

    @property
    def singular_values(self) -> np.ndarray:
        """What the norms of the functions converge to: η/(η + rate), or 1 − rate/c in the strong form."""
        if self.config["form"] == "strong":
            return np.clip(1 - self.rates / self.shift, 0, None)
        return self.shift / (self.shift + self.rates)

    def __repr__(self) -> str:
        return f"GeneratorModel({self.n_modes} modes, rates {', '.join(f'{rate:.4g}' for rate in self.rates)})"

    def timescales(self, k: int | None = None) -> np.ndarray:
        """Relaxation times 1/rate, slowest first, shape (k,)."""
        with np.errstate(divide="ignore"):
            return 1 / self.rates[:k]

    @classmethod
    def load(cls, path: str | Path) -> "GeneratorModel":
        """Read a model written by `save`; InputError if the file is not such a model."""
        model = load_model(path)
        if not isinstance(model, cls):
            raise InputError(f"{path} holds a model of a transfer operator: load it with NeuralSVDModel.load")
        return model


def load_model(path: str | Path) -> NeuralSVDModel | GeneratorModel:
    """Read a model of either kind.

    Raises
    ------
    InputError
        If the file is not a model saved by spectraldyn.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        version = stored["spectraldyn_model"]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(f"{path} is not a model saved by spectraldyn ({type(error).__name__})") from error
    if version != FORMAT:
        raise InputError(f"{path} was saved by another spectraldyn (model format {version}, this one reads {FORMAT})")
    config = stored["config"]
    matrix = stored["whitening"]["matrix"]
    whitening = Whitening.empty(*matrix.shape)
    sides = build_sides(matrix.shape[1], config)
    whitening.double().load_state_dict(stored["whitening"])
    sides.double().load_state_dict(stored["sides"])
    records = {part: {k: v.numpy() for k, v in stored[part].items()} for part in ("decomposition", "moments")}
    common: dict[str, Any] = {
        "scores": stored["scores"],
        "signs": stored["signs"].numpy(),
        "config": config,
        "_whitening": whitening,
        "_sides": sides,
    }
    if config["operator"] == "generator":
        return GeneratorModel(
            decomposition=GeneratorDecomposition(**records["decomposition"]),
            moments=GeneratorMoments(**records["moments"]),
            **common,
        )
    return NeuralSVDModel(
        decomposition=Decomposition(**records["decomposition"]), moments=Moments(**records["moments"]), **common
    )


def is_trajectory_list(data: object) -> TypeGuard[list[np.ndarray]]:
    """Whether data is a list of 2-D arrays (trajectories) and not one array written as nested lists."""
    return isinstance(data, list) and bool(data) and all(np.ndim(item) == 2 for item in data)


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
