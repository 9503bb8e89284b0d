"""Characters of the fonts that matplotlib ships, as two modalities: outlines drawn by hand, and photographs.

Sketches are outlines of characters of sans-serif fonts, drawn with a shaking hand; photographs are filled characters of
fonts with serifs, out of focus and noisy, before a background that is brighter on one side. A class is a character.
The fonts are DejaVu and STIX, from matplotlib's own folder; nothing is downloaded.
"""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

CHARACTERS = (
    "ABCDEFGHIJKLMNPQRSTUVWXYZ"
    "abdefghijkmnpqrtuy"
    "2345678"
    "&@#$%£¥§¶€?!{}<=+"
    "ÆŒßþðøłħŋ"
    "ΓΔΘΛΞΠΣΦΨΩ"
    "αβγδεζηθλμξπσφϟω"
    "БДЖИЛЦЧЭЮЯЂщъ"
    "ʡʔʬɮɸʆɞʢƧ№"
)
"""125 of the characters that all these fonts have, no two of the same shape but for their size."""
FONTS = {
    "sketch": ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Oblique"),
    "photo": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol"),
}
SIZE = 16
"""Pixels along a side of an image."""
_CANVAS, _BOX = 64, 46


def images(modality: str, label: Tensor, generator: torch.Generator) -> Tensor:
    """One new image of each of these characters, (B, SIZE²), about 0 to 1, ink high.

    Parameters
    ----------
    modality : str
        "sketch" or "photo".
    label : Tensor (B,)
        Indices into `CHARACTERS`.
    """
    shapes = _shapes(modality)
    font = torch.randint(len(shapes), (len(label),), generator=generator)
    warped = _warped(shapes[font, label], generator)
    if modality == "sketch":
        return warped.flatten(1)
    return _photographed(warped, generator).flatten(1)


@cache
def _shapes(modality: str) -> Tensor:
    """(fonts, characters, _CANVAS, _CANVAS): filled, or their outlines."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    filled = torch.stack(
        [
            torch.stack([_drawn(ImageFont.truetype(folder / f"{name}.ttf", 2 * _BOX), c) for c in CHARACTERS])
            for name in FONTS[modality]
        ]
    )
    if modality == "photo":
        return filled
    return functional.max_pool2d(filled, 5, 1, 2) + functional.max_pool2d(-filled, 3, 1, 1)


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> Tensor:
    """In the middle of a canvas, as large as a box in it allows."""
    left, top, right, bottom = font.getbbox(character)
    image = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    scale = _BOX / max(image.size)
    image = image.resize((max(1, round(scale * image.width)), max(1, round(scale * image.height))))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(image, ((_CANVAS - image.width) // 2, (_CANVAS - image.height) // 2))
    return torch.tensor(np.asarray(canvas), dtype=torch.float32) / 255


def _warped(shapes: Tensor, generator: torch.Generator) -> Tensor:
    """Turned, scaled, sheared, shifted and bent at random, (B, SIZE, SIZE)."""
    n = len(shapes)

    def within(reach: float, *shape: int) -> Tensor:
        return reach * (2 * torch.rand(n, *shape, generator=generator) - 1)

    angle, shear = within(0.26), within(0.2)
    width, height = within(0.2).exp(), within(0.2).exp()
    rows = (
        torch.stack((width * angle.cos(), -height * (angle.sin() + shear), within(0.12)), dim=1),
        torch.stack((width * angle.sin(), height * angle.cos(), within(0.12)), dim=1),
    )
    fine = 2 * SIZE  # averaged over pairs below, so that thin lines do not fall between pixels
    grid = functional.affine_grid(torch.stack(rows, dim=1), [n, 1, fine, fine], align_corners=False)
    bend = functional.interpolate(within(0.1, 2, 5, 5), (fine, fine), mode="bicubic", align_corners=True)
    grid = grid + bend.permute(0, 2, 3, 1)
    return functional.avg_pool2d(functional.grid_sample(shapes[:, None], grid, align_corners=False), 2)[:, 0]


def _photographed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred, before a slanting background, with weak contrast and noise."""
    n = len(images)

    def random(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator)

    blur = functional.avg_pool2d(images[:, None], 3, 1, 1)[:, 0]
    images = images + random(1, 1) * (blur - images)
    axis = torch.linspace(-1, 1, SIZE)
    slant = (random(1, 1) - 0.5) * axis[:, None] + (random(1, 1) - 0.5) * axis
    images = (0.6 + 0.4 * random(1, 1)) * images + 0.6 * slant + 0.4 * random(1, 1)
    return images + 0.06 * torch.randn(images.shape, generator=generator)
