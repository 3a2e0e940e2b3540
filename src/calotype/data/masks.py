"""Holes in an image: which pixels are known. A mask is bool (H, W), True where the pixel is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from calotype.datasets.image_file import read_image
from calotype.ranges import Inside01, Positive, Seed, Share
from calotype.types import UserError

TEXT = "The calotype was the first photograph that could be copied: paper, silver iodide, a latent image, gallic acid. "


class FileMask:
    """From an image: white pixels are known, black ones are holes (grey is cut in the middle).

    Args:
        path: an image of the observed image's size.
        invert: True where white marks the holes.
    """

    def __init__(self, *, path: str, invert: bool = False) -> None:
        self.path = Path(path)
        self.invert = invert

    def __call__(self, height: int, width: int) -> Tensor:
        known = read_image(self.path, 1)[0] >= 128
        if known.shape != (height, width):
            raise UserError(f"{self.path}: the mask is {known.shape[1]}x{known.shape[0]} pixels and the image {width}x{height}")
        return ~known if self.invert else known


class TextMask:
    """Lines of text over the image are holes.

    Args:
        text: repeated until the image is full.
        size: height of the letters in pixels.
    """

    def __init__(self, *, text: str = TEXT, size: Positive = 18) -> None:
        if not text.strip():
            raise UserError("data.mask.text: no letter in it")
        if size < 4:
            raise UserError(f"data.mask.size={size}: pixels, 4 and more")
        self.text = text
        self.size = size

    def __call__(self, height: int, width: int) -> Tensor:
        page = Image.new("L", (width, height), 255)
        draw = ImageDraw.Draw(page)
        font = ImageFont.load_default(self.size)
        at = 0
        for top in range(self.size // 2, height, round(1.6 * self.size)):
            line = ""
            while draw.textlength(line, font) < width:
                line += self.text[at % len(self.text)]
                at += 1
            draw.text((0, top), line, fill=0, font=font)
        return torch.from_numpy(np.array(page)) >= 128


class RectangleMask:
    """A rectangle is the hole.

    Args:
        box: left, top, width, height, as shares of the image, 0 to 1.
    """

    def __init__(self, *, box: Sequence[Share] = (0.375, 0.375, 0.25, 0.25)) -> None:
        if len(box) != 4 or not all(0 <= value <= 1 for value in box) or min(box[2:]) == 0:
            raise UserError(f"data.mask.box={list(box)}: left, top, width, height, each a share of the image, 0 to 1")
        self.box = box

    def __call__(self, height: int, width: int) -> Tensor:
        left, top = round(self.box[0] * width), round(self.box[1] * height)
        known = torch.ones(height, width, dtype=torch.bool)
        known[top : top + max(1, round(self.box[3] * height)), left : left + max(1, round(self.box[2] * width))] = False
        return known


class RandomMask:
    """Pixels drawn at random are holes.

    Args:
        holes: their share, above 0 and below 1.
        seed: of the draw.
    """

    def __init__(self, *, holes: Inside01 = 0.5, seed: Seed = 0) -> None:
        if not 0 < holes < 1:
            raise UserError(f"data.mask.holes={holes}: a share above 0 and below 1")
        self.holes = holes
        self.seed = seed

    def __call__(self, height: int, width: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(self.seed).random((height, width)) >= self.holes)
