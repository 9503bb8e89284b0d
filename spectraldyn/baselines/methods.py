"""The methods that can be compared, by name; here those that take a few lines: NeuralSVD, TICA and VAMP.

Pérez-Hernández et al., J. Chem. Phys. 139 (2013) 015102; Wu, Noé, J. Nonlinear Sci. 30 (2020) 23. Implementation:
Hoffmann et al., "Deeptime", Mach. Learn.: Sci. Technol. 3 (2022) 015009, here and in the other modules.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from deeptime.decomposition import TICA, VAMP

from spectraldyn.baselines.bases import edmd, kernel_edmd
from spectraldyn.baselines.markov import msm
from spectraldyn.baselines.nystroem import nystroem_rrr
from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.srv import srv
from spectraldyn.baselines.tuning import as_float64
from spectraldyn.baselines.vampnet import vampnet
from spectraldyn.data import Dataset
from spectraldyn.estimators import NeuralSVD


def neural_svd(problem: Problem, **options: Any) -> Learned:
    """NeuralSVD with its defaults, or other options of the estimator."""
    asked = {"reversible": problem.reversible, "random_state": problem.seed, "device": problem.device}
    estimator = NeuralSVD(problem.n_modes, problem.lagtime, **{**asked, **options})
    data = problem.trajectories if problem.atoms is None else Dataset(problem.trajectories, atoms=problem.atoms)
    model = estimator.fit_fetch(data)
    n_left = 1 + problem.n_modes
    shown = {name: model.settings.plain()[name] for name in ("objective", "network", "hidden", "activation")}
    chosen = {name: getattr(estimator, name) for name in ("n_networks", "learning_rate", "weight_decay")}
    return Learned(
        functions=lambda frames: model.functions(frames)[:, 1:n_left],
        right=None if model.reversible else lambda frames: model.functions(frames)[:, n_left:],
        settings={**shown, **chosen, "kept_step": estimator.history_.kept_step},
    )


def tica(problem: Problem) -> Learned:
    """Time-lagged independent components, unscaled."""
    return _linear(TICA, problem)


def vamp(problem: Problem) -> Learned:
    """Linear singular functions: left, and right where the dynamics are not taken as reversible."""
    return _linear(VAMP, problem)


def _linear(kind: type[TICA] | type[VAMP], problem: Problem) -> Learned:
    # By default deeptime's TICA scales every component by its eigenvalue.
    estimator = kind(lagtime=problem.lagtime, dim=problem.n_modes, scaling=None)
    model = estimator.fit_fetch([as_float64(part) for part in problem.trajectories])
    return Learned(
        functions=lambda frames: model.transform(as_float64(frames)),
        right=None if kind is TICA else lambda frames: model.backward(as_float64(frames), propagate=False),
        settings={"dim": problem.n_modes, "epsilon": estimator.epsilon},
    )


METHODS: dict[str, Callable[..., Learned]] = {
    "neural-svd": neural_svd,
    "tica": tica,
    "vamp": vamp,
    "edmd": edmd,
    "kernel-edmd": kernel_edmd,
    "msm": msm,
    "vampnet": vampnet,
    "srv": srv,
    "nystroem-rrr": nystroem_rrr,
}
LIBRARIES = {"nystroem-rrr": "kooplearn"}
"""What some methods need that is not installed with spectraldyn."""


def is_installed(method: str) -> bool:
    """Whether the library that a method needs is at hand."""
    return method not in LIBRARIES or find_spec(LIBRARIES[method]) is not None
