"""Spectral inference networks: Rayleigh quotients of functions made orthonormal by Cholesky, one mode at a time.

With Σ = ⟨u_i, u_j⟩ = L Lᵀ and Π = ⟨u_i, T u_j⟩ the functions L⁻¹u are orthonormal in order (Gram–Schmidt), and
Λ = L⁻¹ Π L⁻ᵀ holds their Rayleigh quotients. Λ_kk depends on the modes j ≤ k. Mode k follows the gradient of Λ_kk
alone, with the modes before it held fixed, which makes every leading span optimal.

The derivative of Λ_kk is nonlinear in Σ, so batch estimates of it are biased. SpIN therefore keeps moving averages of
Σ and of its derivatives with respect to all parameters, whose memory is that of L² networks.

References
----------
Pfau, Petersen, Agarwal, Barrett, Stachenfeld, "Spectral inference networks: unifying deep and spectral learning",
ICLR 2019 (arXiv:1806.02215): masked gradient and Algorithm 1.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spectraldyn.linalg import gram
from spectraldyn.objectives.known import require_tied
from spectraldyn.objectives.whitening import RIDGE, cholesky
from spectraldyn.records import Action


class SpIN:
    """−tr Λ with the masked gradient; the moving averages are its attributes.

    Where mode k alone changes by du_k, then, with summation over b,

        dΛ_kk = (2 / L_kk) [ (L⁻¹)_kb ⟨du_k, T u_b⟩ − (tril(Λ) L⁻¹)_kb ⟨du_k, u_b⟩ ],

    which is E[T u uᵀ] L⁻ᵀ diag(L)⁻¹ − E[u uᵀ] L⁻ᵀ triu(Λ diag(L)⁻¹) of the paper. The first part is linear in the batch
    and left to autograd. In the second, J_kb = ⟨∂u_k/∂θ, u_b⟩ is averaged over the batches, as is the Σ behind L;
    Λ takes Π from the present batch. The gradient is unbiased as far as the averages have converged.

    Parameters
    ----------
    parameters : sequence of torch.nn.Parameter
        All that the functions depend on.
    decay : float
        Weight of the newest batch in the moving averages, which start as plain means.
    ridge : float
        See `regularised`.

    Attributes
    ----------
    covariance : Tensor (L, L) or None
        Moving average of Σ; None before the first call.
    jacobian : list of Tensor (P, ...)
        Moving average of J for every parameter, of the P pairs b ≤ k in which k is learned.
    n_batches : int
        Batches in the averages.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float = 0.01, ridge: float = RIDGE):
        self.parameters = tuple(parameters)
        self.decay = decay
        self.ridge = ridge
        self.covariance: Tensor | None = None
        self.jacobian: list[Tensor] = []
        self.n_batches = 0

    def __call__(self, action: Action) -> Tensor:
        require_tied(action)
        u, Tu = action.f, action.Tf
        learning = torch.is_grad_enabled()
        modes, before = _pairs(u.shape[1], len(action.known), u.device)
        if learning:
            self._average(gram(u, u.detach()), modes, before)
        covariance = gram(u, u) if self.covariance is None else self.covariance
        inverse = _inverse_cholesky(covariance, self.ridge)
        scale = inverse.diagonal()[:, None]
        quotients = inverse @ gram(u, Tu).detach() @ inverse.T
        value = -quotients.trace()
        if not learning:
            return value
        from_operator = -2 * (scale * inverse * gram(u, Tu.detach())).sum()
        coefficients = 2 * scale * (quotients.tril() @ inverse)
        # The ridge makes the diagonal of the factorised matrix (1 + ridge) Σ_kk.
        coefficients.diagonal().mul_(1 + self.ridge)
        weights = coefficients[modes, before]
        from_metric = sum(
            (parameter * torch.tensordot(weights.to(mean.dtype), mean, dims=1)).sum()
            for parameter, mean in zip(self.parameters, self.jacobian, strict=True)
        )
        # Only the gradient of the two parts is meant: their values say nothing.
        surrogate = from_operator + from_metric
        return value + surrogate - surrogate.detach()

    def _average(self, overlaps: Tensor, modes: Tensor, before: Tensor) -> None:
        """Take ⟨u_i, sg u_j⟩ of one batch (L, L), and its derivatives, into the averages."""
        # One backward pass for each pair, as not every operator's derivatives can be batched.
        rows = [
            torch.autograd.grad(overlap, self.parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for overlap in overlaps[modes, before]
        ]
        derivatives = [torch.stack(parameter_rows) for parameter_rows in zip(*rows, strict=True)]
        self.n_batches += 1
        if self.covariance is None:
            self.covariance = overlaps.detach().clone()
            self.jacobian = derivatives
            return
        rate = max(self.decay, 1 / self.n_batches)
        self.covariance.lerp_(overlaps.detach(), rate)
        for mean, derivative in zip(self.jacobian, derivatives, strict=True):
            mean.lerp_(derivative, rate)

    @property
    def n_bytes(self) -> int:
        """Memory of the averages: about L²/2 copies of the parameters."""
        held = [*self.jacobian] if self.covariance is None else [self.covariance, *self.jacobian]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"covariance": self.covariance, "jacobian": self.jacobian, "n_batches": self.n_batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state from `state_dict`."""
        device = self.parameters[0].device
        covariance = state["covariance"]
        self.covariance = None if covariance is None else covariance.to(device, copy=True)
        self.jacobian = [mean.to(device, copy=True) for mean in state["jacobian"]]
        self.n_batches = state["n_batches"]


def _pairs(n_modes: int, n_known: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Index pairs b ≤ k, with k learned, as two vectors k and b."""
    modes, before = torch.tril_indices(n_modes, n_modes, device=device)
    learned = modes >= n_known
    return modes[learned], before[learned]


def _inverse_cholesky(covariance: Tensor, ridge: float) -> Tensor:
    """L⁻¹, lower triangular (L, L), of the regularised covariance."""
    factor = cholesky(covariance.detach(), ridge)
    identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)
