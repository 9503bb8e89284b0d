"""Stretches of rows of features, and the samples that a training draws from them."""

from spectraldyn.data.dataset import MAX_COLUMNS, Column, Dataset, InputFile, Source, plain_columns
from spectraldyn.data.samples import FreshSamples, PairSamples, Rows, Samples, Scored, WeightedSamples
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
from spectraldyn.units import TimeAxis
