"""Retrieval of photographs by sketches of classes never seen, with the canonical dependence kernel.

    python -m analysis.experiments.retrieval --quick        # about 5 minutes on one core
    python -m analysis.experiments.retrieval                # about 10 minutes on one core
    python -m analysis.experiments.retrieval --published --sketchy FOLDER    # for a GPU

A pair is a sketch x and a photograph y drawn independently from the same class, k(x, y) = p(x, y)/(p(x) p(y)) =
1 + Σ σ_i φ_i(x) ψ_i(y); learned are the leading functions, on some classes, and ranked are photographs of the other
classes by ⟨f(x), g(y)⟩, without the constant. The data are drawn from matplotlib's fonts, 125 classes as Sketchy has
(`analysis.experiments.glyphs`); with --sketchy they are Sketchy Extended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from analysis.benchmarks.study import Row
from analysis.experiments import glyphs, retrieval_report
from analysis.experiments.experiment import PUBLISHED, QUICK, STANDARD, arguments, collect, device
from analysis.experiments.image_files import Modalities, held_out, sketchy
from analysis.experiments.retrieval_report import CCA, NESTED, UNNESTED
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.operators import transfer
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz

NAME = "retrieval"
DRAWN = "drawn"
"""Split of the glyphs: 21 classes drawn by the seed."""
N_HELD_OUT = 21
OBJECTIVES = {NESTED: "joint", UNNESTED: "low-rank"}
RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Of linear CCA, in units of the mean variance of a pixel."""
SUBSETS = 3
"""Random subsets of un-nested dimensions that a score is the mean of."""
READ_OFF = 8192
SKETCHY_SIZE = 32
AT_ONCE = 512
"""Queries whose gallery is ranked in one go."""


class Setting(NamedTuple):
    hidden: tuple[int, ...]
    n_dimensions: int
    batch_size: int
    n_steps: int
    learning_rate: float
    n_images: int
    """Glyphs of every class and modality."""
    n_queries: int
    n_gallery: int
    """At most so many sketches and photographs of every class that is not trained on."""

    @property
    def kept(self) -> list[int]:
        """Numbers of dimensions that are tried: powers of two."""
        return [2**i for i in range(self.n_dimensions.bit_length())]


SETTINGS = {
    QUICK: Setting((256, 256), 256, 512, 400, 2e-3, 100, 30, 100),
    STANDARD: Setting((256, 256), 256, 512, 800, 2e-3, 200, 30, 120),
    PUBLISHED: Setting((8192,), 512, 4096, 150, 1e-3, 500, 10**6, 10**6),
}


@dataclass(frozen=True)
class Classes:
    """Images of one modality, (n, d), class after class."""

    images: Tensor
    counts: Tensor
    """(classes,): images of each."""

    @classmethod
    def of(cls, several: Sequence[Tensor], to: torch.device) -> "Classes":
        return cls(torch.cat(list(several)).to(to), torch.tensor([len(some) for some in several], device=to))

    @cached_property
    def labels(self) -> Tensor:
        return torch.arange(len(self.counts), device=self.counts.device).repeat_interleave(self.counts)

    def draw(self, label: Tensor, generator: torch.Generator) -> Tensor:
        """One image of each of these classes."""
        uniform = torch.rand(len(label), generator=generator, device=label.device, dtype=torch.float64)
        starts = self.counts.cumsum(0) - self.counts
        return self.images[starts[label] + (uniform * self.counts[label]).long()]

    def means(self) -> np.ndarray:
        """(classes, d)."""
        return np.stack([part.double().mean(dim=0).cpu().numpy() for part in self.images.split(self.counts.tolist())])

    def centred(self, like: "Classes") -> "Classes":
        """Less the mean image of others, in units of their pixels' spread."""
        mean = like.images.mean(dim=0)
        return Classes((self.images - mean) / (like.images - mean).std(), self.counts)


class Task(NamedTuple):
    """Sketches and photographs of the classes that are trained on, and of those that are not."""

    sketches: Classes
    photos: Classes
    queries: Classes
    gallery: Classes

    def draw(self, n: int, generator: torch.Generator) -> Batch:
        """Pairs: a class, and an image of it in either modality, independently."""
        label = torch.randint(len(self.sketches.counts), (n,), generator=generator, device=generator.device)
        return Batch(self.sketches.draw(label, generator), self.photos.draw(label, generator))


def task(case: Row, setting: Setting) -> Task:
    """The data of a case."""
    if case["data"] == "glyphs":
        generator = torch.Generator().manual_seed(case["seed"])
        data = drawn(setting.n_images, generator)
        unseen = torch.randperm(len(data.classes), generator=generator)[:N_HELD_OUT].tolist()
    else:
        data = sketchy(Path(case["data"]), SKETCHY_SIZE)
        unseen = held_out(data.classes, case["split"])
    seen = sorted(set(range(len(data.classes))) - set(unseen))
    parts = []
    for images, most in ((data.sketches, setting.n_queries), (data.photos, setting.n_gallery)):
        train = Classes.of([images[i] for i in seen], device())
        parts.append((train.centred(train), Classes.of([images[i][:most] for i in unseen], device()).centred(train)))
    (sketches, queries), (photos, gallery) = parts
    return Task(sketches, photos, queries, gallery)


def drawn(n_images: int, generator: torch.Generator) -> Modalities:
    """So many glyphs of every class in both modalities."""
    labels = torch.arange(len(glyphs.CHARACTERS)).repeat_interleave(n_images)
    sketches, photos = (glyphs.images(part, labels, generator).split(n_images) for part in ("sketch", "photo"))
    return Modalities(tuple(glyphs.CHARACTERS), sketches, photos)


def measure(case: Row, checkpoint: Path | None = None) -> list[Row]:
    """Scores of one method with one seed, for every number of dimensions."""
    setting = SETTINGS[case["setting"]]
    data = task(case, setting)
    relevant = data.queries.labels[:, None] == data.gallery.labels
    embedded = (
        linear(data, setting.n_dimensions) if case["embedding"] == CCA else learned(data, case, setting, checkpoint)
    )
    rows = []
    for how, n_kept, pairs in embedded:
        scores = [precision(f, g, relevant) for f, g in pairs]
        rows.append({"kept": how, "dimensions": n_kept, **{name: _mean(scores, name) for name in scores[0]}})
    sizes = {"gallery": relevant.shape[1], "relevant": int(relevant.sum()) / len(relevant)}
    return [{**row, "unseen classes": len(data.queries.counts), **sizes} for row in rows]


def _mean(scores: list[dict[str, float]], name: str) -> float:
    return sum(score[name] for score in scores) / len(scores)


Embedded = Iterator[tuple[str, int, list[tuple[Tensor, Tensor]]]]
"""How dimensions are chosen, their number, and embeddings (Q, k) and (G, k): of several choices."""


def learned(data: Task, case: Row, setting: Setting, checkpoint: Path | None) -> Embedded:
    """Of networks that were trained, as they are: the leading dimensions, or random ones; and by Rayleigh–Ritz."""
    generator = torch.Generator(device()).manual_seed(case["seed"])
    torch.manual_seed(case["seed"])
    networks = [network(part.images.shape[1], setting) for part in (data.sketches, data.photos)]
    spectrum = learn_spectrum(
        transfer, FreshSamples(data.draw, device()), networks[0], [data.draw(READ_OFF, generator)],
        right_network=networks[1], objective=OBJECTIVES[case["embedding"]], n_steps=setting.n_steps,
        batch_size=setting.batch_size, learning_rate=setting.learning_rate, seed=case["seed"], checkpoint=checkpoint,
    )  # fmt: skip
    with torch.no_grad():
        f, g = (
            side(part.images.double()).float()
            for side, part in zip(spectrum.sides.distinct, (data.queries, data.gallery), strict=True)
        )
    order = torch.Generator().manual_seed(case["seed"])
    for k in setting.kept:
        if case["embedding"] == NESTED:
            yield "leading", k, [(f[:, :k], g[:, :k])]
        else:
            subsets = [torch.randperm(setting.n_dimensions, generator=order)[:k] for _ in range(SUBSETS)]
            yield "random", k, [(f[:, some], g[:, some]) for some in subsets]
    left = torch.tensor(spectrum.functions(data.queries.images.cpu().numpy()) * spectrum.values).float()
    right = torch.tensor(spectrum.right_functions(data.gallery.images.cpu().numpy())).float()
    for k in setting.kept:
        yield "by Rayleigh–Ritz", k, [(left[:, :k], right[:, :k])]


def network(n_inputs: int, setting: Setting) -> nn.Module:
    return CommonTrunk(n_inputs, setting.n_dimensions, setting.hidden)


def linear(data: Task, n_dimensions: int) -> Embedded:
    """Canonical correlation analysis of pixels; its cross-covariance is that of all pairs of a class, exactly."""
    sides = (data.sketches, data.photos)
    means = [np.hstack((np.ones((len(part.counts), 1)), part.means())) for part in sides]
    grams = [_second_moments(part) for part in sides]
    cross = means[0].T @ means[1] / len(means[0])
    for ridge in RIDGES:
        a, c = (gram + ridge * np.diag(gram)[1:].mean() * np.diag([0.0, *np.ones(len(gram) - 1)]) for gram in grams)
        spectrum = rayleigh_ritz((a, cross, c), tied=False)
        left, right = (
            torch.tensor(
                (np.hstack((np.ones((len(part.images), 1)), part.images.cpu().numpy())) @ functions).astype(np.float32)
            )
            for part, functions in ((data.queries, spectrum.left * spectrum.values), (data.gallery, spectrum.right))
        )
        for k in (2**i for i in range(n_dimensions.bit_length())):
            yield f"ridge {ridge:g}", k, [(left[:, :k], right[:, :k])]


def _second_moments(part: Classes) -> np.ndarray:
    """Of [1, pixels], every class with the same weight."""
    total: Any = 0
    for images in part.images.split(part.counts.tolist()):
        functions = np.hstack((np.ones((len(images), 1)), images.double().cpu().numpy()))
        total = total + functions.T @ functions / len(images)
    return total / len(part.counts)


def precision(left: Tensor, right: Tensor, relevant: Tensor, n_first: int = 100) -> dict[str, float]:
    """Mean average precision, and precision among the first, of galleries ranked by ⟨f(x), g(y)⟩.

    With p_r the share of relevant ones among the first r, average precision is the mean of p_r over the ranks r of the
    relevant ones; interpolated, of the largest p_s with s ≥ r (Manning, Raghavan, Schütze, "Introduction to information
    retrieval", 2008, section 8.4).

    Parameters
    ----------
    left, right : Tensor (Q, k) and (G, k)
    relevant : Tensor (Q, G) of bool
    """
    right, relevant = right.to(left.device), relevant.to(left.device)
    ranks = torch.arange(1, len(right) + 1, device=left.device, dtype=torch.float64)
    sums = torch.zeros(3, dtype=torch.float64)
    for some, those in zip(left.split(AT_ONCE), relevant.split(AT_ONCE), strict=True):
        order = (some @ right.T).argsort(dim=1, descending=True, stable=True)
        hits = those.gather(1, order).double()
        precisions = hits.cumsum(1) / ranks
        best = precisions.flip(1).cummax(1).values.flip(1)
        parts = [(hits * p).sum(1) / hits.sum(1) for p in (precisions, best)] + [hits[:, :n_first].mean(1)]
        sums += torch.stack([part.sum().cpu() for part in parts])
    return dict(zip(retrieval_report.SCORES, (sums / len(left)).tolist(), strict=True))


def main() -> None:
    options = arguments(
        __doc__, {STANDARD: 10, QUICK: 10, PUBLISHED: 10}, data={"--sketchy": "Sketchy Extended, instead of the glyphs"}
    )
    where: list[Row] = [{"data": "glyphs", "split": DRAWN}]
    if options.sketchy:
        where = [{"data": str(options.sketchy), "split": split} for split in (1, 2)]
    cases = [
        {**place, "embedding": embedding, "seed": seed, "setting": options.setting}
        for place in where
        for seed in options.seeds
        for embedding in (NESTED, UNNESTED, CCA)
    ]
    rows = collect(NAME, options, cases, measure)
    setting = SETTINGS[options.setting]
    retrieval_report.write_report(NAME, options, rows, setting._asdict(), drawn(2, torch.Generator().manual_seed(0)))


if __name__ == "__main__":
    main()
