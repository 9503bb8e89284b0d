"""spectraldyn: the slow spectrum behind molecular-dynamics trajectories, with error bars."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectraldyn.version import __version__

if TYPE_CHECKING:
    from spectraldyn import plots
    from spectraldyn.errors import InputError, InputWarning
    from spectraldyn.estimators.neural_svd import NeuralSVD
    from spectraldyn.model import NeuralSVDModel
    from spectraldyn.report.write import write_results
    from spectraldyn.results import Results, analyze, fit_trajectories
    from spectraldyn.trajectories.load import Features, load_features

__all__ = [
    "Features",
    "InputError",
    "InputWarning",
    "NeuralSVD",
    "NeuralSVDModel",
    "Results",
    "__version__",
    "analyze",
    "fit_trajectories",
    "load_features",
    "plots",
    "write_results",
]

_HOMES = {
    "Features": "trajectories.load",
    "InputError": "errors",
    "InputWarning": "errors",
    "NeuralSVD": "estimators.neural_svd",
    "NeuralSVDModel": "model",
    "Results": "results",
    "analyze": "results",
    "fit_trajectories": "results",
    "load_features": "trajectories.load",
    "write_results": "report.write",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which commands that only read files should not pay.
    if name == "plots":
        return import_module("spectraldyn.plots")
    if name not in _HOMES:
        raise AttributeError(f"module 'spectraldyn' has no attribute {name!r}")
    return getattr(import_module(f"spectraldyn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
