"""GeneratorSVD and `fit --operator generator`: rates from states alone, against exact ones and the oracle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from spectraldyn.spectra.generator import (
    GeneratorMoments,
    correlation_frames,
    decompose_generator,
    rate_intervals,
)

from analysis.references import oracle_rates
from spectraldyn.cli import main
from spectraldyn.errors import InputError
from spectraldyn.estimators.generator_svd import GeneratorSVD
from spectraldyn.estimators.model import GeneratorModel, NeuralSVDModel
from spectraldyn.pipeline.generator import fit_generator
from spectraldyn.systems import SYSTEMS, double_well

PUBLISHED = [1.199, 7.889, 15.361, 82.08, 94.93, 132.62, 144.39]


def covered(model, exact, frames=0.0):
    rates = rate_intervals(model.decomposition, model.moments, frames, 0)
    return sum(rate.low <= value <= rate.high for rate, value in zip(rates, exact, strict=True))


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_prinz_from_independent_samples(beta):
    """Seven rates from 50,000 samples, drawn at the temperature asked for or, with weights, at twice that."""
    system = SYSTEMS["prinz"]
    samples = system.sample(50_000, seed=0, beta=beta)
    energy = system.energy(torch.from_numpy(samples)).numpy()
    weight = None if beta == 1 else np.exp(-(1 - beta) * energy)
    oracle = oracle_rates(system, samples, 7, weight)
    model = GeneratorSVD(7, random_state=0).fit_fetch(samples, sample_weight=weight)
    np.testing.assert_allclose(model.rates[:4], oracle[:4], rtol=0.03)
    np.testing.assert_allclose(model.rates, oracle, rtol=0.1)
    np.testing.assert_allclose(system.rates(7), PUBLISHED, rtol=2e-4)
    assert covered(model, PUBLISHED) >= 5
    np.testing.assert_allclose(model.decomposition.norms, model.singular_values, rtol=0.1)
    modes = model.transform(samples)
    share = np.full(len(samples), 1 / len(samples)) if weight is None else weight / weight.sum()
    np.testing.assert_allclose(modes.T @ (share[:, None] * modes), np.eye(7), atol=1e-8)
    assert model.scores["resolvent_test"] == pytest.approx(model.scores["resolvent_train"], rel=0.02)


@pytest.fixture(scope="module")
def spring():
    return SYSTEMS["ornstein-uhlenbeck"].sample(20_000, seed=1)


def quick(**options):
    return GeneratorSVD(2, hidden=(32, 32), max_steps=800, random_state=0, **options)


@pytest.mark.parametrize("form", ["energy-space", "strong"])
@pytest.mark.parametrize("nesting", ["joint", "sequential"])
def test_both_forms_and_nestings_find_the_rates_of_a_spring(spring, form, nesting):
    model = quick(form=form, nesting=nesting, force=lambda x: -x).fit_fetch(spring)
    oracle = oracle_rates(SYSTEMS["ornstein-uhlenbeck"], spring, 2)
    np.testing.assert_allclose(model.rates, oracle, rtol=0.03)
    np.testing.assert_allclose(model.decomposition.norms, model.singular_values, rtol=0.05)
    if form == "energy-space":  # the strong form leaves an error of learning, which the intervals do not hold
        assert covered(model, [1.0, 2.0]) == 2


def test_units_of_diffusion_scale_the_rates_and_choose_the_shift(spring):
    slow, fast = (quick(diffusion=d).fit_fetch(spring[:5000]) for d in (1.0, 1000.0))
    assert fast.shift == pytest.approx(1000 * slow.shift, rel=1e-6)
    np.testing.assert_allclose(fast.rates, 1000 * slow.rates, rtol=1e-3)


def test_model_is_saved_and_loaded(spring, tmp_path):
    model = quick().fit_fetch([spring[:8000], spring[8000:]])
    model.save(tmp_path / "model.pt")
    again = GeneratorModel.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(again.rates, model.rates)
    np.testing.assert_allclose(again.transform(spring[:50]), model.transform(spring[:50]))
    np.testing.assert_allclose(again.timescales(1), 1 / model.rates[:1])
    np.testing.assert_array_equal(again.eigenvalues, -model.rates)
    assert "rates" in repr(again)
    with pytest.raises(InputError, match="model of a generator"):
        NeuralSVDModel.load(tmp_path / "model.pt")


def test_the_same_seed_and_an_interruption_change_nothing(spring, tmp_path, monkeypatch):
    spring = spring[:3000]
    plain = quick().fit_fetch(spring)
    np.testing.assert_array_equal(quick().fit_fetch(spring).rates, plain.rates)
    from spectraldyn.learning import loop as training

    original, calls = training._judge, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(training, "_judge", stop)
    with pytest.raises(KeyboardInterrupt):
        quick(checkpoint_folder=tmp_path).fit(spring)
    assert list(tmp_path.iterdir())
    np.testing.assert_array_equal(quick(checkpoint_folder=tmp_path).fit_fetch(spring).rates, plain.rates)
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
    moments = GeneratorMoments(np.tile(np.eye(2), (20, 1, 1)), np.zeros((20, 2, 2)), np.zeros(20, int), np.full(20, 9))
    (rate,) = rate_intervals(decompose_generator(*moments.means(), np.empty(0)), moments, 0.0, 0)
    assert rate.value == 0
    assert rate.unresolved.startswith("no change was seen")


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
        ({}, {"sample_weight": np.ones(3)}, "3 entries for 50 states"),
        ({}, {"sample_weight": np.full(50, -1.0)}, "not negative"),
        ({"nesting": "neither"}, {}, "nesting 'neither' is unknown"),
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
    inside, widths, values = 0, [], []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=2000)
        blocks = x.reshape(50, 40)
        one = np.stack((np.ones_like(blocks), blocks), axis=2)
        slope = np.array([[0.0, 0.0], [0.0, 1.0]])
        moments = GeneratorMoments(
            np.einsum("bni,bnj->bij", one, one), np.tile(40 * slope, (50, 1, 1)), np.zeros(50, int), np.full(50, 40)
        )
        spectrum = decompose_generator(*moments.means(), np.empty(0))
        (rate,) = rate_intervals(spectrum, moments, 0.0, seed)
        inside += rate.low <= exact <= rate.high
        widths.append(rate.high - rate.low)
        values.append(rate.value)
    assert 0.89 < inside / 200 < 0.985
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(values), rel=0.15)


def test_a_gradient_in_a_single_stretch_of_the_data_is_unresolved():
    """A mode that changes in one block only has a rate that rests on one event."""
    correlation = np.tile(100 * np.eye(2), (20, 1, 1))
    dirichlet = np.zeros((20, 2, 2))
    dirichlet[3, 1, 1] = 50.0
    moments = GeneratorMoments(correlation, dirichlet, np.zeros(20, int), np.full(20, 100))
    spectrum = decompose_generator(*moments.means(), np.empty(0))
    (rate,) = rate_intervals(spectrum, moments, 0.0, 0)
    assert rate.unresolved == "changes in too few independent stretches of the data"
    assert rate.low is None
    assert rate.high is None


def test_correlation_is_found_in_series_and_not_in_independent_samples():
    random = np.random.default_rng(0)
    assert correlation_frames(random.normal(size=(5000, 2)), [range(5000)]) == 0.0
    series = np.zeros(50_000)
    for i in range(1, len(series)):
        series[i] = 0.9 * series[i - 1] + np.sqrt(1 - 0.81) * random.normal()
    assert correlation_frames(series[:, None], [range(50_000)]) == pytest.approx(-1 / np.log(0.9), rel=0.1)


def readme_block(containing: str) -> str:
    """A Python example of README.md, as it stands there."""
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (block,) = (part.split("```")[0] for part in text.split("```python\n")[1:] if containing in part.split("```")[0])
    return block


def test_the_potential_of_ones_own_in_the_readme():
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


@pytest.fixture
def quick_training(monkeypatch):
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 1000)


def test_from_simulate_to_rates_on_the_command_line(tmp_path, monkeypatch, capfd, quick_training):
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
    results = fit_generator(tmp_path / "x.dcd", "ornstein-uhlenbeck", top=tmp_path / "x.pdb", n_modes=2, random_state=0)
    assert results.rates[0].value == pytest.approx(stored["rates"][0]["value"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--operator", "generator"), "needs --potential"),
        (("--operator", "generator", "--potential", "nowhere"), "nowhere is unknown: choose one of double-well"),
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
