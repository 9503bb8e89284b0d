"""Infinitesimal generator of a diffusion process, learned from samples of its states: no lag time, no time series.

dX = (−βD∇U + ∇·D) dt + √(2D) dW has the generator L f = −βD∇U·∇f + ∇·(D∇f) and leaves π ∝ e^{−βU} invariant; L is
self-adjoint and ≤ 0 in L²(π), with the Dirichlet form 𝓓[f, g] = E_π[∇f·D∇g] = −⟨f, L g⟩. The relaxation rates are −λ.

Samples may come from any other law p if each carries the weight π/p, divided by the mean weight of all data.

References
----------
Bakry, Gentil, Ledoux, "Analysis and geometry of Markov diffusion operators", Springer 2014, ch. 1 and 3, for the
Dirichlet form; Kostic, Lounici, Halconruy, Devergne, Pontil, "Learning the infinitesimal generator of stochastic
diffusion processes", NeurIPS 2024, for the resolvent in the energy space.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.networks.derivatives import forward_mode, value_and_gradient, value_gradient_and_second
from spectraldyn.operators.transfer import root_weight, with_constant
from spectraldyn.records import Action, Batch, Network, Operator

Diffusion = float | Tensor | Callable[[Tensor], Tensor]
"""D in the units of the states squared per time: a number; a constant matrix (d, d); or a function of the states
(B, d) that gives one number each, (B,), or one matrix each, (B, d, d)."""


def energy_space_resolvent(diffusion: Diffusion, shift: float) -> Operator:
    """T = η (η − L)⁻¹ in the inner product ⟨f, g⟩ + 𝓓[f, g]/η of the energy space: needs first derivatives alone.

    In that inner product ⟨f, T g⟩ is just E_π[f g], so that neither L nor its inverse is ever applied. The singular
    values are σ = η/(η + rate), in (0, 1]: T averages the transfer operators over exponentially distributed lag times
    of mean 1/η. Components of a row: the value and σᵀ∇f/√η, with D = σσᵀ.

    Parameters
    ----------
    diffusion : Diffusion
    shift : float
        η > 0, in the unit of the rates; modes with rates far above it have small singular values and are learned last.

    Returns
    -------
    Operator
        Tied; with the constant as mode 0. `Tg` and `Tf` are meant inside inner products with `f` and `g` alone.
    """
    _check_shift(shift)

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        value, gradient = value_and_gradient(left, batch.x, square_root(diffusion, batch.x))
        root = root_weight(batch)
        value = root * with_constant(value).unsqueeze(2)
        gradient = root * without_constant(gradient) / shift**0.5
        f, Tf = (torch.cat((value, part), dim=2) for part in (gradient, torch.zeros_like(gradient)))
        return Action.with_tied_sides(f, Tf, known=(1.0,))

    return operator


def shifted_generator(
    force: Callable[[Tensor], Tensor], diffusion: Diffusion, shift: float, beta: float = 1.0
) -> Operator:
    """T = 1 + L/c, the strong form: needs the force and second derivatives.

    Its eigenvalues are 1 − rate/c. Only positive ones are learned with tied sides: modes with rates above c vanish.

    Parameters
    ----------
    force : callable (B, d) → (B, d)
        −∇U.
    diffusion : Diffusion
    shift : float
        c > 0, in the unit of the rates.
    beta : float
        1/(k_B T) in the inverse unit of U.

    Returns
    -------
    Operator
        Tied; with the constant as mode 0.
    """
    _check_shift(shift)

    def operator(left: Network, right: Network, batch: Batch) -> Action:
        x = batch.x
        root_diffusion = square_root(diffusion, x)
        drift = beta * (root_diffusion @ (root_diffusion.mT @ force(x).unsqueeze(2))).squeeze(2)
        value, _, generated = value_gradient_and_second(left, x, root_diffusion, drift + _divergence(diffusion, x))
        root = root_weight(batch)
        f = root * with_constant(value).unsqueeze(2)
        Tf = f + root * without_constant(generated.unsqueeze(2)) / shift
        return Action.with_tied_sides(f, Tf, known=(1.0,))

    return operator


def _check_shift(shift: float) -> None:
    if not shift > 0:
        raise InputError(f"shift is {shift!r}: it must be a positive rate")


def without_constant(derivatives: Tensor) -> Tensor:
    """Put the derivatives of the constant function, 0, in front: (B, L, k) → (B, 1 + L, k)."""
    return torch.cat((torch.zeros_like(derivatives[:, :1]), derivatives), dim=1)


def square_root(diffusion: Diffusion, x: Tensor) -> Tensor:
    """σ with D = σσᵀ, (B, d, d) or (1, d, d): the root of a number, the Cholesky factor of a matrix."""
    d = torch.as_tensor(diffusion(x) if callable(diffusion) else diffusion, dtype=x.dtype, device=x.device)
    if d.ndim < 2:
        return d.sqrt().reshape(-1, 1, 1) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return torch.linalg.cholesky(d.reshape(-1, *d.shape[-2:]))


def _divergence(diffusion: Diffusion, x: Tensor) -> Tensor:
    """(∇·D)_i = Σ_j ∂_j D_ij, (B, d)."""
    if not callable(diffusion):
        return torch.zeros_like(x)
    func = forward_mode()
    jacobian = func.vmap(func.jacfwd(lambda z: diffusion(z[None])[0]))(x.detach())
    # Of a number D, the gradient; of a matrix, Σ_j ∂_j D_ij.
    return jacobian if jacobian.ndim == 2 else jacobian.diagonal(dim1=2, dim2=3).sum(dim=2)
