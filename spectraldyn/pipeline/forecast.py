"""What a fit of large files will take of memory, disk and time, said before it starts.

Reading is timed on the first frames, learning on rows of random numbers of the same shape; both for about a second.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spectraldyn.data.mapped import RESIDENT_BYTES
from spectraldyn.errors import InputError
from spectraldyn.estimators import GeneratorSVD, NeuralSVD
from spectraldyn.estimators.base import default_width
from spectraldyn.features import Features, Files, Top, cache_folder, plan_features
from spectraldyn.learning import cpu_settings
from spectraldyn.learning.warm_start import MOST_INPUTS
from spectraldyn.networks import CommonTrunk
from spectraldyn.pipeline.machine import free_disk, free_memory
from spectraldyn.units import size_text

LARGE_BYTES = 2**28
"""Of files from which on a forecast is made: below, a fit takes little of anything."""
PROGRAM_BYTES = 6e8
"""Of a fit of next to nothing: mostly libraries."""
READER_BYTES = 4.5e8
"""Of every further process that reads files."""
ROW_BYTES = 240
"""Of every row and that of the functions at it: indices of pairs, modes, memberships and what is made of them."""
BLOCKS_BYTES = 6e8
"""Of training from blocks of rows on disk."""
ANALYSIS_SECONDS, ROW_SECONDS = 30.0, 5e-6
"""Of the program's start, intervals, kinetics and figures: of any, and for every row."""
TIMED, TIMED_ROWS, LARGE_BATCH = 5, 4096, 512
"""How often a piece of the work is timed, and on how much."""
USUAL_STEPS, STEP_FACTOR = 1300, 5.0
"""Steps of a network where data are many, and what a step takes beside the passes through the network, as a factor:
the loss, the optimiser, averages, the scores between steps, and rows that are read for it."""
MARGIN = 1.3
"""By which a forecast may be wrong: what needs more than the machine has by this factor is refused."""


@dataclass(frozen=True)
class Forecast:
    """What a fit will take."""

    n_rows: int
    n_columns: int
    memory_bytes: float
    disk_bytes: float
    """Beyond what is in the store already."""
    reading_seconds: float
    learning_seconds: float

    def __str__(self) -> str:
        seconds = self.reading_seconds + self.learning_seconds
        takes = (
            f"about {size_text(self.memory_bytes)} of memory, {size_text(self.disk_bytes)} of disk in {cache_folder()}"
        )
        return f"{self.n_rows:,} frames × {self.n_columns:,} columns take {takes} and {_duration(seconds)}"

    def check(self, memory: float, disk: float) -> None:
        """InputError where the machine has clearly less than is needed, of bytes of memory or of disk."""
        for needed, there, what in (
            (self.memory_bytes, memory, "memory"),
            (self.disk_bytes, disk, f"disk in {cache_folder()}"),
        ):
            if needed > MARGIN * there:
                less = "use every N-th frame (`stride`), fewer columns (`features`, `atoms`)"
                other = "another disk (SPECTRALDYN_CACHE)" if "disk" in what else "a machine with more memory"
                raise InputError(
                    f"about {size_text(needed)} of {what} are needed for {self.n_rows:,} frames × {self.n_columns:,} "
                    f"columns, and {size_text(there)} are free: {less}, or {other}"
                )


def forecast(
    files: Files, top: Top, learner: NeuralSVD | GeneratorSVD, features: Features, atoms: str | None, **sampling: Any
) -> Forecast | None:
    """What a fit of these files will take; None where they are not large. Arguments are those of `load_features`."""
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    if sum(path.stat().st_size for path in paths if path.is_file()) < LARGE_BYTES:
        return None
    plan = plan_features(paths, top, features, atoms, **sampling)
    n_bytes = 4.0 * plan.n_rows * plan.n_columns
    of_rows = ROW_BYTES * plan.n_rows
    # The blocks are given up before the analysis begins.
    grows = n_bytes + of_rows if n_bytes <= RESIDENT_BYTES else max(BLOCKS_BYTES, of_rows)
    memory = PROGRAM_BYTES + READER_BYTES * (plan.n_processes - 1) + grows + 5 * 8 * plan.n_columns**2
    disk = 4.0 * plan.new_rows * plan.n_columns
    learning = _learning_seconds(learner, plan.n_rows, plan.n_columns)
    return Forecast(plan.n_rows, plan.n_columns, memory, disk, plan.seconds, learning)


def foretell(progress: bool, *arguments: Any, **sampling: Any) -> None:
    """Say on stderr, where progress is shown, what a fit will take; see `forecast`.

    Raises
    ------
    InputError
        If that is clearly more than the machine has.
    """
    if (expected := forecast(*arguments, **sampling)) is not None:
        if progress:
            print(f"forecast: {expected}", file=sys.stderr)
        expected.check(free_memory(), free_disk())


def _learning_seconds(learner: NeuralSVD | GeneratorSVD, n_rows: int, n_columns: int) -> float:
    """From what takes most of it: covariances of the columns, training steps, and the functions at all rows."""
    n_modes, n_inputs = int(learner.n_modes), min(n_columns, MOST_INPUTS)
    hidden = learner.hidden or (default_width(n_modes),) * 2
    n_networks = learner.n_networks if isinstance(learner, NeuralSVD) else 1
    rows = torch.randn(TIMED_ROWS, n_columns, dtype=torch.float64)
    turn = torch.randn(n_columns, n_inputs, dtype=torch.float64)
    whole = CommonTrunk(n_inputs, n_modes, tuple(hidden), n_trunks=n_networks).double()
    network = CommonTrunk(n_inputs, n_modes, tuple(hidden))
    batch = torch.randn(2 * LARGE_BATCH, n_inputs)

    def evaluate() -> None:
        with torch.no_grad():
            whole(rows @ turn)

    with cpu_settings(network):
        covariance = _seconds(lambda: rows.T @ rows) / TIMED_ROWS
        functions = _seconds(evaluate) / TIMED_ROWS
        step = _seconds(lambda: network(batch).square().mean().backward())
    steps = n_networks * (learner.max_steps or USUAL_STEPS)
    return ANALYSIS_SECONDS + n_rows * (covariance + functions + ROW_SECONDS) + STEP_FACTOR * steps * step


def _seconds(work: Callable[[], Any]) -> float:
    """The quickest of a few times."""
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.2g} minutes"
