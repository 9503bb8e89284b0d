"""The training loop: how its learning rate goes, and which of its evaluations is kept."""

import math
from functools import partial

import pytest
import torch

from spectraldyn.learning.loop import Schedule, _Run
from spectraldyn.networks import Sides


def test_learning_rate_rises_evenly_and_falls_by_a_cosine():
    """Over three steps from a quarter to all of it, while the cosine of eight steps goes from 1 to 0."""
    falling = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]
    assert [Schedule(8, learning_rate=0.5).rate(step) for step in range(9)] == pytest.approx([r / 2 for r in falling])
    risen = [falling[0] / 4, falling[1] / 2, falling[2] * 3 / 4, *falling[3:]]
    assert [Schedule(8, learning_rate=1.0, rise=3).rate(step) for step in range(9)] == pytest.approx(risen)


@pytest.mark.parametrize(("tolerance", "kept_step"), [(0.0, 2), (0.1, 3), (0.2, 4)])
def test_the_last_evaluation_within_the_tolerance_of_the_best_is_kept(tolerance, kept_step):
    sides = Sides(torch.nn.Linear(1, 1, bias=False))
    run = _Run(sides, Schedule(4, tolerance=tolerance), torch.Generator())
    for step, score in enumerate([0.8, 1.0, 0.95, 0.85], start=1):
        run.progress.step = step
        torch.nn.init.constant_(run.averaged.left.weight, step)
        run.note(score, 0.0)
    assert (run.progress.kept_step, float(run.progress.kept["left.weight"])) == (kept_step, kept_step)
    assert (run.progress.steps, run.progress.scores) == ([1, 2, 3, 4], [0.8, 1.0, 0.95, 0.85])


@pytest.mark.parametrize(("n_steps", "reach"), [(1000, 20), (100, 10)])
def test_what_is_evaluated_is_the_moving_average_of_the_parameters(n_steps, reach):
    """Over a share of 0.02 of the steps, at least 10; the first step sets it."""
    sides = Sides(torch.nn.Linear(1, 1, bias=False))
    run = _Run(sides, Schedule(n_steps), torch.Generator())
    seen, average = [], None
    for _ in range(5):
        run.advance(partial(run.take_step, lambda f, g, x: f.weight.sum(), lambda action, state: (action, state), None))
        seen.append(sides.left.weight.item())
        average = seen[-1] if average is None else average + (seen[-1] - average) / reach
        assert run.averaged.left.weight.item() == pytest.approx(average, rel=1e-6)
    assert len(set(seen)) == 5


def test_decay_shrinks_weights_and_leaves_offsets_alone():
    """Without a gradient every step multiplies the weights by 1 − rate · decay, and by nothing else."""
    sides = Sides(torch.nn.Linear(2, 3))
    weight, bias = sides.left.weight.detach().clone(), sides.left.bias.detach().clone()
    schedule = Schedule(n_steps=4, learning_rate=0.1, decay=2.0)
    run = _Run(sides, schedule, torch.Generator())
    shrunk = 1.0
    for step in range(3):
        nothing = lambda f, g, x: 0 * (f.weight.sum() + f.bias.sum())  # noqa: E731
        run.advance(partial(run.take_step, nothing, lambda loss, state: (loss, state), None))
        shrunk *= 1 - schedule.rate(step) * schedule.decay
    assert shrunk < 0.7
    torch.testing.assert_close(sides.left.weight.detach(), shrunk * weight)
    torch.testing.assert_close(sides.left.bias.detach(), bias)
