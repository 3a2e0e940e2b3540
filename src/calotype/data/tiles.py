"""Large images in overlapping tiles of one size, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tile_corners(height: int, width: int, *, max_pixels: int, overlap: int, grid: int) -> tuple[int, int, Tensor]:
    """Tiles of one size that cover an image.

    Args:
        height, width: of the image.
        max_pixels: of a tile.
        overlap: pixels that neighbours share at least.
        grid: tiles start at its multiples.

    Returns:
        The height and width of a tile, and the corners (T, 2) int64, top and left; one tile where the image fits.
    """
    if height * width <= max_pixels:
        return height, width, torch.zeros(1, 2, dtype=torch.int64)
    side = max(2 * overlap, math.isqrt(max_pixels))
    tile_height = _side(height, side if width > side else max_pixels // width, overlap, grid)
    tile_width = _side(width, max_pixels // tile_height, overlap, grid)
    rows, columns = (_starts(s, t, overlap, grid) for s, t in ((height, tile_height), (width, tile_width)))
    return tile_height, tile_width, torch.tensor([(row, column) for row in rows for column in columns])


def blend_window(height: int, width: int, overlap: int) -> Tensor:
    """Weights (1, 1, height, width) that fall linearly towards the edges over `overlap` pixels, above 0 everywhere."""
    sides = []
    for side in (height, width):
        ramp = (torch.arange(side) + 1.0) / (overlap + 1)
        sides.append(torch.minimum(ramp, ramp.flip(0)).clamp(max=1))
    return (sides[0][:, None] * sides[1][None])[None, None]


def _side(whole: int, most: int, overlap: int, grid: int) -> int:
    """At most `most`, and short of the whole by a multiple of `grid`, so that the last tile starts at one."""
    most = max(most, 2 * overlap)
    return whole if whole <= most else whole - math.ceil((whole - most) / grid) * grid


def _starts(whole: int, tile: int, overlap: int, grid: int) -> list[int]:
    if whole == tile:
        return [0]
    count = math.ceil((whole - overlap) / (tile - overlap - grid + 1))
    return [round(i * (whole - tile) / (count - 1) / grid) * grid for i in range(count)]
