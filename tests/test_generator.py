"""GeneratorSVD and `fit --operator generator`: rates from states alone, against exact ones and the oracle."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from analysis.references import oracle_rates
from spectraldyn import (
    Dataset,
    GeneratorModel,
    GeneratorSVD,
    InputError,
    NeuralSVDModel,
    analyze_generator,
    fit_generator,
)
from spectraldyn.cli import main
from spectraldyn.learning.loop import _Run
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rates import Rate, Untapped, correlation_rows, rate_intervals, rates_from_eigenvalues, untapped
from spectraldyn.systems import SYSTEMS, double_well

PUBLISHED = [1.199, 7.889, 15.361, 82.08, 94.93, 132.62, 144.39]


def z_scores(model, exact):
    """How far exact rates lie from the learned ones, in standard errors as the intervals state them."""
    rates = rate_intervals(model.moments, model.spectrum, model.shift, 0.0, 0)
    error = np.array([np.log(rate.high / rate.low) / 3.92 for rate in rates])
    return np.log(np.array([rate.value for rate in rates]) / exact) / error


def resolvent(correlation, dirichlet, block_rows, shift=1.0):
    """Moments of the resolvent, from Σ h hᵀ and the Dirichlet form of the functions in every block."""
    left = correlation + dirichlet / shift
    rows = np.full(len(correlation), block_rows)
    return Moments(
        lagtimes=np.zeros(1, dtype=int), left=left[None], operator=correlation[None], right=left[None],
        weight=rows[None].astype(float), stretch=np.zeros(len(rows), dtype=int), block_rows=rows, tied=True,
    )  # fmt: skip


@pytest.mark.parametrize(("beta", "n_modes", "n_steps"), [(1.0, 7, 2000), (0.5, 4, 1200)])
def test_prinz_from_independent_samples(beta, n_modes, n_steps):
    """Rates from 20,000 samples, drawn at the temperature asked for or, with weights, at twice that."""
    system = SYSTEMS["prinz"]
    samples = system.sample(20_000, seed=0, beta=beta)
    energy = system.energy(torch.from_numpy(samples)).numpy()
    weight = None if beta == 1 else np.exp(-(1 - beta) * energy)
    oracle = oracle_rates(system, samples, n_modes, weight)
    options = {"hidden": (48, 48), "batch_size": 256, "max_steps": n_steps, "learning_rate": 0.01, "random_state": 0}
    model = GeneratorSVD(n_modes, **options).fit_fetch(samples, sample_weight=weight)
    np.testing.assert_allclose(model.rates[:4], oracle[:4], rtol=0.03)
    np.testing.assert_allclose(model.rates, oracle, rtol=0.1)
    np.testing.assert_allclose(system.rates(7), PUBLISHED, rtol=2e-4)
    assert np.abs(z_scores(model, PUBLISHED[:n_modes])).max() < 3.5
    np.testing.assert_allclose(model.spectrum.norms, model.singular_values, rtol=0.1)
    modes = model.transform(samples)
    share = np.full(len(samples), 1 / len(samples)) if weight is None else weight / weight.sum()
    np.testing.assert_allclose(modes.T @ (share[:, None] * modes), np.eye(n_modes), atol=1e-8)
    assert model.scores["resolvent_test"] == pytest.approx(model.scores["resolvent_train"], rel=0.02)


@pytest.fixture(scope="module")
def spring():
    return SYSTEMS["ornstein-uhlenbeck"].sample(20_000, seed=1)


def quick(**options):
    return GeneratorSVD(
        2, **{"hidden": (32, 32), "max_steps": 500, "learning_rate": 0.01, "random_state": 0, **options}
    )


@pytest.mark.parametrize("form", ["energy-space", "strong"])
@pytest.mark.parametrize("objective", ["joint", "sequential"])
def test_both_forms_and_nestings_find_the_rates_of_a_spring(spring, form, objective):
    n_steps = 500 if form == "energy-space" else 1000
    model = quick(form=form, objective=objective, force=lambda x: -x, max_steps=n_steps).fit_fetch(spring)
    oracle = oracle_rates(SYSTEMS["ornstein-uhlenbeck"], spring, 2)
    np.testing.assert_allclose(model.rates, oracle, rtol=0.03)
    np.testing.assert_allclose(model.spectrum.norms, model.singular_values, rtol=0.05)
    if form == "energy-space":  # the strong form leaves an error of learning, which the intervals do not hold
        assert np.abs(z_scores(model, [1.0, 2.0])).max() < 3


def test_a_training_that_has_not_ended_is_told():
    system = SYSTEMS["double-well"]
    states = system.sample(10_000, seed=0)
    early, late = (
        GeneratorSVD(1, hidden=(32, 32), max_steps=steps, random_state=0).fit_fetch(states) for steps in (200, 1500)
    )
    (exact,) = system.rates(1)
    assert early.rates[0] > 1.5 * exact
    assert late.rates[0] < 1.2 * exact
    (told,), (fine,) = (analyze_generator(model, Dataset([states])).rates for model in (early, late))
    assert fine.unresolved is None
    assert told.unresolved.startswith("its training has not ended: ")
    assert told.value == early.rates[0]
    said = [str(judgement) for judgement in analyze_generator(early, Dataset([states])).verdict]
    assert any("ask for more modes than you want to quote" in one for one in said)
    assert "no rate may be quoted" in said


def test_what_is_untapped_is_judged_by_the_other_half():
    """Two hidden units, of which one half of the states favours the first and the other half the second."""
    first, second = (
        resolvent(np.eye(3)[None], np.diag([0.0, *energies])[None], 1) for energies in ([1.0, 4], [4, 1.0])
    )
    learned = [resolvent(np.eye(2)[None], np.diag([0.0, 2.0])[None], 1)] * 2
    spectrum = learned[0].spectrum()
    assert untapped([first, first], learned, spectrum, 1.0).ratios == pytest.approx(np.array([[0.5], [0.5]]))
    assert untapped([first, second], learned, spectrum, 1.0).ratios == pytest.approx(np.array([[2.0], [2.0]]))
    rates = [Rate(1.0, 0.9, 1.1), Rate(2.0, 1.9, 2.1)]
    fine, told = Untapped(np.array([[0.5, 0.5], [0.9, 0.7]])).doubted(rates)  # one half alone may err
    assert (fine, told.unresolved) == (rates[0], "its training has not ended: 30 % less is in reach")
    nothing = replace(learned[0], left=learned[0].operator, weight=0 * learned[0].weight)
    assert untapped([first, nothing], learned, spectrum, 1.0).ratios == pytest.approx(np.full((2, 1), 10.0))


def test_units_of_diffusion_scale_the_rates_and_choose_the_shift(spring):
    slow, fast = (quick(diffusion=d, max_steps=200).fit_fetch(spring[:2000]) for d in (1.0, 1000.0))
    assert fast.shift == pytest.approx(1000 * slow.shift, rel=1e-6)
    np.testing.assert_allclose(fast.rates, 1000 * slow.rates, rtol=1e-3)


def test_model_is_saved_and_loaded(spring, tmp_path):
    model = quick(max_steps=20).fit_fetch([spring[:1500], spring[1500:2000]])
    model.save(tmp_path / "model.pt")
    again = GeneratorModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(again.rates, model.rates)
    np.testing.assert_allclose(again.transform(spring[:50]), model.transform(spring[:50]))
    np.testing.assert_allclose(again.timescales(1), 1 / model.rates[:1])
    np.testing.assert_array_equal(again.eigenvalues, -model.rates)
    assert "rates" in repr(again)
    with pytest.raises(InputError, match=r"model\.pt holds a GeneratorModel: load it with GeneratorModel\.load"):
        NeuralSVDModel.load(tmp_path / "model.pt")


@pytest.mark.usefixtures("kept_at_every_evaluation")
def test_the_same_seed_and_an_interruption_change_nothing(spring, tmp_path, monkeypatch):
    spring = spring[:2000]
    plain = quick(max_steps=100).fit_fetch(spring)
    np.testing.assert_array_equal(quick(max_steps=100).fit_fetch(spring).rates, plain.rates)
    original, calls = _Run.judge, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(_Run, "judge", stop)
    with pytest.raises(KeyboardInterrupt):
        quick(checkpoint_folder=tmp_path, max_steps=100).fit(spring)
    assert list(tmp_path.iterdir())
    np.testing.assert_array_equal(quick(checkpoint_folder=tmp_path, max_steps=100).fit_fetch(spring).rates, plain.rates)
    assert not list(tmp_path.iterdir())


def test_another_diffusion_or_force_is_another_training(spring, tmp_path):
    """An interrupted training must not be taken up by a fit of other dynamics."""
    options = {"form": "strong", "shift": 10.0, "checkpoint_folder": tmp_path, "max_steps": 3}
    folders = set()
    for change in ({}, {"diffusion": 2.0}, {"force": lambda x: -2 * x}, {"beta": 3.0}):
        estimator = GeneratorSVD(1, random_state=0, **{"force": lambda x: -x, **options, **change})
        seen = []
        original = estimator._checkpoint
        estimator._checkpoint = lambda *a, original=original, seen=seen: seen.append(original(*a)) or seen[-1]
        estimator.fit(spring[:100])
        folders.add(seen[0])
    assert len(folders) == 4


def test_states_that_do_not_vary_are_named():
    with pytest.raises(InputError, match="do not vary"):
        GeneratorSVD(1).fit(np.ones((100, 2)))


def test_a_rate_of_zero_is_unresolved():
    """A function that steps between two samples has no Dirichlet energy on them."""
    moments = resolvent(np.tile(np.eye(2), (20, 1, 1)), np.zeros((20, 2, 2)), 9)
    (rate,) = rate_intervals(moments, moments.spectrum(), 1.0, 0.0, 0)
    assert rate.value == 0
    assert rate.unresolved.startswith("no change was seen")


def test_rates_of_eigenvalues_that_are_rounding():
    """One of 1 has the rate 0, one of 0 or below a very large one; neither has a say in the others."""
    rates = rates_from_eigenvalues(np.array([1 + 1e-16, 1 - 1e-15, 0.9, 1e-3, 0.0, -1e-17]), 3.0)
    assert rates[:4] == pytest.approx([0, 0, 3 / 9, 3 * 999])
    assert ((rates[4:] > 1e14) & np.isfinite(rates[4:])).all()


def test_a_shift_is_found_for_as_few_states_as_there_may_be():
    for n_states in (2, 3, 8, 20, 60):
        for seed in range(5):
            states = np.random.default_rng(seed).normal(size=(n_states, 1))
            assert 0 < GeneratorSVD(1, max_steps=1, random_state=seed).fit_fetch(states).shift < 100


def test_it_is_a_scikit_learn_estimator(spring):
    estimator = clone(quick(beta=2.0)).set_params(n_modes=1, max_steps=5)
    assert estimator.get_params()["beta"] == 2.0
    assert estimator.fit_transform(spring[:100]).shape == (100, 1)
    assert list(estimator.get_feature_names_out()) == ["generatorsvd0"]


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"form": "weak"}, {}, "form 'weak' is unknown: choose one of energy-space, strong"),
        ({"form": "strong"}, {}, "needs the force"),
        ({"shift": -1.0}, {}, "must be a positive rate"),
        ({}, {"sample_weight": np.ones(3)}, "3 entries for 50 frames"),
        ({}, {"sample_weight": np.full(50, -1.0)}, "not negative"),
        ({"objective": "neither"}, {}, "objective 'neither' is unknown"),
        ({"beta": -1.0}, {}, "inverse temperature is positive"),
        ({"diffusion": -1.0}, {}, "diffusion must be finite and positive"),
        ({"diffusion": torch.tensor([1.0, 2.0])}, {}, "diffusion has shape"),
        ({"diffusion": lambda x: x}, {}, "diffusion has shape"),
    ],
)
def test_wrong_options_are_named(options, fit, message):
    with pytest.raises(InputError, match=message):
        GeneratorSVD(1, max_steps=2, **options).fit(np.random.default_rng(0).normal(size=(50, 1)), **fit)


def test_intervals_hold_the_exact_rate_as_often_as_they_say():
    """The bootstrap by itself, with the exact eigenfunction: z-scores of independent samples of a spring."""
    exact = 1.0
    inside, z = 0, []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=2000)
        blocks = x.reshape(50, 40)
        one = np.stack((np.ones_like(blocks), blocks), axis=2)
        slope = np.array([[0.0, 0.0], [0.0, 1.0]])
        moments = resolvent(np.einsum("bni,bnj->bij", one, one), np.tile(40 * slope, (50, 1, 1)), 40, shift=3.0)
        (rate,) = rate_intervals(moments, moments.spectrum(), 3.0, 0.0, seed)
        inside += rate.low <= exact <= rate.high
        z.append((rate.value - exact) / ((rate.high - rate.low) / 3.92))
    # The number that misses is binomial: 10 of 200, and 3.1 its standard deviation.
    assert abs(200 - inside - 10) < 3 * 3.1
    assert np.std(z) == pytest.approx(1, abs=4 / np.sqrt(2 * 200))
    assert abs(np.mean(z)) < 4 / np.sqrt(200)


def test_a_gradient_in_a_single_stretch_of_the_data_is_unresolved():
    """A mode that changes in one block only has a rate that rests on one event."""
    correlation = np.tile(100 * np.eye(2), (20, 1, 1))
    dirichlet = np.zeros((20, 2, 2))
    dirichlet[3, 1, 1] = 50.0
    moments = resolvent(correlation, dirichlet, 100)
    (rate,) = rate_intervals(moments, moments.spectrum(), 1.0, 0.0, 0)
    assert rate.unresolved == "changes in too few independent stretches of the data"
    assert rate.low is None
    assert rate.high is None


def test_correlation_is_found_in_series_and_not_in_independent_samples():
    random = np.random.default_rng(0)
    assert correlation_rows(random.normal(size=(5000, 2)), [range(5000)]) == 0.0
    series = np.zeros(50_000)
    for i in range(1, len(series)):
        series[i] = 0.9 * series[i - 1] + np.sqrt(1 - 0.81) * random.normal()
    assert correlation_rows(series[:, None], [range(50_000)]) == pytest.approx(-1 / np.log(0.9), rel=0.1)


@pytest.fixture
def quick_training(monkeypatch):
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 400)


def readme_block(containing: str) -> str:
    """A Python example of README.md, as it stands there."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = (part.split("```")[0] for part in text.split("```python\n")[1:] if containing in part.split("```")[0])
    return block


def test_the_potential_of_ones_own_in_the_readme(quick_training):
    code = readme_block("Overdamped(")
    assert len(code.strip().splitlines()) <= 5
    names = {}
    exec(code, names)
    well, model = names["well"], names["model"]
    np.testing.assert_allclose(model.rates, oracle_rates(well, well.sample(20_000, seed=0), 2), rtol=0.03)
    np.testing.assert_allclose(well.rates(2)[0], double_well(2.0).rates(1)[0], rtol=1e-4)


def test_the_particle_in_a_box_in_the_readme():
    names = {}
    torch.manual_seed(0)
    exec(readme_block("learn_spectrum("), names)
    np.testing.assert_allclose(10 - 10 * names["spectrum"].values, [1, 4], rtol=0.01)


def run(*arguments):
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_from_simulate_to_rates_on_the_command_line(tmp_path, monkeypatch, capfd, quick_training, no_pictures):
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "ornstein-uhlenbeck", "--out", "x.dcd") == 0
    command = ("fit", "x.dcd", "--top", "x.pdb", "--operator", "generator", "--potential", "ornstein-uhlenbeck")
    assert run(*command, "--modes", "2", "--out", "out") == 0
    printed = capfd.readouterr().out
    assert "Relaxation rates of the generator in ornstein-uhlenbeck" in printed
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    for rate, exact in zip(stored["rates"], (1.0, 2.0), strict=True):
        assert rate["low"] <= exact <= rate["high"]
        assert rate["low"] <= rate["value"] <= rate["high"]
        assert rate["unit"] == "1/ps"
        assert rate["high"] < 1.35 * rate["low"]
    for rate, scale in zip(stored["rates"], stored["timescales"], strict=True):
        assert scale["value"] == pytest.approx(1 / rate["value"])
        assert scale["low"] == pytest.approx(1 / rate["high"])
    assert stored["operator"] == "generator"
    assert stored["lag"] is None
    assert stored["mfpt"] is None
    assert {"rates.png", "report.html", "states.png", "model.pt"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "timescales.png" not in {p.name for p in (tmp_path / "out").iterdir()}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Generator of overdamped Langevin dynamics" in page
    assert "passage" not in page
    assert run("transform", "out", "x.dcd", "--out", "again.npz") == 0
    with np.load("again.npz") as again, np.load("out/modes.npz") as first:
        np.testing.assert_allclose(again["modes"], first["modes"], atol=1e-5)
    # The same from Python.
    results = fit_generator("x.dcd", SYSTEMS["ornstein-uhlenbeck"], top="x.pdb", n_modes=2, random_state=0)
    assert results.rates[0].value == pytest.approx(stored["rates"][0]["value"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--operator", "generator"), "needs --potential"),
        (("--operator", "generator", "--potential", "nowhere"), "nowhere is unknown: choose one of double-well"),
        (
            ("--operator", "generator", "--potential", "dubble-well"),
            "dubble-well is unknown (did you mean double-well?)",
        ),
        (("--operator", "generator", "--potential", "prinz", "--lag", "5"), "--lag means nothing"),
        (("--operator", "generator", "--potential", "prinz", "--features", "positions"), "--features means nothing"),
        (("--operator", "generator", "--potential", "prinz", "--nonreversible"), "--nonreversible means nothing"),
        (("--potential", "prinz", "--lag", "5"), "--potential is for --operator generator"),
        ((), "--lag is missing"),
        (("--operator", "generator", "--potential", "cosine-torus"), "lives on a torus"),
        (("--operator", "generator", "--potential", "prinz"), "outside the domain of prinz"),
        (("--operator", "generator", "--potential", "mixed-double-wells"), "30 columns are needed"),
    ],
)
def test_wrong_combinations_are_one_sentence(tmp_path, monkeypatch, capfd, options, message):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", 3 * np.random.default_rng(0).normal(size=(200, 1)))
    assert run("fit", "x.npy", *options) == 2
    printed = capfd.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy"]
