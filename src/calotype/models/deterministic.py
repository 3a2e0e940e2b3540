"""What torch computes on a GPU only with sums whose order differs from run to run, by operations whose order is fixed.

`hardware.deterministic=true`, the default, makes torch refuse such gradients. On a CPU, or without that setting, torch's own are used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GridPool(nn.AdaptiveAvgPool2d):
    """The mean over each of G x G cells, (N, C, H, W) -> (N, C, G, G): `AdaptiveAvgPool2d`, with a deterministic gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return pooled(x, int(self.output_size)) if _is_refused(x) else super().forward(x)  # type: ignore[arg-type]


def pooled(x: Tensor, grid: int) -> Tensor:
    """Adaptive average pooling as a product with the means of rows and of columns, (N, C, H, W) -> (N, C, grid, grid)."""
    rows, columns = (_means(side, grid, x) for side in x.shape[-2:])
    return rows @ x @ columns.T


def sampled(pictures: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples with zeros outside, `grid_sample(align_corners=False)` with one grid for all pictures.

    Args:
        pictures: (N, C, H, W).
        grid: (H', W', 2), x and y from -1 to 1.

    Returns:
        (N, C, H', W').
    """
    if not _is_refused(pictures):
        grids = grid.expand(len(pictures), *grid.shape)
        return F.grid_sample(pictures, grids, mode="bilinear", padding_mode="zeros", align_corners=False)
    return gathered(pictures, grid)


def gathered(pictures: Tensor, grid: Tensor) -> Tensor:
    """Compute `sampled` from the four neighbours, taken one after the other; the gradient of taking is a sum in a fixed order."""
    height, width = pictures.shape[-2:]
    x, y = ((grid[..., i].reshape(-1) + 1) * side / 2 - 0.5 for i, side in enumerate((width, height)))
    flat = pictures.flatten(2)
    result: Tensor | int = 0
    for column in (x.floor(), x.floor() + 1):
        for row in (y.floor(), y.floor() + 1):
            is_inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * is_inside
            result = result + flat.index_select(2, place) * weight.to(flat.dtype)
    return result.view(*pictures.shape[:2], *grid.shape[:2])  # type: ignore[union-attr]


def _means(side: int, cells: int, like: Tensor) -> Tensor:
    """(cells, side): what each position counts in the mean of each cell, whose edges are those of adaptive pooling."""
    number = torch.arange(cells, device=like.device)
    first, end = number * side // cells, ((number + 1) * side + cells - 1) // cells
    position = torch.arange(side, device=like.device)
    is_in = (position >= first[:, None]) & (position < end[:, None])
    return is_in.to(like.dtype) / (end - first)[:, None].to(like.dtype)


def _is_refused(x: Tensor) -> bool:
    return x.is_cuda and x.requires_grad and torch.are_deterministic_algorithms_enabled()
