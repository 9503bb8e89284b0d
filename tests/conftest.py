"""What every test needs: a feature store of its own, and no more threads than the machine has to spare."""

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def feature_store(tmp_path_factory, monkeypatch):
    """The folder of the feature store, empty at first; never the user's own."""
    folder = tmp_path_factory.mktemp("store") / "feature-store"
    monkeypatch.setenv("SPECTRALDYN_CACHE", str(folder))
    return folder
