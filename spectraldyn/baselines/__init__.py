"""Other estimators of the field beside NeuralSVD, on the same data and judged by the same code."""

from spectraldyn.baselines.compare import check_methods, compare_methods, compare_trajectories
from spectraldyn.baselines.comparison import Comparison
from spectraldyn.baselines.judge import judge, judge_outcome
from spectraldyn.baselines.methods import METHODS, is_installed
from spectraldyn.baselines.process import THREAD_SETTINGS, Job, Runner, do_job, in_new_interpreter, run_job, store_rows
from spectraldyn.baselines.records import Learned, MethodResult, Outcome, Problem, Question, Split
from spectraldyn.baselines.summary import best_or_tied, median_result, split_seeds, standard_error, timescale_values
