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
    """Bits of a value in PNG files of the smallest depth that holds the levels, headers included. Shape: int64 (N, C, H, W)."""
    total = 0
    for image in images.to(torch.uint8).numpy():
        buffer = io.BytesIO()
        if image.shape[0] == 1 and levels == 2:
            Image.fromarray(image[0] * 255).convert("1").save(buffer, "PNG", optimize=True)
        else:
            bits = 4 if image.shape[0] == 1 and levels <= 16 else 8
            picture = Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
            if bits == 4:  # Pillow writes few bits a pixel for a palette alone
                picture = picture.convert("P")
                picture.save(buffer, "PNG", optimize=True, bits=4)
            else:
                picture.save(buffer, "PNG", optimize=True)
        total += len(buffer.getvalue())
    return 8 * total / math.prod(images.shape)
