"""PaiNN: messages of scalars and vectors over the pairs of atoms within a cut-off."""

import math

import torch
from torch import Tensor, nn

from spectraldyn.networks.pairs import Pairs

TINY = 1e-8
"""Added to squared norms, whose root has no derivative at 0 otherwise."""


class Message(nn.Module):
    """What atoms take from their neighbours: Σ_j φ(s_j) ∘ w(d_ij), for vectors along v_j and along r_ij."""

    def __init__(self, width: int, n_radial: int):
        super().__init__()
        self.values = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.filters = nn.Linear(n_radial, 3 * width)

    def forward(self, s: Tensor, v: Tensor, radial: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        weights = self.filters(radial) * pairs.cutoff[:, None]
        values, to_s, to_v = self.values(s), torch.zeros_like(s), torch.zeros_like(v)
        for here, there, sign in ((pairs.first, pairs.second, 1.0), (pairs.second, pairs.first, -1.0)):
            scalars, scales, directed = (values[there] * weights).chunk(3, dim=1)
            direction = (sign * pairs.direction)[:, :, None]
            to_s = to_s.index_add(0, here, scalars)
            to_v = to_v.index_add(0, here, scales[:, None] * v[there] + directed[:, None] * direction)
        return s + to_s, v + to_v


class Update(nn.Module):
    """What an atom makes of its scalars and vectors, by linear maps of vectors, their norms and their products."""

    def __init__(self, width: int):
        super().__init__()
        self.vectors = nn.Linear(width, 2 * width, bias=False)
        self.mixing = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.vectors(v).chunk(2, dim=2)
        norm = (right.square().sum(dim=1) + TINY).sqrt()
        of_vectors, of_products, of_scalars = self.mixing(torch.cat((s, norm), dim=1)).chunk(3, dim=1)
        return s + of_products * (left * right).sum(dim=1) + of_scalars, v + of_vectors[:, None] * left


class PaiNN(nn.Module):
    """Features of atoms from distances and directions to their neighbours; in the end only scalars are kept.

    Parameters
    ----------
    n_kinds, width, n_blocks, n_radial, cutoff_nm
        See `spectraldyn.networks.encoders.Encoding`.

    References
    ----------
    Schütt, Unke, Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular
    spectra", ICML 2021 (arXiv:2102.03150).
    """

    frequencies: Tensor

    def __init__(self, n_kinds: int, width: int, n_blocks: int, n_radial: int, cutoff_nm: float):
        super().__init__()
        self.embedding = nn.Embedding(n_kinds, width)
        self.messages = nn.ModuleList(Message(width, n_radial) for _ in range(n_blocks))
        self.updates = nn.ModuleList(Update(width) for _ in range(n_blocks))
        frequencies = math.pi / cutoff_nm * torch.arange(1, n_radial + 1, dtype=torch.get_default_dtype())
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, kinds: Tensor, pairs: Pairs) -> Tensor:
        """(n_atoms, width) from the kinds of the atoms of all frames, (n_atoms,)."""
        distance = pairs.distance[:, None]
        radial = torch.sin(self.frequencies * distance) / distance
        s = self.embedding(kinds)
        v = s.new_zeros(len(s), 3, s.shape[1])
        for message, update in zip(self.messages, self.updates, strict=True):
            s, v = update(*message(s, v, radial, pairs))
        return s
