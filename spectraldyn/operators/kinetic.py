"""Kinetic generator: underdamped Langevin dynamics of positions and velocities (Kramers, Fokker, Planck).

dx = v dt, dv = (F(x)/m − γv) dt + √(2γkT/m) dW has the generator L f = v·∇ₓf + (F/m − γv)·∇ᵥf + (γkT/m) Δᵥf and leaves
μ ∝ exp(−U/kT − m|v|²/2kT), F = −∇U, invariant. In L²(μ) it is not self-adjoint; with the momentum flip
(Rf)(x, v) = f(x, −v) its adjoint is L* = R L R, and

    ⟨Lf, g⟩ + ⟨f, Lg⟩ = −2 (γkT/m) ⟨∇ᵥf, ∇ᵥg⟩.

A state is a row (x, v), all positions before all velocities.

References
----------
Risken, "The Fokker-Planck equation", Springer 1989, ch. 10; Pavliotis, "Stochastic processes and applications",
Springer 2014, ch. 6, for the adjoint; Kostic, Lounici, Halconruy, Devergne, Pontil, NeurIPS 2024, for learning
resolvents in the norm of what they invert.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spectraldyn.networks.derivatives import value_and_gradient, value_gradient_and_second
from spectraldyn.operators.overdamped import without_constant
from spectraldyn.operators.transfer import root_weight, with_constant
from spectraldyn.records import Action, Batch, Network, Operator


@dataclass(frozen=True)
class Langevin:
    """Underdamped Langevin dynamics of d positions and their d velocities, of one mass and one friction."""

    force: Callable[[Tensor], Tensor]
    """(B, d) → (B, d): −∇U, in the unit of kT per length."""
    friction: float
    """γ, a rate."""
    mass: float = 1.0
    """In the unit of kT times time² per length²."""
    kT: float = 1.0

    def generated(self, network: Network, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Functions f (B, L), their scaled slopes √(γkT/m) ∇ᵥf (B, L, d), and L f (B, L), at states (B, 2d)."""
        x, v = states.chunk(2, dim=1)
        drift = torch.cat((v, self.force(x) / self.mass - self.friction * v), dim=1)
        along_v = torch.eye(states.shape[1], dtype=states.dtype, device=states.device)[:, x.shape[1] :]
        root = (self.friction * self.kT / self.mass) ** 0.5
        return value_gradient_and_second(network, states, root * along_v, drift)

    def transported(self, network: Network, states: Tensor) -> Tensor:
        """A f = v·∇ₓf + F/m·∇ᵥf (B, L), the part of L f that is there without friction."""
        x, v = states.chunk(2, dim=1)
        along = torch.cat((v, self.force(x) / self.mass), dim=1)
        return value_and_gradient(network, states, along.unsqueeze(2))[1].squeeze(2)


def kinetic_resolvent(dynamics: Langevin, shift: float) -> Operator:
    """T = (M*M)⁻¹, M = 1 − L/η, in the inner product ⟨Mf, Mg⟩, in which ⟨f, T g⟩ is just E[f g].

    Its eigenfunctions are the left singular functions of the resolvent M⁻¹ = η (η − L)⁻¹, which average over
    exponentially distributed times of mean 1/η, and its eigenvalues the squares of the singular values, in (0, 1]. By
    the identity above ⟨Mf, Mg⟩ = ⟨f, g⟩ + 2γkT/(mη) ⟨∇ᵥf, ∇ᵥg⟩ + ⟨Lf, Lg⟩/η². Components of a row: the value,
    √(2γkT/(mη)) ∇ᵥf and L f/η.

    Parameters
    ----------
    dynamics : Langevin
    shift : float
        η > 0, a rate.

    Returns
    -------
    Operator
        Tied; with the constant as mode 0. `Tg` and `Tf` are meant inside inner products with `f` and `g` alone.
    """

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        value, slope, generated = dynamics.generated(left, batch.x)
        root = root_weight(batch)
        value = root * with_constant(value).unsqueeze(2)
        rest = torch.cat((slope * (2 / shift) ** 0.5, generated.unsqueeze(2) / shift), dim=2)
        rest = root * without_constant(rest)
        f, Tf = (torch.cat((value, part), dim=2) for part in (rest, torch.zeros_like(rest)))
        return Action.with_tied_sides(f, Tf, known=(1.0,))

    return operator
