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

    Shapes: (N, in, H, W) -> (N, out, H, W); `at`: see there.
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

    def ready(self) -> tuple[Tensor, Tensor]:
        """What `at` multiplies with, made once for many positions."""
        weight = (self.weight * self.mask).detach()
        assert self.bias is not None
        return weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).contiguous(), self.bias.detach()

    def cache(self, n: int, height: int, width: int) -> Tensor:
        """Zeros for the inputs of n images, with the margins that the kernel reaches over: (n, top + H, left + W + right, in)."""
        return self.weight.new_zeros(n, self.top + height, self.left + width + self.right, self.in_channels)

    def at(self, cache: Tensor, row: int, column: int, ready: tuple[Tensor, Tensor]) -> Tensor:
        """The output (n, out) at one position, from a cache that holds the inputs of all that stands before it."""
        step = self.dilation[0]
        window = cache[:, row : row + self.top + 1 : step, column : column + self.left + self.right + 1 : step]
        return torch.addmm(ready[1], window.reshape(len(cache), -1), ready[0])

    def put(self, cache: Tensor, row: int, column: int, x: Tensor) -> None:
        """Note the input (n, in) of a position."""
        cache[:, self.top + row, self.left + column] = x


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
