"""Fully connected layers: for points in the plane, and as the simplest network for images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from calotype.ranges import Positive
from calotype.types import ImageShape, Logits


class MLP(nn.Module):
    """`widths` hidden layers with ReLU. Shapes: (N, ...) of `image_shape` -> logits (N, K)."""

    takes_points: ClassVar = True  # and images

    def __init__(self, image_shape: ImageShape, num_classes: int, *, widths: tuple[Positive, ...] = (128, 128)) -> None:
        super().__init__()
        sizes = [math.prod(image_shape), *widths]
        hidden = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU(inplace=True))]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], num_classes))

    def forward(self, images: Tensor) -> Logits:
        return self.layers(images)
