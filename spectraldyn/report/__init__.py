"""Folders of results and of comparisons, with their figures and the HTML report."""

from spectraldyn.report.comparison import check_comparison_folder, write_comparison
from spectraldyn.report.write import check_results_folder, write_results
