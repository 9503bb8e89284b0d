"""Trainings on the 30-dimensional mixed double wells against the clock: ours, with any objective, and VAMPNet.

All see the same frames and the same network, 128-128-128 with SiLU. The clock begins with the frames as they come, so
that whitening and warm start count, and stands still while a training is scored.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import torch
from deeptime.decomposition.deep import VAMPNet
from deeptime.util.data import TrajectoriesDataset
from torch import Tensor
from torch.utils.data import DataLoader

import spectraldyn as sd
from spectraldyn.estimators.base import FIRST_AVERAGE, LAST_AVERAGE, whitening_of
from spectraldyn.learning.warm_start import RISE, slow_coordinates, warm_start
from spectraldyn.objectives import Objective
from spectraldyn.operators import Batch
from spectraldyn.spectra.rayleigh_ritz import Averages, Spectrum, leading, rayleigh_ritz
from spectraldyn.spectra.scores import pair_averages, vamp_scores

N_MODES, LAG, SPACING = 5, 5, 0.02
WALKERS, FRAMES = 20, 5000
HIDDEN, ACTIVATION = (128, 128, 128), "silu"
LIMIT = 4.0
"""Seconds after which a training that has not reached its goal has failed."""
SCORED = 10_000
"""Training pairs that the spectrum is read off, and held-out pairs that it is scored on."""


@dataclass(frozen=True)
class Data:
    """100,000 frames to learn from, another 100,000 to score on, and what the true eigenfunctions score there."""

    frames: sd.Dataset
    read_off: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    eigenvalues: np.ndarray
    oracle: float

    def spectrum(self, network: Callable[[Tensor], Tensor]) -> Spectrum:
        """Of the five leading functions, on training pairs."""
        return leading(rayleigh_ritz(_evaluated(network, self.read_off), tied=True), N_MODES)

    def score(self, network: Callable[[Tensor], Tensor]) -> float:
        """Held-out VAMP-E of the five leading functions; −∞ where they are no numbers."""
        try:
            return vamp_scores(self.spectrum(network), _evaluated(network, self.held_out))["vampe"]
        except ArithmeticError:
            return -np.inf


@torch.no_grad()
def _evaluated(network: Callable[[Tensor], Tensor], ends: tuple[Tensor, Tensor]) -> Averages:
    return averages(*(network(end).numpy() for end in ends))


def averages(x: np.ndarray, y: np.ndarray) -> Averages:
    """Moments of [1, f] at the two ends of pairs, f (n, k)."""
    x, y = (np.column_stack((np.ones(len(end)), end)).astype(np.float64) for end in (x, y))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ArithmeticError("the functions are not finite")
    return pair_averages(x, y, tied=True)


def simulated(seed: int) -> Data:
    """A new simulation of the system of METHODS §6: 2 × 20 walkers of 5,000 frames, 0.02 apart, lag 5 frames."""
    system = sd.systems.mixed_double_wells()
    latent = system.latent.simulate(FRAMES, SPACING, seed=seed, n_walkers=2 * WALKERS)
    known = np.stack([system.latent.eigenfunctions(walk, N_MODES) for walk in latent])
    with torch.no_grad():
        walks = system.forward(torch.from_numpy(latent)).float()
    ends, known_ends = (
        [(w[part, :-LAG].reshape(-1, w.shape[2]), w[part, LAG:].reshape(-1, w.shape[2])) for part in _PARTS]
        for w in (walks, known)
    )
    spectrum = rayleigh_ritz(averages(*known_ends[0]), tied=True)
    held_out = averages(*(end[:: len(end) // SCORED] for end in known_ends[1]))
    return Data(
        frames=sd.Dataset(walks[:WALKERS].numpy()),
        read_off=tuple(end[:: len(end) // SCORED] for end in ends[0]),
        held_out=tuple(end[:: len(end) // SCORED] for end in ends[1]),
        eigenvalues=spectrum.values,
        oracle=vamp_scores(spectrum, held_out)["vampe"],
    )


_PARTS = (slice(0, WALKERS), slice(WALKERS, 2 * WALKERS))


class Finished(Exception):
    """The goal has been reached, or the time is over."""


@dataclass
class Clock:
    """Seconds of training, and the scores along the way.

    Attributes
    ----------
    data : Data
    goal : float
        Share of the oracle's score at which to end.
    every : int
        Steps between scores.
    limit : float
        Seconds.
    """

    data: Data
    goal: float = np.inf
    every: int = 10
    limit: float = LIMIT
    seconds: float = 0.0
    steps: int = 0
    scores: list[tuple[float, int, float]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)

    def step(self, network: Callable[[Tensor], Tensor]) -> None:
        """To be called before every step; ends the training with `Finished`."""
        if self.steps % self.every == 0:
            self.seconds += time.perf_counter() - self.since
            self.scores.append((self.seconds, self.steps, self.data.score(network) / self.data.oracle))
            if self.scores[-1][2] >= self.goal or self.seconds >= self.limit:
                raise Finished
            self.since = time.perf_counter()
        self.steps += 1

    def reached(self, share: float) -> tuple[float, int] | None:
        """Seconds and steps to the first score of this share of the oracle's."""
        return next(((seconds, steps) for seconds, steps, score in self.scores if score >= share), None)

    @property
    def best(self) -> float:
        return max(score for *_, score in self.scores)


@dataclass(frozen=True)
class Clocked:
    """Pairs whose every draw is a tick."""

    pairs: sd.data.PairSamples
    tick: Callable[[], None]

    @property
    def device(self) -> torch.device:
        return self.pairs.device

    def seek(self, step: int, seed: int) -> None:
        self.pairs.seek(step, seed)

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        self.tick()
        return self.pairs.draw(n, generator)

    def scored(self) -> None:
        return None


def pairs_of(rows: sd.data.Rows, data: Data) -> sd.data.PairSamples:
    """All lagged pairs among the frames, which `rows` are as they come or whitened."""
    return sd.data.PairSamples.of(rows, LAG, sd.data.pair_starts(data.frames.stretches, LAG))


def whitened(data: Data) -> tuple[sd.data.Rows, sd.networks.Whitening]:
    """The frames whitened once and for all, and the map that does it."""
    whitening = single(whitening_of(data.frames))
    return sd.data.Rows(*(whitening(torch.from_numpy(view)) for _, view in data.frames.chunks())), whitening


def single(whitening: sd.networks.Whitening) -> sd.networks.Whitening:
    """The same in single precision, as the networks are."""
    return sd.networks.Whitening(whitening.mean, whitening.matrix.float())


def ours(
    clock: Clock,
    objective: Objective,
    *,
    seed: int,
    warm: bool,
    learning_rate: float,
    batch_size: int,
    n_steps: int,
    then: float | None = None,
    then_steps: int = 0,
) -> sd.networks.Sides:
    """Train as NeuralSVD does, with any objective; ended by the clock or after `n_steps`.

    Warm, it begins as NeuralSVD does, in slow linear coordinates, and goes on by the objective.

    `then` is the learning rate of a last part, of `then_steps`, with a long average of the parameters, as NeuralSVD has
    one.
    """
    operator = sd.operators.reversible_transfer
    pairs = pairs_of(sd.data.rows_of(clock.data.frames, torch.device("cpu")), clock.data)
    whitening = whitening_of(clock.data.frames)
    slow, scales = slow_coordinates(whitening, pairs)
    inputs = single(slow.followed_by(torch.diag(scales)) if warm else slow)
    layout = sd.networks.Layout(N_MODES, "common-trunk", HIDDEN, ACTIVATION, tied=True)
    sides = warm_start(operator, pairs, inputs, layout, seed) if warm else sd.networks.build_sides(inputs, layout, seed)
    samples = Clocked(pairs, lambda: clock.step(sides.left))
    with suppress(Finished):
        for rate, steps, share in ((learning_rate, n_steps, FIRST_AVERAGE), (then, then_steps, LAST_AVERAGE)):
            if rate is not None:
                schedule = sd.learning.Schedule(steps, batch_size, rate, share, rise=RISE if warm else 0)
                sd.learning.learn(operator, samples, sides, objective, schedule, seed=seed)
    return sides


def vampnet(clock: Clock, *, seed: int, learning_rate: float, batch_size: int) -> None:
    """deeptime's VAMPNet as its documentation trains it: whitened inputs, shuffled batches, Adam, VAMP-2."""
    rows, whitening = whitened(clock.data)
    walkers = torch.cat(rows.parts).split([len(part) for part in clock.data.frames])
    dataset = TrajectoriesDataset.from_numpy(LAG, [walker.numpy() for walker in walkers])
    torch.manual_seed(seed)
    lobe = sd.networks.CommonTrunk(whitening.n_outputs, N_MODES, HIDDEN, ACTIVATION)
    estimator = VAMPNet(lobe, learning_rate=learning_rate)
    with suppress(Finished):
        for _ in count():
            for batch in DataLoader(dataset, batch_size=batch_size, shuffle=True):
                clock.step(lambda x: lobe(whitening(x)))
                estimator.partial_fit(batch)
