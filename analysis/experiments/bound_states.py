"""Schrödinger operators with known spectra: learned by any objective, and judged as published."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.distances import alignment, angle_distance, level_distance, orthogonality, subspace_distance
from analysis.experiments.experiment import device
from spectraldyn import Batch, FreshSamples, learn_spectrum
from spectraldyn.learning import LearnedSpectrum
from spectraldyn.learning.averages import operator_moments
from spectraldyn.networks.sides import Sides
from spectraldyn.operators import Action, Operator, schroedinger

EIGENVALUE, ANGLE, LEVEL, SPAN, ORTHOGONALITY = METRICS = (
    "eigenvalue error", "angle distance", "subspace distance, per level", "subspace distance, whole span",
    "orthogonality",
)  # fmt: skip
"""In the order of `analysis.experiments.published`."""
RITZ, LARGEST, NORMS = "eigenvalue error, Rayleigh–Ritz", "largest, Rayleigh–Ritz", "error of the norms"


def in_groups(operator: Operator, size: int) -> Operator:
    """A tied operator that takes every `size` points, one after the other, for one row of so many components.

    Points of a lattice are no independent samples, but lattices are. Objectives that subtract what single rows
    contribute to a product of averages then subtract what single rules do.
    """

    def grouped(left: nn.Module, right: nn.Module, batch: Batch) -> Action:
        action = operator(left, right, batch)
        f, Tf = (
            part.unflatten(0, (-1, size)).permute(0, 2, 1, 3).flatten(2) / size**0.5 for part in (action.f, action.Tf)
        )
        return Action.with_tied_sides(f, Tf)

    return operator if size == 1 else grouped


def cases_of(runs: Iterable[tuple[str, int, int, int, Sequence[str]]], seeds: Iterable[int]) -> list[dict[str, Any]]:
    """What tells trainings apart, from (way, states, batch size in points, steps, objectives)."""
    return [
        {"way": way, "states": n, "objective": objective, "batch": batch, "steps": steps, "seed": seed}
        for way, n, batch, steps, objectives in runs
        for objective in objectives
        for seed in seeds
    ]


@dataclass(frozen=True)
class BoundStates:
    """The lowest states of H = −∇² + V, learned as the leading eigenfunctions of T = (c − H)/s.

    Attributes
    ----------
    system : Schroedinger or SchroedingerSum
    network : callable (number of modes, whether each has its own) → module
    sampler : callable (n, torch.Generator) → Batch
        States with weights 1/p.
    rule : tuple of ndarray (n, d), (n,)
        Quadrature, on which everything is judged.
    levels : sequence of int
        Numbers of states of equal energy, from the lowest: what is judged.
    n_modes : int
        Learned, at least as many as are judged.
    shift, scale : float
        c and s.
    points_per_row : int
        Of the sampler, whose batches are independent sets of so many points that need not be independent.
    """

    system: Any
    network: Callable[[int, bool], nn.Module]
    sampler: Callable[[int, torch.Generator], Batch]
    rule: tuple[np.ndarray, np.ndarray]
    levels: Sequence[int]
    n_modes: int
    shift: float = 0.0
    scale: float = 1.0
    points_per_row: int = 1

    @property
    def operator(self) -> Operator:
        return schroedinger(self.system.potential, self.shift, self.scale)

    @property
    def rows(self) -> Batch:
        """The rule as a batch: a row's weight counts once per average over rows, so that this is the integral."""
        points, weight = self.rule
        return Batch(torch.tensor(points), weight=torch.tensor(len(weight) * weight))

    @property
    def exact_values(self) -> np.ndarray:
        """Of T: (c − E)/s of the states that are judged."""
        return (self.shift - self.system.energies(sum(self.levels))) / self.scale

    def learn(
        self,
        objective: str,
        training: Mapping[str, Any],
        seed: int,
        checkpoint: Path | None = None,
        observe: Callable[[int, Sides], None] | None = None,
    ) -> LearnedSpectrum:
        """One training; `training` holds the options of `learn_spectrum`."""
        torch.manual_seed(seed)
        # SpIN keeps derivatives of all pairs of functions with respect to all parameters, as many as networks may be.
        network = self.network(self.n_modes, objective != "spin")
        return learn_spectrum(
            in_groups(self.operator, self.points_per_row), FreshSamples(self.sampler, device()), network, [self.rows],
            objective=objective, read_operator=self.operator, seed=seed, checkpoint=checkpoint, observe=observe,
            **training,
        )  # fmt: skip

    @property
    def columns(self) -> list[slice]:
        """Which functions belong to every level."""
        return [slice(a, b) for a, b in pairwise(np.cumsum([0, *self.levels]).tolist())]

    def aligned(self, spectrum: LearnedSpectrum) -> Callable[[np.ndarray], np.ndarray]:
        """The functions as trained, of norm 1 and turned within their levels to the exact ones: (n, d) → (n, k)."""
        points, weight = self.rule
        n = sum(self.levels)

        def trained(states: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return spectrum.sides.left(torch.tensor(states, device=spectrum.sides.device)).cpu().numpy()[:, :n]

        values = trained(points)
        norms = np.sqrt(weight @ values**2)
        rotation = alignment(values / norms, self.system.eigenfunctions(points, n), weight, self.levels)
        return lambda states: trained(states) / norms @ rotation

    def trained(
        self, case: Mapping[str, Any], training: Mapping[str, Any], checkpoint: Path | None
    ) -> tuple[LearnedSpectrum, float]:
        """One case of `cases_of` and its seconds; those before an interruption are not counted."""
        started, n_steps = time.perf_counter(), case["steps"]
        # The published average reaches back over 200 steps: a decay of .995.
        options = {"average_share": min(0.1, 200 / n_steps), **training}
        options |= {"n_steps": n_steps, "batch_size": case["batch"]}
        return self.learn(case["objective"], options, case["seed"], checkpoint), time.perf_counter() - started

    def judge(self, spectrum: LearnedSpectrum, objective: str) -> dict[str, float | None]:
        """Published distances of the functions as trained; errors from Rayleigh–Ritz and from the norms beside them.

        Parameters
        ----------
        spectrum : LearnedSpectrum
        objective : str
            That of the training: SpIN leaves it to be done to make the functions orthonormal in their order, and only
            nested low-rank approximation states the values by the norms.
        """
        points, weight = self.rule
        n, exact = sum(self.levels), self.exact_values
        functions = self.system.eigenfunctions(points, n)
        net = spectrum.sides.left
        gram, image, _ = operator_moments(self.operator, net, net, [[self.rows]]).means()
        mixing = np.linalg.inv(np.linalg.cholesky(gram)).T if objective == "spin" else np.eye(len(gram))
        with torch.no_grad():
            inputs = torch.tensor(points, device=spectrum.sides.device)
            trained = (net(inputs).cpu().numpy() @ mixing)[:, :n]
        quotients = np.diag(mixing.T @ image @ mixing) / np.diag(mixing.T @ gram @ mixing)
        # Functions that became linearly dependent leave fewer values than modes: a value that is missing is all wrong.
        values = np.zeros(max(n, len(spectrum.values)))
        values[: len(spectrum.values)] = spectrum.values
        ritz, norms = (np.abs(found[:n] / exact - 1) for found in (values, spectrum.norms))
        return {
            EIGENVALUE: float(np.abs(quotients[:n] / exact - 1).mean()),
            ANGLE: angle_distance(trained, functions, weight, self.levels),
            LEVEL: level_distance(trained, functions, weight, self.levels),
            SPAN: subspace_distance(trained, functions, weight),
            # SpIN's were made orthogonal on this very rule.
            ORTHOGONALITY: None if objective == "spin" else orthogonality(trained, weight),
            RITZ: float(ritz.mean()),
            LARGEST: float(ritz.max()),
            NORMS: float(norms.mean()) if objective in ("joint", "sequential") else None,
        }
