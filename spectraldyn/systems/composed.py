"""Systems made of others, whose spectra follow exactly: sums of independent parts, changes of coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectraldyn.errors import InputError
from spectraldyn.systems.grids import Domain, checked_domain
from spectraldyn.systems.overdamped import Overdamped, gradient_of
from spectraldyn.systems.spectrum import IndependentParts


@dataclass(frozen=True, eq=False)
class Separable(IndependentParts[Overdamped]):
    """U(x) = Σ_k U_k(x_k): independent parts, each an `Overdamped` system of its own coordinates.

    Eigenvalues are sums, and eigenfunctions products, of those of the parts: exact answers in any dimension.

    Raises
    ------
    InputError
        If there are no parts or they differ in inverse temperature or in being periodic.
    """

    parts: tuple[Overdamped, ...]  # their coordinates follow each other
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.parts:
            raise InputError("a Separable system needs at least one part")
        for name in ("beta", "periodic"):
            values = sorted({getattr(part, name) for part in self.parts})
            if len(values) > 1:
                raise InputError(f"the parts of a Separable system must agree in {name}, and here it is {values}")

    @property
    def beta(self) -> float:
        return self.parts[0].beta

    @property
    def diffusion(self) -> float | Callable[[Tensor], Tensor]:
        """D where all parts share one number, else a function to diagonal matrices: (..., d) → (..., d, d)."""
        first = self.parts[0].diffusion
        if callable(first) or any(part.diffusion != first for part in self.parts):
            return self._diffusion_matrix
        return first

    def energy(self, x: Tensor) -> Tensor:
        """U at x (..., d); shape (...)."""
        return torch.stack([part.energy(x[..., own]) for part, own in self.columns]).sum(dim=0)

    def force(self, x: Tensor) -> Tensor:
        """−∇U at x (..., d); shape (..., d)."""
        return torch.cat([part.force(x[..., own]) for part, own in self.columns], dim=-1)

    def drift(self, x: Tensor) -> Tensor:
        """Itô drift at x (..., d); shape (..., d)."""
        return torch.cat([part.drift(x[..., own]) for part, own in self.columns], dim=-1)

    def rates(self, n: int) -> np.ndarray:
        """Slowest n nonzero rates −λ, ascending."""
        return self.lowest(n + 1)[1:]

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Eigenfunctions of the n slowest nonzero rates at points (m, d), orthonormal at equilibrium; shape (m, n)."""
        return self.lowest_functions(points, n + 1)[:, 1:]

    def sample(self, n: int, seed: int, beta: float | None = None) -> np.ndarray:
        """Independent draws (n, d) from e^{−βU}, by default at the inverse temperature of the system."""
        return np.hstack([part.sample(n, own, beta) for part, own in zip(self.parts, self._seeds(seed), strict=True)])

    def simulate(
        self, n_frames: int, spacing: float, *, seed: int, start: np.ndarray | None = None, **options: Any
    ) -> np.ndarray:
        """Every part by itself, with its own default step; all arguments as those of `Overdamped.simulate`."""
        starts = [None if start is None else start[:, own] for _, own in self.columns]
        parts = zip(self.parts, self._seeds(seed), starts, strict=True)
        walks = [part.simulate(n_frames, spacing, seed=own, start=first, **options) for part, own, first in parts]
        return np.concatenate(walks, axis=2)

    def default_timestep(self) -> float:
        return min(part.default_timestep() for part in self.parts)

    def _seeds(self, seed: int) -> list[int]:
        return [int(stream.generate_state(1)[0]) for stream in np.random.SeedSequence(seed).spawn(len(self.parts))]

    def _diffusion_matrix(self, x: Tensor) -> Tensor:
        diagonal = torch.empty_like(x)
        for part, own in self.columns:
            diagonal[..., own] = part.diffusion(x[..., own])[..., None] if callable(part.diffusion) else part.diffusion
        return torch.diag_embed(diagonal)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A system seen through a smooth invertible map y = φ(x): the same rates, eigenfunctions ψ(φ⁻¹(y)).

    In the new coordinates the energy is U(x) + ln|det J(x)| / β with J = ∂φ/∂x, and the diffusion the matrix J D Jᵀ.
    """

    latent: Overdamped | Separable
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    """forward and inverse: (..., d) → Tensor (..., d): φ and φ⁻¹. Only φ is differentiated."""
    domain: Domain  # sequence of (low, high): a box that holds practically all of the equilibrium distribution of y
    description: str = ""
    jacobian: Callable[[Tensor], Tensor] | None = None
    """(..., d) → Tensor (..., d, d): J, where automatic differentiation, one pass per coordinate, would be slow."""
    periodic = False  # a map that keeps the ends together is not provided for

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", checked_domain(self.domain))
        if self.dimension != self.latent.dimension:
            raise InputError(f"domain has {self.dimension} axes, but the latent system {self.latent.dimension}")

    @property
    def dimension(self) -> int:
        return len(self.domain)

    @property
    def beta(self) -> float:
        return self.latent.beta

    def energy(self, y: Tensor) -> Tensor:
        """U(x) + ln|det J(x)| / β at y (..., d); shape (...)."""
        with torch.no_grad():
            solved = self.inverse(y)
            jacobian = self._jacobian(solved)
        # φ⁻¹ is not differentiated through its iterations: its derivative is J⁻¹.
        x = solved + torch.linalg.solve(jacobian, (y - y.detach())[..., None])[..., 0]
        return self.latent.energy(x) + torch.linalg.slogdet(self._jacobian(x)).logabsdet / self.beta

    def force(self, y: Tensor) -> Tensor:
        """−∇U at y (..., d); shape (..., d)."""
        return -gradient_of(self.energy, y)

    def diffusion(self, y: Tensor) -> Tensor:
        """J D Jᵀ at y (..., d); shape (..., d, d)."""
        x = self.inverse(y)
        jacobian = self._jacobian(x)
        inner = self.latent.diffusion
        scale = inner(x) if callable(inner) else torch.tensor(inner, dtype=y.dtype)
        if scale.ndim <= x.ndim - 1:
            scale = scale[..., None, None] * torch.eye(self.dimension, dtype=y.dtype)
        return jacobian @ scale @ jacobian.transpose(-1, -2)

    def rates(self, n: int) -> np.ndarray:
        """Slowest n nonzero rates −λ, ascending: those of the latent system."""
        return self.latent.rates(n)

    def eigenfunctions(self, points: np.ndarray, n: int) -> np.ndarray:
        """Eigenfunctions of the n slowest nonzero rates at points (m, d), orthonormal at equilibrium; shape (m, n)."""
        return self.latent.eigenfunctions(self._apply(self.inverse, points), n)

    def sample(self, n: int, seed: int, beta: float | None = None) -> np.ndarray:
        """Independent equilibrium draws (n, d)."""
        # At another β draws of x do not give draws of y, as the energy holds ln|det J| / β.
        if beta not in (None, self.beta):
            raise InputError(f"a Mapped system is drawn at its own beta ({self.beta:g}) only, not at {beta!r}")
        return self._apply(self.forward, self.latent.sample(n, seed))

    def simulate(self, n_frames: int, spacing: float, *, start: np.ndarray | None = None, **options: Any) -> np.ndarray:
        """Walkers of the latent system, mapped; all arguments as those of `Overdamped.simulate`."""
        first = None if start is None else self._apply(self.inverse, start)
        return self._apply(self.forward, self.latent.simulate(n_frames, spacing, start=first, **options))

    def default_timestep(self) -> float:
        return self.latent.default_timestep()

    def _apply(self, function: Callable[[Tensor], Tensor], points: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(torch.from_numpy(np.asarray(points, dtype=np.float64))).numpy()

    def _jacobian(self, x: Tensor) -> Tensor:
        """∂φ/∂x at x (..., d); shape (..., d, d)."""
        if self.jacobian is not None:
            return self.jacobian(x)
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_(True)
            components = self.forward(at).unbind(-1)
            rows = [torch.autograd.grad(y.sum(), at, create_graph=True, materialize_grads=True)[0] for y in components]
        jacobian = torch.stack(rows, dim=-2)
        return jacobian if x.requires_grad else jacobian.detach()
