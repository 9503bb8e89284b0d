"""Simulated trajectories with the exact eigenfunctions along them."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import lfilter

import spectraldyn as sd

WALKER_FRAMES = 1000
"""Frames of every walker; all start at equilibrium, so that many short ones are as good as a few long ones."""
MIXED = "mixed-double-wells"
N_WELLS = 7
LOW_BARRIERS = sd.systems.Run(n_frames=40_000, spacing=0.1, timestep=8e-4, lag=0.2)
"""For `many_modes`: shorter data would leave the oracle's own held-out score far below the exact one at 64 modes."""


@dataclass(frozen=True)
class Sample:
    """Trajectories of a system of known answer; times in ps, lag time in frames.

    Attributes
    ----------
    trajectories : list of ndarray (T, d)
    eigenfunctions : list of ndarray (T, n)
        The exact ones at every frame, slowest first.
    exact : ndarray (n,)
        Timescales.
    lagtime : int
    spacing : float
        Between frames.
    """

    trajectories: list[np.ndarray]
    eigenfunctions: list[np.ndarray]
    exact: np.ndarray
    lagtime: int
    spacing: float

    def leading(self, n_frames: int) -> "Sample":
        """The first walkers, and of the last of them the first frames, so many in all."""
        parts = ([], [])
        for own, kept in zip((self.trajectories, self.eigenfunctions), parts, strict=True):
            left = n_frames
            for walk in own:
                kept.append(walk[:left])
                left -= len(kept[-1])
                if not left:
                    break
        return Sample(*parts, self.exact, self.lagtime, self.spacing)


def n_resolved(exact: np.ndarray, lag: float, at_most: int = 3) -> int:
    """How many processes are slower than the lag time, at least one: faster ones no method can tell at this lag."""
    return int(np.clip(np.count_nonzero(exact > lag), 1, at_most))


def langevin(name: str, n_frames: int, seed: int) -> Sample:
    """A system of `spectraldyn.systems.RUNS`, with its own spacing and lag time; up to three processes."""
    run = sd.systems.RUNS[name]
    system = sd.systems.SYSTEMS[name]
    exact = 1 / system.rates(3)
    exact = exact[: n_resolved(exact, run.lag)]
    if isinstance(system, sd.systems.Mapped):
        return _separable(system.latent, system, run, len(exact), n_frames, seed)
    if isinstance(system, sd.systems.Separable):
        return _separable(system, None, run, len(exact), n_frames, seed)
    walkers = -(-n_frames // WALKER_FRAMES)
    walks = system.simulate(
        min(n_frames, WALKER_FRAMES), run.spacing, seed=seed, n_walkers=walkers, timestep=run.timestep
    )
    return Sample(
        list(walks),
        [system.eigenfunctions(walk, len(exact)) for walk in walks],
        exact,
        round(run.lag / run.spacing),
        run.spacing,
    ).leading(n_frames)


def mixed(n_dimensions: int, n_frames: int, seed: int) -> Sample:
    """Two double wells and springs, rotated and bent, in any number of dimensions from 2; three processes."""
    system = sd.systems.mixed_double_wells(n_dimensions)
    return _separable(system.latent, system, sd.systems.RUNS[MIXED], 3, n_frames, seed)


def many_modes(n_frames: int, seed: int, n_modes: int) -> Sample:
    """Seven double wells of different heights, one per coordinate: 2⁷ − 1 = 127 processes slower than the lag time."""
    system = sd.systems.Separable(
        tuple(sd.systems.double_well(float(barrier)) for barrier in np.linspace(1.5, 2.5, N_WELLS))
    )
    return _separable(system, None, LOW_BARRIERS, n_modes, n_frames, seed)


def hidden_radius(n_frames: int, seed: int, n_noise: int) -> Sample:
    """A double well along the radius of a circle whose angle is drawn anew in every frame, beside independent noise.

    No linear coordinate is autocorrelated.
    """
    well, random = sd.systems.double_well(2.0), np.random.default_rng(seed)
    walks = well.simulate(
        WALKER_FRAMES, LOW_BARRIERS.spacing, seed=seed, n_walkers=n_frames // WALKER_FRAMES,
        timestep=LOW_BARRIERS.timestep,
    )  # fmt: skip
    frames = []
    for walk in walks:
        radius, angle = 2 + 0.7 * walk[:, 0], random.uniform(0, 2 * np.pi, len(walk))
        noise = random.standard_normal((len(walk), n_noise))
        frames.append(np.column_stack((radius * np.cos(angle), radius * np.sin(angle), noise)))
    known = [well.eigenfunctions(walk, 1) for walk in walks]
    lagtime = round(LOW_BARRIERS.lag / LOW_BARRIERS.spacing)
    return Sample(frames, known, 1 / well.rates(1), lagtime, LOW_BARRIERS.spacing)


def _separable(
    system: sd.systems.Separable,
    mapped: sd.systems.Mapped | None,
    run: sd.systems.Run,
    n_modes: int,
    n_frames: int,
    seed: int,
) -> Sample:
    """Part by part, springs by their exact law; the eigenfunctions before the map, which need not be inverted."""
    n_walkers, length = -(-n_frames // WALKER_FRAMES), min(n_frames, WALKER_FRAMES)
    streams = np.random.SeedSequence(seed).spawn(len(system.parts))
    walks = np.concatenate(
        [_part(part, stream, n_walkers, length, run) for part, stream in zip(system.parts, streams, strict=True)],
        axis=2,
    )
    known = [system.eigenfunctions(walk, n_modes) for walk in walks]
    if mapped is not None:
        walks = mapped.forward(torch.from_numpy(walks)).numpy()
    exact = 1 / system.rates(n_modes)
    return Sample(list(walks), known, exact, round(run.lag / run.spacing), run.spacing).leading(n_frames)


def _part(
    part: sd.systems.Overdamped, stream: np.random.SeedSequence, n_walkers: int, length: int, run: sd.systems.Run
) -> np.ndarray:
    """Walks (n_walkers, length, 1) of one coordinate."""
    if part.exact is None:
        seed = int(stream.generate_state(1)[0])
        return part.simulate(length, run.spacing, seed=seed, n_walkers=n_walkers, timestep=run.timestep)
    # The only part with a closed form here is the spring, whose frames are an autoregressive process.
    stiffness = float(part.rates(1)[0])
    decay = np.exp(-stiffness * run.spacing)
    noise = np.random.default_rng(stream).standard_normal((n_walkers, length)) / np.sqrt(stiffness)
    noise[:, 1:] *= np.sqrt(1 - decay**2)
    return lfilter([1.0], [1.0, -decay], noise, axis=1)[..., None]
