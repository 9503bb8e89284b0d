"""From files to results: fits of transfer operators and generators, refits, projections of new files."""

from spectraldyn.estimators.base import check_modes
from spectraldyn.pipeline.generator import Potential, analyze_generator, fit_generator
from spectraldyn.pipeline.log import under_way
from spectraldyn.pipeline.project import FittedFeatures, transform_trajectories
from spectraldyn.pipeline.refit import refit_at_lags
from spectraldyn.pipeline.remarks import MEND_FIRST, trajectory_name
from spectraldyn.pipeline.resampled import Refit, refit_resampled
from spectraldyn.pipeline.results import GeneratorResults, Results, TransferResults
from spectraldyn.pipeline.run import Run, Stage
from spectraldyn.pipeline.scan import scan_trajectories
from spectraldyn.pipeline.seeds import Seeds, suggest_seeds
from spectraldyn.pipeline.sensitivity import AXES, N_SHOWN, Scan, ScanFit
from spectraldyn.pipeline.stored import (
    FittedFrames,
    feature_seen_from,
    holds_results,
    relative_path,
    save_modes,
    software,
    stored_axis,
    stored_contents,
    stored_inputs,
    stored_time,
)
from spectraldyn.pipeline.tables import (
    aligned,
    format_number,
    intervals_line,
    part_cell,
    rate_cells,
    timescale_cell,
    timescale_cells,
    unresolved_notes,
    with_error,
    with_interval,
)
from spectraldyn.pipeline.transfer import analyze, fit_trajectories, load_for_lag
