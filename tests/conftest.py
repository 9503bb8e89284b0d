"""What every test needs: a feature store of its own, and one thread, since two of them run side by side."""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy is imported

import pytest
import torch

torch.set_num_threads(1)


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
