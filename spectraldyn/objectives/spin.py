"""Spectral inference networks: Rayleigh quotients of functions made orthonormal by Cholesky, one mode at a time.

With Σ = ⟨u_i, u_j⟩ = L Lᵀ and Π = ⟨u_i, T u_j⟩ the functions L⁻¹u are orthonormal in order (Gram–Schmidt), and
Λ = L⁻¹ Π L⁻ᵀ holds their Rayleigh quotients. Λ_kk depends on the modes j ≤ k. Mode k follows the gradient of Λ_kk
alone, with the modes before it held fixed, which makes every leading span optimal.

The derivative of Λ_kk is nonlinear in Σ, so batch estimates of it are biased: SpIN keeps moving averages of Σ and of
its derivatives with respect to all parameters, whose memory is that of L² networks.

Pfau, Petersen, Agarwal, Barrett, Stachenfeld, "Spectral inference networks: unifying deep and spectral learning",
ICLR 2019 (arXiv:1806.02215): masked gradient and Algorithm 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spectraldyn.linalg import gram, n_rows, total
from spectraldyn.objectives.known import require_tied
from spectraldyn.objectives.whitening import RIDGE, cholesky
from spectraldyn.records import Action, State


def spin(
    action: Action, state: State, parameters: Sequence[torch.nn.Parameter], decay: float = 0.01, ridge: float = RIDGE
) -> tuple[Tensor, State]:
    """−tr Λ (scalar) with the masked gradient, and the moving averages it rests on.

    Where mode k alone changes by du_k, then, with summation over b,

        dΛ_kk = (2 / L_kk) [ (L⁻¹)_kb ⟨du_k, T u_b⟩ − (tril(Λ) L⁻¹)_kb ⟨du_k, u_b⟩ ],

    which is E[T u uᵀ] L⁻ᵀ diag(L)⁻¹ − E[u uᵀ] L⁻ᵀ triu(Λ diag(L)⁻¹) of the paper. The first part is linear in the batch
    and left to autograd. In the second, J_kb = ⟨∂u_k/∂θ, u_b⟩ is averaged over the batches, as is the Σ behind L;
    Λ takes Π from the present batch. The gradient is unbiased as far as the averages have converged.

    Parameters
    ----------
    action : Action
        Tied sides.
    state : dict
        "covariance" (L, L): moving average of Σ. "jacobian": moving average of J for every parameter, a list of tensors
        (P, ...) of the P pairs b ≤ k in which k is learned; about L²/2 copies of the parameters. "n_batches": in the
        averages.
    parameters : sequence of torch.nn.Parameter
        All that the functions depend on.
    decay : float
        Weight of the newest batch in the moving averages, which start as plain means.
    ridge : float
        See `cholesky`.
    """
    require_tied(action)
    u, Tu = action.f, action.Tf
    if not torch.is_grad_enabled():
        inverse = _inverse_cholesky(state["covariance"] if state else gram(u), ridge)
        return -(inverse @ gram(u, Tu) @ inverse.T).trace(), state
    pairs = torch.tril_indices(u.shape[1], u.shape[1], device=u.device)
    pairs = pairs[:, pairs[0] >= len(action.known)]  # k and b ≤ k, with k learned
    state = _averaged(state, gram(u, u.detach()), pairs, parameters, decay)
    inverse = _inverse_cholesky(state["covariance"], ridge)
    scale = inverse.diagonal()[:, None]
    quotients = inverse @ gram(u, Tu).detach() @ inverse.T
    from_operator = -2 * (scale * inverse * gram(u, Tu.detach())).sum()
    coefficients = 2 * scale * (quotients.tril() @ inverse)
    # The ridge makes the diagonal of the factorised matrix (1 + ridge) Σ_kk.
    coefficients.diagonal().mul_(1 + ridge)
    weights = coefficients[*pairs]
    # J is that of all processes, each of which adds its share to the gradient, in proportion to its rows.
    from_metric = sum(
        (parameter * torch.tensordot(weights.to(mean.dtype), mean, dims=1)).sum()
        for parameter, mean in zip(parameters, state["jacobian"], strict=True)
    ) * (len(u) / n_rows(len(u)))
    # Only the gradient of the two parts is meant: their values say nothing.
    surrogate = from_operator + from_metric
    return surrogate - surrogate.detach() - quotients.trace(), state


def _averaged(
    state: State, overlaps: Tensor, pairs: Tensor, parameters: Sequence[torch.nn.Parameter], decay: float
) -> State:
    """The state with ⟨u_k, sg u_b⟩ of one more batch (L, L), and its derivatives for these pairs, in the averages."""
    # One backward pass for each pair, as not every operator's derivatives can be batched.
    rows = [
        torch.autograd.grad(overlap, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        for overlap in overlaps[*pairs]
    ]
    newest = [overlaps.detach(), *(total(torch.stack(parameter_rows)) for parameter_rows in zip(*rows, strict=True))]
    n_batches = state.get("n_batches", 0) + 1
    if n_batches > 1:
        rate = max(decay, 1 / n_batches)
        means = (state["covariance"], *state["jacobian"])
        newest = [mean.lerp(part, rate) for mean, part in zip(means, newest, strict=True)]
    return {"covariance": newest[0], "jacobian": newest[1:], "n_batches": n_batches}


def _inverse_cholesky(covariance: Tensor, ridge: float) -> Tensor:
    """L⁻¹, lower triangular (L, L), of the regularised covariance."""
    factor = cholesky(covariance.detach(), ridge)
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)
