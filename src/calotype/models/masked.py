"""Convolutions that see only what stands before a pixel in raster order, over a whole image or one position at a time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MaskedConv2d(nn.Conv2d):
    """A convolution over the rows above and what stands to the left, at the full size (van den Oord et al., 2016).

    The kernel holds only what can be seen: (kernel // 2 + 1) x kernel, less what the mask takes from the last row; or, with `own_row`,
    that row alone, 1 x (kernel // 2 + 1). Channels come in equal parts, one for each colour: at the position itself, kind A sees the
    colours before its own, kind B its own as well; with one colour, A sees nothing there and B all.

    Args:
        kind: A for the first layer, which sees pixels; B for later ones.
        kernel: odd.
        dilation: steps between taps.
        colours: of the image; 1 where the network does not order them.
        repeat: the outputs are so many runs through all colours (2 for a gate beside its features).
        own_row: leave the rows above to another layer.

    Shapes: (N, in, H, W) -> (N, out, H, W).
    """

    mask: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        kind: Literal["A", "B"],
        *,
        dilation: int = 1,
        colours: int = 1,
        repeat: int = 1,
        own_row: bool = False,
    ) -> None:
        middle = kernel // 2
        super().__init__(in_channels, out_channels, (1, middle + 1) if own_row else (middle + 1, kernel), dilation=dilation)
        self.left = middle * dilation
        self.top = self.right = 0 if own_row else self.left
        mask = torch.ones(self.weight.shape)
        mask[:, :, -1, middle + 1 :] = 0
        before = torch.arange(in_channels) * colours // in_channels
        own = torch.arange(out_channels) % (out_channels // repeat) * colours // (out_channels // repeat)
        seen = before[None] < own[:, None] if kind == "A" else before[None] <= own[:, None]
        mask[:, :, -1, middle] = seen.float()
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.left:
            x = F.pad(x, (self.left, self.right, self.top, 0))
        return F.conv2d(x, self.weight * self.mask, self.bias, dilation=self.dilation)

    def memory(self, n: int, height: int, width: int) -> Memory:
        """For drawing n images of this size, position by position."""
        return Memory(self, n, height, width)


class Memory:
    """A masked layer at one position at a time, in raster order, from what it was given before.

    Shapes: `put` (n, in) of a position; `at` gives (n, out) of it, from all that was put; `here` (n, in) -> (n, out) for a 1x1 kernel.
    """

    def __init__(self, layer: MaskedConv2d, n: int, height: int, width: int) -> None:
        weight = (layer.weight * layer.mask).detach().permute(2, 3, 1, 0)  # (rows, columns, in, out)
        assert layer.bias is not None
        self.bias = layer.bias.detach()
        self.step, self.left, self.top, self.right = layer.dilation[0], layer.left, layer.top, layer.right
        middle = weight.shape[1] if self.right == 0 else weight.shape[1] // 2 + 1  # columns to the left and the position's own
        self.own = weight[-1, :middle].reshape(-1, weight.shape[3]).contiguous()
        self.over = weight[:-1].reshape(-1, weight.shape[3]).contiguous()
        self.shape = (
            n,
            self.top + height,
            self.left + width + self.right,
            layer.in_channels,
        )  # with the margins that the kernel reaches over
        self.inputs: Tensor | None = None
        self.row = -1

    def put(self, row: int, column: int, x: Tensor) -> None:
        if self.inputs is None:
            self.inputs = self.bias.new_zeros(self.shape)
        self.inputs[:, self.top + row, self.left + column] = x

    def at(self, row: int, column: int) -> Tensor:
        assert self.inputs is not None
        if self.top and row != self.row:
            self.above, self.row = self._above(self.inputs, row), row
        taps = self.inputs[:, self.top + row, column : column + self.left + 1 : self.step].flatten(1)
        return torch.addmm(self.above[:, column] if self.top else self.bias, taps, self.own)

    def here(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.own)

    def _above(self, inputs: Tensor, row: int) -> Tensor:
        """What the rows above, which are complete, give to every position of a row, and the bias: (n, W, out)."""
        rows = inputs[:, row : row + self.top : self.step].unfold(2, self.left + self.right + 1, 1)[
            ..., :: self.step
        ]  # (n, rows, W, in, columns)
        n, _, width = rows.shape[:3]
        return torch.addmm(self.bias, rows.permute(0, 2, 1, 4, 3).reshape(n * width, -1), self.over).view(n, width, -1)


class RowsAbove(nn.Conv2d):
    """A convolution over whole rows: those above, and (unless `first`) the row itself, for a stack that has not seen its own row's pixels.

    Shapes: (N, in, H, W) -> (N, out, H, W); `row`: see there.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, first: bool, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, (kernel // 2 if first else kernel // 2 + 1, kernel), dilation=dilation)
        self.reach = kernel // 2 * dilation
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.reach, self.reach, self.reach, 0))
        if self.first:
            x = x[:, :, :-1] if self.dilation[0] == 1 else x[:, :, : -self.dilation[0]]
        return F.conv2d(x, self.weight, self.bias, dilation=self.dilation)

    def cache(self, n: int, height: int, width: int) -> Tensor:
        """Zeros for the inputs of n images: (n, in, reach + H, W + 2 reach)."""
        return self.weight.new_zeros(n, self.in_channels, self.reach + height, width + 2 * self.reach)

    def row(self, cache: Tensor, row: int) -> Tensor:
        """The output (n, out, 1, W) of one row, from a cache that holds the inputs of all rows it sees."""
        last = self.reach + row - (self.dilation[0] if self.first else 0)
        return F.conv2d(cache[:, :, row : last + 1], self.weight, self.bias, dilation=self.dilation)

    def put(self, cache: Tensor, row: int, x: Tensor) -> None:
        """Note the input (n, in, 1, W) of a row."""
        cache[:, :, self.reach + row, self.reach : cache.shape[3] - self.reach] = x[:, :, 0]
