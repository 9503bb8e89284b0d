"""Files of models: tensors and plain values, nothing in which is executable."""

import dataclasses
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch

from spectraldyn.errors import InputError
from spectraldyn.networks import EncodedWhitening, Encoding, Layout, Sides, Whitening, build_sides

FORMAT = 7
"""Of these files."""

Model = TypeVar("Model")


def read(path: str | Path, restored: Callable[[dict[str, Any]], Model]) -> Model:
    """What a function makes of the contents of a file.

    Raises
    ------
    InputError
        If the file is not a model saved by spectraldyn, or the function cannot make anything of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # checksums, which torch writes but does not look at
        stored = None if broken else torch.load(path, map_location="cpu", weights_only=True)
        version = FORMAT if stored is None else stored["spectraldyn_model"]
    except Exception as error:  # of a damaged archive torch raises anything
        raise InputError(f"{path} is not a model saved by spectraldyn ({type(error).__name__})") from error
    if version != FORMAT:
        of_another = f"model format {version}, this one reads {FORMAT}"
        raise InputError(f"{path} was saved by another spectraldyn ({of_another}): fit again")
    if stored is None:
        raise InputError(f"{path} is damaged (the checksum of its part {broken} is wrong): fit again")
    try:
        return restored(stored)
    except Exception as error:  # whatever a value of another kind than was written leads to
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is damaged ({said or type(error).__name__}): fit again") from error


def layout_from(settings: dict[str, Any]) -> Layout:
    """Taken out of stored settings."""
    layout = Layout(**{field.name: settings.pop(field.name) for field in dataclasses.fields(Layout)})
    if layout.encoding is None:
        return layout
    return dataclasses.replace(layout, encoding=Encoding(**cast(dict[str, Any], layout.encoding)))


def sides_from(stored: dict[str, torch.Tensor], layout: Layout) -> Sides:
    """Networks in double precision; raises anything where a part is missing or of another shape."""
    matrix = next(value for name, value in stored.items() if name.endswith("whitening.matrix"))
    encoding, n_parts = layout.encoding, len(stored)
    sizes = () if encoding is None else (encoding.width, encoding.width, encoding.n_radial)
    widths, n_numbers = (matrix.shape[1], *layout.hidden), sum(value.numel() for value in stored.values())
    if max(layout.n_trunks, 0 if encoding is None else encoding.n_blocks) > n_parts or any(
        before * after > n_numbers for before, after in (*pairwise(widths), *pairwise(sizes))
    ):  # before as much memory is taken as a wrong number asks for
        raise ValueError("its networks are not those that it says")
    sides = build_sides(Whitening(torch.zeros(len(matrix)), torch.zeros_like(matrix)), layout, seed=0)
    if encoding is not None:
        before = torch.zeros_like(stored["left.0.matrix"])
        sides = sides.behind(EncodedWhitening(torch.zeros(len(before)), before, encoding.build(0)))
    sides = sides.double()
    if not all(value.is_floating_point() for value in stored.values()):
        raise ValueError("it holds whole numbers in the place of others")
    sides.load_state_dict(stored)
    return sides


def tensors(record: Any) -> dict[str, Any]:
    """A record of arrays and plain values, as torch saves it."""
    return {
        name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in vars(record).items()
    }


def arrays(stored: dict[str, Any]) -> dict[str, Any]:
    """The contents of such a record again."""
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in stored.items()}
