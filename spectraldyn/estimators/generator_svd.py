"""GeneratorSVD: relaxation rates from samples of the states alone, where force and diffusion are known."""

import copy
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from spectraldyn.data.samples import Samples, WeightedSamples
from spectraldyn.data.stretches import cut_blocks, held_out_frames
from spectraldyn.derivatives import value_and_gradient
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.estimators import base
from spectraldyn.estimators.model import GeneratorModel, is_trajectory_list
from spectraldyn.learning.loop import held_out_score
from spectraldyn.linalg import gram
from spectraldyn.networks.factors import FourierFeatures
from spectraldyn.networks.mlp import Whitening
from spectraldyn.networks.sides import Sides, build_sides
from spectraldyn.operators.overdamped import Diffusion, energy_space_resolvent, shifted_generator, square_root
from spectraldyn.operators.transfer import with_constant
from spectraldyn.records import Network, Operator
from spectraldyn.spectra.generator import GeneratorMoments, decompose_generator

CHUNK = 4096
"""States evaluated at once, with all derivatives, in the float64 pass."""
FORMS = ("energy-space", "strong")
STRONG_SHIFT = 4.0
"""Shift of the strong form in units of the fastest rate asked for: modes near the shift itself are hardly learned."""


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
    nesting, network, batch_size, max_steps, test_fraction, device, random_state, checkpoint_folder, progress
        See `NeuralSVD`. For the generator nesting is sequential by default.
    hidden : tuple of int, default=(64, 64)
        Widths of the hidden layers, with tanh between them: functions whose derivatives matter should be smooth.
    learning_rate : float, default=5e-3

    Attributes
    ----------
    model_ : GeneratorModel
        The fitted model; also from `fetch_model()`.
    history_ : spectraldyn.learning.loop.History
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

    def __init__(
        self,
        n_modes: int = 3,
        *,
        diffusion: Diffusion = 1.0,
        force: Callable[[Tensor], Tensor] | None = None,
        beta: float = 1.0,
        form: str = "energy-space",
        shift: float | None = None,
        nesting: str = "sequential",
        network: str | None = None,
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
        self.diffusion = diffusion
        self.force = force
        self.beta = beta
        self.form = form
        self.shift = shift
        self.nesting = nesting
        self.network = network
        self.hidden = hidden
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.test_fraction = test_fraction
        self.device = device
        self.random_state = random_state
        self.checkpoint_folder = checkpoint_folder
        self.progress = progress

    def fit(self, X: ArrayLike | list, y: None = None, sample_weight: ArrayLike | list | None = None) -> "GeneratorSVD":
        """Learn the modes and read their rates off all states.

        Parameters
        ----------
        X : array_like (T, d) or list of them
            States; several trajectories as a list.
        y : None
            Ignored; for scikit-learn.
        sample_weight : array_like (T,) or list of them, optional
            π/p of every state, up to a factor, where it was drawn from a law p other than the equilibrium π: e^{βV}
            for a bias V, e^{−(β−β′)U} for samples at β′.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        states, lengths = self._validate(X)
        weight = _normalised_weights(sample_weight, lengths)
        config = {**self._network_config({}), "operator": "generator", "form": self.form, "activation": "tanh"}
        config["tied"] = True
        device = base.pick_device(self.device)
        seed = config["seed"]

        if self.form not in FORMS:
            raise InputError(f"form {self.form!r} is unknown: choose one of {', '.join(FORMS)}")
        if not self.beta > 0:
            raise InputError(f"beta is {self.beta!r}: an inverse temperature is positive")
        if not states.std(axis=0).any():
            raise InputError("the states do not vary: there is nothing to learn")
        _check_diffusion(self.diffusion, states)
        whitening = base.whitening_of(states)
        config["shift"] = self._shift(whitening, states, weight, seed)
        operator = self._operator(config["shift"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sides = build_sides(whitening.matrix.shape[1], config)
        network = nn.Sequential(copy.deepcopy(whitening).float(), sides.left)
        trained = Sides(network, network).to(device)
        split, everything = _split(states, weight, lengths, self.test_fraction, seed, device)
        physics = [self.beta * self._on_some(states, self.force), self._on_some(states, self.diffusion)]
        checkpoint = self._checkpoint([config, lengths], [states, *physics] + ([] if weight is None else [weight]))
        n_steps = self.max_steps or base.default_steps(self.batch_size)
        self.history_ = self._train(trained, operator, split, n_steps, seed, checkpoint, last=False)
        scores = _scores(trained, operator, split)
        # The held-out states have done their service: a last, gentler part of the training uses all states.
        n_last = max(1, round(base.LAST_STEPS * self.history_.kept_step))
        self._train(trained, operator, everything, n_last, seed, checkpoint, last=True)
        self.model_ = self._read_off(whitening, sides.cpu().double(), states, weight, lengths, scores, config)
        if checkpoint is not None:
            shutil.rmtree(checkpoint, ignore_errors=True)
        return self

    def fit_fetch(
        self, X: ArrayLike | list, y: None = None, sample_weight: ArrayLike | list | None = None
    ) -> GeneratorModel:
        """Fit, and return the fitted model."""
        return self.fit(X, sample_weight=sample_weight).fetch_model()

    def _validate(self, X: ArrayLike | list) -> tuple[np.ndarray, tuple[int, ...]]:
        """All states, and the lengths of the stretches they come from."""

        def check(states: ArrayLike, reset: bool) -> np.ndarray:
            return validate_data(self, states, reset=reset, dtype=[np.float64, np.float32])

        if isinstance(X, list) and any(isinstance(part, np.ndarray) and part.ndim == 1 for part in X):
            raise InputError("states must be 2-D, (states, coordinates): write x.reshape(-1, 1) for one coordinate")
        parts = [check(part, i == 0) for i, part in enumerate(X)] if is_trajectory_list(X) else [check(X, True)]
        states = np.concatenate(parts)
        if len(states) < 2:
            raise InputError(f"there is n_samples={len(states)} state: the generator needs at least 2")
        return states, tuple(len(part) for part in parts)

    def _on_some(self, states: np.ndarray, function: Any) -> np.ndarray:
        """A force or diffusion on some hundred states: what tells one training from another."""
        rows = torch.tensor(states[:: max(1, len(states) // 200)], dtype=torch.float64)
        value = function(rows) if callable(function) else (0.0 if function is None else function)
        return torch.as_tensor(value, dtype=torch.float64).detach().numpy()

    def _operator(self, shift: float) -> Operator:
        if self.form == "energy-space":
            return energy_space_resolvent(self.diffusion, shift)
        if self.force is None:
            raise InputError("form='strong' needs the force: give force=, or use form='energy-space'")
        return shifted_generator(self.force, self.diffusion, shift, self.beta)

    def _shift(self, whitening: Whitening, states: np.ndarray, weight: np.ndarray | None, seed: int) -> float:
        if self.shift is not None:
            if not self.shift > 0:
                raise InputError(f"shift is {self.shift!r}: it must be a positive rate")
            return float(self.shift)
        fastest = _rough_rates(whitening, self.diffusion, states, weight, seed)[: self.n_modes][-1]
        if not (np.isfinite(fastest) and fastest > 0):
            raise InputError("no shift could be estimated from these states and this diffusion: give shift=")
        return float(fastest * (0.5 if self.form == "energy-space" else STRONG_SHIFT))

    def _read_off(
        self,
        whitening: Whitening,
        sides: Sides,
        states: np.ndarray,
        weight: np.ndarray | None,
        lengths: tuple[int, ...],
        scores: dict[str, float],
        config: dict[str, Any],
    ) -> GeneratorModel:
        """Moments and rates from one float64 pass over all states."""
        blocks = cut_blocks(lengths, max(1, len(states) // base.N_BLOCKS))
        network = nn.Sequential(whitening, sides.left)
        moments = _moments(network, self.diffusion, states, weight, lengths, blocks)
        correlation, dirichlet = moments.means()
        norms = np.diag(correlation)[1:].copy()
        if self.form == "energy-space":
            norms += np.diag(dirichlet)[1:] / config["shift"]
        decomposition = decompose_generator(correlation, dirichlet, norms)
        if len(decomposition.rates) < self.n_modes:
            warnings.warn(
                f"only {len(decomposition.rates)} of {self.n_modes} modes are linearly independent on these data",
                InputWarning,
                stacklevel=3,
            )
        model = GeneratorModel(
            decomposition=decomposition,
            moments=moments,
            scores=scores,
            signs=np.ones(len(decomposition.rates)),
            config=config,
            _whitening=whitening,
            _sides=sides,
        )
        modes = model.transform(states)
        model.signs[np.average(modes**3, axis=0, weights=weight) < 0] = -1.0
        return model


def _check_diffusion(diffusion: Diffusion, states: np.ndarray) -> None:
    """InputError unless D is a positive number, a symmetric positive matrix, or a function that gives such."""
    rows = torch.tensor(states[:: max(1, len(states) // 200)], dtype=torch.float64)
    d = torch.as_tensor(diffusion(rows) if callable(diffusion) else diffusion, dtype=torch.float64)
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


def _normalised_weights(weights: ArrayLike | list | None, lengths: tuple[int, ...]) -> np.ndarray | None:
    """Weights of all states, of mean 1."""
    if weights is None:
        return None
    parts = weights if len(lengths) > 1 and isinstance(weights, list) else [weights]
    weight = np.concatenate([np.asarray(part, dtype=float).ravel() for part in parts])
    if len(weight) != sum(lengths):
        raise InputError(f"sample_weight has {len(weight)} entries for {sum(lengths)} states")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError("sample_weight must be finite and not negative, and not all of it zero")
    return weight / weight.mean()


def _split(
    states: np.ndarray,
    weight: np.ndarray | None,
    lengths: tuple[int, ...],
    test_fraction: float,
    seed: int,
    device: torch.device,
) -> tuple[Samples, Samples]:
    """The states with contiguous blocks held out, and all of them for training."""
    held_out = held_out_frames(lengths, 1, test_fraction, np.random.default_rng(seed))
    if held_out.all():
        held_out[:] = False
    x = torch.tensor(states, dtype=torch.float32, device=device)
    w = None if weight is None else torch.tensor(weight, dtype=torch.float32, device=device)
    train, test = (torch.tensor(np.flatnonzero(part), device=device) for part in (~held_out, held_out))
    everything = torch.arange(len(x), device=device)
    return WeightedSamples(x, w, train, test), WeightedSamples(x, w, everything, everything[:0])


def _scores(sides: Sides, operator: Operator, split: Samples) -> dict[str, float]:
    """Squared singular values on the learned span, summed, on training and held-out states."""
    parts = split.scored()
    if parts is None:
        return {"resolvent_train": float("nan"), "resolvent_test": float("nan")}
    return {
        "resolvent_train": held_out_score(sides, operator, parts[0], parts[0])[0],
        "resolvent_test": held_out_score(sides, operator, *parts)[0],
    }


@torch.no_grad()
def _moments(
    network: Network,
    diffusion: Diffusion,
    states: np.ndarray,
    weight: np.ndarray | None,
    lengths: tuple[int, ...],
    blocks: list[range],
) -> GeneratorMoments:
    """C and the Dirichlet form of [1, f] for every block, in float64."""
    sums = []
    for block in blocks:
        parts = []
        for start in range(block.start, block.stop, CHUNK):
            rows = slice(start, min(start + CHUNK, block.stop))
            means = _averages(network, diffusion, states[rows], None if weight is None else weight[rows])
            parts.append([(rows.stop - rows.start) * mean for mean in means])
        sums.append(np.sum(parts, axis=0))
    return GeneratorMoments(
        correlation=np.stack([correlation for correlation, _ in sums]),
        dirichlet=np.stack([dirichlet for _, dirichlet in sums]),
        stretch=np.searchsorted(np.cumsum(lengths), [block.start for block in blocks], side="right"),
        block_frames=np.array([len(block) for block in blocks]),
    )


def _averages(
    network: Network, diffusion: Diffusion, states: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """C and 𝓓 (1 + L, 1 + L) over some states, in float64."""
    x = torch.tensor(states, dtype=torch.float64)
    value, gradient = value_and_gradient(network, x, square_root(diffusion, x))
    value = with_constant(value).unsqueeze(2)
    gradient = torch.cat((torch.zeros_like(gradient[:, :1]), gradient), dim=1)
    if weight is not None:
        root = torch.tensor(weight, dtype=torch.float64).sqrt()[:, None, None]
        value, gradient = root * value, root * gradient
    return gram(value, value).numpy(), gram(gradient, gradient).numpy()


@torch.no_grad()
def _rough_rates(
    whitening: Whitening, diffusion: Diffusion, states: np.ndarray, weight: np.ndarray | None, seed: int
) -> np.ndarray:
    """Estimates of the rates, ascending and rather too high, by Rayleigh–Ritz on random Fourier features."""
    generator = torch.Generator().manual_seed(seed)
    n_inputs = whitening.matrix.shape[1]
    frequencies = torch.randn(n_inputs, 50, generator=generator, dtype=torch.float64) / n_inputs**0.5
    features = FourierFeatures(frequencies * torch.linspace(0.5, 4, 50, dtype=torch.float64))
    rows = np.linspace(0, len(states) - 1, min(len(states), CHUNK)).astype(int)
    part = None if weight is None else weight[rows] / weight[rows].mean()
    correlation, dirichlet = _averages(nn.Sequential(whitening, features), diffusion, states[rows], part)
    return decompose_generator(correlation, dirichlet, np.empty(0)).rates
