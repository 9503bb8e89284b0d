"""Averages of what an operator does to networks, over batches of rows: from here on all is linear algebra."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike

from spectraldyn.linalg import gram
from spectraldyn.processes import own, several, shared_out, shared_rows, sum_of_all
from spectraldyn.records import Batch, Network, Operator
from spectraldyn.spectra.moments import Moments


@torch.no_grad()
def operator_moments(
    operator: Operator,
    left: Network,
    right: Network,
    blocks: Iterable[Iterable[Batch]],
    stretch: ArrayLike | None = None,
) -> Moments:
    """Moments of what an operator does to learned functions, summed in double precision in one pass over batches.

    The networks are in the precision of the batches; every block gives its rows, some at once. `stretch` says to which
    stretch every block belongs; by default all belong to one. Several processes share out the rows, so that all of them
    must call this.
    """
    sums: list[np.ndarray] = []
    rows = []
    tied, n_known = True, 0
    for block in blocks:
        parts = []
        for batch in block:
            with shared_out(len(batch.x)):
                mine = own_rows(batch)
                # Rows too few to be shared out are evaluated by every process.
                n_mine = len(mine.x) if shared_rows() else len(mine.x) / max(1, several())
            action = operator(left, right, mine)
            grams = (gram(action.f), gram(action.f, action.Tg), gram(action.g))
            parts.append([n_mine * part.double().cpu().numpy() for part in grams])
            rows.append((len(sums), len(batch.x)))
            tied, n_known = action.tied, len(action.known)
        sums.append(np.sum(parts, axis=0))
    block_rows = np.bincount(*np.array(rows).T).astype(int)
    if several():
        sums = list(sum_of_all(torch.from_numpy(np.stack(sums))).numpy())
    a, b, c = np.stack(sums, axis=1)[:, None]
    # The first known function is the constant, whose inner product with itself sums the weights.
    weight = a[:, :, 0, 0] if n_known else block_rows[None].astype(float)
    stretches = np.zeros(len(sums), dtype=int) if stretch is None else np.asarray(stretch)
    return Moments(np.zeros(1, dtype=int), a, b, c, weight, stretches, block_rows, tied, n_known)


def own_rows(batch: Batch) -> Batch:
    """Those of this process, where several share out the batch; else all."""
    if shared_rows() is None:
        return batch
    return Batch(own(batch.x), *(None if part is None else own(part) for part in (batch.y, batch.weight)))
