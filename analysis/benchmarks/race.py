"""Trainings on the 30-dimensional mixed double wells against the clock: ours, with any objective, and VAMPNet.

All see the same frames and the same network, 128-128-128 with SiLU. The clock begins with the frames as they come, so
that whitening and warm start count, and stands still while a training is scored.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import torch
from deeptime.decomposition.deep import VAMPNet
from deeptime.util.data import TrajectoriesDataset
from spectraldyn.spectra.decomposition import Decomposition, decompose, truncated
from spectraldyn.spectra.validation import vamp_scores
from torch import Tensor
from torch.utils.data import DataLoader

from spectraldyn.data.samples import PairData
from spectraldyn.estimators.base import FIRST_AVERAGE, LAST_AVERAGE, float64_chunks, whitening_of
from spectraldyn.learning.loop import train
from spectraldyn.learning.warm_start import RISE, slow_coordinates, warm_start
from spectraldyn.networks.mlp import CommonTrunk, Whitening
from spectraldyn.networks.sides import Sides, build_sides
from spectraldyn.operators.transfer import reversible_transfer
from spectraldyn.records import Batch, Objective
from spectraldyn.spectra.moments import Averages
from spectraldyn.systems import mixed_double_wells

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

    frames: np.ndarray
    read_off: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    eigenvalues: np.ndarray
    oracle: float

    def score(self, network: Callable[[Tensor], Tensor]) -> tuple[float, Decomposition]:
        """Held-out VAMP-E of the five leading functions, and their spectrum on training pairs."""
        with torch.no_grad():
            train_moments, test_moments = (
                averages(*(network(end).numpy() for end in ends)) for ends in (self.read_off, self.held_out)
            )
        if not np.isfinite(train_moments[0]).all():
            return -np.inf, decompose(*np.ones((3, 2, 2)), reversible=True)
        spectrum = truncated(decompose(*train_moments, reversible=True), N_MODES)
        return vamp_scores(spectrum, test_moments, True)["vampe"], spectrum


def averages(x: np.ndarray, y: np.ndarray) -> Averages:
    """Moments of [1, f] at the two ends of pairs, f (n, k)."""
    x, y = (np.column_stack((np.ones(len(end)), end)).astype(np.float64) for end in (x, y))
    return x.T @ x / len(x), x.T @ y / len(x), y.T @ y / len(x)


def simulated(seed: int) -> Data:
    """A new simulation of the system of METHODS §6: 2 × 20 walkers of 5,000 frames, 0.02 apart, lag 5 frames."""
    system = mixed_double_wells()
    latent = system.latent.simulate(FRAMES, SPACING, seed=seed, n_walkers=2 * WALKERS)
    known = np.stack([system.latent.eigenfunctions(walk, N_MODES) for walk in latent])
    with torch.no_grad():
        walks = system.forward(torch.from_numpy(latent)).float()
    ends, known_ends = (
        [(w[part, :-LAG].reshape(-1, w.shape[2]), w[part, LAG:].reshape(-1, w.shape[2])) for part in _PARTS]
        for w in (walks, known)
    )
    spectrum = decompose(*averages(*known_ends[0]), reversible=True)
    return Data(
        frames=walks[:WALKERS].numpy(),
        read_off=tuple(end[:: len(end) // SCORED] for end in ends[0]),
        held_out=tuple(end[:: len(end) // SCORED] for end in ends[1]),
        eigenvalues=spectrum.eigenvalues,
        oracle=vamp_scores(
            spectrum, averages(*(end[:: len(end) // SCORED] for end in known_ends[1])), True
        )["vampe"],
    )  # fmt: skip


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
            score, _ = self.data.score(network)
            self.scores.append((self.seconds, self.steps, score / self.data.oracle))
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

    pairs: PairData
    tick: Callable[[], None]

    @property
    def device(self) -> torch.device:
        return self.pairs.device

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        self.tick()
        return self.pairs.draw(n, generator)

    def scored(self) -> None:
        return None


def pairs_of(data: Data) -> tuple[PairData, Whitening]:
    """All pairs, of whitened frames, and the map that whitens."""
    frames = data.frames.reshape(-1, data.frames.shape[2])
    whitening = whitening_of(frames)
    inputs = torch.cat([whitening(part).float() for part in float64_chunks(frames)])
    starts = np.add.outer(np.arange(WALKERS) * FRAMES, np.arange(FRAMES - LAG)).ravel()
    return PairData(inputs, LAG, torch.from_numpy(starts), torch.empty(0, dtype=torch.long)), whitening.float()


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
) -> Sides:
    """Train as NeuralSVD does, with any objective; ended by the clock or after `n_steps`.

    Warm, it is the first of NeuralSVD's two trainings, the one in slow linear coordinates.

    `then` is the learning rate of a last part, of `then_steps`, with a long average of the parameters, as NeuralSVD has
    one. The networks that are returned take the frames as they come.
    """
    pairs, whitening = pairs_of(clock.data)
    rotation, scales = slow_coordinates(pairs.frames, pairs.train.numpy(), LAG)
    coordinates = rotation * scales if warm else rotation
    pairs, whitening = replace(pairs, frames=pairs.frames @ coordinates), whitening.followed_by(coordinates)
    config = {
        "network": "common-trunk", "n_modes": N_MODES, "hidden": HIDDEN, "activation": ACTIVATION, "tied": True
    }  # fmt: skip
    if warm:
        sides = warm_start(reversible_transfer, pairs, config, seed)
    else:
        torch.manual_seed(seed)
        sides = build_sides(len(scales), config)
    samples = Clocked(pairs, lambda: clock.step(lambda x: sides.left(whitening(x))))
    with suppress(Finished):
        for rate, steps, share in ((learning_rate, n_steps, FIRST_AVERAGE), (then, then_steps, LAST_AVERAGE)):
            if rate is not None:
                train(
                    sides, reversible_transfer, objective, samples, batch_size=batch_size, n_steps=steps,
                    learning_rate=rate, average_share=share, seed=seed, rise=RISE if warm else 0,
                )  # fmt: skip
    whole = torch.nn.Sequential(whitening, sides.left)
    return Sides(whole, whole)


def vampnet(clock: Clock, *, seed: int, learning_rate: float, batch_size: int) -> None:
    """deeptime's VAMPNet as its documentation trains it: whitened inputs, shuffled batches, Adam, VAMP-2."""
    pairs, whitening = pairs_of(clock.data)
    dataset = TrajectoriesDataset.from_numpy(LAG, list(pairs.frames.reshape(clock.data.frames.shape).numpy()))
    torch.manual_seed(seed)
    lobe = CommonTrunk(pairs.frames.shape[1], N_MODES, HIDDEN, ACTIVATION)
    estimator = VAMPNet(lobe, learning_rate=learning_rate)
    with suppress(Finished):
        for _ in count():
            for batch in DataLoader(dataset, batch_size=batch_size, shuffle=True):
                clock.step(lambda x: lobe(whitening(x)))
                estimator.partial_fit(batch)
