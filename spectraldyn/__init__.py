"""spectraldyn: the slow spectrum behind molecular-dynamics trajectories, with error bars."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectraldyn.version import __version__

if TYPE_CHECKING:
    from spectraldyn import plots, systems
    from spectraldyn.baselines.compare import Comparison, compare_methods, compare_trajectories
    from spectraldyn.errors import InputError, InputWarning
    from spectraldyn.estimators.generator_svd import GeneratorSVD
    from spectraldyn.estimators.model import GeneratorModel, NeuralSVDModel
    from spectraldyn.estimators.neural_svd import NeuralSVD
    from spectraldyn.features.load import Features, load_features
    from spectraldyn.learning.spectrum import learn_spectrum
    from spectraldyn.pipeline.generator import analyze_generator, fit_generator
    from spectraldyn.pipeline.transfer import Results, analyze, fit_trajectories, refit_at_lags
    from spectraldyn.report.comparison import write_comparison
    from spectraldyn.report.write import write_results

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
    "Comparison": "baselines.compare",
    "Features": "features.load",
    "GeneratorModel": "estimators.model",
    "GeneratorSVD": "estimators.generator_svd",
    "InputError": "errors",
    "InputWarning": "errors",
    "NeuralSVD": "estimators.neural_svd",
    "NeuralSVDModel": "estimators.model",
    "Results": "pipeline.transfer",
    "analyze": "pipeline.transfer",
    "analyze_generator": "pipeline.generator",
    "compare_methods": "baselines.compare",
    "compare_trajectories": "baselines.compare",
    "fit_generator": "pipeline.generator",
    "fit_trajectories": "pipeline.transfer",
    "learn_spectrum": "learning.spectrum",
    "load_features": "features.load",
    "refit_at_lags": "pipeline.transfer",
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
