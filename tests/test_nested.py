"""Nested low-rank objectives: gradients by autograd of the explicit formulas, unbiasedness by z-test."""

import numpy as np
import pytest
import torch

from spectraldyn.linalg import gram, gram_product
from spectraldyn.objectives import joint_nesting, low_rank_loss, sequential_nesting
from spectraldyn.operators import reversible_transfer, transfer
from spectraldyn.records import Action, Batch

ROWS, MODES = 7, 4


def random_action(components: int, tied: bool, seed: int = 0) -> tuple[Action, list[torch.Tensor]]:
    """An action of a fixed, row-wise linear operator on free functions; returns it with its leaves f and g."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(ROWS, MODES, components, generator=generator, dtype=torch.float64, requires_grad=True)
    g = (
        f
        if tied
        else torch.randn(ROWS, MODES, components, generator=generator, dtype=torch.float64, requires_grad=True)
    )
    mixing = torch.randn(components, components, generator=generator, dtype=torch.float64)
    mixing = mixing + mixing.T if tied else mixing
    Tg = g @ mixing.T
    return Action(f=f, Tg=Tg, g=g, Tf=Tg if tied else f @ mixing, tied=tied), [f] if tied else [f, g]


def explicit_level_loss(action: Action, level: int) -> torch.Tensor:
    """L_ℓ straight from its definition: all pairs of different rows, in loops over the modes."""
    rows = action.f.shape[0]
    different = 1 - torch.eye(rows, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(level):
        total = total - 2 * (action.f[:, i] * action.Tg[:, i]).sum() / rows
        for j in range(level):
            left = (action.f[:, i] * action.f[:, j]).sum(dim=1)
            right = (action.g[:, i] * action.g[:, j]).sum(dim=1)
            total = total + left @ different @ right / (rows * (rows - 1))
    return total


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("components", [1, 2, 6])
@pytest.mark.parametrize("weights", [None, [0.1, 0.5, 0.05, 1.3]])
def test_joint_nesting_is_the_weighted_sum_of_level_losses(tied, components, weights):
    action, leaves = random_action(components, tied)
    level_weights = torch.tensor(weights or [1 / MODES] * MODES, dtype=torch.float64)
    explicit = sum(w * explicit_level_loss(action, i + 1) for i, w in enumerate(level_weights))
    loss = joint_nesting(action, None if weights is None else level_weights)
    assert loss.item() == pytest.approx(explicit.item(), rel=1e-12)
    for got, wanted in zip(
        torch.autograd.grad(loss, leaves, retain_graph=True), torch.autograd.grad(explicit, leaves), strict=True
    ):
        assert relative_difference(got, wanted) < 1e-10


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("components", [1, 2, 6])
def test_sequential_nesting_gives_every_mode_the_gradient_of_its_own_level(tied, components):
    action, leaves = random_action(components, tied)
    gradients = torch.autograd.grad(sequential_nesting(action), leaves, retain_graph=True)
    for mode in range(MODES):
        level = torch.autograd.grad(explicit_level_loss(action, mode + 1), leaves, retain_graph=True)
        for got, wanted in zip(gradients, level, strict=True):
            assert relative_difference(got[:, mode], wanted[:, mode]) < 1e-10


def test_low_rank_loss_is_the_last_level():
    action, _ = random_action(2, tied=True)
    assert low_rank_loss(action).item() == pytest.approx(explicit_level_loss(action, MODES).item(), rel=1e-12)


@pytest.mark.parametrize("components", [1, 2])
def test_gram_product_is_unbiased_and_the_naive_product_is_not(components):
    """z-test of the mean over many small batches against the product of the population Gram matrices."""
    random = np.random.default_rng(3)
    population_f = random.normal(size=(6, 2, components))
    population_g = population_f + 0.3 * random.normal(size=(6, 2, components))  # dependent, as lagged pairs are
    picked = random.integers(6, size=(40_000, 4))
    f, g = torch.tensor(population_f), torch.tensor(population_g)
    exact = (gram(f, f) * gram(g, g)).numpy()

    def z_scores(estimates: np.ndarray) -> np.ndarray:
        return np.abs(estimates.mean(axis=0) - exact) / (estimates.std(axis=0) / np.sqrt(len(estimates)))

    left, right = f[torch.tensor(picked)], g[torch.tensor(picked)]
    unbiased = torch.vmap(lambda f, g: gram_product(f, g))(left, right).numpy()
    naive = torch.vmap(lambda f, g: gram(f, f) * gram(g, g))(left, right).numpy()
    assert z_scores(unbiased).max() < 4
    assert z_scores(naive[:10_000]).min() > 6


def test_stacking_the_two_ends_of_a_pair_as_independent_rows_is_biased():
    """The reason why a reversible row has two components instead of being two rows."""
    random = np.random.default_rng(4)
    x = random.normal(size=(20_000, 4, 1))
    y = 0.95 * x + np.sqrt(1 - 0.95**2) * random.normal(size=x.shape)
    exact = 1.0  # ⟨f, f⟩² for f(x) = x of variance 1
    as_rows = np.concatenate((x, y), axis=1)
    as_components = np.stack((x, y), axis=-1) / np.sqrt(2)

    def estimates(batches: np.ndarray) -> np.ndarray:
        tensors = torch.tensor(batches.reshape(*batches.shape[:2], 1, -1))
        return torch.vmap(lambda f: gram_product(f))(tensors).flatten().numpy()

    for batches, biased in ((as_rows, True), (as_components, False)):
        values = estimates(batches)
        z = abs(values.mean() - exact) / (values.std() / np.sqrt(len(values)))
        assert (z > 6) if biased else (z < 4)


def test_constant_mode_has_the_right_amplitude():
    """f₀ = 1 leaves no residual on constants: the gradient of the loss at the exact optimum vanishes."""
    x = torch.randn(50, 1, dtype=torch.float64)
    for operator in (transfer, reversible_transfer):
        scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        action = operator(
            lambda s, scale=scale: scale * torch.ones_like(s),
            lambda s, scale=scale: scale * torch.ones_like(s),
            Batch(x, x),
        )
        (gradient,) = torch.autograd.grad(low_rank_loss(action), scale)
        assert abs(float(gradient)) < 1e-12
        with torch.no_grad():
            assert low_rank_loss(action).item() == pytest.approx(-1.0, abs=1e-12)
