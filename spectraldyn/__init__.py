"""spectraldyn: the slow spectrum behind molecular-dynamics trajectories, with error bars."""

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectraldyn.version import __version__

if TYPE_CHECKING:
    from spectraldyn import data, plots, systems
    from spectraldyn.baselines import Comparison, compare_methods, compare_trajectories
    from spectraldyn.data.dataset import Dataset
    from spectraldyn.data.samples import FreshSamples
    from spectraldyn.data.weights import effective_sample_size, mbar_weights, weights_from_logs
    from spectraldyn.errors import InputError, InputWarning
    from spectraldyn.estimators import (
        Attribution,
        GeneratorModel,
        GeneratorSVD,
        KineticModel,
        KineticSVD,
        NeuralSVD,
        NeuralSVDModel,
        attribute,
    )
    from spectraldyn.export import export_modes
    from spectraldyn.features import Weights, load_features
    from spectraldyn.io import describe_files, open_trajectory
    from spectraldyn.learning import learn_spectrum
    from spectraldyn.pipeline import (
        GeneratorResults,
        Refit,
        Scan,
        Seeds,
        TransferResults,
        analyze,
        analyze_generator,
        fit_generator,
        fit_trajectories,
        refit_at_lags,
        refit_resampled,
        scan_trajectories,
        suggest_seeds,
        transform_trajectories,
    )
    from spectraldyn.report import view_states, write_comparison, write_results, write_scan, write_seeds, write_states

_ROOMS = ("data", "learning", "networks", "objectives", "operators", "plots", "systems")
_HOMES = {
    "baselines": ("Comparison", "compare_methods", "compare_trajectories"),
    "data.dataset": ("Dataset",),
    "data.samples": ("FreshSamples",),
    "data.weights": ("effective_sample_size", "mbar_weights", "weights_from_logs"),
    "records": ("Batch",),
    "errors": ("InputError", "InputWarning"),
    "estimators": (
        "Attribution",
        "GeneratorModel",
        "GeneratorSVD",
        "KineticModel",
        "KineticSVD",
        "NeuralSVD",
        "NeuralSVDModel",
        "attribute",
    ),
    "export": ("export_modes",),
    "features": ("Weights", "load_features"),
    "io": ("describe_files", "open_trajectory"),
    "learning": ("learn_spectrum",),
    "pipeline": (
        "GeneratorResults",
        "Refit",
        "Scan",
        "Seeds",
        "TransferResults",
        "analyze",
        "analyze_generator",
        "fit_generator",
        "fit_trajectories",
        "refit_at_lags",
        "refit_resampled",
        "scan_trajectories",
        "suggest_seeds",
        "transform_trajectories",
    ),
    "report": ("view_states", "write_comparison", "write_results", "write_scan", "write_seeds", "write_states"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_ROOMS, *_HOME]


# A library says nothing unless it is asked to; the command line writes its log from this logger.
logging.getLogger("spectraldyn").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which commands that only read files should not pay.
    if name in _ROOMS:
        return import_module(f"spectraldyn.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'spectraldyn' has no attribute {name!r}")
    return getattr(import_module(f"spectraldyn.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()) is not None:
    import_module("spectraldyn.jupyter").register(_shell)
