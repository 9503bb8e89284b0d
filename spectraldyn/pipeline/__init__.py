"""From files to results: fits of transfer operators and generators, refits, projections of new files."""

from spectraldyn.pipeline.generator import Potential, analyze_generator, fit_generator
from spectraldyn.pipeline.project import transform_trajectories
from spectraldyn.pipeline.refit import refit_at_lags
from spectraldyn.pipeline.results import GeneratorResults, Results, TransferResults
from spectraldyn.pipeline.stored import FittedFrames, holds_results, relative_path, save_modes
from spectraldyn.pipeline.tables import aligned, format_number
from spectraldyn.pipeline.transfer import analyze, fit_trajectories, load_for_lag
