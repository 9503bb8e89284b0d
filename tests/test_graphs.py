"""Graphs: their spectra, the resolvent from edges, and the first eigenvalues learned from edges of a small one."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from analysis.experiments.graphs import COORDINATES, RESOLVENT, learn
from analysis.graphs import OnNodes, laplacian_resolvent, lattice, lattice_spectrum
from spectraldyn.learning.averages import operator_moments

LENGTHS = (5, 4, 3)


def test_the_lattice_has_the_spectrum_of_the_formula():
    exact = lattice(LENGTHS).exact(6)
    np.testing.assert_allclose(exact.values, lattice_spectrum(6, LENGTHS), atol=1e-12)
    # The slowest direction is the longest, (1 − cos(π/5))/3.
    np.testing.assert_allclose(exact.values[0], (1 - np.cos(np.pi / 5)) / 3, atol=1e-12)


def test_the_resolvent_of_exact_functions_has_the_values_of_the_laplacian():
    graph, rate = lattice(LENGTHS), 0.3
    exact = graph.exact(5)
    functions = OnNodes(torch.tensor(exact.functions), nn.Identity())
    rows = graph.every_edge(at_once=50)
    a, b, _ = operator_moments(laplacian_resolvent(rate), functions, functions, [rows]).means()
    np.testing.assert_allclose(np.diag(b)[1:] / np.diag(a)[1:], rate / (rate + exact.values), atol=1e-9)
    assert np.abs(a - np.diag(np.diag(a))).max() < 1e-9


def test_a_network_learns_the_laplacian_from_random_edges():
    graph = replace(lattice(LENGTHS), rate=0.1)
    spectrum = learn(graph, COORDINATES, RESOLVENT, 500, 16, 0)
    values = graph.rate * (1 / spectrum.values[:3] - 1)
    np.testing.assert_allclose(values, lattice_spectrum(3, LENGTHS), rtol=0.01)
