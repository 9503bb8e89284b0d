"""Rows of features where a training runs: in memory, or on disk where they are large."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from spectraldyn.data.dataset import Dataset

SCORED_AT_ONCE = 4096
"""Rows that functions are evaluated on at once."""
DEVICE_SHARE = 0.4
"""Of a GPU's free memory, which rows may take there."""


def rows_of(data: Dataset, device: torch.device, precision: torch.dtype | None = None) -> "Rows | StoredRows":
    """Those of a data set: in main memory as views of it, on another device as one copy; on disk where they are large.

    In their own precision unless another one is asked for.
    """
    if device.type == "cpu" and not data.resident:
        return StoredRows(data, device, lambda rows: rows.to(precision))
    if device.type != "cpu":
        size = data.n_rows * data[0].shape[1] * data[0].itemsize
        if size > DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
            return StoredRows(data, device, lambda rows: rows.to(precision))
        copy = torch.empty(
            data.n_rows, data[0].shape[1], dtype=precision or tensor_of(data[0][:1]).dtype, device=device
        )
        for numbers, view in data.chunks():
            copy[numbers.start : numbers.stop] = tensor_of(view).to(device)
        return Rows(copy)
    return Rows(*(tensor_of(part).to(precision) for part in data.parts))


def tensor_of(rows: np.ndarray) -> Tensor:
    """The same memory as a tensor."""
    with warnings.catch_warnings():
        # Of arrays that may not be written; nothing writes here.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(rows)


class Rows:
    """Rows in memory, gathered by index.

    Parameters
    ----------
    parts : sequence of Tensor (T, d)
        That hold the rows, in order.
    """

    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts
        ends = torch.tensor([len(part) for part in parts], device=parts[0].device).cumsum(0)
        self._starts = torch.cat((ends.new_zeros(1), ends))

    @torch.no_grad()
    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Rows":
        """What a function (B, d) → (B, k) makes of the rows, in single precision, computed some thousand at once."""
        several = (torch.cat([function(some).float() for some in part.split(SCORED_AT_ONCE)]) for part in self.parts)
        return Rows(*several)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def gather(self, index: Tensor) -> Tensor:
        """Rows (len(index), d)."""
        if len(self.parts) == 1:
            return self.parts[0].index_select(0, index)
        home = torch.bucketize(index, self._starts, right=True) - 1
        result = self.parts[0].new_empty(len(index), self.parts[0].shape[1])
        for number, part in enumerate(self.parts):
            mine = (home == number).nonzero().squeeze(1)
            result.index_copy_(0, mine, part.index_select(0, index[mine] - self._starts[number]))
        return result


class StoredRows:
    """Rows that stay on disk, and are read whenever they are asked for."""

    def __init__(self, data: Dataset, device: torch.device, function: Callable[[Tensor], Tensor]) -> None:
        self.device, self._data, self._function = device, data, function

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "StoredRows":
        """What a function (B, d) → (B, k) makes of the rows, in single precision, computed when they are asked for."""
        own = self._function
        return StoredRows(self._data, self.device, lambda rows: function(own(rows)).float())

    def __len__(self) -> int:
        return self._data.n_rows

    @property
    def row_bytes(self) -> int:
        """Bytes read for every row."""
        return self._data[0].shape[1] * self._data[0].itemsize

    def gather(self, index: Tensor) -> Tensor:
        """Rows (len(index), d)."""
        parts = (self._data.rows(some.numpy()) for some in index.cpu().split(SCORED_AT_ONCE))
        with torch.no_grad():
            return torch.cat([self._function(torch.from_numpy(part).to(self.device)) for part in parts])
