"""GeneratorSVD: relaxation rates from samples of the states alone, where force and diffusion are known."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spectraldyn.data import Dataset, WeightedSamples, cut_blocks, held_out_rows, rows_of
from spectraldyn.errors import InputError
from spectraldyn.estimators import base
from spectraldyn.estimators.evaluation import evaluate
from spectraldyn.estimators.model import GeneratorModel
from spectraldyn.estimators.settings import GeneratorSettings
from spectraldyn.learning import held_out_score
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks import FourierFeatures, HiddenUnits, Sides, Whitening, build_sides
from spectraldyn.operators import Diffusion, energy_space_resolvent, shifted_generator
from spectraldyn.records import Batch, Network, Operator
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rates import Untapped, rates_from_eigenvalues, untapped
from spectraldyn.spectra.rayleigh_ritz import Spectrum
from spectraldyn.spectra.timescales import N_BLOCKS

CHUNK = 4096
"""States evaluated at once, with all derivatives, in the float64 pass."""
JUDGED = 20_000
"""States of either half by which it is told what is left to learn."""
FORMS = ("energy-space", "strong")
STRONG_SHIFT = 4.0
"""Shift of the strong form in units of the fastest rate asked for: modes near the shift itself are hardly learned."""


@dataclass(eq=False, repr=False)
class GeneratorSVD(base.NeuralEstimator):
    """Slow modes of the generator of overdamped Langevin dynamics, learned by nested low-rank approximation.

    The states may be independent samples or trajectories, of equilibrium or, with weights, of any other law; there is
    no lag time. dX = (−βD∇U + ∇·D) dt + √(2D) dW.

    Parameters
    ----------
    n_modes : int, default=3
        Relaxation processes to learn; the constant function is not counted.
    diffusion : float, Tensor (d, d) or callable, default=1.0
        D in the units of the states squared per time; a callable takes states (B, d) and gives (B,) or (B, d, d).
    force : callable (B, d) → (B, d), optional
        −∇U, which the strong form needs.
    beta : float, default=1.0
        1/(k_B T) in the inverse unit of U. Like the force it enters the strong form alone: the energy-space form
        knows both through the states.
    form : {"energy-space", "strong"}, default="energy-space"
        The resolvent η(η − L)⁻¹ in the energy space, from first derivatives alone, or the shifted generator 1 + L/c.
    shift : float, optional
        η or c, in the unit of the rates. By default taken from a rough estimate of the fastest rate asked for: half
        of it for η, four times it for c.
    objective, network, batch_size, max_steps, test_fraction, device, random_state, checkpoint_folder, progress
        See `NeuralSVD`. For the generator the objective is sequential nesting by default.
    hidden : tuple of int, optional
        Widths of the hidden layers (see `NeuralSVD`), with tanh between them: functions whose derivatives matter
        should be smooth.
    learning_rate : float, default=5e-3

    Attributes
    ----------
    model_ : GeneratorModel
        The fitted model; also from `fetch_model()`.
    history_ : spectraldyn.learning.History
        Held-out score and loss during training.
    n_features_in_ : int

    Examples
    --------
    >>> model = GeneratorSVD(n_modes=3, random_state=0).fit(samples).fetch_model()
    >>> model.rates

    References
    ----------
    `spectraldyn.operators.overdamped` holds the formulas and their sources.
    """

    n_modes: int = 3
    _: KW_ONLY
    diffusion: Diffusion = 1.0
    force: Callable[[Tensor], Tensor] | None = None
    beta: float = 1.0
    form: str = "energy-space"
    shift: float | None = None
    objective: str = "sequential"

    def fit(self, X: ArrayLike | list, y: None = None, sample_weight: ArrayLike | list | None = None) -> "GeneratorSVD":
        """Learn the modes and read their rates off all states.

        Parameters
        ----------
        X : array_like (T, d), list of them, or Dataset
            States; several trajectories as a list.
        y : None
            Ignored; for scikit-learn.
        sample_weight : array_like (T,) or list of them, optional
            π/p of every state, up to a factor, where it was drawn from a law p other than the equilibrium π: e^{βV}
            for a bias V, e^{−(β−β′)U} for samples at β′. By default the weights of the data set, if it has any.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        data = self._dataset(X, what="states")
        if data.atoms is not None:
            raise InputError(
                "the generator takes the state of a potential as it is: load 'positions', not 'coordinates'"
            )
        if data.n_rows < 2:
            raise InputError(f"there is n_samples={data.n_rows} state: the generator needs at least 2")
        weight = base.checked_weights(data.weight if sample_weight is None else sample_weight, data)
        weight = None if weight is None else weight / weight.mean()
        data = data.weighted(weight)
        layout = self._layout("tanh", True, {})
        base.check_modes(layout.n_modes, data.n_rows, "states")
        device = base.pick_device(self.device)
        seed = self._seed()
        some = torch.tensor(data.rows(np.arange(0, data.n_rows, max(1, data.n_rows // 200))), dtype=torch.float64)
        self._check(data, some)
        whitening = base.whitening_of(data)
        shift = self._shift(whitening, data, seed)
        settings = GeneratorSettings(layout, self.objective, seed, self.form, shift)
        operator = self._operator(shift)
        sides = build_sides(Whitening(whitening.mean, whitening.matrix.float()), layout, seed).to(device)
        split, everything = split_states(data, self.test_fraction, seed, device)
        physics = [(self.beta * _values(self.force, some)).tolist(), _values(self.diffusion, some).tolist()]
        checkpoint = self._checkpoint(data, settings, physics, None if weight is None else weight.tolist())
        n_steps = self.max_steps or base.default_steps(self._batch)
        self.history_ = self._learn(sides, operator, split, seed, checkpoint.file("first"), n_steps=n_steps)
        scores = resolvent_scores(sides, operator, split)
        self._learn_last(self.history_, sides, operator, everything, seed, checkpoint.file("last"))
        self.model_ = self._read_off(sides.double(), data, scores, settings)
        checkpoint.remove()
        return self

    def fit_fetch(
        self, X: ArrayLike | list, y: None = None, sample_weight: ArrayLike | list | None = None
    ) -> GeneratorModel:
        """Fit, and return the fitted model."""
        return self.fit(X, sample_weight=sample_weight).fetch_model()

    def _check(self, data: Dataset, some: Tensor) -> None:
        if self.form not in FORMS:
            raise InputError(f"form {self.form!r} is unknown: choose one of {', '.join(FORMS)}")
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta!r}: an inverse temperature is positive")
        if all((rows == data[0][0]).all() for _, rows in data.chunks()):
            raise InputError("the states do not vary: there is nothing to learn")
        _check_diffusion(self.diffusion, some)

    def _operator(self, shift: float) -> Operator:
        if self.form == "energy-space":
            return energy_space_resolvent(self.diffusion, shift)
        if self.force is None:
            raise InputError("form='strong' needs the force: give `force`, or use form='energy-space'")
        return shifted_generator(self.force, self.diffusion, shift, self.beta)

    def _shift(self, whitening: Whitening, data: Dataset, seed: int) -> float:
        if self.shift is not None:
            if not self.shift > 0:
                raise InputError(f"shift is {self.shift!r}: it must be a positive rate")
            return float(self.shift)
        fastest = _rough_rates(whitening, self.diffusion, data, seed)[: self.n_modes][-1]
        if not (np.isfinite(fastest) and fastest > 0):
            raise InputError("no shift could be estimated from these states and this diffusion: give `shift`")
        return float(fastest * (0.5 if self.form == "energy-space" else STRONG_SHIFT))

    def _read_off(
        self, sides: Sides, data: Dataset, scores: dict[str, float], settings: GeneratorSettings
    ) -> GeneratorModel:
        """Moments and rates from one float64 pass over all states."""
        moments = _resolvent_moments(sides.left, self.diffusion, settings.shift, data, sides.device)
        spectrum = _normalised(moments.spectrum())
        if self.form == "strong":  # whose functions have their norms in the plain inner product
            spectrum = replace(spectrum, norms=np.diag(moments.means()[1])[1:].copy())
        functions = evaluate(sides, data)
        self.functions_ = functions.astype(np.float32)
        signs = self._signs(spectrum, functions, data.weight)
        left = _untapped(sides, self.diffusion, settings.shift, data, spectrum)
        return GeneratorModel(spectrum, moments, scores, signs, settings, sides, left)


def _check_diffusion(diffusion: Diffusion, rows: Tensor) -> None:
    """InputError unless D is a positive number, a symmetric positive matrix, or a function that gives such."""
    d = _values(diffusion, rows)
    n, width = rows.shape
    shapes = [(n,), (n, width, width)] if callable(diffusion) else [(), (width, width)]
    if tuple(d.shape) not in shapes:
        raise InputError(
            f"diffusion has shape {tuple(d.shape)}: give one number or one {width} × {width} matrix"
            + (f" for each of the {n} states it was tried on" if callable(diffusion) else "")
        )
    finite = bool(d.isfinite().all())
    if d.ndim < 2:  # a number may vanish here and there, at a wall
        usable = finite and bool((d >= 0).all() and d.any())
    else:
        usable = finite and torch.allclose(d, d.mT) and bool((torch.linalg.eigvalsh(d) > 0).all())
    if not usable:
        raise InputError("diffusion must be finite and positive, and a matrix symmetric, on all states")


def _values(function: Any, rows: Tensor) -> Tensor:
    """A force or diffusion on some states."""
    value = function(rows) if callable(function) else (0.0 if function is None else function)
    return torch.as_tensor(value, dtype=torch.float64).detach()


def split_states(data: Dataset, test_fraction: float, seed: int, device: torch.device) -> tuple[WeightedSamples, ...]:
    """The states with contiguous blocks held out, and all of them for training."""
    (held_out,) = held_out_rows(data.stretches, 1, test_fraction, np.random.default_rng(seed))
    counted = np.ones(data.n_rows, dtype=bool) if data.weight is None else data.weight > 0
    if held_out[counted].all():
        held_out[:] = False
    # Derivatives are taken with respect to the states themselves, in the precision of the networks.
    rows = rows_of(data, device, torch.float32)
    w = None if data.weight is None else torch.tensor(data.weight, dtype=torch.float32, device=device)
    # States without weight would fill the batches with nothing.
    parts = (counted & ~held_out, counted & held_out, counted)
    train, test, everything = (torch.tensor(np.flatnonzero(part), device=device) for part in parts)
    return WeightedSamples(rows, w, train, test), WeightedSamples(rows, w, everything, everything[:0])


def resolvent_scores(sides: Sides, operator: Operator, split: WeightedSamples) -> dict[str, float]:
    """Squared singular values on the learned span, summed, on training and held-out states."""
    scores = [float("nan")] * 2
    if (parts := split.scored()) is not None:
        scores = [held_out_score(sides, operator, parts[0], part)[0] for part in parts]
    return {"resolvent_train": scores[0], "resolvent_test": scores[1]}


def _resolvent_moments(
    network: Network, diffusion: Diffusion, shift: float, data: Dataset, device: torch.device, n_blocks: int = N_BLOCKS
) -> Moments:
    """Of the resolvent in the energy space, whatever was learned with: its moments hold C and the Dirichlet form."""

    def batches(block: range) -> Iterator[Batch]:
        for start in range(block.start, block.stop, CHUNK):
            rows = np.arange(start, min(start + CHUNK, block.stop))
            x = torch.tensor(data.rows(rows), dtype=torch.float64, device=device)
            w = None if data.weight is None else torch.tensor(data.weight[rows], dtype=torch.float64, device=device)
            yield Batch(x, weight=w)

    blocks = cut_blocks(data.stretches, max(1, data.n_rows // n_blocks))
    stretch = np.searchsorted([s.stop for s in data.stretches], [block.start for block in blocks], side="right")
    operator = energy_space_resolvent(diffusion, shift)
    return operator_moments(operator, network, network, map(batches, blocks), stretch)


def _untapped(sides: Sides, diffusion: Diffusion, shift: float, data: Dataset, spectrum: Spectrum) -> Untapped:
    """On at most `JUDGED` states of either half, alternating blocks of all."""
    network: Any = sides.left
    blocks = cut_blocks(data.stretches, max(1, data.n_rows // N_BLOCKS))
    units: list[Moments] = []
    functions: list[Moments] = []
    for half in (0, 1):
        rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks[half::2] or blocks])
        rows = rows[:: -(-len(rows) // JUDGED)]
        some = Dataset([data.rows(rows)]).weighted(None if data.weight is None else data.weight[rows])
        for moments, part in ((units, HiddenUnits(network)), (functions, network)):
            moments.append(_resolvent_moments(part, diffusion, shift, some, sides.device, n_blocks=1))
    return untapped(units, functions, spectrum, shift)


def _normalised(spectrum: Spectrum) -> Spectrum:
    """Functions of variance 1 from functions of norm 1 in the energy space, ⟨f, f⟩ + 𝓓[f, f]/η = 1 = variance/σ."""
    functions = spectrum.left / np.sqrt(np.clip(spectrum.values, np.finfo(float).tiny, None))
    return replace(spectrum, left=functions, right=functions)


@torch.no_grad()
def _rough_rates(whitening: Whitening, diffusion: Diffusion, data: Dataset, seed: int) -> np.ndarray:
    """Estimates of the rates, ascending and rather too high, by Rayleigh–Ritz on random Fourier features."""
    generator = torch.Generator().manual_seed(seed)
    rows = np.linspace(0, data.n_rows - 1, min(data.n_rows, CHUNK)).astype(int)
    # As many functions as there are states could change between these alone, at a rate of 0.
    n_frequencies = min(50, max(1, len(rows) // 4))
    directions = torch.randn(whitening.n_outputs, n_frequencies, generator=generator, dtype=torch.float64)
    # None near 0: the cosine of it would be the constant, to within what rounding leaves of the rest.
    magnitudes = torch.linspace(0.5, 4, n_frequencies, dtype=torch.float64) / directions.norm(dim=0)
    network = nn.Sequential(whitening, FourierFeatures(directions * magnitudes))
    weight = None if data.weight is None else data.weight[rows] / data.weight[rows].mean()
    some = Dataset([data.rows(rows)]).weighted(weight)
    moments = _resolvent_moments(network, diffusion, 1.0, some, torch.device("cpu"))
    # A shift on the scale of the rates, so that the unit of time has no say in which functions count as dependent.
    energy = moments.left - moments.operator
    shift = float(np.trace(energy[0].sum(axis=0)) / np.trace(moments.operator[0].sum(axis=0)))
    norms = moments.operator + energy / shift
    return rates_from_eigenvalues(replace(moments, left=norms, right=norms).spectrum().values, shift)
