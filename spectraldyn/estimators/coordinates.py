"""What networks on coordinates begin with: features of a trained encoder, or plain ones where these do as well."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data import Dataset, PairSamples
from spectraldyn.data.samples import MAX_SCORED, evenly_picked
from spectraldyn.errors import InputError
from spectraldyn.learning.ensemble import Member
from spectraldyn.learning.warm_start import slow_coordinates
from spectraldyn.networks import ENCODERS, MOST_ATOMS, PLAIN, EncodedWhitening, Encoder, Encoding, Whitening
from spectraldyn.processes import agree_on

ENCODED, SCALED = "encoded", "scaled"
"""What a network is trained for: its encoder, or itself."""
MOST_SCORED = 2500
"""Pairs of either part that the training of an encoder is stopped by: what an encoder gives takes a hundred times as
long to compute as what the hidden layers make of it."""
MOST_WHITENED = 100_000
"""Pairs, those held out among them, by which features are whitened in the end. What is slow is told by other pairs, to
which whitening by few does not apply: among hundreds of features that would pass noise off as slow."""
NOISE = 0.05
"""Of the features of an encoder that is to be trained; see `EncodedWhitening.by`."""


@dataclass(frozen=True)
class Encoded:
    """Slow coordinates of features of the coordinates."""

    before: EncodedWhitening
    scales: Tensor
    """before and scales: see `slow_coordinates`."""
    samples: PairSamples
    """Of the first network, with their rows in these coordinates."""
    member: Member | None = None
    """The first network, where it had to be trained for the choice."""

    @property
    def encoding(self) -> Encoding:
        """Of what was chosen."""
        return self.before.encoder.encoding


def encoding_of(data: Dataset, encoder: str | None) -> Encoding | None:
    """What stands before the hidden layers where the data are coordinates.

    Raises
    ------
    InputError
        If there is no such encoder, or none for these data.
    """
    if data.atoms is None:
        if encoder is not None:
            raise InputError(
                f"encoder {encoder!r} is for coordinates of atoms, and the data are not said to be any: load "
                "them with features 'coordinates', or give a Dataset with `atoms`"
            )
        return None
    encoder = encoder or "schnet"
    if encoder not in (known := (*ENCODERS, PLAIN)):
        raise InputError(f"encoder {encoder!r} is unknown: choose one of {', '.join(known)}")
    atoms = data.atoms
    encoding = Encoding(encoder, atoms.kinds, atoms.boxed, torsions=atoms.torsions, landmarks=atoms.landmarks)
    if encoder == PLAIN and encoding.plain is None:
        raise InputError(
            f"encoder {PLAIN!r} takes torsion angles, of which these {len(atoms.kinds)} atoms have none along "
            f"bonds, or the distances of at most {MOST_ATOMS} atoms: choose one of {', '.join(ENCODERS)}"
        )
    return encoding


def encoded(
    asked: Encoding, seed: int, split: PairSamples, train: Callable[[Whitening, PairSamples, str], Member], choose: bool
) -> Encoded:
    """Features of a trained encoder beside the plain ones; or, to choose from, the latter alone.

    These are taken where a network on them does as well on held-out pairs: where pairs are few, an encoder soon knows
    them by heart.

    Parameters
    ----------
    asked : Encoding
    seed : int
        Of the encoder's initial weights.
    split : PairSamples
        Of the first network.
    train : callable
        Given inputs, samples, and what for, perhaps with a name behind a hyphen, trains a network.
    choose : bool
    """
    found = []
    for encoding in dict.fromkeys((asked.plain, asked) if choose and len(split.test) else (asked,)):
        if encoding is None:
            continue
        encoder = encoding.build(seed).to(split.device)
        if encoder.n_trained:
            _train(encoder, split, train)
        before, scales = _slow_features(encoder, split)
        agree_on([*before.buffers(), scales])
        found.append(Encoded(before, scales, replace(split, rows=split.rows.mapped(before))))
    if len(found) == 1:
        return found[0]
    members = [
        train(
            Whitening.none(one.before).followed_by(torch.diag(one.scales)),
            one.samples,
            f"{SCALED}-{one.encoding.encoder}",
        )
        for one in found
    ]
    best = int(np.argmax([member.score for member in members]))
    return replace(found[best], member=members[best])


def _train(encoder: Encoder, split: PairSamples, train: Callable[[Whitening, PairSamples, str], Member]) -> None:
    """Under a network of its own, which begins with what is slow among the features that it gives untrained."""
    inputs, scales = _slow_features(encoder, split, NOISE)
    with_scales = inputs.followed_by(torch.diag(scales))
    agree_on([*encoder.parameters(), with_scales.mean, with_scales.matrix])
    train(with_scales, replace(split, most_scored=MOST_SCORED), ENCODED)


def _slow_features(encoder: Encoder, split: PairSamples, noise: float = 0.0) -> tuple[EncodedWhitening, Tensor]:
    """Slow coordinates of what an encoder gives, and their scales."""
    some = evenly_picked(torch.cat((split.train, split.test)), MAX_SCORED if noise else MOST_WHITENED)
    whitening = EncodedWhitening.by(encoder, (split.batch(rows).x for rows in some), noise)
    coordinates, scales = slow_coordinates(whitening, split)
    return cast(EncodedWhitening, coordinates), scales
