"""Yardsticks for likelihoods: what pixels cost without their neighbours, and what a general compressor takes."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def independent_pixels(train: Tensor, test: Tensor, levels: int) -> float:
    """Bits of a value of `test` where each is coded by its own histogram over `train`, every level counted once more (Laplace).

    Shapes: int64 (N, C, H, W) and (M, C, H, W) of 0 to levels - 1.
    """
    values = train.flatten(1)
    counts = torch.stack([(values == level).sum(0) for level in range(levels)]).double() + 1  # (L, D)
    log_p = (counts / counts.sum(0)).log2()
    return -log_p.gather(0, test.flatten(1)).mean().item()


def png_bits(images: Tensor, levels: int) -> float:
    """Bits of a value in one PNG file of all images, one below the other, so that they share what every file starts with; of the smallest
    depth that holds the levels. Shape: int64 (N, C, H, W)."""
    n, channels, height, width = images.shape
    tall = images.to(torch.uint8).permute(0, 2, 3, 1).reshape(n * height, width, channels).numpy()
    buffer = io.BytesIO()
    if channels == 1 and levels == 2:
        Image.fromarray(tall[..., 0] * 255).convert("1").save(buffer, "PNG", optimize=True)
    elif channels == 1 and levels <= 16:  # Pillow writes few bits a pixel for a palette alone
        Image.fromarray(tall[..., 0]).convert("P").save(buffer, "PNG", optimize=True, bits=4)
    else:
        Image.fromarray(np.ascontiguousarray(tall[..., 0] if channels == 1 else tall)).save(buffer, "PNG", optimize=True)
    return 8 * len(buffer.getvalue()) / math.prod(images.shape)
