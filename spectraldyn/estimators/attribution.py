"""What drives a process: how much each mode depends on every feature and on every residue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data import Column, Dataset
from spectraldyn.errors import InputError
from spectraldyn.estimators.model import GeneratorModel, NeuralSVDModel
from spectraldyn.learning import cpu_settings
from spectraldyn.spectra.timescales import matched

Model = NeuralSVDModel | GeneratorModel
MAX_FRAMES = 1500
"""Frames that are looked at, spread over the data: dependence needs far fewer than kinetics."""
MAX_FRAMES_OF_ATOMS = 500
"""The same of coordinates, through whose encoder every evaluation goes."""
MAX_PATHS = 300
"""Pairs of these frames between which gradients are integrated."""
PATH_STEPS = 12
"""Gauss–Legendre nodes on each path."""
PATH_VALUES = 2**22
"""Inputs of the networks that are differentiated at once (32 MB in double precision)."""
N_BLOCKS = 10
"""Contiguous pieces of the data that are left out in turn for standard errors."""
MOST_FEATURES = 300
"""With more named features than this only some are permuted, each of which costs an evaluation of the networks."""
N_PERMUTED = 50
"""Features that are permuted then: those that rank highest by integrated gradients, for one mode or another."""
NAMED = 3
"""Features that the text of an attribution names."""


@dataclass(frozen=True)
class Measure:
    """One measure of dependence on each of n features or residues."""

    value: np.ndarray
    """(n,): the mean over the models; NaN for features that were not permuted."""
    error: np.ndarray
    """(n,): standard error from the finite data, of one model: jackknife over blocks of frames."""
    spread: np.ndarray | None
    """(n,): standard deviation over refits, which holds what chance in the training does; None for a single model."""


@dataclass(frozen=True)
class Ranking:
    """Features or residues and what a mode makes of them, the most important first.

    Permutation importance ranks: it alone asks what is left of the mode without a feature, and means the same for every
    mode and feature. Correlation sees no dependence that is not linear, and names every bystander of a process.
    Integrated gradients are shares of all changes along straight paths, less the more features there are. What has not
    been permuted comes last, by these.
    """

    names: tuple[str, ...]
    """Such as "phi ALA2", "distance ALA2-CA GLY5-CA"; of residues "ALA2"."""
    importance: Measure
    correlation: Measure
    integrated_gradients: Measure

    def rows(self, n: int) -> list[dict[str, Any]]:
        """The leading n as plain values, None where undetermined: "name", and "value", "error", "spread" of each."""
        measures = ("importance", "correlation", "integrated_gradients")
        return [
            {"name": name} | {measure: _plain(getattr(self, measure), place) for measure in measures}
            for place, name in enumerate(self.names[:n])
        ]


def _plain(measure: Measure, place: int) -> dict[str, float | None]:
    numbers = ((part, None if of is None else float(of[place])) for part, of in vars(measure).items())
    return {part: None if number is None or np.isnan(number) else number for part, number in numbers}


@dataclass(frozen=True, repr=False)
class Attribution:
    """What drives one mode.

    A feature stands for all its columns: cosine and sine of a torsion, of which neither means anything alone.
    """

    features: Ranking
    residues: Ranking
    """Importance and integrated gradients of the features, summed, and their largest correlation; a feature of two
    residues, as a distance, counts half for each. Empty where columns name no residues."""
    n_permuted: int
    """Features that were permuted, of all `features.names`; residues have the importance of these alone."""

    def __repr__(self) -> str:
        names, values = self.features.names, self.features.importance.value
        leading = [f"{name} {value:.2f}" for name, value in zip(names[:NAMED], values, strict=False)]
        return f"Attribution(permutation importance of {', '.join([*leading, '…'] if len(names) > NAMED else leading)})"


def attribute(models: Model | Sequence[Model], data: Dataset) -> list[Attribution]:
    """How much each mode depends on every feature and on every residue, in three measures.

    Permutation importance: what the mode's correlation with itself loses when a feature takes its values in other
    frames, 1 − Re corr(ψ(x), ψ(x')). For independent features that is the share of the variance in which a feature
    takes part (total-effect index), 1 for the only feature that matters. Features that follow each other share what
    they stand for, and moving one alone makes states that the data never show. Correlation: the modulus, for an angle
    the multiple correlation with its cosine and sine. Integrated gradients: along straight paths from other frames of
    the data, the modulus of what a feature contributes to ψ(x) − ψ(x'), averaged, as a share of the sum over all
    features.

    Of coordinates a feature is an atom. The frames are superposed first, which changes no mode, so that the place of an
    atom in another frame is one relative to the others; not where they carry a box.

    All on at most 1500 frames (500 of coordinates), spread evenly over the data, or over their weight where the rows
    have any. No data are new to a model, which is fitted to all of them in the end: this is what its functions depend
    on, not how well they predict.

    Parameters
    ----------
    models : model or sequence of models
        Fitted on `data`; several are refits of the first, with other seeds, whose modes are matched to its by overlap.
    data : Dataset

    Returns
    -------
    list of Attribution
        One for every mode of the first model: of eigenfunctions, complex where these are.

    Raises
    ------
    InputError
        If a model takes another number of columns.

    References
    ----------
    Breiman, Mach. Learn. 45 (2001) 5, permutation; Glen, Isaacs, Environ. Model. Softw. 37 (2012) 157, total effects
    from correlations; Mardia, Jupp, Directional Statistics (2000), section 11.2, correlation with an angle;
    Sundararajan, Taly, Yan, ICML 2017, integrated gradients; Erion et al., Nat. Mach. Intell. 3 (2021) 620, paths
    between data.
    """
    several = list(models) if isinstance(models, Sequence) else [models]
    for model in several:
        if model.n_columns != len(data.columns):
            raise InputError(f"the data have {len(data.columns)} columns: this model takes {model.n_columns}")
    sample = _Sample.of(data, several[0].settings.seed)
    values: list[np.ndarray] = []
    found: list[np.ndarray] = []
    for model in several:
        function = _Modes.of(model)
        with cpu_settings(model.sides):
            modes = function.at(sample.frames)
            gradients = _path_shares(function, sample)
            if not found:  # refits look at the same features
                permuted = _worth_permuting(gradients[0])
            importance = _importances(function, modes, sample, permuted)
        values.append(modes)
        found.append(np.stack((importance, _correlations(modes, sample), gradients)))
    residues, halves = _residues(data.columns, sample.features)
    by_residue = [_of_residues(measures, halves) for measures in found]
    return [
        Attribution(
            _ranking(tuple(sample.features), [found[m][..., k] for m, k in enumerate(numbers) if k is not None]),
            _ranking(residues, [by_residue[m][..., k] for m, k in enumerate(numbers) if k is not None]),
            int(np.count_nonzero(permuted)),
        )
        for numbers in _matches(values)
    ]


@dataclass(frozen=True)
class _Modes:
    """The eigenfunctions of a model less a constant, as a function of the features that torch can differentiate."""

    network: torch.nn.Module
    coefficients: Tensor
    """(L, k): of the left functions; where they are complex (L, 2 k), imaginary parts after the real ones."""
    is_complex: bool

    @classmethod
    def of(cls, model: Model) -> "_Modes":
        own = model.eigenmodes.functions if isinstance(model, NeuralSVDModel) else model.spectrum.left
        left = own[1 : 1 + model.settings.layout.n_modes]  # an eigenfunction is made of left functions alone
        is_complex = np.iscomplexobj(left)
        parts = np.hstack((left.real, left.imag)) if is_complex else left
        return cls(model.sides.left, torch.from_numpy(parts.copy()).to(model.sides.device), is_complex)

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(x) @ self.coefficients

    @torch.no_grad()
    def at(self, frames: np.ndarray) -> np.ndarray:
        """Values (n, k) at frames (n, d)."""
        return self.joined(self(torch.from_numpy(frames).to(self.coefficients.device)).cpu().numpy())

    def joined(self, parts: np.ndarray) -> np.ndarray:
        """Real and imaginary parts (..., 2 k) as complex numbers (..., k), where the modes are complex."""
        if not self.is_complex:
            return parts
        real, imaginary = np.split(parts, 2, axis=-1)
        return real + 1j * imaginary


@dataclass(frozen=True)
class _Sample:
    """Frames on which modes are looked at, in float64."""

    frames: np.ndarray
    """(n, d)."""
    features: dict[str, list[int]]
    """Named features and their columns."""
    other: np.ndarray
    """(n,) of int: with every frame another one, at random, each once."""
    rows: np.ndarray
    pairs: np.ndarray
    """rows and pairs: (1 + n_blocks, n) of 0 and 1: all; then, for the jackknife, without the frames of one block, and
    without the pairs in which one of them takes part."""

    @classmethod
    def of(cls, data: Dataset, seed: int) -> "_Sample":
        most = MAX_FRAMES if data.atoms is None else MAX_FRAMES_OF_ATOMS
        n, random = min(most, data.n_rows), np.random.default_rng(seed)
        places = (np.arange(n) + random.random(n)) / n  # one by chance in every n-th part: what repeats is not skipped
        if data.weight is None:
            index = (places * data.n_rows).astype(int)
        else:
            reached = np.cumsum(data.weight, dtype=float)
            index = np.searchsorted(reached, places * reached[-1], side="right")
        other = random.permutation(n)
        block = np.arange(n) * min(N_BLOCKS, n) // n
        rows = np.vstack((np.ones(n), block != np.arange(block[-1] + 1)[:, None]))
        features: dict[str, list[int]] = {}
        for number, column in enumerate(data.columns):
            features.setdefault(column.feature, []).append(number)
        frames = data.rows(index).astype(np.float64)
        if data.atoms is not None and not data.atoms.boxed:
            frames = _superposed(frames)
        return cls(frames, features, other, rows, rows * rows[:, other])


def _superposed(frames: np.ndarray) -> np.ndarray:
    """Coordinates (n, 3 n_atoms) turned and moved onto the first frame, of which functions on them know nothing.

    Kabsch, Acta Cryst. A 32 (1976) 922.
    """
    xyz = frames.reshape(len(frames), -1, 3)
    xyz = xyz - xyz.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(xyz.mT @ xyz[0])
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]  # a rotation, and no reflection
    return (xyz @ (u @ vt)).reshape(frames.shape)


def _means(kept: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of values (n, ...) over the rows that are kept, (1 + n_blocks, n): (1 + n_blocks, ...)."""
    sums = kept @ values.reshape(len(values), -1)
    return (sums / _counts(kept)).reshape(len(kept), *values.shape[1:])


def _counts(kept: np.ndarray) -> np.ndarray:
    """Rows that are kept, (1 + n_blocks, 1), at least 1."""
    return np.maximum(kept.sum(axis=1, keepdims=True), 1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotient of the two, and 0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)


def _standardised(kept: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Modes (n, k) with mean 0 and variance 1 over the rows that are kept, (1 + n_blocks, n, k)."""
    centred = modes - _means(kept, modes)[:, None]
    variance = np.einsum("rn,rnk->rk", kept, np.abs(centred) ** 2) / _counts(kept)
    return centred / np.sqrt(np.where(variance > 0, variance, 1))[:, None]


def _worth_permuting(gradients: np.ndarray) -> np.ndarray:
    """Which features to permute, (n,) of bool, from their integrated gradients for every mode (n, k)."""
    if len(gradients) <= MOST_FEATURES:
        return np.ones(len(gradients), dtype=bool)
    best_rank = np.argsort(np.argsort(-gradients, axis=0), axis=0).min(axis=1)
    chosen = np.zeros(len(gradients), dtype=bool)
    chosen[np.argsort(best_rank, kind="stable")[:N_PERMUTED]] = True
    return chosen


def _importances(function: _Modes, modes: np.ndarray, sample: _Sample, permuted: np.ndarray) -> np.ndarray:
    """Permutation importances (1 + n_blocks, n_features, k), NaN where a feature is not permuted."""
    before = _standardised(sample.pairs, modes)
    result = np.full((len(before), len(permuted), modes.shape[1]), np.nan)
    moved = sample.frames.copy()
    for number, columns in enumerate(sample.features.values()):
        if not permuted[number]:
            continue
        moved[:, columns] = sample.frames[sample.other][:, columns]
        change = np.abs(before - _standardised(sample.pairs, function.at(moved))) ** 2
        result[:, number] = np.einsum("rn,rnk->rk", sample.pairs, change) / (2 * _counts(sample.pairs))
        moved[:, columns] = sample.frames[:, columns]
    return result


def _correlations(modes: np.ndarray, sample: _Sample) -> np.ndarray:
    """Multiple correlations of modes with the columns of each feature, (1 + n_blocks, n_features, k)."""
    frames, modes = sample.frames - sample.frames.mean(axis=0), modes - modes.mean(axis=0)
    deviation = frames.std(axis=0)
    frames /= np.where(deviation > 0, deviation, 1)
    centre, middle = _means(sample.rows, frames), _means(sample.rows, modes)
    variances = _means(sample.rows, np.abs(modes) ** 2) - np.abs(middle) ** 2
    cross = np.stack([_means(sample.rows, frames * mode[:, None]) for mode in modes.T], axis=2)
    cross = cross - centre[:, :, None] * middle[:, None]
    result = []
    for columns in sample.features.values():
        own = frames[:, columns]
        second = _means(sample.rows, own[:, :, None] * own[:, None, :])
        second -= centre[:, columns, None] * centre[:, None, columns]
        b = cross[:, columns]
        explained = np.einsum("rik,rij,rjk->rk", b.conj(), np.linalg.pinv(second, 1e-10, hermitian=True), b).real
        result.append(np.sqrt(np.clip(_ratio(explained, variances), 0, 1)))
    return np.stack(result, axis=1)


def _path_shares(function: _Modes, sample: _Sample) -> np.ndarray:
    """Integrated gradients of features: shares of the sum over all of them, (1 + n_blocks, n_features, k)."""
    some = np.arange(0, len(sample.frames), -(-len(sample.frames) // MAX_PATHS))
    membership = np.zeros((sample.frames.shape[1], len(sample.features)))
    for number, columns in enumerate(sample.features.values()):
        membership[columns, number] = 1
    moduli = []
    step = max(1, PATH_VALUES // (PATH_STEPS * sample.frames.shape[1]))
    for part in np.split(some, range(step, len(some), step)):
        by_column = integrated_gradients(function, sample.frames[part], sample.frames[sample.other[part]])
        moduli.append(np.abs(function.joined(np.einsum("pdk,df->pfk", by_column, membership, optimize=True))))
    mean = _means(sample.pairs[:, some], np.concatenate(moduli))
    return _ratio(mean, mean.sum(axis=1, keepdims=True))


def integrated_gradients(
    function: Callable[[Tensor], Tensor], frames: np.ndarray, baselines: np.ndarray, n_steps: int = PATH_STEPS
) -> np.ndarray:
    """(x_i − x'_i) ∫₀¹ ∂_i f_k(x' + s (x − x')) ds for every frame x and its baseline x', (n, d) each: (n, d, k).

    Their sum over i is f(x) − f(x').
    """
    from captum.attr import IntegratedGradients  # half a second, which whoever loads a model should not pay

    device = getattr(function, "coefficients", torch.empty(0)).device
    x, start = torch.from_numpy(frames).to(device), torch.from_numpy(baselines).to(device)
    n_outputs = function(x[:1]).shape[1]
    method = IntegratedGradients(function)
    parts = [method.attribute(x, start, target=k, n_steps=n_steps) for k in range(n_outputs)]
    return torch.stack(parts, dim=2).detach().cpu().numpy()


def _residues(columns: Sequence[Column], features: dict[str, list[int]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of residues, and how much of each feature counts for each of them, (n_residues, n_features)."""
    of_feature = [columns[numbers[0]].residues for numbers in features.values()]
    names = tuple(dict.fromkeys(name for several in of_feature for name in several))
    place = {name: number for number, name in enumerate(names)}
    shares = np.zeros((len(names), len(features)))
    for number, several in enumerate(of_feature):
        for name in several:
            shares[place[name], number] = 1 / len(several)
    return names, shares


def _of_residues(measures: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Measures (3, 1 + n_blocks, n_residues, k) from those of the features (3, 1 + n_blocks, n_features, k)."""
    importance, correlation, gradients = measures
    largest = [correlation[:, row > 0].max(axis=1) for row in shares]
    strongest = np.stack(largest, axis=1) if largest else correlation[:, :0]
    return np.stack((shares @ np.nan_to_num(importance), strongest, shares @ gradients))


def _matches(values: list[np.ndarray]) -> list[tuple[int | None, ...]]:
    """For every mode of the first model its number in each of the models, from their values (n, k) at some frames."""
    first, *others = values
    k = first.shape[1]
    numbers: list[Sequence[int | None]] = [range(k)]
    for other in others:
        both = np.hstack((first, other))
        unit = np.eye(both.shape[1])
        gram = both.conj().T @ both / len(both)
        numbers.append(matched(gram, unit[:, k:], unit[:, :k], range(other.shape[1]), None))
    return list(zip(*numbers, strict=True))


def _ranking(names: tuple[str, ...], found: list[np.ndarray]) -> Ranking:
    """From the measures (3, 1 + n_blocks, n) of each model, the whole first and the jackknife's replicates after it."""
    whole, replicates = np.stack(found)[:, :, 0], np.stack(found)[:, :, 1:]
    n_blocks = replicates.shape[2]
    deviations = replicates - replicates.mean(axis=2, keepdims=True)
    error = np.sqrt(((deviations**2).sum(axis=2) * (n_blocks - 1) / n_blocks).mean(axis=0))
    value = whole.mean(axis=0)
    spread = whole.std(axis=0, ddof=1) if len(found) > 1 else None
    order = np.lexsort((-value[2], -np.nan_to_num(value[0], nan=-1.0)))
    importance, correlation, gradients = (
        Measure(value[i][order], error[i][order], None if spread is None else spread[i][order]) for i in range(3)
    )
    return Ranking(tuple(names[i] for i in order), importance, correlation, gradients)
