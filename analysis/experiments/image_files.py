"""Readers of published collections of images, in the layout that they are unpacked in: MNIST, and Sketchy Extended.

What was read is kept: an experiment asks for it again with every seed.
"""

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from spectraldyn import InputError

UNSIGNED_BYTE = 8
"""Type code in the header of an IDX file."""
SKETCHES = "256x256/sketch/tx_000000000000"
PHOTOS = ("EXTEND_image_sketchy", "256x256/photo/tx_000000000000")
"""Folders of Sketchy Extended, each with one folder for every class; photographs are in two."""
UNSEEN = (
    "bat", "cabin", "cow", "dolphin", "door", "giraffe", "helicopter", "mouse", "pear", "raccoon", "rhinoceros",
    "saw", "scissors", "seagull", "skyscraper", "songbird", "sword", "tree", "wheelchair", "windmill", "window",
)  # fmt: skip
"""Held-out classes of split 2: Yelamarthi, Reddy, Mishra, Mittal, ECCV 2018, which ImageNet does not have."""


@dataclass(frozen=True)
class Digits:
    """Images (n, d), ink high, from 0 to 1, and the digit on each (n,); no image is in both parts."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Modalities:
    """Images of the same classes in two modalities: one tensor (n, d) for every class, ink high, about 0 to 1."""

    classes: tuple[str, ...]
    sketches: Sequence[Tensor]
    photos: Sequence[Tensor]


@cache
def mnist(folder: Path) -> Digits:
    """MNIST from its four files, train-images-idx3-ubyte and so on, with .gz or without.

    Format: LeCun, Cortes, Burges, "The MNIST database of handwritten digits": two zero bytes, the type, the number of
    dimensions, their sizes as big-endian integers of four bytes, and the values.

    Raises
    ------
    InputError
        If a file is missing, is not in that format or ends early, or if images and labels differ in number.
    """
    parts = []
    for part in ("train", "t10k"):
        images, labels = _idx(folder, f"{part}-images-idx3-ubyte", 3), _idx(folder, f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise InputError(
                f"{folder}: {len(images)} images but {len(labels)} labels in the files that begin with {part}: "
                "give the files of one collection"
            )
        parts += [images.reshape(len(images), -1) / np.float32(255), labels.astype(int)]
    return Digits(*parts)


def _idx(folder: Path, name: str, n_dimensions: int) -> np.ndarray:
    plain, packed = folder / name, folder / f"{name}.gz"
    if not (plain.is_file() or packed.is_file()):
        raise InputError(f"{folder} has neither {name} nor {name}.gz: give the folder with the four files of MNIST")
    path = plain if plain.is_file() else packed
    try:
        content = path.read_bytes() if path is plain else gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): fetch it again") from error
    start = 4 + 4 * n_dimensions
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, n_dimensions)) or len(content) < start:
        raise InputError(f"{path} is no IDX file of bytes with {n_dimensions} dimensions: fetch it again")
    shape = np.frombuffer(content[4:start], ">u4").astype(int)
    if len(content) != start + shape.prod():
        raise InputError(
            f"{path} has {len(content) - start} values where its header says {shape.prod()}: fetch it again"
        )
    return np.frombuffer(content[start:], np.uint8).reshape(shape)


@cache
def sketchy(folder: Path, size: int) -> Modalities:
    """Sketchy Extended as unpacked: 256x256/sketch/tx_000000000000/CLASS/*.png and the photographs of both folders.

    Sangkloy, Burnell, Ham, Hays, "The Sketchy database", ACM Trans. Graph. 35 (2016) 119; extended by Liu, Shen, Shen,
    Liu, Shao, "Deep sketch hashing", CVPR 2017. A photograph whose name is in both folders is read once.

    Parameters
    ----------
    folder : Path
        That contains 256x256 and EXTEND_image_sketchy.
    size : int
        Images are made grey and brought to so many pixels along a side. Sketches are inverted: ink is high.

    Raises
    ------
    InputError
        If a folder is missing, if a class is in one modality only, or if an image cannot be read.
    """
    for part in (SKETCHES, *PHOTOS):
        if not (folder / part).is_dir():
            raise InputError(f"{folder} has no folder {part}: give the folder that Sketchy Extended was unpacked into")
    sketches, photos = (_files(folder, *parts) for parts in ((SKETCHES, ".png"), (PHOTOS[0], ".jpg")))
    for name, files in _files(folder, PHOTOS[1], ".jpg").items():
        photos[name] = {**files, **photos.get(name, {})}
    for own, other, missing in ((sketches, photos, "photographs"), (photos, sketches, "sketches")):
        if alone := sorted(own.keys() - other.keys()):
            raise InputError(f"{folder} has no {missing} of {', '.join(alone)}: unpack it again, or remove the class")
    if not sketches:
        raise InputError(f"{folder} has no images in its folders: unpack it again")
    classes = tuple(sorted(sketches))
    return Modalities(
        classes,
        [1 - _read(sketches[name].values(), size) for name in classes],
        [_read(photos[name].values(), size) for name in classes],
    )


def _files(folder: Path, part: str, suffix: str) -> dict[str, dict[str, Path]]:
    """Class → name of the file → path, of the classes that have any."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((folder / part).glob(f"*/*{suffix}")):
        found.setdefault(path.parent.name, {})[path.name] = path
    return found


def _read(paths: Iterable[Path], size: int) -> Tensor:
    """(n, size²), black 0 and white 1."""
    images = []
    for path in paths:
        try:
            with Image.open(path) as image:
                grey = ImageOps.fit(image.convert("L"), (size, size))
        except OSError as error:
            raise InputError(f"{path} cannot be read as an image ({error}): unpack it again") from error
        images.append(torch.from_numpy(np.asarray(grey, dtype=np.float32).reshape(-1) / 255))
    return torch.stack(images)


def held_out(classes: Sequence[str], split: int) -> list[int]:
    """Indices of the classes that are not trained on in the published splits of Sketchy.

    Split 1 draws a fifth of the sorted classes with numpy's first generator and seed 0, as the published code does
    (25 of 125, after Shen, Liu, Shen, Shao, CVPR 2018); split 2 holds out those of `UNSEEN`.

    Raises
    ------
    InputError
        If that leaves none, or nothing to train on.
    """
    if split == 1:
        trained = np.random.RandomState(0).choice(len(classes), int(0.8 * len(classes)), replace=False)
        unseen = sorted(set(range(len(classes))) - set(trained.tolist()))
    else:
        unseen = [i for i, name in enumerate(classes) if name in UNSEEN]
    if not 0 < len(unseen) < len(classes):
        raise InputError(f"split {split} holds out {len(unseen)} of {len(classes)} classes: unpack all 125 classes")
    return unseen
