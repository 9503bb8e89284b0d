"""Figures as they are saved: nothing that carries meaning may lie outside the picture."""

import matplotlib.image
import numpy as np

from spectraldyn import plots


def test_saved_figures_of_fixed_aspect_keep_their_labels(tmp_path):
    """The margin of the picture is empty on every side; a label cut off by the edge would leave ink there."""
    ax = plots.figure_axes(4.9, 4.1)
    for i in range(4):
        ax.plot([-180, 180], [-180, 180], label=f"{i}: 87 %")
    ax.set(aspect=1, xlabel="φ of ALA4 (degrees)", ylabel="ψ of ALA4 (degrees)")
    ax.legend(title="state: population", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plots.save_figure(ax, tmp_path / "a.png")
    picture = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert np.all(edge == 1)
