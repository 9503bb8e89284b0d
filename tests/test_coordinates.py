"""Learning from coordinates: which atoms are alike, boxes, an exact answer, files, comparisons, and what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest
import torch
from problems import REPOSITORY_DATA

import spectraldyn as sd
from spectraldyn.baselines.process import Job, interatomic_distances
from spectraldyn.baselines.records import Question, Split
from spectraldyn.cli import main
from spectraldyn.data import Atoms, PairSamples, rows_of
from spectraldyn.errors import InputError
from spectraldyn.estimators import load_model
from spectraldyn.estimators.coordinates import encoded
from spectraldyn.features.atoms import kinds, landmarks, n_molecules, torsions
from spectraldyn.networks import Encoding
from spectraldyn.pipeline.refit import once_more
from spectraldyn.systems import SYSTEMS, oracle_timescales

DIPEPTIDE = REPOSITORY_DATA / "alanine_dipeptide"
TOP = DIPEPTIDE / "top.pdb"
TRICLINIC = np.array([[2.0, 0, 0], [0.6, 1.9, 0], [-0.7, 0.5, 1.8]])


def turned(xyz, seed=0):
    """Frames (n, n_atoms, 3), each rotated and moved at random."""
    random = np.random.default_rng(seed)
    q, _ = np.linalg.qr(random.normal(size=(len(xyz), 3, 3)))
    q *= np.linalg.det(q)[:, None, None]
    return (xyz @ q + random.normal(size=(len(xyz), 1, 3))).astype(np.float32)


def dimer(n_files=4, stride=1):
    """Two like atoms whose distance, 0.6 nm + 0.2 x, is driven by the shipped double well, and nothing else that is."""
    files = sorted((REPOSITORY_DATA / "double_well").glob("*.dcd"))[:n_files]
    parts = [mdtraj.load(file, top=REPOSITORY_DATA / "double_well" / "double_well.pdb").xyz[::stride] for file in files]
    states = [part[:, 0, :1].astype(float) for part in parts]
    ends = [np.stack((0 * x, 0.6 + 0.2 * x), axis=1) * [1.0, 0, 0] for x in states]
    rows = [turned(part, seed).reshape(len(part), 6) for seed, part in enumerate(ends)]
    return sd.Dataset(rows, atoms=Atoms(("C", "C"))), states


def wrapped(trajectory, box=TRICLINIC):
    """The same frames in a small box, every atom brought into it by itself."""
    xyz = trajectory.xyz.astype(float)
    inside = xyz - np.floor(xyz @ np.linalg.inv(box)) @ box
    result = mdtraj.Trajectory(inside.astype(np.float32), trajectory.topology, trajectory.time)
    result.unitcell_vectors = np.broadcast_to(box, (len(xyz), 3, 3)).astype(np.float32)
    return result


def test_the_distance_of_a_dimer_has_its_exact_timescale(monkeypatch):
    monkeypatch.setattr("spectraldyn.estimators.neural_svd.ENCODED_STEPS", 40)
    data, states = dimer(stride=5)
    model = sd.NeuralSVD(1, 1, n_networks=1, max_steps=60, encoder="schnet", random_state=0).fit_fetch(data)
    (scale,) = sd.analyze(model, data).timescales
    (best,) = oracle_timescales(SYSTEMS["double-well"], states, 1, 1)
    assert scale.value == pytest.approx(best, rel=0.02)
    deviation = (np.log(scale.high) - np.log(scale.low)) / 3.92
    assert abs(np.log(scale.value) - np.log(18.0106)) < 3 * deviation  # rows are 1 ps apart
    turned_round = turned(data[0].reshape(-1, 2, 3)[:, ::-1], seed=9).reshape(-1, 6)
    np.testing.assert_allclose(model.transform(turned_round), model.transform(data[0]), atol=1e-4)


def test_atoms_are_alike_that_bonds_and_places_do_not_tell_apart():
    peptide = mdtraj.load(TOP).topology
    heavy = peptide.select("element != H")
    assert len(set(kinds(peptide, heavy))) == len(heavy) == 10
    topology = mdtraj.Topology()
    for _ in range(2):
        chain = topology.add_chain()
        for _ in range(2):
            residue = topology.add_residue("ASP", chain)
            oxygen, carbon = mdtraj.element.oxygen, mdtraj.element.carbon
            centre, *others = (
                topology.add_atom(name, element, residue)
                for name, element in (("CG", carbon), ("OD1", oxygen), ("OD2", oxygen), ("CB", carbon))
            )
            for other in others:
                topology.add_bond(centre, other)
    found = kinds(topology, np.arange(16))
    assert found[1] == found[2] == found[9] == found[10]
    assert len(set(found)) == 6  # the chains have one sequence; the residues of one chain differ by their place
    assert n_molecules(topology, np.arange(16)) == 4
    assert torsions(topology, np.arange(16), found) == ()


def test_torsions_are_those_about_every_bond_with_others_beyond():
    heavy = (frames := mdtraj.load(TOP)).topology.select("element != H")
    names = [str(frames.topology.atom(i)) for i in heavy]
    found = torsions(frames.topology, heavy, kinds(frames.topology, heavy))
    middles = sorted(f"{names[b]} {names[c]}" for _, b, c, _ in found)
    assert middles == ["ACE1-C ALA2-N", "ALA2-C NME3-N", "ALA2-CA ALA2-C", "ALA2-N ALA2-CA"]
    phi, psi = (
        [frames.topology.atom(i) for i in some[0][0]]
        for some in (mdtraj.compute_phi(frames), mdtraj.compute_psi(frames))
    )
    quadruples = {tuple(names[i] for i in some) for some in found}
    assert {tuple(map(str, phi)), tuple(map(str, psi))} <= quadruples

    topology = mdtraj.Topology()  # of two like oxygens both count
    residue = topology.add_residue("UNK", topology.add_chain())
    carbon, oxygen = mdtraj.element.carbon, mdtraj.element.oxygen
    one, other, middle, first, second = (
        topology.add_atom(name, element, residue)
        for name, element in (("C1", carbon), ("C2", carbon), ("C3", carbon), ("O1", oxygen), ("O2", oxygen))
    )
    for pair in ((one, other), (other, middle), (middle, first), (middle, second)):
        topology.add_bond(*pair)
    assert torsions(topology, np.arange(5), kinds(topology, np.arange(5))) == ((0, 1, 2, 3), (0, 1, 2, 4))


def test_landmarks_are_one_of_every_residue_and_those_like_it():
    topology = mdtraj.load(TOP).topology
    heavy = topology.select("element != H")
    found = landmarks(topology, heavy, kinds(topology, heavy))
    assert [str(topology.atom(heavy[place])) for place in found] == ["ACE1-C", "ALA2-CA", "NME3-N"]
    peptide = mdtraj.Topology()  # of a glycine's atoms C has the most bonds
    chain = peptide.add_chain()
    for name in ("GLY", "ALA"):
        residue = peptide.add_residue(name, chain)
        for atom in ("N", "CA", "C", "O"):
            peptide.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
    peptide.create_standard_bonds()
    assert landmarks(peptide, np.arange(8), kinds(peptide, np.arange(8))) == (1, 5)
    ring = mdtraj.Topology()
    residue = ring.add_residue("BNZ", ring.add_chain())
    atoms = [ring.add_atom(f"C{i}", mdtraj.element.carbon, residue) for i in range(6)]
    for one, other in zip(atoms, atoms[1:] + atoms[:1], strict=True):
        ring.add_bond(one, other)
    assert landmarks(ring, np.arange(6), kinds(ring, np.arange(6))) == tuple(range(6))


def test_a_molecule_that_the_box_cuts_is_made_whole(tmp_path):
    frames = mdtraj.load(DIPEPTIDE / "a2.xtc", top=TOP)[:20]
    frames.unitcell_vectors = None
    whole = sd.load_features(saved(frames, tmp_path / "whole.h5"), features="coordinates", cache=False)
    cut = sd.load_features(saved(wrapped(frames), tmp_path / "cut.h5"), features="coordinates", cache=False)
    assert not cut.atoms.boxed
    assert cut.atoms == whole.atoms
    assert np.abs(wrapped(frames).xyz - frames.xyz).max() > 1
    one, other = (interatomic_distances(data[0], data.atoms) for data in (whole, cut))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_of_several_molecules_pairs_are_those_of_nearest_images(tmp_path):
    random, topology = np.random.default_rng(0), mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(4):
        topology.add_atom("C", mdtraj.element.carbon, topology.add_residue("PRT", chain))
    frames = mdtraj.Trajectory(random.uniform(0, 1.2, (30, 4, 3)).astype(np.float32), topology)
    frames.unitcell_vectors = np.broadcast_to(TRICLINIC, (30, 3, 3)).astype(np.float32)
    data = sd.load_features(saved(wrapped(frames), tmp_path / "boxed.h5"), features="coordinates", cache=False)
    assert data.atoms == Atoms(("C1",) * 4, boxed=True, landmarks=(0, 1, 2, 3))
    assert data.column_names[-9:] == [f"box {vector}{axis}" for vector in "abc" for axis in "xyz"]
    expected = mdtraj.compute_distances(frames, np.stack(np.triu_indices(4, 1), axis=1))
    np.testing.assert_allclose(interatomic_distances(data[0], data.atoms), expected, atol=1e-5)
    free = frames[:]
    free.unitcell_vectors = None
    files = [saved(free, tmp_path / "free.h5"), tmp_path / "boxed.h5"]
    with pytest.raises(InputError, match=r"boxed.h5, frames 0 to 29: they carry a periodic box, which the first frame"):
        sd.load_features(files, features="coordinates", cache=False)


def saved(frames, path):
    frames.save(str(path))
    return path


@pytest.fixture
def small(quick):
    """A fit of hardly any training, and its data."""
    data, _ = dimer(2, stride=10)
    return sd.NeuralSVD(1, 1, n_networks=2, encoder="schnet", random_state=0).fit_fetch(data), data


def test_saved_and_loaded_it_gives_the_same_and_takes_no_other_atoms(small, tmp_path):
    model, data = small
    model.save(tmp_path / "model.pt")
    again = load_model(tmp_path / "model.pt")
    np.testing.assert_array_equal(again.functions(data), model.functions(data))
    np.testing.assert_array_equal(again.functions(data[0]), model.functions(data)[: len(data[0])])
    assert (again.settings, again.n_columns) == (model.settings, 6)
    other = sd.Dataset(list(data), atoms=Atoms(("C", "N")))
    with pytest.raises(InputError, match=r"coordinates of other atoms \(2 atoms\)"):
        again.transform(other)
    with pytest.raises(InputError, match=r"frames have shape \(3, 9\): this model takes \(T, 6\)"):
        again.transform(np.zeros((3, 9)))


def test_a_damaged_size_of_the_encoder_is_one_sentence(small, tmp_path):
    model, _ = small
    model.save(tmp_path / "model.pt")
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    for part, value in (("width", 10**6), ("n_blocks", 10**9), ("n_radial", 10**9), ("encoder", "none")):
        settings = {**stored["settings"], "encoding": {**stored["settings"]["encoding"], part: value}}
        torch.save({**stored, "settings": settings}, tmp_path / "other.pt")
        with pytest.raises(InputError, match=r"other\.pt is damaged"):
            load_model(tmp_path / "other.pt")


def test_what_the_encoder_gives_can_be_stored_and_fitted(small, tmp_path):
    model, data = small
    features = model.encode(data)
    assert features.shape == (data.n_rows, 9)
    again = model.encode(turned(data[0].reshape(-1, 2, 3)).reshape(-1, 6))
    np.testing.assert_allclose(again, features[: len(data[0])], atol=1e-5)
    np.save(tmp_path / "frozen.npy", features)
    frozen = sd.load_features(tmp_path / "frozen.npy")
    assert sd.NeuralSVD(1, 1, random_state=0).fit_fetch(frozen).timescales()[0] > 1
    with pytest.raises(InputError, match="has no encoder"):
        sd.NeuralSVD(1, 1, random_state=0).fit_fetch(frozen).encode(frozen)


def test_the_encoder_is_left_out_where_it_does_no_better_on_held_out_pairs(quick):
    data, _ = dimer(2, stride=10)
    model = sd.NeuralSVD(1, 1, n_networks=1, random_state=0).fit_fetch(data)
    assert model.encode(data).shape == (data.n_rows, 1)  # the distance, from which all that is slow can be learned
    split = PairSamples.of(rows_of(data, torch.device("cpu")), 1, np.arange(1000), np.arange(1100, 1900))
    asked = Encoding("schnet", ("C", "C"), False)
    trained = []
    for better, n_features in (("plain", 1), ("schnet", 9)):

        def train(inputs, samples, name, better=better):
            trained.append((name, inputs.n_outputs))
            return SimpleNamespace(score=2.0 if name.endswith(better) else 1.0)

        found = encoded(asked, 0, split, train, choose=True)
        assert found.encoding == (asked.plain if better == "plain" else asked)
        assert found.member.score == 2
        assert found.before.n_inputs == n_features
        assert found.samples.rows.gather(torch.arange(5)).shape == (5, found.before.n_outputs)
    assert [name for name, _ in trained] == ["encoded", "scaled-plain", "scaled-schnet"] * 2
    del trained[:]
    assert encoded(asked, 0, split, train, choose=False).encoding == asked
    assert [name for name, _ in trained] == ["encoded"]


def test_plain_features_are_whitened_by_all_pairs():
    """By half of them their variances would be some 1 % off, and those of hundreds of features far more."""
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(25_002, 12)).astype(np.float32))
    rows[:, 0] += torch.linspace(0, 5, len(rows))  # so that the first ones tell little of the mean
    used = np.arange(25_000)
    split = PairSamples.of(rows_of(sd.Dataset([rows.numpy()]), torch.device("cpu")), 1, used[:18_000], used[18_000:])
    found = encoded(Encoding("plain", ("C", "N", "O", "S"), False), 0, split, None, choose=False)
    covariance = found.before(rows[:25_000]).double().T.cov()
    torch.testing.assert_close(covariance, torch.eye(6, dtype=torch.float64), atol=1e-3, rtol=0)


def test_refits_train_no_encoder_where_it_was_left_out(quick):
    data, _ = dimer(2, stride=10)
    learner = sd.NeuralSVD(1, 1, n_networks=1, random_state=0)
    model = learner.fit_fetch(data)
    refits = sd.refit_resampled(learner, model, data, 2, n_jobs=1)
    taken = [one.settings.layout.encoding for one in (model, *(refit.model for refit in refits))]
    assert taken == [replace(taken[0], encoder="plain")] * 3
    schnet = SimpleNamespace(settings=SimpleNamespace(layout=SimpleNamespace(encoding=Encoding("schnet", (), False))))
    assert once_more(learner, schnet, n_modes=2).get_params()["encoder"] == "schnet"


def test_training_from_disk_is_that_from_memory(quick, monkeypatch):
    data, _ = dimer(1, stride=10)
    learner = sd.NeuralSVD(1, 1, n_networks=1, encoder="schnet", random_state=0)
    here = learner.fit_fetch(data)
    monkeypatch.setattr(type(data), "resident", False)
    there = learner.fit_fetch(data)
    np.testing.assert_allclose(there.timescales(), here.timescales(), rtol=0.05)


@pytest.mark.parametrize(
    "options", [{"network": "separate", "objective": "sequential"}, {"warm_start": False}, {"reversible": False}]
)
def test_other_networks_and_objectives_learn_from_coordinates_too(quick, options, tmp_path):
    data, states = dimer(2, stride=10)
    model = sd.NeuralSVD(
        1, 1, random_state=0, encoder="painn" if options == {"reversible": False} else "schnet", **options
    )
    model = model.fit_fetch(data)
    assert model.timescales()[0] == pytest.approx(oracle_timescales(SYSTEMS["double-well"], states, 1, 1)[0], rel=0.1)
    model.save(tmp_path / "model.pt")
    np.testing.assert_array_equal(load_model(tmp_path / "model.pt").functions(data), model.functions(data))


def test_what_makes_no_sense_is_one_sentence(small):
    _, data = small
    plain = sd.Dataset(list(data))
    many = sd.Dataset([np.random.default_rng(0).normal(size=(50, 210))], atoms=Atoms(("C",) * 70))
    for learner, given, sentence in (
        (sd.NeuralSVD(1, 1, encoder="schnet"), plain, "encoder 'schnet' is for coordinates of atoms, and the data"),
        (sd.NeuralSVD(1, 1, encoder="gvp"), data, "encoder 'gvp' is unknown: choose one of schnet, painn, plain"),
        (sd.NeuralSVD(1, 1, encoder="plain"), many, "of which these 70 atoms have none"),
        (sd.GeneratorSVD(1), data, "the generator takes the state of a potential as it is"),
    ):
        with pytest.raises(InputError, match=sentence):
            learner.fit(given)
    file = DIPEPTIDE / "a2.xtc"
    for options, sentence in (
        ({"features": "coordinates,torsions"}, "ask for them alone, without torsions"),
        ({"features": "coordinates", "atoms": "name CA"}, "it needs at least two heavy atoms besides water, and there"),
        (
            {"features": "coordinates", "columns": ["atom ALA2-CA x"]},
            "`columns` are not the 30 coordinates in their order",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            sd.load_features(file, top=TOP, cache=False, **options)


def test_other_methods_are_given_the_distances(small):
    _, data = small
    split = Split.of(data.stretches, Question(lagtime=1, n_modes=1, seed=0))
    job = Job("tica", {}, split, data.atoms)
    assert interatomic_distances(data[0], data.atoms).shape == (len(data[0]), 1)

    def in_this_process(place, _):
        assert Job.load(place / "job.pt").atoms == data.atoms
        from spectraldyn.baselines.process import do_job

        do_job(place)
        return 0

    comparison = sd.compare_methods(data, 1, 1, "neural-svd,tica", n_splits=1, runner=in_this_process)
    assert job.atoms == data.atoms
    assert [result.failed for result in comparison.results] == [None, None]
    scores = [result.vamp2_test for result in comparison.results]
    assert scores == pytest.approx([1.77, 1.72], abs=0.03)  # the distance, and its best linear function
    assert any("all methods but neural-svd are given the distances" in warning for warning in comparison.warnings)


def test_from_the_command_line_to_a_report_and_to_new_files(quick, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    frames = mdtraj.load(DIPEPTIDE / "a2.xtc", top=TOP)[:1500]
    frames.save_xtc("run.xtc")
    fit = [
        "fit",
        "run.xtc",
        "--top",
        str(TOP),
        "--lag",
        "5",
        "--features",
        "coordinates",
        "--modes",
        "2",
        "--out",
        "out",
    ]
    assert main(fit) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    printed = capfd.readouterr().out
    assert results["coordinates"]["n_atoms"] == 10
    if results["coordinates"]["encoder"] is None:
        assert "Of the coordinates: torsion angles and distances, without an encoder\n" in printed
    else:
        assert "Of the coordinates: features learned by schnet, beside torsion angles and distances\n" in printed
    (first, _) = results["attribution"]
    names = {found["name"] for found in first["features"]}
    assert names <= {
        f"atom {kind}" for kind in sd.load_features("run.xtc", top=TOP, features="coordinates").atoms.kinds
    }
    assert first["features"][0]["importance"]["value"] > 0
    moved = mdtraj.Trajectory(turned(mdtraj.load("run.xtc", top=TOP).xyz), frames.topology, frames.time)
    moved.save("moved.h5")  # and not as XTC, which rounds
    for file in ("run.xtc", "moved.h5"):
        assert main(["transform", "out", file, "--out", file[:3] + ".npz"]) == 0
    with np.load("run.npz") as one, np.load("mov.npz") as other, np.load("out/modes.npz") as fitted:
        np.testing.assert_allclose(one["modes"], fitted["modes"], atol=1e-5)
        np.testing.assert_allclose(other["modes"], one["modes"], atol=2e-3)
