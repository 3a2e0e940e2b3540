"""A decoder with fewer parameters than the image has pixels: it cannot fit noise, so it needs no stopping."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Positive
from calotype.types import Image, ImageShape


class DeepDecoder(nn.Module):
    """1x1 convolutions, bilinear enlargement, ReLU and channel normalisation (Heckel and Hand, "Deep Decoder", 2019).

    Args:
        image_shape: (channels, height, width), any size; the output is cropped to it.
        channels: of every layer.
        layers: enlargements by 2.

    Shapes: a latent (1, channels, H / 2^layers, W / 2^layers), sides rounded up -> an image (1, C, H, W) in [0, 1].
    """

    def __init__(self, image_shape: ImageShape, *, channels: Positive = 128, layers: Positive = 5) -> None:
        super().__init__()
        self.image_shape = image_shape
        height, width = (math.ceil(side / 2**layers) for side in image_shape[1:])
        self.latent: Tensor
        self.register_buffer("latent", torch.rand(1, channels, height, width) * 0.1)
        self.mix = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(layers + 1))
        self.norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(layers + 1))
        self.head = nn.Conv2d(channels, image_shape[0], 1, bias=False)

    def forward(self, latent: Tensor) -> Image:
        x = latent
        for i, (mix, norm) in enumerate(zip(self.mix, self.norm, strict=True)):
            x = mix(x)
            if i + 1 < len(self.mix):
                x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = norm(F.relu(x))
        image = self.head(x).float().sigmoid()
        return image[..., : self.image_shape[1], : self.image_shape[2]]
