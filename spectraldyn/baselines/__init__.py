"""Other estimators of the field beside NeuralSVD, on the same data and judged by the same code."""

from spectraldyn.baselines.compare import Comparison, check_methods, compare_methods, compare_trajectories
from spectraldyn.baselines.judge import judge, judge_outcome
from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.process import THREAD_SETTINGS, Job, Runner, do_job, in_new_interpreter, run_job, store_rows
from spectraldyn.baselines.records import Learned, MethodResult, Outcome, Problem, Question, Split
