"""How spectra are stated and put together: exact ones, and those of sums of independent parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Exact:
    """A spectrum known in closed form.

    Attributes
    ----------
    eigenvalues : callable, int n → ndarray (n,)
        The lowest n, ascending. For a generator these are the rates −λ, the first of them 0.
    eigenfunctions : callable, (ndarray (m, d), int n) → ndarray (m, n)
        Orthonormal: under the equilibrium distribution for a generator, in L²(dx) for a Schrödinger operator.
    """

    eigenvalues: Callable[[int], np.ndarray]
    eigenfunctions: Callable[[np.ndarray, int], np.ndarray]


def smallest_sums(terms: Sequence[np.ndarray], n: int) -> list[tuple[float, tuple[int, ...]]]:
    """The n smallest sums of one entry per term, with the index of the entry in every term; ascending.

    Only the n smallest sums of the terms so far can lead to the n smallest sums of all, so the cost grows linearly
    with the number of terms, not exponentially.

    Parameters
    ----------
    terms : sequence of ndarray
        Each ascending.
    n : int
    """
    sums: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for values in terms:
        longer = [(total + value, (*order, i)) for total, order in sums for i, value in enumerate(values[:n])]
        sums = sorted(longer)[:n]
    return [(float(total), order) for total, order in sums]


def products(values: Sequence[np.ndarray], orders: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Π_k values[k][:, order[k]] for every order; shape (m, number of orders).

    Parameters
    ----------
    values : sequence of ndarray (m, k)
        Eigenfunctions of every part.
    orders : sequence of tuple of int
    """
    columns = []
    for order in orders:
        column = np.ones(len(values[0]))
        for part, i in zip(values, order, strict=True):
            column = column * part[:, i]
        columns.append(column)
    return np.stack(columns, axis=1)
