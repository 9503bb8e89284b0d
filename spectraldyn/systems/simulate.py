"""Langevin dynamics of many walkers at once, in any dimension.

Weak orders of convergence, for the equilibrium average of smooth observables: 2 for Leimkuhler–Matthews, 1 for
Euler–Maruyama. Relaxation times keep an error of first order in the step for Leimkuhler–Matthews.

Leimkuhler, Matthews, "Rational construction of stochastic numerical methods for molecular sampling", Appl. Math. Res.
Express 2013, 34.
"""

from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, Function

progress_bar = partial(tqdm, desc="simulating", unit=" frames", leave=False)


class System(Protocol):
    """What the simulators need to know of a system."""

    @property
    def domain(self) -> Domain: ...
    @property
    def diffusion(self) -> float | Function: ...
    @property
    def periodic(self) -> bool: ...
    def drift(self, x: Tensor) -> Tensor: ...


def steps_between(spacing: float, timestep: float) -> tuple[int, float]:
    """Number of integrator steps between frames, and their length: the longest that fit and are at most `timestep`.

    InputError if either is not positive and finite.
    """
    for name, value in (("spacing", spacing), ("timestep", timestep)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value!r}: give a positive time")
    n_steps = max(1, int(np.ceil(spacing / timestep - 1e-9)))
    return n_steps, spacing / n_steps


def into_domain(x: Tensor, domain: Domain, periodic: bool) -> tuple[Tensor, Tensor]:
    """States (..., d) wrapped into a periodic domain or reflected at its ends, and which were reflected (bool)."""
    low, high = torch.tensor(domain, dtype=x.dtype).T
    size = high - low
    if periodic:
        return low + (x - low) % size, torch.zeros_like(x, dtype=torch.bool)
    folded = (x - low) % (2 * size)
    return low + torch.minimum(folded, 2 * size - folded), folded > size


def simulate_overdamped(
    system: System, start: np.ndarray, n_frames: int, spacing: float, timestep: float, seed: int, progress: bool = False
) -> np.ndarray:
    """Overdamped Langevin dynamics, all walkers in one tensor.

    Constant D: Leimkuhler–Matthews, x ← x + drift Δt + √(2DΔt) (R + R′)/2 with the same R′ used again in the next
    step. D(x): Euler–Maruyama, x ← x + drift Δt + √(2D(x)Δt) R. A wall that reflects a walker also turns the R′ that it
    carries on: pushed into the wall again, walkers would linger there.

    Arguments and result (n_walkers, n_frames, d) are those of `Overdamped.simulate`.
    """
    n_steps, step = steps_between(spacing, timestep)
    random = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.array(start, dtype=np.float64))
    frames = np.empty((len(start), n_frames, x.shape[1]))
    frames[:, 0] = start
    diffusion = system.diffusion
    previous = torch.randn(x.shape, generator=random, dtype=x.dtype)
    with torch.no_grad():
        for frame in progress_bar(range(1, n_frames), disable=not progress):
            for _ in range(n_steps):
                current = torch.randn(x.shape, generator=random, dtype=x.dtype)
                if callable(diffusion):
                    noise = (2 * diffusion(x)).sqrt()[..., None] * current
                else:
                    noise = np.sqrt(diffusion / 2) * (previous + current)
                moved = x + step * system.drift(x) + np.sqrt(step) * noise
                x, reflected = into_domain(moved, system.domain, system.periodic)
                previous = torch.where(reflected, -current, current)
            frames[:, frame] = x.numpy()
    return frames
