"""Folders of results and of comparisons, with their figures and the HTML report."""

from spectraldyn.report.structures import write_states
from spectraldyn.report.write import check_comparison_folder, check_results_folder, write_comparison, write_results
