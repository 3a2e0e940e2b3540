"""What a model is shown of a pixel: its value, and learned numbers for its level."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LevelFeatures(nn.Module):
    """The value in [-1, 1], followed by `size` learned numbers for the level, colour after colour.

    A convolution sees hardly any difference between 253 and 254 of 255, where in some data (MNIST's strokes end at one of the two) it says
    much; numbers of its own for each level show it at once.

    Args:
        levels: of a pixel.
        size: numbers for a level; 0 for the value alone.

    Shapes: (N, C, ...) in [0, 1] -> (N, C (1 + size), ...).
    """

    def __init__(self, levels: int, size: int) -> None:
        super().__init__()
        self.levels = levels
        self.table = nn.Embedding(levels, size) if size else None

    def forward(self, images: Tensor) -> Tensor:
        value = images * 2 - 1
        if self.table is None:
            return value
        level = torch.round(images * (self.levels - 1)).long()
        return torch.cat([value[:, :, None], self.table(level).movedim(-1, 2)], 2).flatten(1, 2)
