"""The methods that can be compared, by name."""

from collections.abc import Callable
from typing import Any

from spectraldyn.baselines.bases import edmd, kernel_edmd
from spectraldyn.baselines.linear import tica, vamp
from spectraldyn.baselines.markov import msm
from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.vampnet import vampnet
from spectraldyn.estimators import NeuralSVD


def neural_svd(problem: Problem, **options: Any) -> Learned:
    """NeuralSVD with its defaults, or other options of the estimator."""
    estimator = NeuralSVD(
        problem.n_modes,
        problem.lagtime,
        **{
            "reversible": problem.reversible,
            "random_state": problem.seed,
            "device": problem.device,
            **options,
        },
    )
    model = estimator.fit_fetch(problem.trajectories)
    layout = model.settings.layout
    n_left = 1 + layout.n_modes
    return Learned(
        functions=lambda frames: model.functions(frames)[:, 1:n_left],
        right=None if model.reversible else lambda frames: model.functions(frames)[:, n_left:],
        settings={
            "objective": model.settings.objective,
            **{name: getattr(layout, name) for name in ("network", "hidden", "activation")},
            **{name: getattr(estimator, name) for name in ("batch_size", "learning_rate")},
            "kept_step": estimator.history_.kept_step,
        },
    )


METHODS: dict[str, Callable[..., Learned]] = {
    "neural-svd": neural_svd,
    "tica": tica,
    "vamp": vamp,
    "edmd": edmd,
    "kernel-edmd": kernel_edmd,
    "msm": msm,
    "vampnet": vampnet,
}
