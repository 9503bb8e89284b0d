"""Weights of frames that were not sampled from the law that is asked for: from biases, energies, several ensembles."""

import logging
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import R
from scipy.optimize import OptimizeWarning
from scipy.special import logsumexp

from spectraldyn.errors import InputError

BOLTZMANN = R / 1000
"""In kJ/mol/K."""
LEAST_EFFECTIVE = 10
"""Effective sample size below which an average over the rows says what a handful of them says."""


def weights_from_logs(log_weights: ArrayLike) -> np.ndarray:
    """Weights (n,) of mean 1 from their logarithms (n,), which are known up to a constant.

    The logarithms are shifted by the one of their sum; −∞ is a weight of 0.

    Raises
    ------
    InputError
        If one is NaN or +∞, all are −∞, or the effective sample size is below `LEAST_EFFECTIVE` (with fewer rows than
        twice that: below half of them).
    """
    logs = np.asarray(log_weights, dtype=float).ravel()
    if not len(logs):
        raise InputError("there are no weights: give one for every row")
    if len(bad := np.flatnonzero(np.isnan(logs) | (logs == np.inf))):
        raise InputError(f"the logarithm of the weight of row {bad[0]} is {logs[bad[0]]}: give finite numbers, or -inf")
    if (logs == -np.inf).all():
        raise InputError(f"all {len(logs):,} weights are zero: check the bias, and the temperature given with it")
    weight = np.exp(logs - logsumexp(logs)) * len(logs)
    check_effective(weight)
    return weight


def effective_sample_size(weight: np.ndarray) -> float:
    """How many rows of equal weight would say as much as these (n,), time apart: (Σ w)² / Σ w²; 0 where all are 0.

    References
    ----------
    Kish, "Survey sampling" (Wiley, 1965), section 11.7.
    """
    largest = weight.max(initial=0)
    if largest == 0:
        return 0.0
    share = weight / largest  # squares of very small or large numbers would be 0 or infinite
    return float(share.sum() ** 2 / (share**2).sum())


def check_effective(weight: np.ndarray) -> None:
    """InputError where a few rows have all the weight."""
    effective, least = effective_sample_size(weight), min(LEAST_EFFECTIVE, len(weight) / 2)
    if effective < least:
        row, share = int(weight.argmax()), weight.max() / weight.sum()
        raise InputError(
            f"the weights leave {effective:.1f} effective rows of {len(weight):,}, less than {least:g}, and row {row} "
            f"alone has {100 * share:.0f} % of the weight: leave out the start in which the bias still grows (`skip`), "
            "ask for a temperature nearer to that of the simulation, or sample more of the states that count"
        )


def kt_of(temperature: float) -> float:
    """k_B T in kJ/mol of a temperature in K."""
    return BOLTZMANN * temperature


def log_weights(
    kt: float, bias: ArrayLike = 0.0, energy: ArrayLike | None = None, kt_simulated: float | None = None
) -> np.ndarray:
    """Logarithms of the weights that turn a biased sample, or one of another temperature, into the one of e^{−E/kT}.

    The rows were drawn from e^{−(E + V)/kT′}: log w = V/kT′ + (1/kT′ − 1/kT) E. At one temperature that is V/kT.

    Parameters
    ----------
    kt : float
        kT of the law asked for, in the unit of the bias and the energy, as the other one.
    bias : array_like (n,)
        V at every row: all that the simulation added to the energy E.
    energy : array_like (n,), optional
        E at every row, without the bias.
    kt_simulated : float, optional
        kT′ of the thermostat; by default kT.
    """
    simulated = kt if kt_simulated is None else kt_simulated
    logs = np.asarray(bias, dtype=float) / simulated
    return logs if energy is None else logs + (1 / simulated - 1 / kt) * np.asarray(energy, dtype=float)


def mbar_weights(reduced_potentials: ArrayLike, counts: ArrayLike, target: ArrayLike | None = None) -> np.ndarray:
    """Weights (N,) of mean 1 that make one sample of the unbiased law of the rows of many ensembles.

    The multistate Bennett acceptance ratio of Shirts and Chodera, J. Chem. Phys. 129 (2008) 124105, eq. 9, by pymbar.

    Parameters
    ----------
    reduced_potentials : array_like (K, N)
        Of every ensemble at every row, in kT: (E + V_k)/kT_k, whichever ensemble the row was drawn from. Where all
        ensembles share E and kT, V_k/kT alone will do, with `target` zero.
    counts : array_like (K,)
        Rows of every ensemble, in the order of the columns: the first counts[0] of them are of the first one.
    target : array_like (N,), optional
        Reduced potential of the law asked for; by default zero.

    Raises
    ------
    InputError
        If the shapes do not fit, numbers are not finite, pymbar is not installed, or see `weights_from_logs`.
    """
    potentials, rows = np.asarray(reduced_potentials, dtype=float), np.asarray(counts)
    if potentials.ndim != 2 or rows.shape != potentials.shape[:1] or rows.sum() != potentials.shape[1]:
        raise InputError(
            f"`reduced_potentials` has shape {potentials.shape} and `counts` {rows.shape} with a sum of {rows.sum()}: "
            "give one line for every ensemble, and one column for every row of all of them"
        )
    wanted = np.zeros(potentials.shape[1]) if target is None else np.asarray(target, dtype=float)
    if not (np.isfinite(potentials).all() and np.isfinite(wanted).all()):
        raise InputError("a reduced potential is not finite: check the biases that were evaluated at every row")
    free_energies = np.asarray(ensembles(potentials, rows).f_k)
    filled = rows > 0
    mixture = logsumexp((free_energies[:, None] - potentials)[filled], b=rows[filled, None], axis=0)
    return weights_from_logs(-wanted - mixture)


def ensembles(potentials: np.ndarray, counts: np.ndarray) -> Any:
    """pymbar's own estimator, which also gives free energies with their errors."""
    log = logging.getLogger("pymbar")
    level = log.level
    log.setLevel(logging.ERROR)  # on import it shouts that JAX is not there
    try:
        from pymbar import MBAR
    except ImportError:
        raise InputError("several ensembles need pymbar: pip install 'spectraldyn[biased]'") from None
    finally:
        log.setLevel(level)
    with warnings.catch_warnings():
        # It hands options of one of SciPy's solvers to another.
        warnings.filterwarnings("ignore", "Unknown solver options", OptimizeWarning)
        return MBAR(potentials, counts)
