"""Ordered digits: images of 0 → 1 → 2 → 3 → 4 → 0, with noise, predicted many steps forward and backward.

    python -m analysis.experiments.ordered_digits --quick        # about 4 minutes on one core
    python -m analysis.experiments.ordered_digits                # about 25 minutes on one core
    python -m analysis.experiments.ordered_digits --published --mnist FOLDER    # for a GPU

The class moves on by one with probability 1 − η, and is drawn anew otherwise; what is seen is an image of the class.
The images are scikit-learn's, 8×8 pixels; with --mnist they are MNIST. As in Kostic et al., ICLR 2024, whose cycle has
no noise: five classes, 1,000 steps of which the last fifth is held out, batches of 64, with smaller ones beside them;
and a prediction n steps ahead counts as right where it is the class n places on, the most probable one.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from analysis.benchmarks.study import Row
from analysis.experiments import ordered_digits_report
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, arguments, collect, device
from analysis.experiments.image_files import Digits, mnist
from analysis.experiments.noisy_cycle import DIRECTIONS, N_CLASSES, most_probable, noisy_cycle
from spectraldyn import InputWarning, learn_spectrum
from spectraldyn.data import PairSamples, Rows
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.operators import transfer

NAME = "ordered_digits"
N_FRAMES = 1001
HELD_OUT = 0.2
TEST_SHARE = 1 / 3
"""Of the images, where their collection has no test images of its own."""
N_TEST = 1000
N_AHEAD = 15
OBJECTIVES = {"NeuralSVD (joint)": "joint", "VAMPnet-1": "vamp-1", "DPNet": "dpnet", "DPNet-relaxed": "dpnet-relaxed"}


class Setting(NamedTuple):
    rates: tuple[float, ...]
    steps: dict[int, int]
    """Batch size → training steps."""
    convolutional: bool


SETTINGS = {
    QUICK: Setting((1e-3, 3e-3, 1e-2), {8: 1500, 64: 600}, False),
    STANDARD: Setting((3e-4, 1e-3, 3e-3, 1e-2, 3e-2), {8: 2000, 16: 2000, 64: 1900}, False),
    PUBLISHED: Setting((1e-4, 3e-4, 1e-3, 3e-3, 1e-2), {8: 15000, 16: 7500, 64: 1900}, True),
}


class Trajectory(NamedTuple):
    """Images (n, d) and their classes (n,)."""

    images: np.ndarray
    labels: np.ndarray


def sklearn_digits(seed: int) -> Digits:
    """The 1,797 images of scikit-learn, a third of every class for testing."""
    random = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = random.permutation(len(labels))
    rank = np.empty(len(labels))
    for digit in np.unique(labels):
        members = order[labels[order] == digit]
        rank[members] = np.arange(len(members)) / len(members)
    test = rank < TEST_SHARE
    return Digits(images[~test] / 16, labels[~test], images[test] / 16, labels[test])


class Convolutional(nn.Module):
    """The published encoder (Kostic et al., ICLR 2024): twice 5×5 filters and maxima over 2×2; a linear layer."""

    def __init__(self, n_inputs: int, n_modes: int):
        super().__init__()
        self.side = round(n_inputs**0.5)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (self.side // 4) ** 2, n_modes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.view(-1, 1, self.side, self.side))


def data(case: Row) -> tuple[Trajectory, Trajectory]:
    """A trajectory of training images, and single test images; pixels less their mean, in units of their spread."""
    seed = case["seed"]
    digits = sklearn_digits(seed) if case["data"] == "scikit-learn" else mnist(Path(case["data"]))
    random = np.random.default_rng(seed)
    labels = noisy_cycle(N_FRAMES, random)
    pools = [np.flatnonzero(digits.train_labels == digit) for digit in range(N_CLASSES)]
    frames = digits.train_images[[random.choice(pools[label]) for label in labels]]
    kept = np.flatnonzero(digits.test_labels < N_CLASSES)[:N_TEST]
    mean, spread = frames.mean(axis=0), frames.std()
    test = (digits.test_images[kept] - mean) / spread
    return Trajectory((frames - mean) / spread, labels), Trajectory(test, digits.test_labels[kept])


def measure(case: Row, checkpoint: Path | None = None) -> list[Row]:
    """Agreement with the most probable class, 1 to 15 steps forward and backward, of one method with one seed."""
    setting = SETTINGS[case["setting"]]
    trajectory, test = data(case)
    spectrum = learned(trajectory, case, setting, checkpoint)
    rows = []
    along, start = (basis(spectrum, part.images) for part in (trajectory, test))
    for direction in DIRECTIONS:
        for n, labels in enumerate(predictions(along, trajectory.labels, start, direction), 1):
            agreement = float((labels == most_probable(test.labels, n, direction)).mean())
            rows.append({"direction": direction, "steps ahead": n, "agreement": agreement})
    return rows


def learned(trajectory: Trajectory, case: Row, setting: Setting, checkpoint: Path | None) -> LearnedSpectrum:
    """Left and right functions, as many as the operator has besides the constant, stopped by the held-out pairs."""
    n_pairs, n_inputs = len(trajectory.labels) - 1, trajectory.images.shape[1]
    n_train = round((1 - HELD_OUT) * n_pairs)
    rows = Rows(torch.tensor(trajectory.images, dtype=torch.float32, device=device()))
    # No pair on the border: its right end is the left end of a held-out one.
    samples = PairSamples.of(rows, 1, np.arange(n_train), np.arange(n_train + 1, n_pairs))
    torch.manual_seed(case["seed"])
    networks = [
        Convolutional(n_inputs, N_CLASSES - 1)
        if setting.convolutional
        else CommonTrunk(n_inputs, N_CLASSES - 1, (64, 64))
        for _ in range(2)
    ]
    with warnings.catch_warnings():
        # That one of the rivals often does not converge is for the table to show.
        warnings.simplefilter("ignore", InputWarning)
        return learn_spectrum(
            transfer, samples, networks[0], [samples.batch(samples.train)], right_network=networks[1],
            objective=OBJECTIVES[case["objective"]], n_steps=setting.steps[case["batch"]], batch_size=case["batch"],
            learning_rate=case["rate"], seed=case["seed"], checkpoint=checkpoint,
        )  # fmt: skip


@torch.no_grad()
def basis(spectrum: LearnedSpectrum, images: np.ndarray) -> np.ndarray:
    """h = (1, f, g) at images, (n, M): powers need one basis at both ends."""
    inputs = torch.tensor(images, dtype=torch.float64, device=spectrum.sides.device)
    functions = [side(inputs).cpu().numpy() for side in spectrum.sides.distinct]
    return np.hstack((np.ones((len(images), 1)), *functions))


def predictions(h: np.ndarray, labels: np.ndarray, start: np.ndarray, direction: str) -> list[np.ndarray]:
    """Most probable classes 1, 2, ... steps after (before) single states, (n,) each, by powers of K = C(0)⁻¹ C(1).

    Parameters
    ----------
    h : ndarray (T, M)
        Basis along a trajectory; backward, its right ends predict its left ones.
    labels : ndarray (T,)
        Classes along it: their indicators are what is predicted.
    start : ndarray (n, M)
        Basis at the states.
    """
    now, then = (h[:-1], h[1:]) if direction == "forward" else (h[1:], h[:-1])
    operator = _solved(now, now.T @ then)
    coefficients = _solved(h, h.T @ np.eye(N_CLASSES)[labels])
    found = []
    for _ in range(N_AHEAD):
        coefficients = operator @ coefficients
        found.append((start @ coefficients).argmax(axis=1))
    return found


def _solved(functions: np.ndarray, right: np.ndarray) -> np.ndarray:
    """C⁻¹ times a matrix, on the range of C = hᵀh, since functions may be linearly dependent."""
    return np.linalg.pinv(functions.T @ functions, rcond=1e-10, hermitian=True) @ right


def main() -> None:
    options = arguments(
        __doc__, {STANDARD: 10, QUICK: 5, PUBLISHED: 20}, data={"--mnist": "with the four files of MNIST"}
    )
    setting = SETTINGS[options.setting]
    where = str(options.mnist) if options.mnist else "scikit-learn"
    cases = [
        {"objective": objective, "batch": batch, "rate": rate, "seed": seed, "data": where, "setting": options.setting}
        for batch in setting.steps
        for objective in OBJECTIVES
        for rate in setting.rates
        for seed in options.seeds
    ]
    rows = collect(NAME, options, cases, measure)
    ordered_digits_report.write_report(NAME, options, rows, setting.steps, where)


if __name__ == "__main__":
    main()
