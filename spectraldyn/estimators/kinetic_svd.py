"""KineticSVD: eigenvalues of underdamped Langevin dynamics from states (positions and velocities) alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spectraldyn.data import Dataset, cut_blocks
from spectraldyn.errors import InputError
from spectraldyn.estimators import base
from spectraldyn.estimators.evaluation import evaluate
from spectraldyn.estimators.generator_svd import CHUNK, resolvent_scores, split_states
from spectraldyn.learning import cpu_settings
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks import Sides, Whitening, build_sides
from spectraldyn.operators import Langevin, kinetic_resolvent
from spectraldyn.records import Batch, Network
from spectraldyn.spectra.kinetic import Eigenvalue, KineticAverages, kinetic_eigenvalues
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rates import correlation_rows
from spectraldyn.spectra.rayleigh_ritz import Spectrum
from spectraldyn.spectra.timescales import N_BLOCKS


@dataclass(frozen=True, eq=False, repr=False)
class KineticModel:
    """Learned functions of positions and velocities, and the eigenvalues of the generator read off them."""

    eigenvalues: list[Eigenvalue]
    """Nearest to the shift first, one of every conjugate pair; with residuals and error bars."""
    coefficients: np.ndarray
    """(1 + 2n, n_modes) complex: of their eigenfunctions, of norm 1, in 1 and the even and the odd parts of the n
    functions of the network."""
    singular_values: np.ndarray
    """Squared, largest first: of the resolvent (1 − L/η)⁻¹ on what the last hidden units span."""
    shift: float
    """η."""
    scores: dict[str, float]
    """"resolvent_train", "resolvent_test": squared singular values, summed, the constant's 1 included."""
    sides: Sides
    """The network, in float64."""

    def __repr__(self) -> str:
        values = (one.value if one.value.imag else one.value.real for one in self.eigenvalues)
        return f"KineticModel({len(self.eigenvalues)} modes, eigenvalues {', '.join(f'{one:.4g}' for one in values)})"

    @torch.no_grad()
    def transform(self, states: ArrayLike) -> np.ndarray:
        """Eigenfunctions, complex, at states (n, 2d); (n, n_modes). Left eigenfunctions: at flipped velocities."""
        states = np.asarray(states, dtype=float)
        width = len(next(value for name, value in self.sides.named_buffers() if name.endswith("mean")))
        if states.ndim != 2 or states.shape[1] != width:
            raise InputError(f"states have shape {states.shape}: this model takes (n, {width})")
        x, v = torch.from_numpy(states).to(self.sides.device).chunk(2, dim=1)
        parts = _parities(self.sides.left(torch.cat((torch.hstack((x, v)), torch.hstack((x, -v))))))
        values = torch.hstack((x.new_ones(len(x), 1), *parts)).cpu().numpy()
        return values @ self.coefficients


@dataclass(eq=False, repr=False)
class KineticSVD(base.NeuralEstimator):
    """Slow modes of underdamped Langevin dynamics, learned by nested low-rank approximation of its resolvent.

    dx = v dt, dv = (F(x)/m − γv) dt + √(2γkT/m) dW. The states, positions and velocities, may be independent samples of
    equilibrium or trajectories, or with weights of any other law; there is no lag time. The network learns the leading
    singular functions of the resolvent; eigenvalues, which may be complex, are read off their span with the velocities
    flipped as the other side (see `spectraldyn.spectra.kinetic`).

    Parameters
    ----------
    n_modes : int, default=3
        Eigenvalues to report, conjugate pairs counted once and the constant function's 0 not at all.
    force : callable (B, d) → (B, d)
        −∇U of the positions.
    friction : float, default=1.0
        γ, a rate.
    mass, kT : float, default=1.0
        In units that fit each other: mass times length² per time², as kT and U.
    n_functions : int, optional
        Functions to learn; by default twice as many as modes and two more: eigenfunctions of an operator that is not
        self-adjoint need more singular functions than there are of them.
    shift : float, optional
        η of the resolvent, a rate: eigenvalues nearest to it are learned best. By default the mean squared frequency
        ω² = ⟨F · F⟩/(d m kT) over γ, and at most γ and ω.
    objective, network, hidden, learning_rate, batch_size, max_steps, test_fraction, device, random_state, \
checkpoint_folder, progress
        See `GeneratorSVD`; the objective is joint nesting by default.

    Attributes
    ----------
    model_ : KineticModel
        The fitted model; also from `fetch_model()`.
    history_ : spectraldyn.learning.History
        Held-out score and loss during training.
    n_features_in_ : int

    Examples
    --------
    >>> spring = KineticSVD(n_modes=2, force=lambda x: -x, friction=0.5, random_state=0).fit(states).fetch_model()
    >>> spring.eigenvalues[0].rate, spring.eigenvalues[0].period

    References
    ----------
    `spectraldyn.operators.kinetic` holds the formulas and their sources.
    """

    n_modes: int = 3
    _: KW_ONLY
    force: Callable[[Tensor], Tensor] | None = None
    friction: float = 1.0
    mass: float = 1.0
    kT: float = 1.0
    n_functions: int | None = None
    shift: float | None = None

    def fit(self, X: ArrayLike | list, y: None = None, sample_weight: ArrayLike | list | None = None) -> "KineticSVD":
        """Learn the functions and read eigenvalues off all states.

        Parameters
        ----------
        X : array_like (T, 2d), list of them, or Dataset
            All positions before all velocities; several trajectories as a list.
        y : None
            Ignored; for scikit-learn.
        sample_weight : array_like (T,) or list of them, optional
            See `GeneratorSVD.fit`.

        Raises
        ------
        InputError
            (a ValueError) if the data or an option cannot be used.
        """
        data = self._dataset(X, what="states")
        if data.n_rows < 2:
            raise InputError(f"there is n_samples={data.n_rows} state: the generator needs at least 2")
        weight = base.checked_weights(data.weight if sample_weight is None else sample_weight, data)
        weight = None if weight is None else weight / weight.mean()
        data = data.weighted(weight)
        n_functions = 2 * self.n_modes + 2 if self.n_functions is None else self.n_functions
        layout = replace(self._layout("tanh", True, {"n_functions": n_functions}), n_modes=int(n_functions))
        if n_functions < self.n_modes:
            raise InputError(f"n_functions is {n_functions}: {self.n_modes} modes need at least as many functions")
        base.check_modes(layout.n_modes, data.n_rows, "states")
        dynamics = self._dynamics(data)
        device = base.pick_device(self.device)
        seed = self._seed()
        shift = self._shift(dynamics, data)
        whitening = self._inputs(dynamics, data, weight)
        operator = kinetic_resolvent(dynamics, shift)
        sides = build_sides(Whitening(whitening.mean, whitening.matrix.float()), layout, seed).to(device)
        split, everything = split_states(data, self.test_fraction, seed, device)
        physics = self.friction, self.mass, self.kT, _force_on_some(dynamics, data).tolist()
        checkpoint = self._checkpoint(data, layout, seed, shift, physics, None if weight is None else weight.tolist())
        n_steps = self.max_steps or base.default_steps(self._batch)
        self.history_ = self._learn(sides, operator, split, seed, checkpoint.file("first"), n_steps=n_steps)
        scores = resolvent_scores(sides, operator, split)
        self._learn_last(self.history_, sides, operator, everything, seed, checkpoint.file("last"))
        self.model_ = self._read_off(sides.double(), dynamics, data, shift, scores, seed)
        checkpoint.remove()
        return self

    @property
    def _n_features_out(self) -> int:
        return len(self.model_.eigenvalues)

    def _dynamics(self, data: Dataset) -> Langevin:
        for name in ("friction", "mass", "kT"):
            if not (np.isfinite(value := getattr(self, name)) and value > 0):
                raise InputError(f"{name} is {value!r}: it must be a positive number")
        width = data[0].shape[1]
        if width % 2:
            raise InputError(f"the states have {width} columns: give all positions and then as many velocities")
        if self.force is None:
            raise InputError("the kinetic generator needs the force: give `force`")
        dynamics = Langevin(self.force, float(self.friction), float(self.mass), float(self.kT))
        values, wanted = _force_on_some(dynamics, data), (min(data.n_rows, CHUNK), width // 2)
        if values.shape != wanted or not values.isfinite().all():
            given = f"{tuple(values.shape)} for positions of the shape {wanted}"
            raise InputError(f"force gives {given}, or is not finite on all of them: it must be −∇U of every row")
        return dynamics

    def _squared_frequency(self, dynamics: Langevin, data: Dataset) -> float:
        """ω² = ⟨F · F⟩/(d m kT)."""
        return float(_force_on_some(dynamics, data).square().mean()) / (self.mass * self.kT)

    def _inputs(self, dynamics: Langevin, data: Dataset, weight: np.ndarray | None) -> Whitening:
        """Whitened states; where friction is more than critical, those of `slow_inputs`."""
        mean, covariance = base.mean_and_covariance(data, weight)
        square = self._squared_frequency(dynamics, data)
        if self.friction**2 <= 4 * square:
            return Whitening.of(mean, covariance)
        delay = 2 / (self.friction + (self.friction**2 - 4 * square) ** 0.5)
        return slow_inputs(mean, covariance, delay, delay * square**0.5)

    def _shift(self, dynamics: Langevin, data: Dataset) -> float:
        if self.shift is not None:
            if not self.shift > 0:
                raise InputError(f"shift is {self.shift!r}: it must be a positive rate")
            return float(self.shift)
        square = self._squared_frequency(dynamics, data)
        if not square > 0:
            raise InputError("no shift could be estimated, as there is no force on these states: give `shift`")
        return min(square / self.friction, self.friction, square**0.5)

    def _read_off(
        self, sides: Sides, dynamics: Langevin, data: Dataset, shift: float, scores: dict[str, float], seed: int
    ) -> KineticModel:
        spectrum = _all_units_used(sides, dynamics, data, shift)
        averages = kinetic_averages(sides, dynamics, data)
        memory = correlation_rows(evaluate(sides, data)[:, 1 : 1 + self.n_modes], data.stretches)
        eigenvalues, coefficients = kinetic_eigenvalues(averages, shift, self.n_modes, memory, seed)
        return KineticModel(eigenvalues, coefficients, spectrum.values, shift, scores, sides)


def slow_inputs(mean: Tensor, covariance: Tensor, delay: float, share: float) -> Whitening:
    """Map of states (x, v), of these moments, to x + τv, whitened, and v, whitened and made smaller.

    Of a spring of frequency ω, x + τv with 1/τ = (γ + √(γ² − 4ω²))/2 is the slow eigenfunction; of any potential the
    slow ones are functions of x + v/γ up to terms in 1/γ² (Pavliotis, Springer 2014, ch. 6.5).
    What a function makes of v otherwise, as one with random weights does, the generator magnifies by γ.

    Parameters
    ----------
    mean, covariance : Tensor (2d,) and (2d, 2d)
    delay : float
        τ.
    share : float
        Of the unit variance of whitened velocities' that is left to them, as a standard deviation.
    """
    d = len(mean) // 2
    one = torch.eye(d, dtype=mean.dtype)
    ahead = torch.cat((one, delay * one))
    slow = Whitening.of(mean @ ahead, ahead.T @ covariance @ ahead).matrix
    fast = share * Whitening.of(mean[d:], covariance[d:, d:]).matrix
    return Whitening(mean, torch.hstack((ahead @ slow, torch.cat((torch.zeros_like(fast), fast)))))


def _all_units_used(sides: Sides, dynamics: Langevin, data: Dataset, shift: float) -> Spectrum:
    """Make the leading singular functions that the last hidden units span those of the network, and give all of them.

    By the variational principle they are closer to the true ones than those that were learned, which are among
    what these units span. Half as many as there are units: the last ones are what the units happen to be.
    """
    network: Any = sides.left
    operator = kinetic_resolvent(dynamics, shift)
    blocks = ([batch] for _, batch in _batches(data, [range(data.n_rows)], sides.device))
    moments = operator_moments(operator, network.trunk, network.trunk, blocks)
    spectrum = moments.spectrum()
    leading = torch.from_numpy(spectrum.left[:, : max(1, network.head.in_features // 2)].copy()).to(sides.device)
    network.head = torch.nn.utils.skip_init(torch.nn.Linear, *leading[1:].shape, dtype=torch.float64)
    network.head.weight, network.head.bias = (torch.nn.Parameter(part) for part in (leading[1:].T, leading[0]))
    return spectrum


def _batches(data: Dataset, blocks: Iterable[range], device: torch.device) -> Iterator[tuple[int, Batch]]:
    """All states in double precision, some at once, with the number of the block they belong to."""
    for number, block in enumerate(blocks):
        for start in range(block.start, block.stop, CHUNK):
            rows = np.arange(start, min(start + CHUNK, block.stop))
            x = torch.tensor(data.rows(rows), dtype=torch.float64, device=device)
            w = None if data.weight is None else torch.tensor(data.weight[rows], dtype=torch.float64, device=device)
            yield number, Batch(x, weight=w)


@torch.no_grad()
def kinetic_averages(sides: Sides, dynamics: Langevin, data: Dataset) -> KineticAverages:
    """Averages of what the generator does to learned functions, over all states and the same with flipped velocities.

    In equilibrium both are equally probable.
    """
    blocks = cut_blocks(data.stretches, max(1, data.n_rows // N_BLOCKS))
    stretch = np.searchsorted([s.stop for s in data.stretches], [block.start for block in blocks], side="right")
    sums: Any = [0.0] * len(blocks)
    totals: Any = 0.0
    with cpu_settings(sides):
        for number, batch in _batches(data, blocks, sides.device):
            by_block, over_all = _sums(sides.left, dynamics, batch)
            sums[number], totals = sums[number] + by_block, totals + over_all
    gram, operator = np.stack(sums, axis=1)[:, None]
    weight, rows = gram[:, :, 0, 0], np.array([len(block) for block in blocks])
    moments = Moments(np.zeros(1, dtype=int), gram, operator, gram, weight, stretch, rows, tied=False)
    return KineticAverages(moments, *(totals / weight.sum()))


def _sums(network: Network, dynamics: Langevin, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Σ w of ⟨b, b⟩ and of the matrix of L, and of ⟨b, Lb⟩ and ⟨Lb, Lb⟩; see `spectraldyn.spectra.kinetic`."""
    x, v = batch.x.chunk(2, dim=1)
    both = torch.cat((batch.x, torch.hstack((x, -v))))
    w = x.new_ones(len(x), 1) if batch.weight is None else batch.weight[:, None]
    value, slope, generated = dynamics.generated(network, both)
    transported = dynamics.transported(network, both)
    (even, odd), (from_odd, from_even), (kept_even, kept_odd) = map(
        _parities, (value, transported, generated - transported)
    )
    # A gradient along the velocities turns even functions into odd ones.
    slope_odd, slope_even = (part.movedim(2, 0) for part in _parities(slope))

    def inner(f: Tensor, g: Tensor) -> Tensor:
        return (w * f).mT @ g

    one = torch.ones_like(w)
    # L e and L o, in their even and their odd parts, which are orthogonal
    image_even = torch.hstack((0 * one, kept_even, from_odd))
    image_odd = torch.hstack((0 * one, from_even, kept_odd))
    b_even, b_odd = torch.hstack((one, even, 0 * odd)), torch.hstack((0 * one, 0 * even, odd))
    once = inner(b_even, image_even) + inner(b_odd, image_odd)
    twice = inner(image_even, image_even) + inner(image_odd, image_odd)
    dissipated = [inner(part, part).sum(dim=0) for part in (slope_even, slope_odd)]
    exchanged = inner(odd, from_even)
    matrix = torch.block_diag(w.new_zeros(1, 1), -dissipated[0], -dissipated[1])
    n = even.shape[1]
    matrix[1 + n :, 1 : 1 + n] = exchanged
    matrix[1 : 1 + n, 1 + n :] = -exchanged.T
    gram = inner(b_even, b_even) + inner(b_odd, b_odd)
    numbers = torch.stack((gram, matrix, once, twice)).cpu().numpy()
    return numbers[:2], numbers[2:]


def _parities(functions: Tensor) -> tuple[Tensor, Tensor]:
    """Even and odd part of functions at states followed by the same states with flipped velocities."""
    plain, flipped = functions.tensor_split(2)
    return (plain + flipped) / 2, (plain - flipped) / 2


@torch.no_grad()
def _force_on_some(dynamics: Langevin, data: Dataset) -> Tensor:
    """The force on some of the states, evenly picked."""
    rows = np.linspace(0, data.n_rows - 1, min(data.n_rows, CHUNK)).astype(int)
    x, _ = torch.tensor(data.rows(rows), dtype=torch.float64).chunk(2, dim=1)
    return torch.as_tensor(dynamics.force(x), dtype=torch.float64).detach()
