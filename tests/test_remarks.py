"""Marks and remarks: on data built to call for them, and on data built not to."""

import dataclasses
import json

import numpy as np
import pytest
from problems import markov_chain, markov_chains
from scipy.signal import lfilter

from spectraldyn import Dataset, NeuralSVD, NeuralSVDModel, analyze, fit_trajectories, write_results
from spectraldyn.data import stretches_of
from spectraldyn.pipeline.remarks import MEND_FIRST, Findings, Judgement, set_remarks
from spectraldyn.report.page import marked
from spectraldyn.spectra.doubts import confirmed, separate_groups
from spectraldyn.spectra.rayleigh_ritz import rayleigh_ritz
from spectraldyn.spectra.scores import HeldOut, held_out_modes, pair_averages, split_scores
from spectraldyn.spectra.states import cluster_modes, metastable_sets
from spectraldyn.spectra.timescales import Timescale

SLOW = np.array([[0.97, 0.03, 0.0], [0.03, 0.92, 0.05], [0.0, 0.05, 0.95]])
DRIVEN = np.array([[0.7, 0.28, 0.02], [0.02, 0.7, 0.28], [0.28, 0.02, 0.7]])
OPTIONS = {"hidden": (16,), "max_steps": 60, "random_state": 0}


def frames_of(states: np.ndarray, n_noise: int = 0, seed: int = 0) -> np.ndarray:
    """Two coordinates in which the states lie apart, and others that are noise."""
    random = np.random.default_rng(seed)
    corners = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, -0.5], [6.0, 0.0], [7.0, 1.0], [8.0, 0.0]])
    blurred = corners[states] + 0.05 * random.normal(size=(len(states), 2))
    return np.hstack((blurred, random.normal(size=(len(states), n_noise)))).astype(np.float32)


def analysed(*trajectories: np.ndarray, **options):
    data = Dataset(trajectories)
    fit = NeuralSVD(**{"n_modes": 2, **OPTIONS, **options}).fit(data)
    return analyze(fit.model_, data, functions=fit.functions_)


@pytest.fixture(scope="module")
def good():
    return analysed(frames_of(markov_chain(SLOW, 12_000, seed=1)))


def of_one_mode(**changes) -> HeldOut:
    values = {"values": 0.9, "kept": 1.0, "error": 0.02, "variance": 1.0, "n_pieces": 15.0} | changes
    n_pairs, arrays = values.pop("n_pairs", 2000), {name: np.array([value]) for name, value in values.items()}
    return HeldOut(n_pairs, np.zeros((2, 1)), **arrays, vampe_error=0.1)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, True),
        ({"kept": 0.0}, False),  # fitted to noise
        ({"values": 0.5, "kept": 0.6}, True),  # a timescale of 1.44 that is surely above half of it
        ({"values": 0.5, "kept": 0.6, "error": 0.06}, False),  # maybe less than half of the eigenvalue is left
        ({"values": 0.01, "kept": 3.4, "error": 1.4}, False),  # noise that happens to be there twice
        ({"values": 0.98, "kept": 0.9}, False),  # a timescale of 49 in training and of 17 at most held out
        ({"values": 0.98, "kept": 0.9, "error": 0.05}, True),  # which the spread allows to be the same
        ({"values": 0.98, "kept": 0.0, "variance": 0.03}, None),  # hardly there in the held-out part
        ({"values": 0.98, "kept": 0.0, "n_pieces": 2.0}, None),  # there in one visit
        ({"n_pairs": 100}, None),
        ({"n_pairs": 0, "kept": 0.0, "error": 0.0, "variance": 0.0, "n_pieces": 0.0}, None),
        ({"values": 0.8j, "kept": 0.95}, True),  # one of a pair that oscillates
        ({"values": 1.0, "kept": 1.0, "error": 0.0}, True),
    ],
)
def test_what_confirms_a_mode(changes, verdict):
    assert confirmed(of_one_mode(**changes)) == [verdict]


@pytest.mark.parametrize(("n_noise", "said"), [(198, True), (98, False)])
def test_more_features_than_frames_can_tell_apart(n_noise, said):
    """200 and 100 features in 1,500 frames."""
    remarks = analysed(frames_of(markov_chain(SLOW, 1_500, seed=1), n_noise)).warnings
    assert ("there are 200 features and only 1500 frames" in " ".join(remarks)) == said


@pytest.mark.parametrize(("matrix", "tied"), [(SLOW, True), (DRIVEN, False)], ids=["reversible", "driven"])
def test_held_out_eigenvalues_are_rayleigh_quotients(matrix, tied):
    """Exact on the training pairs themselves; within its error on others; nothing without order in time."""
    functions = np.eye(3)[markov_chains(matrix, 2, 20_000, seed=0)][:, :, :2]
    functions = np.concatenate((np.ones((2, 20_000, 1)), *[functions] * (1 if tied else 2)), axis=2)
    x, y = functions[:, :-1], functions[:, 1:]
    averages = pair_averages(x[0], y[0], tied=tied)
    same = held_out_modes(averages, (x[0], y[0]), 19_999, tied=tied)
    exact = np.linalg.eigvals(matrix)
    exact = exact[np.argsort(-np.abs(exact))][1:]
    np.testing.assert_allclose(np.sort(same.values.real), np.sort(exact.real), atol=0.02)
    np.testing.assert_allclose(np.sort(np.abs(same.values.imag)), np.sort(np.abs(exact.imag)), atol=0.02)
    np.testing.assert_allclose(same.kept, 1, atol=1e-10)
    np.testing.assert_allclose(same.variance, 1, atol=0.02)
    other = held_out_modes(averages, (x[1], y[1]), 19_999, tied=tied)
    assert (np.abs(other.kept - 1) < 4 * other.error).all()
    assert (other.error < 0.02).all()
    assert (other.n_pieces > 15).all()
    mixed = held_out_modes(averages, (x[1], np.random.default_rng(0).permutation(y[1])), 19_999, tied=tied)
    assert (np.abs(mixed.kept) < 4 * mixed.error).all()
    assert len(rayleigh_ritz(averages, tied=tied, both_ends=not tied).values) == len(same.values) == 2


def test_errors_of_held_out_eigenvalue_and_score_are_their_spread():
    """Over 200 independent held-out parts of a Gaussian process."""
    decay, n = 0.8, 1000
    noise = np.random.default_rng(0).normal(size=(200, n + 100)) * np.sqrt(1 - decay**2)
    process = lfilter([1], [1, -decay], noise, axis=1)[:, 100:]
    functions = np.stack((np.ones_like(process), process), axis=2)
    train = (np.eye(2), np.diag([1, decay]), np.eye(2))
    found = [held_out_modes(train, (f[:-1], f[1:]), n - 1, tied=True) for f in functions]
    kept, error = (np.array([getattr(one, name)[0] for one in found]) for name in ("kept", "error"))
    assert kept.mean() == pytest.approx(1, abs=0.01)
    assert error.mean() == pytest.approx(kept.std(), rel=0.15)
    tests = [pair_averages(f[:-1], f[1:], tied=True) for f in functions]
    scores = [split_scores(train, test, tied=True)["vampe_test"] for test in tests]
    assert np.mean([one.vampe_error for one in found]) == pytest.approx(np.std(scores), rel=0.2)


def test_groups_are_what_no_trajectory_connects():
    def groups(*pieces: list[float]) -> list[int]:
        values = np.concatenate(pieces)[:, None]
        return separate_groups(values, stretches_of([len(piece) for piece in pieces])).tolist()

    apart = groups([0.0, 0.1, 0.05], [2.0, 2.2], [0.08, 0.2], [5.0, 5.5])
    assert apart == [0, 1, 0, 2]
    assert groups([0.0, 0.1], [2.0, 2.2], [0.05, 2.1]) == [0, 0, 0]  # the last one connects the others
    assert groups([0.0, 0.1], [0.2, 0.4]) == [0, 0]  # as near as neighbours are
    assert groups([0.0, 3.0]) == [0]
    two = np.array([[0, 0], [0, 0], [2, 0], [2, 0], [2, 2], [2, 2]], dtype=float)
    assert separate_groups(two, stretches_of([2, 2, 2])).tolist() == [0, 1, 2]


def white(seed: int):
    return analysed(
        np.random.default_rng(seed).normal(size=(2000, 20)).astype(np.float32), hidden=(64, 64), max_steps=100
    )


def shuffled(seed: int):
    frames = frames_of(markov_chain(SLOW, 6000, seed))
    return analysed(np.random.default_rng(seed).permutation(frames))


def short(seed: int):
    return analysed(frames_of(markov_chain(SLOW, 500, seed)))


def apart(seed: int):
    states = markov_chain(SLOW, 6000, seed)
    return analysed(frames_of(states[:3000]), frames_of(states[3000:] + 3), n_modes=3)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("made", "sentences"),
    [
        (white, ["the data carry none of 2 modes", "no process slower than the lag time was found"]),
        (shuffled, ["the data carry none of 2 modes", "no process slower than the lag time was found"]),
        (short, ["the data are too short: only 9", "fewer than 150 confirm no timescale"]),
        (apart, ["fall into 2 groups that never visit the same states (trajectory 1 | trajectory 2)"]),
    ],
    ids=["noise", "shuffled", "short", "apart"],
)
def test_bad_data_resolve_nothing_and_say_why(made, sentences, seed):
    results = made(seed)
    for scales in results.timescales_by_lag.values():
        assert all(scale.unresolved for scale in scales)
    for sentence in sentences:
        assert any(sentence in remark for remark in results.warnings), results.warnings


def test_good_data_call_for_no_remark(good):
    assert all(scale.unresolved is None for scale in good.timescales)
    assert good.n_carried == 2
    assert [remark.split(":")[0] for remark in good.warnings] == ["the frame spacing is unknown"]


def test_fewer_sets_than_asked_for_are_said(good):
    tails = np.random.default_rng(12).standard_t(2.5, size=(1000, 3))
    sets = metastable_sets(tails / tails.std(axis=0), cluster_modes(tails / tails.std(axis=0), random_state=0), 4)
    n_found = len(sets.populations)
    assert list(map(str, set_remarks(sets, 4))) == [
        f"{n_found} metastable sets in place of 4: a further one would hold no frame"
    ]
    assert set_remarks(sets, None) == set_remarks(sets, n_found) == set_remarks(good.sets, 3) == []


def test_good_data_in_many_short_trajectories_are_one_group():
    """Most of which never leave the state that they begin in."""
    results = analysed(*map(frames_of, markov_chains(SLOW, 300, 40, seed=3)))
    assert not Findings.of(results.model, results.data, results.modes).groups.any()
    assert all(scale.unresolved is None for scale in results.timescales)


def test_the_number_of_modes_that_the_data_carry():
    results = analysed(frames_of(markov_chain(SLOW, 12_000, seed=2), n_noise=3), n_modes=5)
    assert results.n_carried == 2
    assert [scale.unresolved is None for scale in results.timescales] == [True, True, False, False, False]
    (remark,) = [remark for remark in results.warnings if "the data carry 2 of 5 modes" in remark]
    assert "ask for `n_modes` 2" in remark
    assert len(results.sets.populations) == 3


def remarks(results, scales=None, **changes) -> list[str]:
    model = dataclasses.replace(results.model, **changes)
    found = Findings.of(model, results.data, results.modes)
    return [str(remark) for remark in found.remarks(scales or results.timescales)]


def test_verdicts_find_their_modes_whatever_the_last_part_of_the_training_did(good):
    """Combinations that are long by now, and in another order, take nothing from those that are not."""
    held_out = good.model.held_out
    functions = good.model.eigenmodes.functions @ np.array([[1.0, 20.0], [0.0, 10.0]])
    swapped = dataclasses.replace(held_out, functions=functions[:, ::-1], kept=np.array([0.0, 1.0]))
    for moved in (swapped, dataclasses.replace(held_out, functions=functions, kept=np.array([1.0, 0.0]))):
        model = dataclasses.replace(good.model, held_out=moved)
        assert Findings.of(model, good.data, good.modes).confirmed == [True, False]


def test_norms_far_from_the_ritz_values_are_remarked_upon(good):
    def with_norms(factor: float) -> list[str]:
        spectrum = good.model.spectrum
        return remarks(good, spectrum=dataclasses.replace(spectrum, norms=spectrum.values[::-1] * [1, factor]))

    assert not any("norms" in remark for remark in with_norms(0.98))
    (remark,) = [remark for remark in with_norms(0.8) if "norms" in remark]
    assert remark.endswith("or give more data or fewer `features`")
    assert remark.count("(process ") == 1
    # An interval that holds the norm takes it for chance.
    wide = [dataclasses.replace(scale, low=0.5, high=None) for scale in good.timescales]
    norms = dataclasses.replace(good.model.spectrum, norms=0.8 * good.model.spectrum.values)
    assert not any("norms" in remark for remark in remarks(good, wide, spectrum=norms))


def test_scores_that_disagree_are_remarked_upon(good):
    scores = {"vamp2_train": 3.0, "vamp2_test": 1.5, "vampe_test": 1.4}
    assert not any("held-out VAMP" in remark for remark in remarks(good, scores=scores))
    (remark,) = [r for r in remarks(good, scores={**scores, "vampe_test": -1.5}) if "held-out VAMP-E is -1.5" in r]
    assert "other proportions" in remark
    # A rare state that the held-out part holds less of may be chance.
    uncertain = dataclasses.replace(good.model.held_out, vampe_error=2.0)
    scores_below = {**scores, "vampe_test": 0.9}
    assert not any("VAMP-E" in r for r in remarks(good, scores=scores_below, held_out=uncertain))
    # A process that the held-out part hardly holds, and that is seen too rarely on the whole.
    held_out = dataclasses.replace(good.model.held_out, variance=np.array([0.01, 1.0]))
    assert not any("held-out VAMP" in remark for remark in remarks(good, scores=scores, held_out=held_out))
    rare = [Timescale(50.0, 5.0, None, 2, "only 2 transitions seen"), good.timescales[1]]
    said = remarks(good, rare, scores=scores, held_out=held_out)
    assert any("the held-out VAMP-2 is 1.5, where that of training is 3: process 1 hardly occurs" in r for r in said)


def test_every_set_holds_frames():
    """Of modes with tails, on which three or four sets leave some without a frame."""
    found = []
    for seed in (1, 12):
        modes = np.random.default_rng(seed).standard_t(2.5, size=(1000, 3))
        modes = (modes - modes.mean(axis=0)) / modes.std(axis=0)
        sets = metastable_sets(modes, cluster_modes(modes, random_state=0), 4)
        assert np.bincount(sets.assignment, minlength=len(sets.populations)).all()
        assert sets.transformation.shape == (len(sets.populations),) * 2
        found.append(len(sets.populations))
    assert max(found) < 4


def test_held_out_eigenvalues_are_saved_with_the_model(good, tmp_path):
    good.model.save(tmp_path / "model.pt")
    again = NeuralSVDModel.load(tmp_path / "model.pt").held_out
    for name, value in vars(good.model.held_out).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_remarks_reach_the_folder_and_the_page(tmp_path, no_pictures):
    """Two files that never meet: in results.json, in the report beside each process and on top of it."""
    states = markov_chain(SLOW, 3000, seed=0)
    files = [tmp_path / "one.npy", tmp_path / "two.npy"]
    for file, shift in zip(files, (0, 3), strict=True):
        np.save(file, frames_of(states + shift))
    results = fit_trajectories(files, lag=1, n_modes=2, **OPTIONS)
    out = write_results(results, tmp_path / "out")
    stored, page = json.loads((out / "results.json").read_text()), (out / "report.html").read_text()
    (remark,) = [remark for remark in stored["warnings"] if "never visit the same states" in remark]
    assert "one.npy" in remark
    assert "two.npy" in remark
    assert all(scale["unresolved"] for scale in stored["timescales"])
    assert stored["timescales"][0]["unresolved"] == "only 0 transitions seen"
    assert stored["n_carried"] == 2
    (problem,) = [one for one in stored["verdict"] if "never visit the same states" in one["message"]]
    assert f"{problem['message']}; {problem['advice']}" == remark
    assert problem["message"] in page
    assert problem["advice"] in page
    assert page.count("unresolved: ") >= 2
    assert "of which the data carry 2" in page


def test_names_of_parameters_are_code_on_the_page():
    assert marked("give `lag` < 5 or `n_modes`") == "give <code>lag</code> &lt; 5 or <code>n_modes</code>"


def test_sets_of_results_that_must_not_be_quoted_say_so(good):
    assert "not to be quoted" not in str(good)
    bad = dataclasses.replace(good, verdict=[Judgement("problem", MEND_FIRST)])
    assert "; not to be quoted, see the verdict\n" in str(bad)
