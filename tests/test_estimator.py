"""NeuralSVD: conventions of scikit-learn and deeptime, exact answers on small systems, saving and loading."""

import dataclasses

import numpy as np
import pytest
import torch
from deeptime.decomposition import VAMP
from deeptime.plots import plot_implied_timescales
from deeptime.util.validation import implied_timescales
from problems import SHARED, markov_chain, needs_shared, stationary
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from analysis.distances import subspace_distance
from spectraldyn import Dataset, InputError, InputWarning, NeuralSVD, NeuralSVDModel, load_features
from spectraldyn.data import PairSamples, Rows, rows_of
from spectraldyn.estimators import neural_svd
from spectraldyn.learning.warm_start import MOST_INPUTS, slow_coordinates
from spectraldyn.networks import Whitening
from spectraldyn.objectives import OBJECTIVES

REVERSIBLE = np.array([[0.97, 0.02, 0.01], [0.02, 0.95, 0.03], [0.01, 0.03, 0.96]])
DRIVEN = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])


def realisation(matrix: np.ndarray, n_trajectories: int = 4, n_steps: int = 5000) -> list[np.ndarray]:
    """States as two features, with a nuisance column of noise."""
    random = np.random.default_rng(0)
    points = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    states = [markov_chain(matrix, n_steps, seed) for seed in range(n_trajectories)]
    return [np.column_stack((points[s], random.normal(size=n_steps))) for s in states]


def states_of(trajectories: list[np.ndarray]) -> list[np.ndarray]:
    """The states behind a realisation."""
    return [np.where(frames[:, 0] == 0, 0, np.where(frames[:, 0] > 0, 1, 2)) for frames in trajectories]


def counted_eigenvalues(trajectories: list[np.ndarray], lag: int) -> np.ndarray:
    """Reversible Rayleigh–Ritz with the indicator functions of the states: the oracle of a finite chain."""
    c0, ct = np.zeros((3, 3)), np.zeros((3, 3))
    for states in states_of(trajectories):
        h = np.eye(3)[states]
        x, y = h[:-lag], h[lag:]
        c0 += x.T @ x + y.T @ y
        ct += x.T @ y + y.T @ x
    return np.sort(np.linalg.eigvals(np.linalg.solve(c0, ct)).real)[::-1][1:]


def not_for_time_series(_: object) -> dict[str, str]:
    """A weight counts the pair that starts in a frame; without the frame others would be a lag time apart."""
    return {"check_sample_weight_equivalence_on_dense_data": "frames are not independent samples"}


@parametrize_with_checks(
    [NeuralSVD(n_modes=1, max_steps=20, hidden=(8,), random_state=0)], expected_failed_checks=not_for_time_series
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def trajectories():
    return realisation(REVERSIBLE)


@pytest.fixture(scope="module")
def short(trajectories):
    """2000 frames of them, for what has nothing to do with numbers."""
    return [frames[:500] for frames in trajectories]


@pytest.fixture(scope="module")
def fitted(trajectories):
    return NeuralSVD(n_modes=2, lagtime=2, random_state=1, max_steps=200).fit(trajectories)


@pytest.mark.parametrize(("objective", "network"), [("joint", None), ("joint", "separate"), ("sequential", None)])
def test_finite_chain_meets_its_oracle(trajectories, objective, network):
    options = {"objective": objective, "network": network, "random_state": 0, "max_steps": 250}
    model = NeuralSVD(n_modes=2, lagtime=2, **options).fit_fetch(trajectories)
    oracle = counted_eigenvalues(trajectories, 2)
    np.testing.assert_allclose(model.eigenvalues, oracle, rtol=0.003)
    np.testing.assert_allclose(model.spectrum.norms, oracle, rtol=0.02)
    np.testing.assert_allclose(model.timescales(), -2 / np.log(model.eigenvalues))
    # 20,000 steps: the truth lies within a few per cent.
    np.testing.assert_allclose(model.eigenvalues, np.sort(np.linalg.eigvals(REVERSIBLE @ REVERSIBLE))[1::-1], rtol=0.03)


def test_driven_chain_has_the_right_singular_and_complex_eigenvalues():
    trajectories = realisation(DRIVEN)
    options = {"reversible": False, "n_networks": 1, "random_state": 0, "max_steps": 400}
    model = NeuralSVD(n_modes=2, lagtime=3, **options).fit_fetch(trajectories)
    matrix = np.linalg.matrix_power(DRIVEN, 3)
    p = stationary(matrix)
    singular_values = np.linalg.svd(np.diag(p**0.5) @ matrix @ np.diag(p**-0.5), compute_uv=False)[1:]
    eigenvalues = np.linalg.eigvals(matrix)
    eigenvalues = eigenvalues[np.abs(eigenvalues) < 0.999]
    oracle = VAMP(lagtime=3).fit_fetch([frames[:, :2] for frames in trajectories]).singular_values
    np.testing.assert_allclose(model.singular_values, oracle, rtol=0.003)
    np.testing.assert_allclose(model.spectrum.norms, oracle, rtol=0.02)
    # 20,000 steps: the truth lies within a few per cent.
    np.testing.assert_allclose(model.singular_values, singular_values, rtol=0.03)
    np.testing.assert_allclose(np.sort(model.eigenvalues.imag), np.sort(eigenvalues.imag), atol=0.02)
    np.testing.assert_allclose(model.eigenvalues.real, eigenvalues.real, atol=0.02)


@pytest.mark.parametrize("warm_start", [True, False])
@pytest.mark.parametrize("objective", ["vamp-2", "low-rank", "neuralef"])
def test_other_objectives_give_the_span_of_the_oracle(trajectories, objective, warm_start):
    """The span of the indicators of three states and no other, and the eigenvalues that the counts give in it."""
    options = {"objective": objective, "warm_start": warm_start, "random_state": 0, "max_steps": 200, "n_networks": 1}
    fit = NeuralSVD(2, 2, **options).fit(trajectories)
    assert fit.model_.settings.layout.network == ("separate" if objective == "neuralef" else "common-trunk")
    states = np.concatenate(states_of(trajectories))
    indicators = np.eye(3)[states]
    distance = subspace_distance(fit.functions_, indicators, np.full(len(states), 1 / len(states)))
    assert distance < 0.003
    np.testing.assert_allclose(fit.model_.eigenvalues, counted_eigenvalues(trajectories, 2), rtol=0.005)
    if not warm_start:  # only the low-rank objective pins the norms of its span, to the sum of the eigenvalues
        ratio = fit.model_.spectrum.norms.sum() / fit.model_.eigenvalues.sum()
        assert (abs(ratio - 1) < 0.03) == (objective == "low-rank")


def test_functions_are_those_of_the_model_at_every_row(fitted, trajectories):
    """In single precision; the spectrum is read off in double."""
    functions = fitted.model_.functions(np.concatenate(trajectories))
    np.testing.assert_array_equal(fitted.functions_, functions.astype(np.float32))
    assert fitted.functions_.shape == (20_000, 3)
    pairs = [slice(start, start + 4998) for start in range(0, 20_000, 5000)]
    left = sum(functions[p].T @ functions[p] for p in pairs)
    np.testing.assert_allclose(
        left + sum(functions[2:][p].T @ functions[2:][p] for p in pairs),
        2 * fitted.model_.moments.left[fitted.model_.moments.at(2)].sum(axis=0),
        rtol=1e-11, atol=1e-9,
    )  # fmt: skip


def test_data_on_disk_stay_there(tmp_path, monkeypatch):
    """The training sees views of a memory-mapped file, of all stretches in it, and so does the reading off."""
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32))
    source = np.load(path, mmap_mode="r")
    seen = []

    def watched(data, device):
        rows = rows_of(data, device)
        seen.extend((data, rows))
        return rows

    monkeypatch.setattr(neural_svd, "rows_of", watched)
    NeuralSVD(1, max_steps=2, hidden=(4,), random_state=0).fit(Dataset([source[:1000], source[1000:]]))
    data, rows = seen
    (part,) = rows.parts
    assert part.shape == (3000, 2)
    assert np.shares_memory(part.numpy(), source)
    assert all(np.shares_memory(view, source) for _, view in data.chunks())
    # Stretches that do not follow each other are parts of their own, and copied no more than these.
    del seen[:]
    NeuralSVD(1, max_steps=2, hidden=(4,), random_state=0).fit(Dataset([source[:1000], source[1500:]]))
    assert [len(part) for part in seen[1].parts] == [1000, 1500]
    assert all(np.shares_memory(part.numpy(), source) for part in seen[1].parts)


def test_modes_are_orthonormal_eigenfunctions(fitted, trajectories):
    modes = np.concatenate(fitted.transform(trajectories))
    # Over both ends of the pairs, which nearly are all frames.
    np.testing.assert_allclose(modes.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(np.cov(modes.T, bias=True), np.eye(2), atol=5e-3)
    assert (np.mean(modes**3, axis=0) > 0).all()


def test_list_single_array_and_pairs_are_the_same_data(trajectories):
    one = trajectories[0]
    options = {"n_modes": 2, "lagtime": 2, "n_networks": 1, "random_state": 0, "max_steps": 50}
    single = NeuralSVD(**options).fit_fetch(one)
    listed = NeuralSVD(**options).fit_fetch([one])
    np.testing.assert_array_equal(single.eigenvalues, listed.eigenvalues)
    pairs = NeuralSVD(**options | {"max_steps": 150}).fit_fetch((one[:-2], one[2:]))
    long = NeuralSVD(**options | {"max_steps": 150}).fit_fetch(one)
    # The same pairs, other batches: the spectra agree as far as training has converged.
    np.testing.assert_allclose(pairs.eigenvalues, long.eigenvalues, rtol=0.01)
    np.testing.assert_allclose(pairs.timescales(), -2 / np.log(pairs.eigenvalues))
    assert pairs.moments.lagtimes.tolist() == [2]
    assert pairs.moments.weight.sum() == len(one) - 2


def test_pieces_lose_exactly_the_pairs_across_their_ends(trajectories):
    whole = np.concatenate(trajectories)
    options = {"n_modes": 2, "lagtime": 7, "random_state": 0, "max_steps": 5}
    for data, n_pairs in ((whole, len(whole) - 7), (trajectories, len(whole) - 4 * 7)):
        moments = NeuralSVD(**options).fit_fetch(data).moments
        assert moments.weight[moments.at(7)].sum() == n_pairs


def test_same_seed_same_numbers(short):
    models = [NeuralSVD(n_modes=2, random_state=seed, max_steps=20).fit_fetch(short) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(models[0].eigenvalues, models[1].eigenvalues)
    assert (models[0].eigenvalues != models[2].eigenvalues).all()


RESUMED = {"n_modes": 2, "random_state": 3, "max_steps": 60}


@pytest.fixture(scope="module")
def straight(short):
    return NeuralSVD(**RESUMED).fit_fetch(short)


@pytest.mark.usefixtures("kept_at_every_evaluation")
@pytest.mark.parametrize("interrupted_at", [30, 75, 215, 255])
def test_interrupted_fit_goes_on_to_the_same_numbers(short, straight, tmp_path, monkeypatch, interrupted_at):
    """In the trainings of several networks, and in the last one on all pairs."""
    steps = iter(range(10_000))

    def interrupting(formula):
        def interrupt(action):
            if next(steps) == interrupted_at:
                raise KeyboardInterrupt
            return formula(action)

        return interrupt

    for name in ("vamp-2", "joint"):
        framework = OBJECTIVES[name]
        monkeypatch.setitem(OBJECTIVES, name, dataclasses.replace(framework, formula=interrupting(framework.formula)))
    estimator = NeuralSVD(**RESUMED, checkpoint_folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(short)
    assert list(tmp_path.iterdir())
    done = next(steps)
    resumed = estimator.fit_fetch(short)
    np.testing.assert_array_equal(resumed.eigenvalues, straight.eigenvalues)
    assert next(steps) - done < 5 * 60 - interrupted_at + 5  # not from the start
    assert not list(tmp_path.iterdir())


def test_many_columns_are_looked_at_through_few_coordinates(trajectories, tmp_path):
    """The networks are trained on the slowest coordinates and take all columns; saved, they are the same."""
    random = np.random.default_rng(0)
    wide = [np.hstack((frames, random.standard_normal((len(frames), 200)))) + 50 for frames in trajectories]
    estimator = NeuralSVD(1, 2, n_networks=2, random_state=0, max_steps=100)
    model = estimator.fit_fetch(wide)
    alone = NeuralSVD(1, 2, n_networks=1, random_state=0, max_steps=100).fit_fetch(trajectories)
    assert model.timescales() == pytest.approx(alone.timescales(), rel=0.1)
    (first, *_) = model.sides.left.trunk.parts
    assert (first[0].whitening.n_inputs, first[0].linear.in_features) == (wide[0].shape[1], MOST_INPUTS)
    np.testing.assert_allclose(model.functions(wide[0])[:, 1], estimator.functions_[: len(wide[0]), 1], atol=1e-4)
    model.save(tmp_path / "model.pt")
    loaded = NeuralSVDModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(loaded.transform(wide[0]), model.transform(wide[0]))


def test_scales_of_a_network_know_nothing_of_the_pairs_it_held_out(short, monkeypatch):
    """Else a coordinate that is slow in these alone would look good there, and training end too early."""
    asked, held_out = [], []

    def recorded(whitening, pairs):
        asked.append(set(pairs.train.tolist()))
        held_out.append(set(pairs.test.tolist()))
        return slow_coordinates(whitening, pairs)

    monkeypatch.setattr(neural_svd, "slow_coordinates", recorded)
    NeuralSVD(2, n_networks=3, random_state=0, max_steps=3).fit(short)
    assert len(asked) == 3
    assert all(held_out)
    for train, test in zip(asked, held_out, strict=True):
        assert not train & test
    assert not held_out[0] & held_out[1]
    assert not held_out[1] & held_out[2]


def test_few_pairs_are_trained_on_gently(monkeypatch):
    """The fewer pairs there are for an input, the more decay, the fewer steps and the slower the last part."""
    plans = {}
    learn = NeuralSVD._learn

    def noted(self, *arguments, **schedule):
        plans.setdefault(n_frames, []).append(schedule)
        return learn(self, *arguments, **{**schedule, "n_steps": 2})

    monkeypatch.setattr(NeuralSVD, "_learn", noted)
    for n_frames in (40_000, 851):
        frames = np.random.default_rng(0).standard_normal((n_frames, 1)).cumsum(axis=0) % 20
        NeuralSVD(1, 1, random_state=0).fit(frames)
    (many, *_, last_of_many), (few, *_, last_of_few) = plans.values()
    share = 0.8
    assert many["decay"] == pytest.approx(1700 / (share * 40_000), rel=0.02)
    assert few["decay"] == 1.0  # 1700 / (share * 850), at most 1
    assert (many["n_steps"], few["n_steps"]) == (1000 + 25, 400 + 25)
    assert last_of_many["learning_rate"] == pytest.approx(0.03 * 0.02)
    assert last_of_few["learning_rate"] == pytest.approx(0.03 * 0.02 / 2)


def plan_of(inputs, n_frames, kind, **options):
    """Of a network on these scales of independent unit normal coordinates."""
    states = torch.from_numpy(np.random.default_rng(0).standard_normal((n_frames + 1, len(inputs)))).float()
    split = PairSamples.of(Rows(states), 1, np.arange(n_frames))
    whitening = Whitening(torch.zeros(len(inputs)), torch.diag(torch.tensor(inputs)))
    return NeuralSVD(2, **options)._plan(whitening, split, kind)


def test_inputs_count_by_their_scale():
    """Scales that tell how slow inputs are: √(number × variance); those that tell what matters: the variance."""
    inputs, n_frames = [1.0, 0.1, 0.1, 0.1], 17_000
    scaled, relevant = (plan_of(inputs, n_frames, kind) for kind in ("scaled", neural_svd.RELEVANT))
    assert scaled["decay"] == pytest.approx(0.1 * np.sqrt(4 * 1.03), rel=0.02)
    assert relevant["decay"] == pytest.approx(0.1 * 1.03, rel=0.02)
    assert scaled["n_steps"] == pytest.approx(400 * scaled["decay"] ** -0.5 + 50, abs=1)
    assert relevant["n_steps"] == 1000 + 50
    assert (scaled["batch_size"], scaled["name"]) == (512, "vamp-2")


def test_what_is_hidden_among_inputs_is_looked_for_with_large_batches_and_little_decay():
    few, many = (plan_of([1.0, 1.0], n_frames, neural_svd.PROBE) for n_frames in (500, 34_000))
    assert few | {"decay": 0.2, "batch_size": 1024, "n_steps": 300} == few
    assert many["decay"] == pytest.approx(0.1, rel=0.02)
    own = plan_of([1.0, 1.0], 500, neural_svd.PROBE, weight_decay=0.7, max_steps=100, batch_size=2000)
    assert (own["decay"], own["n_steps"], own["batch_size"]) == (0.7, 100, 4000)


def test_fitting_leaves_the_global_random_state_and_threads_alone(short):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    NeuralSVD(n_modes=1, random_state=0, max_steps=20).fit(short)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_clone_and_pipeline(trajectories):
    estimator = NeuralSVD(n_modes=1, lagtime=2, random_state=0, max_steps=50, hidden=(16,))
    assert clone(estimator).get_params() == estimator.get_params()
    pipeline = make_pipeline(StandardScaler(), estimator)
    modes = pipeline.fit_transform(trajectories[0])
    assert modes.shape == (5000, 1)
    np.testing.assert_allclose(pipeline.transform(trajectories[0]), modes)
    assert pipeline.get_feature_names_out().tolist() == ["neuralsvd0"]


def test_save_and_load(fitted, trajectories, tmp_path):
    model = fitted.fetch_model()
    model.save(tmp_path / "model.pt")
    loaded = NeuralSVDModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(loaded.transform(trajectories[0]), model.transform(trajectories[0]))
    np.testing.assert_array_equal(loaded.timescales(), model.timescales())
    np.testing.assert_array_equal(loaded.at_lagtime(4).eigenvalues, model.at_lagtime(4).eigenvalues)
    assert (loaded.lagtime, loaded.scores, loaded.settings) == (model.lagtime, model.scores, model.settings)


@pytest.mark.parametrize("reversible", [True, False])
def test_a_model_of_one_mode_survives_saving(short, tmp_path, reversible):
    """Arrays of one number may have any strides."""
    model = NeuralSVD(1, 2, reversible=reversible, max_steps=2, random_state=0).fit_fetch(short)
    model.save(tmp_path / "model.pt")
    loaded = NeuralSVDModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(loaded.transform(short[0]), model.transform(short[0]))
    np.testing.assert_array_equal(loaded.timescales(), model.timescales())


def test_nonreversible_model_with_separate_networks_survives_saving(short, tmp_path):
    model = NeuralSVD(2, reversible=False, network="separate", max_steps=20, random_state=0).fit_fetch(short)
    model.save(tmp_path / "model.pt")
    loaded = NeuralSVDModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(loaded.functions(short[0]), model.functions(short[0]))
    assert not loaded.reversible


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 garbage"])
def test_loading_anything_else_is_one_sentence(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a model saved by spectraldyn"):
        NeuralSVDModel.load(path)


def test_loading_never_unpickles_code(tmp_path):
    torch.save({"spectraldyn_model": 1, "config": np.random.default_rng}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="is not a model"):
        NeuralSVDModel.load(tmp_path / "x.pt")


def test_models_of_another_format_are_refused_in_one_sentence(fitted, tmp_path):
    fitted.model_.save(tmp_path / "old.pt")
    stored = torch.load(tmp_path / "old.pt", weights_only=True)
    torch.save(stored | {"spectraldyn_model": 2}, tmp_path / "old.pt")
    sentence = r"^\S*old.pt was saved by another spectraldyn \(model format 2, this one reads 7\): fit again$"
    with pytest.raises(InputError, match=sentence):
        NeuralSVDModel.load(tmp_path / "old.pt")


def test_deeptime_takes_our_models(fitted):
    model = fitted.fetch_model()
    lags = model.moments.lagtimes.tolist()
    data = implied_timescales([model.at_lagtime(lag) for lag in lags])
    assert data.lagtimes.tolist() == lags
    np.testing.assert_allclose(data.timescales_for_process(0)[lags.index(2)], model.timescales(1)[0])
    ax = plot_implied_timescales(data)
    assert len(ax.lines) >= 2
    ax.figure.clear()


def test_unknown_lagtime_of_a_model(fitted):
    with pytest.raises(InputError, match="not among the lag times of this model"):
        fitted.fetch_model().at_lagtime(12345)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"objective": "both"}, "objective 'both' is unknown; choose one of joint, sequential, block"),
        ({"objective": "vamp-e"}, "objective 'vamp-e' is another name of 'low-rank': choose that"),
        ({"objective": "spin", "reversible": False}, "objective 'spin' is for self-adjoint operators: make the dyn"),
        ({"objective": "neuralef", "network": "common-trunk"}, "gives every mode a gradient of its own"),
        ({"network": "graph"}, "network 'graph' is unknown"),
        ({"objective": "sequential", "network": "common-trunk"}, "gives every mode a gradient of its own"),
        ({"n_modes": 0}, "n_modes is 0"),
        ({"lagtime": 1.5}, "lagtime is 1.5"),
        ({"batch_size": 1}, "at least 2 samples"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"hidden": (8, 0)}, "each width in hidden is 0"),
        ({"random_state": -1}, "`random_state` is -1"),
        ({"learning_rate": 1e6}, "training diverged at learning_rate"),
        ({"test_fraction": 1.0}, "must lie in"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
        ({"lagtime": 60}, "no pairs at lagtime 60: the longest of the 1 trajectories has 50 frames"),
    ],
)
def test_wrong_options_are_named(options, sentence):
    with pytest.raises(InputError, match=sentence):
        NeuralSVD(**{"random_state": 0} | options).fit(np.random.default_rng(0).normal(size=(50, 2)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_gpu_is_named():
    with pytest.raises(InputError, match="no GPU can be used here"):
        NeuralSVD(device="cuda").fit(np.zeros((50, 2)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_gives_the_same_spectrum(trajectories):
    on = {d: NeuralSVD(2, 2, device=d, random_state=0).fit_fetch(trajectories) for d in ("cpu", "cuda")}
    np.testing.assert_allclose(on["cpu"].eigenvalues, on["cuda"].eigenvalues, rtol=0.005)


def test_short_stretches_among_long_ones_do_no_harm():
    """Single frames, stretches shorter than the lag, and a split that would leave nothing to train on."""
    random = np.random.default_rng(0)
    lengths = [1, 5, 300, 3, 200]
    model = NeuralSVD(1, 10, random_state=0, max_steps=20).fit_fetch([random.normal(size=(n, 2)) for n in lengths])
    assert model.moments.weight[model.moments.at(10)].sum() == 290 + 190
    for seed in range(8):
        pieces = [random.normal(size=(n, 1)) for n in [30] + 11 * [10]]
        NeuralSVD(1, 20, random_state=seed, max_steps=5).fit(pieces)


def test_modes_keep_their_orientation_at_other_lag_times(fitted, trajectories):
    model = fitted.fetch_model()
    for lag in (1, 4, 9):
        modes, other = model.transform(trajectories[0]), model.at_lagtime(lag).transform(trajectories[0])
        assert (np.diag(np.corrcoef(modes.T, other.T)[:2, 2:]) > 0.9).all()


def test_drawn_seed_is_reported_and_reproduces_the_fit(short):
    drawn = NeuralSVD(1, random_state=np.random.RandomState(5), max_steps=30).fit_fetch(short)
    again = NeuralSVD(1, random_state=drawn.settings.seed, max_steps=30).fit_fetch(short)
    np.testing.assert_array_equal(drawn.eigenvalues, again.eigenvalues)


def test_damaged_or_unwritable_checkpoints_do_not_stop_a_fit(short, tmp_path):
    estimator = NeuralSVD(1, random_state=0, max_steps=30, checkpoint_folder=tmp_path)
    straight = estimator.fit_fetch(short)
    (tmp_path / "file").touch()
    with pytest.warns(InputWarning, match="the state of training cannot be kept"):
        blocked = NeuralSVD(1, random_state=0, max_steps=30, checkpoint_folder=tmp_path / "file").fit_fetch(short)
    np.testing.assert_array_equal(blocked.eigenvalues, straight.eigenvalues)


def test_small_signals_survive_the_whitening_of_many_columns():
    """200 columns that move together and one that also carries the slow process, weakly."""
    random = np.random.default_rng(0)
    state = np.cumsum(random.random(6000) < 0.01) % 2 - 0.5
    frames = random.normal(size=(6000, 1)) + 1e-3 * random.normal(size=(6000, 200))
    frames[:, -1] += 0.2 * state
    model = NeuralSVD(1, 5, random_state=0, max_steps=100).fit_fetch(frames)
    assert abs(np.corrcoef(model.transform(frames)[:, 0], state)[0, 1]) > 0.95


def test_wrong_data_is_named():
    with pytest.raises(InputError, match=r"write x\.reshape"):
        NeuralSVD().fit([np.zeros(5), np.zeros(6)])
    with pytest.raises(InputError, match="give several trajectories as a list"):
        NeuralSVD().fit((np.zeros((5, 2)), np.zeros((6, 2))))
    with pytest.raises(ValueError, match="NaN"):
        NeuralSVD().fit([np.zeros((5, 2)), np.full((6, 2), np.nan)])
    with pytest.raises(ValueError, match="3 features, but NeuralSVD is expecting 2"):
        NeuralSVD().fit([np.zeros((5, 2)), np.zeros((6, 3))])


@needs_shared
@pytest.mark.parametrize(("batch_size", "n_steps"), [(1024, 300), (128, 700), (32, 1500)])
def test_norms_agree_with_rayleigh_ritz_at_every_batch_size(batch_size, n_steps):
    files = sorted((SHARED / "known").glob("prinz_0*.dcd"))
    data = load_features(files, top=SHARED / "known" / "prinz.pdb", features="positions", timestep=0.01)
    options = {"batch_size": batch_size, "n_networks": 1, "max_steps": n_steps, "random_state": 0}
    model = NeuralSVD(3, 5, **options).fit_fetch(data)
    np.testing.assert_allclose(model.spectrum.norms, model.singular_values, rtol=0.02)
