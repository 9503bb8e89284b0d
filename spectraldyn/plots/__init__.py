"""Figures of a slow spectrum and of the features behind it.

Every function takes what it draws and, optionally, the matplotlib axes to draw on, and returns the axes: `ax`, or
`axes` where there are several panels, in any arrangement that `plt.subplots` gives. Without axes it makes a figure of
its own, ``ax.figure``, which belongs to no window.
"""

from spectraldyn.plots.attribution import plot_attribution
from spectraldyn.plots.comparison import plot_comparison
from spectraldyn.plots.features import plot_feature_histograms
from spectraldyn.plots.figures import COLOURS, MARKERS, figure_axes, figure_of, figure_png, save_figure
from spectraldyn.plots.kinetics import plot_network, plot_time_series
from spectraldyn.plots.scan import plot_scan
from spectraldyn.plots.spectrum import (
    coordinates,
    plot_free_energy,
    plot_modes,
    plot_rates,
    plot_singular_values,
    plot_states,
    plot_timescales,
)
from spectraldyn.plots.validation import plot_chapman_kolmogorov
