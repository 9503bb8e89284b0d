"""The one training loop: batches → operator → objective → optimiser, with held-out stopping."""

import contextlib
import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from spectraldyn.data.samples import Samples
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.linalg import gram
from spectraldyn.networks.sides import Sides
from spectraldyn.objectives.nested import low_rank_loss
from spectraldyn.records import Batch, Objective, Operator, State

EVALUATIONS = 25
"""How often during training the averaged parameters are scored on the held-out pairs."""
PATIENCE = 8
"""Evaluations in a row that are worse than the best, by more than the tolerance, after which training ends."""
TOLERANCE = 0.003
"""Share of the score by which a later evaluation may fall short of the best one and still be kept. The learning rate
falls all the while, so of two equal scores the later one has the better converged norms."""
SHRINKAGE = 0.2
"""Weight of the training Gram matrices in the normalisation of the held-out score: a held-out part that never
visits a rare state would otherwise compare the noise of functions that do not vary there."""


OPTIMISERS: dict[str, Callable[[Iterable[Tensor], float], torch.optim.Optimizer]] = {
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, rate, fused=True),
    "adamw": lambda parameters, rate: torch.optim.AdamW(parameters, rate, fused=True),
    "rmsprop": lambda parameters, rate: torch.optim.RMSprop(parameters, rate),
}


@dataclass(frozen=True)
class History:
    """Held-out score and rank-L approximation error by step, and the step whose parameters were kept."""

    steps: list[int]
    test_score: list[float]
    test_loss: list[float]
    kept_step: int


def train(
    sides: Sides,
    operator: Operator,
    objective: Objective,
    data: Samples,
    *,
    batch_size: int,
    n_steps: int,
    learning_rate: float,
    average_share: float,
    seed: int,
    optimiser: str = "adam",
    rise: int = 0,
    tolerance: float = TOLERANCE,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> History:
    """Minimise the objective; leave in `sides` the averaged parameters that hold up on the held-out rows.

    Adam, or another optimiser, with a cosine schedule, an exponential moving average of the parameters for evaluation,
    batches of independent rows. The held-out score is that of `held_out_score`, the same whatever the objective. Kept
    is the last evaluation that is as good as the best one.

    Parameters
    ----------
    sides : Sides
        Networks, on the device of the data; changed in place.
    operator, objective
        See `spectraldyn.records`.
    data : Samples
    batch_size, n_steps : int
    learning_rate : float
        At the start; it falls to 0 by a cosine.
    average_share : float
        Share of the steps over which the moving average of the parameters reaches back.
    seed : int
        Of the batches.
    optimiser : str
        Name in `OPTIMISERS`.
    rise : int
        Steps over which the learning rate rises. Adam's first steps have the same size for every weight, however well
        it stands already: at full rate they would undo a warm start.
    tolerance : float
        See `TOLERANCE`.
    checkpoint : Path, optional
        File that holds the state of training at every evaluation. Where it exists, training goes on from there and
        ends with the same parameters as if it had not been interrupted.
    progress : bool
        Show a progress bar on stderr.
    """
    device = data.device
    generator = torch.Generator(device=device).manual_seed(seed)
    decay = 1 - 1 / max(10, average_share * n_steps)
    averaged = copy.deepcopy(sides).requires_grad_(False)
    weights: list[Tensor] = list(sides.parameters())
    averages: list[Tensor] = list(averaged.parameters())
    descent = OPTIMISERS[optimiser](weights, learning_rate)
    run = _Run({"sides": sides, "averaged": averaged, "optimiser": descent}, generator)
    if checkpoint is not None:
        run.load(checkpoint, device)
    every = max(1, n_steps // EVALUATIONS)
    with (
        settings_for_small_networks(device),
        tqdm(total=n_steps, initial=run.step, desc="training", unit="step", disable=not progress) as bar,
    ):
        while run.step < n_steps:
            for group in descent.param_groups:
                group["lr"] = learning_rate * _share(run.step, n_steps, rise)
            action = operator(sides.left, sides.right, data.draw(batch_size, generator))
            loss, run.state = objective(action, run.state)
            descent.zero_grad()
            loss.backward()
            descent.step()
            run.step += 1
            with torch.no_grad():
                torch._foreach_lerp_(averages, weights, 1 - decay if run.step > 1 else 1.0)
            bar.update()
            if run.step % every == 0 or run.step == n_steps:
                if not loss.isfinite():
                    raise InputError(f"training diverged at learning_rate {learning_rate:g}: choose a smaller one")
                score, test_loss = _judge(averaged, operator, data)
                bar.set_postfix_str("" if math.isnan(score) else f"held-out score {score:.4f}")
                run.judge(score, test_loss, averaged, tolerance)
                if run.step - run.kept_step >= PATIENCE * every:
                    run.step = n_steps
                if checkpoint is not None:
                    run.save(checkpoint)
    sides.load_state_dict(run.kept)
    return History(run.steps, run.scores, run.losses, run.kept_step)


def _share(step: int, n_steps: int, rise: int) -> float:
    """Of the learning rate: a rise over the first steps, and a cosine to 0."""
    return min(1.0, (step + 1) / (rise + 1)) * (1 + math.cos(math.pi * step / n_steps)) / 2


class _Run:
    """How far a training has come, and what it would need to go on from there."""

    def __init__(self, parts: dict[str, Any], generator: torch.Generator):
        self.parts = parts
        self.generator = generator
        self.step = 0
        self.steps: list[int] = []
        self.scores: list[float] = []
        self.losses: list[float] = []
        self.kept_step = 0
        self.kept: dict[str, Tensor] = {}
        self.state: State = {}

    def judge(self, score: float, loss: float, averaged: nn.Module, tolerance: float) -> None:
        """Note score and loss; keep the parameters unless an earlier score was better by more than the tolerance."""
        self.steps.append(self.step)
        self.scores.append(score)
        self.losses.append(loss)
        if not score < (1 - tolerance) * max(self.scores):
            self.kept_step = self.step
            self.kept = {name: value.clone() for name, value in averaged.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write the state; where the disk refuses, training goes on without."""
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        stored = {
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "generator": self.generator.get_state(),
            "progress": {name: getattr(self, name) for name in _PROGRESS},
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(stored, draft)
            draft.replace(path)
        except (OSError, RuntimeError) as error:
            warnings.warn(f"the state of training cannot be kept in {path}: {error}", InputWarning, stacklevel=2)

    def load(self, path: Path, device: torch.device) -> None:
        """Take up the state where there is one that can be read; else begin anew."""
        try:
            stored = torch.load(path, map_location=device, weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError):
            return
        for name, part in self.parts.items():
            part.load_state_dict(stored["parts"][name])
        self.generator.set_state(stored["generator"].cpu())
        for name in _PROGRESS:
            setattr(self, name, stored["progress"][name])


_PROGRESS = ("step", "steps", "scores", "losses", "kept_step", "kept", "state")


@torch.no_grad()
def held_out_score(sides: Sides, operator: Operator, train: Batch, test: Batch) -> tuple[float, float]:
    """Squared singular values of the operator projected on the learned span, summed, and the rank-L loss, held out.

    The first is ‖A^−½ B C^−½‖²_F with B = ⟨f, T g⟩ from held-out rows and A = ⟨f, f⟩, C = ⟨g, g⟩ from held-out rows
    and, with a small weight, training rows. For a transfer operator this is VAMP-2, the constant included. The second
    is `low_rank_loss`, whatever the nesting: a sequential objective has no value to show.
    """
    parts = []
    for rows in (train, test):
        action = operator(sides.left, sides.right, rows)
        parts.append([gram(action.f, action.f), gram(action.f, action.Tg), gram(action.g, action.g)])
    a, c = (SHRINKAGE * parts[0][i] + (1 - SHRINKAGE) * parts[1][i] for i in (0, 2))
    projected = _whitener(a).T @ parts[1][1].double() @ _whitener(c)
    return float(projected.square().sum()), float(low_rank_loss(action))


def _judge(sides: Sides, operator: Operator, data: Samples) -> tuple[float, float]:
    parts = data.scored()
    return (math.nan, math.nan) if parts is None else held_out_score(sides, operator, *parts)


def _whitener(matrix: Tensor) -> Tensor:
    """W (L, r) with Wᵀ M W = 1 on the range of a symmetric positive semidefinite M (L, L)."""
    matrix = matrix.double()
    scale = matrix.diagonal().clamp_min(torch.finfo(torch.float32).tiny).rsqrt()
    values, vectors = torch.linalg.eigh(scale[:, None] * matrix * scale[None, :])
    # Float32 sums leave eigenvalues of this order where functions are linearly dependent.
    kept = values > 1e-6 * values[-1]
    return scale[:, None] * vectors[:, kept] / values[kept].sqrt()


@contextlib.contextmanager
def settings_for_small_networks(device: torch.device) -> Iterator[None]:
    """One thread and no denormal numbers while training on the CPU.

    Networks of this size lose more to handing work between threads than they gain (measured 2.8 times slower with
    two threads at batch 512 and width 64), and weights that shrink towards zero turn into denormals, which CPUs
    handle an order of magnitude slower.
    """
    if device.type != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
