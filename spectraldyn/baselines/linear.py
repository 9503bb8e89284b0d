"""TICA and VAMP: linear combinations of the features.

References
----------
Pérez-Hernández et al., J. Chem. Phys. 139 (2013) 015102; Wu, Noé, J. Nonlinear Sci. 30 (2020) 23. Implementation:
Hoffmann et al., "Deeptime", Mach. Learn.: Sci. Technol. 3 (2022) 015009, here and in the other modules.
"""

import numpy as np
from deeptime.decomposition import TICA, VAMP

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.baselines.tuning import as_float64


def tica(problem: Problem) -> Learned:
    """Time-lagged independent components, unscaled."""
    # By default deeptime scales every component by its eigenvalue.
    estimator = TICA(lagtime=problem.lagtime, dim=problem.n_modes, scaling=None)
    model = estimator.fit_fetch(as_float64(problem.trajectories))
    return Learned(
        functions=lambda frames: model.transform(np.asarray(frames, dtype=np.float64)),
        settings={"dim": problem.n_modes, "epsilon": estimator.epsilon},
    )


def vamp(problem: Problem) -> Learned:
    """Linear singular functions: left, and right where the dynamics are not taken as reversible."""
    estimator = VAMP(lagtime=problem.lagtime, dim=problem.n_modes, scaling=None)
    model = estimator.fit_fetch(as_float64(problem.trajectories))
    return Learned(
        functions=lambda frames: model.transform(np.asarray(frames, dtype=np.float64)),
        right=lambda frames: model.backward(np.asarray(frames, dtype=np.float64), propagate=False),
        settings={"dim": problem.n_modes, "epsilon": estimator.epsilon},
    )
