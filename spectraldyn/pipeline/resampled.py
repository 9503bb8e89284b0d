"""Refits: the same estimator learns anew from resampled blocks, so that error bars hold the errors of learning, too."""

import contextlib
import logging
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from tqdm.auto import tqdm

from spectraldyn.data import Atoms, Dataset
from spectraldyn.errors import InputError, InputWarning
from spectraldyn.estimators import GeneratorModel, GeneratorSVD, NeuralSVD, NeuralSVDModel
from spectraldyn.estimators.base import pick_device
from spectraldyn.files import replacing
from spectraldyn.pipeline.refit import once_more
from spectraldyn.spectra.intervals import block_bootstrap
from spectraldyn.spectra.moments import Moments
from spectraldyn.spectra.rates import correlation_rows
from spectraldyn.spectra.rayleigh_ritz import Spectrum
from spectraldyn.spectra.relearned import (
    CrossValidation,
    RelearnedModes,
    RelearnedSets,
    in_the_order_of,
    scores_on_the_rest,
)
from spectraldyn.spectra.states import MetastableSets, cluster_modes, metastable_sets
from spectraldyn.spectra.timescales import matched, slowest_rows

_log = logging.getLogger("spectraldyn")

Learner = NeuralSVD | GeneratorSVD
Model = NeuralSVDModel | GeneratorModel
MOST_REFITS = 200
DEFAULT_REFITS, CHEAP_VALUES, CHEAP_MODES = 4, 5_000_000, 5
"""Refits by default, and up to how many values (rows times columns) and modes: there a fit takes seconds, unless an
encoder is trained."""


def default_refits(data: Dataset, model: Model) -> int:
    """How many refits of a model there are where none are asked for."""
    layout = model.settings.layout
    trained = layout.encoding is not None and layout.encoding.trained
    cheap = data.n_rows * len(data.columns) <= CHEAP_VALUES and layout.n_modes <= CHEAP_MODES
    return DEFAULT_REFITS if cheap and not trained else 0


def check_refits(n_refits: int | None) -> None:
    """InputError where it is no number of refits."""
    if n_refits is not None and n_refits not in (0, *range(2, MOST_REFITS + 1)):
        raise InputError(f"`refits` is {n_refits!r}: give 0 for none, or 2 to {MOST_REFITS}")


@dataclass(frozen=True, repr=False)
class Refit:
    """A model that was learned anew from resampled blocks."""

    draw: np.ndarray
    """(n_blocks,): how often each block of the data was drawn; see `resampled_blocks`."""
    model: Any
    """NeuralSVDModel or GeneratorModel."""

    def __repr__(self) -> str:
        return f"Refit({self.model!r})"


def resampled_blocks(model: Model, modes: np.ndarray, data: Dataset) -> tuple[Moments, np.ndarray]:
    """Blocks of the data of a fit, and how often each enters every bootstrap replicate; see `block_bootstrap`.

    The draws of the refits are the first ones of these. Modes (n_rows, n_modes) are those of the model.
    """
    if isinstance(model, NeuralSVDModel):
        index, memory = model.moments.at(model.lagtime), slowest_rows(model.timescales(), model.lagtime)
    else:
        index, memory = 0, correlation_rows(modes, data.stretches)
    return block_bootstrap(model.moments, index, memory, model.settings.seed)


def refit_resampled(
    learner: Learner,
    model: Model,
    data: Dataset,
    n_refits: int = DEFAULT_REFITS,
    *,
    functions: np.ndarray | None = None,
    n_jobs: int | None = None,
    folder: Path | None = None,
) -> list[Refit]:
    """Learn anew from resampled blocks of the data, with new seeds, in parallel processes.

    Parameters
    ----------
    learner : NeuralSVD or GeneratorSVD
        The one that was fitted.
    model : NeuralSVDModel or GeneratorModel
        Its model, fitted on `data`.
    data : Dataset
    n_refits : int
        0, or 2 to 200.
    functions : ndarray (n_rows, M), optional
        ``model.functions(data)``, where they have been evaluated already.
    n_jobs : int, optional
        Processes; by default one for each core, and one alone on a GPU.
    folder : Path, optional
        Where finished refits are kept, for an interrupted run to take up.

    Returns
    -------
    list of Refit
        For `analyze` or `analyze_generator`. Empty where the data are too few to be resampled; without those whose
        resampled data cannot be fitted.

    Raises
    ------
    InputError
        If there cannot be so many refits.
    """
    check_refits(n_refits)
    modes = model.modes_from(model.functions(data) if functions is None else functions)
    blocks, draws = resampled_blocks(model, modes, data)
    draws = draws[:n_refits]
    if not len(draws):
        return []
    n_jobs = n_jobs or (joblib.cpu_count() if pick_device(learner.device).type == "cpu" else 1)
    with _kept(folder) as home:
        files = [home / f"{_name(model)}-resampled-{number}.pt" for number in range(len(draws))]
        tasks = []
        for number, (draw, file) in enumerate(zip(draws, files, strict=True)):
            stream = np.random.SeedSequence([model.settings.seed, 1 + number])
            again = once_more(learner, model, random_state=int(stream.generate_state(1)[0]))
            if _model_in(file, model) is None:
                counts = np.repeat(draw, blocks.block_rows)
                tasks.append(
                    joblib.delayed(_learn_anew)(again, list(data), data.atoms, data.weight, counts, file, os.getpid())
                )
        work = joblib.Parallel(min(n_jobs, max(len(tasks), 1)), return_as="generator_unordered")(tasks)
        shown = {"unit": "fit", "leave": False, "disable": not learner.progress}
        not_kept = {}
        for done, (file, found) in enumerate(tqdm(work, "refitting resampled blocks", len(tasks), **shown), 1):
            _log.info("refit %d of %d: ended", done, len(tasks))
            if found is not None:
                not_kept[file] = found
        models = [not_kept.get(file) or _model_in(file, model) for file in files]
    return [Refit(draw, found) for draw, found in zip(draws, models, strict=True) if found is not None]


def _learn_anew(
    learner: Learner,
    arrays: Sequence[np.ndarray],
    atoms: Atoms | None,
    weight: np.ndarray | None,
    counts: np.ndarray,
    file: Path,
    parent: int,
) -> tuple[Path, Model | None]:
    """One refit, whose model is left in a file, and returned where the disk refuses it.

    There is none where the resampled data cannot be fitted.
    """
    if os.getpid() != parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with warnings.catch_warnings(), contextlib.suppress(InputError):
        # Fewer modes than asked for count as lost in this refit, and that shows.
        warnings.filterwarnings("ignore", "only .* modes are linearly independent", InputWarning)
        model = learner.fit_fetch(
            Dataset(arrays, atoms=atoms), sample_weight=counts if weight is None else counts * weight
        )
        try:
            with replacing(file) as draft:
                model.save(draft)
        except (OSError, RuntimeError):
            return file, model
    return file, None


def _end_with(parent: int) -> None:
    """End this process when the one that it works for has been killed: it would go on for as long as a fit takes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _model_in(file: Path, model: Model) -> Model | None:
    """The model of a finished refit; None without one."""
    with contextlib.suppress(InputError):
        return type(model).load(file)
    return None


def _name(model: Model) -> str:
    return f"lag-{model.lagtime}" if isinstance(model, NeuralSVDModel) else "generator"


@contextlib.contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """The folder, made where it is missing; without one, or where none can be made, one that is gone afterwards."""
    with contextlib.suppress(OSError):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    if folder is not None and folder.is_dir():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="spectraldyn-") as home:
        yield Path(home)


@dataclass(frozen=True)
class Anew:
    """What refits say of the data of the fit."""

    refits: Sequence[Refit]
    modes: list[np.ndarray]
    """Of each refit, (n_rows, n_modes)."""
    relearned: list[RelearnedModes]
    cross_validation: CrossValidation | None
    """None without refits, and for a generator."""
    weight: np.ndarray | None
    """(n_rows,): of every row; None means 1."""

    @classmethod
    def of(cls, refits: Sequence[Refit], functions: np.ndarray, data: Dataset, blocks: Moments) -> "Anew":
        """Of refits of the fit with these functions (n_rows, M) and bootstrap blocks."""
        modes, relearned, scores = [], [], []
        for refit in refits:
            own = refit.model.functions(data)
            modes.append(refit.model.modes_from(own).astype(np.float32))
            share = 1 / data.n_rows if data.weight is None else (data.weight / data.weight.sum())[:, None]
            cross = (functions.astype(np.float64) * share).T @ own
            relearned.append(RelearnedModes(refit.draw, refit.model.moments, cross))
            if isinstance(refit.model, NeuralSVDModel):
                counts = np.repeat(refit.draw, blocks.block_rows)
                of_pairs = own, counts, data.stretches, refit.model.lagtime, refit.model.moments
                scores.append(scores_on_the_rest(*of_pairs, data.weight))
        both = (np.array([one[f"{name}_test"] for one in scores]) for name in ("vamp2", "vampe"))
        return cls(refits, modes, relearned, CrossValidation(*both) if scores else None, data.weight)

    def sets(self, like: MetastableSets, random_state: int) -> list[RelearnedSets]:
        """Metastable sets of the refits, in the order of those of the fit.

        Without refits that find fewer sets; none at all where fewer than two refits, or half of them, find as many.
        """
        found = []
        for refit, modes in zip(self.refits, self.modes, strict=True):
            if modes.shape[1] < len(like.populations) - 1:
                continue
            clusters = cluster_modes(modes, random_state, weight=self.weight)
            sets = in_the_order_of(metastable_sets(modes, clusters, len(like.populations)), like)
            if sets is not None:
                found.append(RelearnedSets(refit.draw, clusters, sets))
        return found if len(found) >= max(2, len(self.refits) / 2) else []

    def rates(self, spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray] | None:
        """Draws (n_refits, n_blocks) and the rates (n_refits, k) of the processes of a generator; None without any."""
        if not self.refits:
            return None
        rates = [
            matched(one.cross, refit.model.spectrum.left, spectrum.left, refit.model.rates.tolist(), np.nan)
            for one, refit in zip(self.relearned, self.refits, strict=True)
        ]
        return np.stack([refit.draw for refit in self.refits]), np.array(rates)
