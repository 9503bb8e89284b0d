"""Settings chosen on part of the training data, and the coordinates that bases and clusters are made in."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, TypeVar

import numpy as np
from deeptime.decomposition import TICA

from spectraldyn.baselines.records import Learned, Problem
from spectraldyn.data import Dataset, cross_validation_folds, pair_starts
from spectraldyn.spectra.rayleigh_ritz import leading, rayleigh_ritz
from spectraldyn.spectra.scores import pair_averages, shrunk_averages, vamp_scores

FOLDS = 3
SCORED_PAIRS = 10_000  # pairs of either part of a fold that are scored: enough to choose a setting by
KINETIC_VARIANCE = 0.95  # share of the kinetic variance that the TICA coordinates keep, as is the field's practice
LEARNING_RATES = (5e-4, 1.5e-3, 5e-3)
"""For networks of other methods: deeptime's default, that of its documentation for alanine dipeptide, one between."""
BATCH_SIZES = (512, 4096)
CHUNK = 4096  # frames for which a basis is evaluated at once

Trained = TypeVar("Trained")

as_float64 = partial(np.asarray, dtype=np.float64)
"""The same array in double precision, as deeptime's covariances need it."""


def tuned(problem: Problem, fit: Callable[..., Learned], **tried: Sequence[Any]) -> Learned:
    """Choose the setting of best cross-validated VAMP-2, and fit it to all training data.

    Every block is held out once, so that a rare state counts wherever it was visited. Where the data are too short to
    hold part of them out, the first setting is taken. `tried` holds values of every keyword argument of `fit`, of which
    all combinations are tried.
    """
    grid = _grid(tried)
    data = Dataset(problem.trajectories)
    folds = cross_validation_folds(data.stretches, problem.lagtime, FOLDS, np.random.default_rng(problem.seed))
    scores = np.zeros(len(grid))
    failures: list[Exception] = []
    if all(fitted and validation for fitted, validation in folds):
        for number, setting in enumerate(grid):
            try:
                scores[number] = np.mean([_score(problem, data, fold, partial(fit, **setting)) for fold in folds])
            except (ArithmeticError, RuntimeError, ValueError) as error:
                # A setting that cannot be fitted is not chosen; if none can, that is the method's failure.
                failures.append(error)
                scores[number] = -np.inf
        if len(failures) == len(grid):
            raise failures[0]
    chosen = grid[int(scores.argmax())]
    started = time.perf_counter()
    learned = fit(problem, **chosen)
    seconds = time.perf_counter() - started
    search = {name: sorted(set(values)) for name, values in tried.items()}
    how = {"grid": search, "chosen by": f"VAMP-2, {FOLDS}-fold cross-validation"}
    return replace(learned, settings={**chosen, **learned.settings, **how}, seconds=seconds)


def best_trained(
    train: Callable[..., tuple[Trained, float]], **tried: Sequence[Any]
) -> tuple[Trained, dict[str, Any], float]:
    """Train networks with all settings; those of the best validation score, their setting and their seconds.

    `train` returns what it has trained and its score on validation blocks, held out once: folds would multiply the
    price. `tried` is as for `tuned`.
    """
    best, score = None, -np.inf
    failures: list[Exception] = []
    for setting in _grid(tried):
        started = time.perf_counter()
        try:
            trained, reached = train(**setting)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            failures.append(error)
            continue
        if reached > score:
            best, score = (trained, setting, time.perf_counter() - started), reached
    if best is None or not np.isfinite(score):
        raise failures[0] if failures else ArithmeticError("no setting reaches a finite validation score")
    return best


def _grid(tried: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]


def _score(
    problem: Problem, data: Dataset, fold: tuple[list[range], list[range]], fit: Callable[[Problem], Learned]
) -> float:
    """VAMP-2 on the validation stretches of one fold, from at most some ten thousand pairs of either part."""
    lag, tied = problem.lagtime, problem.reversible
    functions = fit(replace(problem, trajectories=[data.rows(np.array(part)) for part in fold[0]])).functions
    averages = []
    for stretches in fold:
        starts = pair_starts(stretches, lag)
        starts = starts[:: -(-len(starts) // SCORED_PAIRS)]
        ends = (with_constant(functions(data.rows(rows)), tied) for rows in (starts, starts + lag))
        averages.append(pair_averages(*ends, tied=tied))
    train, test = averages
    spectrum = leading(rayleigh_ritz(train, tied=tied, both_ends=not tied), problem.n_modes)
    return vamp_scores(spectrum, shrunk_averages(train, test))["vamp2"]


def with_constant(left: np.ndarray, reversible: bool, right: np.ndarray | None = None) -> np.ndarray:
    """Functions as the moments take them: [1, f], or [1, f, g] where not reversible; ArithmeticError if not finite."""
    parts = [np.ones((len(left), 1)), left] + ([] if reversible else [left if right is None else right])
    functions = np.concatenate(parts, axis=1)
    if bad := np.count_nonzero(~np.isfinite(functions).all(axis=1)):
        raise ArithmeticError(f"its functions are not finite on {bad} of {len(functions)} frames")
    return functions


def slow_coordinates(problem: Problem) -> Callable[[np.ndarray], np.ndarray]:
    """Map (T, d) → (T, m) in which bases and clusters are made: TICA's kinetic map of 95 % of the kinetic variance.

    Distances between raw features would be ruled by the many fast ones of a large molecule.
    """
    trajectories = [as_float64(part) for part in problem.trajectories]
    model = TICA(lagtime=problem.lagtime, scaling="kinetic_map").fit_fetch(trajectories)
    variance = np.cumsum(model.singular_values**2)
    enough = 1 + int(np.searchsorted(variance, KINETIC_VARIANCE * variance[-1]))
    n_kept = max(enough, min(problem.n_modes, len(variance)))
    return lambda frames: model.transform(as_float64(frames))[:, :n_kept]


def drawn_pairs(
    problem: Problem, transform: Callable[[np.ndarray], np.ndarray], n_pairs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of at most so many training pairs, drawn at random, in these coordinates."""
    x, y = problem.pairs()
    drawn = np.random.default_rng(problem.seed).choice(len(x), min(len(x), n_pairs), replace=False)
    return transform(x[drawn]), transform(y[drawn])


def in_chunks(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Real functions with the span of `function`, evaluated for some thousand frames at once."""
    return lambda frames: np.concatenate(
        [real_parts(function(frames[start : start + CHUNK])) for start in range(0, len(frames), CHUNK)]
    )


def real_parts(functions: np.ndarray) -> np.ndarray:
    """Real functions with the span of complex ones."""
    return np.concatenate((functions.real, functions.imag), axis=1) if np.iscomplexobj(functions) else functions
