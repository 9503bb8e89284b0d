"""The training loop: how its learning rate goes, and which of its evaluations is kept."""

import math

import pytest
import torch

from spectraldyn.learning.loop import _Run, _share


def test_learning_rate_rises_evenly_and_falls_by_a_cosine():
    """Over three steps from a quarter to all of it, while the cosine of eight steps goes from 1 to 0."""
    falling = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]
    assert [_share(step, 8, 0) for step in range(9)] == pytest.approx(falling)
    risen = [falling[0] / 4, falling[1] / 2, falling[2] * 3 / 4, *falling[3:]]
    assert [_share(step, 8, 3) for step in range(9)] == pytest.approx(risen)


@pytest.mark.parametrize(("tolerance", "kept_step"), [(0.0, 2), (0.1, 3), (0.2, 4)])
def test_the_last_evaluation_within_the_tolerance_of_the_best_is_kept(tolerance, kept_step):
    run, network = _Run({}, torch.Generator()), torch.nn.Linear(1, 1, bias=False)
    for run.step, score in enumerate([0.8, 1.0, 0.95, 0.85], start=1):
        torch.nn.init.constant_(network.weight, run.step)
        run.judge(score, 0.0, network, tolerance)
    assert (run.kept_step, float(run.kept["weight"])) == (kept_step, kept_step)
