"""Underdamped Langevin dynamics, whose positions the overdamped ones must approach.

Leimkuhler, Matthews, "Rational construction of stochastic numerical methods for molecular sampling", Appl. Math. Res.
Express 2013, 34.
"""

from typing import Protocol

import numpy as np
import torch

from spectraldyn.systems.simulate import steps_between


class Forces(Protocol):
    """What underdamped dynamics needs to know of a system."""

    @property
    def beta(self) -> float: ...
    def force(self, x: torch.Tensor) -> torch.Tensor: ...


def simulate_underdamped(
    system: Forces, start: np.ndarray, n_frames: int, spacing: float, *, friction: float, timestep: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Langevin dynamics of unit mass, dv = (−∇U − γv) dt + √(2γ/β) dW, by the BAOAB splitting of weak order 2.

    Sampled positions err as Δt², and at high friction Δt⁴.

    Parameters
    ----------
    system : Forces
        Its energy must be confining by itself: walls and periodic ends play no part.
    start : ndarray (n_walkers, d)
        Velocities start from equilibrium.
    n_frames, seed : int
    spacing, timestep : float
        See `steps_between`.
    friction : float
        γ, per time. For large γ the positions move as overdamped dynamics with D = 1/(βγ).

    Returns
    -------
    positions, velocities : ndarray (n_walkers, n_frames, d)
        The first frame is the start.
    """
    n_steps, step = steps_between(spacing, timestep)
    random = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.array(start, dtype=np.float64))
    v = torch.randn(x.shape, generator=random, dtype=x.dtype) / np.sqrt(system.beta)
    positions, velocities = np.empty((2, len(start), n_frames, x.shape[1]))
    positions[:, 0], velocities[:, 0] = start, v.numpy()
    kept = np.exp(-friction * step)
    thermal = np.sqrt((1 - kept**2) / system.beta)
    force = system.force(x)
    for frame in range(1, n_frames):
        for _ in range(n_steps):
            v = v + step / 2 * force
            x = x + step / 2 * v
            v = kept * v + thermal * torch.randn(x.shape, generator=random, dtype=x.dtype)
            x = x + step / 2 * v
            force = system.force(x)
            v = v + step / 2 * force
        positions[:, frame], velocities[:, frame] = x.numpy(), v.numpy()
    return positions, velocities
