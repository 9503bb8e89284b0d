"""State-free reversible VAMPNet (SRV): one network for both ends of a pair, trained by VAMP-2.

Chen, Sidky, Ferguson, J. Chem. Phys. 150 (2019) 214114. Implementation: spectraldyn's own objective "vamp-2".
"""

from collections.abc import Sequence
from typing import Any

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import BATCH_SIZES, LEARNING_RATES, best_trained
from spectraldyn.errors import InputError
from spectraldyn.estimators import NeuralSVD
from spectraldyn.estimators.model import NeuralSVDModel


def srv(
    problem: Problem,
    learning_rates: Sequence[float] = LEARNING_RATES,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    max_steps: int = 1000,
) -> Learned:
    """VAMP-2 of symmetrised correlations, from random weights, tuned over learning rate and batch size as VAMPNet is.

    Training ends early on the score of validation blocks; the setting with the best score is taken.
    """
    if not problem.reversible:
        raise InputError(
            "a state-free reversible VAMPNet takes the dynamics as reversible: vampnet is its like without"
        )
    asked: dict[str, Any] = {"random_state": problem.seed, "device": problem.device, "max_steps": max_steps}

    def train(**setting: Any) -> tuple[tuple[NeuralSVDModel, int], float]:
        estimator = NeuralSVD(
            problem.n_modes, problem.lagtime, objective="vamp-2", warm_start=False, **asked, **setting
        )
        model = estimator.fit_fetch(problem.trajectories)
        return (model, estimator.history_.kept_step), model.scores["vamp2_test"]

    (model, kept_step), chosen, seconds = best_trained(train, learning_rate=learning_rates, batch_size=batch_sizes)
    grid = {"learning_rate": list(learning_rates), "batch_size": list(batch_sizes)}
    how = {"grid": grid, "chosen by": "VAMP-2 on validation blocks"}
    return Learned(
        functions=lambda frames: model.functions(frames)[:, 1:],
        settings={**chosen, "kept_step": kept_step, "hidden": list(model.settings.layout.hidden), **how},
        seconds=seconds,
    )
