"""spectraldyn: the slow spectrum behind molecular-dynamics trajectories, with error bars."""

from spectraldyn.errors import InputError, InputWarning
from spectraldyn.estimator import NeuralSVD
from spectraldyn.model import NeuralSVDModel
from spectraldyn.results import Results, analyze, fit_trajectories
from spectraldyn.trajectories.load import Features, load_features

__version__ = "0.1.0"

__all__ = [
    "Features",
    "InputError",
    "InputWarning",
    "NeuralSVD",
    "NeuralSVDModel",
    "Results",
    "analyze",
    "fit_trajectories",
    "load_features",
]
