"""Folders of results, comparisons and scans, with their figures and the HTML report."""

from spectraldyn.report.notebook import as_html, as_png
from spectraldyn.report.seeds import write_seeds
from spectraldyn.report.structures import write_states
from spectraldyn.report.viewing import view_states
from spectraldyn.report.write import (
    check_comparison_folder,
    check_results_folder,
    check_scan_folder,
    rebuild_report,
    write_comparison,
    write_results,
    write_scan,
)
