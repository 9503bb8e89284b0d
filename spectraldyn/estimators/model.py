"""The fitted models: learned functions and the spectrum read off them; saved and loaded without pickle."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import ArrayLike

from spectraldyn.data import Dataset
from spectraldyn.errors import InputError
from spectraldyn.estimators import stored
from spectraldyn.estimators.base import is_trajectory_list
from spectraldyn.estimators.evaluation import evaluate, evaluated
from spectraldyn.estimators.settings import GeneratorSettings, TransferSettings
from spectraldyn.networks import Sides
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rates import Untapped, rates_from_eigenvalues
from spectraldyn.spectra.rayleigh_ritz import Eigenmodes, Spectrum
from spectraldyn.spectra.scores import HeldOut
from spectraldyn.spectra.timescales import timescales_from_eigenvalues


@dataclasses.dataclass(frozen=True, repr=False)
class _Model:
    """Learned functions of the state, and what they have in common whatever the operator."""

    spectrum: Spectrum
    """Rayleigh–Ritz over all data."""
    moments: Moments
    """Of the functions as trained, by block."""
    scores: dict[str, float]
    """From the training and the held-out rows; NaN without any. Taken before the last part of the training, which uses
    all rows; the held-out rows also served to stop the first part, so these are scores of validation and not of an
    untouched test set."""
    signs: np.ndarray
    """(n_modes,): orientation of the modes: the rarer end of each is positive."""
    settings: Any
    sides: Sides
    """The networks, which whiten their inputs, in float64 and where they were trained."""

    @property
    def n_modes(self) -> int:
        """Number of modes found; the constant one is not counted."""
        return self.spectrum.left.shape[1]

    @property
    def n_columns(self) -> int:
        """Columns of the frames that the functions are of, d."""
        if (encoding := self.settings.layout.encoding) is not None:
            return encoding.n_columns
        return next(len(mean) for name, mean in self.sides.named_buffers() if name.endswith("whitening.mean"))

    @property
    def singular_values(self) -> np.ndarray:
        """(n_modes,): what the norms of the functions converge to."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What the model is, in a line."""
        return f"{type(self).__name__}: {self.n_modes} mode{'s' * (self.n_modes != 1)}"

    def table(self) -> list[tuple[str, ...]]:
        """Cells of the heads, and of one row for every mode, as text."""
        norms = self.spectrum.norms[: self.n_modes]
        columns = [*self._columns(), ("singular value", self.singular_values), ("norm as trained", norms)]
        cells = [[f"{value:.4g}" for value in values] for _, values in columns]
        rows = [(str(number), *row) for number, row in enumerate(zip(*cells, strict=True), 1)]
        return [("mode", *(head for head, _ in columns)), *rows]

    def notes(self) -> list[str]:
        """What must be known to read the table, and the scores: one line each."""
        named = {"vamp2": "VAMP-2", "vampe": "VAMP-E", "resolvent": "Squared singular values"}
        parts = {"train": "on the training part", "test": "held out"}
        shown = [
            f"{named[name]} {value:.3f} {parts[part]}"
            for name, _, part, value in ((*key.partition("_"), value) for key, value in self.scores.items())
            if np.isfinite(value)
        ]
        return [line for line in (", ".join(shown), self._reading) if line]

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        """Head and values (n_modes,) of the columns that models of this kind alone have."""
        raise NotImplementedError

    _reading: ClassVar[str] = ""

    def functions(self, frames: ArrayLike | Dataset) -> np.ndarray:
        """The functions as trained, with the constant first, evaluated in float64.

        Parameters
        ----------
        frames : array_like (T, d) or Dataset

        Returns
        -------
        ndarray (T, 1 + n_modes), or (T, 1 + 2 n_modes) with the right functions after the left ones where the sides
        are not tied.
        """
        return evaluate(self.sides, self._checked(frames))

    @torch.no_grad()
    def encode(self, coordinates: ArrayLike | Dataset) -> np.ndarray:
        """What the encoder of a model on coordinates gives: features that rotation and translation do not change.

        Written by `numpy.save` they are ready-made features, for any further fit.

        Parameters
        ----------
        coordinates : array_like (T, d) or Dataset

        Returns
        -------
        ndarray (T, k) float32

        Raises
        ------
        InputError
            If the model is not one on coordinates, or the data are coordinates of other atoms.
        """
        if self.settings.layout.encoding is None:
            raise InputError(
                "this model has no encoder, as it was fitted to features: these are what there is to store"
            )
        encoder = cast(Any, self.sides.left)[0].encoder
        parts = [encoder(torch.tensor(view).to(self.sides.device)) for _, view in self._checked(coordinates).chunks()]
        return torch.cat(parts).float().cpu().numpy()

    def _checked(self, frames: ArrayLike | Dataset) -> Dataset:
        """Frames that the networks take; InputError for others."""
        if not isinstance(frames, Dataset):
            frames = np.asarray(frames)
            if frames.ndim != 2 or frames.shape[1] != self.n_columns:
                raise InputError(f"frames have shape {frames.shape}: this model takes (T, {self.n_columns})")
            frames = Dataset([frames])
        self._check_atoms(frames)
        return frames

    def _check_atoms(self, data: Dataset) -> None:
        """InputError where a network on coordinates is given those of other atoms."""
        encoding = self.settings.layout.encoding
        if encoding is None or data.atoms is None:
            return
        if (data.atoms.kinds, data.atoms.boxed) != (encoding.kinds, encoding.boxed):
            theirs, own = (f"{len(one.kinds)} atoms{' in a box' * one.boxed}" for one in (data.atoms, encoding))
            raise InputError(
                f"the data are coordinates of other atoms ({theirs}) than those that this model was fitted to ({own}): "
                "give frames of the same molecule"
            )

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
        if isinstance(data, Dataset):
            self._check_atoms(data)
        if is_trajectory_list(data):
            return [self.transform(frames) for frames in data]
        return self.modes_from(self.functions(data))

    def modes_from(self, functions: np.ndarray) -> np.ndarray:
        """The same from functions that have been evaluated, (T, n_modes), in their precision."""
        return functions @ (self.spectrum.left * self.signs).astype(functions.dtype)

    def save(self, path: str | Path) -> None:
        """Write the model to one file of tensors and plain values; nothing in it is executable."""
        contents = {
            "spectraldyn_model": stored.FORMAT,
            "settings": self.settings.plain(),
            "scores": self.scores,
            "signs": torch.from_numpy(self.signs),
            "sides": self.sides.state_dict(),
            "spectrum": stored.tensors(self.spectrum),
            "moments": stored.tensors(self.moments),
            **{name: stored.tensors(record) for name, record in self._own_records().items()},
        }
        torch.save(contents, path)

    def _own_records(self) -> dict[str, HeldOut | Untapped]:
        """What models of this kind alone hold."""
        return {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model written by `save`; InputError if the file is not such a model."""
        model = load_model(path)
        if not isinstance(model, cls):
            raise InputError(f"{path} holds a {type(model).__name__}: load it with {type(model).__name__}.load")
        return model


@dataclasses.dataclass(frozen=True, repr=False)
class NeuralSVDModel(_Model):
    """Learned singular functions of a transfer operator and the spectrum read off them.

    Attributes
    ----------
    moments : Moments
        Of the functions as trained, for a range of lag times and blocks.
    scores : dict
        "vamp2_train", "vamp2_test", "vampe_test"; see `spectraldyn.spectra.scores`.
    held_out : HeldOut
        How each mode does on held-out pairs, from when the scores were taken.
    """

    settings: TransferSettings
    held_out: HeldOut

    _reading = "Timescales are in rows of the data; `analyze(model, data)` gives them with units and error bars"

    @property
    def title(self) -> str:
        """What the model is, in a line."""
        return f"{super().title} at lagtime {self.lagtime}"

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [("timescale (rows)", self.timescales()), ("eigenvalue", self.eigenvalues)]

    def _own_records(self) -> dict[str, HeldOut | Untapped]:
        return {"held_out": self.held_out}

    @property
    def lagtime(self) -> int:
        """In rows."""
        return self.settings.lagtime

    @property
    def reversible(self) -> bool:
        """Whether the dynamics were taken as reversible (tied sides, moments symmetrised in time)."""
        return self.settings.layout.tied

    @property
    def eigenmodes(self) -> Eigenmodes:
        """Eigenvalues of the transfer operator and the eigenfunctions that belong to them."""
        return self.moments.eigenmodes(self.spectrum, self.moments.at(self.lagtime))

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues of the transfer operator without the constant's 1, the slowest first."""
        return self.eigenmodes.values

    @property
    def singular_values(self) -> np.ndarray:
        """Singular values from Rayleigh–Ritz (CCA), without the constant's 1, largest first."""
        return np.abs(self.spectrum.values)

    def __repr__(self) -> str:
        values = ", ".join(f"{t:.4g}" for t in self.timescales())
        return f"NeuralSVDModel({self.n_modes} modes at lagtime {self.lagtime}, timescales {values} rows)"

    def timescales(self, k: int | None = None) -> np.ndarray:
        """Implied timescales ``−τ / ln |λ_i|`` in rows, slowest first, shape (k,)."""
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
        spectrum = self.moments.spectrum(self.moments.at(lagtime))
        gram = self.moments.means(self.moments.at(lagtime))[0]
        # Every mode takes the orientation of the one at the old lag time that it resembles most.
        overlaps = spectrum.left.T @ gram @ (self.spectrum.left * self.signs)
        nearest = np.take_along_axis(overlaps, np.abs(overlaps).argmax(axis=1)[:, None], axis=1)[:, 0]
        settings = dataclasses.replace(self.settings, lagtime=lagtime)
        return dataclasses.replace(self, settings=settings, spectrum=spectrum, signs=np.where(nearest < 0, -1.0, 1.0))


@dataclasses.dataclass(frozen=True, repr=False)
class GeneratorModel(_Model):
    """Learned eigenfunctions of an infinitesimal generator and the relaxation rates read off them.

    Attributes
    ----------
    spectrum : Spectrum
        Of the resolvent with `resolvent_shift`, in its energy space; functions of mean 0 and variance 1.
    moments : Moments
        Of this resolvent on the functions as trained, for blocks of the states.
    scores : dict
        "resolvent_train", "resolvent_test": squared singular values of the operator on the learned span, summed, the
        constant's 1 included.
    untapped : Untapped
        What is left to learn.
    """

    settings: GeneratorSettings
    untapped: Untapped

    reversible: ClassVar[bool] = True
    """The generator is self-adjoint."""

    _reading = "Rates are per unit of time of D; `analyze_generator(model, data)` gives them with error bars"

    def _columns(self) -> list[tuple[str, np.ndarray]]:
        return [("rate", self.rates), ("timescale", self.timescales())]

    def _own_records(self) -> dict[str, HeldOut | Untapped]:
        return {"untapped": self.untapped}

    @property
    def shift(self) -> float:
        """η of the resolvent η (η − L)⁻¹, or c of the shifted generator 1 + L/c."""
        return self.settings.shift

    @property
    def rates(self) -> np.ndarray:
        """Relaxation rates −λ, ascending, without the constant's 0: inverse of the unit of time of D."""
        return rates_from_eigenvalues(self.spectrum.values, self.shift)

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues λ of the generator, without the constant's 0, the slowest first."""
        return -self.rates

    @property
    def singular_values(self) -> np.ndarray:
        """What the norms of the functions converge to: η/(η + rate), or 1 − rate/c in the strong form."""
        if self.settings.form == "strong":
            return np.clip(1 - self.rates / self.shift, 0, None)
        return self.spectrum.values

    def __repr__(self) -> str:
        return f"GeneratorModel({self.n_modes} modes, rates {', '.join(f'{rate:.4g}' for rate in self.rates)})"

    def timescales(self, k: int | None = None) -> np.ndarray:
        """Relaxation times 1/rate, slowest first, shape (k,)."""
        with np.errstate(divide="ignore"):
            return 1 / self.rates[:k]


_MODELS: dict[str, tuple[type[_Model], type]] = {
    "transfer": (NeuralSVDModel, TransferSettings),
    "generator": (GeneratorModel, GeneratorSettings),
}


def load_model(path: str | Path) -> NeuralSVDModel | GeneratorModel:
    """Read a model of either kind.

    Raises
    ------
    InputError
        If the file is not a model saved by spectraldyn.
    """
    return cast(NeuralSVDModel | GeneratorModel, stored.read(path, _restored))


def _restored(contents: dict[str, Any]) -> _Model:
    """The model of what `save` wrote; raises anything where a part is missing, of another shape, or not a number."""
    settings = dict(contents["settings"])
    kind, settings_type = _MODELS[settings.pop("operator")]
    layout = stored.layout_from(settings)
    settings = settings_type(layout=layout, **settings)
    spectrum, moments = Spectrum(**stored.arrays(contents["spectrum"])), Moments(**stored.arrays(contents["moments"]))
    if len(spectrum.norms) != layout.n_modes:
        raise ValueError("its networks are not those that it says")
    sides = stored.sides_from(contents["sides"], layout)
    records: dict[str, Any] = {"held_out": HeldOut, "untapped": Untapped}
    own = {name: record(**stored.arrays(contents[name])) for name, record in records.items() if name in contents}
    scores = {str(name): float(score) for name, score in contents["scores"].items()}
    model = kind(spectrum, moments, scores, contents["signs"].numpy(), settings, sides, **own)
    _check_numbers(model)
    return model


def _check_numbers(model: _Model) -> None:
    """ValueError where arrays do not fit each other or hold what is not a finite number."""
    spectrum, moments, n_blocks = model.spectrum, model.moments, len(model.moments.stretch)
    n_functions = evaluated(model.sides, torch.zeros(1, model.n_columns)).shape[1]
    of_pairs = (len(moments.lagtimes), n_blocks, n_functions, n_functions)
    n_modes = len(model.signs)
    shapes = [
        *((part, of_pairs) for part in (moments.left, moments.operator, moments.right)),
        *((moments.weight, of_pairs[:2]), (moments.block_rows, (n_blocks,)), (spectrum.values, (n_modes,))),
        *((part, (n_functions, n_modes)) for part in (spectrum.left, spectrum.right)),
    ]
    if isinstance(model, GeneratorModel):
        shapes.append((model.untapped.ratios, (2, n_modes)))
    if any(array.shape != shape for array, shape in shapes):
        raise ValueError("its arrays do not fit each other")
    weights = [part.numpy() for part in model.sides.state_dict().values()]
    arrays = [*(array for array, _ in shapes), model.signs, *weights]
    if any(array.dtype.kind != "f" for array, _ in shapes[:4] + shapes[5:]):
        raise ValueError("it holds whole numbers in the place of others")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("it holds numbers that are not finite")
    if isinstance(model, NeuralSVDModel):
        moments.at(model.lagtime)
