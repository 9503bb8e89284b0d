"""Modules in torch from coordinates, or from PLUMED's arguments, to the values of modes; all arithmetic in float64."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from spectraldyn.estimators import GeneratorModel, NeuralSVDModel
from spectraldyn.export.parts import Inputs, Part
from spectraldyn.features.tensors import FORMULAS, Frames, contact, smallest
from spectraldyn.networks.whitening import WhitenedLinear


def _positions(frames: Frames, atoms: Tensor, _: Tensor | None) -> Tensor:
    """x, y and z (nm) of atoms (n, 1), (n_frames, 3 n)."""
    return frames.xyz[:, atoms].flatten(1)


def _cosine_and_sine(angles: Tensor, _: Tensor | None) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)


def _as_it_is(values: Tensor, _: Tensor | None) -> Tensor:
    return values


OF_FRAMES: dict[str, Callable[..., Tensor]] = {**FORMULAS, "positions": _positions}
OF_ARGUMENTS: dict[str, Callable[..., Tensor]] = {
    "distances": _as_it_is,
    "torsions": _cosine_and_sine,
    "closest": smallest,
    "contacts": lambda distances, counts: contact(smallest(distances, counts)),
    "positions": _as_it_is,
}
"""From values in PLUMED, such as angles in radians, and counts of pairs to (n_frames, n_columns)."""


class _Columns(nn.Module):
    """The columns of a fit from what its parts are functions of."""

    order: Tensor

    def __init__(self, inputs: Inputs):
        super().__init__()
        self.kinds = [part.kind for part in inputs.parts]
        self.register_buffer("order", torch.from_numpy(inputs.order))
        for i, part in enumerate(inputs.parts):
            places = torch.from_numpy(np.searchsorted(inputs.atoms, part.atoms))
            self.register_buffer(f"atoms_{i}", places)
            self.register_buffer(f"counts_{i}", None if part.counts is None else torch.from_numpy(part.counts))

    def _part(self, i: int, formulas: dict[str, Callable[..., Tensor]], *of: Tensor | Frames) -> Tensor:
        return formulas[self.kinds[i]](*of, getattr(self, f"counts_{i}"))


class ColumnsOfPositions(_Columns):
    """From positions (B, n_atoms, 3) or (n_atoms, 3) in nm, and a box (B, 3, 3) or (3, 3), to columns (B, d).

    A module for boxes of right angles serves those only.
    """

    def __init__(self, inputs: Inputs, right_angles: bool):
        super().__init__(inputs)
        self.n_atoms = len(inputs.atoms)
        self.right_angles = right_angles

    def forward(self, positions: Tensor, box: Tensor | None = None) -> Tensor:
        xyz = positions.reshape(-1, self.n_atoms, 3).double()
        frames = Frames(xyz, None if box is None else box.reshape(-1, 3, 3).double(), self.right_angles)
        parts = [self._part(i, OF_FRAMES, frames, getattr(self, f"atoms_{i}")) for i in range(len(self.kinds))]
        return torch.cat(parts, dim=1)[:, self.order]


class ColumnsOfArguments(_Columns):
    """From PLUMED's arguments (B, n_arguments), in the order of `arguments_of`, to columns (B, d)."""

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        self.widths = [n_arguments(part) for part in inputs.parts]

    def forward(self, arguments: Tensor) -> Tensor:
        given = arguments.double().split(self.widths, dim=1)
        return torch.cat([self._part(i, OF_ARGUMENTS, values) for i, values in enumerate(given)], dim=1)[:, self.order]


def n_arguments(part: Part) -> int:
    """How many values of PLUMED's a part takes: an angle for a torsion, a distance for a pair, three for an atom."""
    return len(part.atoms) * (3 if part.kind == "positions" else 1)


class Modes(nn.Module):
    """From columns (B, d) to modes (B, n_modes), as `model.transform` has them."""

    offset: Tensor
    coefficients: Tensor

    def __init__(self, model: NeuralSVDModel | GeneratorModel):
        super().__init__()
        # [1, f] or, for sides that differ, [1, f, g], of which the left functions need f alone
        combined = torch.from_numpy(model.spectrum.left * model.signs)
        networks = list(model.sides.distinct)
        width = (len(combined) - 1) // len(networks)
        if len(networks) > 1 and not combined[1 + width :].any():
            networks, combined = networks[:1], combined[: 1 + width]
        self.networks = nn.ModuleList(_in_plain_steps(network) for network in networks)
        self.register_buffer("offset", combined[0].clone())
        self.register_buffer("coefficients", combined[1:].clone())
        self.eval().requires_grad_(False)

    def forward(self, columns: Tensor) -> Tensor:
        functions = torch.cat([network(columns.double()) for network in self.networks], dim=1)
        return self.offset + functions @ self.coefficients


class _OneAfterTheOther(WhitenedLinear):
    """The same without a choice of the cheaper order, which a graph of any number of rows cannot hold."""

    def forward(self, x: Tensor) -> Tensor:
        whitened = self.whitening(x)
        weight, _ = self._parameters_of_linear
        return self.linear(whitened if weight.ndim == 2 else whitened.expand(weight.shape[0], -1, -1))


def _in_plain_steps(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network).cpu()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, WhitenedLinear):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, _OneAfterTheOther(layer.whitening, layer.linear))
    return network


class _Gelu(nn.Module):
    """x Φ(x), the integral of the normal density Φ by quadrature, to 1e-13: ONNX Runtime has erf in float32 only."""

    nodes: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        nodes, weights = np.polynomial.legendre.leggauss(48)
        self.register_buffer("nodes", torch.from_numpy((nodes + 1) / 2))
        self.register_buffer("weights", torch.from_numpy(weights / np.sqrt(8 * np.pi)))

    def forward(self, x: Tensor) -> Tensor:
        end = x.clamp(-9, 9)
        densities = (-0.5 * (end[..., None] * self.nodes).square()).exp()
        return x * (0.5 + end * (densities @ self.weights))


class _Softplus(nn.Module):
    """log(1 + eˣ), of which ONNX Runtime has no form in float64 either."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(0) + (1 + (-x.abs()).exp()).log()


def in_double_precision(modes: Modes) -> Modes:
    """The same, of operations that ONNX Runtime has in float64."""
    modes = copy.deepcopy(modes)
    for name, layer in list(modes.named_modules()):
        for kind, other in ((nn.GELU, _Gelu), (nn.Softplus, _Softplus)):
            if isinstance(layer, kind):
                parent, _, own = name.rpartition(".")
                setattr(modes.get_submodule(parent), own, other())
    return modes


class ModesOf(nn.Module):
    """Columns and what they are made of, one after the other; the values have the precision of the first input."""

    def __init__(self, columns: nn.Module, modes: Modes):
        super().__init__()
        self.columns = columns
        self.modes = modes

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.modes(self.columns(*inputs)).type_as(inputs[0])


class ModesOfPositions(nn.Module):
    """From positions (B, n_atoms, 3) or (n_atoms, 3) in nm to modes (B, n_modes), as TorchScript has it.

    With a box, (B, 3, 3) or (3, 3), distances and torsions are to the nearest image. The parts are traced.
    """

    def __init__(self, unbounded: nn.Module, rectangular: nn.Module, skewed: nn.Module, modes: nn.Module):
        super().__init__()
        self.unbounded = unbounded
        self.rectangular = rectangular
        self.skewed = skewed
        self.modes = modes

    def forward(self, positions: Tensor, box: Tensor | None = None) -> Tensor:
        if box is None:
            columns = self.unbounded(positions)
        elif bool((box == torch.diag_embed(torch.diagonal(box, 0, -2, -1))).all()):
            columns = self.rectangular(positions, box)
        else:
            columns = self.skewed(positions, box)
        return self.modes(columns).type_as(positions)
