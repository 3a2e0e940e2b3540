"""The encoder and decoder whose shape is the deep image prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Count, NotEmpty, Positive
from calotype.types import Image, ImageShape

Padding = Literal["reflect", "replicate", "zeros"]
Upsampling = Literal["bilinear", "nearest"]
Latent = Literal["noise", "meshgrid", "observed"]


class Hourglass(nn.Module):
    """Down by strided convolutions, up by interpolation, with thin skip connections (Ulyanov et al., "Deep Image Prior", 2018).

    A level halves the image with a strided convolution and a second one, goes through the levels below, comes back up, is joined
    by its skip connection, and ends with a convolution and a 1x1 convolution. BatchNorm and LeakyReLU 0.2 follow every convolution.
    With five levels of 128 channels, skips of 4 and a latent of 32 it has 2,217,831 parameters, as the authors' has.

    Args:
        image_shape: (channels, height, width), any size: inside, sides are rounded up to a multiple of 2^levels, and the output is cropped.
        channels: of each level, from the full size to the smallest.
        skip_channels: of the skip connections, one number or one for each level; 0 for none.
        kernel_down, kernel_up: sides of the convolutions on the way down and up, odd.
        upsampling: bilinear or nearest.
        padding: reflect, replicate or zeros.
        latent: noise drawn once from U(0, 0.1); meshgrid, the two coordinates from 0 to 1; observed, the observed image (loss=dip/sure).
        latent_channels: of noise.

    Shapes: a latent (1, L, H', W') -> an image (1, C, H, W) in [0, 1]. `latent` is the fixed one.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        channels: Annotated[Sequence[Positive], NotEmpty] = (128, 128, 128, 128, 128),
        skip_channels: Count | Sequence[Count] = 4,
        kernel_down: Positive = 3,
        kernel_up: Positive = 3,
        upsampling: Upsampling = "bilinear",
        padding: Padding = "reflect",
        latent: Latent = "noise",
        latent_channels: Positive = 32,
    ) -> None:
        super().__init__()
        skips = [skip_channels] * len(channels) if isinstance(skip_channels, int) else list(skip_channels)
        if len(skips) != len(channels):
            raise ValueError(f"skip_channels={skips}: one number, or one for each of the {len(channels)} levels")
        self.image_shape = image_shape
        self.latent_kind = latent
        self.latent: Tensor
        self.register_buffer("latent", make_latent(latent, image_shape, latent_channels, 2 ** len(channels)))
        body: nn.Module | None = None
        for i in reversed(range(len(channels))):
            above = channels[i - 1] if i else self.latent.shape[1]
            body = Level(above, channels[i], skips[i], body, kernel_down, kernel_up, upsampling, padding)
        assert body is not None
        self.body = body
        self.head = nn.Conv2d(channels[0], image_shape[0], 1)

    def forward(self, latent: Tensor) -> Image:
        image = self.head(self.body(latent)).float().sigmoid()
        return image[..., : self.image_shape[1], : self.image_shape[2]]


class Level(nn.Module):
    """One halving and what is below it; (N, A, H, W) -> (N, channels, H, W)."""

    def __init__(
        self, above: int, channels: int, skip: int, below: nn.Module | None, down: int, up: int, upsampling: Upsampling, padding: Padding
    ) -> None:
        super().__init__()
        self.skip = unit(above, skip, 1, padding) if skip else None
        self.down = nn.Sequential(unit(above, channels, down, padding, stride=2), unit(channels, channels, down, padding))
        self.below = below
        self.upsampling = upsampling
        wide = getattr(below, "out_channels", channels)
        self.out_channels = channels
        self.join = nn.BatchNorm2d(skip + wide)
        self.up = nn.Sequential(unit(skip + wide, channels, up, padding), unit(channels, channels, 1, padding))

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        if self.below is not None:
            y = self.below(y)
        y = F.interpolate(y, scale_factor=2, mode=self.upsampling)
        if self.skip is not None:
            y = torch.cat([self.skip(x), y], 1)
        return self.up(self.join(y))


def unit(in_channels: int, out_channels: int, kernel: int, padding: Padding, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, LeakyReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, padding_mode=padding)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.2, inplace=True))


def make_latent(kind: Latent, image_shape: ImageShape, channels: int, multiple: int) -> Tensor:
    """What the network is given, (1, L, H', W'): sides rounded up to `multiple`, and to twice it at least, as reflection needs."""
    height, width = (max(2, math.ceil(side / multiple)) * multiple for side in image_shape[1:])
    if kind == "meshgrid":
        return torch.stack(torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"))[None]
    if kind == "observed":
        return torch.zeros(1, image_shape[0], height, width)
    return torch.rand(1, channels, height, width) * 0.1
