"""Drawing pixel after pixel: each layer once for a position from what it remembers, or by the plain loop that is the oracle for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor


@torch.no_grad()
def draw_pixels(
    model: Any,
    loss: Any,
    given: Tensor,
    *,
    labels: Tensor | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    method: Literal["fast", "full"] = "fast",
    tell: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], whose hidden pixels are drawn in raster order, each from all that stand before it.

    What is given further down does not steer what is drawn above it: p(pixel | pixels before) is all that the model knows.

    Args:
        model: has `start`, `pixel`, `note`, `steps_per_pixel`.
        loss: has `draws`, `draw`.
        given: (N, C, H, W) in [0, 1], NaN where hidden.
        labels: (N,), of a conditional model.
        seed: of the draw; both methods draw the same from it.
        temperature: 1 the model's own distribution, below 1 likelier pixels, 0 the likeliest (of a mixture, the mean of its heaviest part).
        method: fast; or full, a whole forward pass for every pixel.
        tell: called with (rows done, rows) after every row.
    """
    n, channels, height, width = given.shape
    device = given.device
    known = ~given.isnan()
    images = torch.where(known, given, 0).float()
    uniform = torch.rand(n, loss.draws(channels), height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    uniform = uniform.to(device)
    state = model.start(images, labels) if method == "fast" else None
    for row in range(height):
        for column in range(width):
            for step in range(model.steps_per_pixel):
                predicted = model(images, labels)[..., row, column] if state is None else model.pixel(state, images, row, column)
                drawn = loss.draw(predicted, given[:, :, row, column], uniform[:, :, row, column], step, temperature)
                colours = slice(step, step + 1) if model.steps_per_pixel > 1 else slice(None)
                here = known[:, colours, row, column]
                images[:, colours, row, column] = torch.where(here, images[:, colours, row, column], drawn[:, colours].float())
            if state is not None:
                model.note(state, images, row, column)
        if tell is not None:
            tell(row + 1, height)
    return images
