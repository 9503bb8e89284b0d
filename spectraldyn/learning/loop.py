"""The one way to learn: batches → operator → objective → optimiser, with held-out stopping."""

import contextlib
import copy
import io
import logging
import math
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from spectraldyn.data import PairSamples, Samples, Scored, WeightedSamples
from spectraldyn.errors import InputError, StateWarning
from spectraldyn.files import replacing
from spectraldyn.learning.averages import operator_moments, own_rows
from spectraldyn.learning.graphs import GraphedStep, Step, learning_rate, set_learning_rate
from spectraldyn.learning.keeping import check_finite, check_optimiser, check_tensors, keeping
from spectraldyn.networks.sides import Sides
from spectraldyn.processes import add_gradients, agree_on, agreed, several, shared_out
from spectraldyn.records import Batch, Objective, Operator, State
from spectraldyn.spectra.scores import projected_norm, shrunk_averages

_log = logging.getLogger("spectraldyn")

EVALUATIONS = 20
"""How often during training the averaged parameters are scored on the held-out rows."""
PATIENCE = 8
"""Evaluations in a row that are worse than the best, by more than the tolerance, after which training ends."""
TOLERANCE = 0.003
"""Share of the score by which a later evaluation may fall short of the best one and still be kept. The learning rate
falls all the while, so of two equal scores the later one has the better converged norms."""
RANK_TOLERANCE = 1e-6
"""Float32 sums leave eigenvalues of this order, as a share of the largest, where functions are linearly dependent."""
WIDE = 256
"""Units of a layer from which on a second thread gains more than handing work to it costs, at the usual batch sizes
(measured at 512 pairs: 1.6 times faster at 256 units, even at 128, and slower on a busy machine below)."""


@dataclass(frozen=True)
class Schedule:
    """How long to train and in which steps."""

    n_steps: int
    batch_size: int = 512
    learning_rate: float = 5e-3
    """Of Adam at the start; it falls to 0 by a cosine."""
    average_share: float = 0.02
    """Share of the steps over which the moving average of the parameters, which is evaluated and kept, reaches back."""
    rise: int = 0
    """Steps over which the learning rate rises. Adam's first steps have the same size for every weight, however well it
    stands already: at full rate they would undo a warm start."""
    tolerance: float = TOLERANCE
    """See `TOLERANCE`."""
    optimiser: Literal["adamw", "rmsprop"] = "adamw"
    """AdamW, or the RMSProp of the published experiments with neural eigenfunctions."""
    decay: float = 0.0
    """Decoupled weight decay of AdamW: the share, in units of the learning rate, by which every step shrinks the
    weights of the layers; their offsets are left alone."""

    def rate(self, step: int) -> float:
        """Learning rate of a step: a rise over the first ones, and a cosine to 0."""
        share = min(1.0, (step + 1) / (self.rise + 1)) * (1 + math.cos(math.pi * step / self.n_steps)) / 2
        return self.learning_rate * share


@dataclass(frozen=True)
class History:
    """Held-out score and rank-L approximation error by step, and the step whose parameters were kept."""

    steps: list[int]
    test_score: list[float]
    test_loss: list[float]
    kept_step: int


def learn(
    operator: Operator,
    samples: Samples,
    sides: Sides,
    objective: Objective,
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Path | None = None,
    progress: bool = False,
    observe: Callable[[int, Sides], None] | None = None,
) -> History:
    """Minimise the objective; leave in `sides` the averaged parameters that hold up on the held-out rows.

    AdamW (Loshchilov, Hutter, ICLR 2019) with batches of independent rows, and an exponential moving average of the
    parameters for evaluation. The held-out score is that of `held_out_score`, the same whatever the objective. Kept is
    the last evaluation that is as good as the best one. Several processes (see `spectraldyn.processes`) that all call
    this share out the rows of every batch, and end with the same networks.

    Parameters
    ----------
    operator, objective
        See `spectraldyn.records`.
    sides : Sides
        Networks, on the device of the samples; changed in place.
    seed : int
        Of the batches.
    checkpoint : Path, optional
        File that holds the state of training at evaluations, a few seconds apart, every minute, in the end, and when a
        signal asks to stop. Where it exists, training goes on from there and ends with the same parameters as if it had
        not been interrupted.
    progress : bool
        Show a progress bar on stderr.
    observe : callable (step, Sides), optional
        Called at every evaluation with the averaged networks, which it must not change.

    Raises
    ------
    InputError
        If the loss is no longer a number, or a batch has fewer rows than there are processes.
    """
    if schedule.batch_size < several():
        raise InputError(f"{several()} processes cannot share batches of {schedule.batch_size} rows: start fewer")
    agree_on([*sides.parameters(), *sides.buffers()])
    schedule = agreed(schedule)
    n_steps = schedule.n_steps
    run = _Run(sides, schedule, torch.Generator(device=samples.device).manual_seed(seed))
    if (stored := agreed(_contents(checkpoint))) is not None:
        run.load(stored, checkpoint)
    every = max(1, n_steps // EVALUATIONS)
    scored = samples.scored()
    take_step = _step_of(run, operator, objective, samples)
    with (
        cpu_settings(sides),
        keeping(None if checkpoint is None else lambda: run.save(checkpoint)) as keep,
        tqdm(total=n_steps, initial=run.step, desc="training", unit="step", leave=False, disable=not progress) as bar,
    ):
        while run.step < n_steps:
            samples.seek(run.step, seed)
            loss = run.advance(take_step)
            bar.update()
            if due := run.step % every == 0 or run.step == n_steps:
                if not loss.isfinite():
                    rate = f"learning_rate {schedule.learning_rate:g}"
                    raise InputError(f"training diverged at {rate}: choose a smaller one")
                score = run.judge(operator, scored)
                if observe is not None:
                    observe(run.step, run.averaged)
                bar.set_postfix_str("" if math.isnan(score) else f"held-out score {score:.4f}")
                if run.step - run.progress.kept_step >= PATIENCE * every:
                    run.progress.step = n_steps
                _log.info("training: step %d of %d, held-out score %.4f", run.progress.steps[-1], n_steps, score)
            keep(due, run.step == n_steps)
    done = run.progress
    sides.load_state_dict(done.kept, strict=False)
    return History(done.steps, done.scores, done.losses, done.kept_step)


def _step_of(run: "_Run", operator: Operator, objective: Objective, samples: Samples) -> Step:
    """A step of this training; on a GPU of one process replayed as a CUDA graph where the batches are rows of data."""

    def step(state: State) -> tuple[Tensor, State]:
        with shared_out(run.schedule.batch_size):
            return run.take_step(operator, objective, samples.draw(run.schedule.batch_size, run.generator), state)

    # Any other samples may be made in Python, of which a graph knows nothing; processes may be at different steps; and
    # how many atoms are close to each other differs from batch to batch.
    graphed = isinstance(samples, PairSamples | WeightedSamples) and not several() and not run.sides.encoded
    return GraphedStep(step, run.generator) if graphed else step


def _contents(checkpoint: Path | None) -> bytes | None:
    """Of the file, where there is one that can be read."""
    with contextlib.suppress(OSError):
        return None if checkpoint is None else checkpoint.read_bytes()
    return None


def descend(
    sides: Sides, operator: Operator, objective: Objective, state: State, batch: Batch, optimiser: torch.optim.Optimizer
) -> tuple[Tensor, State]:
    """The body of every training step: the loss on a batch, its gradient, and one step of the optimiser."""
    loss, state = objective(operator(sides.left, sides.right, own_rows(batch)), state)
    optimiser.zero_grad()
    loss.backward()
    add_gradients(sides.parameters())
    optimiser.step()
    return loss, state


@dataclass
class _Progress:
    """How far a training has come; plain values and tensors alone."""

    step: int = 0
    steps: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    kept_step: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)
    objective: State = field(default_factory=dict)


class _Run:
    """A training under way, and what it would need to go on from there."""

    def __init__(self, sides: Sides, schedule: Schedule, generator: torch.Generator):
        self.sides, self.schedule, self.generator = sides, schedule, generator
        # The whitening, which may be large, is one for all copies.
        shared = {id(buffer): buffer for buffer in sides.buffers()}
        self.averaged = copy.deepcopy(sides, shared).requires_grad_(False)
        rate, on_gpu = learning_rate(schedule.learning_rate, sides.device), sides.device.type == "cuda"
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": schedule.decay * (kind == "weight")}
            for kind in ("weight", "bias")
            if (weights := [parameter for name, parameter in sides.named_parameters() if _kind_of(name) == kind])
        ]
        if schedule.optimiser == "adamw":
            self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(groups, rate, fused=True, capturable=on_gpu)
        else:
            self.optimiser = torch.optim.RMSprop(sides.parameters(), rate, capturable=on_gpu)
        self.progress = _Progress()
        self._weights: list[Tensor] = list(sides.parameters())
        self._averages: list[Tensor] = list(self.averaged.parameters())
        self._follow = 1 / max(10, schedule.average_share * schedule.n_steps)

    @property
    def step(self) -> int:
        return self.progress.step

    def advance(self, take_step: Step) -> Tensor:
        """One step more; the loss."""
        set_learning_rate(self.optimiser, self.schedule.rate(self.step))
        loss, self.progress.objective = take_step(self.progress.objective)
        self.progress.step += 1
        return loss

    def take_step(self, operator: Operator, objective: Objective, batch: Batch, state: State) -> tuple[Tensor, State]:
        """What a step does to tensors."""
        loss, state = descend(self.sides, operator, objective, state, batch, self.optimiser)
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, self._follow if self.step else 1.0)
        return loss.detach(), state

    def judge(self, operator: Operator, scored: Scored | None) -> float:
        """Held-out score of the averaged parameters."""
        agree_on([*self._weights, *self._averages])
        score, loss = (math.nan, math.nan) if scored is None else held_out_score(self.averaged, operator, *scored)
        self.note(score, loss)
        return score

    def note(self, score: float, loss: float) -> None:
        """Keep the averaged parameters unless earlier ones were better by more than the tolerance."""
        progress = self.progress
        progress.steps.append(self.step)
        progress.scores.append(score)
        progress.losses.append(loss)
        if not score < (1 - self.schedule.tolerance) * max(progress.scores):
            progress.kept_step = self.step
            progress.kept = {name: value.clone() for name, value in self.averaged.named_parameters()}

    @property
    def _parts(self) -> dict[str, Any]:
        return {"sides": self.sides, "averaged": self.averaged, "optimiser": self.optimiser}

    def save(self, path: Path) -> None:
        """Write the state; where the disk refuses, training goes on without."""
        stored = {
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "generator": self.generator.get_state(),
            "progress": vars(self.progress),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                torch.save(stored, draft)
        except (OSError, RuntimeError) as error:
            warnings.warn(f"the state of training cannot be kept in {path}: {error}", StateWarning, stacklevel=2)

    def load(self, contents: bytes, path: Path | None) -> None:
        """Take up the state in the contents of a file where it can be used; else begin anew.

        Where the path is known, in the first process of several alone, that is said.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(contents)) as archive:  # whose checksums torch does not look at
                if (damaged := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(damaged)
            stored = torch.load(io.BytesIO(contents), map_location=self.sides.device, weights_only=True)
            progress = self._checked(stored)
            own = self.generator.get_state()
            self.generator.set_state(stored["generator"].cpu())
            self.generator.set_state(own)
        except Exception as error:  # whatever a damaged file brings about
            said = f"the state of training in {path} is damaged, training begins anew: {type(error).__name__}: {error}"
            if path is not None:
                warnings.warn(said.splitlines()[0], StateWarning, stacklevel=2)
            return
        self.sides.load_state_dict(stored["parts"]["sides"])
        self.averaged.load_state_dict(stored["parts"]["averaged"])
        groups = self.optimiser.state_dict()["param_groups"]  # which follow from the schedule
        self.optimiser.load_state_dict({"state": stored["parts"]["optimiser"]["state"], "param_groups": groups})
        self.generator.set_state(stored["generator"].cpu())
        self.progress = progress
        _log.info("training is taken up at step %d from %s", self.step, path)

    def _checked(self, stored: Any) -> _Progress:
        """Progress of a state that this training can take up; any Exception for another."""
        if stored["progress"].keys() != vars(self.progress).keys():
            raise ValueError("it lacks what belongs to a state")
        parts, progress = stored["parts"], _Progress(**stored["progress"])
        for name in ("sides", "averaged"):
            check_tensors(parts[name], self._parts[name].state_dict(), name)
        check_optimiser(parts["optimiser"]["state"], [p for g in self.optimiser.param_groups for p in g["params"]])
        done = [progress.step, progress.kept_step, *progress.steps]
        if not all(type(step) is int and 0 <= step <= self.schedule.n_steps for step in done):
            raise ValueError("it is at no step of this training")
        if {len(progress.steps)} != {len(progress.scores), len(progress.losses)}:
            raise ValueError("its evaluations are not complete")
        if not all(type(value) is float for value in (*progress.scores, *progress.losses)):
            raise ValueError("its evaluations are no numbers")
        if progress.steps or progress.kept or progress.step == self.schedule.n_steps:
            check_tensors(progress.kept, dict(self.averaged.named_parameters()), "what was kept")
        check_finite(progress.objective, "the objective")
        return progress


def _kind_of(name: str) -> str:
    """Of a parameter: "weight" for what multiplies, "bias" for offsets."""
    return "bias" if name.rpartition(".")[2] == "bias" else "weight"


@torch.no_grad()
def held_out_score(
    sides: Sides, operator: Operator, train: Iterable[Batch], test: Iterable[Batch]
) -> tuple[float, float]:
    """Squared singular values of the operator projected on the learned span, summed, and the rank-L loss, held out.

    The first is ‖A^−½ B C^−½‖²_F with B = ⟨f, T g⟩ from held-out rows and A = ⟨f, f⟩, C = ⟨g, g⟩ from held-out rows
    and, with a small weight, training rows. For a transfer operator this is VAMP-2, the constant included. The second
    is the rank-L approximation error, whatever the nesting: a sequential objective has no value to show.
    """
    known, held_out = (operator_moments(operator, sides.left, sides.right, [rows]).means() for rows in (train, test))
    loss = -2 * np.trace(held_out[1]) + (held_out[0] * held_out[2]).sum()
    return agreed((projected_norm(shrunk_averages(known, held_out), RANK_TOLERANCE), float(loss)))


@contextlib.contextmanager
def cpu_settings(network: nn.Module) -> Iterator[None]:
    """One thread for narrow networks, and no denormal numbers, while training on the CPU.

    Narrow networks lose more to handing work between threads than they gain, and weights that shrink towards zero turn
    into denormals, which CPUs handle an order of magnitude slower.
    """
    if next(network.parameters()).device.type != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    if max(max(parameter.shape) for parameter in network.parameters()) < WIDE:
        torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
