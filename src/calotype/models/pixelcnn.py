"""PixelCNN: a stack of masked convolutions that gives every pixel's distribution from the pixels before it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calotype.models.masked import MaskedConv2d, Memory
from calotype.ranges import Count, Positive, Two
from calotype.types import ImageShape, Predicted, UserError


class PixelCNN(nn.Module):
    """A 7x7 convolution of kind A, residual blocks (1x1, 3x3, 1x1) of kind B, two 1x1 layers (van den Oord et al., 2016, "Pixel Recurrent
    Neural Networks").

    Colours are taken in order: G sees R, B sees both. With `blocks` 0 and `width` 0 it is one masked convolution: a linear autoregressive
    model, to which a bias for each place gives what independent pixels know.

    Args:
        image_shape: (C, H, W).
        num_classes: K that it is conditioned on by a bias for every layer's features, 0 for none.
        levels: of a pixel.
        width: channels; a multiple of 2 C.
        blocks: residual blocks.
        kernel: of the first layer, odd.
        place_bias: add a bias to the logits of each place; images then have this one size.

    Shapes: images (N, C, H, W) in [0, 1], labels (N,) -> logits (N, levels, C, H, W).
    """

    gives = "logits"

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int = 0,
        levels: Two = 2,
        *,
        width: Count = 64,
        blocks: Count = 8,
        kernel: Positive = 7,
        place_bias: bool = False,
    ) -> None:
        super().__init__()
        colours = image_shape[0]
        if width % (2 * colours) or blocks < 0 or kernel < 3 or kernel % 2 == 0 or levels < 2:
            raise UserError(
                f"model: width={width} must be a multiple of {2 * colours}, blocks={blocks} 0 and more, kernel={kernel} odd and above 1, "
                f"levels={levels} 2 and more"
            )
        self.levels = levels
        self.colours = colours
        out = levels * colours
        self.first = MaskedConv2d(colours, width or out, kernel, "A", colours=colours)
        self.blocks = nn.ModuleList(Block(width, colours) for _ in range(blocks))
        self.last = nn.ModuleList(
            [MaskedConv2d(width, width, 1, "B", colours=colours), MaskedConv2d(width, out, 1, "B", colours=colours)] if width else []
        )
        self.condition = nn.Embedding(num_classes, width or out) if num_classes else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        self.place_bias = nn.Parameter(torch.zeros(levels, colours, math.prod(image_shape[1:]))) if place_bias else None

    @property
    def steps_per_pixel(self) -> int:
        """Colours that are drawn one after the other."""
        return self.colours

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Predicted:
        x = self.first(images * 2 - 1)
        if self.condition is not None:
            assert labels is not None
            x = x + self.condition(labels)[:, :, None, None].to(x.dtype)
        for block in self.blocks:
            x = block(x)
        for layer in self.last:
            x = layer(F.relu(x, inplace=True))
        x = x.float().view(len(x), self.colours, self.levels, *x.shape[2:]).transpose(1, 2)
        return x if self.place_bias is None else x + self.place_bias.view(x.shape[1:])

    def start(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        """What `pixel` needs to go on from."""
        n, _, height, width = images.shape
        return {
            "memories": {layer: layer.memory(n, height, width) for layer in self.modules() if isinstance(layer, MaskedConv2d)},
            "condition": None if self.condition is None or labels is None else self.condition(labels).detach(),
        }

    def pixel(self, state: dict[str, Any], images: Tensor, row: int, column: int) -> Tensor:
        """The logits (N, levels, C) of one pixel, of whose colours those that are known are noted first. Positions come in raster order."""
        memories = state["memories"]
        self.note(state, images, row, column)
        x = memories[self.first].at(row, column)
        if state["condition"] is not None:
            x = x + state["condition"]
        block: Any
        for block in self.blocks:
            x = block.pixel(x, memories, row, column)
        for layer in self.last:
            x = memories[layer].here(F.relu_(x))
        x = x.view(len(x), self.colours, self.levels).transpose(1, 2)
        return x if self.place_bias is None else x + self.place_bias[:, :, row * images.shape[3] + column].detach()

    def note(self, state: dict[str, Any], images: Tensor, row: int, column: int) -> None:
        """What the colours of a position are, for it and for those that come after it."""
        state["memories"][self.first].put(row, column, images[:, :, row, column] * 2 - 1)


class Block(nn.Module):
    """x + 1x1(3x3(1x1(x))), ReLU before each, half as many channels inside."""

    def __init__(self, width: int, colours: int) -> None:
        super().__init__()
        self.narrow = MaskedConv2d(width, width // 2, 1, "B", colours=colours)
        self.look = MaskedConv2d(width // 2, width // 2, 3, "B", colours=colours)
        self.widen = MaskedConv2d(width // 2, width, 1, "B", colours=colours)

    def forward(self, x: Tensor) -> Tensor:
        # In place, where no slope needs what was there: half the time of a training step goes into moving activations otherwise.
        y = F.relu(self.narrow(F.relu(x)), inplace=True)
        y = F.relu(self.look(y), inplace=True)
        return self.widen(y).add_(x)

    def pixel(self, x: Tensor, memories: dict[nn.Module, Memory], row: int, column: int) -> Tensor:
        look = memories[self.look]
        look.put(row, column, F.relu_(memories[self.narrow].here(F.relu(x))))
        return memories[self.widen].here(F.relu_(look.at(row, column))).add_(x)
