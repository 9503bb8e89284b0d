"""Overdamped dynamics of a few walkers in one or two dimensions, stepped with plain numbers over a table of the drift.

One walker with forces from automatic differentiation costs 100 µs per step, nearly all of it overhead. Here the drift
is computed once on a fine grid and interpolated, linearly between 20,000 cells in one dimension and bilinearly between
300 × 300 in two, so that a step costs a few tenths of a microsecond. Linear interpolation of a force over cells of size
h changes the energy by h²∂²U/12, which in two dimensions is a few thousandths of kT at worst in the catalogue.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.signal import lfilter

from spectraldyn.systems.simulate import System, progress_bar, steps_between

MOST_WALKERS = 100  # above this number, stepping all walkers in one tensor is faster
CELLS = {1: 20_000, 2: 300}  # of the table, per axis
CHUNK = 200_000  # steps whose random numbers are drawn at a time

Advance = Callable[[list[float], list[float], np.ndarray], tuple[np.ndarray, list[float]]]
"""One chunk: from a position, the carried half of the last kick and the noise (n_frames, n_steps, d), to the positions
(n_frames, d) after every n_steps steps and the new half to carry."""


def suits_table(system: System, n_walkers: int) -> bool:
    """Whether `simulate_tabulated` can, and had better, do it: few walkers, d = 1, or d = 2 with constant D."""
    dimension = len(system.domain)
    return n_walkers <= MOST_WALKERS and (dimension == 1 or (dimension == 2 and not callable(system.diffusion)))


def simulate_tabulated(
    system: System, start: np.ndarray, n_frames: int, spacing: float, timestep: float, seed: int, progress: bool = False
) -> np.ndarray:
    """The same scheme, parameters and result as `simulate_overdamped`, where `suits_table`."""
    n_steps, step = steps_between(spacing, timestep)
    n_walkers, dimension = start.shape
    advance = _line(system, step) if dimension == 1 else _plane(system, step)
    frames = np.empty((n_walkers, n_frames, dimension))
    frames[:, 0] = start
    per_chunk = max(1, CHUNK // n_steps)
    scale = 1.0 if callable(system.diffusion) else np.sqrt(system.diffusion * step / 2)
    with progress_bar(total=n_walkers * (n_frames - 1), disable=not progress) as bar:
        for walk, stream in zip(frames, np.random.SeedSequence(seed).spawn(n_walkers), strict=True):
            random = np.random.default_rng(stream)
            carried = np.multiply(scale, random.standard_normal(dimension)).tolist()
            for first in range(1, n_frames, per_chunk):
                count = min(per_chunk, n_frames - first)
                noise = scale * random.standard_normal((count, n_steps, dimension))
                walk[first : first + count], carried = advance(walk[first - 1].tolist(), carried, noise)
                bar.update(count)
    return frames


def _line(system: System, step: float) -> Advance:
    """Steps in one dimension: within cell i, x + drift(x) Δt = offset[i] + slope[i] x."""
    low, high = system.domain[0]
    nodes = np.linspace(low, high, CELLS[1] + 1)
    at_nodes = torch.from_numpy(nodes[:, None])
    offset, slope = _lines(nodes, nodes + step * system.drift(at_nodes)[:, 0].numpy())
    per_length = CELLS[1] / (high - low)
    fold, turn = _folder(low, high, system.periodic)

    def advance(position: list[float], carried: list[float], noise: np.ndarray) -> tuple[np.ndarray, list[float]]:
        (x,), (last,) = position, carried
        path = []
        for kicks in noise[:, :, 0].tolist():
            for kick in kicks:
                i = int((x - low) * per_length)
                x = offset[i] + slope[i] * x + last + kick
                last = kick
                if not low <= x <= high:
                    x, last = fold(x), turn * kick
            path.append(x)
        return np.array(path)[:, None], [last]

    if not callable(system.diffusion):
        straight = np.allclose(slope, slope[0], rtol=1e-9, atol=1e-12)
        return _spring(offset[0], slope[0], system, advance) if straight else advance
    with torch.no_grad():
        base, rise = _lines(nodes, (2 * step * system.diffusion(at_nodes)).sqrt().numpy())

    def scaled(position: list[float], carried: list[float], noise: np.ndarray) -> tuple[np.ndarray, list[float]]:
        (x,) = position
        path = []
        for kicks in noise[:, :, 0].tolist():
            for kick in kicks:
                i = int((x - low) * per_length)
                x = offset[i] + slope[i] * x + (base[i] + rise[i] * x) * kick
                if not low <= x <= high:
                    x = fold(x)
            path.append(x)
        return np.array(path)[:, None], carried

    return scaled


def _spring(offset: float, slope: float, system: System, advance: Advance) -> Advance:
    """Steps under a drift that is one line everywhere: a recursion in compiled code, unless the walker meets an end."""
    low, high = system.domain[0]

    def filtered(position: list[float], carried: list[float], noise: np.ndarray) -> tuple[np.ndarray, list[float]]:
        kicks = noise.ravel()
        before = np.concatenate((carried, kicks[:-1]))
        path, _ = lfilter([1.0], [1.0, -slope], offset + before + kicks, zi=[slope * position[0]])
        if path.min() < low or path.max() > high:
            return advance(position, carried, noise)
        return path[noise.shape[1] - 1 :: noise.shape[1], None], [float(kicks[-1])]

    return filtered


def _plane(system: System, step: float) -> Advance:
    """Steps in two dimensions, bilinear within every cell: displacement = c₀ + c₁u + c₂v + c₃uv with 0 ≤ u, v ≤ 1."""
    n = CELLS[2]
    (low_x, high_x), (low_y, high_y) = system.domain
    nodes = np.meshgrid(np.linspace(low_x, high_x, n + 1), np.linspace(low_y, high_y, n + 1), indexing="ij")
    moved = step * system.drift(torch.from_numpy(np.stack(nodes, axis=-1))).numpy()
    # One more row and column, so that the very end of the domain lies in a cell too.
    moved = np.pad(moved, ((0, 1), (0, 1), (0, 0)), mode="edge")
    corner, right, up = moved[:-1, :-1], moved[1:, :-1], moved[:-1, 1:]
    coefficients = np.stack((corner, right - corner, up - corner, moved[1:, 1:] - right - up + corner), axis=-1)
    cells = list(map(tuple, coefficients.reshape(-1, 8).tolist()))
    per_x, per_y = n / (high_x - low_x), n / (high_y - low_y)
    (fold_x, turn), (fold_y, _) = (_folder(low, high, system.periodic) for low, high in system.domain)

    def advance(position: list[float], carried: list[float], noise: np.ndarray) -> tuple[np.ndarray, list[float]]:
        (x, y), (last_x, last_y) = position, carried
        path = []
        for frame in noise.tolist():
            for kick_x, kick_y in frame:
                u, v = (x - low_x) * per_x, (y - low_y) * per_y
                i, j = int(u), int(v)
                a0, a1, a2, a3, b0, b1, b2, b3 = cells[i * (n + 1) + j]
                u -= i
                v -= j
                uv = u * v
                x += a0 + a1 * u + a2 * v + a3 * uv + last_x + kick_x
                y += b0 + b1 * u + b2 * v + b3 * uv + last_y + kick_y
                last_x, last_y = kick_x, kick_y
                if not low_x <= x <= high_x:
                    x, last_x = fold_x(x), turn * kick_x
                if not low_y <= y <= high_y:
                    y, last_y = fold_y(y), turn * kick_y
            path.append((x, y))
        return np.array(path), [last_x, last_y]

    return advance


def _lines(nodes: np.ndarray, values: np.ndarray) -> tuple[list[float], list[float]]:
    """Offset and slope of the line through the values at both ends of every cell, the last one repeated for its end."""
    slope = np.diff(values) / np.diff(nodes)
    offset = values[:-1] - slope * nodes[:-1]
    return np.append(offset, offset[-1]).tolist(), np.append(slope, slope[-1]).tolist()


def _folder(low: float, high: float, periodic: bool) -> tuple[Callable[[float], float], float]:
    """What brings a number beyond an interval back into it, as `into_domain`, and the sign a kick gets by that."""
    size = high - low
    if periodic:
        return lambda x: low + (x - low) % size, 1.0
    return lambda x: low + size - abs((x - low) % (2 * size) - size), -1.0
