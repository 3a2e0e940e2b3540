"""A U-Net as the image prior: wide skip connections instead of thin ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.hourglass import Latent, Padding, Upsampling, make_latent, unit
from calotype.ranges import NotEmpty, Positive
from calotype.types import Image, ImageShape


class UNet(nn.Module):
    """Two convolutions a level, pooled down by 2 and interpolated up, each level joined whole (Ronneberger et al., 2015).

    Args:
        image_shape: (channels, height, width), any size, as in `Hourglass`.
        channels: of each level, from the full size to the smallest.
        upsampling, padding, latent, latent_channels: as in `Hourglass`.

    Shapes: a latent (1, L, H', W') -> an image (1, C, H, W) in [0, 1].
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        channels: Annotated[Sequence[Positive], NotEmpty] = (32, 64, 128, 128, 128),
        upsampling: Upsampling = "bilinear",
        padding: Padding = "reflect",
        latent: Latent = "noise",
        latent_channels: Positive = 32,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.latent_kind = latent
        self.upsampling = upsampling
        self.latent: Tensor
        self.register_buffer("latent", make_latent(latent, image_shape, latent_channels, 2 ** (len(channels) - 1)))
        above = [self.latent.shape[1], *channels[:-1]]
        self.down = nn.ModuleList(_twice(a, c, padding) for a, c in zip(above, channels, strict=True))
        self.up = nn.ModuleList(_twice(c + below, c, padding) for c, below in pairwise(channels))
        self.head = nn.Conv2d(channels[0], image_shape[0], 1)

    def forward(self, latent: Tensor) -> Image:
        x = latent
        kept: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([skip, F.interpolate(x, scale_factor=2, mode=self.upsampling)], 1))
        image = self.head(x).float().sigmoid()
        return image[..., : self.image_shape[1], : self.image_shape[2]]


def _twice(in_channels: int, out_channels: int, padding: Padding) -> nn.Sequential:
    return nn.Sequential(unit(in_channels, out_channels, 3, padding), unit(out_channels, out_channels, 3, padding))
