"""Reference spectra against independently computed ones."""

import numpy as np
import pytest
from problems import EXACT_TIMESCALES

from spectraldyn.systems.overdamped import SYSTEMS, finite_volume, soft_spring


@pytest.mark.parametrize("name", EXACT_TIMESCALES)
def test_finite_volume_meets_published_timescales(name):
    expected = EXACT_TIMESCALES[name]
    np.testing.assert_allclose(1 / SYSTEMS[name].rates(len(expected)), expected, rtol=1e-4)


def test_more_rates_of_the_prinz_potential():
    published = [1.199, 7.889, 15.361, 82.08, 94.93, 132.62, 144.39, 220.48]
    np.testing.assert_allclose(SYSTEMS["prinz"].rates(8), published, rtol=2e-4)


def test_ornstein_uhlenbeck_eigenvalues_and_hermite_eigenfunctions():
    spectrum = finite_volume(soft_spring, -12, 12, n_modes=4, n_points=4000)
    np.testing.assert_allclose(spectrum.rates, [0, 0.5, 1.0, 1.5], atol=2e-5)
    y = spectrum.grid / np.sqrt(2)
    middle = np.abs(y) < 3
    exact = np.stack((np.ones_like(y), y, (y**2 - 1) / np.sqrt(2), (y**3 - 3 * y) / np.sqrt(6)), axis=1)
    signs = np.sign((spectrum.eigenfunctions * exact)[middle].sum(axis=0))
    np.testing.assert_allclose((spectrum.eigenfunctions * signs)[middle], exact[middle], atol=2e-3)


def test_separable_modes_are_ordered_products():
    points = np.array([[0.9, 1.0], [-1.1, 0.5]])
    modes = SYSTEMS["double-well-2d"].eigenfunctions(points, 3)
    np.testing.assert_allclose(np.abs(modes[:, 2]), np.abs(modes[:, 0] * modes[:, 1]), rtol=1e-6)
    np.testing.assert_allclose(np.abs(modes[:, 1]), np.abs(points[:, 1]) / np.sqrt(2), rtol=1e-4)
