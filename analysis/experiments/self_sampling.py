"""States sampled from the functions that are being learned: Metropolis walkers, objective and energies.

A single walker is drawn from the density of the learned span,

    p = q/Z,   q(x) = ψ(x)ᵀ S⁻¹ ψ(x),   S = ∫ ψ ψᵀ,

which is Σ ψ_i² of orthonormal functions: every state is visited alike, whatever its norm, and ψ_i²/q is bounded. It is
also the law of each point of a configuration x¹ ... x^K drawn from the square of Ψ = det ψ_i(x^j), the total wave
function of natural excited states.

With weights 1/p = Z/q inner products are integrals over space whatever the functions are. Metropolis never asks for Z,
but nested low-rank approximation does: a factor c in the weights multiplies its operator term by c and its metric term
by c², so that it divides all squared norms, which are to be the eigenvalues; were c free, as with weights 1/Σψ_i², the
norms would grow or shrink from step to step and never settle. One normalised density g that lies within q gives it
without a further evaluation of the networks: 1/Z = E_p[g/q].

References
----------
Metropolis, Rosenbluth, Rosenbluth, Teller, Teller, J. Chem. Phys. 21 (1953) 1087; Gelfand, Dey, J. R. Stat. Soc. B 56
(1994) 501, for Z; Pfau, Axelrod, Sutterud, von Glehn, Spencer, "Accurate computation of quantum excited states with
neural networks", Science 385 (2024) eadn0137 (arXiv:2308.16848).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectraldyn import Batch
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks.derivatives import value_gradient_and_second
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.operators import Action, Operator, schroedinger
from spectraldyn.operators.transfer import root_weight
from spectraldyn.spectra.rayleigh_ritz import orthonormal

BURN_IN = 100
"""Moves of walkers that begin far from equilibrium."""
RATE = 0.02
"""Of the running averages of S and of 1/Z."""
RIDGE = 1e-3
"""Share of each squared norm that is added to S: functions may be almost linearly dependent at first."""
LEAST = 0.01
"""Squared norm with which a function begins at least."""
CLIP = 5.0
"""Mean absolute deviations from the median at which local energies are clipped. Where Ψ is near 0 the energy and the
gradient of log Ψ are both as large as 1/Ψ, so that their product has no variance (von Glehn, Spencer, Pfau, ICLR 2023).
"""


@dataclass(frozen=True)
class Start:
    """Where walkers begin, and how they move.

    Attributes
    ----------
    spread : float
        Standard deviation of the normal law of the first positions.
    widths : tuple of float
        Standard deviations of the proposed steps, one of which is drawn for each.
    reference : float
        Standard deviation of the normal density g.
    n_inputs : int
    n_sweeps : int
        Steps of every walker between two batches.
    """

    spread: float
    widths: tuple[float, ...]
    reference: float
    n_inputs: int = 2
    n_sweeps: int = 2

    def positions(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, d)"""
        return self.spread * torch.randn(n, self.n_inputs, generator=generator, device=generator.device)

    def proposed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Positions (n, d) a step further. Width and direction do not depend on where a step begins, so that the ratio
        of densities alone decides about it."""
        options: Any = {"generator": generator, "device": x.device}
        width = x.new_tensor(self.widths)[torch.randint(len(self.widths), (len(x), 1), **options)]
        return x + width * torch.randn(x.shape, dtype=x.dtype, **options)

    def density(self, x: Tensor) -> Tensor:
        """The normal density g (n,)."""
        variance = self.reference**2
        return torch.exp(-x.square().sum(dim=1) / (2 * variance)) / (2 * torch.pi * variance) ** (self.n_inputs / 2)


class SpanSamples:
    """Walkers in the density q/Z of the span of a network's functions, as they are when a batch is asked for.

    Walkers are independent of each other, as the U-statistic of the metric term asks of the rows of a batch; from batch
    to batch they are not. They begin anew where a training goes on after an interruption.

    Parameters
    ----------
    network : module (B, d) → (B, L)
        Trained in place elsewhere.
    start : Start
    x : Tensor (n, d), optional
        First positions, where better ones are known.
    burn_in : int
        Moves before the first batch.
    """

    def __init__(self, network: nn.Module, start: Start, x: Tensor | None = None, burn_in: int = BURN_IN):
        self.network, self.start, self.burn_in = network, start, burn_in
        self.x: Any = x
        self.overlap, self.inverse_z = torch.zeros(()), torch.zeros(())
        self.whitening: Tensor | None = None
        self.n_moves, self.acceptance, self.fixed = 0, 0.0, False

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def scored(self) -> None:
        return None

    def seek(self, step: int, seed: int) -> None:
        pass

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """All n walkers after another move, with weights Z/q."""
        if self.n_moves == 0:
            self.x = self.start.positions(n, generator) if self.x is None else self.x
            self.x = self.x.to(next(self.network.parameters()))
            for _ in range(self.burn_in):
                self.move(generator)
        q = self.move(generator)
        return Batch(self.x, weight=1 / (self.inverse_z * q).to(self.x.dtype))

    @torch.no_grad()
    def move(self, generator: torch.Generator) -> Tensor:
        """Metropolis steps; q (n,) at the new positions, in double precision. S and Z follow unless `fixed`."""
        functions = self.network(self.x).double()
        q = self._q(functions)
        for _ in range(self.start.n_sweeps):
            proposed = self.start.proposed(self.x, generator)
            their_functions = self.network(proposed).double()
            their_q = self._q(their_functions)
            accepted = torch.rand(len(q), generator=generator, dtype=q.dtype, device=q.device) * q < their_q
            q = torch.where(accepted, their_q, q)
            functions = torch.where(accepted[:, None], their_functions, functions)
            self.x = torch.where(accepted[:, None], proposed, self.x)
            self.acceptance += 0.01 * (float(accepted.double().mean()) - self.acceptance)
        self.n_moves += 1
        if not self.fixed:
            self._follow(functions, q)
        return q

    def _q(self, functions: Tensor) -> Tensor:
        return (functions if self.whitening is None else functions @ self.whitening).square().sum(dim=1)

    def _follow(self, functions: Tensor, q: Tensor) -> None:
        rate = max(RATE, 2 / (1 + self.n_moves))
        self.inverse_z = torch.lerp(self.inverse_z.to(q), (self.start.density(self.x).double() / q).mean(), rate)
        overlap = functions.T @ (functions / q[:, None]) / (len(q) * self.inverse_z)
        self.overlap = torch.lerp(self.overlap.to(q), overlap, rate)
        scale = self.overlap.diagonal().rsqrt()
        correlation = scale[:, None] * self.overlap * scale + RIDGE * torch.eye(len(scale)).to(q)
        self.whitening = scale[:, None] * torch.linalg.inv(torch.linalg.cholesky(correlation)).T


class DeterminantSamples:
    """Configurations of K points from Ψ², Ψ = det ψ_i(x^j), of a network's K functions; one point moves at a time.

    A batch of K n rows holds n independent configurations, the points of each following one another.

    Parameters
    ----------
    network, start
        See `SpanSamples`.
    """

    def __init__(self, network: nn.Module, n_states: int, start: Start):
        self.network, self.n_states, self.start = network, n_states, start
        self.x: Any = None
        self.acceptance = 0.0

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def scored(self) -> None:
        return None

    def seek(self, step: int, seed: int) -> None:
        pass

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """n rows, as many as K times the configurations, after another move."""
        if self.x is None:
            self.x = self.start.positions(n, generator).unflatten(0, (-1, self.n_states))
            for _ in range(BURN_IN // 2):
                self.move(generator)
        self.move(generator)
        return Batch(self.x.flatten(0, 1))

    @torch.no_grad()
    def move(self, generator: torch.Generator) -> None:
        """Metropolis steps of every point. det Ψ'/det Ψ with one new row is its product with a column of Ψ⁻¹, and Ψ⁻¹
        follows by the Sherman–Morrison formula."""
        x = self.x.clone()
        functions = self.network(x.flatten(0, 1)).double().unflatten(0, (-1, self.n_states))
        inverse = torch.linalg.inv(functions)
        for point in list(range(self.n_states)) * self.start.n_sweeps:
            proposed = self.start.proposed(x[:, point], generator)
            row = self.network(proposed).double()
            column = inverse[:, :, point].clone()
            ratio = (row * column).sum(dim=1)
            chance = torch.rand(len(x), generator=generator, dtype=ratio.dtype, device=x.device)
            accepted = chance < ratio.square()
            change = torch.einsum("bi,bij->bj", row - functions[:, point], inverse)
            update = torch.einsum("bi,bj->bij", column, change / ratio[:, None])
            inverse = torch.where(accepted[:, None, None], inverse - update, inverse)
            functions[:, point] = torch.where(accepted[:, None], row, functions[:, point])
            x[:, point] = torch.where(accepted[:, None], proposed, x[:, point])
            self.acceptance += 0.01 * (float(accepted.double().mean()) - self.acceptance)
        self.x = x


def hamiltonian(potential: Callable[[Tensor], Tensor], network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Functions and −∇²ψ + V ψ at x (B, d); both (B, L)."""
    value, _, laplacian = value_gradient_and_second(network, x)
    return value, potential(x)[:, None] * value - laplacian


def local_energies(functions: Tensor, images: Tensor) -> Tensor:
    """Matrices Ψ⁻¹ (H Ψ), (n, K, K), of configurations: row j of Ψ (n, K, K) has the K functions at point j.

    Their mean over Ψ² is S⁻¹ ⟨ψ, H ψ⟩, the eigenvalues of which are the energies; where the functions span states,
    every one of them is.
    """
    return torch.linalg.solve(functions, images)


def local_action(potential: Callable[[Tensor], Tensor]) -> Operator:
    """f = ψ, which alone carries gradient, and T f = H ψ."""

    def operator(left: nn.Module, right: nn.Module, batch: Batch) -> Action:
        with torch.no_grad():
            images = hamiltonian(potential, left, batch.x)[1]
        return Action.with_tied_sides(left(batch.x).unsqueeze(2), images.unsqueeze(2))

    return operator


def low_variance_action(potential: Callable[[Tensor], Tensor], shift: float, scale: float) -> Operator:
    """T = (c − H)/s for nested low-rank approximation, whose gradient reaches f alone.

    As T is self-adjoint, the gradient of ⟨f, T f⟩ is that of 2 ⟨f, T f⟩ with T f held fixed: hence twice T f here. What
    is left, T f_i − Σ_j f_j ⟨f_j, f_i⟩, vanishes at every single walker where the functions are states; and nothing is
    differentiated through the Laplacian. The operator term of the loss counts twice; only its gradient is right.
    """
    local = local_action(potential)

    def operator(left: nn.Module, right: nn.Module, batch: Batch) -> Action:
        action, root = local(left, right, batch), root_weight(batch)
        images = 2 * (shift * action.f.detach() - action.Tf) / scale
        return Action.with_tied_sides(root * action.f, root * images)

    return operator


def natural_excited_states(action: Action, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Scalar with the gradient 2 E[(tr E_L − E) ∇ log |Ψ|] of the energies' sum, E_L = Ψ⁻¹ (H Ψ).

    The rows are configurations from `DeterminantSamples` and T f is H ψ; see `local_action`. No order among the
    functions: only their span is determined.
    """
    shape = (-1, action.f.shape[1])
    functions, images = (part.squeeze(2).double().unflatten(0, shape) for part in (action.f, action.Tg))
    total = local_energies(functions.detach(), images.detach()).diagonal(dim1=1, dim2=2).sum(dim=1)
    middle = total.median()
    reach = CLIP * (total - middle).abs().mean()
    clipped = total.clamp(middle - reach, middle + reach)
    return 2 * ((clipped - clipped.mean()) * torch.linalg.slogdet(functions).logabsdet).mean(), state


def begin(
    network: nn.Module, trunk: CommonTrunk, potential: Callable[[Tensor], Tensor], shift: float, scale: float,
    start: Start, n_states: int, seed: int, n_walkers: int = 1024, n_draws: int = 160,
) -> None:  # fmt: skip
    """Make the states within the span of a network's functions, more than states, its functions; changed in place.

    Eigenvectors of T = (c − H)/s from walkers in the density of that span, and combinations with the norms of nested
    low-rank approximation. `trunk` is the part of the network with its last layer; see
    `spectraldyn.learning.warm_start`, which begins likewise.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = SpanSamples(network.double(), start)
    samples.draw(n_walkers, generator)
    samples.fixed = True
    batches = (samples.draw(n_walkers, generator) for _ in range(n_draws))
    operator = schroedinger(potential, shift, scale)
    averages = operator_moments(operator, network, network, [batches]).means()
    states, values = _leading(averages[0], averages[1], n_states)
    trunk.combine(np.vstack((np.zeros(n_states), states * np.sqrt(np.clip(values, LEAST, None)))))
    network.float()


def _leading(overlap: np.ndarray, image: np.ndarray, n_states: int) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal combinations (L, n) that span the leading right eigenvectors of S⁻¹ E[ψ (T ψ)ᵀ/q], and values (n,).

    The matrix is not made symmetric: where states lie in the span, T ψ c = λ ψ c holds at every walker.
    """
    basis = orthonormal(overlap, 0)
    values, vectors = np.linalg.eig(basis.T @ image @ basis)
    order = np.argsort(-values.real, kind="stable")[:n_states]
    # Of a conjugate pair, the real part and the imaginary part.
    parts = np.where(values.imag[order] < 0, vectors[:, order].imag, vectors[:, order].real)
    return basis @ np.linalg.qr(parts)[0], values[order].real


def energies_of(
    network: nn.Module, potential: Callable[[Tensor], Tensor], samples: SpanSamples, n_walkers: int, n_draws: int,
    seed: int, n_groups: int = 32,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Energies of the states in the span of a network's functions and their standard errors, ascending; both (L,).

    Rayleigh–Ritz from S = E[ψ ψᵀ/q] and E[ψ (H ψ)ᵀ/q]: eigenvalues of S⁻¹ of the latter, as it is. Made symmetric it
    would lose the zero variance that it has where the functions span states. Errors by a jackknife over groups of
    walkers, which are independent of each other.
    """
    generator = torch.Generator(samples.device).manual_seed(seed)
    samples.draw(n_walkers, generator)
    samples.fixed = True
    sums = torch.zeros(2, n_groups, *[len(samples.overlap)] * 2, dtype=torch.float64, device=samples.device)
    for _ in range(n_draws):
        with torch.no_grad():
            q = samples.move(generator)
            value, image = (part.double() for part in hamiltonian(potential, network, samples.x))
        for total, part in zip(sums, (value, image), strict=True):
            parts = zip(value.tensor_split(n_groups), (part / q[:, None]).tensor_split(n_groups), strict=True)
            total += torch.stack([a.T @ b for a, b in parts])
    overlap, energy = sums.cpu().numpy()
    left_out = np.array([_ritz(overlap.sum(0) - s, energy.sum(0) - e) for s, e in zip(overlap, energy, strict=True)])
    return _ritz(overlap.sum(0), energy.sum(0)), np.sqrt((n_groups - 1) * left_out.var(axis=0))


def _ritz(overlap: np.ndarray, energy: np.ndarray) -> np.ndarray:
    return np.sort(np.linalg.eigvals(np.linalg.solve(overlap, energy)).real)
