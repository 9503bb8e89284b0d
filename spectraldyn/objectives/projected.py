"""Low-rank approximation with the last linear layer solved for: variable projection.

Minimising the rank-L error over all linear combinations of m ≥ L functions leaves

    min_{P, Q} L_L(f P, g Q) = −Σ_{i≤L} σ_i²,

with σ_i the singular values of A^−½ B C^−½ (see `spectraldyn.objectives.vamp`; Eckart–Young in the span of the
functions). With m = L this is VAMP-2; more functions than modes leave the descent more to choose from.

Golub, Pereyra, SIAM J. Numer. Anal. 10 (1973) 413, for variable projection; Wu, Noé, J. Nonlinear Sci. 30 (2020) 23,
theorem 2, for the projected singular values.
"""

import torch
from torch import Tensor

from spectraldyn.objectives.vamp import projected
from spectraldyn.objectives.whitening import RIDGE
from spectraldyn.records import Action


def projected_low_rank_loss(action: Action, rank: int, ridge: float = RIDGE) -> Tensor:
    """−Σ_{i≤rank} σ_i² of the operator projected on the span (scalar); biased in small batches, as every whitening.

    Tied sides cannot represent negative eigenvalues: these count as 0.

    Parameters
    ----------
    action : Action
        m ≥ rank functions on each side, the known ones counted.
    rank : int
        Singular values that count, the known ones included.
    ridge : float
        See `spectraldyn.objectives.whitening.cholesky`.
    """
    K, finite = projected(action, ridge)
    if action.tied:
        values = torch.linalg.eigvalsh((finite + finite.T) / 2).flip(0)[:rank].clamp_min(0)
    else:
        values = torch.linalg.svdvals(finite)[:rank]
    return -values.square().sum() + 0 * K.sum()
