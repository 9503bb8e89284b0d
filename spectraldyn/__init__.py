"""spectraldyn: the slow spectrum behind molecular-dynamics trajectories, with error bars."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectraldyn.version import __version__

if TYPE_CHECKING:
    from spectraldyn import plots, systems
    from spectraldyn.compare import Comparison, compare_methods, compare_trajectories
    from spectraldyn.errors import InputError, InputWarning
    from spectraldyn.estimators.generator_svd import GeneratorSVD
    from spectraldyn.estimators.neural_svd import NeuralSVD
    from spectraldyn.generator_results import analyze_generator, fit_generator
    from spectraldyn.model import GeneratorModel, NeuralSVDModel
    from spectraldyn.report.comparison import write_comparison
    from spectraldyn.report.write import write_results
    from spectraldyn.results import Results, analyze, fit_trajectories, refit_at_lags
    from spectraldyn.solver import learn_spectrum
    from spectraldyn.trajectories.load import Features, load_features

__all__ = [
    "Comparison",
    "Features",
    "GeneratorModel",
    "GeneratorSVD",
    "InputError",
    "InputWarning",
    "NeuralSVD",
    "NeuralSVDModel",
    "Results",
    "__version__",
    "analyze",
    "analyze_generator",
    "compare_methods",
    "compare_trajectories",
    "fit_generator",
    "fit_trajectories",
    "learn_spectrum",
    "load_features",
    "plots",
    "refit_at_lags",
    "systems",
    "write_comparison",
    "write_results",
]

_HOMES = {
    "Comparison": "compare",
    "Features": "trajectories.load",
    "GeneratorModel": "model",
    "GeneratorSVD": "estimators.generator_svd",
    "InputError": "errors",
    "InputWarning": "errors",
    "NeuralSVD": "estimators.neural_svd",
    "NeuralSVDModel": "model",
    "Results": "results",
    "analyze": "results",
    "analyze_generator": "generator_results",
    "compare_methods": "compare",
    "compare_trajectories": "compare",
    "fit_generator": "generator_results",
    "fit_trajectories": "results",
    "learn_spectrum": "solver",
    "load_features": "trajectories.load",
    "refit_at_lags": "results",
    "write_comparison": "report.comparison",
    "write_results": "report.write",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which commands that only read files should not pay.
    if name in ("plots", "systems"):
        return import_module(f"spectraldyn.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'spectraldyn' has no attribute {name!r}")
    return getattr(import_module(f"spectraldyn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
