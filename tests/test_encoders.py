"""Networks on coordinates: what must not change them, their gradients, and other implementations of the same."""

import math

import mdtraj
import numpy as np
import pytest
import torch
from test_tensors import boxed, nearest

from spectraldyn.networks import ENCODERS, Encoding
from spectraldyn.networks.derivatives import value_and_gradient
from spectraldyn.networks.pairs import distances, pairs_within, torsions

KINDS = ("C", "O", "O", "N", "C", "H")
CUTOFF = 0.5


TORSIONS = ((0, 1, 3, 5), (4, 1, 3, 5), (0, 2, 3, 5), (5, 3, 2, 4), *((o, 3, 5, c) for o in (1, 2) for c in (0, 4)))
"""Which exchanging the two C, or the two O, leaves as they are, in another order; one is read from its other end."""
LANDMARKS = (0, 3, 4)
"""Two C and the N; of no account where there are no torsions."""


def encoder(name, dtype=torch.float64, kinds=KINDS, boxed=False, torsions=()):
    plain = {"torsions": torsions, "landmarks": LANDMARKS}
    return Encoding(name, kinds, boxed, CUTOFF, width=8, n_blocks=2, n_radial=6, **plain).build(3).to(dtype)


def some_frames(n=7, n_atoms=6, seed=0):
    """Atoms closer than the cut-off and farther from each other, in nm."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 0.6, (n, n_atoms, 3)))


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(q * np.linalg.det(q))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("torsions", [(), TORSIONS], ids=["distances", "torsions"])
@pytest.mark.parametrize("name", ENCODERS)
def test_rotation_translation_and_exchange_of_like_atoms_change_nothing(name, torsions, dtype, tolerance):
    network, xyz = encoder(name, dtype, torsions=torsions), some_frames()
    here = network(xyz.flatten(1).to(dtype))
    exchanged = xyz[:, [4, 2, 1, 3, 0, 5]]
    for moved in (xyz @ rotation(1), xyz + torch.tensor([3.0, -2.0, 1.0]), exchanged):
        assert (network(moved.flatten(1).to(dtype)) - here).abs().max() <= tolerance
    unlike = xyz[:, [3, 1, 2, 0, 4, 5]]
    assert (network(unlike.flatten(1).to(dtype)) - here).abs().max() > 100 * tolerance
    assert here.std(dim=0).min() > 1e-4  # and yet every feature tells conformations apart


@pytest.mark.parametrize("torsions", [(), TORSIONS], ids=["distances", "torsions"])
@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_are_those_of_finite_differences(name, torsions):
    network, x = encoder(name, torsions=torsions), some_frames(3).flatten(1)
    along = torch.from_numpy(np.random.default_rng(1).normal(size=x.shape)).requires_grad_(False)
    weights = torch.linspace(-1, 1, network(x).shape[1], dtype=torch.float64)
    x.requires_grad_()
    ((network(x) @ weights).sum()).backward()
    with torch.no_grad():
        ahead, behind = ((network(x + step * along) @ weights).sum() for step in (1e-6, -1e-6))
    assert float((x.grad * along).sum()) == pytest.approx(float((ahead - behind) / 2e-6), rel=1e-6)


def test_torsions_are_those_of_mdtraj_and_tell_mirror_images_apart():
    xyz = some_frames(20)
    topology = mdtraj.Topology()
    residue = topology.add_residue("UNK", topology.add_chain())
    for kind in KINDS:
        topology.add_atom(kind, mdtraj.element.get_by_symbol(kind), residue)
    expected = mdtraj.compute_dihedrals(mdtraj.Trajectory(xyz.numpy(), topology), np.array(TORSIONS), periodic=False)
    found = torsions(xyz, torch.tensor(TORSIONS).T)
    np.testing.assert_allclose(found.numpy(), np.stack((np.cos(expected), np.sin(expected)), axis=2), atol=1e-4)
    network = encoder("schnet", torsions=TORSIONS)
    plain = network(xyz.flatten(1))[:, network.n_trained :]
    assert plain.shape[1] == 6  # of C–O–N–H and O–N–H–C, and the distances C–N and C–C
    lengths = [(xyz[:, one] - xyz[:, other]).norm(dim=1) for one, other in ((0, 3), (3, 4), (0, 4))]
    expected = torch.stack(((lengths[0] + lengths[1]) / 2, lengths[2]), dim=1)
    assert torch.allclose(plain[:, 4:], expected, atol=1e-12)
    mirrored = network(-xyz.flatten(1))[:, network.n_trained :]
    assert torch.allclose(mirrored[:, 4:], expected, atol=1e-12)
    plain, mirrored = plain[:, :4], mirrored[:, :4]
    np.testing.assert_allclose(mirrored[:, ::2].detach(), plain[:, ::2].detach(), atol=1e-12)
    np.testing.assert_allclose(mirrored[:, 1::2].detach(), -plain[:, 1::2].detach(), atol=1e-12)
    line = torch.arange(12.0).reshape(1, 4, 3).requires_grad_()
    on_a_line = torsions(line, torch.arange(4)[:, None])
    assert on_a_line.tolist() == [[[1, 0]]]
    assert torch.autograd.grad(on_a_line.sum(), line)[0].isfinite().all()


def test_derivatives_by_forward_propagation():
    network, x = encoder("schnet"), some_frames(2).flatten(1)
    _, gradient = value_and_gradient(network, x)
    _, expected = zip(*[(0, torch.autograd.functional.jacobian(network, row[None])[0, :, 0]) for row in x], strict=True)
    assert torch.allclose(gradient, torch.stack(expected), atol=1e-10)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_atom_that_crosses_the_cutoff_changes_nothing_suddenly(name):
    network = encoder(name, kinds=("C", "N"))
    apart = torch.linspace(CUTOFF - 1e-3, CUTOFF + 1e-3, 201, dtype=torch.float64)
    x = torch.zeros(len(apart), 6, dtype=torch.float64)
    x[:, 3] = apart
    features = network(x)[:, :-1]  # of which the last is the distance
    assert features.diff(dim=0).abs().max() < 1e-5
    assert (features[-1] - features[-2]).abs().max() < 1e-14


@pytest.mark.parametrize("angles", [None, (90, 90, 90), (60, 60, 90)])
def test_pairs_in_a_box_are_those_of_nearest_images(angles):
    random = np.random.default_rng(0)
    lengths = random.uniform(2.5, 4, (20, 3))
    shape = random.uniform(75, 105, (20, 3)) if angles is None else angles
    frames = boxed(random.uniform(-4, 4, (20, 12, 3)), lengths, shape)
    xyz, box = (torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in (frames.xyz, frames.unitcell_vectors))
    box = torch.tril(box)  # whose zeros are rounded
    expected = np.linalg.norm(nearest(frames), axis=2)
    places = np.array([[i, j] for i in range(12) for j in range(i)])
    found = np.zeros((20, 12, 12))
    first, second = np.triu_indices(12, 1)
    found[:, first, second] = found[:, second, first] = distances(xyz, box).numpy()
    near = expected < 0.8  # images of longer ones may be as near, and which is taken is mdtraj's to say
    assert np.abs(found[:, places[:, 0], places[:, 1]] - expected)[near].max() < 2e-5
    pairs = pairs_within(0.8, xyz, box)
    assert len(pairs.distance) == np.sum(expected < 0.8) > 20
    assert np.sort(pairs.distance.numpy()) == pytest.approx(np.sort(expected[expected < 0.8]), abs=2e-5)


@pytest.mark.parametrize("torsions", [(), TORSIONS], ids=["distances", "torsions"])
@pytest.mark.parametrize("name", ENCODERS)
def test_atoms_put_into_other_images_change_nothing_and_no_box_is_none(name, torsions):
    network, xyz = encoder(name, boxed=True, torsions=torsions), some_frames()
    box = torch.tensor([[2.0, 0, 0], [0.7, 1.9, 0], [-0.6, 0.5, 1.8]], dtype=torch.float64).expand(len(xyz), 3, 3)
    shifts = torch.from_numpy(np.random.default_rng(2).integers(-2, 3, (len(xyz), len(KINDS), 3)).astype(float))
    moved = torch.cat(((xyz + shifts @ box[0]).flatten(1), box.flatten(1)), dim=1)
    free = torch.cat((xyz.flatten(1), torch.zeros(len(xyz), 9)), dim=1)
    plain = encoder(name, torsions=torsions)(xyz.flatten(1))
    assert torch.allclose(network(free), plain, atol=1e-12)
    assert torch.allclose(network(moved), plain, atol=1e-10)


def test_schnet_is_that_of_torch_geometric():
    geometric = pytest.importorskip("torch_geometric.nn.models.schnet")
    ours, xyz = encoder("schnet", kinds=tuple("ABCDEF")), some_frames()
    edges = [(i, j) for i in range(6) for j in range(6) if i != j]

    def graph(positions, batch):
        index = torch.tensor([(6 * f + j, 6 * f + i) for f in range(len(xyz)) for i, j in edges]).T
        apart = (positions[index[0]] - positions[index[1]]).norm(dim=1)
        return index[:, apart < CUTOFF], apart[apart < CUTOFF]

    theirs = geometric.SchNet(8, 8, 2, 6, CUTOFF, interaction_graph=graph).double()
    theirs.embedding.weight.data[:6] = ours.atoms.embedding.weight.data
    for block, own in zip(theirs.interactions, ours.atoms.blocks, strict=True):
        block.mlp.load_state_dict(own.filters.state_dict())
        block.conv.lin1.load_state_dict(own.before.state_dict())
        block.conv.lin2.load_state_dict(own.after[0].state_dict())
        block.lin.load_state_dict(own.after[2].state_dict())
    features = []
    theirs.lin1.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    frame = torch.arange(len(xyz)).repeat_interleave(6)
    theirs(torch.arange(6).repeat(len(xyz)), xyz.flatten(0, 1), frame)
    own = ours.atoms(ours.kinds.repeat(len(xyz)), pairs_within(CUTOFF, xyz))
    assert torch.allclose(own, features[0], atol=1e-12)


def painn_in_numpy(network, kinds, xyz):
    """Scalars of the atoms of one frame, pair by pair, as the paper writes it."""
    weights = {name: value.numpy() for name, value in network.state_dict().items()}

    def linear(name, x):
        return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0)

    def silu(x):
        return x / (1 + np.exp(-x))

    def perceptron(name, x):
        return linear(f"{name}.2", silu(linear(f"{name}.0", x)))

    s = [weights["embedding.weight"][kind] for kind in kinds]
    v = [np.zeros((3, 8)) for _ in kinds]
    for block in range(2):
        new_s, new_v = [part.copy() for part in s], [part.copy() for part in v]
        for i in range(len(xyz)):
            for j in range(len(xyz)):
                r = xyz[j] - xyz[i]
                d = np.linalg.norm(r)
                if i == j or d >= CUTOFF:
                    continue
                radial = np.array([math.sin(n * math.pi * d / CUTOFF) / d for n in range(1, 7)])
                cutoff = 0.5 * (math.cos(math.pi * d / CUTOFF) + 1)
                values = perceptron(f"messages.{block}.values", s[j])
                scalars, scales, directed = np.split(values * linear(f"messages.{block}.filters", radial) * cutoff, 3)
                new_s[i] += scalars
                new_v[i] += scales * v[j] + np.outer(r / d, directed)
        s, v = new_s, new_v
        for i in range(len(xyz)):
            both = np.stack([linear(f"updates.{block}.vectors", axis) for axis in v[i]])
            left, right = np.split(both, 2, axis=1)
            norm = np.sqrt((right**2).sum(axis=0) + 1e-8)
            of_v, of_products, of_s = np.split(perceptron(f"updates.{block}.mixing", np.hstack((s[i], norm))), 3)
            s[i] = s[i] + of_products * (left * right).sum(axis=0) + of_s
            v[i] = v[i] + of_v * left
    return np.array(s)


def test_painn_is_that_of_the_paper():
    ours, xyz = encoder("painn"), some_frames(2)
    own = ours.atoms(ours.kinds.repeat(2), pairs_within(CUTOFF, xyz)).detach().numpy()
    expected = np.vstack([painn_in_numpy(ours.atoms, ours.kinds.tolist(), frame) for frame in xyz.numpy()])
    assert np.allclose(own, expected, atol=1e-12)


def test_without_gradient_large_batches_go_piece_by_piece(monkeypatch):
    network, x = encoder("schnet"), some_frames(50).flatten(1)
    whole = network(x)
    monkeypatch.setattr("spectraldyn.networks.encoders.ATOMS_AT_ONCE", 60)
    monkeypatch.setattr("spectraldyn.networks.pairs.PAIRS_AT_ONCE", 40)
    with torch.no_grad():
        assert torch.allclose(network(x), whole, atol=1e-14)


def test_many_atoms_have_features_of_their_own_alone():
    few, many = (Encoding("schnet", tuple(map(str, range(n))), False).build(0) for n in (64, 65))
    lengths = [network(torch.rand(2, 3 * n)).shape[1] for network, n in ((few, 64), (many, 65))]
    assert lengths == [4 * 64 + 64 * 63 // 2, 3 * 65]
