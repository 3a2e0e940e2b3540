"""A generator and a discriminator of fully connected layers: for points in the plane, and as the simplest for images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.ranges import Above0, NotEmpty, Positive
from calotype.types import Generated, ImageShape, UserError


class MLPGAN(nn.Module):
    """Hidden layers with ReLU in the generator and LeakyReLU in the discriminator.

    Args:
        image_shape: (channels, height, width), or (D,) of points.
        num_classes: K that the game is conditioned on, by one-hot inputs, 0 for none.
        pack: items that the discriminator judges together (PacGAN).
        latent_size: Z.
        widths: of the hidden layers of each.
        scale: points are divided by it for the discriminator, and multiplied in the generator; images are in [0, 1] and are not.
    """

    takes_points: ClassVar = True  # and images

    def __init__(
        self,
        image_shape: ImageShape | tuple[int],
        num_classes: int = 0,
        pack: Positive = 1,
        *,
        latent_size: Positive = 16,
        widths: Annotated[tuple[Positive, ...], NotEmpty] = (128, 128, 128),
        scale: Above0 = 1.0,
    ) -> None:
        super().__init__()
        if latent_size < 1 or not widths or scale <= 0:
            raise UserError(f"model: latent_size={latent_size} and scale={scale} above 0, widths={list(widths)} at least one")
        self.latent_size = latent_size
        self.num_classes = num_classes
        self.generator = Generator(tuple(image_shape), num_classes, latent_size, widths, scale)
        self.discriminator = Discriminator(tuple(image_shape), num_classes, pack, widths, scale)

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Generated:
        return self.generator(latent, labels)


class Generator(nn.Module):
    """Latents (N, Z), labels (N,) -> (N, *image_shape): images in [0, 1], points of any size."""

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, latent_size: int, widths: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.scale = scale
        sizes = [latent_size + num_classes, *widths]
        hidden = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU(inplace=True))]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], math.prod(image_shape)))

    def forward(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.layers(_with_class(latent, labels, self.num_classes)).float().view(-1, *self.image_shape)
        return x.sigmoid() if len(self.image_shape) == 3 else x * self.scale


class Discriminator(nn.Module):
    """(N, pack C, H, W) or (N, pack D), labels (N,) -> logits (N,), which are above 0 for what is held to be real."""

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, pack: int, widths: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scale = scale
        sizes = [math.prod(image_shape) * pack + num_classes, *widths]
        hidden = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.LeakyReLU(0.2, inplace=True))]
        self.layers = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        x = images * 2 - 1 if images.ndim == 4 else images / self.scale
        return self.layers(_with_class(x.flatten(1), labels, self.num_classes))[:, 0].float()


def _with_class(x: Tensor, labels: Tensor | None, num_classes: int) -> Tensor:
    if not num_classes:
        return x
    assert labels is not None
    return torch.cat([x, F.one_hot(labels, num_classes).to(x)], 1)
