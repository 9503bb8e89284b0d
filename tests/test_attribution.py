"""What drives a process: against functions whose dependence on every column is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import REPOSITORY_DATA, markov_chain
from torch import nn

from spectraldyn import (
    Dataset,
    GeneratorSVD,
    InputError,
    NeuralSVD,
    analyze,
    analyze_generator,
    attribute,
    load_features,
)
from spectraldyn.data import Column
from spectraldyn.estimators import attribution
from spectraldyn.networks import Sides, Whitening
from spectraldyn.systems import SYSTEMS

N_ROWS = 3000
TORSION = [Column("phi", "ALA2", part) for part in ("cos", "sin")]


class Known(nn.Module):
    """A formula in place of a network, for so many columns."""

    def __init__(self, formula, n_columns):
        super().__init__()
        self.formula = formula
        self.whitening = Whitening(torch.zeros(n_columns), torch.eye(n_columns))
        self.linear = nn.Linear(1, 1)

    def forward(self, x):
        return self.formula(x)


def model(formula, n_columns, n_modes=1):
    """As far as attribution looks at a model: modes that are known functions."""
    return SimpleNamespace(
        sides=Sides(Known(formula, n_columns).double()),
        spectrum=SimpleNamespace(left=np.eye(1 + n_modes)[:, 1:]),
        settings=SimpleNamespace(layout=SimpleNamespace(n_modes=n_modes), seed=0),
        n_columns=n_columns,
    )


def linear(*weights):
    """Modes that are linear functions, each with a row of weights."""
    matrix = torch.tensor(weights, dtype=torch.float64)
    return model(lambda x: x @ matrix.T, matrix.shape[1], len(weights))


def normal(n_columns, seed=1, n_rows=N_ROWS):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


def by_name(ranking, measure):
    """Value and error of one measure, by name."""
    found = getattr(ranking, measure)
    return dict(zip(ranking.names, zip(found.value, found.error, strict=True), strict=True))


def assert_within(found, exact):
    """Within 4 standard errors and 0.08."""
    value, error = found
    assert abs(value - exact) < min(4 * error, 0.08)
    assert error < 0.06


def test_linear_mode_has_the_shares_that_its_weights_say():
    """Variances 4 and 1 of independent columns; |x − x'| of normal ones is as their widths."""
    data = Dataset([normal(5) + 100])
    (found,) = attribute(linear([0.0, 0.0, 2.0, 0.0, -1.0]), data)
    assert found.features.names[:2] == ("feature 2", "feature 4")
    assert found.n_permuted == 5
    for measure, first, second in (
        ("importance", 0.8, 0.2),
        ("correlation", math.sqrt(0.8), math.sqrt(0.2)),
        ("integrated_gradients", 2 / 3, 1 / 3),
    ):
        values = by_name(found.features, measure)
        assert_within(values["feature 2"], first)
        assert_within(values["feature 4"], second)
        if measure != "correlation":
            assert [values[f"feature {k}"] for k in (0, 1, 3)] == [(0, 0)] * 3
    assert max(by_name(found.features, "correlation")[f"feature {k}"][0] for k in (0, 1, 3)) < 0.08
    assert found.residues.names == ()
    assert found.features.importance.spread is None


def test_integrated_gradients_are_exact_for_linear_functions_and_complete_for_others():
    frames, baselines = normal(3, n_rows=40), normal(3, seed=2, n_rows=40)
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 0.0]], dtype=torch.float64)
    found = attribution.integrated_gradients(lambda x: x @ weights.T, frames, baselines)
    np.testing.assert_allclose(found, (frames - baselines)[:, :, None] * weights.numpy().T, atol=1e-12)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 16), nn.GELU(), nn.Linear(16, 2)).double()
    found = attribution.integrated_gradients(network, frames, baselines, n_steps=40)
    with torch.no_grad():
        ends = network(torch.from_numpy(frames)) - network(torch.from_numpy(baselines))
    np.testing.assert_allclose(found.sum(axis=1), ends.numpy(), atol=1e-6)
    assert np.abs(found).min() > 0


def test_product_is_named_by_permutation_and_not_by_correlation():
    """x y of independent columns with mean 0: both take part in all of its variance, neither correlates."""
    (found,) = attribute(model(lambda x: x[:, :1] * x[:, 1:2], 3), Dataset([normal(3)]))
    importance = by_name(found.features, "importance")
    assert abs(importance["feature 0"][0] - 1) < 4 * importance["feature 0"][1] < 0.5
    assert abs(importance["feature 1"][0] - 1) < 4 * importance["feature 1"][1] < 0.5
    assert importance["feature 2"] == (0, 0)
    assert found.features.correlation.value.max() < 0.12


def test_cosine_and_sine_move_together():
    """One mode is a linear function of both, which the angle determines; the other knows the circle's radius alone."""
    angle, other = np.random.default_rng(3).uniform(-np.pi, np.pi, (2, N_ROWS))
    frames = np.column_stack((np.cos(angle), other, np.sin(angle)))
    data = Dataset([frames], columns=[TORSION[0], Column("distance", "ALA2-CA GLY5-CA", unit="nm"), TORSION[1]])

    def formula(x):
        return torch.stack((x[:, 0] - 2 * x[:, 2], 5 * (x[:, 0] ** 2 + x[:, 2] ** 2) + x[:, 1]), dim=1)

    first, second = attribute(model(formula, 3, 2), data)
    assert first.features.names == ("phi ALA2", "distance ALA2-CA GLY5-CA")
    np.testing.assert_allclose(first.features.correlation.value[0], 1, atol=1e-9)
    np.testing.assert_allclose(first.features.integrated_gradients.value, [1, 0])
    assert_within(by_name(first.features, "importance")["phi ALA2"], 1)
    assert second.features.names == ("distance ALA2-CA GLY5-CA", "phi ALA2")
    np.testing.assert_allclose(second.features.importance.value[1], 0, atol=1e-12)
    # Along a path the radius goes down and up again: cosine and sine have shares, which cancel.
    np.testing.assert_allclose(second.features.integrated_gradients.value, [1, 0], atol=1e-12)


def test_residues_have_what_their_features_have_and_half_of_what_they_share():
    angle, separation = normal(2).T
    frames = np.column_stack((np.cos(angle), np.sin(angle), separation, normal(1, seed=5)))
    sites = [Column("distance", "ALA2-CA GLY5-CA", unit="nm"), Column("contact", "GLY5 SER9")]
    data = Dataset([frames], columns=[*TORSION, *sites])
    (found,) = attribute(linear([0.0, 1.0, 1.0, 0.5]), data)
    assert set(found.residues.names) == {"ALA2", "GLY5", "SER9"}
    for measure in ("importance", "integrated_gradients"):
        feature = {name: value for name, (value, _) in by_name(found.features, measure).items()}
        residue = {name: value for name, (value, _) in by_name(found.residues, measure).items()}
        shared, contact = feature["distance ALA2-CA GLY5-CA"] / 2, feature["contact GLY5 SER9"] / 2
        assert residue["ALA2"] == pytest.approx(feature["phi ALA2"] + shared, abs=1e-12)
        assert residue["GLY5"] == pytest.approx(shared + contact, abs=1e-12)
        assert residue["SER9"] == pytest.approx(contact, abs=1e-12)
    correlation = by_name(found.residues, "correlation")
    assert correlation["SER9"] == by_name(found.features, "correlation")["contact GLY5 SER9"]
    assert correlation["ALA2"][0] == max(found.features.correlation.value)
    assert list(found.residues.importance.value) == sorted(found.residues.importance.value, reverse=True)


@pytest.mark.parametrize(
    ("column", "residues"),
    [
        (Column("phi", "ALA2", "cos"), ("ALA2",)),
        (Column("chi1", "ALA-1", "sin"), ("ALA-1",)),
        (Column("distance", "B:ALA-1-CA GLY5-CA", unit="nm"), ("B:ALA-1", "GLY5")),
        (Column("distance", "ALA2-N ALA2-O", unit="nm"), ("ALA2",)),
        (Column("contact", "ALA-2 GLY5"), ("ALA-2", "GLY5")),
        (Column("x", "ALA2-CA", unit="nm"), ("ALA2",)),
        (Column("y", "C1", unit="nm"), ("C1",)),
        (Column("feature", "7"), ()),
    ],
)
def test_residues_of_a_column(column, residues):
    assert column.residues == residues


def test_spread_over_refits_whose_modes_are_matched():
    """Refits that find the same two modes in another order and not quite, and one that has lost the second."""
    data = Dataset([normal(3)])
    models = linear([1, 0, 0], [0, 1, 0]), linear([0, -1, 0.5], [1, 0.2, 0]), linear([1, 0, 0.3])
    first, second = attribute(models, data)
    alone = [attribute(each, data) for each in models]
    of_first = [by_name(a.features, "importance") for a in (alone[0][0], alone[1][1], alone[2][0])]
    of_second = [by_name(a.features, "importance") for a in (alone[0][1], alone[1][0])]
    for found, parts in ((first, of_first), (second, of_second)):
        for place, name in enumerate(found.features.names):
            values, errors = np.array([part[name] for part in parts]).T
            assert found.features.importance.value[place] == pytest.approx(values.mean(), abs=1e-12)
            assert found.features.importance.spread[place] == pytest.approx(values.std(ddof=1), abs=1e-12)
            assert found.features.importance.error[place] == pytest.approx(np.sqrt((errors**2).mean()), abs=1e-12)
    assert first.features.names[0] == "feature 0"
    assert second.features.names == ("feature 1", "feature 2", "feature 0")


def test_standard_errors_are_those_of_frames_that_follow_each_other():
    """x + y, where x keeps its value for 50 frames: over many samples the importances vary as each says of itself."""
    values, errors = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        x, y = np.repeat(random.normal(size=40), 50), random.normal(size=2000)
        (found,) = attribute(linear([1.0, 1.0]), Dataset([np.column_stack((x, y))]))
        value, error = by_name(found.features, "importance")["feature 0"]
        values.append(value)
        errors.append(error)
    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / np.std(values) < 1.5


def test_weights_count():
    """The first column varies in frames of weight 0 alone."""
    frames = normal(2)
    weight = np.ones(N_ROWS)
    weight[::2] = 0
    frames[1::2, 0] = 3.0
    (found,) = attribute(linear([1.0, 1.0]), Dataset([frames], weight=weight))
    assert found.features.names == ("feature 1", "feature 0")
    np.testing.assert_allclose(found.features.importance.value, [1, 0], atol=0.05)
    assert found.features.importance.value[1] == 0
    (found,) = attribute(linear([1.0, 1.0]), Dataset([frames]))
    assert found.features.names[0] == "feature 0"


def test_of_many_features_only_some_are_permuted(monkeypatch):
    """Two for two modes: the one that each depends on most."""
    monkeypatch.setattr(attribution, "MOST_FEATURES", 5)
    monkeypatch.setattr(attribution, "N_PERMUTED", 2)
    first, second = attribute(linear([1, 0, 0, 0.5, 0, 0], [0, 0, 0.1, 0, 2, 0]), Dataset([normal(6)]))
    assert first.n_permuted == second.n_permuted == 2
    assert first.features.names[0] == "feature 0"
    assert first.features.names[2] == "feature 3", "what has not been permuted comes by integrated gradients"
    assert second.features.names[0] == "feature 4"
    rows = second.features.rows(3)
    assert [row["name"] for row in rows] == ["feature 4", "feature 0", "feature 2"]
    assert rows[0]["importance"]["spread"] is None
    assert rows[1]["importance"]["value"] == 0
    assert rows[2]["importance"] == {"value": None, "error": None, "spread": None}
    assert rows[2]["integrated_gradients"]["value"] > 0.02


def test_one_column_and_columns_that_do_not_fit():
    (found,) = attribute(linear([-2.0]), Dataset([normal(1)]))
    for measure in ("importance", "correlation", "integrated_gradients"):
        assert by_name(found.features, measure)["feature 0"][0] == pytest.approx(1, abs=0.1)
    with pytest.raises(InputError, match="the data have 2 columns: this model takes 1"):
        attribute(linear([1.0]), Dataset([normal(2)]))


def test_torsion_behind_the_slowest_mode_of_alanine_dipeptide():
    """φ, by all three measures; ψ behind the second."""
    folder = REPOSITORY_DATA / "alanine_dipeptide"
    data = load_features(sorted(folder.glob("*.xtc")), top=folder / "top.pdb")
    fitted = NeuralSVD(2, 5, n_networks=1, max_steps=150, random_state=0).fit_fetch(data)
    slowest, second = attribute(fitted, data)
    assert slowest.features.names == ("phi ALA2", "psi ALA2")
    for measure in ("importance", "correlation", "integrated_gradients"):
        value, error = by_name(slowest.features, measure)["phi ALA2"]
        assert value > 0.7
        other, its_error = by_name(slowest.features, measure)["psi ALA2"]
        assert value - other > 4 * np.hypot(error, its_error)
    assert second.features.names[0] == "psi ALA2"
    assert slowest.residues.names == ("ALA2",)


def test_pair_of_complex_modes():
    """Driven around three states, of which two columns tell; the third is noise."""
    driven = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])
    points = np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    frames = np.column_stack((points[markov_chain(driven, 8000, 0)], normal(1, n_rows=8000)))
    data = Dataset([frames])
    fitted = NeuralSVD(2, 3, reversible=False, n_networks=1, max_steps=150, random_state=0).fit_fetch(data)
    assert np.iscomplexobj(fitted.eigenvalues)
    first, second = analyze(fitted, data).attribution
    assert first.features.names == second.features.names
    assert first.features.names[2] == "feature 2"
    np.testing.assert_allclose(first.features.importance.value, second.features.importance.value, atol=1e-9)
    assert first.features.importance.value[1] > 0.2
    assert first.features.importance.value[2] < 0.05
    # |E z x| / σ of z = exp(2πi s/3) and x = 0, 1, −1 is (√3/3) / √(2/3), and so for y = 1, 0, −1.
    np.testing.assert_allclose(first.features.correlation.value[:2], math.sqrt(1 / 2), atol=0.05)


def test_modes_of_a_generator():
    """In 5 (x² − 1)² + y²/4 the slowest is a function of x, the next is y, the third, of rate 1/18 + 1/2, both.

    There each takes part in all of the variance, and neither correlates.
    """
    samples = SYSTEMS["double-well-2d"].sample(10_000, seed=0)
    data = Dataset([samples])
    fitted = GeneratorSVD(3, hidden=(24, 24), max_steps=600, random_state=0).fit_fetch(data)
    results = analyze_generator(fitted, data)
    x, y, product = (found.features for found in results.attribution)
    assert x.names == ("feature 0", "feature 1")
    assert y.names == ("feature 1", "feature 0")
    for single in (x, y):
        np.testing.assert_allclose(single.importance.value, [1, 0], atol=0.1)
        assert single.correlation.value[0] > 0.9
    np.testing.assert_allclose(product.importance.value, 1, atol=0.15)
    assert product.correlation.value.max() < 0.2
