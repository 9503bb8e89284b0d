"""Intervals of whole fits, judged over many data sets with an exactly known answer: as often right as they claim."""

import numpy as np
import pytest
from problems import markov_chains
from scipy import stats

from spectraldyn import Dataset, GeneratorSVD, NeuralSVD, analyze, analyze_generator
from spectraldyn.spectra.rates import rate_intervals
from spectraldyn.spectra.timescales import read_off_timescales
from spectraldyn.units import TimeAxis

N_SETS = 40


def judge(estimates, exact):
    """z-scores of 95 % intervals: their mean and spread within 4 standard errors of those of a standard normal, and no
    more misses than 999 of 1000 binomial numbers of them."""
    value, low, high = (np.log([getattr(e, part) for e in estimates]) for part in ("value", "low", "high"))
    z = (value - np.log(exact)) / ((high - low) / 3.92)
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(z)))
    missed = np.count_nonzero((np.log(exact) < low) | (np.log(exact) > high))
    assert missed <= stats.binom.ppf(0.999, len(z), 0.05)


@pytest.mark.parametrize("reversible", [True, False])
def test_learned_timescales_lie_in_their_intervals(reversible):
    """Three states in a plane, of timescales −1/ln 0.97 and −1/ln 0.91 rows, 0.5 ps and 2 stored frames apart; 4000
    rows in 4 stretches."""
    chain = np.array([[0.96, 0.03, 0.01], [0.03, 0.96, 0.01], [0.01, 0.01, 0.98]])
    values = np.sort(np.linalg.eigvals(chain))[1::-1]
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = []
    for seed in range(N_SETS):
        data = Dataset(list(corners[markov_chains(chain, 4, 1000, seed)]), time=TimeAxis(0.5, 2))
        options = {"hidden": (8,), "n_networks": 1, "max_steps": 10, "random_state": seed}
        fit = NeuralSVD(2, 3, reversible=reversible, **options).fit(data)
        # What an analysis makes of the timescales, without all else that it finds out, which takes longer than the fit.
        found.append(read_off_timescales(fit.model_.moments, fit.functions_, data.stretches, 3, seed)[3])
    whole = analyze(fit.model_, data, 3, functions=fit.functions_).timescales
    assert [(scale.value, scale.low, scale.high) for scale in whole] == [
        (scale.value, scale.low, scale.high) for scale in found[-1]
    ]
    for process, value in enumerate(values):
        judge([scales[process] for scales in found], exact=-1 / np.log(value))


def test_learned_rates_lie_in_their_intervals():
    """A spring, from 1000 independent states."""
    found = []
    for seed in range(N_SETS):
        data = Dataset([np.random.default_rng(seed).normal(size=(1000, 1))])
        options = {"hidden": (8,), "test_fraction": 0, "max_steps": 100, "learning_rate": 0.02, "random_state": seed}
        fit = GeneratorSVD(1, shift=0.5, **options).fit(data)
        model = fit.model_
        found.append(rate_intervals(model.moments, model.spectrum, model.shift, 0.0, seed)[0])
    assert analyze_generator(model, data, 2, functions=fit.functions_).rates[0] == found[-1]
    judge(found, exact=1.0)
