"""Refits on resampled blocks: what they learn from, the errors of learning, and intervals that hold them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from problems import EXCHANGING, exchanging_frames
from scipy import stats

import spectraldyn
from spectraldyn import Dataset, GeneratorSVD, NeuralSVD, analyze, analyze_generator, refit_resampled
from spectraldyn.cli import main
from spectraldyn.data.stretches import pair_starts
from spectraldyn.errors import InputError
from spectraldyn.estimators.pairs import LaggedPairs
from spectraldyn.networks import Encoding
from spectraldyn.pipeline.remarks import refit_remarks
from spectraldyn.pipeline.resampled import Anew, default_refits, resampled_blocks
from spectraldyn.pipeline.sets import sets_of_modes
from spectraldyn.spectra.intervals import (
    LOGARITHM,
    LOGIT,
    PLAIN,
    Bounds,
    Estimates,
    block_bootstrap,
    learning_error,
    rayleigh_quotients,
    with_refits,
)
from spectraldyn.spectra.kinetics import exchange
from spectraldyn.spectra.moments import lagged_moments
from spectraldyn.spectra.populations import free_energies, population_estimates
from spectraldyn.spectra.rates import rate_intervals
from spectraldyn.spectra.relearned import (
    CrossValidation,
    RelearnedModes,
    RelearnedSets,
    in_the_order_of,
    scores_on_the_rest,
)
from spectraldyn.spectra.states import MetastableSets
from spectraldyn.spectra.timescales import Timescale, block_moments, read_off_timescales, with_learning
from spectraldyn.systems import SYSTEMS

OPTIONS = {"hidden": (8,), "max_steps": 40, "n_networks": 1, "random_state": 0}


@pytest.fixture(scope="module")
def frames():
    return exchanging_frames(6000)


@pytest.fixture(scope="module")
def fitted(frames):
    """A fit of the exchanging states, and two refits in this process."""
    data, learner = Dataset([frames]), NeuralSVD(2, 2, **OPTIONS)
    model = learner.fit_fetch(data)
    return learner, model, data, refit_resampled(learner, model, data, 2, n_jobs=1)


def test_pairs_are_repeated_with_their_copies_on_one_side():
    pairs = LaggedPairs.within([range(60), range(60, 100)], 3, 0.3, np.random.default_rng(0), 2)
    counts = np.random.default_rng(1).integers(0, 3, size=100)
    repeated = pairs.repeated(counts)
    assert np.bincount(repeated.all, minlength=100).tolist() == [counts[row] * (row in pairs.all) for row in range(100)]
    for (train, test), (old_train, old_test) in zip(repeated.parts, pairs.parts, strict=True):
        assert not set(train) & set(test)
        assert len(train) == counts[old_train].sum()
        assert len(test) == counts[old_test].sum()


def test_pairs_of_which_only_held_out_ones_count_are_learned_from():
    pairs = LaggedPairs.within([range(100)], 1, 0.3, np.random.default_rng(0), 1)
    counts = np.zeros(100, dtype=int)
    counts[pairs.parts[0][1][:5]] = 2
    ((train, test),) = pairs.repeated(counts).parts
    assert (len(train), len(test)) == (10, 0)


def test_a_fit_to_repeated_pairs_is_that_of_the_drawn_data(frames):
    """Moments hold every pair as often as it counts, and functions learned where nothing was drawn are never seen."""
    counts = np.repeat([2, 0, 1], 2000)
    model = NeuralSVD(2, 2, **OPTIONS).fit_fetch([frames], sample_weight=counts)
    functions = model.functions(frames)
    starts = pair_starts([range(6000)], 2)
    x, y = functions[np.repeat(starts, counts[starts])], functions[np.repeat(starts + 2, counts[starts])]
    gram, operator, _ = model.moments.means(model.moments.at(2))
    np.testing.assert_allclose(gram, (x.T @ x + y.T @ y) / 2 / len(x), atol=1e-12)
    np.testing.assert_allclose(operator, (x.T @ y + y.T @ x) / 2 / len(x), atol=1e-12)
    elsewhere = frames.copy()
    elsewhere[2004:4000] = 7.0  # none of these is an end of a pair that counts
    again = NeuralSVD(2, 2, **OPTIONS).fit_fetch([elsewhere], sample_weight=counts)
    np.testing.assert_allclose(again.timescales(), model.timescales(), rtol=1e-5)
    once = NeuralSVD(2, 2, **OPTIONS).fit_fetch([frames], sample_weight=np.ones(6000))
    assert once.timescales().tolist() == NeuralSVD(2, 2, **OPTIONS).fit_fetch([frames]).timescales().tolist()


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(10), "sample_weight has 10 entries for 6000 frames"),
        (-np.ones(6000), "must be finite and not negative, and not all of it zero"),
        (np.eye(1, 6000)[0], "the weights leave as much as 1 lagged pairs, fewer than 2: give weights that differ"),
        (np.exp(-np.arange(6000) / 10), "the weights leave as much as 20 lagged pairs, fewer than 50: give weights"),
    ],
)
def test_weights_that_cannot_be(frames, weight, message):
    with pytest.raises(InputError, match=message):
        NeuralSVD(2, 2, **OPTIONS).fit([frames], sample_weight=weight)


def test_ready_made_pairs_take_no_weights(frames):
    with pytest.raises(InputError, match="ready-made pairs take no `sample_weight`"):
        NeuralSVD(2, 2, **OPTIONS).fit((frames[:-2], frames[2:]), sample_weight=np.ones(5998))


def test_the_error_of_learning_is_that_of_a_mean_square_about_nothing():
    """On logarithms 0.1, −0.3, 0.2 and 0.1; a common part counts as well. Where two refits have no value n is 2."""
    fixed = np.array([[2.0, 1.0, 1.0]] * 4)
    anew = fixed * np.exp([[0.1, 0.5, 0.0], [-0.3, np.nan, np.nan], [0.2, 0.5, np.nan], [0.1, np.nan, np.nan]])
    half = learning_error(anew, fixed, LOGARITHM)
    assert half[0] == pytest.approx(stats.t.ppf(0.975, 4) * np.sqrt(0.15 / 4))
    assert half[1] == pytest.approx(stats.t.ppf(0.975, 2) * 0.5)
    assert np.isnan(half[2])


def test_widths_add_in_quadrature_on_the_scale():
    estimates = Estimates(*(np.array([x]) for x in (10.0, 10 / np.exp(0.3), 10 * np.exp(0.4))))
    one = np.array([[1.0], [1.0]])
    anew = np.exp(0.4 / stats.t.ppf(0.975, 2) * one)
    value, low, high = with_refits(estimates, anew, one, LOGARITHM)
    assert (value[0], low[0], high[0]) == pytest.approx((10, 10 * np.exp(-0.5), 10 * np.exp(np.hypot(0.4, 0.4))))
    share = with_refits(Estimates(*(np.array([x]) for x in (0.5, 0.01, 0.99))), 0.9 * one, 0.1 * one, LOGIT)
    assert 0 < share.low[0] < 0.01 < 0.99 < share.high[0] < 1
    certain = with_refits(Estimates(*np.zeros((3, 1))), one, 0 * one, PLAIN)
    assert (certain.low[0], certain.high[0]) == (0, 0)
    open_ended = with_refits(Estimates(np.array([1.0]), np.array([0.5]), np.array([np.nan])), one, one, LOGARITHM)
    assert open_ended.low[0] == 0.5
    assert np.isnan(open_ended.high[0])


def test_timescales_keep_both_parts():
    several = [Timescale(10.0, 8.0, None), Timescale(4.0, 3.0, 5.0), Timescale(None, None, 2.0)]
    first, lost, none = with_learning(several, np.array([np.log(2), np.nan, 0.1]), 25.0)
    assert (first.sampling, first.high) == (Bounds(8.0, None), None)
    assert (first.learning.low, first.learning.high) == pytest.approx((5.0, 20.0))
    assert first.low == pytest.approx(10 * np.exp(-np.hypot(np.log(2), np.log(10 / 8))))
    assert (lost.low, lost.high, lost.unresolved) == (None, None, "most refits do not find it again")
    assert (none.unresolved, none.high) == (None, None)
    (whole,) = with_learning([Timescale(10.0, 8.0, 12.0)], np.array([1.0]), 25.0)
    assert whole.high is None  # 27 rows are more than there are


def test_a_refit_with_the_same_functions_in_another_basis_adds_nothing(frames):
    """Functions are matched by what they are, not by their order or sign; rotated ones span the same space."""
    functions = np.column_stack((np.ones(6000), frames.astype(float)))
    other = functions @ np.array([[1, 0.3, 0.1], [0, 0, -2.0], [0, 1.0, 0.4]])
    stretches = [range(6000)]
    own, again = (block_moments(f, stretches, [1, 2], tied=True) for f in (functions, other))
    refit = RelearnedModes(np.ones(1), again, functions.T @ other / 6000)
    modes = own.eigenmodes(own.spectrum(1), 1)
    flipped = replace(modes, functions=-modes.functions[:, ::-1], dual=-modes.dual[:, ::-1], values=modes.values[::-1])
    found = [refit.timescales(some, 1) for some in (modes, flipped)]
    np.testing.assert_allclose(found[0], found[1][::-1])
    np.testing.assert_allclose(found[0], -2 / np.log(modes.values), rtol=1e-6)
    assert found[0] == pytest.approx(1 / np.array([0.03, 0.05]), rel=0.3)  # the exact ones, −1/ln of 0.97 and 0.95


def test_sets_come_in_the_order_of_those_they_resemble():
    memberships = np.eye(3)[np.repeat([0, 1, 2], [50, 30, 20])]
    sets = MetastableSets(memberships, memberships.mean(axis=0), np.eye(3))
    shuffled = MetastableSets(memberships[:, [2, 0, 1]], sets.populations[[2, 0, 1]], np.eye(3)[:, [2, 0, 1]])
    ordered = in_the_order_of(shuffled, sets)
    assert ordered.populations.tolist() == sets.populations.tolist()
    np.testing.assert_array_equal(ordered.memberships, memberships)
    np.testing.assert_array_equal(ordered.transformation, np.eye(3))
    assert in_the_order_of(MetastableSets(memberships[:, :2], np.ones(2), np.eye(2)), sets) is None


def test_a_refit_is_scored_on_pairs_that_it_has_not_drawn():
    """With the indicator of one of two states: the squared correlation over those pairs, in both directions of time."""
    states = np.array([0, 0, 1, 1, 0, 1, 1, 0, 0, 1] * 40)
    functions = np.column_stack((np.ones(400), states))
    counts = np.repeat([1, 0, 2, 0], 100)
    drawn = lagged_moments(functions, [range(400)], [range(400)], [1], tied=True, weight=counts)
    scores = scores_on_the_rest(functions, counts, [range(400)], 1, drawn)
    unseen = [row for row in range(399) if counts[row] == counts[row + 1] == 0]
    x, y = states[unseen], states[[row + 1 for row in unseen]]
    assert len(unseen) == 198
    both = np.corrcoef(np.append(x, y), np.append(y, x))[0, 1]
    assert scores["vamp2_test"] == pytest.approx(1 + both**2)
    few = scores_on_the_rest(functions, np.where(np.arange(400) < 390, 1, 0), [range(400)], 1, drawn)
    assert np.isnan(few["vamp2_test"])


def test_cross_validation_says_nothing_of_a_single_score():
    found = CrossValidation(np.array([1.8, np.nan, 2.0]), np.array([1.7, np.nan, np.nan]))
    assert found.mean("vamp2") == pytest.approx((1.9, 0.1))
    assert np.isnan(found.mean("vampe")).all()


def test_refits_draw_blocks_and_start_anew(fitted):
    learner, model, data, refits = fitted
    blocks, draws = resampled_blocks(model, model.transform(data[0]), data)
    assert [refit.draw.tolist() for refit in refits] == draws[:2].tolist()
    for refit in refits:
        counts = np.repeat(refit.draw, blocks.block_rows)
        assert refit.model.moments.weight[0].sum() == counts[pair_starts(data.stretches, 1)].sum()
    assert len({refit.model.settings.seed for refit in refits} | {model.settings.seed}) == 3
    parallel = refit_resampled(learner, model, data, 2, n_jobs=2)
    assert [one.model.timescales().tolist() for one in parallel] == [one.model.timescales().tolist() for one in refits]


def test_intervals_of_an_analysis_hold_both_errors(fitted):
    _, model, data, refits = fitted
    alone, both = analyze(model, data, 3), analyze(model, data, 3, refits=refits)
    assert (alone.n_refits, alone.cross_validation, both.n_refits) == (0, None, 2)
    assert "errors of sampling alone; `refits` adds those of learning" in str(alone)
    assert "errors of sampling and, from 2 refits, of learning\nCross-validated: VAMP-2 " in str(both)
    for before, after in zip(alone.timescales, both.timescales, strict=True):
        assert before.learning is None
        assert (before.value, Bounds(before.low, before.high)) == (after.value, after.sampling)
        assert after.low < after.sampling.low < after.value < after.sampling.high < after.high
        assert after.learning.low * after.learning.high == pytest.approx(after.value**2)
    for name in ("populations", "free_energies"):
        before, after = getattr(alone, name), getattr(both, name)
        assert (after.low <= before.low).all()
        assert (after.high >= before.high).all()
        assert (after.high > before.high).any()
    before, after = alone.kinetics, both.kinetics
    off = ~np.eye(3, dtype=bool)
    for one, other in ((before.mfpt, after.mfpt), (before.fluxes, after.fluxes)):
        assert (other.low[off] <= one.low[off]).all()
        assert (other.high[off] > one.high[off]).all()
    assert after.mfpt.high[0, 0] == 0
    q, old = (np.stack(one.committors[0, 2]) for one in (after, before))
    known = np.isfinite(old[1])
    assert known.sum() > 50
    value, low, high = q[:, known]
    assert ((low >= 0) & (high <= 1) & (low <= value + 1e-9) & (value <= high + 1e-9)).all()
    assert (high - low > (old[2] - old[1])[known]).any()
    # The exact VAMP-2 of this chain at lag 2 is 1 + 0.97⁴ + 0.95⁴.
    mean, error = both.cross_validation.mean("vamp2")
    values = np.sort(np.linalg.eigvals(EXCHANGING).real)
    assert abs(mean - (values**4).sum()) < 3 * error + 0.02
    assert len(both.cross_validation.vampe) == 2


def test_learning_that_has_hardly_begun_shows_in_its_part(frames):
    """Three steps from random weights: the refits disagree by far more than resampling alone can tell."""
    data = Dataset([frames])
    learner = NeuralSVD(2, 2, hidden=(8,), warm_start=False, max_steps=3, random_state=0)
    model = learner.fit_fetch(data)
    refits = refit_resampled(learner, model, data, 3, n_jobs=1)
    anew = Anew.of(refits, model.functions(data), data, resampled_blocks(model, model.transform(data[0]), data)[0])
    scales = read_off_timescales(
        model.moments, model.functions(data), data.stretches, 2, 0, lagtimes=[2], refits=anew.relearned
    )[2]
    ratios = [np.log(s.learning.high / s.learning.low) / np.log(s.sampling.high / s.sampling.low) for s in scales]
    assert max(ratios) > 1


def test_rates_of_a_generator_hold_both_errors():
    """Exact rates of the spring are 1 and 2; few steps, so that learning has a part."""
    data = Dataset([SYSTEMS["ornstein-uhlenbeck"].sample(4000, seed=0)])
    learner = GeneratorSVD(2, hidden=(8,), max_steps=60, batch_size=128, learning_rate=0.02, random_state=0)
    model = learner.fit_fetch(data)
    results = analyze_generator(model, data, refits=refit_resampled(learner, model, data, 2, n_jobs=1))
    exact = SYSTEMS["ornstein-uhlenbeck"].rates(2)
    for rate, scale, known in zip(results.rates, results.timescales, exact, strict=True):
        assert rate.low < rate.sampling.low < rate.sampling.high < rate.high
        assert (scale.low, scale.high) == pytest.approx((1 / rate.high, 1 / rate.low))
        assert scale.learning.high == pytest.approx(1 / rate.learning.low)
        assert rate.low < known < rate.high
    assert "from 2 refits, of learning" in str(results)


def test_sets_that_refits_do_not_find_are_told():
    sets = MetastableSets(np.eye(3), np.ones(3) / 3, np.eye(3))
    assert refit_remarks(sets, 0, 0) == refit_remarks(sets, 4, 2) == []
    (said,) = refit_remarks(sets, 4, 0)
    assert "most of the 4 refits do not find 3 metastable sets" in str(said)


def test_too_few_blocks_have_no_refits(frames):
    data = Dataset([frames[start : start + 25] for start in (0, 500, 1000)])
    learner = NeuralSVD(1, 20, hidden=(8,), max_steps=3, random_state=0)
    model = learner.fit_fetch(data)
    assert refit_resampled(learner, model, data, 4) == []


def test_many_values_or_modes_are_not_learned_anew_by_default(frames, monkeypatch):
    monkeypatch.setattr("spectraldyn.pipeline.resampled.DEFAULT_REFITS", 4)
    data = Dataset([frames])

    def model(n_modes, encoder=None):
        encoding = encoder and Encoding(encoder, ("C", "C"), False)
        return SimpleNamespace(settings=SimpleNamespace(layout=SimpleNamespace(n_modes=n_modes, encoding=encoding)))

    assert [default_refits(data, model(n_modes)) for n_modes in (1, 5, 6)] == [4, 4, 0]
    assert default_refits(Dataset([np.zeros((100, 60_000), np.float32)]), model(1)) == 0
    assert [default_refits(data, model(1, encoder)) for encoder in ("plain", "schnet")] == [4, 0]


def test_command_line_learns_anew_and_takes_up_what_was_finished(quick, frames, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    np.save("x.npy", frames[:3000])
    command = ["fit", "x.npy", "--lag", "2", "--modes", "2", "--refits", "2"]
    fit, draws = NeuralSVD.fit, []

    def interrupted(self, X, y=None, sample_weight=None):
        if sample_weight is not None:
            if len(draws) == 1:
                raise KeyboardInterrupt
            draws.append(sample_weight)
        return fit(self.set_params(max_steps=20, hidden=(8,)), X, sample_weight=sample_weight)

    monkeypatch.setattr(NeuralSVD, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        spectraldyn.fit_trajectories("x.npy", lag=2, n_modes=2, refits=2, random_state=0, checkpoint_folder="kept")
    draws.clear()
    spectraldyn.fit_trajectories("x.npy", lag=2, n_modes=2, refits=2, random_state=0, checkpoint_folder="kept")
    assert len(draws) == 1  # the other one was there
    assert list((tmp_path / "kept").iterdir()) == []
    monkeypatch.setattr(NeuralSVD, "fit", fit)
    assert main(command) == 0
    printed = capfd.readouterr()
    assert "from 2 refits, of learning" in printed.out
    assert "refitting resampled blocks" in printed.err
    stored = json.loads((tmp_path / "x-results" / "results.json").read_text())
    assert stored["n_refits"] == 2
    assert {"mean", "standard_error", "folds"} == stored["cross_validation"]["vamp2"].keys()
    scale = stored["timescales"][0]
    assert scale["low"] < scale["sampling"]["low"] < scale["sampling"]["high"] < scale["high"]
    assert scale["learning"].keys() == {"low", "high"}
    page = (tmp_path / "x-results" / "report.html").read_text()
    assert "by learning</th>" in page
    assert "cross-validated</th>" in page
    lag = stored["lag"]["frames"]
    for name, bound in (("eigenvalues_low", "low"), ("eigenvalues_high", "high")):
        assert stored[name][0] == pytest.approx(np.exp(-lag / scale[bound]))


def test_one_refit_is_refused(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((100, 2)))
    assert main(["fit", "x.npy", "--lag", "2", "--refits", "1"]) == 2
    assert "error: --refits is 1: give 0 for none, or 2 to 200\n" in capfd.readouterr().err


def test_processes_are_found_again_in_another_order():
    """Three independent two-state chains, whose indicators a refit has learned in a cyclic order."""
    random = np.random.default_rng(0)
    flips = random.random((4000, 3)) < np.array([0.01, 0.04, 0.16])
    functions = np.column_stack((np.ones(4000), 1 - 2 * (flips.cumsum(axis=0) % 2)))
    other = functions[:, [0, 2, 3, 1]] * np.array([1, 3.0, 1.0, 0.2])
    own, again = (block_moments(f, [range(4000)], [1], tied=True) for f in (functions, other))
    modes = own.eigenmodes(own.spectrum(), 0)
    found = RelearnedModes(np.ones(1), again, functions.T @ other / 4000).timescales(modes, 0)
    np.testing.assert_allclose(found, -1 / np.log(modes.values), rtol=1e-9)


def test_refits_that_say_what_the_fit_says_of_the_same_blocks_add_nothing(fitted):
    """Whatever was drawn: the difference is taken on the blocks of the refit, and not on all data."""
    _, model, data, _ = fitted
    modes = model.transform(data[0])
    blocks, draws = resampled = resampled_blocks(model, modes, data)
    clusters, sets, _ = sets_of_modes(modes, 3, 0)
    same = [RelearnedSets(draw, clusters, sets) for draw in draws[:3]]
    for estimate in (population_estimates, free_energies):
        np.testing.assert_allclose(estimate(sets, resampled, same), estimate(sets, resampled), rtol=1e-9)
    alone, both = (
        exchange(clusters, sets, data.stretches, 2, resampled, reversible=True, refits=some) for some in ([], same)
    )
    np.testing.assert_allclose(both.mfpt, alone.mfpt, rtol=1e-9)
    np.testing.assert_allclose(both.fluxes.high, alone.fluxes.high, rtol=1e-9)

    states = SYSTEMS["ornstein-uhlenbeck"].sample(2000, seed=0)
    generator = GeneratorSVD(1, hidden=(8,), max_steps=20, batch_size=128, random_state=0).fit_fetch(states)
    blocks, draws = block_bootstrap(generator.moments, 0, 0.0, 0)
    quotients = rayleigh_quotients(blocks, 0, blocks.eigenmodes(generator.spectrum), draws[:3])
    refits = draws[:3], generator.shift * (1 / quotients - 1)
    (rate,) = rate_intervals(generator.moments, generator.spectrum, generator.shift, 0.0, 0, refits)
    assert (rate.low, rate.high) == pytest.approx((rate.sampling.low, rate.sampling.high))
