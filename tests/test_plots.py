"""Figures as they are saved: nothing that carries meaning may lie outside the picture."""

from types import SimpleNamespace

import matplotlib.image
import numpy as np

from spectraldyn import plots
from spectraldyn.features.load import Features
from spectraldyn.spectra.states import MetastableSets


def test_saved_state_map_keeps_its_labels(tmp_path):
    """A Ramachandran map has a fixed aspect; a label cut off by the edge of the picture would leave ink there."""
    random = np.random.default_rng(0)
    phi, psi = random.uniform(-np.pi, np.pi, size=(2, 2000))
    frames = np.stack((np.cos(phi), np.sin(phi), np.cos(psi), np.sin(psi)), axis=1)
    memberships = np.eye(4)[random.integers(4, size=2000)]
    columns = [f"{torsion} ALA4 {part}" for torsion in ("phi", "psi") for part in ("cos", "sin")]
    results = SimpleNamespace(
        features=Features([frames], columns=columns, sources=[], files=[], timestep_ps=1.0, width=4),
        modes=random.normal(size=(2000, 3)),
        sets=MetastableSets(memberships, memberships.mean(axis=0), np.eye(4)),
        representatives=[np.array([i]) for i in range(4)],
    )
    plots.save_figure(plots.plot_states(results), tmp_path / "states.png")
    picture = matplotlib.image.imread(tmp_path / "states.png")[..., :3]
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert np.all(edge == 1)
