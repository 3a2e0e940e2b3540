"""What is done to every image once, before it is kept: the same for training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from calotype.ranges import AtLeast0, Count, Positive
from calotype.types import UserError


class Preprocess:
    """Invert, rotate, crop, resize, choose colour, correct brightness and contrast, remove the background: in this order.

    Args:
        invert: True makes the negative of every image; `auto` of those whose border is on average brighter than middle
            grey, so that all have a dark ground (black on white digits become white on black).
        rotate: degrees, counter-clockwise.
        crop: pixels, `[height, width]` or one number for both; the centre is kept. A smaller image is refused: what is
            black around it would be learned, and two faces in black frames look alike.
        size: pixels, `[height, width]` or one number for both, of the result; antialiased bilinear.
        colour: `keep`, `grey` (one channel), `rgb` (three).
        brightness: factor, 1 leaves it.
        contrast: factor around the image's mean grey, 1 leaves it.
        background: `keep`; `ellipse` blackens all outside the largest centred ellipse (aligned faces); `border`
            blackens what is coloured like the image's border (an object before a plain ground).
    """

    def __init__(
        self,
        *,
        invert: bool | Literal["auto"] = False,
        rotate: float = 0.0,
        crop: Positive | Sequence[Count] | None = None,
        size: Positive | Sequence[Positive] | None = None,
        colour: Literal["keep", "grey", "rgb"] = "keep",
        brightness: AtLeast0 = 1.0,
        contrast: AtLeast0 = 1.0,
        background: Literal["keep", "ellipse", "border"] = "keep",
    ) -> None:
        self.invert = invert
        self.rotate = rotate
        self.crop = _pair("crop", crop)
        self.size = _pair("size", size)
        self.colour = colour
        for name, value in (("brightness", brightness), ("contrast", contrast)):
            if value < 0:
                raise UserError(f"data.preprocess.{name}={value}: a factor of 0 or more, 1 leaves the image as it is")
        self.brightness = brightness
        self.contrast = contrast
        self.background = background

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (..., C, H, W) -> uint8 (..., C', H', W').

        Raises:
            UserError: the images are smaller than `crop`.
        """
        if self.invert:
            images = 255 - images if self.invert is True else _on_dark_ground(images)
        if self.rotate:
            images = F.rotate(images, self.rotate, interpolation=InterpolationMode.BILINEAR)
        if self.crop is not None:
            height, width = images.shape[-2:]
            if height < self.crop[0] or width < self.crop[1]:
                raise UserError(
                    f"data.preprocess.crop={self.crop}: an image of {height}x{width} (height x width) is smaller; "
                    "take less, leave it out, or enlarge the image"
                )
            images = F.center_crop(images, self.crop)
        if self.size is not None and tuple(images.shape[-2:]) != tuple(self.size):
            images = F.resize(images, self.size, antialias=True)
        if self.colour == "grey" and images.shape[-3] == 3:
            images = F.rgb_to_grayscale(images)
        elif self.colour == "rgb" and images.shape[-3] == 1:
            images = images.expand(*images.shape[:-3], 3, *images.shape[-2:]).contiguous()
        if self.brightness != 1:
            images = F.adjust_brightness(images, self.brightness)
        if self.contrast != 1:
            images = F.adjust_contrast(images, self.contrast)
        if self.background == "ellipse":
            images = images * _ellipse(images.shape[-2], images.shape[-1])
        elif self.background == "border":
            cut = torch.empty_like(images, memory_format=torch.contiguous_format)
            for image, target in zip(images.reshape(-1, *images.shape[-3:]), cut.view(-1, *images.shape[-3:]), strict=True):
                torch.mul(image, foreground(image), out=target)
            images = cut
        return images


def border_of(images: Tensor) -> Tensor:
    """Return the pixels of the outermost rows and columns of images (..., C, H, W) as (..., C, P)."""
    top, bottom = images[..., 0, :], images[..., -1, :]
    left, right = images[..., 1:-1, 0], images[..., 1:-1, -1]
    return torch.cat([top, bottom, left, right], -1)


def _on_dark_ground(images: Tensor) -> Tensor:
    """uint8 (..., C, H, W) -> the same, with the negative of each image whose border is brighter than middle grey."""
    is_bright = border_of(images).float().mean((-2, -1)) > 127.5
    return torch.where(is_bright[..., None, None, None], 255 - images, images)


def foreground(image: Tensor) -> Tensor:
    """Where `image` (C, H, W) is unlike its border, as uint8 0 or 1 (H, W).

    The border's colours are taken as one Gaussian; the Mahalanobis distance from it is cut by Otsu's threshold (Otsu
    1979), the largest connected part is kept and its holes are filled. An image all of one kind is foreground throughout.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    pixels = image.float().flatten(1)  # (C, H * W)
    edge = torch.ones(image.shape[-2:], dtype=torch.bool)
    margin = max(1, min(image.shape[-2:]) // 20)
    edge[margin:-margin, margin:-margin] = False
    border = pixels[:, edge.flatten()]
    mean = border.mean(1, keepdim=True)
    spread = torch.cov(border).reshape(len(border), len(border)) + 25 * torch.eye(len(border))  # 5 grey levels of noise at least
    apart = pixels - mean
    distance = (apart * torch.linalg.solve(spread, apart)).sum(0).clamp(min=0).sqrt().view(image.shape[-2:]).numpy()
    if math.isclose(distance.min(), distance.max()):
        return torch.ones(image.shape[-2:], dtype=torch.uint8)
    mask = distance > threshold_otsu(distance)
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.argmax(ndimage.sum_labels(mask, parts, range(1, count + 1))))
    return torch.from_numpy(ndimage.binary_fill_holes(mask).astype(np.uint8))


def _ellipse(height: int, width: int) -> Tensor:
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    return (y[:, None] ** 2 + x[None] ** 2 <= 1).to(torch.uint8)


def _pair(name: str, value: int | Sequence[int] | None) -> list[int] | None:
    if value is None:
        return None
    pair = [value, value] if isinstance(value, int) else list(value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < 1 for v in pair):
        raise UserError(f"data.preprocess.{name}={value}: give one number of pixels, or [height,width]")
    return pair
