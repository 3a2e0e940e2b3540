"""How a clean image becomes what is observed: linear (or JPEG) operators that gradients pass through.

An operator is built without the image's size and works on tiles, so a tile must start at a multiple of `grid` pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Above0, Positive
from calotype.types import UserError


class Identity(nn.Module):
    """What is observed is the image (with noise, or with holes: see `data.sigma`, `data.mask`)."""

    factor = 1  # sides of the clean image, as multiples of the observed one's
    grid = 1  # pixels

    def forward(self, images: Tensor) -> Tensor:
        return images


class Downsample(nn.Module):
    """Lanczos-filtered reduction by a whole factor, the one that Ulyanov et al. (2018) use, with edge pixels repeated.

    The kernel has 4 * factor + 1 taps a side less the outermost zeros, and is centred between pixels: an output pixel lies in
    the middle of the factor x factor pixels it stands for.

    Args:
        factor: 2, 4 or 8.
        lobes: of the Lanczos kernel, 2 or 3.

    Shapes: (N, C, H, W) -> (N, C, H / factor, W / factor).
    """

    def __init__(self, *, factor: Positive = 4, lobes: Positive = 2) -> None:
        super().__init__()
        if factor not in (2, 4, 8):
            raise UserError(f"data.operator.factor={factor}: 2, 4 or 8")
        if lobes not in (2, 3):
            raise UserError(f"data.operator.lobes={lobes}: 2 or 3")
        self.factor = self.grid = factor
        reach = lobes * factor
        x = (torch.arange(2 * reach, dtype=torch.float64) - reach + 0.5) / factor  # in output pixels
        kernel = torch.sinc(x) * torch.sinc(x / lobes)
        self.kernel: Tensor
        self.register_buffer("kernel", (kernel / kernel.sum()).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        before = (len(self.kernel) - self.factor) // 2
        return _separable(images, self.kernel, before, stride=self.factor)


class Blur(nn.Module):
    """Gaussian blur with edge pixels repeated.

    Args:
        radius: standard deviation in pixels, above 0.
    """

    factor = 1
    grid = 1

    def __init__(self, *, radius: Above0 = 2.0) -> None:
        super().__init__()
        if not radius > 0:
            raise UserError(f"data.operator.radius={radius}: pixels, above 0")
        reach = math.ceil(4 * radius)
        x = torch.arange(-reach, reach + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (x / radius) ** 2)
        self.kernel: Tensor
        self.register_buffer("kernel", (kernel / kernel.sum()).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return _separable(images, self.kernel, len(self.kernel) // 2, stride=1)


def _separable(images: Tensor, kernel: Tensor, before: int, *, stride: int) -> Tensor:
    """`kernel` (K,) along the height, then along the width; `before` edge pixels repeated in front, as many as needed behind."""
    channels = images.shape[1]
    after = len(kernel) - stride - before
    for axis in (2, 3):
        pad = (0, 0, before, after) if axis == 2 else (before, after, 0, 0)
        shape = (len(kernel), 1) if axis == 2 else (1, len(kernel))
        weight = kernel.to(images.dtype).reshape(1, 1, *shape).expand(channels, 1, *shape)
        step = (stride, 1) if axis == 2 else (1, stride)
        images = F.conv2d(F.pad(images, pad, mode="replicate"), weight, stride=step, groups=channels)
    return images
