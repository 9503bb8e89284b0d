"""Four wells and the noisy logistic map: what is measured of them, against exact answers."""

import numpy as np
import pytest
import torch

from analysis.experiments import four_wells, four_wells_shown, logistic_map
from analysis.experiments.conditional_expectations import predictor
from spectraldyn.networks.factors import FourierFeatures

LAW = logistic_map.LAW


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_expectations_are_exact_with_all_singular_functions(way):
    h = logistic_map.exact_functions(20)(LAW.points)
    values = np.exp(np.sin(2 * np.pi * LAW.points))
    found = predictor(LAW.averages(h), h.T @ (LAW.weight * values), 3, way == "backward")
    exact = values
    for coefficients in found:
        exact = getattr(LAW, way) @ exact
        np.testing.assert_allclose(h @ coefficients, exact, atol=5e-4)
    assert LAW.spread(exact) > 0.005  # there was something to predict


def test_the_transition_law_leaves_the_stationary_one_and_its_two_directions_are_adjoint():
    np.testing.assert_allclose(LAW.forward.sum(axis=1), 1, atol=1e-10)
    np.testing.assert_allclose(LAW.weight @ LAW.forward, LAW.weight, atol=1e-12)
    f, g = np.cos(2 * np.pi * LAW.points), LAW.points**2
    assert np.isclose(LAW.weight @ (f * (LAW.forward @ g)), LAW.weight @ ((LAW.backward @ f) * g), rtol=1e-10)


def test_exact_functions_are_judged_as_exact():
    states = logistic_map.SYSTEM.simulate(20_000, 0)[:, 0]
    row = logistic_map.judged(logistic_map.exact_functions(8), states)
    exact = logistic_map.SYSTEM.singular_values(9)
    np.testing.assert_allclose(row["Ritz"], exact[1:], atol=1e-8)
    np.testing.assert_allclose(logistic_map.errors(row, "Ritz"), 0, atol=1e-5)
    assert logistic_map.best_score(8) - 0.02 < row["VAMP-E"] < logistic_map.best_score(8)
    assert max(map(max, row["prediction"].values())) < 0.05
    assert np.isclose(logistic_map.best_score(20), 4.0105, atol=1e-4)


def test_singular_values_are_learned_from_one_trajectory():
    case = {
        "method": "joint", "change": "", "seed": 0, "frames": 40_000, "functions": 8, "frequencies": 4, "hidden": (32,),
        "batch": 512, "rate": 1e-2, "steps": 600,
    }  # fmt: skip
    (row,) = logistic_map.measure(case, None)
    assert np.abs(logistic_map.errors(row, "Ritz", 6)).max() < 10
    assert row["VAMP-E"] > 3.85
    assert row["prediction"]["cos 2πx, forward"][1] < 0.1 < logistic_map.left_to_predict("cos 2πx", "forward")[1]


@pytest.mark.parametrize(("form", "shift"), [("strong", 300.0), ("resolvent", 70.0)])
def test_both_forms_have_the_eigenvalues_of_the_generator(form, shift):
    waves = FourierFeatures(torch.arange(1.0, 41)[None] * torch.pi / 1.3)  # enough for the eigenfunctions
    chosen, at = four_wells.FORMS[form](shift), four_wells.rule()
    spectrum = four_wells.spectrum_of(chosen.operator, waves, at)
    known = four_wells.SYSTEM.rates(7)
    np.testing.assert_allclose(chosen.rates(spectrum.values)[:7], known, atol=5e-3)
    found = four_wells.ritz_functions(waves, spectrum, at.x)
    exact = four_wells.SYSTEM.eigenfunctions(at.x.numpy(), 7)
    weight = at.weight.numpy() / len(at.x)
    assert max(four_wells.distances(found, exact, weight)) < 1e-4
    assert four_wells.distances(0 * found, exact, weight) == [1] * 7
    assert min(four_wells.distances(found[:, ::-1][:, :3], exact[:, :3], weight)) > 0.9


def test_even_states_average_as_the_equilibrium_distribution():
    at, random = four_wells.rule(), torch.Generator().manual_seed(0)
    exact = float((at.weight * at.x[:, 0] ** 2).mean())
    even, independent = (
        four_wells.samples(kind).draw(4000, random).x.double().square().mean() - exact for kind in (True, False)
    )
    assert abs(even) < 1e-4
    assert abs(independent) < 0.02


def test_eigenvalues_of_the_energy_space_resolvent_are_learned():
    case = {
        **four_wells.POTENTIAL["energy-space resolvent, ours"], "part": "potential", "method": "ours", "seed": 0,
        "batch": 512, "steps": 200, "functions": 7, "hidden": (32,), "frequencies": 8,
    }  # fmt: skip
    (row,) = four_wells.measure(case, None)
    exact = -four_wells.SYSTEM.rates(8)
    np.testing.assert_allclose(row["eigenvalues"][:3], exact[:3], atol=0.5)
    np.testing.assert_allclose(row["last layer"][:4], exact[:4], atol=1)
    assert row["trace"][0]["errors"][0] > row["trace"][-1]["errors"][0]
    assert four_wells_shown.text([{**case, **row}], exact, 0.005).count(", not right to the digits printed") == 2
    right = {**case, **row, "eigenvalues": (exact[:7] + 0.004).tolist(), "last layer": (exact - 0.004).tolist()}
    assert four_wells_shown.text([right], exact, 0.005).count("0.004, right to the digits printed") == 2


def test_what_is_said_of_samples_counts_intervals_and_distances():
    exact = np.array([-1.0, -2.0])
    rows = [
        {"part": "samples", "method": method, "seed": 0, "lag": 1, "frames": 10, "eigenvalues": values, "low": low,
         "high": high, "unresolved": reasons, "failed": None, "VAMP-E": 2.0, "seconds": 1.0}
        for method, values, low, high, reasons in (
            ("oracle", [-1.1, -2.2], [-1.2, None], [-0.9, None], [None, None]),
            ("NeuralSVD", [-1.21, None], [-1.3, None], [-1.1, None], [None, "shorter than the lag time"]),
        )
    ]  # fmt: skip
    assert four_wells_shown.coverage(rows, exact) == (1, 2)
    assert np.isclose(four_wells_shown.off_oracle(rows, "NeuralSVD")[0], (10 + 100) / 2)
    assert four_wells_shown.resolved(rows, 1) == 2
