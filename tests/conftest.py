"""What every test needs: a feature store of its own, and one thread, since two of them run side by side."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported

import pytest
import torch
import torch._dynamo  # which the first optimiser loads, for seconds: also in every process that a test forks

from spectraldyn.estimators import NeuralSVD

torch.set_num_threads(1)

LONGEST = {"test_notebooks", "test_known_systems", "test_coverage", "test_generator", "test_validation"}
"""Files with tests of ten seconds and more."""


def pytest_collection_modifyitems(items):
    """Those first: of two workers, none is left with a long one in the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def feature_store(tmp_path_factory, monkeypatch):
    """The folder of the feature store, empty at first; never the user's own."""
    folder = tmp_path_factory.mktemp("store") / "feature-store"
    monkeypatch.setenv("SPECTRALDYN_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_refits():
    """None unless a test asks for them: learning anew takes four times as long as a fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectraldyn.pipeline.resampled.DEFAULT_REFITS", 0)
        yield


@pytest.fixture(autouse=True, scope="session")
def few_replicates_of_the_kinetics():
    """Two hundred Markov models take as long as all else in an analysis; see `as_many_replicates_as_users_get`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectraldyn.spectra.kinetics.N_REPLICATES", 20)
        yield


@pytest.fixture
def as_many_replicates_as_users_get(monkeypatch):
    """For tests that judge intervals of the kinetics."""
    monkeypatch.setattr("spectraldyn.spectra.kinetics.N_REPLICATES", 200)


@pytest.fixture
def kept_at_every_evaluation(monkeypatch):
    """The state of a training, also where evaluations are less than two seconds apart."""
    monkeypatch.setattr("spectraldyn.learning.keeping.KEPT_AT_EVALUATIONS", 0.0)


@pytest.fixture
def no_pictures(monkeypatch):
    """See `draw_no_pictures`."""
    draw_no_pictures(monkeypatch)


@pytest.fixture
def quick(monkeypatch):
    """See `make_quick`."""
    make_quick(monkeypatch)


def draw_no_pictures(monkeypatch):
    """Of a picture, its first bytes: to draw them takes twice as long as the rest of a report."""
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x90\0\0\0\x90"
    monkeypatch.setattr("spectraldyn.plots.save_figure", lambda ax, path: path.write_bytes(header))


def make_quick(monkeypatch):
    """Hardly any training after the warm start, of two networks and not three, and no pictures."""
    draw_no_pictures(monkeypatch)
    monkeypatch.setitem(NeuralSVD.__init__.__kwdefaults__, "n_networks", 2)
    monkeypatch.setattr("spectraldyn.learning.loop.EVALUATIONS", 5)
    monkeypatch.setattr("spectraldyn.estimators.base.default_steps", lambda *_: 30)
    for name, value in {
        "STEPS": 10,
        "STEPS_PER_MODE": 0,
        "PROBE_STEPS": 10,
        "SETTLING_STEPS": 10,
        "ENCODED_STEPS": 10,
    }.items():
        monkeypatch.setattr(f"spectraldyn.estimators.neural_svd.{name}", value)
