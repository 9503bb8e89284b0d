"""Stretches of rows of features, and the samples that a training draws from them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectraldyn.data.atoms import Atoms
from spectraldyn.data.dataset import MAX_COLUMNS, Column, Dataset, InputFile, Source, plain_columns
from spectraldyn.data.stretches import (
    Stretches,
    cross_validation_folds,
    cut_blocks,
    held_out_rows,
    n_rows,
    pair_starts,
    split_stretches,
    stretches_of,
)
from spectraldyn.units import TimeAxis, TimeUnit

if TYPE_CHECKING:
    from spectraldyn.data.rows import Rows, rows_of
    from spectraldyn.data.samples import FreshSamples, PairSamples, Samples, Scored, WeightedSamples

_ROWS = ("Rows", "rows_of")
_SAMPLES = ("FreshSamples", "PairSamples", "Samples", "Scored", "WeightedSamples")


def __getattr__(name: str) -> Any:
    # Samples import torch, which takes seconds that reading files and making features should not pay.
    for module, names in {"rows": _ROWS, "samples": _SAMPLES}.items():
        if name in names:
            return getattr(import_module(f"spectraldyn.data.{module}"), name)
    raise AttributeError(f"module 'spectraldyn.data' has no attribute {name!r}")
