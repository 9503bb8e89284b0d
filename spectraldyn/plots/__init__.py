"""Figures of a slow spectrum. Every function takes results and an optional matplotlib axes, and returns the axes."""

from spectraldyn.plots.attribution import plot_attribution
from spectraldyn.plots.comparison import plot_comparison
from spectraldyn.plots.figures import COLOURS, MARKERS, figure_axes, save_figure
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
