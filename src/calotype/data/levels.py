"""Images of few levels a pixel, as models of exact likelihoods take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from calotype.data.draws import even_number
from calotype.types import UserError


def check_levels(levels: int | None) -> None:
    """Raises UserError for a number that does not cut a byte's 256 values into equal parts."""
    if levels is None or levels < 2 or 256 % levels:
        raise UserError(f"data.levels={levels}: of a pixel, a power of two from 2 to 256")


def quantise(images: Tensor, items: Tensor, levels: int, *, binarise: str, seed: int, training: bool) -> Tensor:
    """Images (N, C, H, W) in [0, 1] at the values k / (levels - 1), k = 0 to levels - 1.

    [0, 1] is cut into equal parts; with 256 levels a byte stays what it is. Two levels may be drawn: 1 with the probability that the grey
    value is, from (item, place, seed) alone, or, where dynamic and in training, from the run's stream.

    Args:
        items: numbers of the images (N,).
        binarise: threshold, stochastic or dynamic, of two levels.
    """
    if levels > 2 or binarise == "threshold":
        level = torch.floor(torch.round(images * 255) * levels / 256).clamp(0, levels - 1)
        return level / (levels - 1)
    if binarise == "dynamic" and training:
        return (torch.rand(images.shape, device=images.device) < images).float()
    size = math.prod(images.shape[1:])
    place = items[:, None] * size + torch.arange(size, device=items.device)
    return (even_number(place, seed).view(images.shape) < images).float()
