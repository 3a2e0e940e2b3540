"""How an image becomes a pair: what a network is given, and what it is to make of it.

Each is called with images (N, C, H, W) in [0, 1] and the numbers of their items (N,), and gives (inputs, targets); its `given` makes
an input of an image (1, C, h, w) that is nobody's target yet: a drawing, a grey or a small photograph. What is random depends on
the item alone, so an image has the same partner in every epoch.

Where `given` is local, `margin` is how many pixels of the image a pixel that it makes depends on, on each side, and `scale` how many
it makes of one in height and width: then a large image can be given tile by tile (see `calotype.tiled`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from calotype.data.draws import even_number
from calotype.metrics.style import luma
from calotype.ranges import AtLeast0, Inside01, Positive, Seed
from calotype.types import UserError

Pair = tuple[Tensor, Tensor]


class Grey:
    """Grey to colour."""

    margin, scale = 0, 1

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        if images.shape[1] != 3:
            raise UserError("data/pair=grey: the images are grey already; choose a data set in colour, or data.preprocess.colour=rgb")
        return _grey(images), images

    def given(self, image: Tensor) -> Tensor:
        return _grey(image)


class Edges:
    """A drawing to the image: one minus the Sobel slope of the luma, times `contrast`, cut to [0, 1]."""

    margin, scale = 0, 1

    def __init__(self, *, contrast: AtLeast0 = 2.0) -> None:
        if contrast <= 0:
            raise UserError(f"data.pair.contrast={contrast}: above 0")
        self.contrast = contrast

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        sobel = images.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        kernels = torch.stack([sobel, sobel.T])[:, None]
        slopes = F.conv2d(F.pad(_grey(images), (1, 1, 1, 1), mode="replicate"), kernels)
        return (1 - self.contrast * slopes.square().sum(1, keepdim=True).sqrt()).clamp(0, 1), images

    def given(self, image: Tensor) -> Tensor:
        return _grey(image)


class Hole:
    """An image with a rectangle missing to the whole one; a further channel says (1) where it is missing.

    Args:
        share: of each side.
        seed: of its place.
    """

    def __init__(self, *, share: Inside01 = 0.4, seed: Seed = 0) -> None:
        if not 0 < share < 1:
            raise UserError(f"data.pair.share={share}: a share of the side, above 0 and below 1")
        self.share = share
        self.seed = seed

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        inside = None
        for axis, side in enumerate(images.shape[2:]):
            length = max(1, round(self.share * side))
            start = (even_number(items, 2 * self.seed + axis) * (side - length + 1)).long()
            place = torch.arange(side, device=images.device)
            here = (place >= start[:, None]) & (place < start[:, None] + length)
            inside = here[:, :, None] if inside is None else inside & here[:, None]
        assert inside is not None
        hole = inside[:, None].to(images.dtype)
        return torch.cat([images * (1 - hole) + 0.5 * hole, hole], 1), images

    def given(self, image: Tensor) -> Tensor:
        raise UserError("a run of data/pair=hole is measured only: an image file does not say where its hole is")


class Small:
    """Low resolution, enlarged by cubic interpolation to the size of the image, to high: super-resolution.

    Args:
        factor: 2, 4 or 8; squares of so many pixels a side are averaged.
    """

    def __init__(self, *, factor: Positive = 4) -> None:
        if factor not in (2, 4, 8):
            raise UserError(f"data.pair.factor={factor}: 2, 4 or 8")
        self.factor = self.scale = factor
        self.margin = 2  # of cubic interpolation

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        height, width = images.shape[2:]
        if height % self.factor or width % self.factor:
            raise UserError(
                f"data.pair.factor={self.factor}: the sides ({height}x{width}) are no multiples of it; set data.preprocess.size"
            )
        return self.given(F.avg_pool2d(images, self.factor)), images

    def given(self, image: Tensor) -> Tensor:
        return F.interpolate(image, scale_factor=self.factor, mode="bicubic", align_corners=False).clamp(0, 1)


class Inverted:
    """An image to its negative: two domains that differ in nothing else."""

    margin, scale = 0, 1

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        return images, 1 - images

    def given(self, image: Tensor) -> Tensor:
        return image


class SideBySide:
    """Files that hold a pair, the input in the left half and the target in the right one.

    Args:
        swap: the other way round.
    """

    margin, scale = 0, 1

    def __init__(self, *, swap: bool = False) -> None:
        self.swap = swap

    def __call__(self, images: Tensor, items: Tensor) -> Pair:
        width = images.shape[3]
        if width % 2:
            raise UserError(f"data/pair=side_by_side: the images are {width} pixels wide, which cannot be halved; set data.preprocess.size")
        left, right = images[..., : width // 2], images[..., width // 2 :]
        return (right, left) if self.swap else (left, right)

    def given(self, image: Tensor) -> Tensor:
        return image


def _grey(images: Tensor) -> Tensor:
    return images if images.shape[1] == 1 else luma(images)
