"""VAMPNet (Mardt, Pasquali, Wu, Noé, Nat. Commun. 9 (2018) 5), trained by deeptime's own loop."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from deeptime.decomposition.deep import VAMPNet
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import BATCH_SIZES, LEARNING_RATES, best_trained
from spectraldyn.data import Dataset, pair_starts, split_stretches
from spectraldyn.estimators import evaluate
from spectraldyn.estimators.base import default_width, pick_device, whitening_of
from spectraldyn.networks import CommonTrunk, Sides

VALIDATION_FRACTION = 0.2  # share of the training data that is held out, in blocks; as much as by NeuralSVD
PATIENCE = 5  # epochs in a row without a better validation score after which training ends

Pairs = tuple[Tensor, Tensor]


def vampnet(
    problem: Problem,
    learning_rates: Sequence[float] = LEARNING_RATES,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    max_epochs: int = 100,
) -> Learned:
    """VAMPNet with the hidden layers and inputs of NeuralSVD, tuned over learning rate and batch size.

    deeptime's score removes the means and adds the constant's 1, so that `n_modes` outputs are asked for. Training
    ends early, by whole epochs, on the score of the validation blocks; the setting with the best score is taken.
    """
    device, data = pick_device(problem.device), Dataset(problem.trajectories)
    whitening = whitening_of(data)
    inputs = torch.cat([whitening(torch.tensor(view)).float() for _, view in data.chunks()]).to(device)
    split = split_stretches(data.stretches, problem.lagtime, VALIDATION_FRACTION, np.random.default_rng(problem.seed))
    train, validation = (torch.tensor(pair_starts(part, problem.lagtime), device=device) for part in split)
    if not len(train) or not len(validation):
        raise ValueError("the data are too short for validation blocks, which early stopping needs")
    pairs, held_out = ((inputs[rows], inputs[rows + problem.lagtime]) for rows in (train, validation))
    (sides, n_epochs), chosen, seconds = best_trained(
        partial(_train, problem, pairs, held_out, max_epochs), learning_rate=learning_rates, batch_size=batch_sizes
    )
    whole = Sides(*(nn.Sequential(whitening.to(device), network) for network in sides.distinct)).double()
    n_left = problem.n_modes + 1
    network = {"hidden": [default_width(problem.n_modes)] * 2, "activation": "gelu", "device": device.type}
    grid = {"learning_rate": list(learning_rates), "batch_size": list(batch_sizes)}
    until = f"at most {max_epochs} epochs, stopped after {PATIENCE} without a better score"
    return Learned(
        functions=lambda states: evaluate(whole, Dataset([states]))[:, 1:n_left],
        right=None if problem.reversible else lambda states: evaluate(whole, Dataset([states]))[:, n_left:],
        settings={
            **chosen,
            "epochs": n_epochs,
            **network,
            "grid": grid,
            "chosen by": f"VAMP-2 on validation blocks, {until}",
        },
        seconds=seconds,
    )


def _train(
    problem: Problem, data: Pairs, held_out: Pairs, max_epochs: int, learning_rate: float, batch_size: int
) -> tuple[tuple[Sides, int], float]:
    """The networks of the best epoch and how many epochs were run; its validation score."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        # The hidden layers that NeuralSVD has by default.
        hidden = (default_width(problem.n_modes),) * 2
        n_lobes = 2 - problem.reversible
        lobes = [CommonTrunk(data[0].shape[1], problem.n_modes, hidden) for _ in range(n_lobes)]
        estimator = VAMPNet(*lobes, device=data[0].device, learning_rate=learning_rate)
        pairs = TensorDataset(*data)
        order = RandomSampler(pairs, generator=torch.Generator().manual_seed(problem.seed))
        # A last batch of a few pairs has a singular covariance.
        batches = BatchSampler(order, min(batch_size, len(pairs)), drop_last=True)
        # Each batch is taken from the tensors in one go: pair by pair, loading would take longer than training.
        loader = DataLoader(pairs, sampler=batches, batch_size=None)
        validation = DataLoader(TensorDataset(*held_out), batch_size=len(held_out[0]))
        best_score, best, since, epoch = -np.inf, estimator.fetch_model(), 0, 0
        while epoch < max_epochs and since < PATIENCE:
            estimator.fit(loader, n_epochs=1, validation_loader=validation)
            score = float(estimator.validation_scores[-1, 1])
            epoch, since = epoch + 1, since + 1
            if score > best_score:
                best_score, best, since = score, estimator.fetch_model(), 0
    return (Sides(best.lobe, None if problem.reversible else best.lobe_timelagged), epoch), best_score
