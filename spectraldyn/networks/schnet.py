"""SchNet: continuous-filter convolutions over the pairs of atoms within a cut-off."""

import math

import torch
from torch import Tensor, nn

from spectraldyn.networks.pairs import Pairs, gathered


class ShiftedSoftplus(nn.Module):
    """ln(½ eˣ + ½): a softplus that is 0 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x) - math.log(2)


class Interaction(nn.Module):
    """x_i + W₃ σ(W₂ Σ_j (W₁ x_j) ∘ w(d_ij)): atoms look at their neighbours through filters w of the distance alone."""

    def __init__(self, width: int, n_radial: int):
        super().__init__()
        self.filters = nn.Sequential(nn.Linear(n_radial, width), ShiftedSoftplus(), nn.Linear(width, width))
        self.before = nn.Linear(width, width, bias=False)
        self.after = nn.Sequential(nn.Linear(width, width), ShiftedSoftplus(), nn.Linear(width, width))

    def forward(self, x: Tensor, radial: Tensor, pairs: Pairs) -> Tensor:
        weights = self.filters(radial) * pairs.cutoff[:, None]
        values = self.before(x)
        return x + self.after(gathered(values, weights, pairs))


class SchNet(nn.Module):
    """Features of atoms from their distances.

    Parameters
    ----------
    n_kinds, width, n_blocks, n_radial, cutoff_nm
        See `spectraldyn.networks.encoders.Encoding`.

    References
    ----------
    Schütt, Sauceda, Kindermans, Tkatchenko, Müller, "SchNet – A deep learning architecture for molecules and
    materials", J. Chem. Phys. 148 (2018) 241722.
    """

    centres: Tensor

    def __init__(self, n_kinds: int, width: int, n_blocks: int, n_radial: int, cutoff_nm: float):
        super().__init__()
        self.embedding = nn.Embedding(n_kinds, width)
        self.blocks = nn.ModuleList(Interaction(width, n_radial) for _ in range(n_blocks))
        self.register_buffer("centres", torch.linspace(0, cutoff_nm, n_radial), persistent=False)
        self.rate = -0.5 * ((n_radial - 1) / cutoff_nm) ** 2

    def forward(self, kinds: Tensor, pairs: Pairs) -> Tensor:
        """(n_atoms, width) from the kinds of the atoms of all frames, (n_atoms,)."""
        radial = torch.exp(self.rate * (pairs.distance[:, None] - self.centres).square())
        x = self.embedding(kinds)
        for block in self.blocks:
            x = block(x, radial, pairs)
        return x
