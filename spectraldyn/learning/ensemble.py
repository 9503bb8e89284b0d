"""The average of what several networks have learned, each of which held out another part of the data.

A network that fits few events fits them too well, and another one, trained on another part of the data, does so in
another way. Every network has learned an operator of low rank, T_m = Σ_i f_i ⊗ g_i. Their mean is closer to the
operator of the dynamics than they are on average, since ‖T − T̂‖² (minus VAMP-E, up to a constant) is convex in T̂; its
leading singular functions are what is kept. Every mode counts with the eigenvalue that it has on the pairs that its
network has not seen: modes that were fitted to noise count for nothing.

References
----------
Breiman, "Bagging predictors", Mach. Learn. 24 (1996) 123; Krogh, Vedelsby, NIPS 1994, for ensembles whose members held
out different parts of the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.samples import PairSamples, in_batches
from spectraldyn.learning.averages import operator_moments
from spectraldyn.learning.loop import History
from spectraldyn.learning.warm_start import SOLVED_PAIRS, best_combinations
from spectraldyn.networks.mlp import CommonTrunk, SeparateNetworks, SideBySide
from spectraldyn.networks.sides import Layout, Sides, build_sides
from spectraldyn.networks.whitening import WhitenedLinear, Whitening
from spectraldyn.records import Batch, Operator
from spectraldyn.spectra.rayleigh_ritz import Averages, Spectrum, orthonormal, rayleigh_ritz
from spectraldyn.spectra.scores import SHRINKAGE

GRADIENTS_AT = 4096
"""States at which gradients are averaged."""
LEAST_VALUE = 1e-3
"""With which a mode counts at least."""
LEAST_RELEVANCE = 1e-3
"""Scale of a coordinate that the functions hardly depend on, as a share of that of the one they depend on most."""


@dataclass(frozen=True)
class Member:
    """A trained network with as many functions as modes, and the pairs that it held out."""

    sides: Sides
    samples: PairSamples
    score: float
    """Held out; 0 without held-out pairs."""
    history: History


def average(members: Sequence[Member], operator: Operator, everything: PairSamples, layout: Layout) -> Sides:
    """Networks with the leading singular functions of the mean of the learned operators, and the norms of all pairs.

    Parameters
    ----------
    members : sequence of Member
        Of the same inputs, each in its own coordinates. Their hidden layers are side by side in the result.
    everything : PairSamples
        All pairs, among which none is held out.
    layout : Layout
        Of the result, but for the number of trunks. With a network for each mode there is one member.
    """
    tied, n_modes = layout.tied, layout.n_modes
    wide = _side_by_side(members, operator, replace(layout, network="common-trunk"))
    batches = in_batches(everything, everything.train, SOLVED_PAIRS)
    averages = operator_moments(operator, wide.left, wide.right, [batches]).means()
    constant = np.eye(len(averages[0]), 1)
    left, right = (np.hstack((constant, part)) for part in _of_the_mean(averages, n_modes, tied=tied))
    own = left.T @ averages[0] @ left, left.T @ averages[1] @ right, right.T @ averages[2] @ right
    best = best_combinations(own, n_modes, 0.0, tied=tied)
    # Of functions that depend on each other linearly there are fewer than modes.
    missing = n_modes - best[0].shape[1]
    for network, basis, combination in zip(wide.distinct, (left, right), best, strict=False):
        cast(CommonTrunk, network).combine(np.pad(basis @ combination, ((0, 0), (0, missing))))
    return wide if layout.network == "common-trunk" else _separate(wide, layout)


@torch.no_grad()
def _separate(sides: Sides, layout: Layout) -> Sides:
    """The same functions, each with its own copy of the hidden layers, of which there is one set."""
    result = build_sides(_inputs(sides), layout, 0).to(sides.device)
    for network, source in zip(result.distinct, sides.distinct, strict=True):
        head = cast(CommonTrunk, source).head
        cast(SeparateNetworks, network).take_over(cast(CommonTrunk, source), head.weight.T, head.bias)
    return result


def _side_by_side(members: Sequence[Member], operator: Operator, layout: Layout) -> Sides:
    """All modes of all members; squared norm: the held-out eigenvalue, divided by the number of members."""
    n_members = len(members)
    wide_layout = replace(layout, n_modes=n_members * layout.n_modes, n_trunks=n_members)
    wide = build_sides(_inputs(members[0].sides), wide_layout, 0).to(members[0].sides.device)
    weighted = [held_out_values(member, operator) for member in members]
    with torch.no_grad():
        for side, network in enumerate(cast(tuple[CommonTrunk, ...], wide.distinct)):
            sources = [cast(CommonTrunk, member.sides.distinct[side]) for member in members]
            heads = []
            for source, (values, spectrum) in zip(sources, weighted, strict=True):
                modes = (spectrum.left, spectrum.right)[side] * np.sqrt(np.maximum(values, LEAST_VALUE) / n_members)
                heads.append(source.combined(np.pad(modes, ((0, 0), (0, layout.n_modes - modes.shape[1])))))
            network.trunk = sources[0].trunk if n_members == 1 else SideBySide(source.trunk for source in sources)
            network.head.weight.copy_(torch.block_diag(*(weight for weight, _ in heads)))
            network.head.bias.copy_(torch.cat([bias for _, bias in heads]))
    return wide


def held_out_values(member: Member, operator: Operator) -> tuple[np.ndarray, Spectrum]:
    """Eigenvalues (or singular values) on held-out pairs of the modes found on training pairs, and these modes.

    Training pairs have a small weight in them. At most the value of training; that one without held-out pairs.
    """
    sides, samples = member.sides, member.samples

    def averages(batches: list[Batch]) -> Averages:
        return operator_moments(operator, sides.left, sides.right, [batches]).means()

    scored = samples.scored()
    train = averages(scored[0] if scored else in_batches(samples, samples.train, SOLVED_PAIRS))
    spectrum = rayleigh_ritz(train, tied=sides.tied)
    if scored is None:
        return spectrum.values, spectrum
    # Of a state that the held-out pairs never visit they know nothing: its mode counts as in training.
    shares = zip(train, averages(scored[1]), strict=True)
    a, b, c = (SHRINKAGE * known + (1 - SHRINKAGE) * held_out for known, held_out in shares)
    quotient = [
        left @ b @ right / np.sqrt((left @ a @ left) * (right @ c @ right))
        for left, right in zip(spectrum.left.T, spectrum.right.T, strict=True)
    ]
    return np.minimum(quotient, spectrum.values), spectrum


def _of_the_mean(averages: Averages, n_modes: int, *, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (1 + m, n) of the leading singular functions of Σ_i f_i ⊗ g_i, from products of [1, f] and [1, g].

    In orthonormal functions p of the span of f and q of that of g they are those of the matrix Σ_i ⟨p, f_i⟩⟨g_i, q⟩.
    """
    left, right = orthonormal(averages[0], 1), orthonormal(averages[2], 1)
    u, _, vt = np.linalg.svd(left.T @ averages[0][:, 1:] @ averages[2][1:] @ right, full_matrices=False)
    left, right = left @ u[:, :n_modes], right @ vt.T[:, :n_modes]
    return left, left if tied else right


def relevant_coordinates(members: Sequence[tuple[Member, Tensor]], operator: Operator) -> Tensor:
    """Coordinates (k, k) of the whitened inputs, scaled by how much the learned functions depend on them.

    The square root of the average of Σ_i λ_i ∇f_i ∇f_iᵀ, with held-out eigenvalues λ_i, over members, which come with
    the coordinates (k, k) that they look at. What the functions do not depend on is no longer looked at: where few of
    many inputs matter, networks trained on the new coordinates overfit less.

    References
    ----------
    Radhakrishnan, Beaglehole, Pandit, Belkin, Science 383 (2024) 1461, for the average gradient outer product as a
    mechanism of feature learning.
    """
    total = sum(coordinates @ _gradient_product(member, operator) @ coordinates.T for member, coordinates in members)
    relevance, directions = torch.linalg.eigh(cast(Tensor, total))
    scales = (relevance / relevance[-1]).clamp_min(0).sqrt().clamp_min(LEAST_RELEVANCE)
    return directions * scales


def _gradient_product(member: Member, operator: Operator) -> Tensor:
    """The average of Σ_i λ_i ∇f_i ∇f_iᵀ with respect to what the network looks at, in float64."""
    values, spectrum = held_out_values(member, operator)
    rows = in_batches(member.samples, member.samples.train, GRADIENTS_AT)
    total: Tensor | float = 0.0
    for network, modes, end in zip(member.sides.distinct, (spectrum.left, spectrum.right), (0, 1), strict=False):
        network = cast(CommonTrunk, network)
        first = cast(WhitenedLinear, network.trunk[0])
        weights = torch.from_numpy(modes[1:] * np.sqrt(np.maximum(values, LEAST_VALUE))).to(network.head.weight)
        for batch in rows:
            x = first.whitening(batch.pair[end]).requires_grad_()
            functions = network.head(network.trunk[1:](first.linear(x))) @ weights
            for function in functions.T:
                (gradient,) = torch.autograd.grad(function.sum(), x, retain_graph=True)
                total = total + (gradient.T @ gradient).double()
    return cast(Tensor, total)


def _inputs(sides: Sides) -> Whitening:
    trunk = cast(CommonTrunk, sides.left).trunk
    return cast(WhitenedLinear, trunk[0] if isinstance(trunk, torch.nn.Sequential) else trunk.parts[0][0]).whitening
