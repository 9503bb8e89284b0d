"""Relaxation rates of an infinitesimal generator with error bars, from moments of its resolvent.

The resolvent T = η (η − L)⁻¹ in its energy space, with ⟨f, f⟩ = C + 𝓓/η and ⟨f, T f⟩ = C, has the eigenvalues
σ = η/(η + κ): the rates are κ = η (1/σ − 1), and the Dirichlet form is 𝓓 = η (⟨f, f⟩ − ⟨f, T f⟩). This is the
variational principle 𝓓 v = κ C v of the generator.

References
----------
Zhang, Hartmann, Schütte, Faraday Discuss. 195 (2016) 365, for the variational principle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spectraldyn.data.stretches import Stretches
from spectraldyn.spectra import intervals
from spectraldyn.spectra.intervals import Bounds
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rayleigh_ritz import Spectrum


@dataclass(frozen=True)
class Rate:
    """One relaxation rate with its 95 % interval."""

    value: float
    """Inverse time."""
    low: float | None
    high: float | None
    """low and high: none where there are too few independent blocks."""
    unresolved: str | None = None
    """Why the value must not be trusted; None where it may be."""
    sampling: Bounds | None = None
    """The part of the interval that the finite data account for; the interval itself without refits."""
    learning: Bounds | None = None
    """The part that learning accounts for; None without refits."""


MOST_UNTAPPED = 0.8
"""Share of a rate to which the last hidden units bring it down, below which the training is taken not to have ended."""

LARGEST = 10.0
"""Of such shares; also where a half says nothing."""
UNTRAINED = "its training has not ended"


@dataclass(frozen=True)
class Untapped:
    """What is left to learn, told by the last hidden units: functions learned are some combinations of them.

    By the variational principle rates are too high, and the more so the poorer the functions. Combinations of all units
    that one half of the blocks of states makes the best are judged by the other half, so that units which know their
    states by heart gain nothing there.
    """

    ratios: np.ndarray
    """(2, n_modes): rate of each of these combinations over that of the function learned, on either half, at most
    `LARGEST`; a rate is too high where both halves say so."""

    def doubted(self, rates: list[Rate]) -> list[Rate]:
        """These rates, of which those that are too high say so."""
        return [
            replace(rate, unresolved=rate.unresolved or f"{UNTRAINED}: {100 * (1 - ratio):.0f} % less is in reach")
            if ratio < MOST_UNTAPPED
            else rate
            for rate, ratio in zip(rates, self.ratios.max(axis=0).tolist(), strict=True)
        ]


def untapped(units: Sequence[Moments], functions: Sequence[Moments], spectrum: Spectrum, shift: float) -> Untapped:
    """From moments of the resolvent on hidden units and on learned functions, both for either half of the states.

    The spectrum is that of the functions; for the rates of given combinations see above: 𝓓/C.
    """

    def rates(moments: Moments, v: np.ndarray) -> np.ndarray:
        norms, overlaps = (np.einsum("ik,ij,jk->k", v, part, v) for part in moments.means()[:2])
        return shift * (norms / overlaps - 1)

    n_modes = len(spectrum.values)
    ratios = np.full((2, n_modes), LARGEST)
    if all(moments.weight.sum() > 0 for moments in units):
        for here, there in ((0, 1), (1, 0)):
            best = units[here].spectrum().left[:, :n_modes]
            k = best.shape[1]
            with np.errstate(divide="ignore", invalid="ignore"):  # functions that change nowhere on these states
                ratios[here, :k] = rates(units[there], best) / rates(functions[there], spectrum.left[:, :k])
    return Untapped(np.clip(np.nan_to_num(ratios, nan=LARGEST), 0, LARGEST))


def rates_from_eigenvalues(eigenvalues: np.ndarray, shift: float) -> np.ndarray:
    """κ = η (1/σ − 1) of eigenvalues σ of the resolvent; 0 where that is rounding, and no more than 10¹⁵ η."""
    rates = shift * (1 / np.clip(eigenvalues, 1e-15, None) - 1)
    # A function that changes only where there are no states has no Dirichlet energy.
    return np.where(rates > 1e-12 * shift, rates, 0.0)


def rate_intervals(
    moments: Moments,
    spectrum: Spectrum,
    shift: float,
    correlation_rows: float,
    random_state: int,
    refits: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[Rate]:
    """Rates with 95 % intervals from a block bootstrap, of the moments of the resolvent at shift η and their spectrum.

    The number of successive states over which they remember each other sets the length of the blocks. With refits, how
    often each has drawn every block (n_refits, n_blocks) and the rates of the same processes in each (n_refits, k), the
    intervals hold the errors of learning, too.
    """
    blocks, counts = intervals.block_bootstrap(moments, 0, correlation_rows, random_state)
    modes = blocks.eigenmodes(spectrum)
    v = spectrum.left
    spread = intervals.participation(np.einsum("ik,bij,jk->bk", v, blocks.left[0] - blocks.operator[0], v))
    values = rates_from_eigenvalues(spectrum.values, shift)
    low = high = None
    if len(counts):
        quotients = intervals.rayleigh_quotients(blocks, 0, modes, counts)
        replicates, n_blocks = shift * (1 / quotients - 1), len(blocks.stretch)
        low, high = intervals.sampling_interval(values, replicates, n_blocks, intervals.LOGARITHM)

    def interval(k: int, rate: float) -> Rate:
        if rate <= 0:
            return Rate(0.0, None, None, "no change was seen between the states that it tells apart")
        if low is None or high is None:
            return Rate(rate, None, None)
        if spread[k] < intervals.MIN_INDEPENDENT:
            return Rate(rate, None, None, "changes in too few independent stretches of the data")
        return Rate(rate, float(low[k]), float(high[k]))

    rates = [interval(k, rate) for k, rate in enumerate(values.tolist())]
    if refits is None:
        return [replace(rate, sampling=Bounds(rate.low, rate.high)) for rate in rates]
    draws, anew = refits
    fixed = rates_from_eigenvalues(intervals.rayleigh_quotients(blocks, 0, modes, draws), shift)
    learning = intervals.learning_error(anew, fixed, intervals.LOGARITHM)
    return [_with_learning(rate, float(half)) for rate, half in zip(rates, learning, strict=True)]


def _with_learning(rate: Rate, half: float) -> Rate:
    """With the half width of learning on the logarithm; see `intervals.combined`."""
    sampling = Bounds(rate.low, rate.high)
    if not (rate.value > 0 and np.isfinite(half)):
        lost = None if rate.value <= 0 else "most refits do not find it again"
        return replace(rate, low=None, high=None, sampling=sampling, unresolved=rate.unresolved or lost)
    joint, learning = intervals.with_learning(rate.value, sampling, half)
    return replace(rate, low=joint.low, high=joint.high, sampling=sampling, learning=learning)


def correlation_rows(modes: np.ndarray, stretches: Stretches) -> float:
    """Over how many successive states the slowest-changing mode remembers itself: −1/ln of its correlation at lag 1.

    Modes are (n_rows, n_modes). 0 for independent states, in which successive ones have nothing to do with each other.
    """
    n_pairs = sum(max(len(s) - 1, 0) for s in stretches)
    if n_pairs == 0:
        return 0.0
    # States of another law than the equilibrium do not give the modes mean 0 and variance 1.
    modes = (modes - modes.mean(axis=0)) / modes.std(axis=0)
    lagged = sum((modes[s.start : s.stop - 1] * modes[s.start + 1 : s.stop]).sum(axis=0) for s in stretches)
    largest = float(np.max(lagged / n_pairs))
    # Below this, independent states would look correlated by chance.
    if largest < 4 / np.sqrt(n_pairs):
        return 0.0
    return -1 / np.log(min(largest, 1 - 1 / n_pairs))
