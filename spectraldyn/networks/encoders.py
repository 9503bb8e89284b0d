"""From coordinates of atoms to features that do not change with rotation, translation, or exchange of like atoms."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import torch
from torch import Tensor, nn

from spectraldyn.networks.derivatives import Jet, propagate
from spectraldyn.networks.painn import PaiNN
from spectraldyn.networks.pairs import distances, pairs_within, torsions
from spectraldyn.networks.schnet import SchNet
from spectraldyn.networks.whitening import Whitening

ENCODERS: dict[str, type[SchNet] | type[PaiNN]] = {"schnet": SchNet, "painn": PaiNN}
PLAIN = "plain"
"""In place of an encoder: torsion angles and distances alone."""
MOST_OUTPUTS, MOST_PER_KIND = 256, 8
"""Features of all kinds of atoms together, unless there are more kinds, and of each."""
MOST_ATOMS = 64
"""Between which all distances are features, too."""
ATOMS_AT_ONCE = 2**14
"""Atoms, in as many frames as it takes, that are looked at together where no gradient is asked for."""


@dataclass(frozen=True)
class Encoding:
    """What an encoder is built from; plain values, as models remember them."""

    encoder: str
    """Name in `ENCODERS`, or `PLAIN`."""
    kinds: tuple[str, ...]
    boxed: bool
    """kinds and boxed, as torsions and landmarks: of `spectraldyn.data.Atoms`."""
    cutoff_nm: float = 0.6
    """Atoms farther apart do not see each other."""
    width: int = 16
    """Features of an atom."""
    n_blocks: int = 2
    """Interactions, one after the other."""
    n_radial: int = 12
    """Functions in which distances are expanded."""
    torsions: tuple[tuple[int, int, int, int], ...] = ()
    landmarks: tuple[int, ...] = ()

    @property
    def apart(self) -> tuple[int, ...]:
        """Places of the atoms whose distances are features: the landmarks, or all where there are no torsions."""
        chosen = self.landmarks if self.torsions else range(len(self.kinds))
        return tuple(chosen) if 2 <= len(chosen) <= MOST_ATOMS else ()

    @property
    def trained(self) -> bool:
        """Whether there is a network in it."""
        return self.encoder != PLAIN

    @property
    def plain_in_words(self) -> str:
        """What the plain features are, in words; "" where there are none."""
        return " and ".join(["torsion angles"] * bool(self.torsions) + ["distances"] * bool(self.apart))

    @property
    def n_columns(self) -> int:
        """Columns that it takes: x, y, z of every atom, and three box vectors where frames have a box."""
        return 3 * len(self.kinds) + 9 * self.boxed

    @property
    def per_kind(self) -> int:
        """Features of every kind of atom."""
        return max(1, min(MOST_PER_KIND, MOST_OUTPUTS // len(set(self.kinds))))

    @property
    def plain(self) -> "Encoding | None":
        """The one without a network, where atoms have torsion angles or are few."""
        return replace(self, encoder=PLAIN) if self.torsions or self.apart else None

    def build(self, seed: int) -> "Encoder":
        """A fresh one. The random state of torch is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Encoder(self)


class Encoder(nn.Module):
    """Coordinates (B, n_columns) → features (B, k): those of the atoms, averaged over the atoms of each kind.

    Averages over all atoms at once, which serve for energies, would leave little of a conformation. What
    `PlainFeatures` gives comes behind; in what is slow among these training begins.
    """

    kinds: Tensor
    counts: Tensor

    def __init__(self, encoding: Encoding):
        super().__init__()
        self.encoding = encoding
        place = {kind: number for number, kind in enumerate(dict.fromkeys(encoding.kinds))}
        numbers, n_kinds = [place[kind] for kind in encoding.kinds], len(place)
        self.register_buffer("kinds", torch.tensor(numbers), persistent=False)
        self.register_buffer("counts", _counts(self.kinds), persistent=False)
        self.plain = PlainFeatures(encoding.torsions, encoding.apart, numbers)
        self.n_trained = 0
        if not encoding.trained:
            return
        width, sizes = encoding.width, (encoding.n_blocks, encoding.n_radial, encoding.cutoff_nm)
        self.atoms = ENCODERS[encoding.encoder](n_kinds, width, *sizes)
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, encoding.per_kind))
        self.n_trained = n_kinds * encoding.per_kind

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.counts.dtype)
        n_atoms = len(self.kinds)
        step = max(1, ATOMS_AT_ONCE // n_atoms)
        if not torch.is_grad_enabled() and len(x) > step:
            return torch.cat([self(some) for some in x.split(step)])
        xyz = x[:, : 3 * n_atoms].unflatten(1, (n_atoms, 3))
        box = x[:, 3 * n_atoms :].unflatten(1, (3, 3)) if self.encoding.boxed else None
        plain = self.plain(xyz, box)
        return torch.cat((self._learned(xyz, box), plain), dim=1) if self.n_trained else plain

    def _learned(self, xyz: Tensor, box: Tensor | None) -> Tensor:
        pairs = pairs_within(self.encoding.cutoff_nm, xyz, box)
        of_atoms = self.readout(self.atoms(self.kinds.repeat(len(xyz)), pairs)).unflatten(0, xyz.shape[:2])
        return _averaged(of_atoms, self.kinds, self.counts).flatten(1)


class PlainFeatures(nn.Module):
    """Cosines and sines of torsion angles, averaged over those of the same four kinds of atoms, and distances between
    some atoms, over those of the same two.

    Parameters
    ----------
    quadruples : sequence of (int, int, int, int)
        Places of the atoms of the torsions.
    apart : sequence of int
        Places of the atoms between which distances are taken.
    kinds : list of int
        Of all atoms.
    """

    quadruples: Tensor
    apart: Tensor
    torsion_kinds: Tensor
    torsion_counts: Tensor
    pair_kinds: Tensor
    pair_counts: Tensor

    def __init__(self, quadruples: Sequence[tuple[int, ...]], apart: Sequence[int], kinds: list[int]):
        super().__init__()
        pairs = list(combinations(apart, 2))
        buffers = {
            "quadruples": torch.tensor(quadruples, dtype=torch.long).reshape(-1, 4).T,
            "apart": torch.tensor(apart, dtype=torch.long),
            "torsion_kinds": _numbered(quadruples, kinds),
            "pair_kinds": _numbered(pairs, kinds),
        }
        buffers["torsion_counts"], buffers["pair_counts"] = map(
            _counts, (buffers["torsion_kinds"], buffers["pair_kinds"])
        )
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, xyz: Tensor, box: Tensor | None) -> Tensor:
        angles = _averaged(torsions(xyz, self.quadruples, box), self.torsion_kinds, self.torsion_counts)
        lengths = _averaged(distances(xyz[:, self.apart], box), self.pair_kinds, self.pair_counts)
        return torch.cat((angles.flatten(1), lengths), dim=1)


def _counts(kinds: Tensor) -> Tensor:
    """How many there are of each kind, as a number to divide by."""
    return kinds.bincount().to(torch.get_default_dtype())


def _numbered(places: Sequence[tuple[int, ...]], kinds: list[int]) -> Tensor:
    """Number of the kind of every tuple of atoms, read from either end; numbered as they come."""
    of_atoms = (tuple(kinds[place] for place in some) for some in places)
    both_ways = [min(own, own[::-1]) for own in of_atoms]
    number = {kind: number for number, kind in enumerate(dict.fromkeys(both_ways))}
    return torch.tensor([number[kind] for kind in both_ways], dtype=torch.long)


def _averaged(values: Tensor, kinds: Tensor, counts: Tensor) -> Tensor:
    """Averages (B, n_kinds, ...) of values (B, n, ...) over those of each kind."""
    sums = values.new_zeros(len(values), len(counts), *values.shape[2:]).index_add(1, kinds, values)
    return sums / counts.view(-1, *[1] * (values.ndim - 2))


class EncodedWhitening(Whitening):
    """Whitening of what an encoder makes of the inputs. The encoder, unlike the map behind it, is trained.

    Parameters
    ----------
    mean, matrix
        See `Whitening`.
    encoder : Encoder
    """

    def __init__(self, mean: Tensor, matrix: Tensor, encoder: Encoder):
        super().__init__(mean, matrix)
        self.encoder = encoder

    @classmethod
    @torch.no_grad()
    def by(cls, encoder: Encoder, states: Iterable[Tensor], noise: float = 0.0) -> "EncodedWhitening":
        """With the moments of what the encoder gives at some states, a batch at a time; see `Whitening.of`.

        Noise of this standard deviation counts to the features of the atoms. Features that are to be trained vary
        little before, and what magnified them all would magnify every step of the training.
        """
        outputs = (encoder(x).double() for x in states)
        first = next(outputs)
        origin = first.mean(dim=0)  # squares of what lies far from 0 would leave rounding alone
        n_states, total, squares = 0, torch.zeros_like(origin), first.new_zeros(2 * first.shape[1:])
        for some in chain((first,), outputs):
            n_states += len(some)
            total += (some - origin).sum(dim=0)
            squares += (some - origin).T @ (some - origin)
        mean = total / n_states
        covariance = squares / n_states - mean[:, None] * mean
        covariance.diagonal()[: encoder.n_trained] += noise**2
        plain = Whitening.of(origin + mean, covariance)
        return cls(plain.mean, plain.matrix, encoder)

    def followed_by(self, coordinates: Tensor) -> "EncodedWhitening":
        return EncodedWhitening(self.mean, self.matrix @ coordinates.to(self.matrix), self.encoder)

    def single(self) -> "EncodedWhitening":
        return EncodedWhitening(self.mean, self.matrix.float(), self.encoder)

    def centred(self, x: Tensor) -> Tensor:
        return super().centred(self.encoder(x))

    def propagate(self, jet: Jet) -> Jet:
        return super().propagate(propagate(self.encoder, jet))
