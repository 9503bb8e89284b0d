"""Graphs given by edges, their exact spectra, and the operator by which random edges teach the Laplacian."""

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import eigsh
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph
from torch import Tensor, nn

from spectraldyn import Batch, FreshSamples
from spectraldyn.operators import Action, Operator
from spectraldyn.operators.transfer import with_constant

LENGTHS = (26, 20, 16, 12)
NEIGHBOURS = 10


@dataclass(frozen=True)
class Graph:
    """Unweighted and undirected: every edge in both directions, a loop once.

    Attributes
    ----------
    edges : Tensor (E, 2)
        Nodes at the two ends, sorted by the first.
    features : Tensor (n, d)
        Of the nodes; there may be more than the edges reach.
    rate : float
        Of the resolvent: about as large as the eigenvalues of the Laplacian that are to be learned.
    """

    edges: Tensor
    features: Tensor
    rate: float

    def samples(self, device: torch.device) -> FreshSamples:
        """Edges drawn evenly."""
        edges = self.edges.to(device, torch.float32)

        def draw(n: int, generator: torch.Generator) -> Batch:
            return _pairs(edges[torch.randint(len(edges), (n,), generator=generator, device=device)])

        return FreshSamples(draw, device)

    def every_edge(self, at_once: int = 100_000) -> list[Batch]:
        """All edges, in both directions."""
        return [_pairs(some) for some in self.edges.float().split(at_once)]

    def exact(self, n_modes: int) -> "Reference":
        """Beside the constant, by implicitly restarted Lanczos iterations on D^−½ A D^−½."""
        nodes, place = np.unique(self.edges.numpy(), return_inverse=True)
        row, column = place.reshape(-1, 2).T
        adjacency = sparse.csr_array((np.ones(len(row)), (row, column)), shape=(len(nodes), len(nodes)))
        degree = adjacency.sum(axis=1)
        root = sparse.diags_array(degree**-0.5)
        started = time.perf_counter()
        values, vectors = eigsh(root @ adjacency @ root, k=n_modes + 1, which="LA")
        seconds = time.perf_counter() - started
        return Reference(1 - values[-2::-1], root @ vectors[:, -2::-1], nodes, degree, seconds)


@dataclass(frozen=True)
class Reference:
    """What `eigsh` finds: eigenvalues of the Laplacian (k,) and its eigenfunctions at the nodes (n, k)."""

    values: np.ndarray
    functions: np.ndarray
    nodes: np.ndarray
    degree: np.ndarray
    seconds: float


def _pairs(edges: Tensor) -> Batch:
    return Batch(edges[:, :1], edges[:, 1:])


class OnNodes(nn.Module):
    """A network on the features of numbered nodes, evaluated once at every node of a batch: (B, 1) → (B, L)."""

    features: Tensor

    def __init__(self, features: Tensor, network: nn.Module):
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        nodes, place = torch.unique(x[:, 0].long(), return_inverse=True)
        return self.network(self.features[nodes])[place]


def laplacian_resolvent(rate: float) -> Operator:
    """(1 + (1 − P)/η)⁻¹ in the energy space of the graph, from edges; η = `rate`, with eigenvalues η/(η + λ).

    The inner product ⟨f, (1 + (1 − P)/η) f⟩ is ½ E[f(x)² + f(y)²] + E[(f(y) − f(x))²]/(2η), one row for one edge with
    K = 3; that of f and T f is the first of these terms alone. Small λ, which the walk 1 − λ hardly tells apart, are as
    far from each other as the rate wants them.
    """

    def operator(left: nn.Module, right: nn.Module, batch: Batch) -> Action:
        x, y = with_constant(left(torch.cat(batch.pair))).unflatten(0, (2, -1))
        ends = torch.stack((x, y), dim=2) / 2**0.5
        slope = (y - x).unsqueeze(2) / (2 * rate) ** 0.5
        f, Tf = torch.cat((ends, slope), dim=2), torch.cat((ends, torch.zeros_like(slope)), dim=2)
        return Action.with_tied_sides(f, Tf, known=(1.0,))

    return operator


def lattice(lengths: tuple[int, ...] = LENGTHS) -> Graph:
    """Nodes at whole coordinates in a box, joined to the next ones along each axis; at the walls a loop instead.

    Features are the coordinates, between −√3 and √3.
    """
    points = np.stack(np.meshgrid(*(np.arange(n) for n in lengths), indexing="ij"), axis=-1).reshape(-1, len(lengths))
    neighbours = []
    for axis, step in product(range(len(lengths)), (-1, 1)):
        moved = points.copy()
        moved[:, axis] = np.clip(moved[:, axis] + step, 0, lengths[axis] - 1)
        neighbours.append(np.ravel_multi_index(tuple(moved.T), lengths))
    edges = np.stack((np.repeat(np.arange(len(points)), len(neighbours)), np.stack(neighbours, axis=1).ravel()), axis=1)
    features = 3**0.5 * ((2 * points + 1) / np.array(lengths) - 1)
    return Graph(torch.from_numpy(edges), torch.tensor(features, dtype=torch.float32), 0.01)


def lattice_spectrum(n_modes: int, lengths: tuple[int, ...] = LENGTHS) -> np.ndarray:
    """Σ_k (1 − cos(π a_k/n_k))/d for whole 0 ≤ a_k < n_k, the smallest ones without the 0."""
    along = [(1 - np.cos(np.pi * np.arange(n) / n)) / len(lengths) for n in lengths]
    return np.sort(sum(np.ix_(*along)), axis=None)[1 : n_modes + 1]


def digits(nodes: np.ndarray | None = None, n_neighbours: int = NEIGHBOURS) -> Graph:
    """scikit-learn's digits, each joined to its nearest ones; features are the pixels.

    With `nodes`, only these are joined, among each other, and the others are left without edges.
    """
    pixels = load_digits().data / 16
    nodes = np.arange(len(pixels)) if nodes is None else nodes
    near = kneighbors_graph(pixels[nodes], n_neighbours)
    row, column = near.maximum(near.T).nonzero()
    edges = np.stack((nodes[row], nodes[column]), axis=1)
    features = torch.tensor(4 * (pixels - pixels.mean(axis=0)), dtype=torch.float32)
    return Graph(torch.from_numpy(edges).long(), features, 0.02)
