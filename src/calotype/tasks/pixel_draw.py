"""Drawing pixel after pixel: each layer once for a position from what it remembers, or by the plain loop that is the oracle for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

AT_ONCE = 256  # images: what the layers remember of each is some megabytes


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
        tell: called with (rows done, rows) after every row, of all images one part after the other.
    """
    n, channels, height, width = given.shape
    # Drawn for all at once, so that an image does not depend on how many are drawn beside it.
    uniform = torch.rand(n, loss.draws(channels), height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = []
    for start in range(0, n, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        told = None if tell is None else partial(_rows_of_all, tell, start // AT_ONCE * height, -(-n // AT_ONCE) * height)
        some = None if labels is None else labels[part]
        drawn.append(_draw(model, loss, given[part], some, uniform[part].to(given.device), temperature, method, told))
    return torch.cat(drawn)


def _rows_of_all(tell: Callable[[int, int], None], before: int, rows: int, done: int, _: int) -> None:
    tell(before + done, rows)


@torch.inference_mode()
def _draw(
    model: Any,
    loss: Any,
    given: Tensor,
    labels: Tensor | None,
    uniform: Tensor,
    temperature: float,
    method: Literal["fast", "full"],
    tell: Callable[[int, int], None] | None,
) -> Tensor:
    height, width = given.shape[2:]
    known = ~given.isnan()
    some_known = known.any(0).any(0).tolist()  # of a place, in any image
    images = torch.where(known, given, 0).float()
    state = model.start(images, labels) if method == "fast" else None
    for row in range(height):
        for column in range(width):
            for step in range(model.steps_per_pixel):
                predicted = model(images, labels)[..., row, column] if state is None else model.pixel(state, images, row, column)
                drawn = loss.draw(predicted, given[:, :, row, column], uniform[:, :, row, column], step, temperature)
                colours = slice(step, step + 1) if model.steps_per_pixel > 1 else slice(None)
                drawn = drawn[:, colours]
                if some_known[row][column]:
                    drawn = torch.where(known[:, colours, row, column], images[:, colours, row, column], drawn)
                images[:, colours, row, column] = drawn
            if state is not None:
                model.note(state, images, row, column)
        if tell is not None:
            tell(row + 1, height)
    return images
