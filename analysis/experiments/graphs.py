"""The normalised Laplacian of a graph, learned from edges drawn at random, beside scipy's sparse eigensolver.

    python -m analysis.experiments.graphs --quick        # one seed
    python -m analysis.experiments.graphs                # three seeds: what the documentation shows
    python -m analysis.experiments.graphs --published    # wider networks, more steps, for a GPU; nothing is published

An edge drawn at random, read in either direction, is a stationary pair (x, y) of the random walk P = D⁻¹A, which is
reversible with respect to the degree. The normalised Laplacian 1 − P is learned through its resolvent in the energy
space, which takes one step along one edge; the walk itself stands beside it. Nodes enter the networks by features or,
where there are none, by a table of free values.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import nn

from analysis.benchmarks.study import Row
from analysis.distances import subspace_distance
from analysis.experiments import experiment
from analysis.graphs import LENGTHS, NEIGHBOURS, Graph, OnNodes, Reference, digits, laplacian_resolvent, lattice
from analysis.problems import Table
from spectraldyn import learn_spectrum
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.networks.mlp import CommonTrunk
from spectraldyn.operators import reversible_transfer

SCORED, LEARNED = 8, 12
LATTICE, DIGITS, HELD_OUT = "lattice", "digits", "four fifths of the digits"
COORDINATES, PIXELS, TABLE = "coordinates", "pixels", "a table"
RESOLVENT, WALK = "resolvent", "walk"
NAMES = ("graph", "nodes enter by", "operator")
ERROR = "largest error (%)"
MEASURED = (ERROR, "subspace distance", "seconds")
CASES = (
    (LATTICE, COORDINATES, RESOLVENT),
    (LATTICE, COORDINATES, WALK),
    (DIGITS, PIXELS, RESOLVENT),
    (DIGITS, PIXELS, WALK),
    (DIGITS, TABLE, RESOLVENT),
    (HELD_OUT, PIXELS, RESOLVENT),
)
"""Graph, what the nodes enter the networks by, operator: the `NAMES`."""
BATCH = {COORDINATES: 1024, PIXELS: 4096, TABLE: 4096}
"""Edges at a time. A batch of many edges among few nodes costs no more than these nodes."""
RATES = {COORDINATES: 5e-3, PIXELS: 5e-3, TABLE: 0.3}
"""Learning rates. Free values have to travel as far as the functions are large, step by step."""
SHOWN_DIGITS = 3
"""Of so many digits one is shown."""


@dataclass(frozen=True)
class Setting:
    """Lengths of the lattice; steps and width of the networks by what nodes enter by."""

    lengths: tuple[int, ...]
    steps: dict[str, int]
    width: dict[str, int]


WIDTHS = {COORDINATES: 64, PIXELS: 128, TABLE: 0}
SETTINGS = {
    experiment.QUICK: Setting(LENGTHS, {COORDINATES: 3000, PIXELS: 2500, TABLE: 2500}, WIDTHS),
    experiment.STANDARD: Setting(LENGTHS, {COORDINATES: 4000, PIXELS: 4000, TABLE: 3000}, WIDTHS),
    experiment.PUBLISHED: Setting(
        (46, 36, 28, 22),
        {COORDINATES: 50_000, PIXELS: 50_000, TABLE: 50_000},
        {COORDINATES: 256, PIXELS: 512, TABLE: 0},
    ),
}


@cache
def reference(name: str, lengths: tuple[int, ...]) -> tuple[Graph, Reference]:
    """A graph of `CASES` and its exact spectrum."""
    graph = lattice(lengths) if name == LATTICE else digits(None if name == DIGITS else halves()[0])
    return graph, graph.exact(SCORED)


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Digits that are joined, four fifths, and those that are held out, as many of each class."""
    classes = load_digits().target
    joined, held_out = train_test_split(np.arange(len(classes)), test_size=0.2, random_state=0, stratify=classes)
    return np.sort(joined), np.sort(held_out)


def learn(
    graph: Graph, entry: str, operator: str, n_steps: int, width: int, seed: int, **options: Any
) -> LearnedSpectrum:
    """Joint nesting on edges drawn at random; read off, through the resolvent, from all edges."""
    torch.manual_seed(seed)
    network: nn.Module = Table(len(graph.features), LEARNED)
    if entry != TABLE:
        trunk = CommonTrunk(graph.features.shape[1], LEARNED, (width, width))
        network = OnNodes(graph.features, trunk)
    resolvent = laplacian_resolvent(graph.rate)
    return learn_spectrum(
        resolvent if operator == RESOLVENT else reversible_transfer, graph.samples(experiment.device()), network,
        graph.every_edge(), read_operator=resolvent, n_steps=n_steps, batch_size=BATCH[entry],
        learning_rate=RATES[entry], average_share=0.05, seed=seed, **options,
    )  # fmt: skip


def measure(case: Row, checkpoint: Path | None = None) -> list[Row]:
    """One training, judged by `eigsh` on the same graph."""
    graph, exact = reference(case["graph"], tuple(case["lengths"]))
    started = time.perf_counter()
    network = case["width"], case["seed"]
    spectrum = learn(graph, case["nodes enter by"], case["operator"], case["steps"], *network, checkpoint=checkpoint)
    seconds = time.perf_counter() - started
    values = graph.rate * (1 / spectrum.values[:SCORED] - 1)
    errors = 100 * (values / exact.values - 1)
    functions = spectrum.functions(exact.nodes[:, None])[:, :SCORED]
    row = {
        "nodes": len(exact.nodes),
        "directed edges": len(graph.edges),
        "learned": values.tolist(),
        "exact": exact.values.tolist(),
        ERROR: float(np.abs(errors).max()),
        "subspace distance": subspace_distance(functions, exact.functions, exact.degree),
        "seconds": seconds,
        "seconds of eigsh": exact.seconds,
    }
    if case["graph"] == HELD_OUT:
        row["accuracies"] = accuracies(spectrum, exact)
    if case["graph"] == DIGITS and case["seed"] == 0:
        row["first two"] = " ".join(f"{value:.3f}" for value in functions[::SHOWN_DIGITS, :2].ravel())
    return [row]


def accuracies(spectrum: LearnedSpectrum, exact: Reference, n_neighbours: int = 5) -> dict[str, float]:
    """Share of the held-out digits that their nearest joined ones classify, in several spaces.

    A held-out digit is put by the network where its pixels say, or, following Bengio et al. (NIPS 2003), where the mean
    of the exact eigenfunctions over its neighbours in the graph says, divided by 1 − λ.
    """
    joined, held_out = halves()
    data = load_digits()
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(data.data[joined]).kneighbors_graph(data.data[held_out])
    pca = PCA(SCORED, random_state=0).fit(data.data[joined])
    learned = spectrum.functions(np.arange(len(data.data))[:, None])[:, :SCORED]
    spaces = {
        "network": (learned[joined], learned[held_out]),
        "eigsh, extended by neighbours": (exact.functions, near @ exact.functions / NEIGHBOURS / (1 - exact.values)),
        "principal components": (pca.transform(data.data[joined]), pca.transform(data.data[held_out])),
        "pixels": (data.data[joined], data.data[held_out]),
    }
    return {
        name: float(
            KNeighborsClassifier(n_neighbours).fit(known, data.target[joined]).score(new, data.target[held_out])
        )
        for name, (known, new) in spaces.items()
    }


def summary(rows: Sequence[Row]) -> list[Row]:
    """A line for every graph, entry and operator; mean and standard deviation over seeds."""
    lines = []
    for names in CASES:
        own = _of(rows, *names)
        spread = {key: experiment.mean_and_spread([row[key] for row in own]) for key in MEASURED}
        lines.append(
            {**dict(zip(NAMES, names, strict=True)), "nodes": own[0]["nodes"], "steps": own[0]["steps"], **spread}
            | {"seconds of eigsh": own[0]["seconds of eigsh"]}
        )
    return lines


def values_table(rows: Sequence[Row]) -> list[Row]:
    """Exact eigenvalues, and the mean relative error of the learned ones in per cent."""
    own = {names: _of(rows, *names) for names in CASES if names[2] == RESOLVENT}
    lines = []
    for (graph, entry, _), some in own.items():
        learned, exact = (np.array([row[key] for row in some]) for key in ("learned", "exact"))
        cells = zip(exact[0], 100 * (learned / exact - 1).mean(axis=0), strict=True)
        lines.append(
            {"graph": f"{graph}, {entry}"} | {f"λ{i}": f"{v:.5f} ({e:+.2f} %)" for i, (v, e) in enumerate(cells, 1)}
        )
    return lines


def accuracy_table(rows: Sequence[Row]) -> list[Row]:
    """Accuracy on held-out digits by the space in which neighbours are sought."""
    found: list[dict[str, float]] = [row["accuracies"] for row in _of(rows, HELD_OUT, PIXELS, RESOLVENT)]
    return [
        {"space": space, "accuracy (%)": experiment.mean_and_spread([100 * one[space] for one in found], 3)}
        for space in found[0]
    ]


def _of(rows: Sequence[Row], *names: str) -> list[Row]:
    return [row for row in rows if tuple(row[key] for key in NAMES) == names]


def text(rows: Sequence[Row]) -> str:
    """What was measured and what came out."""
    worst = {names: max(row[ERROR] for row in _of(rows, *names)) for names in CASES}
    learned = {f"{graph}, {entry}": worst[graph, entry, RESOLVENT] for graph, entry, o in CASES if o == RESOLVENT}
    within = "; ".join(f"{name} {error:.2g} %" for name, error in learned.items() if error < 1)
    beyond = "; ".join(f"{name} {error:.2g} %" for name, error in learned.items() if error >= 1)
    walk_on_lattice, walk_on_digits = worst[LATTICE, COORDINATES, WALK], worst[DIGITS, PIXELS, WALK]
    own = _of(rows, LATTICE, COORDINATES, RESOLVENT)
    drawn = own[0]["steps"] * BATCH[COORDINATES] / own[0]["directed edges"]
    ours, theirs = (np.mean([row[key] for row in own]) for key in ("seconds", "seconds of eigsh"))
    return (
        f"The first {SCORED} eigenvalues λ of the normalised Laplacian, the 0 left out, from edges drawn at random: "
        f"{LEARNED} functions are learned by joint nesting through the resolvent η/(η + λ) in the energy space, and "
        "the values are read off by Rayleigh–Ritz from all edges. The lattice is a box of whole coordinates in four "
        "dimensions, by which its nodes enter the networks. The digits' graph joins each of scikit-learn's digits "
        f"to its {NEIGHBOURS} nearest ones; its nodes enter by their pixels, or by a table of free values.\n\n"
        f"Largest relative error of any of them over all seeds, within 1 %: {within or 'none'}. "
        + (f"Beyond: {beyond}. " if beyond else "")
        + f"The walk itself, learned in as many steps, is off by up to {walk_on_lattice:.2g} % on the lattice and "
        f"{walk_on_digits:.2g} % on the digits: its eigenvalues 1 − λ are all nearly 1.\n\n"
        f"On the lattice, training draws {drawn:.1f} times as many edges as there are and takes {ours:.0f} s with the "
        f"reading off, `eigsh` {theirs:.1f} s. On graphs that fit into memory `eigsh` is the better tool; what a "
        "network has over its list of numbers are values at nodes that no edge has reached. The last table classifies "
        "held-out digits by their neighbours among those that were joined. Nothing is published on graphs: they are an "
        "outlook of the talks."
    )


def figure(rows: Sequence[Row]) -> Figure:
    """Eigenvalues, their errors, and digits where the first two learned and exact functions put them."""
    plot = Figure(figsize=(10, 9), layout="constrained")
    (values, errors), (learned, exact) = plot.subplots(2, 2)
    index = np.arange(1, SCORED + 1)
    styles = {(LATTICE, COORDINATES): "o", (DIGITS, PIXELS): "s", (DIGITS, TABLE): "^"}
    for (graph, entry), marker in styles.items():
        own = _of(rows, graph, entry, RESOLVENT)
        found, true = (np.array([row[key] for row in own]) for key in ("learned", "exact"))
        (line,) = errors.plot(index, 100 * np.abs(found / true - 1).max(axis=0), marker=marker, mfc="none")
        look = {"mfc": "none", "ms": 9, "color": line.get_color(), "label": f"{graph}, {entry}"}
        values.plot(index, found.mean(axis=0), marker, **look)
        values.plot(index, true[0], "k_", ms=14)
    errors.axhline(1, color="k", ls=":")
    values.set(xlabel="eigenvalue", ylabel="λ of the normalised Laplacian", title="learned (open) and exact (bars)")
    errors.set(xlabel="eigenvalue", ylabel="largest relative error over seeds (%)", title="asked for: 1 %, dotted")
    errors.set_ylim(bottom=0)
    values.legend(frameon=False)
    first = next(row for row in _of(rows, DIGITS, PIXELS, RESOLVENT) if "first two" in row)
    there = np.array(first["first two"].split()).astype(float).reshape(-1, 2)
    true = reference(DIGITS, LENGTHS)[1].functions[::SHOWN_DIGITS, :2]
    true = _unit(true) * np.sign((true * there).sum(axis=0))
    classes = load_digits().target[::SHOWN_DIGITS]
    for axes, points, name in ((learned, _unit(there), "learned"), (exact, true, "eigsh")):
        for digit in range(10):
            some = points[classes == digit].T
            axes.scatter(*some, s=40, marker=f"${digit}$", linewidths=0.2, color=colormaps["tab10"](digit))
        axes.set(xlabel="first eigenfunction (rms 1)", ylabel="second eigenfunction (rms 1)", title=f"digits, {name}")
    return plot


def _unit(functions: np.ndarray) -> np.ndarray:
    return functions / np.sqrt((functions**2).mean(axis=0))


def main() -> None:
    options = experiment.arguments(__doc__, {experiment.STANDARD: 3, experiment.QUICK: 1, experiment.PUBLISHED: 3})
    setting = SETTINGS[options.setting]
    cases = [
        {
            **dict(zip(NAMES, names, strict=True)),
            "lengths": setting.lengths,
            "steps": setting.steps[names[1]],
            "width": setting.width[names[1]],
            "seed": seed,
        }
        for names in CASES
        for seed in options.seeds
    ]
    rows = experiment.collect("graphs", options, cases, measure)
    tables = {"": summary(rows), "Eigenvalues": values_table(rows), "Held-out digits": accuracy_table(rows)}
    experiment.write("graphs", options, rows, tables, text(rows), {"": figure(rows)})


if __name__ == "__main__":
    main()
