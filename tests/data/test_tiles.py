"""Tiles cover the image, overlap, start on the grid, and blend back into what they were cut from."""

from __future__ import annotations

import pytest
import torch

from calotype.data.tiles import blend_window, tile_corners


@pytest.mark.parametrize("size", [(64, 64), (100, 300), (301, 97), (512, 512), (640, 1000)])
@pytest.mark.parametrize("grid", [1, 4, 16])
def test_tiles_cover_and_blend_back(size: tuple[int, int], grid: int) -> None:
    height, width = (side // 4 * 4 if grid == 4 else side for side in size)
    tile_height, tile_width, corners = tile_corners(height, width, max_pixels=100 * 100, overlap=16, grid=grid)
    assert tile_height * tile_width <= 100 * 100
    assert (corners % grid == 0).all()
    image = torch.rand(1, 3, height, width)
    merged, weight = torch.zeros_like(image), torch.zeros(1, 1, height, width)
    window = blend_window(tile_height, tile_width, 16)
    assert window.min() > 0
    for top, left in corners.tolist():
        assert top + tile_height <= height
        assert left + tile_width <= width
        here = (..., slice(top, top + tile_height), slice(left, left + tile_width))
        merged[here] += window * image[here]
        weight[here] += window
    assert torch.allclose(merged / weight, image, atol=1e-5)
    for axis, side in ((0, tile_height), (1, tile_width)):
        starts = corners[:, axis].unique()
        assert (starts.diff() <= side - 16).all()  # neighbours overlap


def test_a_small_image_is_one_tile() -> None:
    height, width, corners = tile_corners(300, 200, max_pixels=60000, overlap=32, grid=1)
    assert (height, width, corners.tolist()) == (300, 200, [[0, 0]])
    assert (blend_window(5, 5, 0) == 1).all()
