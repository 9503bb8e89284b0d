"""Other estimators of the field beside NeuralSVD, on the same data and judged by the same code."""

from spectraldyn.baselines.compare import (
    TEST_FRACTION,
    Comparison,
    check_methods,
    compare_methods,
    compare_trajectories,
)
from spectraldyn.baselines.judge import Split, judge
from spectraldyn.baselines.methods import METHODS
from spectraldyn.baselines.records import Learned, MethodResult, Problem

__all__ = [
    "METHODS",
    "TEST_FRACTION",
    "Comparison",
    "Learned",
    "MethodResult",
    "Problem",
    "Split",
    "check_methods",
    "compare_methods",
    "compare_trajectories",
    "judge",
]
