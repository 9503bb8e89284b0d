"""Modes exported to PLUMED, TorchScript and ONNX: the values are those of the model, the files what programs read."""

import dataclasses
import json
import re
import shutil
import sys

import mdtraj
import numpy as np
import pytest
import torch
from conftest import make_quick
from problems import REPOSITORY_DATA

from spectraldyn import InputError
from spectraldyn.cli import main
from spectraldyn.estimators import load_model
from spectraldyn.export import export_modes
from spectraldyn.export.modules import Modes, in_double_precision
from spectraldyn.features import define_features
from spectraldyn.networks import Layout, Whitening, build_sides

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.:DeprecationWarning")  # what simulations load
FEATURES = "torsions,heavy-distances,contacts,closest-distances:resid 0;resid 4"
PEPTIDE = REPOSITORY_DATA / "alanine_tetrapeptide"


def run(*arguments):
    """Exit code, whether returned or raised by argparse."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Folders of results: of a particle, of the same as ready-made columns, of a peptide with untrained networks."""
    home = tmp_path_factory.mktemp("fits")
    topology = mdtraj.Topology()
    topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", topology.add_chain()))
    random = np.random.default_rng(0)
    xyz = np.zeros((1000, 1, 3), dtype=np.float32)
    xyz[:, 0, 0] = 2 * (np.cumsum(random.random(1000) < 0.05) % 2) - 1 + 0.2 * random.normal(size=1000)
    xyz[:, 0, 1] = random.normal(size=1000)
    mdtraj.Trajectory(xyz, topology).save_dcd(str(home / "particle.dcd"))
    mdtraj.Trajectory(xyz[:1], topology).save_pdb(str(home / "particle.pdb"))
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        patch.setenv("SPECTRALDYN_CACHE", str(home / "store"))
        files = [home / "particle.dcd", "--top", home / "particle.pdb"]
        assert run("fit", *files, "--lag", 2, "--modes", 2, "--out", home / "particle", "--quiet") == 0
    columns = ["feature 0", "feature 1"]
    derived(home, "arrays", columns, 2, features=None)
    peptide = mdtraj.load(PEPTIDE / "run0.xtc", top=PEPTIDE / "top.pdb", stride=50)
    chosen = define_features(peptide[0], FEATURES)
    columns = [column.name for column in chosen.columns]
    # another order, and not all of them
    columns = np.random.default_rng(1).permutation(columns)[:-9].tolist()
    rows = torch.from_numpy(rows_in_double_precision(peptide, columns))
    model = load_model(home / "particle" / "model.pt")
    layout = dataclasses.replace(model.settings.layout, hidden=(16, 16), n_trunks=3)
    dataclasses.replace(
        model,
        settings=dataclasses.replace(model.settings, layout=layout),
        sides=build_sides(Whitening.of(rows.mean(dim=0), torch.cov(rows.T), floor=0.3), layout, seed=0).double(),
    ).save(derived(home, "peptide", columns, len(chosen.columns), features=FEATURES.split(",")) / "model.pt")
    peptide[0].save_hdf5(str(home / "peptide" / "topology.h5"))
    return home


def derived(home, name, columns, width, **options):
    """A folder of results as that of the particle, but for its features."""
    folder = home / name
    folder.mkdir()
    for part in ("model.pt", "modes.npz"):
        shutil.copy(home / "particle" / part, folder)
    stored = json.loads((home / "particle" / "results.json").read_text())
    stored["features"] |= {"columns": columns, "width": width}
    stored["features"]["options"] |= options
    (folder / "results.json").write_text(json.dumps(stored))
    return folder


@pytest.fixture(scope="module")
def frames():
    return mdtraj.load(PEPTIDE / "run1.xtc", top=PEPTIDE / "top.pdb", stride=100)


def exported(fits, name, to):
    """Written once for all tests."""
    out = fits / f"{name}-{to}"
    return out if out.exists() else export_modes(fits / name, to, out)


def described(folder):
    return json.loads((folder / "export.json").read_text())


def distance(xyz, atoms):
    return np.linalg.norm(xyz[:, atoms[1]] - xyz[:, atoms[0]], axis=1)


def torsion(xyz, atoms):
    """In radians; formula of Blondel and Karplus, as PLUMED and mdtraj have it."""
    first, axis, last = (xyz[:, atoms[i + 1]] - xyz[:, atoms[i]] for i in range(3))
    before, after = np.cross(first, axis), np.cross(axis, last)
    sine = (first * after).sum(axis=1) * np.linalg.norm(axis, axis=1)
    return np.arctan2(sine, (before * after).sum(axis=1))


def rows_in_double_precision(frames, columns):
    """Columns of the peptide by their definition."""
    xyz = frames.xyz.astype(float)
    made = {}
    for block in define_features(frames[0], FEATURES).blocks:
        geometry, names = block.geometry, [column.name for column in block.columns]
        if geometry.kind == "torsions":
            angles = [torsion(xyz, atoms) for atoms in geometry.atoms]
            values = [part(angle) for angle in angles for part in (np.cos, np.sin)]
        else:
            values = np.array([distance(xyz, atoms) for atoms in geometry.atoms])
        if geometry.counts is not None:
            values = np.minimum.reduceat(values, np.cumsum(geometry.counts) - geometry.counts)
        if geometry.kind == "contacts":
            values = 1 / (1 + (values / 0.45) ** 6)
        made |= dict(zip(names, values, strict=True))
    return np.stack([made[name] for name in columns], axis=1)


def expected(fits, frames):
    """Modes of the peptide in double precision."""
    columns = json.loads((fits / "peptide" / "results.json").read_text())["features"]["columns"]
    return load_model(fits / "peptide" / "model.pt").transform(rows_in_double_precision(frames, columns))


def used(frames, folder, dtype=torch.float64):
    """Positions of the atoms that an exported module takes."""
    atoms = [atom["index"] for atom in described(folder)["atoms"]]
    return torch.from_numpy(frames.xyz[:, atoms]).to(dtype)


def test_torchscript_gives_the_modes_of_positions(fits, frames):
    folder = exported(fits, "peptide", "torchscript")
    module, modes = torch.jit.load(folder / "modes.pt"), expected(fits, frames)
    values = module(used(frames, folder))
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values, modes, rtol=0, atol=1e-9)
    single = module(used(frames, folder, torch.float32))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, modes, rtol=0, atol=1e-6)
    # one frame without the axis of frames
    np.testing.assert_allclose(module(used(frames, folder)[3]), modes[3:4], rtol=0, atol=1e-9)


def test_gradients_are_those_of_finite_differences(fits, frames):
    folder = exported(fits, "peptide", "torchscript")
    module = torch.jit.load(folder / "modes.pt")
    positions = used(frames[:20], folder).requires_grad_()
    direction = torch.randn(positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (module(positions + step * direction) for step in (1e-6, -1e-6))
    modes = module(positions)
    for k in range(2):
        (gradient,) = torch.autograd.grad(modes[:, k].sum(), positions, retain_graph=True)
        slopes = (gradient * direction).sum(dim=(1, 2))
        np.testing.assert_allclose(slopes, (ahead - behind)[:, k] / 2e-6, rtol=1e-6, atol=1e-6 * slopes.abs().max())


@pytest.mark.parametrize("angles", [(90, 90, 90), (70, 80, 100)])
def test_a_box_brings_the_nearest_images(fits, frames, angles):
    folder = exported(fits, "peptide", "torchscript")
    module = torch.jit.load(folder / "modes.pt")
    lengths = np.broadcast_to([5.0, 5.5, 6.0], (len(frames), 3))
    boxed = mdtraj.Trajectory(frames.xyz, frames.topology, None, lengths, np.broadcast_to(angles, (len(frames), 3)))
    random = np.random.default_rng(0)
    moved = random.integers(-2, 3, (len(frames), frames.n_atoms, 3)) @ boxed.unitcell_vectors
    boxed.xyz = frames.xyz + moved.astype(np.float32)
    box = torch.from_numpy(boxed.unitcell_vectors.astype(float))
    np.testing.assert_allclose(module(used(boxed, folder), box), module(used(frames, folder)), rtol=0, atol=1e-4)
    np.testing.assert_allclose(module(used(boxed, folder), box[0]), module(used(frames, folder)), rtol=0, atol=1e-4)


def by_plumed(folder, frames):
    """What PLUMED would print in COLVAR, from the lines of plumed.dat: nm, radians, single precision to the module."""
    xyz, values, printed = frames.xyz.astype(float), {}, None
    lines = (line.partition("#")[0].strip() for line in (folder / "plumed.dat").read_text().splitlines())
    for line in filter(None, lines):
        label, _, action = line.rpartition(": ")
        name, *words = action.split()
        options = dict(word.split("=") for word in words if "=" in word)
        if name in ("TORSION", "DISTANCE"):
            atoms = [int(serial) - 1 for serial in options["ATOMS"].split(",")]
            values[label] = {"TORSION": torsion, "DISTANCE": distance}[name](xyz, atoms)
        elif name == "POSITION":
            assert words[1:] == ["NOPBC"]
            place = xyz[:, int(options["ATOM"]) - 1]
            values |= {f"{label}.{axis}": place[:, i] for i, axis in enumerate("xyz")}
        elif name == "PYTORCH_MODEL":
            module = torch.jit.load(folder / options["FILE"])
            arguments = np.stack([values[one] for one in options["ARG"].split(",")], axis=1).astype(np.float32)
            nodes = torch.cat([module(torch.from_numpy(row[None])) for row in arguments])  # one frame at a time
            assert nodes.dtype == torch.float32
            values |= {f"{label}.node-{k}": node.numpy() for k, node in enumerate(nodes.T)}
        elif name == "PRINT":
            printed = np.stack([values[one] for one in options["ARG"].split(",")], axis=1)
        else:
            raise AssertionError(line)
    return printed


def test_plumed_gives_the_modes_of_its_arguments(fits, frames):
    folder = exported(fits, "peptide", "plumed")
    np.testing.assert_allclose(by_plumed(folder, frames), expected(fits, frames), rtol=0, atol=1e-6)
    text = (folder / "plumed.dat").read_text()
    assert re.search(r"^t\d+: TORSION ATOMS=2,4,5,7  # ACE1-C ALA2-N ALA2-CA ALA2-C$", text, re.MULTILINE)
    assert re.search(r"^# opes: OPES_METAD ARG=modes.node-0 .* TEMP=300$", text, re.MULTILINE)


def test_plumed_needs_the_derivative_of_every_node(fits):
    folder = exported(fits, "peptide", "plumed")
    n_arguments = len(re.search(r"ARG=(\S+)", (folder / "plumed.dat").read_text())[1].split(","))
    arguments = torch.full((1, n_arguments), 0.4, requires_grad=True)
    nodes = torch.jit.load(folder / "modes.ptc")(arguments)
    for k in range(2):
        (slope,) = torch.autograd.grad(nodes[:, k : k + 1], arguments, torch.ones(1, 1), retain_graph=True)
        assert torch.isfinite(slope).all()
        assert slope.abs().max() > 0


def test_onnx_gives_the_modes_of_positions(fits, frames):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = exported(fits, "peptide", "onnx")
    box = 30 * torch.eye(3).expand(len(frames), -1, -1)
    for name, dtype, tolerance in (("float64", torch.float64, 1e-9), ("float32", torch.float32, 1e-6)):
        given = {"positions": used(frames, folder, dtype).numpy()}
        (values,) = runtime.InferenceSession(folder / f"modes_{name}.onnx").run(None, given)
        np.testing.assert_allclose(values, expected(fits, frames), rtol=0, atol=tolerance)
        given["box"] = box.to(dtype).numpy()
        (values,) = runtime.InferenceSession(folder / f"modes_box_{name}.onnx").run(None, given)
        np.testing.assert_allclose(values, expected(fits, frames), rtol=0, atol=tolerance)


def test_positions_of_particles_and_ready_made_columns(fits):
    xyz = mdtraj.load(fits / "particle.dcd", top=fits / "particle.pdb")[:50]
    for name in ("particle", "arrays"):
        modes = load_model(fits / name / "model.pt").transform(xyz.xyz[:, 0, :2].astype(float))
        module = torch.jit.load(exported(fits, name, "torchscript") / "modes.pt")
        given = torch.from_numpy(xyz.xyz.astype(float) if name == "particle" else xyz.xyz[:, 0, :2].astype(float))
        np.testing.assert_allclose(module(given), modes, rtol=0, atol=1e-9)
        folder = exported(fits, name, "plumed")
        if name == "particle":
            np.testing.assert_allclose(by_plumed(folder, xyz), modes, rtol=0, atol=1e-6)
        else:
            text = (folder / "plumed.dat").read_text()
            assert "# c2: ...  # column feature 1\nmodes: PYTORCH_MODEL FILE=modes.ptc ARG=c1,c2\n" in text


@pytest.mark.parametrize("network", ["common-trunk", "separate"])
@pytest.mark.parametrize("activation", ["gelu", "silu", "softplus", "tanh"])
def test_every_network_traces(fits, network, activation):
    """Also two sides, several trunks, and columns far from 0, of which single precision would lose the digits."""
    model = load_model(fits / "arrays" / "model.pt")
    trunks = 3 if network == "common-trunk" else 1
    layout = Layout(2, network, (8, 8), activation, tied=False, n_trunks=trunks)
    whitening = Whitening(torch.tensor([1e5, 3.0]), torch.randn(2, 2, generator=torch.Generator().manual_seed(1)))
    left = np.random.default_rng(0).normal(size=(5, 2))
    model = dataclasses.replace(
        model,
        sides=build_sides(whitening, layout, seed=0).double(),
        spectrum=dataclasses.replace(model.spectrum, left=left),
        signs=np.array([1.0, -1.0]),
    )
    rows = np.random.default_rng(1).normal([1e5, 3.0], size=(7, 2))
    modes = Modes(model)
    traced = torch.jit.trace(modes, (torch.zeros(2, 2),))
    for module in (modes, traced, in_double_precision(modes)):
        np.testing.assert_allclose(module(torch.from_numpy(rows)), model.transform(rows), rtol=0, atol=1e-9)
    # of the right functions only where the left singular functions need them
    left[3:] = 0
    assert len(Modes(model).networks) == 1
    np.testing.assert_allclose(Modes(model)(torch.from_numpy(rows)), model.transform(rows), rtol=0, atol=1e-12)


def test_atoms_are_found_in_the_topology_of_the_simulation(fits, frames, tmp_path):
    """With other atoms in between, and none where the names do not say which."""
    full = mdtraj.Topology()
    chain = full.add_chain()
    for residue in frames.topology.residues:
        own = full.add_residue(residue.name, chain, residue.resSeq)
        for atom in residue.atoms:
            full.add_atom(atom.name, atom.element, own)
            full.add_atom(f"H{atom.name}", mdtraj.element.hydrogen, own)
    top = tmp_path / "full.pdb"
    mdtraj.Trajectory(np.zeros((1, full.n_atoms, 3)), full).save_pdb(str(top))
    assert run("export", fits / "peptide", "--to", "plumed", "--top", top, "--out", tmp_path / "out") == 0
    assert "t1: TORSION ATOMS=3,7,9,13 " in (tmp_path / "out" / "plumed.dat").read_text()
    assert [(a["index"], a["serial"]) for a in described(tmp_path / "out")["atoms"]][:2] == [(0, 1), (2, 3)]
    alone = tmp_path / "alone.pdb"
    frames[0].atom_slice(np.arange(3, frames.n_atoms)).save_pdb(str(alone))
    with pytest.raises(InputError, match=r"ACE1-CH3, an atom of the fit, is not there in .*alone.pdb"):
        export_modes(fits / "peptide", "plumed", tmp_path / "none", top=alone)


def test_what_cannot_be_exported_is_one_sentence(fits, tmp_path, monkeypatch, capfd):
    def said(*arguments):
        assert run("export", *arguments) == 2
        (sentence,) = capfd.readouterr().err.splitlines()
        return sentence

    assert "is not a folder of results" in said(tmp_path, "--to", "plumed")
    assert "choose one of plumed, torchscript, onnx" in said(fits / "peptide", "--to", "tensorflow")
    columns = ["dssp ALA2 helix", "phi ALA2 cos"]
    surface = derived(fits, "surface", columns, 3, features=["torsions", "dssp"])
    shutil.copy(fits / "peptide" / "topology.h5", surface)
    assert "was fitted with dssp, which has no form outside of spectraldyn" in said(surface, "--to", "torchscript")
    (surface / "topology.h5").unlink()
    assert "is not complete (topology.h5 is missing): fit again" in said(surface, "--to", "torchscript")
    shutil.copy(fits / "peptide" / "model.pt", surface)
    assert "columns, results.json names 2: fit again" in said(surface, "--to", "torchscript")
    out = tmp_path / "out"
    assert run("export", fits / "arrays", "--to", "torchscript", "--out", out) == 0
    assert capfd.readouterr().out == f"export: {out}\n"
    assert f"{out} exists" in said(fits / "arrays", "--to", "plumed", "--out", out)
    assert run("export", fits / "arrays", "--to", "plumed", "--out", out, "--force") == 0
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "modes.ptc", "plumed.dat"]
    capfd.readouterr()
    (out / "export.json").unlink()
    assert "it is not replaced" in said(fits / "arrays", "--to", "plumed", "--out", out, "--force")
    monkeypatch.setitem(sys.modules, "onnx", None)
    missing = said(fits / "arrays", "--to", "onnx", "--out", tmp_path / "onnx")
    assert "--to onnx needs the package onnx: pip install 'spectraldyn[export]'" in missing
    assert not (tmp_path / "onnx").exists()
